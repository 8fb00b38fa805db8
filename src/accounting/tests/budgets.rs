//! No grant and no click passes a budget, at any level, whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::events::{BudgetLevel, Event, LeaseGranted, LevelLimit, LimitWindow, Reversal};
use crate::model::{BeaconEvent, BootId, Day, ImpressionId, InvalidTraffic, LeaseId, PriceModel, ServerId};

/// A made-up advertiser: line items of every price model, budgets at every level for life and by day, servers that draw, give back and crash,
/// beacons that are lost.
#[derive(Clone, Debug)]
enum Act {
    Grant {
        line_item: u128,
        impressions: u32,
        servers: u32,
    },
    /// The server draws from a random lease, and the ad is heard, completed and clicked.
    Hear {
        lease: prop::sample::Index,
        times: u32,
    },
    /// The server gives the rest of a random lease back.
    Return {
        lease: prop::sample::Index,
    },
    Close {
        lease: prop::sample::Index,
    },
    /// One of the limits is changed.
    Limit {
        which: prop::sample::Index,
        budget: Option<i64>,
        goal: Option<u64>,
    },
    /// A charge is taken back.
    Reverse {
        which: prop::sample::Index,
    },
    NextDay,
}

const LIMITS: [(BudgetLevel, LimitWindow); 6] = [
    (BudgetLevel::Advertiser, LimitWindow::Life),
    (BudgetLevel::Campaign, LimitWindow::Life),
    (BudgetLevel::LineItem, LimitWindow::Life),
    (BudgetLevel::Advertiser, LimitWindow::Day),
    (BudgetLevel::Campaign, LimitWindow::Day),
    (BudgetLevel::LineItem, LimitWindow::Day),
];

fn any_act() -> impl Strategy<Value = Act> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        5 => (0_u128..4, 1_u32..200, 1_u32..4)
            .prop_map(|(line_item, impressions, servers)| Act::Grant { line_item, impressions, servers }),
        5 => (index(), 1_u32..30).prop_map(|(lease, times)| Act::Hear { lease, times }),
        2 => index().prop_map(|lease| Act::Return { lease }),
        2 => index().prop_map(|lease| Act::Close { lease }),
        1 => (index(), prop::option::of(prop_oneof![0_i64..5_000, Just(1_000_000_000_000_000)]), prop::option::of(0_u64..300))
            .prop_map(|(which, budget, goal)| Act::Limit { which, budget, goal }),
        1 => index().prop_map(|which| Act::Reverse { which }),
        1 => Just(Act::NextDay),
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

fn need(line_item: u128, price_model: PriceModel, price: i64, limits: Vec<LevelLimit>, day: Day) -> LineNeed {
    LineNeed {
        network_id: NETWORK,
        campaign_id: campaign(line_item % 2),
        line_item_id: line(line_item),
        price_model,
        price: Micros(price),
        impressions: 20,
        hoped: 0,
        limits,
        advertiser_day: day,
        line_item_day: day,
        days_end: T0.plus_ms(86_400_000),
    }
}

const MODELS: [PriceModel; 4] = [PriceModel::Cpm, PriceModel::Cpcl, PriceModel::Cpc, PriceModel::Flat];

/// The world, and what the servers did in it.
struct Play {
    world: World,
    named: u128,
    drawn: BTreeMap<LeaseId, u32>,
    limits: Vec<LevelLimit>,
    day: Day,
    charged: Vec<Reversal>,
}

impl Play {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::NextDay => self.day.0 += 1,
            Act::Limit { which, budget, goal } => {
                let (level, window) = *which.get(&LIMITS);
                self.limits.retain(|limit| (limit.level, limit.window) != (level, window));
                let goal = goal.filter(|_| level == BudgetLevel::LineItem);
                self.limits.push(LevelLimit { level, window, budget: budget.map(Micros), goal });
            }
            Act::Grant { line_item, impressions, servers } => self.grant(line_item, impressions, servers),
            Act::Hear { lease, times } => {
                if let Some(lease) = self.any_lease(lease) {
                    (0..times).for_each(|_| self.hear(&lease));
                }
            }
            Act::Return { lease } => {
                if let Some(lease) = self.any_lease(lease) {
                    self.give_back(&lease);
                }
            }
            Act::Close { lease } => {
                if let Some(lease) = self.any_lease(lease) {
                    self.close(&lease);
                }
            }
            Act::Reverse { which } => self.reverse(which),
        }
    }

    fn any_lease(&self, index: prop::sample::Index) -> Option<Lease> {
        let leases: Vec<_> = self.world.book.accounts.get(&ADVERTISER)?.leases.values().collect();
        (!leases.is_empty()).then(|| Lease::clone(*index.get::<&Box<Lease>>(&leases)))
    }

    fn grant(&mut self, line_item: u128, impressions: u32, servers: u32) {
        let model = MODELS[usize::try_from(line_item).expect("small")];
        let price = i64::try_from(line_item).expect("small") * 3 + 4;
        let hoped = impressions.saturating_mul(3);
        let need = LineNeed { impressions, hoped, ..need(line_item, model, price, self.limits.clone(), self.day) };
        let account = self.world.book.account(ADVERTISER).clone();
        let named = &mut self.named;
        let grants = plan_grants(&account, &[need.clone(), need], &terms(servers), || {
            *named += 1;
            lease(*named)
        });
        for grant in grants {
            within_limits(&mut self.world, &grant);
        }
    }

    /// One more draw, heard from its start to its click.
    fn hear(&mut self, lease: &Lease) {
        let ordinal = self.drawn.entry(lease.grant.lease_id).or_default();
        let is_over = lease.returned.is_some() || *ordinal >= lease.grant.max_ordinals;
        if is_over {
            return;
        }
        *ordinal += 1;
        let impression_id = ImpressionId::Leased { lease_id: lease.grant.lease_id, ordinal: *ordinal - 1 };
        let line_item = line_number(lease);
        let price = Micros(i64::try_from(line_item).expect("small") * 3 + 4);
        for event in [BeaconEvent::Start, IMPRESSION, BeaconEvent::Complete, BeaconEvent::Click] {
            let record = with(beacon(1, 0, line_item, event), |record| {
                (record.impression_id, record.price) = (impression_id, price);
                record.price_model = lease.grant.price_model;
            });
            let before = self.world.book.account(ADVERTISER).levels.clone();
            let outcome = self.world.apply(&record);
            for (level, balance) in &self.world.book.account(ADVERTISER).levels {
                // INV-4: only a click spends what was not drawn, and only where there is room.
                let spent = balance.committed().minus(before[level].committed()).expect("in range");
                let by_click = lease.grant.price_model == PriceModel::Cpc && event == BeaconEvent::Click;
                assert!(spent <= Micros::ZERO || (by_click && spent == price), "INV-4: {level:?} {event:?}: {spent:?}");
                let within = balance.budget.is_none_or(|budget| balance.committed() <= budget);
                assert!(spent <= Micros::ZERO || within, "INV-4: {level:?}: a click passes the budget");
            }
            if let Outcome::Settled { price, .. } = outcome
                && price > Micros::ZERO
                && lease.grant.price_model != PriceModel::Flat
            {
                self.charged.push(Reversal {
                    impression_id,
                    event,
                    network_id: NETWORK,
                    advertiser_id: ADVERTISER,
                    campaign_id: lease.grant.campaign_id,
                    line_item_id: lease.grant.line_item_id,
                    price,
                    reason: InvalidTraffic::Reported,
                    decided_at: T0,
                    reversed_at: T0.plus_ms(1),
                    advertiser_day: self.day,
                });
            }
        }
    }

    fn give_back(&mut self, lease: &Lease) {
        let count = self.drawn.get(&lease.grant.lease_id).copied().unwrap_or(0);
        let price = match lease.grant.price_model {
            PriceModel::Cpm | PriceModel::Cpcl => i64::try_from(line_number(lease)).expect("small") * 3 + 4,
            PriceModel::Cpc | PriceModel::Flat => 0,
        };
        let mut record = returned(1, line_number(lease), price * i64::from(count), count);
        let Event::LeaseReturned(body) = &mut record.body else { panic!("a return") };
        body.lease_id = lease.grant.lease_id;
        let expected = match (lease.closed_at, lease.returned) {
            (Some(_), _) => Outcome::Ignored(IgnoredReason::UnknownLease),
            (None, Some(_)) => Outcome::Repeated,
            (None, None) => Outcome::Returned(lease.grant.lease_id),
        };
        assert_eq!(self.world.apply(&record), expected);
    }

    fn close(&mut self, lease: &Lease) {
        let watermark = Watermark::until(LAST_BILLABLE_UNTIL.plus_ms(1));
        let closes = plan_closes(self.world.book.account(ADVERTISER), watermark, LAST_BILLABLE_UNTIL);
        let chosen = lease.grant.lease_id;
        if let Some(close) = closes.into_iter().find(|close| close.lease_id == chosen) {
            assert_eq!(self.world.apply(&envelope(T0, Event::LeaseClosed(close))), Outcome::Closed(chosen));
        }
    }

    fn reverse(&mut self, which: prop::sample::Index) {
        if self.charged.is_empty() {
            return;
        }
        let reversal = self.charged.swap_remove(which.index(self.charged.len()));
        let price = reversal.price;
        let impression_id = reversal.impression_id;
        let outcome = self.world.apply(&envelope(T0, Event::Reversal(Box::new(reversal))));
        assert_eq!(outcome, Outcome::Reversed { impression_id, price });
    }
}

fn line_number(lease: &Lease) -> u128 {
    (0..4).find(|n| line(*n) == lease.grant.line_item_id).expect("one of four")
}

fn within_limits(world: &mut World, grant: &LeaseGranted) {
    assert_eq!(world.apply(&envelope(T0, Event::LeaseGranted(grant.clone()))), Outcome::Granted(grant.lease_id));
    assert!(grant.max_ordinals > 0);
    let account = world.book.account(ADVERTISER);
    for level in levels_of(ADVERTISER, &Grant::of(grant)) {
        let balance = account.balance(level);
        for limit in grant.limits.iter().filter(|limit| (limit.level, limit.window) == level.limit()) {
            let is_paid = grant.amount > Micros::ZERO;
            assert!(!is_paid || limit.budget.is_none_or(|budget| balance.committed() <= budget), "INV-4: {level:?}");
            assert!(limit.goal.is_none_or(|goal| balance.committed_count() <= goal), "INV-4: {level:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// INV-4: whatever budgets, draws, losses, returns, reversals and closes, each grant keeps settled + open within the limits in force, at every
    /// level and on every day; and settling and closing never raise what counts as spent, but for a click that has room.
    #[test]
    fn no_grant_passes_a_budget_at_any_level(acts in prop::collection::vec(any_act(), 1..80)) {
        let mut play = Play {
            world: World::default(),
            named: 0,
            drawn: BTreeMap::new(),
            limits: Vec::new(),
            day: Day::utc_of(T0),
            charged: Vec::new(),
        };
        for act in acts {
            play.act(&act);
            for account in play.world.book.accounts.values() {
                account.check();
            }
        }
    }
}

fn line_budget(budget: Option<i64>) -> Vec<LevelLimit> {
    let (level, window) = (BudgetLevel::LineItem, LimitWindow::Life);
    vec![LevelLimit { level, window, budget: budget.map(Micros), goal: None }]
}

#[test]
fn budgets_of_one_micro_and_of_a_billion_units() {
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
        let need = need(1, PriceModel::Cpm, price, line_budget(budget), Day::utc_of(T0));
        let grants = plan_grants(&account, &[need], &terms(1), || lease(1));
        let found = grants.first().map(|grant| (grant.amount.0, grant.max_ordinals));
        assert_eq!(found, expected, "price {price}, budget {budget:?}");
    }
}

/// A lease bigger than the pool can't be: it is cut to the pool. A budget lowered below what is leased grants nothing more, and what is in
/// the air is billed.
#[test]
fn a_budget_lowered_below_what_is_leased_grants_nothing_more() {
    let day = Day::utc_of(T0);
    let mut world = World::of(&[granted(1, 1, 100, 10)]);
    let lowered = need(1, PriceModel::Cpm, 10, line_budget(Some(50)), day);
    assert_eq!(plan_grants(world.book.account(ADVERTISER), &[lowered], &terms(1), || lease(2)), []);
    let raised = need(1, PriceModel::Cpm, 10, line_budget(Some(130)), day);
    let large = LineNeed { impressions: 10_000, ..raised };
    let grants = plan_grants(world.book.account(ADVERTISER), &[large], &terms(1), || lease(2));
    assert_eq!(grants.iter().map(|grant| grant.amount).collect::<Vec<_>>(), [Micros(10)], "half of what is left");
    let outcome = world.apply(&beacon(1, 0, 1, IMPRESSION));
    assert_eq!(outcome, Outcome::Settled { lease_id: lease(1), ordinal: 0, price: Micros(10) });
}

#[test]
fn what_is_hoped_is_covered_by_a_thousandth_of_the_pool_at_most() {
    let (day, account) = (Day::utc_of(T0), AdvertiserAccount::new(ADVERTISER));
    let ordinals = |budget: i64, hoped: u32| {
        let need = need(1, PriceModel::Cpm, 10, line_budget(Some(budget)), day);
        let grants = plan_grants(&account, &[LineNeed { hoped, ..need }], &terms(2), || lease(2));
        grants.first().map(|grant| grant.max_ordinals)
    };
    assert_eq!(ordinals(1_024 * 10 * 5_000, 10_240), Some(5_000));
    assert_eq!(ordinals(1_024 * 10 * 50_000, 10_240), Some(10_240));
    assert_eq!(ordinals(1_024 * 10 * 10, 10_240), Some(20), "what is needed is covered all the same");
    assert_eq!(ordinals(1_024 * 10 * 1_000_000, 1_000_000), Some(65_536));
}

#[test]
fn a_lease_ends_with_the_day_it_belongs_to() {
    let day = Day::utc_of(T0);
    let midnight = T0.plus_ms(60_000);
    let need = LineNeed { days_end: midnight, ..need(1, PriceModel::Cpm, 10, Vec::new(), day) };
    let grants = plan_grants(&AdvertiserAccount::new(ADVERTISER), &[need], &terms(1), || lease(1));
    assert_eq!(grants[0].draw_until, midnight);
    let billable = LAST_BILLABLE_UNTIL.since(T0.plus_ms(900_000));
    assert_eq!(grants[0].last_billable_until, midnight.plus_ms(billable), "its tokens live as long as others");
}

#[test]
fn a_daily_budget_is_new_each_day() {
    let limit =
        |window, budget| LevelLimit { level: BudgetLevel::Campaign, window, budget: Some(Micros(budget)), goal: None };
    let limits = vec![limit(LimitWindow::Life, 1_000), limit(LimitWindow::Day, 40)];
    let today = Day::utc_of(T0);
    let mut world = World::default();
    let mut spent = Vec::new();
    for (n, day) in [(1, today), (2, today), (3, today), (4, Day(today.0 + 1))] {
        let need = need(1, PriceModel::Cpm, 10, limits.clone(), day);
        for grant in plan_grants(world.book.account(ADVERTISER), &[need], &terms(1), || lease(n)) {
            spent.push((n, grant.amount.0));
            within_limits(&mut world, &grant);
        }
    }
    // Half of what is left, then half of that, at least one impression; the third finds one left, the next day begins anew.
    assert_eq!(spent, [(1, 20), (2, 10), (3, 10), (4, 20)]);
}

#[test]
fn one_lease_at_a_time_holds_the_flat_fee() {
    let day = Day::utc_of(T0);
    let need = |budget| need(1, PriceModel::Flat, 700, line_budget(budget), day);
    let mut world = World::default();
    assert_eq!(plan_grants(world.book.account(ADVERTISER), &[need(Some(699))], &terms(1), || lease(1)), []);
    let grants =
        plan_grants(world.book.account(ADVERTISER), &[need(Some(700)), need(Some(700))], &terms(1), || lease(1));
    assert_eq!(grants.iter().map(|grant| grant.amount).collect::<Vec<_>>(), [Micros(700), Micros(0)]);
    within_limits(&mut world, &grants[0]);
    // Closed without anything heard, the fee waits for the next lease.
    world.apply(&closed(1, 1, 0, 0, 700));
    let grants = plan_grants(world.book.account(ADVERTISER), &[need(Some(700))], &terms(1), || lease(2));
    assert_eq!(grants[0].amount, Micros(700));
}

#[test]
fn open_leases_of_a_line_item_are_bounded() {
    let mut world = World::default();
    let count = u128::try_from(MAX_OPEN_LEASES_PER_LINE_ITEM).expect("small");
    for n in 0..count {
        world.apply(&granted(n, 1, 1, 1));
    }
    let need = |line_item| need(line_item, PriceModel::Cpm, 1, Vec::new(), Day::utc_of(T0));
    let grants = plan_grants(world.book.account(ADVERTISER), &[need(1), need(3)], &terms(1), || lease(count));
    assert_eq!(grants.iter().map(|grant| grant.line_item_id).collect::<Vec<_>>(), [line(3)]);
}
