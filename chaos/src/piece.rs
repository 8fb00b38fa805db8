//! What is played: a twin, faults by a seed, minutes without an engine, or a demo; and what must hold of it.

use std::time::Duration;

use segue_figures::Check;

use crate::judge::Verdict;
use crate::report::Row;
use crate::show::Course;

/// Before anything is broken or counted: leases are granted, caches fill.
pub(crate) const WARM_UP: Duration = Duration::from_secs(12);
/// What a fault takes, for the length of a twin.
const FAULT_SECONDS: u64 = 10;
/// Bounds of recovery: all is as it was, so many seconds after the last healing.
const RECOVERY_S: f64 = 30.0;
const RECOVERY_OF_STORE_S: f64 = 60.0;
/// People for each break a second and second of play: each is asked for some twenty.
const BREAKS_A_LISTENER: u64 = 20;
const LISTENERS_MIN: u64 = 200;

/// What stops for minutes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Outage {
    /// Every broker.
    Kafka,
    /// Cassandra.
    Cassandra,
    /// The owners of money, one after the other.
    Accounting,
}

/// What happens in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// Nothing breaks, for so long.
    Nothing { seconds: u64 },
    /// So many faults.
    Faults { count: u32, is_timed: bool },
    /// One thing stops for so long; nothing, of the twin of that.
    Outage { of: Option<Outage>, seconds: u64 },
    /// To look at, for so long or until told.
    Demo { seconds: Option<u64> },
}

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// What it is called.
    pub(crate) name: String,
    /// Its seed.
    pub(crate) seed: u64,
    /// Ad breaks a second.
    pub(crate) rate: u32,
    /// What happens.
    pub(crate) plan: Plan,
}

impl Piece {
    /// Nothing breaks.
    pub(crate) fn twin(rate: u32, faults: u32) -> Self {
        let plan = Plan::Nothing { seconds: FAULT_SECONDS * u64::from(faults.max(1)) };
        Self { name: "twin".to_owned(), seed: 1, rate, plan }
    }

    /// Faults by a seed.
    pub(crate) fn faults(seed: u64, rate: u32, count: u32, is_timed: bool) -> Self {
        Self { name: format!("seed {seed}"), seed, rate, plan: Plan::Faults { count, is_timed } }
    }

    /// Minutes without an engine.
    pub(crate) fn outage(of: Outage, seconds: u64, rate: u32) -> Self {
        Self { name: format!("outage of {of:?}"), seed: 1, rate, plan: Plan::Outage { of: Some(of), seconds } }
    }

    /// As long, and nothing stops: listeners grow older in both, and cost more.
    pub(crate) fn outage_twin(seconds: u64, rate: u32) -> Self {
        Self { name: "twin".to_owned(), seed: 1, rate, plan: Plan::Outage { of: None, seconds } }
    }

    /// Whether what comes after it is compared with it.
    pub(crate) const fn is_twin(&self) -> bool {
        matches!(self.plan, Plan::Nothing { .. } | Plan::Outage { of: None, .. })
    }

    /// To look at.
    pub(crate) fn demo(seconds: Option<u64>, rate: u32) -> Self {
        Self { name: "demo".to_owned(), seed: 1, rate, plan: Plan::Demo { seconds } }
    }

    /// How long it lasts, about.
    fn seconds(&self) -> u64 {
        match self.plan {
            Plan::Nothing { seconds } | Plan::Demo { seconds: Some(seconds) } => seconds,
            Plan::Faults { count, .. } => FAULT_SECONDS * u64::from(count),
            Plan::Outage { seconds, .. } => seconds + 120,
            Plan::Demo { seconds: None } => 600,
        }
    }

    /// How many people listen.
    pub(crate) fn listeners(&self) -> u32 {
        let breaks = u64::from(self.rate) * (self.seconds() + WARM_UP.as_secs());
        u32::try_from((breaks / BREAKS_A_LISTENER).max(LISTENERS_MIN)).unwrap_or(u32::MAX)
    }
}

/// What must hold of a piece.
#[allow(clippy::cast_precision_loss, reason = "counts of minutes")]
pub(crate) fn checks(piece: &Piece, course: &Course, row: &Row) -> Vec<Check> {
    let name = |what: &str| format!("{}: {what}", piece.name);
    let Verdict { lost, double, overspend_micros, beyond_budget, beyond_budget_allowed, .. } = row.verdict;
    let zero = |what: &str, value: u64, unit| Check::at_most(name(what), value as f64, 0.0, unit);
    let mut checks = vec![
        zero("lost", lost, "impressions"),
        zero("double", double, "impressions"),
        zero("overspend", overspend_micros.unsigned_abs(), "micros"),
        Check::at_most(name("heard beyond budget"), beyond_budget as f64, beyond_budget_allowed as f64, "impressions"),
        zero("strict caps violated", row.verdict.strict_violations, "listeners"),
        zero("soft caps violated", row.verdict.soft_violations, "listeners"),
        zero("wrong leases", row.verdict.wrong_leases, "leases"),
        zero("wrong entries", row.verdict.wrong_entries, "entries"),
        zero("dead letters", row.verdict.dead_letters, "letters"),
    ];
    let is_of_store = course.faults.iter().any(|kind| kind.is_of_store());
    match piece.plan {
        Plan::Faults { is_timed, .. } => {
            let bound = if is_of_store { RECOVERY_OF_STORE_S } else { RECOVERY_S };
            if is_timed {
                checks.push(Check::at_most(name("recovery"), course.recovery_s, bound, "s"));
            }
            if let Some(twin) = row.twin {
                checks.push(Check::at_least(
                    name("paid against the twin"),
                    course.paid_share / twin.paid_share,
                    0.9,
                    "share",
                ));
            }
        }
        Plan::Outage { of: Some(of), .. } => {
            let bound = match of {
                Outage::Kafka | Outage::Cassandra => 0.95,
                Outage::Accounting => 0.99,
            };
            if let Some(twin) = row.twin {
                let (paid, name) = (course.paid_share / twin.paid_share, name("paid against the twin"));
                checks.push(Check::at_least(name, paid, bound, "share"));
            }
            let twins = row.twin.and_then(|twin| twin.decide_cpu_p99);
            if let Some((own, twins)) = course.decide_cpu_p99.zip(twins) {
                checks.push(Check::at_most(name("decide CPU p99 against the twin"), own / twins, 1.2, "times"));
            }
            if let Some(ratio) = course.drain_ratio {
                checks.push(Check::at_least(name("drain against what comes"), ratio, 3.0, "times"));
            }
        }
        Plan::Nothing { .. } | Plan::Outage { of: None, .. } | Plan::Demo { .. } => {}
    }
    checks
}
