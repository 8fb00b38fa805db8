//! What the process's health is judged by and what it has counted, where it is the same however the roles are put together.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::clock::Clock;
use crate::event_log::EventLog;
use crate::model::MonotonicMs;
use crate::roles::decision::LeaseKeeper;
use crate::roles::health::{Lights, Look};
use crate::roles::profile::{ProfileCounts, ProfileWatch};
use crate::store::{ListenerCounts, Listeners};
use crate::telemetry::{Metric, Metrics};

/// A part that must not end by itself.
pub(super) fn goes_on(has_ended: impl Fn() -> bool + Send + Sync + 'static) -> Look {
    Box::new(move || if has_ended() { Err("ended".to_owned()) } else { Ok(()) })
}

/// Accounting must give this server leases.
pub(super) fn gets_leases(leases: &Arc<LeaseKeeper>) -> Look {
    let leases = Arc::clone(leases);
    Box::new(move || leases.refused().map_or(Ok(()), |refusal| Err(refusal.to_string())))
}

/// How long after the owners of all partitions have met this run its first leases have come, in milliseconds: they go out with the next commits.
const FIRST_LEASES_MS: u64 = 1_000;
/// How long a server with a catalogue waits to be met, in milliseconds: for longer than brokers or owners that were killed take to be back, and the servers
/// beside it have leases meanwhile. Then it serves what it has: while accounting stays away the network's own ads are better than nothing.
const MET_WITHIN_MS: u64 = 30_000;

/// A server that has just started should have its first leases before it is sent requests: until then it has nothing to sell, and those beside it do.
pub(super) fn has_first_leases(leases: &Arc<LeaseKeeper>, partitions: u32, lights: &Arc<Lights>, clock: Clock) -> Look {
    let (leases, lights) = (Arc::clone(leases), Arc::clone(lights));
    first_leases(move || leases.is_met_by(partitions), move || lights.catalog.load(Ordering::Relaxed), clock)
}

fn first_leases(
    is_met: impl Fn() -> bool + Send + Sync + 'static,
    has_catalogue: impl Fn() -> bool + Send + Sync + 'static,
    clock: Clock,
) -> Look {
    let (met, waited) = (Wait::default(), Wait::default());
    Box::new(move || {
        let now = clock.now().monotonic;
        let is_over = met.is_over(is_met(), FIRST_LEASES_MS, now) | waited.is_over(has_catalogue(), MET_WITHIN_MS, now);
        if is_over { Ok(()) } else { Err("accounting has not met this server yet".to_owned()) }
    })
}

/// A wait from the first look at which something holds.
#[derive(Default)]
struct Wait(OnceLock<MonotonicMs>);

impl Wait {
    /// Whether it has held for so long.
    fn is_over(&self, holds: bool, wait_ms: u64, now: MonotonicMs) -> bool {
        let since = if holds { Some(self.0.get_or_init(|| now)) } else { self.0.get() };
        since.is_some_and(|since| now.since(*since) >= wait_ms)
    }
}

/// Takes over into the metrics what journals and listeners count for themselves.
pub(super) fn show_counts(metrics: &Metrics, log: &EventLog, listeners: Option<&Listeners>) {
    let health = log.health();
    metrics.total_labelled(Metric::JournalledRecords, &["money"], health.money.durable_end);
    metrics.total_labelled(Metric::JournalledRecords, &["log"], health.log.durable_end);
    metrics.total_labelled(Metric::JournalBatches, &["money"], health.money.batches);
    metrics.total_labelled(Metric::JournalBatches, &["log"], health.log.batches);
    metrics.total_labelled(Metric::JournalShed, &["log"], health.shed_records);
    let Some(listeners) = listeners else { return };
    let ListenerCounts { hits, misses, renewals, renewals_failed, dropped } = listeners.counts();
    let renewed = renewals.saturating_sub(renewals_failed);
    let outcomes = [("hit", hits), ("miss", misses), ("renewed", renewed), ("renewal_failed", renewals_failed)];
    for (outcome, count) in outcomes {
        metrics.total_labelled(Metric::ListenerCache, &[outcome], count);
    }
    metrics.total(Metric::ListenerChangesDropped, dropped);
}

/// The same of plays.
pub(super) fn show_plays(metrics: &Metrics, profile: &ProfileWatch) {
    let ProfileCounts { counted, repeated, too_old, not_allowed, not_understood } = profile.counts();
    let outcomes = [
        ("counted", counted),
        ("repeated", repeated),
        ("too_old", too_old),
        ("not_allowed", not_allowed),
        ("not_understood", not_understood),
    ];
    for (outcome, count) in outcomes {
        metrics.total_labelled(Metric::Plays, &[outcome], count);
    }
    metrics.set(Metric::ProfilePartitions, profile.partitions());
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::model::{Now, WallMs};

    #[test]
    fn a_server_waits_for_its_first_leases_and_not_for_ever() {
        let (clock, hand) = Clock::manual(Now { wall: WallMs(0), monotonic: MonotonicMs(7) });
        let [met, catalogue] = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        let reads = |flag: &Arc<AtomicBool>| {
            let flag = Arc::clone(flag);
            move || flag.load(Ordering::Relaxed)
        };
        let look = || first_leases(reads(&met), reads(&catalogue), clock.clone());
        let (soon, late) = (look(), look());
        hand.advance(MET_WITHIN_MS);
        assert!(soon().is_err() && late().is_err(), "without a catalogue it waits as long as it takes");
        catalogue.store(true, Ordering::Relaxed);
        assert!(soon().is_err() && late().is_err());
        hand.advance(MET_WITHIN_MS - 1);
        assert!(soon().is_err());
        hand.advance(1);
        assert!(soon().is_ok(), "while accounting is away it serves what it has");
        let met_at_once = look();
        met.store(true, Ordering::Relaxed);
        assert!(met_at_once().is_err(), "the first leases follow the first word");
        hand.advance(FIRST_LEASES_MS);
        assert!(met_at_once().is_ok());
    }
}
