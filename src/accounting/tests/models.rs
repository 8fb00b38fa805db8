//! What is billed by each price model.

use super::*;
use crate::events::{BudgetLevel, LevelLimit, LimitWindow};
use crate::model::{BeaconEvent, PriceModel};

const START: BeaconEvent = BeaconEvent::Start;
const COMPLETE: BeaconEvent = BeaconEvent::Complete;
const CLICK: BeaconEvent = BeaconEvent::Click;

/// A lease of ten impressions of line item 1, and beacons of it.
fn sold(model: PriceModel, amount: i64, budget: Option<i64>) -> Envelope {
    granting(granted(1, 1, amount, 10), |grant| {
        grant.price_model = model;
        for (level, window) in [
            (BudgetLevel::Advertiser, LimitWindow::Life),
            (BudgetLevel::Campaign, LimitWindow::Day),
            (BudgetLevel::LineItem, LimitWindow::Life),
        ] {
            let budget = if level == BudgetLevel::Campaign { budget.map(Micros) } else { None };
            grant.limits.push(LevelLimit { level, window, budget, goal: None });
        }
    })
}

fn heard(model: PriceModel, ordinal: u32, event: BeaconEvent) -> Envelope {
    with(beacon(1, ordinal, 1, event), |record| record.price_model = model)
}

fn settled(ordinal: u32, price: i64) -> Outcome {
    Outcome::Settled { lease_id: lease(1), ordinal, price: Micros(price) }
}

fn line_balance(world: &World) -> Balance {
    world.book.accounts[&ADVERTISER].balance(LevelId::LineItem(line(1)))
}

#[track_caller]
fn check_life(model: PriceModel, amount: i64, budget: Option<i64>, life: &[(u32, BeaconEvent, Outcome)]) -> World {
    let mut world = World::of(&[sold(model, amount, budget)]);
    for (ordinal, event, expected) in life {
        assert_eq!(world.apply(&heard(model, *ordinal, *event)), *expected, "{model:?}: {event:?} of {ordinal}");
        world.book.accounts[&ADVERTISER].check();
    }
    world
}

#[test]
fn a_completed_listen_is_billed_at_its_completion() {
    let no_start = Outcome::Unbilled(UnbilledReason::NoStart);
    let world = check_life(
        PriceModel::Cpcl,
        100,
        None,
        &[
            (0, START, Outcome::Counted),
            (0, IMPRESSION, Outcome::Counted),
            (0, COMPLETE, settled(0, 10)),
            (0, COMPLETE, Outcome::Repeated),
            // The completion overtook its start: it waits for it.
            (1, COMPLETE, no_start),
            (1, COMPLETE, Outcome::Repeated),
            (1, IMPRESSION, settled(1, 10)),
            (1, START, Outcome::Counted),
            // Heard and not completed is not billed, and has no reason.
            (2, IMPRESSION, Outcome::Counted),
        ],
    );
    let balance = line_balance(&world);
    assert_eq!((balance.settled, balance.settled_count, balance.open), (Micros(20), 2, Micros(80)));
    let totals = world.total();
    assert_eq!((totals.impressions, totals.completes, totals.billed), (3, 2, 2));
    assert!(totals.unbilled.is_empty());
}

#[test]
fn a_completion_that_comes_too_soon_is_not_billed() {
    // 30 seconds of audio can't be over 20 seconds after the decision.
    let mut world = World::of(&[sold(PriceModel::Cpcl, 100, None), heard(PriceModel::Cpcl, 0, START)]);
    let early = at(heard(PriceModel::Cpcl, 0, COMPLETE), T0.plus_ms(21_000));
    assert_eq!(world.apply(&early), Outcome::Unbilled(UnbilledReason::TooSoon));
    assert_eq!(world.apply(&heard(PriceModel::Cpcl, 0, COMPLETE)), settled(0, 10), "a later copy can be true");
}

#[test]
fn a_click_is_billed_while_every_budget_has_room() {
    let world = check_life(
        PriceModel::Cpc,
        0,
        Some(25),
        &[
            (0, CLICK, Outcome::Unbilled(UnbilledReason::NoStart)),
            (0, IMPRESSION, settled(0, 10)),
            (1, IMPRESSION, Outcome::Counted),
            (1, CLICK, settled(1, 10)),
            (1, CLICK, Outcome::Repeated),
            (2, IMPRESSION, Outcome::Counted),
            (2, CLICK, Outcome::Unbilled(UnbilledReason::NoBudget)),
            (2, CLICK, Outcome::Repeated),
        ],
    );
    let balance = line_balance(&world);
    assert_eq!((balance.settled, balance.settled_count), (Micros(20), 3), "impressions count as delivered");
    assert_eq!((balance.open, balance.open_count), (Micros(0), 7));
    let totals = world.total();
    assert_eq!((totals.clicks, totals.billed, totals.billed_micros), (3, 2, Micros(20)));
}

#[test]
fn a_grant_that_was_planned_before_a_click_gives_way_to_it() {
    // INV-4: 100 in all; a grant of 95 was on its way when a click of 10 came.
    let clicks = sold(PriceModel::Cpc, 0, Some(100));
    let late = |amount| granting(sold(PriceModel::Cpm, amount, Some(100)), |grant| grant.lease_id = lease(2));
    let click = [heard(PriceModel::Cpc, 0, IMPRESSION), heard(PriceModel::Cpc, 0, CLICK)];
    for (amount, outcome) in [(95, Outcome::Ignored(IgnoredReason::NoRoom)), (90, Outcome::Granted(lease(2)))] {
        let mut world = World::of(&[std::slice::from_ref(&clicks), &click[..]].concat());
        assert_eq!(world.apply(&late(amount)), outcome);
        world.check();
        assert_eq!(
            world.apply(&late(amount)),
            if amount == 90 { Outcome::Ignored(IgnoredReason::BadGrant) } else { outcome }
        );
    }
    // A lease that holds no money takes no room.
    let mut world = World::of(&[&[clicks], &click[..]].concat());
    world.apply(&late(90));
    let free = granting(sold(PriceModel::Cpc, 0, Some(5)), |grant| grant.lease_id = lease(3));
    assert_eq!(world.apply(&free), Outcome::Granted(lease(3)));
}

#[test]
fn a_flat_fee_is_owed_once_with_the_first_that_is_heard() {
    let world = check_life(
        PriceModel::Flat,
        700,
        None,
        &[
            (3, START, Outcome::Counted),
            (3, IMPRESSION, settled(3, 700)),
            (1, IMPRESSION, settled(1, 0)),
            (1, IMPRESSION, Outcome::Repeated),
        ],
    );
    let balance = line_balance(&world);
    assert_eq!((balance.settled, balance.settled_count, balance.open), (Micros(700), 2, Micros(0)));
    // Given back with something drawn, it is still owed; with nothing drawn, it is not.
    for (drawn_count, open) in [(4, 700), (0, 0)] {
        let world = World::of(&[sold(PriceModel::Flat, 700, None), returned(1, 1, 0, drawn_count)]);
        assert_eq!(line_balance(&world).open, Micros(open), "{drawn_count} drawn");
    }
}

#[test]
fn what_waits_for_its_start_is_not_billed_after_the_close() {
    let mut world = World::of(&[sold(PriceModel::Cpcl, 100, None), heard(PriceModel::Cpcl, 0, COMPLETE)]);
    world.apply(&closed(1, 1, 0, 0, 100));
    assert_eq!(world.apply(&heard(PriceModel::Cpcl, 0, START)), Outcome::Counted);
    assert_eq!(world.settled(), (Micros(0), 0));
    assert_eq!(world.total().unbilled[&UnbilledReason::NoStart], 1);
}
