//! What was delivered, by line item and hour: counts that reports show and audit recounts.
//!
//! The hour is the one of the *decision*, which is sealed in the token: it is the same for every copy of a beacon, whenever and through
//! whichever server it comes, so that the totals don't depend on the order of events (INV-14).

use std::collections::BTreeMap;

use crate::model::{InvalidTraffic, LineItemId, Micros, WallMs};

/// Why an ad whose billable event came was not charged. The order is precedence: when copies of one beacon differ and nothing speaks for one, the
/// first reason of this list holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UnbilledReason {
    /// A house ad: never billed.
    House,
    /// A preview: never billed.
    Preview,
    /// The token's price model is another than the lease's.
    PriceModel,
    /// The price is negative.
    BadPrice,
    /// The token and the lease name different line items, campaigns or advertisers.
    LeaseMismatch,
    /// The lease has fewer ordinals.
    OrdinalOutOfRange,
    /// No such lease is known.
    UnknownLease,
    /// Invalid traffic: a known robot.
    Robot,
    /// Invalid traffic: sent from a data centre.
    DataCentre,
    /// Invalid traffic: more than a person can do.
    ImpossibleActivity,
    /// Invalid traffic: too much of one listener.
    ListenerRate,
    /// Invalid traffic: too much of one address.
    AddressRate,
    /// Invalid traffic: said so later; what was charged was reversed.
    Reported,
    /// Reported sooner than the ad can have played so far.
    TooSoon,
    /// The player itself says that less was played than the event needs.
    NotPlayed,
    /// The lease's amount was used up by other ordinals.
    OverLease,
    /// A click that some budget had no room for at that moment.
    NoBudget,
    /// Received after the lease was closed.
    LeaseClosed,
    /// Received after the token's `billable_until`.
    Late,
    /// A completion or a click, and nothing says so far that the ad began.
    NoStart,
}

impl From<InvalidTraffic> for UnbilledReason {
    fn from(invalid: InvalidTraffic) -> Self {
        match invalid {
            InvalidTraffic::Robot => Self::Robot,
            InvalidTraffic::DataCentre => Self::DataCentre,
            InvalidTraffic::ImpossibleActivity => Self::ImpossibleActivity,
            InvalidTraffic::ListenerRate => Self::ListenerRate,
            InvalidTraffic::AddressRate => Self::AddressRate,
            InvalidTraffic::Reported => Self::Reported,
        }
    }
}

impl UnbilledReason {
    /// Every reason, in order of precedence.
    pub const ALL: [Self; 20] = [
        Self::House,
        Self::Preview,
        Self::PriceModel,
        Self::BadPrice,
        Self::LeaseMismatch,
        Self::OrdinalOutOfRange,
        Self::UnknownLease,
        Self::Robot,
        Self::DataCentre,
        Self::ImpossibleActivity,
        Self::ListenerRate,
        Self::AddressRate,
        Self::Reported,
        Self::TooSoon,
        Self::NotPlayed,
        Self::OverLease,
        Self::NoBudget,
        Self::LeaseClosed,
        Self::Late,
        Self::NoStart,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::House => "house",
            Self::Preview => "preview",
            Self::PriceModel => "price_model",
            Self::BadPrice => "bad_price",
            Self::LeaseMismatch => "lease_mismatch",
            Self::OrdinalOutOfRange => "ordinal_out_of_range",
            Self::UnknownLease => "unknown_lease",
            Self::OverLease => "over_lease",
            Self::LeaseClosed => "lease_closed",
            Self::Late => "late_unbilled",
            Self::Robot => "robot",
            Self::DataCentre => "data_centre",
            Self::ImpossibleActivity => "impossible_activity",
            Self::ListenerRate => "listener_rate",
            Self::AddressRate => "address_rate",
            Self::Reported => "reported",
            Self::TooSoon => "too_soon",
            Self::NotPlayed => "not_played",
            Self::NoBudget => "no_budget",
            Self::NoStart => "no_start",
        }
    }

    /// Its number on disk; never reused.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::House => 1,
            Self::Preview => 2,
            Self::PriceModel => 3,
            Self::BadPrice => 4,
            Self::LeaseMismatch => 5,
            Self::OrdinalOutOfRange => 6,
            Self::UnknownLease => 7,
            Self::OverLease => 8,
            Self::LeaseClosed => 9,
            Self::Late => 10,
            Self::Robot => 11,
            Self::DataCentre => 12,
            Self::ImpossibleActivity => 13,
            Self::ListenerRate => 14,
            Self::AddressRate => 15,
            Self::Reported => 16,
            Self::TooSoon => 17,
            Self::NotPlayed => 18,
            Self::NoBudget => 19,
            Self::NoStart => 20,
        }
    }

    /// The reason of that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether a copy of the beacon that nothing speaks against was judged: other copies change nothing any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::OverLease | Self::NoBudget | Self::NoStart)
    }

    /// Whether the ad was sold at all: house ads and previews are expected to be unbilled.
    #[must_use]
    pub const fn is_paid(self) -> bool {
        match self {
            Self::House | Self::Preview => false,
            Self::PriceModel
            | Self::BadPrice
            | Self::LeaseMismatch
            | Self::OrdinalOutOfRange
            | Self::UnknownLease
            | Self::OverLease
            | Self::LeaseClosed
            | Self::Late
            | Self::Robot
            | Self::DataCentre
            | Self::ImpossibleActivity
            | Self::ListenerRate
            | Self::AddressRate
            | Self::Reported
            | Self::TooSoon
            | Self::NotPlayed
            | Self::NoBudget
            | Self::NoStart => true,
        }
    }
}

/// Which total: a line item and the UTC hour in which its ads were decided. Ordered by line item, then hour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeliveryKey {
    /// The line item.
    pub line_item_id: LineItemId,
    /// Start of the hour.
    pub hour: WallMs,
}

/// Counts of distinct impressions, or a change of such counts (then any may be negative).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeliveryTotals {
    /// Impressions that started.
    pub starts: i64,
    /// Impressions that were heard (2 s audible, or started where the placement says so): billed or not.
    pub impressions: i64,
    /// Impressions played to the end.
    pub completes: i64,
    /// Impressions that were clicked.
    pub clicks: i64,
    /// Impressions that were given up: void, not used, error.
    pub voids: i64,
    /// Impressions, completed listens or clicks that were billed, less those reversed.
    pub billed: i64,
    /// What was billed.
    pub billed_micros: Micros,
    /// Billable and not billed, by reason. `billed` + the sum of these = `impressions` where impressions are paid for, `completes` where completed
    /// listens are, `clicks` where clicks are. No zero entries.
    pub unbilled: BTreeMap<UnbilledReason, i64>,
}

impl DeliveryTotals {
    /// Adds a change.
    pub fn add(&mut self, change: &Self) {
        self.starts += change.starts;
        self.impressions += change.impressions;
        self.completes += change.completes;
        self.clicks += change.clicks;
        self.voids += change.voids;
        self.billed += change.billed;
        self.billed_micros = self
            .billed_micros
            .plus(change.billed_micros)
            .expect("INV-4 bounds each lease by its amount, and levels are checked sums of leases");
        for (reason, count) in &change.unbilled {
            self.unbilled_by(*reason, *count);
        }
    }

    /// Changes the count of one reason.
    pub fn unbilled_by(&mut self, reason: UnbilledReason, count: i64) {
        let held = self.unbilled.entry(reason).or_insert(0);
        *held += count;
        if *held == 0 {
            self.unbilled.remove(&reason);
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes of totals, by key.
pub type DeliveryChanges = BTreeMap<DeliveryKey, DeliveryTotals>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_round_trip_and_names_are_distinct() {
        let mut names = std::collections::BTreeSet::new();
        for reason in UnbilledReason::ALL {
            assert_eq!(UnbilledReason::from_code(reason.code()), Some(reason));
            assert!(names.insert(reason.name()));
        }
        assert_eq!(UnbilledReason::from_code(0), None);
    }

    #[test]
    fn a_reason_that_is_taken_back_leaves_no_trace() {
        let mut totals = DeliveryTotals::default();
        totals.unbilled_by(UnbilledReason::Late, 1);
        totals.unbilled_by(UnbilledReason::Late, -1);
        assert!(totals.is_zero());
    }
}
