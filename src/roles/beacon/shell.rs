//! The beacon role's I/O: durable first, then the answer.
//!
//! A heard ad is counted against its listener's caps before its record is written. Where the listener's state can't
//! be had, the record is written all the same: a strict cap counts the ad's reservation then, which nobody ends
//! (INV-32).

use std::sync::Arc;
use std::time::Duration;

use super::{Accepted, Beacon, BeaconRefusal, BeaconRole, ExposureChange, ExposureChangeKind};
use crate::clock::Clock;
use crate::event_log::{AppendError, EventLog, NewRecord};
use crate::events::Stream;
use crate::impressions::listener::{self, Heard};
use crate::model::{BeaconEvent, Now, WallMs};
use crate::roles::heard::HeardWatch;
use crate::roles::listeners::ListenerAccess;
use crate::roles::records;
use crate::telemetry::{Metric, Metrics};

/// Why a beacon was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum BeaconFailure {
    /// What came in is no beacon of ours.
    #[error(transparent)]
    Refused(#[from] BeaconRefusal),
    /// The record is not on disk: the player sends it again.
    #[error("the beacon could not be kept")]
    NotKept(#[source] AppendError),
    /// The record was not on disk in time. It may get there yet; a repeat does no harm, since the id of a beacon is derived.
    #[error("the beacon was not on disk within {0:?}")]
    TooSlow(Duration),
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
}

impl BeaconShell {
    /// A shell around the role. A money record that is not durable within `ack_timeout` is not acknowledged.
    #[must_use]
    pub const fn new(
        role: BeaconRole,
        log: EventLog,
        listeners: ListenerAccess,
        heard: Arc<HeardWatch>,
        clock: Clock,
        metrics: Metrics,
        ack_timeout: Duration,
    ) -> Self {
        Self { role, log, listeners, heard, clock, metrics, ack_timeout }
    }

    /// Hears one beacon. When this returns `Ok`, a record that can move money is on disk (INV-1).
    ///
    /// # Errors
    /// [`BeaconFailure`] when it is none of ours, or could not be kept.
    pub async fn hear(&self, beacon: Beacon<'_>) -> Result<BeaconEvent, BeaconFailure> {
        let watch = self.clock.stopwatch();
        let now = self.clock.now();
        let Accepted { event, mut envelope, exposure, draw } = self.role.step(beacon, now)?;
        // Caps and rates come before the record. One that can't be kept is sent again, and is a repeat to both then.
        let mut is_repeat = false;
        if let Some(change) = exposure.filter(|change| change.kind == ExposureChangeKind::Heard)
            && let Some((heard, at)) = self.count_heard(change, now).await
        {
            is_repeat = heard == Heard::Again;
            envelope.received_at = at;
        }
        if let Some(draw) = draw
            && !is_repeat
        {
            self.heard.heard(&draw.asker, draw.times);
        }
        let record = records::encode(&envelope);
        if envelope.body.stream() == Stream::Events {
            self.keep(record).await?;
            self.metrics.observe_seconds(Metric::BeaconSeconds, watch.elapsed_seconds());
        } else {
            self.log.offer(vec![record]);
        }
        // What was not heard follows its record: until then it counts.
        if let Some(change) = exposure.filter(|change| change.kind == ExposureChangeKind::Dropped) {
            let dropped = self.listeners.change(change.listener_key, now.wall, move |state| {
                listener::release(state, change.exposure.impression_id)
            });
            if let Err(error) = dropped.await {
                tracing::warn!(%error, "an ad that was not heard still counts for its listener");
            }
        }
        Ok(event)
    }

    /// Counts a heard ad for its listener, before its record is written: an ad counts too early rather than not at
    /// all. Returns what was known of it, and the time of receipt, read under the listener's lock: whoever sees a
    /// reservation's end there afterwards has missed no beacon that came in its time (INV-31).
    async fn count_heard(&self, change: ExposureChange, now: Now) -> Option<(Heard, WallMs)> {
        let clock = self.clock.clone();
        let counted = self.listeners.change(change.listener_key, now.wall, move |state| {
            (listener::confirm(state, change.exposure), clock.now().wall)
        });
        match tokio::time::timeout(self.ack_timeout, counted).await {
            Ok(Ok(counted)) => Some(counted),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a heard ad was not counted for its listener");
                None
            }
            Err(_) => {
                tracing::warn!("a heard ad was not counted for its listener within {:?}", self.ack_timeout);
                None
            }
        }
    }

    async fn keep(&self, record: NewRecord) -> Result<(), BeaconFailure> {
        match tokio::time::timeout(self.ack_timeout, self.log.append(vec![record])).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BeaconFailure::NotKept(error)),
            Err(_) => Err(BeaconFailure::TooSlow(self.ack_timeout)),
        }
    }
}
