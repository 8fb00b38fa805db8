//! How the process is.
//!
//! *Healthy* is a process that does its work; one that is not must be restarted. *Ready* is one that should be sent requests: it has the
//! catalogue, accounting has read the log to its end and gives it leases, and it is not on its way out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event_log::EventLog;
use crate::journal::QuotaLevel;
use crate::roles::accounting::AccountingWatch;
use crate::roles::decision::LeaseKeeper;

/// What the parts of the process say of themselves. Each is set by its owner and read by anybody; they order nothing else, so all are relaxed.
#[derive(Debug, Default)]
pub struct Lights {
    /// The catalogue is in memory.
    pub catalog: AtomicBool,
    /// The process is on its way out.
    pub draining: AtomicBool,
}

/// Judges how the process is.
#[derive(Clone, Debug)]
pub struct Health {
    log: EventLog,
    accounting: AccountingWatch,
    leases: Arc<LeaseKeeper>,
    lights: Arc<Lights>,
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
    /// Judges by these.
    #[must_use]
    pub const fn new(
        log: EventLog,
        accounting: AccountingWatch,
        leases: Arc<LeaseKeeper>,
        lights: Arc<Lights>,
    ) -> Self {
        Self { log, accounting, leases, lights }
    }

    /// Whether the process does its work.
    #[must_use]
    pub fn healthy(&self) -> Checks {
        let journal = match self.log.health().money.failure {
            Some(failure) => failure.to_string(),
            None => "ok".to_owned(),
        };
        let accounting = if self.accounting.has_ended() { "ended" } else { "ok" };
        Checks {
            ok: journal == "ok" && accounting == "ok",
            by_name: BTreeMap::from([("journal", journal), ("accounting", accounting.to_owned())]),
        }
    }

    /// Whether the process should be sent requests.
    #[must_use]
    pub fn ready(&self) -> Checks {
        let mut checks = self.healthy();
        let mut look = |name, ok: bool, otherwise: &str| {
            if !ok {
                checks.ok = false;
                checks.by_name.insert(name, otherwise.to_owned());
            } else if !checks.by_name.contains_key(name) {
                checks.by_name.insert(name, "ok".to_owned());
            }
        };
        look("accounting", self.accounting.is_replayed() || self.accounting.has_ended(), "reading the log");
        let refused = self.leases.refused();
        look("leases", refused.is_none(), &refused.map_or_else(String::new, |refusal| refusal.to_string()));
        look("catalog", is_on(&self.lights.catalog), "loading");
        look("process", !is_on(&self.lights.draining), "draining");
        let damage = self.log.health().money.damage;
        if !damage.is_empty() {
            // An alarm, not a reason to stop: what is whole goes on being billed.
            let named: Vec<String> = damage.iter().map(ToString::to_string).collect();
            checks.by_name.insert("journal_damage", named.join("; "));
        }
        let quota = match self.log.health().quota() {
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
        let log = self.log.health();
        (log.money.used_bytes, log.log.used_bytes)
    }
}

fn is_on(light: &AtomicBool) -> bool {
    light.load(Ordering::Relaxed)
}
