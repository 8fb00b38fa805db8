//! The state machine as a whole: what is billed, what is not and why, in any order, within every budget.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::events::{Envelope, Event, LeaseGranted};
use crate::model::{BeaconEvent, BootId, DecisionId, ImpressionId, LeaseId, Micros, PriceModel, ServerId, Tier};

/// A book with totals, as the store would have them.
#[derive(Clone, PartialEq, Debug, Default)]
struct World {
    book: Book,
    delivery: DeliveryChanges,
}

impl World {
    fn apply(&mut self, envelope: &Envelope) -> Outcome {
        let effects = self.book.apply(envelope);
        for (key, change) in &effects.delivery {
            self.delivery.entry(*key).or_default().add(change);
        }
        effects.outcome
    }

    fn of(records: &[Envelope]) -> Self {
        let mut world = Self::default();
        for record in records {
            world.apply(record);
        }
        world
    }

    fn settled(&self) -> (Micros, u64) {
        let balance = self.book.accounts[&ADVERTISER].balance(LevelId::Advertiser(ADVERTISER));
        (balance.settled, balance.settled_count)
    }

    fn total(&self) -> DeliveryTotals {
        let mut total = DeliveryTotals::default();
        self.delivery.values().for_each(|part| total.add(part));
        total
    }

    fn check(&self) {
        for account in self.book.accounts.values() {
            account.check();
        }
        for (key, totals) in &self.delivery {
            let unbilled: i64 = totals.unbilled.values().sum();
            assert_eq!(totals.impressions, totals.billed + unbilled, "{key:?}: heard is billed or has a reason");
        }
    }
}

const IMPRESSION: BeaconEvent = BeaconEvent::Impression;

fn check_outcomes(before: &[Envelope], record: &Envelope, expected: Outcome) {
    let mut world = World::of(before);
    let outcome = world.apply(record);
    assert_eq!(outcome, expected, "{record:?}");
    world.check();
}

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
    assert_eq!(balance, Balance { settled: Micros(10), settled_count: 1, open: Micros(0), open_count: 0 });
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

/// A beacon of one of three leases: mostly as it should be, sometimes late, out of range, of another line item or of no lease.
fn any_beacon() -> impl Strategy<Value = Envelope> {
    let event = prop_oneof![
        6 => Just(IMPRESSION),
        2 => Just(BeaconEvent::Start),
        1 => Just(BeaconEvent::Complete),
        1 => Just(BeaconEvent::Click),
        2 => Just(BeaconEvent::Void),
        1 => Just(BeaconEvent::NotUsed),
        1 => Just(BeaconEvent::Midpoint),
    ];
    let received = prop_oneof![4 => Just(60_000), 1 => 0_i64..3_600_000, 1 => 3_600_001_i64..8_000_000];
    (1_u128..=4, 0_u32..9, event, received, any::<bool>()).prop_map(|(lease_n, ordinal, event, received, house)| {
        let line_item = lease_n.min(3);
        // One impression, one token (INV-10): what is odd about it is the same in all its beacons.
        let record = match ordinal {
            3 => with(beacon(lease_n, ordinal, line_item, event), |record| record.preview = true),
            4 => with(beacon(lease_n, ordinal, line_item + 1, event), |record| record.price = Micros(7)),
            5 => with(beacon(lease_n, ordinal, line_item, event), |record| record.impression_at_start = true),
            _ if house => with(beacon(lease_n, ordinal, line_item, event), |record| {
                record.tier = Tier::House;
                record.impression_id = ImpressionId::Unleased { decision_id: DecisionId::from_u128(lease_n), slot: 1 };
            }),
            _ => beacon(lease_n, ordinal, line_item, event),
        };
        at(record, T0.plus_ms(received))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// INV-14: any order and any repetition of beacons between grants and closes gives the same books.
    #[test]
    fn any_permutation_and_duplication_gives_the_same_books(
        beacons in prop::collection::vec(any_beacon(), 1..40),
        copies in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        keys in prop::collection::vec(any::<u32>(), 60),
    ) {
        let grants = [granted(1, 1, 80, 8), granted(2, 2, 80, 8), granted(3, 3, 80, 8)];
        let in_order = World::of(&[&grants[..], &beacons].concat());
        let mut mixed = beacons.clone();
        mixed.extend(copies.iter().map(|index| index.get(&beacons).clone()));
        let mut order: Vec<_> = keys.iter().zip(mixed).collect();
        order.sort_by_key(|(key, _)| **key);
        let mixed: Vec<_> = order.into_iter().map(|(_, record)| record).collect();
        let mut shuffled = World::of(&[&grants[..], &mixed].concat());
        in_order.check();
        shuffled.check();
        shuffled.delivery.retain(|_, totals| !totals.is_zero());
        let mut expected = in_order;
        expected.delivery.retain(|_, totals| !totals.is_zero());
        prop_assert_eq!(&expected, &shuffled);
        // And again after the closes.
        for (n, world) in [(1, 80), (2, 80), (3, 80)] {
            let record = closed(n, n, 0, 0, world);
            expected.apply(&record);
            shuffled.apply(&record);
        }
        expected.check();
        prop_assert_eq!(expected, shuffled);
    }
}

/// A made-up advertiser: line items with prices, budgets at every level, servers that draw and crash, beacons that are lost.
#[derive(Clone, Debug)]
enum Act {
    Grant {
        line_item: u128,
        impressions: u32,
        servers: u32,
    },
    /// The server draws from a random lease, and the ad is heard.
    Hear {
        lease: prop::sample::Index,
        times: u32,
    },
    Close {
        lease: prop::sample::Index,
    },
    Budget {
        level: u8,
        budget: Option<i64>,
    },
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u128..4, 1_u32..200, 1_u32..4).prop_map(|(line_item, impressions, servers)| Act::Grant { line_item, impressions, servers }),
        4 => (any::<prop::sample::Index>(), 1_u32..30).prop_map(|(lease, times)| Act::Hear { lease, times }),
        2 => any::<prop::sample::Index>().prop_map(|lease| Act::Close { lease }),
        1 => (0_u8..4, prop::option::of(prop_oneof![0_i64..5_000, Just(1_000_000_000_000_000)]))
            .prop_map(|(level, budget)| Act::Budget { level, budget }),
    ]
}

fn terms(servers: u32) -> GrantTerms {
    GrantTerms {
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        servers,
        granted_at: T0,
        draw_until: T0.plus_ms(900_000),
        last_billable_until: LAST_BILLABLE_UNTIL,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// INV-4: whatever budgets, draws, losses and closes, each grant keeps settled + open within the limits in force, at every level; and
    /// settling and closing never raise what counts as spent.
    #[test]
    fn no_grant_passes_a_budget_at_any_level(
        budgets in (prop::option::of(0_i64..50_000), prop::option::of(0_i64..20_000), prop::option::of(0_i64..10_000), prop::option::of(0_u64..300)),
        acts in prop::collection::vec(any_act(), 1..60),
    ) {
        let (mut advertiser, mut campaign_budget, mut line_budget, mut goal) = budgets;
        let mut world = World::default();
        let (mut named, mut next_ordinal) = (0, BTreeMap::<LeaseId, u32>::new());
        for act in acts {
            match act {
                Act::Budget { level: 0, budget } => advertiser = budget,
                Act::Budget { level: 1, budget } => campaign_budget = budget,
                Act::Budget { level: 2, budget } => line_budget = budget,
                Act::Budget { budget, .. } => goal = budget.map(i64::unsigned_abs),
                Act::Grant { line_item, impressions, servers } => {
                    let need = LineNeed {
                        network_id: NETWORK,
                        campaign_id: campaign(line_item % 2),
                        line_item_id: line(line_item),
                        price: Micros(i64::try_from(line_item).expect("small") * 3 + 4),
                        impressions,
                        advertiser_budget: advertiser.map(Micros),
                        campaign_budget: campaign_budget.map(Micros),
                        line_item_budget: line_budget.map(Micros),
                        goal,
                    };
                    let account = world.book.account(ADVERTISER).clone();
                    let grants = plan_grants(&account, &[need.clone(), need], &terms(servers), || {
                        named += 1;
                        lease(named)
                    });
                    for grant in grants {
                        within_limits(&mut world, &grant);
                    }
                }
                Act::Hear { lease: index, times } => {
                    let leases: Vec<_> = world.book.account(ADVERTISER).leases.values().cloned().collect();
                    if leases.is_empty() { continue; }
                    let drawn = &index.get(&leases).grant;
                    for _ in 0..times {
                        let ordinal = next_ordinal.entry(drawn.lease_id).or_default();
                        *ordinal += 1;
                        let price = Micros(drawn.amount.0 / i64::from(drawn.max_ordinals));
                        let (lease_id, line_item_id, campaign_id) = (drawn.lease_id, drawn.line_item_id, drawn.campaign_id);
                        let record = with(beacon(1, 0, 1, IMPRESSION), |record| {
                            record.impression_id = ImpressionId::Leased { lease_id, ordinal: *ordinal - 1 };
                            (record.line_item_id, record.campaign_id, record.price) = (line_item_id, campaign_id, price);
                        });
                        let before = world.book.account(ADVERTISER).levels.clone();
                        world.apply(&record);
                        for (level, balance) in &world.book.account(ADVERTISER).levels {
                            prop_assert!(balance.committed() <= before[level].committed());
                        }
                    }
                }
                Act::Close { lease: index } => {
                    let leases: Vec<_> = world.book.account(ADVERTISER).leases.values().cloned().collect();
                    if leases.is_empty() { continue; }
                    let mut watermark = Watermark::default();
                    watermark.caught_up(LAST_BILLABLE_UNTIL.plus_ms(SETTLE_MARGIN_MS + 1));
                    let closes = plan_closes(world.book.account(ADVERTISER), watermark, LAST_BILLABLE_UNTIL);
                    let chosen = index.get(&leases).grant.lease_id;
                    if let Some(close) = closes.into_iter().find(|close| close.lease_id == chosen) {
                        prop_assert_eq!(world.apply(&envelope(T0, Event::LeaseClosed(close))), Outcome::Closed(chosen));
                    }
                }
            }
            world.check();
        }
    }
}

fn within_limits(world: &mut World, grant: &LeaseGranted) {
    assert_eq!(world.apply(&envelope(T0, Event::LeaseGranted(grant.clone()))), Outcome::Granted(grant.lease_id));
    assert!(grant.amount > Micros::ZERO && grant.max_ordinals > 0);
    let account = world.book.account(ADVERTISER);
    let levels =
        [LevelId::Advertiser(ADVERTISER), LevelId::Campaign(grant.campaign_id), LevelId::LineItem(grant.line_item_id)];
    assert_eq!(grant.limits.len(), 3);
    for (level, limit) in levels.into_iter().zip(&grant.limits) {
        let balance = account.balance(level);
        assert!(limit.budget.is_none_or(|budget| balance.committed() <= budget), "INV-4: {level:?}");
        assert!(limit.goal.is_none_or(|goal| balance.committed_count() <= goal), "INV-4: {level:?}");
    }
}

#[test]
fn budgets_of_one_micro_and_of_a_billion_units() {
    let need = |price, budget| LineNeed {
        network_id: NETWORK,
        campaign_id: campaign(1),
        line_item_id: line(1),
        price: Micros(price),
        impressions: 20,
        advertiser_budget: None,
        campaign_budget: None,
        line_item_budget: budget,
        goal: None,
    };
    let cases = [
        (1, Some(1), Some((1, 1))),
        (2, Some(1), None),
        (5, Some(0), None),
        (5, Some(9), Some((5, 1))),
        (10, Some(100), Some((50, 5))),
        (5_000, Some(1_000_000_000_000_000), Some((100_000, 20))),
        (i64::MAX, None, Some((i64::MAX, 1))),
        (0, None, None),
    ];
    for (price, budget, expected) in cases {
        let account = AdvertiserAccount::new(ADVERTISER);
        let grants = plan_grants(&account, &[need(price, budget.map(Micros))], &terms(1), || lease(1));
        let found = grants.first().map(|grant| (grant.amount.0, grant.max_ordinals));
        assert_eq!(found, expected, "price {price}, budget {budget:?}");
    }
}

#[test]
fn open_leases_of_a_line_item_are_bounded() {
    let mut world = World::default();
    let count = u128::try_from(MAX_OPEN_LEASES_PER_LINE_ITEM).expect("small");
    for n in 0..count {
        world.apply(&granted(n, 1, 1, 1));
    }
    let need = |line_item: u128| LineNeed {
        network_id: NETWORK,
        campaign_id: campaign(1),
        line_item_id: line(line_item),
        price: Micros(1),
        impressions: 1,
        advertiser_budget: None,
        campaign_budget: None,
        line_item_budget: None,
        goal: None,
    };
    let grants = plan_grants(world.book.account(ADVERTISER), &[need(1), need(3)], &terms(1), || lease(count));
    assert_eq!(grants.iter().map(|grant| grant.line_item_id).collect::<Vec<_>>(), [line(3)]);
}
