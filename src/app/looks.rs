//! What the process's health is judged by and what it has counted, where it is the same however the roles are put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::event_log::EventLog;
use crate::roles::decision::LeaseKeeper;
use crate::roles::health::{Lights, Look};
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
/// How long a server with a catalogue waits to be met, in milliseconds. Then it serves what it has: while accounting is away the network's own ads are
/// better than nothing.
const MET_WITHIN_MS: u64 = 15_000;

/// A server that has just started should have its first leases before it is sent requests: until then it has nothing to sell, and those beside it do.
pub(super) fn has_first_leases(leases: &Arc<LeaseKeeper>, partitions: u32, lights: &Arc<Lights>, clock: Clock) -> Look {
    let (leases, lights, until) = (Arc::clone(leases), Arc::clone(lights), [AtomicU64::new(0), AtomicU64::new(0)]);
    // When it is over since something holds; 0 as long as it does not.
    let over = |until: &AtomicU64, holds: bool, wait_ms: u64, now: u64| {
        if holds && until.load(Ordering::Relaxed) == 0 {
            until.store(now.saturating_add(wait_ms).max(1), Ordering::Relaxed);
        }
        let until = until.load(Ordering::Relaxed);
        until != 0 && now >= until
    };
    Box::new(move || {
        let now = clock.now().monotonic.0;
        let met = over(&until[0], leases.is_met_by(partitions), FIRST_LEASES_MS, now);
        let waited = over(&until[1], lights.catalog.load(Ordering::Relaxed), MET_WITHIN_MS, now);
        if met || waited { Ok(()) } else { Err("accounting has not met this server yet".to_owned()) }
    })
}

/// Takes over into the metrics what journals and listeners count for themselves.
pub(super) fn show_counts(metrics: &Metrics, log: &EventLog, listeners: Option<&Listeners>) {
    let health = log.health();
    metrics.total_labelled(Metric::JournalledRecords, &["money"], health.money.durable_end);
    metrics.total_labelled(Metric::JournalledRecords, &["log"], health.log.durable_end);
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
