//! The beacon role's I/O: durable first, then the answer.
//!
//! A heard ad is counted against its listener's caps before its record is written. Where the listener's state can't
//! be had, the record is written all the same: a strict cap counts the ad's reservation then, which nobody ends
//! (INV-32).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Accepted, Beacon, BeaconRefusal, BeaconRole, ExposureChange, ExposureChangeKind};
use crate::clock::Clock;
use crate::event_log::{AppendError, EventLog, NewRecord};
use crate::events::{BeaconRecord, Envelope, Stream};
use crate::impressions::listener;
use crate::journal;
use crate::model::{BeaconEvent, Now, WallMs};
use crate::patience::Seldom;
use crate::roles::heard::HeardWatch;
use crate::roles::listeners::ListenerAccess;
use crate::roles::records;
use crate::telemetry::{Metric, Metrics};

/// Why beacons were not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum BeaconFailure {
    /// The records are not on disk: the player sends them again.
    #[error("the beacon could not be kept")]
    NotKept(#[source] AppendError),
    /// The records are more than the journal takes at once: the player sends fewer.
    #[error("so many beacons can't be kept at once")]
    TooLarge(#[source] AppendError),
    /// The records were not on disk in time. They may get there yet; a repeat does no harm, since the id of a beacon is derived.
    #[error("the beacon was not on disk within {0:?}")]
    TooSlow(Duration),
}

/// A beacon that was heard, as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What happened to which ad.
    pub record: BeaconRecord,
    /// When it happened.
    pub occurred_at: WallMs,
    /// When it was received.
    pub received_at: WallMs,
}

impl Heard {
    /// What happened.
    #[must_use]
    pub const fn event(&self) -> BeaconEvent {
        self.record.event
    }
}

/// Hears beacons.
#[derive(Debug)]
pub struct BeaconShell {
    role: BeaconRole,
    log: EventLog,
    listeners: ListenerAccess,
    heard: Arc<HeardWatch>,
    clock: Clock,
    metrics: Metrics,
    ack_timeout: Duration,
    not_counted: Seldom,
}

impl BeaconShell {
    /// A shell around the role. A money record that is not durable within `ack_timeout` is not acknowledged.
    #[must_use]
    pub fn new(
        role: BeaconRole,
        log: EventLog,
        listeners: ListenerAccess,
        heard: Arc<HeardWatch>,
        clock: Clock,
        metrics: Metrics,
        ack_timeout: Duration,
    ) -> Self {
        Self { role, log, listeners, heard, clock, metrics, ack_timeout, not_counted: Seldom::default() }
    }

    /// Hears beacons that came together, each for itself: one that is refused costs the others nothing. When this returns `Ok`, every record of
    /// them that can move money is on disk, all in one append (INV-1). One answer for each beacon, in their order.
    ///
    /// # Errors
    /// [`BeaconFailure`] when they could not be kept. None of them is acknowledged then, though some may be in the log: all may be sent again.
    pub async fn hear(&self, beacons: &[Beacon<'_>]) -> Result<Vec<Result<Heard, BeaconRefusal>>, BeaconFailure> {
        let watch = self.clock.stopwatch();
        let now = self.clock.now();
        let mut accepted: Vec<_> = beacons.iter().map(|beacon| self.role.step(*beacon, now)).collect();
        // Caps and rates come before the records. What can't be kept is sent again, and is a repeat to both then.
        let mut can_count = true;
        for accepted in accepted.iter_mut().flatten() {
            // One listener whose state can't be had in time is waited for, not hundreds: uncounted reservations last.
            can_count = self.count(accepted, now, can_count).await;
        }
        let (money, engagement) = records_of(accepted.iter().flatten());
        if !money.is_empty() {
            self.keep(money).await?;
            self.metrics.observe_seconds(Metric::BeaconSeconds, watch.elapsed_seconds());
        }
        if !engagement.is_empty() {
            self.log.offer(engagement);
        }
        self.count_invalid(accepted.iter().flatten());
        // What was not heard follows its record: until then it counts.
        let changes = accepted.iter().flatten().filter_map(|accepted| accepted.exposure);
        for change in changes.filter(|change| change.kind == ExposureChangeKind::Dropped) {
            let dropped = self.listeners.change(change.listener_key, now.wall, move |state| {
                listener::release(state, change.exposure.impression_id)
            });
            if let Err(error) = dropped.await {
                tracing::warn!(%error, "an ad that was not heard still counts for its listener");
            }
        }
        Ok(accepted.into_iter().map(|accepted| accepted.map(|accepted| heard(&accepted))).collect())
    }

    fn count_invalid<'a>(&self, accepted: impl Iterator<Item = &'a Accepted>) {
        for invalid in accepted.filter_map(|accepted| accepted.record().invalid) {
            self.metrics.add_labelled(Metric::InvalidBeacons, &[invalid.name()], 1);
        }
        self.metrics.set(Metric::ActivityForgotten, self.role.forgotten());
    }

    /// Counts what a beacon says was heard, for its listener where `can_count`, and takes over the time of receipt under the listener's lock. False
    /// when listeners' state can't be had.
    async fn count(&self, accepted: &mut Accepted, now: Now, can_count: bool) -> bool {
        let (mut is_repeat, mut counted) = (false, can_count);
        if can_count && let Some(change) = accepted.exposure.filter(|change| change.kind == ExposureChangeKind::Heard) {
            let known = self.count_heard(change, now).await;
            counted = known.is_some();
            if let Some((known, at)) = known {
                is_repeat = known == listener::Heard::Again;
                accepted.envelope.received_at = at;
            }
        }
        if let Some(draw) = &accepted.draw
            && !is_repeat
        {
            self.heard.heard(&draw.asker, draw.times);
        }
        counted
    }

    /// Counts a heard ad for its listener, before its record is written: an ad counts too early rather than not at
    /// all. Returns what was known of it, and the time of receipt, read under the listener's lock: whoever sees a
    /// reservation's end there afterwards has missed no beacon that came in its time (INV-31).
    async fn count_heard(&self, change: ExposureChange, now: Now) -> Option<(listener::Heard, WallMs)> {
        let clock = self.clock.clone();
        let counted = self.listeners.change(change.listener_key, now.wall, move |state| {
            (listener::confirm(state, change.exposure), clock.now().wall)
        });
        match tokio::time::timeout(self.ack_timeout, counted).await {
            Ok(Ok(counted)) => Some(counted),
            Ok(Err(error)) => {
                self.tell_not_counted(&error);
                None
            }
            Err(late) => {
                self.tell_not_counted(&late);
                None
            }
        }
    }

    fn tell_not_counted(&self, error: &(dyn std::error::Error + 'static)) {
        if let Some(others) = self.not_counted.happens(self.clock.now().monotonic) {
            tracing::warn!(error, others, "a heard ad was not counted for its listener");
        }
    }

    async fn keep(&self, records: Vec<NewRecord>) -> Result<(), BeaconFailure> {
        match tokio::time::timeout(self.ack_timeout, self.log.append(records)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error @ AppendError::Journal(journal::AppendError::TooLarge { .. }))) => {
                Err(BeaconFailure::TooLarge(error))
            }
            Ok(Err(error)) => Err(BeaconFailure::NotKept(error)),
            Err(_) => Err(BeaconFailure::TooSlow(self.ack_timeout)),
        }
    }
}

/// The records for the money journal and those for the log, in their order; what was told twice in one go is written once.
fn records_of<'a>(accepted: impl Iterator<Item = &'a Accepted>) -> (Vec<NewRecord>, Vec<NewRecord>) {
    let mut told = HashSet::new();
    let (mut money, mut engagement) = (Vec::new(), Vec::new());
    for Accepted { envelope, .. } in accepted {
        if told.insert(envelope.event_id) {
            let records = if envelope.body.stream() == Stream::Events { &mut money } else { &mut engagement };
            records.push(records::encode(envelope));
        }
    }
    (money, engagement)
}

fn heard(accepted: &Accepted) -> Heard {
    let Envelope { occurred_at, received_at, .. } = accepted.envelope;
    Heard { record: accepted.record().clone(), occurred_at, received_at }
}
