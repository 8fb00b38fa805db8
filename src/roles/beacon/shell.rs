//! The beacon role's I/O: durable first, then the answer.

use std::sync::Arc;
use std::time::Duration;

use super::{Accepted, Beacon, BeaconRefusal, BeaconRole, ExposureChange, ExposureChangeKind};
use crate::clock::Clock;
use crate::event_log::{AppendError, EventLog, NewRecord};
use crate::events::Stream;
use crate::impressions::listener::{self, Heard};
use crate::model::{BeaconEvent, WallMs};
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
        let Accepted { event, envelope, exposure, draw } = self.role.step(beacon, now)?;
        let record = records::encode(&envelope);
        if envelope.body.stream() == Stream::Events {
            self.keep(record).await?;
            self.metrics.observe_seconds(Metric::BeaconSeconds, watch.elapsed_seconds());
        } else {
            self.log.offer(vec![record]);
        }
        // Caps and rates follow the record: they are soft, the money is not.
        let is_repeat = match exposure {
            Some(change) => self.change_exposure(change, now.wall).await,
            None => false,
        };
        if let Some(draw) = draw
            && !is_repeat
        {
            self.heard.heard(&draw.asker, draw.times);
        }
        Ok(event)
    }

    /// Keeps what the beacon means for the listener's caps. True when it told what was known: the ad was heard before.
    async fn change_exposure(&self, change: ExposureChange, now: WallMs) -> bool {
        let changed = self.listeners.change(change.listener_key, now, move |state| match change.kind {
            ExposureChangeKind::Heard => listener::confirm(state, change.exposure) == Heard::Again,
            ExposureChangeKind::Dropped => {
                listener::release(state, change.exposure.impression_id);
                false
            }
        });
        changed.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a heard ad was not counted for its listener");
            false
        })
    }

    async fn keep(&self, record: NewRecord) -> Result<(), BeaconFailure> {
        match tokio::time::timeout(self.ack_timeout, self.log.append(vec![record])).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BeaconFailure::NotKept(error)),
            Err(_) => Err(BeaconFailure::TooSlow(self.ack_timeout)),
        }
    }
}
