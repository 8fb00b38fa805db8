//! What the judge must find: each test plants one wrong in a case in which all is right.

use super::books::{Balance, Delivered};
use super::log::Lease;
use super::*;
use crate::world::Item;

const ITEM: Uuid = Uuid::from_u128(7);
const PRICE_MICROS: i64 = 4_000;
const LISTENER: u32 = 3;

fn name(n: u128) -> AdName {
    AdName { decision: Uuid::from_u128(100 + n), line_item: ITEM }
}

fn lease() -> Vec<u8> {
    vec![1]
}

/// Two impressions of one line item, by one listener, billed and their lease closed; a listener may hear it twice, and its budget is two prices.
fn right(world: &World) -> Case<'_> {
    let now = Some(Instant::now());
    let ad = Ad { is_paid: true, price_micros: PRICE_MICROS, listener: LISTENER, sent: now, acknowledged: now };
    let heard = |n| Heard { ad: name(n), is_paid: true, price_micros: PRICE_MICROS, is_unbillable: false };
    let settled_micros = 2 * PRICE_MICROS;
    let closed =
        Lease { amount_micros: settled_micros, closed: Some((settled_micros, 2)), entry: Some((2, settled_micros)) };
    let log = Log {
        heard: [((lease(), 0), heard(0)), ((lease(), 1), heard(1))].into(),
        leases: [(lease(), closed)].into(),
        ..Log::default()
    };
    let delivered = Delivered { impressions: 2, billed: 2, billed_micros: settled_micros, unbilled: HashMap::new() };
    let balance = Balance { settled_micros, settled_count: 2, open_micros: 0 };
    let books = Books { delivered: [(ITEM, delivered)].into(), balances: [(ITEM, balance)].into() };
    let ads = [(name(0), ad.clone()), (name(1), ad)].into();
    Case { log, books, world, ads, moves: HashMap::new() }
}

fn world(is_strict: bool) -> World {
    let item = Item { budget_micros: Some(2 * PRICE_MICROS), cap: Some((2, is_strict)), is_paid: true };
    World { items: [(ITEM, item)].into(), budgets: HashMap::new() }
}

/// A verdict without its words, and how many there are.
fn found(case: &Case<'_>) -> (Verdict, usize) {
    let mut verdict = case.verdict();
    let findings = std::mem::take(&mut verdict.findings);
    (verdict, findings.len())
}

#[test]
fn where_all_is_right_nothing_is_found() {
    let (verdict, findings) = found(&right(&world(true)));
    assert_eq!((verdict.acknowledged, verdict.heard, verdict.billed, verdict.closed_leases), (2, 2, 2, 1));
    assert_eq!(findings, 0);
}

#[test]
fn what_was_acknowledged_and_is_not_in_the_log_is_lost() {
    let world = world(true);
    let mut case = right(&world);
    case.log.heard.remove(&(lease(), 1));
    assert!(found(&case).0.lost >= 1);
}

#[test]
fn what_is_in_the_log_and_not_in_the_books_is_lost() {
    let world = world(true);
    let mut case = right(&world);
    case.books.delivered.get_mut(&ITEM).expect("it is there").billed = 1;
    assert_eq!(found(&case).0.lost, 1);
}

#[test]
fn what_is_billed_and_was_not_heard_is_double() {
    let world = world(true);
    let mut case = right(&world);
    case.books.delivered.get_mut(&ITEM).expect("it is there").billed = 3;
    assert!(found(&case).0.double >= 1);
}

#[test]
fn two_impressions_of_one_ad_are_double() {
    let world = world(true);
    let mut case = right(&world);
    let again = case.log.heard[&(lease(), 0)].clone();
    case.log.heard.insert((lease(), 2), again);
    assert!(found(&case).0.double >= 1);
}

#[test]
fn another_price_than_was_answered_is_found_in_the_log_and_in_the_books() {
    let world = world(true);
    let mut case = right(&world);
    case.log.heard.get_mut(&(lease(), 0)).expect("it is there").price_micros += 1;
    assert!(found(&case).0.double >= 1);
    let mut case = right(&world);
    case.books.delivered.get_mut(&ITEM).expect("it is there").billed_micros -= 1;
    assert!(found(&case).0.double >= 1);
}

#[test]
fn an_impression_that_nobody_sent_or_was_answered_is_double() {
    let world = world(true);
    let mut case = right(&world);
    case.ads.get_mut(&name(0)).expect("it is there").sent = None;
    assert_eq!(found(&case).0.double, 1);
    case.ads.remove(&name(0));
    assert_eq!(found(&case).0.double, 1);
}

#[test]
fn a_budget_that_is_passed_is_found_also_where_leases_hold_it() {
    let world = world(true);
    let mut case = right(&world);
    case.books.balances.get_mut(&ITEM).expect("it is there").open_micros = 5;
    assert_eq!(found(&case).0.overspend_micros, 5);
}

#[test]
fn what_is_heard_beyond_a_budget_is_counted() {
    let mut world = world(true);
    world.items.get_mut(&ITEM).expect("it is there").budget_micros = Some(PRICE_MICROS);
    assert_eq!(found(&right(&world)).0.beyond_budget, 1);
}

#[test]
fn a_cap_is_passed_never_where_it_is_strict_and_once_a_move_where_it_is_soft() {
    for is_strict in [true, false] {
        let mut world = world(is_strict);
        world.items.get_mut(&ITEM).expect("it is there").cap = Some((1, is_strict));
        let mut case = right(&world);
        let (verdict, _) = found(&case);
        assert_eq!((verdict.strict_violations, verdict.soft_violations), if is_strict { (1, 0) } else { (0, 1) });
        case.moves.insert(LISTENER, 1);
        let (verdict, _) = found(&case);
        assert_eq!((verdict.strict_violations, verdict.soft_violations), (u64::from(is_strict), 0));
    }
}

#[test]
fn a_closed_lease_says_what_was_heard_and_its_entry_the_same() {
    let world = world(true);
    let wrong = |change: fn(&mut Lease)| {
        let mut case = right(&world);
        change(case.log.leases.get_mut(&lease()).expect("it is there"));
        found(&case).0.wrong_leases
    };
    assert_eq!(wrong(|lease| lease.closed = Some((3 * PRICE_MICROS, 3))), 1);
    assert_eq!(wrong(|lease| lease.amount_micros = PRICE_MICROS), 1);
    assert_eq!(wrong(|lease| lease.entry = None), 1);
    assert_eq!(wrong(|lease| lease.entry = Some((1, PRICE_MICROS))), 1);
}
