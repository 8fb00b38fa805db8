//! An impression's name, and what a player can report of it.

use std::fmt;

use super::ids::{DecisionId, LeaseId};

/// What names an impression. Derived, never drawn: the same impression has the same name on every server and after every crash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImpressionId {
    /// A paid one: the lease that its money was drawn from, and which draw of the lease it is.
    Leased {
        /// The lease.
        lease_id: LeaseId,
        /// Which draw, from 0.
        ordinal: u32,
    },
    /// A house or preview ad, never billed: the decision and the slot.
    Unleased {
        /// The decision.
        decision_id: DecisionId,
        /// Position in the pod, from 0.
        slot: u8,
    },
}

impl ImpressionId {
    /// The name in 21 bytes: a tag (1 leased, 2 unleased), the id's 16 bytes, the ordinal or slot as big-endian `u32`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 21] {
        let (tag, id, number) = match self {
            Self::Leased { lease_id, ordinal } => (1, lease_id.to_bytes(), ordinal),
            Self::Unleased { decision_id, slot } => (2, decision_id.to_bytes(), u32::from(slot)),
        };
        let mut bytes = [0; 21];
        bytes[0] = tag;
        bytes[1..17].copy_from_slice(&id);
        bytes[17..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// The name from its bytes; `None` when they name nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 21] = bytes.try_into().ok()?;
        let id: [u8; 16] = bytes[1..17].try_into().ok()?;
        let number = u32::from_be_bytes(bytes[17..].try_into().ok()?);
        match bytes[0] {
            1 => Some(Self::Leased { lease_id: LeaseId::from_bytes(id), ordinal: number }),
            2 => Some(Self::Unleased { decision_id: DecisionId::from_bytes(id), slot: u8::try_from(number).ok()? }),
            _ => None,
        }
    }
}

impl fmt::Display for ImpressionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leased { lease_id, ordinal } => write!(f, "{lease_id}/{ordinal}"),
            Self::Unleased { decision_id, slot } => write!(f, "{decision_id}#{slot}"),
        }
    }
}

impl fmt::Debug for ImpressionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a player reports of one ad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BeaconEvent {
    /// The first sample played. Never billed alone, unless the placement says so.
    Start,
    /// Two seconds played and audible: the billable one.
    Impression,
    /// A quarter played.
    FirstQuartile,
    /// Half played.
    Midpoint,
    /// Three quarters played.
    ThirdQuartile,
    /// All played.
    Complete,
    /// The listener skipped the rest.
    Skip,
    /// The sound was turned off.
    Mute,
    /// The sound was turned on again.
    Unmute,
    /// The listener clicked the companion or banner.
    Click,
    /// The ad could not be played.
    Error,
    /// The break was given up before the ad played.
    Void,
    /// A prefetched ad was not needed.
    NotUsed,
}

impl BeaconEvent {
    /// Every event, in the order of an impression's life.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Impression,
        Self::FirstQuartile,
        Self::Midpoint,
        Self::ThirdQuartile,
        Self::Complete,
        Self::Skip,
        Self::Mute,
        Self::Unmute,
        Self::Click,
        Self::Error,
        Self::Void,
        Self::NotUsed,
    ];

    /// Its name in URLs and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Impression => "impression",
            Self::FirstQuartile => "q1",
            Self::Midpoint => "mid",
            Self::ThirdQuartile => "q3",
            Self::Complete => "complete",
            Self::Skip => "skip",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Click => "click",
            Self::Error => "error",
            Self::Void => "void",
            Self::NotUsed => "not-used",
        }
    }

    /// The event of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    /// Whether it can move money or free a draw, so that it goes to the money journal; the others are engagement.
    #[must_use]
    pub const fn is_money(self) -> bool {
        match self {
            Self::Start
            | Self::Impression
            | Self::Complete
            | Self::Click
            | Self::Error
            | Self::Void
            | Self::NotUsed => true,
            Self::FirstQuartile | Self::Midpoint | Self::ThirdQuartile | Self::Skip | Self::Mute | Self::Unmute => {
                false
            }
        }
    }
}

/// Why what a player reported is invalid traffic, in the order in which the rules are tried. It is kept and counted, and never charged (MRC:
/// general invalid traffic).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum InvalidTraffic {
    /// A known robot, by its user agent.
    Robot,
    /// Sent from a data centre.
    DataCentre,
    /// More than a person can do.
    ImpossibleActivity,
    /// Too much of one listener.
    ListenerRate,
    /// Too much of one address.
    AddressRate,
    /// Said so later by an operator or by who measures for them; the charge is reversed.
    Reported,
}

impl InvalidTraffic {
    /// Every reason, in the order of the rules.
    pub const ALL: [Self; 6] = [
        Self::Robot,
        Self::DataCentre,
        Self::ImpossibleActivity,
        Self::ListenerRate,
        Self::AddressRate,
        Self::Reported,
    ];

    /// Its name in reports and metrics; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Robot => "robot",
            Self::DataCentre => "data_centre",
            Self::ImpossibleActivity => "impossible_activity",
            Self::ListenerRate => "listener_rate",
            Self::AddressRate => "address_rate",
            Self::Reported => "reported",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impression_ids_round_trip() {
        for id in [
            ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: u32::MAX },
            ImpressionId::Unleased { decision_id: DecisionId::from_u128(9), slot: 3 },
        ] {
            assert_eq!(ImpressionId::from_bytes(&id.to_bytes()), Some(id));
        }
        assert_eq!(ImpressionId::from_bytes(&[0; 21]), None);
        assert_eq!(ImpressionId::from_bytes(&[1; 20]), None);
    }

    #[test]
    fn event_names_round_trip() {
        for event in BeaconEvent::ALL {
            assert_eq!(BeaconEvent::named(event.name()), Some(event));
        }
        assert_eq!(BeaconEvent::named("Impression"), None);
    }
}
