//! One record after others: what it does, and why not more.

use std::collections::BTreeMap;

use super::*;
use crate::events::{Event, LeaseReturned};
use crate::model::{BeaconEvent, DecisionId, ImpressionId, InvalidTraffic, NetworkId, PriceModel, ServerId, Tier};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_heard_ad_is_billed_or_has_a_reason() {
    let lease_100 = granted(1, 1, 100, 10);
    let settled = |ordinal| Outcome::Settled { lease_id: lease(1), ordinal, price: Micros(10) };
    let unbilled = Outcome::Unbilled;
    let good = || beacon(1, 3, 1, IMPRESSION);
    let house = ImpressionId::Unleased { decision_id: DecisionId::from_u128(1), slot: 0 };
    let cases = [
        (vec![lease_100.clone()], good(), settled(3)),
        (vec![lease_100.clone(), good()], good(), Outcome::Repeated),
        (vec![lease_100.clone()], beacon(1, 3, 1, BeaconEvent::Start), Outcome::Counted),
        (
            vec![lease_100.clone()],
            with(beacon(1, 3, 1, BeaconEvent::Start), |record| record.impression_at_start = true),
            settled(3),
        ),
        (
            vec![
                lease_100.clone(),
                with(beacon(1, 3, 1, BeaconEvent::Start), |record| record.impression_at_start = true),
            ],
            with(good(), |record| record.impression_at_start = true),
            Outcome::Repeated,
        ),
        (vec![lease_100.clone()], at(good(), BILLABLE_UNTIL), settled(3)),
        (vec![lease_100.clone()], at(good(), BILLABLE_UNTIL.plus_ms(1)), unbilled(UnbilledReason::Late)),
        (vec![lease_100.clone(), beacon(1, 3, 1, BeaconEvent::Void)], good(), settled(3)),
        (vec![lease_100.clone(), closed(1, 1, 0, 0, 100)], good(), unbilled(UnbilledReason::LeaseClosed)),
        (
            vec![lease_100.clone(), closed(1, 1, 0, 0, 100)],
            at(good(), BILLABLE_UNTIL.plus_ms(1)),
            unbilled(UnbilledReason::Late),
        ),
        (
            vec![lease_100.clone()],
            at(good(), LAST_BILLABLE_UNTIL.plus_ms(CLOSED_LEASE_KEPT_MS + 1)),
            Outcome::Ignored(IgnoredReason::TooLate),
        ),
        (vec![], good(), unbilled(UnbilledReason::UnknownLease)),
        (vec![good()], good(), Outcome::Repeated),
        (vec![lease_100.clone()], beacon(1, 10, 1, IMPRESSION), unbilled(UnbilledReason::OrdinalOutOfRange)),
        (vec![lease_100.clone()], beacon(1, 3, 2, IMPRESSION), unbilled(UnbilledReason::LeaseMismatch)),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.network_id = NetworkId::from_u128(99)),
            unbilled(UnbilledReason::LeaseMismatch),
        ),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.price = Micros(101)),
            unbilled(UnbilledReason::OverLease),
        ),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.price = Micros(i64::MAX)),
            unbilled(UnbilledReason::OverLease),
        ),
        (vec![lease_100.clone()], with(good(), |record| record.price = Micros(-1)), unbilled(UnbilledReason::BadPrice)),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.price_model = PriceModel::Cpcl),
            unbilled(UnbilledReason::PriceModel),
        ),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.invalid = Some(InvalidTraffic::Robot)),
            unbilled(UnbilledReason::Robot),
        ),
        // Decided a second after T0, heard before two seconds can have played.
        (vec![lease_100.clone()], at(good(), T0.plus_ms(-2_000)), unbilled(UnbilledReason::TooSoon)),
        (
            vec![lease_100.clone()],
            with(good(), |record| record.played_ms = Some(1_999)),
            unbilled(UnbilledReason::NotPlayed),
        ),
        (vec![lease_100.clone()], with(good(), |record| record.played_ms = Some(2_000)), settled(3)),
        (vec![lease_100.clone(), returned(1, 1, 40, 4)], good(), settled(3)),
        (vec![lease_100.clone(), returned(1, 1, 30, 3)], good(), unbilled(UnbilledReason::OrdinalOutOfRange)),
        (vec![lease_100.clone(), good()], returned(1, 1, 30, 3), Outcome::Ignored(IgnoredReason::BadReturn)),
        (vec![lease_100.clone(), good()], returned(1, 1, 9, 4), Outcome::Ignored(IgnoredReason::BadReturn)),
        (vec![lease_100.clone()], returned(1, 1, 101, 4), Outcome::Ignored(IgnoredReason::BadReturn)),
        (vec![lease_100.clone()], returned(1, 1, -1, 4), Outcome::Ignored(IgnoredReason::BadReturn)),
        (vec![lease_100.clone()], returned(1, 1, 100, 11), Outcome::Ignored(IgnoredReason::BadReturn)),
        (vec![lease_100.clone(), good()], returned(1, 1, 40, 4), Outcome::Returned(lease(1))),
        (vec![lease_100.clone(), returned(1, 1, 40, 4)], returned(1, 1, 40, 4), Outcome::Repeated),
        (
            vec![lease_100.clone(), closed(1, 1, 0, 0, 100)],
            returned(1, 1, 40, 4),
            Outcome::Ignored(IgnoredReason::UnknownLease),
        ),
        (vec![], returned(1, 1, 40, 4), Outcome::Ignored(IgnoredReason::UnknownLease)),
        (vec![lease_100.clone()], with(good(), |record| record.preview = true), unbilled(UnbilledReason::Preview)),
        (
            vec![],
            with(good(), |record| {
                record.tier = Tier::House;
                record.impression_id = house;
            }),
            unbilled(UnbilledReason::House),
        ),
        (
            vec![],
            with(good(), |record| {
                record.preview = true;
                record.impression_id = house;
            }),
            unbilled(UnbilledReason::Preview),
        ),
        (vec![lease_100.clone()], beacon(1, 3, 1, BeaconEvent::Midpoint), Outcome::Ignored(IgnoredReason::NotMoney)),
        (vec![lease_100.clone()], lease_100.clone(), Outcome::Ignored(IgnoredReason::BadGrant)),
        (vec![], granted(1, 1, -1, 1), Outcome::Ignored(IgnoredReason::BadGrant)),
        (vec![], granted(1, 1, 1, MAX_ORDINALS + 1), Outcome::Ignored(IgnoredReason::BadGrant)),
        (vec![granted(1, 1, i64::MAX, 1)], granted(2, 3, 1, 1), Outcome::Ignored(IgnoredReason::BadGrant)),
        (vec![], closed(1, 1, 0, 0, 0), Outcome::Ignored(IgnoredReason::UnknownLease)),
        (vec![lease_100.clone()], closed(1, 1, 0, 0, 100), Outcome::Closed(lease(1))),
        (
            vec![lease_100, closed(1, 1, 0, 0, 100)],
            closed(1, 1, 0, 0, 100),
            Outcome::Ignored(IgnoredReason::UnknownLease),
        ),
    ];
    for (before, record, expected) in cases {
        check_outcomes(&before, &record, expected);
    }
}

#[test]
fn a_late_copy_first_does_not_cost_the_copy_in_time() {
    let (late, in_time) = (at(beacon(1, 0, 1, IMPRESSION), BILLABLE_UNTIL.plus_ms(5)), beacon(1, 0, 1, IMPRESSION));
    let one = World::of(&[granted(1, 1, 100, 10), late.clone(), in_time.clone()]);
    let other = World::of(&[granted(1, 1, 100, 10), in_time, late]);
    assert_eq!(one, other);
    assert_eq!(one.settled(), (Micros(10), 1));
    assert_eq!(one.total().unbilled, BTreeMap::new());
}

#[test]
fn a_million_beacons_for_one_ad_bill_once() {
    let mut world = World::of(&[granted(1, 1, 100, 10)]);
    let record = beacon(1, 0, 1, IMPRESSION);
    for _ in 0..1_000_000 {
        world.apply(&record);
    }
    assert_eq!(world.settled(), (Micros(10), 1));
    assert_eq!(world.total().impressions, 1);
}

#[test]
fn closing_gives_back_what_was_not_settled() {
    let world = World::of(&[
        granted(1, 1, 100, 10),
        beacon(1, 0, 1, IMPRESSION),
        beacon(1, 1, 1, BeaconEvent::Void),
        closed(1, 1, 10, 1, 90),
    ]);
    world.check();
    let balance = world.book.accounts[&ADVERTISER].balance(LevelId::LineItem(line(1)));
    let settled = Balance { settled: Micros(10), settled_count: 1, ..Balance::default() };
    assert_eq!(balance, settled);
}

#[test]
fn what_is_forgotten_can_no_more_be_billed() {
    let mut world = World::of(&[granted(1, 1, 100, 10), beacon(1, 0, 1, IMPRESSION), closed(1, 1, 10, 1, 90)]);
    let much_later = LAST_BILLABLE_UNTIL.plus_ms(CLOSED_LEASE_KEPT_MS + SETTLE_MARGIN_MS + 1);
    world.apply(&at(beacon(9, 0, 1, BeaconEvent::Start), much_later));
    let gone = world.book.forget();
    assert_eq!(gone.leases.len(), 1);
    assert_eq!(
        world.apply(&at(beacon(1, 1, 1, IMPRESSION), much_later)),
        Outcome::Ignored(IgnoredReason::TooLate),
        "a beacon for a forgotten lease"
    );
    assert_eq!(world.settled(), (Micros(10), 1));
}

#[test]
fn what_was_not_drawn_is_there_again_at_once() {
    let mut world = World::of(&[granted(1, 1, 100, 10), beacon(1, 0, 1, IMPRESSION)]);
    world.apply(&returned(1, 1, 30, 3));
    world.check();
    for level in levels_of(ADVERTISER, &world.book.accounts[&ADVERTISER].leases[&lease(1)].grant) {
        let balance = world.book.accounts[&ADVERTISER].balance(level);
        let (settled, open) = ((balance.settled, balance.settled_count), (balance.open, balance.open_count));
        assert_eq!((settled, open), ((Micros(10), 1), (Micros(20), 2)), "{level:?}");
    }
    // A return by another server or another boot is none.
    let mut world = World::of(&[granted(1, 1, 100, 10)]);
    let mut foreign = returned(1, 1, 30, 3);
    let Event::LeaseReturned(LeaseReturned { server_id, .. }) = &mut foreign.body else { panic!("a return") };
    *server_id = ServerId::from_u128(99);
    assert_eq!(world.apply(&foreign), Outcome::Ignored(IgnoredReason::BadReturn));
}

#[test]
fn a_lease_of_which_all_that_was_drawn_is_billed_closes_before_its_time() {
    let mut world = World::of(&[granted(1, 1, 100, 10), returned(1, 1, 20, 2), beacon(1, 0, 1, IMPRESSION)]);
    let nothing_is_over = Watermark::default();
    assert_eq!(plan_closes(world.book.account(ADVERTISER), nothing_is_over, T0), []);
    world.apply(&beacon(1, 1, 1, IMPRESSION));
    let closes = plan_closes(world.book.account(ADVERTISER), nothing_is_over, T0);
    assert_eq!(
        closes.iter().map(|close| (close.lease_id, close.returned)).collect::<Vec<_>>(),
        [(lease(1), Micros(0))]
    );
    // One of which nothing was drawn closes at once, too.
    let mut world = World::of(&[granted(1, 1, 100, 10), returned(1, 1, 0, 0)]);
    assert_eq!(plan_closes(world.book.account(ADVERTISER), nothing_is_over, T0).len(), 1);
}

#[test]
fn a_day_that_is_over_is_forgotten_once_its_leases_are_closed() {
    let mut world = World::of(&[granted(1, 1, 100, 10), beacon(1, 0, 1, IMPRESSION)]);
    let day = LevelId::LineItemDay(line(1), crate::model::Day::utc_of(T0));
    let days_later = T0.plus_ms(5 * 86_400_000);
    world.apply(&at(beacon(9, 0, 1, BeaconEvent::Start), days_later));
    assert_eq!(world.book.forget().days, [], "its lease is open");
    world.apply(&closed(1, 1, 10, 1, 90));
    assert_eq!(world.book.accounts[&ADVERTISER].balance(day).settled, Micros(10));
    let gone: Vec<_> = world.book.forget().days.into_iter().map(|(_, level)| level).collect();
    assert_eq!(gone.len(), 3);
    assert!(gone.contains(&day));
    assert_eq!(world.settled(), (Micros(10), 1), "over its life the advertiser has spent it");
}
