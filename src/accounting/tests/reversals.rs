//! Charges that are taken back.

use super::*;
use crate::events::{Event, Reversal};
use crate::model::{BeaconEvent, Day, ImpressionId, InvalidTraffic, WallMs};

fn reversal(ordinal: u32, price: i64, reversed_at: WallMs) -> Envelope {
    let record = Reversal {
        impression_id: ImpressionId::Leased { lease_id: lease(1), ordinal },
        event: BeaconEvent::Impression,
        network_id: NETWORK,
        advertiser_id: ADVERTISER,
        campaign_id: campaign(1),
        line_item_id: line(1),
        price: Micros(price),
        reason: InvalidTraffic::Reported,
        decided_at: T0.plus_ms(1_000),
        reversed_at,
        advertiser_day: Day::utc_of(reversed_at),
    };
    envelope(reversed_at, Event::Reversal(Box::new(record)))
}

#[test]
fn a_charge_is_taken_back_once_and_within_seven_days() {
    let charged = [granted(1, 1, 100, 10), beacon(1, 3, 1, IMPRESSION)];
    let taken_back =
        Outcome::Reversed { impression_id: ImpressionId::Leased { lease_id: lease(1), ordinal: 3 }, price: Micros(10) };
    let in_time = T0.plus_ms(1_000 + REVERSIBLE_MS);
    let ignored = Outcome::Ignored;
    check_outcomes(&charged, &reversal(3, 10, in_time), taken_back);
    check_outcomes(&charged, &reversal(3, 10, in_time.plus_ms(1)), ignored(IgnoredReason::TooLate));
    let soon = T0.plus_ms(1_000 + CLOSED_LEASE_KEPT_MS);
    check_outcomes(&charged, &reversal(3, 10, soon), taken_back);
    check_outcomes(&charged, &reversal(4, 10, soon), ignored(IgnoredReason::NotCharged));
    check_outcomes(&[], &reversal(3, 10, soon), ignored(IgnoredReason::NotCharged));
    check_outcomes(&charged, &reversal(3, 11, in_time), ignored(IgnoredReason::NotCharged));
    check_outcomes(&charged, &reversal(3, 0, in_time), ignored(IgnoredReason::NotCharged));
    check_outcomes(&charged, &reversal(3, -10, in_time), ignored(IgnoredReason::NotCharged));
    let again = [&charged[..], &[reversal(3, 10, in_time)]].concat();
    check_outcomes(&again, &reversal(3, 10, in_time), Outcome::Repeated);
    // The beacon again, after its charge was taken back: it was charged once, and is not charged twice.
    check_outcomes(&again, &beacon(1, 3, 1, IMPRESSION), Outcome::Repeated);
}

#[test]
fn what_was_taken_back_can_be_spent_again_and_keeps_its_reason() {
    let mut world = World::of(&[granted(1, 1, 100, 10), beacon(1, 3, 1, IMPRESSION), beacon(1, 4, 1, IMPRESSION)]);
    world.apply(&reversal(3, 10, T0.plus_ms(86_400_000)));
    world.check();
    assert_eq!(world.settled(), (Micros(10), 1));
    let lease = &world.book.accounts[&ADVERTISER].leases[&lease(1)];
    assert_eq!((lease.settled_micros, lease.settled_count), (Micros(20), 2), "the entry against it is one of its own");
    let totals = world.total();
    assert_eq!((totals.billed, totals.billed_micros), (1, Micros(10)));
    assert_eq!(totals.unbilled[&UnbilledReason::Reported], 1);
}

#[test]
fn a_reversal_is_remembered_as_long_as_another_may_come() {
    let at_the_end = T0.plus_ms(1_000 + REVERSIBLE_MS);
    let mut world = World::of(&[granted(1, 1, 100, 10), beacon(1, 3, 1, IMPRESSION), reversal(3, 10, at_the_end)]);
    world.book.forget();
    assert_eq!(world.book.accounts[&ADVERTISER].reversed.len(), 1);
    world.apply(&at(beacon(9, 0, 1, BeaconEvent::Start), T0.plus_ms(1_001 + REVERSAL_KEPT_MS)));
    world.book.forget();
    assert!(world.book.accounts[&ADVERTISER].reversed.is_empty());
    assert_eq!(world.apply(&reversal(3, 10, at_the_end.plus_ms(1))), Outcome::Ignored(IgnoredReason::TooLate));
}
