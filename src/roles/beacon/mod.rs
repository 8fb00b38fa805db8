//! The beacon role: turns what a player reports into one complete record.
//!
//! It checks what token and clock can tell: the seal, whether the event can happen to this ad, and whether it comes in time. Order and minimum
//! play time are judged by accounting, which sees all of an impression's life. A beacon that comes too late is recorded all the same, and
//! accounting says why it is not billed.

mod shell;

pub use shell::{BeaconFailure, BeaconShell};

use crate::events::{BeaconRecord, Envelope, Event, TraceId};
use crate::impressions::{DrawTimes, TruncatedIp};
use crate::model::{BeaconEvent, BootId, Exposure, ExposureState, ImpressionId, ListenerKey, Now, ServerId};
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
    /// Where it came from.
    pub truncated_ip: Option<TruncatedIp>,
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
    /// What happened.
    pub event: BeaconEvent,
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

/// The beacon role's state: who it is, and the keys that open tokens.
#[derive(Clone, Debug)]
pub struct BeaconRole {
    keys: TokenKeys,
    server_id: ServerId,
    boot_id: BootId,
}

impl BeaconRole {
    /// A role of that server and boot.
    #[must_use]
    pub const fn new(keys: TokenKeys, server_id: ServerId, boot_id: BootId) -> Self {
        Self { keys, server_id, boot_id }
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
        let is_heard = exposure.is_some_and(|change| change.kind == ExposureChangeKind::Heard);
        let draw = if is_heard { draw_of(&claims) } else { None };
        let body = Event::Beacon(Box::new(BeaconRecord::of(event, claims, beacon.played_ms, beacon.truncated_ip)));
        let envelope = Envelope {
            event_id: body.id(),
            occurred_at: now.wall,
            received_at: now.wall,
            server_id: self.server_id,
            boot_id: self.boot_id,
            trace_id: beacon.trace_id,
            body,
        };
        Ok(Accepted { event, envelope, exposure, draw })
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
