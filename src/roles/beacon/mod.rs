//! The beacon role: turns what a player reports into one complete record.
//!
//! It checks what the token can tell, and classifies invalid traffic by its sender and by how much of one listener or address there is. Order and
//! minimum play time are judged by accounting, which sees all of an impression's life. A beacon that is invalid or comes too late is
//! recorded all the same, and accounting says why it is not billed.

mod click;
mod shell;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use click::{CLICK_MACROS, DESTINATION_BYTES_MAX, NoDestination, destination, is_click_url};
pub use shell::{BeaconFailure, BeaconShell, Heard};

use crate::events::{BeaconRecord, Envelope, Event, TraceId};
use crate::impressions::invalid::{Activity, ActivityRules, Sender, SenderRules, is_activity};
use crate::impressions::{DrawTimes, TruncatedIp, is_plausible};
use crate::model::{
    BeaconEvent, BootId, Exposure, ExposureState, ImpressionId, InvalidTraffic, ListenerKey, Now, ServerId, WallMs,
};
use crate::roles::heard::Asker;
use crate::tokens::{Claims, TokenError, TokenKeys};

/// One beacon as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Beacon<'a> {
    /// The event's name in the URL.
    pub event: &'a str,
    /// The sealed token in the URL.
    pub token: &'a str,
    /// How far into the ad the player was, in milliseconds.
    pub played_ms: Option<u32>,
    /// When it happened, as the player says; kept where it is plausible. What is billed is judged by the receipt.
    pub occurred_at: Option<WallMs>,
    /// Who sent it. Of the address only what is cut is kept (INV-20).
    pub sender: Sender<'a>,
    /// The request's trace.
    pub trace_id: Option<TraceId>,
}

/// Why a beacon is not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeaconRefusal {
    /// No event has that name.
    #[error("no event has this name")]
    UnknownEvent,
    /// The token is none of ours.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What a beacon leads to.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    /// The record; money is durable before the player is answered.
    pub envelope: Envelope,
    /// What it means for the listener's caps.
    pub exposure: Option<ExposureChange>,
    /// The draw that was heard, if that is what it tells.
    pub draw: Option<HeardDraw>,
}

/// A paid ad that was heard, and who it was drawn for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeardDraw {
    /// Who asked for it.
    pub asker: Asker,
    /// Its times.
    pub times: DrawTimes,
}

impl Accepted {
    /// The beacon's record.
    #[must_use]
    pub fn record(&self) -> &BeaconRecord {
        let Event::Beacon(record) = &self.envelope.body else {
            unreachable!("the beacon role makes records of beacons")
        };
        record
    }
}

/// What a beacon means for the listener's caps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExposureChange {
    /// Whose.
    pub listener_key: ListenerKey,
    /// The ad, as it counts when it was heard.
    pub exposure: Exposure,
    /// What becomes of it.
    pub kind: ExposureChangeKind,
}

/// What becomes of an exposure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExposureChangeKind {
    /// It was heard: it counts for as long as windows look back.
    Heard,
    /// It was not: it counts no more.
    Dropped,
}

/// The beacon role's state: who it is, the keys that open tokens, and the rules of invalid traffic.
#[derive(Debug)]
pub struct BeaconRole {
    keys: TokenKeys,
    server_id: ServerId,
    boot_id: BootId,
    senders: Arc<SenderRules>,
    /// Beacons come on every worker thread. The lock is held for a few look-ups in memory, and only for beacons that count.
    activity: Mutex<ActivityRules>,
    /// What the rules had forgotten when they were last asked. Only shown, so that no order with other memory is needed (`Relaxed`).
    forgotten: AtomicU64,
}

impl BeaconRole {
    /// A role of that server and boot.
    #[must_use]
    pub const fn new(
        keys: TokenKeys,
        server_id: ServerId,
        boot_id: BootId,
        senders: Arc<SenderRules>,
        activity: ActivityRules,
    ) -> Self {
        Self { keys, server_id, boot_id, senders, activity: Mutex::new(activity), forgotten: AtomicU64::new(0) }
    }

    /// The record that a beacon makes.
    ///
    /// # Errors
    /// [`BeaconRefusal`] when there is no such event, or the token is none of ours.
    pub fn step(&self, beacon: Beacon<'_>, now: Now) -> Result<Accepted, BeaconRefusal> {
        let event = BeaconEvent::named(beacon.event).ok_or(BeaconRefusal::UnknownEvent)?;
        let claims = self.keys.open(beacon.token)?;
        // A preview is an operator's and counts against nobody's caps.
        let exposure = exposure_change(event, claims.impression_at_start)
            .filter(|_| !claims.preview)
            .map(|kind| ExposureChange { listener_key: claims.listener_key, exposure: exposure_of(&claims), kind });
        let invalid = self.judge(event, &claims, beacon.sender);
        // What a robot says it heard was heard by nobody.
        let is_heard = invalid.is_none() && exposure.is_some_and(|change| change.kind == ExposureChangeKind::Heard);
        let draw = if is_heard { draw_of(&claims) } else { None };
        let truncated_ip = beacon.sender.address.map(TruncatedIp::of);
        let occurred_at = beacon.occurred_at.filter(|at| is_plausible(*at, claims.decided_at, now.wall));
        let record = BeaconRecord { invalid, ..BeaconRecord::of(event, claims, beacon.played_ms, truncated_ip) };
        let body = Event::Beacon(Box::new(record));
        let envelope = Envelope {
            event_id: body.id(),
            occurred_at: occurred_at.unwrap_or(now.wall),
            received_at: now.wall,
            server_id: self.server_id,
            boot_id: self.boot_id,
            trace_id: beacon.trace_id,
            body,
        };
        Ok(Accepted { envelope, exposure, draw })
    }

    /// Why the beacon is invalid traffic, by the first rule that says so.
    fn judge(&self, event: BeaconEvent, claims: &Claims, sender: Sender<'_>) -> Option<InvalidTraffic> {
        self.senders.judge(sender).or_else(|| {
            // An operator who listens to previews all day is no robot, and nothing of it is billed.
            if claims.preview || !is_activity(event, claims.impression_at_start) {
                return None;
            }
            let activity = Activity {
                listener_key: claims.listener_key,
                impression_id: claims.impression_id,
                decided_at: claims.decided_at,
                address: sender.address,
            };
            // A panic in the rules would lose the history of the one key that they were looking at; the others still hold.
            let mut rules = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
            let verdict = rules.judge(activity);
            self.forgotten.store(rules.forgotten(), Ordering::Relaxed);
            verdict
        })
    }

    /// Listeners and addresses that the rules of activity had no room to remember, so far.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

/// The draw that the claims name; none where no money was drawn.
fn draw_of(claims: &Claims) -> Option<HeardDraw> {
    let (ImpressionId::Leased { .. }, Some(app)) = (claims.impression_id, &claims.app) else { return None };
    Some(HeardDraw {
        asker: Asker { network_id: claims.network_id, app: app.clone(), address: claims.asked_from },
        times: DrawTimes { decided_at: claims.decided_at, billable_until: claims.billable_until },
    })
}

/// The ad that the claims name, heard.
fn exposure_of(claims: &Claims) -> Exposure {
    Exposure {
        impression_id: claims.impression_id,
        at: claims.decided_at,
        advertiser_id: claims.advertiser_id,
        campaign_id: claims.campaign_id,
        line_item_id: claims.line_item_id,
        creative_id: claims.creative_id,
        state: ExposureState::Heard,
    }
}

/// What an event means for the listener's caps, if anything.
fn exposure_change(event: BeaconEvent, impression_at_start: bool) -> Option<ExposureChangeKind> {
    match event {
        BeaconEvent::Impression => Some(ExposureChangeKind::Heard),
        BeaconEvent::Start => impression_at_start.then_some(ExposureChangeKind::Heard),
        BeaconEvent::Void | BeaconEvent::NotUsed | BeaconEvent::Error => Some(ExposureChangeKind::Dropped),
        BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Complete
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute
        | BeaconEvent::Click => None,
    }
}
