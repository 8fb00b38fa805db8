//! Impressions without a lease: house ads and previews, and paid ones whose lease is not known. Never billed; kept only so that a repeat
//! is not counted twice.

use std::collections::BTreeMap;

use super::account::{Effects, IgnoredReason, Outcome};
use super::delivery::{DeliveryTotals, UnbilledReason};
use super::settle::{delivery_key, is_heard};
use crate::events::BeaconRecord;
use crate::model::{BeaconEvent, ImpressionId, WallMs};

/// Most of them remembered at once, about 100 bytes each. When full, further ones are ignored and counted.
pub const LOOSE_MAX: usize = 1_000_000;

/// How long after its token's end one is remembered, in milliseconds (one minute): longer than a record may wait between its
/// stamp and its place in the log.
pub const LOOSE_KEPT_MS: i64 = 60_000;

/// What was counted of one impression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loose {
    /// Which kinds, one bit each (`kind_bit`).
    pub kinds: u16,
    /// Why it is not billed, once it was heard.
    pub unbilled: Option<UnbilledReason>,
    /// After this log time it is forgotten.
    pub forget_after: WallMs,
}

/// The kinds of event that are counted once per impression, as bits of [`Loose::kinds`]. Zero for the others.
#[must_use]
pub const fn kind_bit(event: BeaconEvent) -> u16 {
    match event {
        BeaconEvent::Start => 1,
        BeaconEvent::Impression => 2,
        BeaconEvent::Complete => 4,
        BeaconEvent::Click => 8,
        BeaconEvent::Error | BeaconEvent::Void | BeaconEvent::NotUsed => 16,
        BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute => 0,
    }
}

/// The impressions without a lease that are remembered.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LooseSet {
    /// By name.
    pub seen: BTreeMap<ImpressionId, Loose>,
}

impl LooseSet {
    /// Counts a beacon whose impression is not billed for `reason`. A beacon after its token's end counts nothing: whether it is a repeat
    /// is remembered no longer than that.
    pub(super) fn apply(&mut self, beacon: &BeaconRecord, received_at: WallMs, reason: UnbilledReason) -> Effects {
        let heard = is_heard(beacon);
        let bits = kind_bit(beacon.event) | if heard { kind_bit(BeaconEvent::Impression) } else { 0 };
        if bits == 0 {
            return Effects::of(Outcome::Ignored(IgnoredReason::NotMoney));
        }
        if received_at > beacon.billable_until {
            return Effects::of(Outcome::Ignored(IgnoredReason::TooLate));
        }
        if self.seen.len() >= LOOSE_MAX && !self.seen.contains_key(&beacon.impression_id) {
            return Effects::of(Outcome::Ignored(IgnoredReason::TooManyLoose));
        }
        let loose = self.seen.entry(beacon.impression_id).or_insert(Loose {
            kinds: 0,
            unbilled: None,
            forget_after: beacon.billable_until.plus_ms(LOOSE_KEPT_MS),
        });
        let fresh = bits & !loose.kinds;
        if fresh == 0 {
            return Effects::of(Outcome::Repeated);
        }
        loose.kinds |= fresh;
        let mut totals = DeliveryTotals::default();
        let count = |event| i64::from(fresh & kind_bit(event) != 0);
        totals.starts = count(BeaconEvent::Start);
        totals.completes = count(BeaconEvent::Complete);
        totals.clicks = count(BeaconEvent::Click);
        totals.voids = count(BeaconEvent::Void);
        totals.impressions = count(BeaconEvent::Impression);
        let mut outcome = Outcome::Counted;
        if totals.impressions == 1 {
            loose.unbilled = Some(reason);
            totals.unbilled_by(reason, 1);
            outcome = Outcome::Unbilled(reason);
        }
        let mut effects = Effects::of(outcome);
        effects.delivery.insert(delivery_key(beacon), totals);
        effects
    }

    /// Drops what no record can repeat any more at log time `log_time`, and returns the names.
    pub fn forget(&mut self, log_time: WallMs) -> Vec<ImpressionId> {
        let gone: Vec<_> =
            self.seen.iter().filter(|(_, loose)| log_time > loose.forget_after).map(|(id, _)| *id).collect();
        for id in &gone {
            self.seen.remove(id);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::testing::beacon;
    use crate::events::Event;
    use crate::model::{DecisionId, Micros};

    fn house(number: u128, event: BeaconEvent) -> BeaconRecord {
        let Event::Beacon(mut record) = beacon(1, 0, 1, event).body else { panic!("a beacon") };
        record.impression_id = ImpressionId::Unleased { decision_id: DecisionId::from_u128(number), slot: 0 };
        record.price = Micros::ZERO;
        *record
    }

    #[test]
    fn at_the_bound_a_new_one_is_ignored_with_its_reason_and_a_known_one_counts_on() {
        let known = Loose { kinds: kind_bit(BeaconEvent::Start), unbilled: None, forget_after: WallMs(i64::MAX) };
        let id = |number| house(number, BeaconEvent::Start).impression_id;
        let most = u128::try_from(LOOSE_MAX).expect("small");
        let mut set = LooseSet { seen: (0..most).map(|number| (id(number), known)).collect() };
        let mut outcome = |number| {
            let record = house(number, BeaconEvent::Impression);
            set.apply(&record, record.billable_until, UnbilledReason::House).outcome
        };
        assert_eq!(outcome(most), Outcome::Ignored(IgnoredReason::TooManyLoose));
        assert_eq!(outcome(most - 1), Outcome::Unbilled(UnbilledReason::House));
        assert_eq!(outcome(most - 1), Outcome::Repeated);
        assert_eq!(set.seen.len(), LOOSE_MAX);
    }
}
