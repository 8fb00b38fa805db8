//! What the process's health is judged by and what it has counted, where it is the same however the roles are put together.

use std::sync::Arc;

use crate::event_log::EventLog;
use crate::roles::decision::LeaseKeeper;
use crate::roles::health::Look;
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
