//! How the process is.
//!
//! *Healthy* is a process that does its work; one that is not must be restarted. *Ready* is one that should be sent requests: it has the
//! catalogue, accounting has read the log to its end and gives it leases, and it is not on its way out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event_log::EventLog;
use crate::journal::QuotaLevel;

/// What the parts of the process say of themselves. Each is set by its owner and read by anybody; they order nothing else, so all are relaxed.
#[derive(Debug, Default)]
pub struct Lights {
    /// The catalogue is in memory.
    pub catalog: AtomicBool,
    /// The process is on its way out.
    pub draining: AtomicBool,
}

/// Looks at one thing; what is wrong with it, in words.
pub type Look = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Judges how the process is. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Parts>);

struct Parts {
    log: EventLog,
    lights: Arc<Lights>,
    /// What must be right, or the process is to be restarted.
    healthy: Vec<(&'static str, Look)>,
    /// What must be right for the process to be sent requests.
    ready: Vec<(&'static str, Look)>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.0.healthy.iter().chain(&self.0.ready).map(|(name, _)| name).collect();
        f.debug_struct("Health").field("looks", &names).finish_non_exhaustive()
    }
}

/// A judgement, and what it rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checks {
    /// Whether all is well.
    pub ok: bool,
    /// Each thing looked at, and how it is.
    pub by_name: BTreeMap<&'static str, String>,
}

impl Health {
    /// Judges by the journals, the lights and these: what makes the process unhealthy, and what beside that makes it unready. A name that is in both stands
    /// for what is wrong in either.
    #[must_use]
    pub fn new(
        log: EventLog,
        lights: Arc<Lights>,
        healthy: Vec<(&'static str, Look)>,
        ready: Vec<(&'static str, Look)>,
    ) -> Self {
        Self(Arc::new(Parts { log, lights, healthy, ready }))
    }

    /// Whether the process does its work.
    #[must_use]
    pub fn healthy(&self) -> Checks {
        let mut checks = Checks { ok: true, by_name: BTreeMap::new() };
        let journal = self.0.log.health().money.failure.map_or(Ok(()), |failure| Err(failure.to_string()));
        checks.look("journal", journal);
        for (name, look) in &self.0.healthy {
            checks.look(name, look());
        }
        checks
    }

    /// Whether the process should be sent requests.
    #[must_use]
    pub fn ready(&self) -> Checks {
        let mut checks = self.healthy();
        for (name, look) in &self.0.ready {
            checks.look(name, look());
        }
        let lit = |light: &AtomicBool, otherwise: &str| if is_on(light) { Ok(()) } else { Err(otherwise.to_owned()) };
        checks.look("catalog", lit(&self.0.lights.catalog, "loading"));
        checks.look("process", if is_on(&self.0.lights.draining) { Err("draining".to_owned()) } else { Ok(()) });
        let log = self.0.log.health();
        let damage = &log.money.damage;
        if !damage.is_empty() {
            // An alarm, not a reason to stop: what is whole goes on being billed.
            let named: Vec<String> = damage.iter().map(ToString::to_string).collect();
            checks.by_name.insert("journal_damage", named.join("; "));
        }
        let quota = match log.quota() {
            QuotaLevel::Ok => "ok",
            QuotaLevel::ShedLog => "above 70 %: the decision log is shed",
            QuotaLevel::StopPaid => "above 90 %: no paid ads",
        };
        checks.by_name.insert("journal_quota", quota.to_owned());
        checks
    }

    /// Bytes that the money journal and the log journal take on disk.
    #[must_use]
    pub fn journal_bytes(&self) -> (u64, u64) {
        let log = self.0.log.health();
        (log.money.used_bytes, log.log.used_bytes)
    }
}

impl Checks {
    /// Takes in how one thing is. What is wrong with it stays so.
    fn look(&mut self, name: &'static str, how: Result<(), String>) {
        match how {
            Ok(()) => drop(self.by_name.entry(name).or_insert_with(|| "ok".to_owned())),
            Err(wrong) if self.by_name.get(name).is_none_or(|known| known == "ok") => {
                self.ok = false;
                self.by_name.insert(name, wrong);
            }
            Err(_) => {}
        }
    }
}

fn is_on(light: &AtomicBool) -> bool {
    light.load(Ordering::Relaxed)
}
