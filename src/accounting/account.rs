//! One advertiser's money: balances at every level, leases, and the impressions that have none.
//!
//! The state changes only by applying records of the event log, in the log's order. Which records may permute without changing the
//! result is INV-14: the beacons of an advertiser among each other, duplicated at will, after the `LeaseGranted` and before the
//! `LeaseClosed` of their lease, and around its `LeaseReturned`. An impression wins over a void of the same ordinal, whichever comes first: a
//! void marks the ordinal, and its money goes back to the levels only when the lease closes, when no impression can come any more that would be
//! billed. (Had a void freed the money at once, an impression after it could be charged only by breaking the budget or by depending on the
//! order.)

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{DeliveryChanges, DeliveryKey, DeliveryTotals, UnbilledReason};
use super::lease::{CLOSED_LEASE_KEPT_MS, Grant, Lease, MAX_ORDINALS, Returned};
use super::loose::LooseSet;
use super::settle;
use crate::events::{BudgetLevel, Envelope, Event, LeaseClosed, LeaseGranted, LeaseReturned, LimitWindow, Reversal};
use crate::model::{AdvertiserId, BeaconEvent, CampaignId, Day, ImpressionId, LeaseId, LineItemId, Micros, WallMs};

/// How long after the decision of its ad a charge may be reversed, in milliseconds (7 days: what a measurement vendor takes for its verdict).
pub const REVERSIBLE_MS: i64 = 7 * 86_400_000;

/// How long after the decision of its ad a reversal is remembered, in milliseconds: a day longer than another may come, so that a second one of
/// the same impression is told apart whatever waited in between.
pub const REVERSAL_KEPT_MS: i64 = REVERSIBLE_MS + 86_400_000;

/// How long after its end a day's balances are kept in memory and among the rows, in milliseconds (two days): longer than any token of that
/// day can be billed by default; a day with open leases is kept until they are closed.
const DAY_KEPT_MS: i64 = 3 * 86_400_000;

/// A level at which money is limited. Every lease counts at one of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LevelId {
    /// All of an advertiser.
    Advertiser(AdvertiserId),
    /// All of a campaign.
    Campaign(CampaignId),
    /// One line item.
    LineItem(LineItemId),
    /// An advertiser on one day of its zone.
    AdvertiserDay(AdvertiserId, Day),
    /// A campaign on one day of its advertiser's zone.
    CampaignDay(CampaignId, Day),
    /// A line item on one day of its own zone.
    LineItemDay(LineItemId, Day),
}

impl LevelId {
    /// The day, of a level that is one.
    #[must_use]
    pub const fn day(self) -> Option<Day> {
        match self {
            Self::Advertiser(_) | Self::Campaign(_) | Self::LineItem(_) => None,
            Self::AdvertiserDay(_, day) | Self::CampaignDay(_, day) | Self::LineItemDay(_, day) => Some(day),
        }
    }

    /// What a grant's limits call it.
    #[must_use]
    pub const fn limit(self) -> (BudgetLevel, LimitWindow) {
        match self {
            Self::Advertiser(_) => (BudgetLevel::Advertiser, LimitWindow::Life),
            Self::Campaign(_) => (BudgetLevel::Campaign, LimitWindow::Life),
            Self::LineItem(_) => (BudgetLevel::LineItem, LimitWindow::Life),
            Self::AdvertiserDay(..) => (BudgetLevel::Advertiser, LimitWindow::Day),
            Self::CampaignDay(..) => (BudgetLevel::Campaign, LimitWindow::Day),
            Self::LineItemDay(..) => (BudgetLevel::LineItem, LimitWindow::Day),
        }
    }

    /// Whether nothing can change there any more at log time `log_time`, so that a level without open leases may be forgotten. The day's zone is not
    /// known here: no zone is more than a day away from UTC.
    #[must_use]
    pub fn is_over(self, log_time: WallMs) -> bool {
        self.day().is_some_and(|day| log_time.since(WallMs((i64::from(day.0) + 1) * 86_400_000)) > DAY_KEPT_MS)
    }
}

/// The money of one level. `available` = budget − settled − open, where the level has a budget.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Balance {
    /// What was billed, less what was reversed.
    pub settled: Micros,
    /// How many impressions count as delivered.
    pub settled_count: u64,
    /// The unsettled part of open leases: counts as spent.
    pub open: Micros,
    /// The impressions that open leases may still settle.
    pub open_count: u64,
    /// The budget as the newest grant here says; what a click is judged by, which draws nothing beforehand.
    pub budget: Option<Micros>,
}

impl Balance {
    /// What counts as spent: settled and open.
    #[must_use]
    pub fn committed(&self) -> Micros {
        self.settled.plus(self.open).expect("INV-4: a grant is applied only where the sum fits")
    }

    /// The impressions that count as delivered against a goal: settled and open.
    #[must_use]
    pub const fn committed_count(&self) -> u64 {
        self.settled_count.saturating_add(self.open_count)
    }

    /// Whether the budget has room for so much more.
    #[must_use]
    pub fn has_room(&self, price: Micros) -> bool {
        self.committed().plus(price).is_ok_and(|sum| self.budget.is_none_or(|budget| sum <= budget))
    }
}

/// What a record did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A lease was opened.
    Granted(LeaseId),
    /// What had not been drawn of a lease went back.
    Returned(LeaseId),
    /// A lease was closed, and its unsettled part given back.
    Closed(LeaseId),
    /// A charge was taken back.
    Reversed {
        /// Of which impression.
        impression_id: ImpressionId,
        /// What had been charged.
        price: Micros,
    },
    /// An impression was billed.
    Settled {
        /// The lease.
        lease_id: LeaseId,
        /// Which of its impressions.
        ordinal: u32,
        /// What was billed.
        price: Micros,
    },
    /// An impression was heard and not billed.
    Unbilled(UnbilledReason),
    /// An event that is not billed was counted for the first time.
    Counted,
    /// The event was counted before: nothing changed.
    Repeated,
    /// The record changed nothing, and says why.
    Ignored(IgnoredReason),
}

/// Why a record changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IgnoredReason {
    /// Not an event of accounting.
    NotMoney,
    /// A second grant of one lease id, or one that cannot hold (negative amount, too many ordinals, sum out of range).
    BadGrant,
    /// A grant whose room clicks took that came to the log after it was planned: it is opened for nobody, and planned again.
    NoRoom,
    /// The return or close of a lease that is unknown or closed.
    UnknownLease,
    /// A return by another server than the lease's, of more than was granted, or of something that was heard.
    BadReturn,
    /// A reversal of what was never charged, at another price, or that can't hold.
    NotCharged,
    /// So late that whether it is a repeat is no more known.
    TooLate,
    /// The set of impressions without a lease is full.
    TooManyLoose,
}

impl IgnoredReason {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotMoney => "not_money",
            Self::BadGrant => "bad_grant",
            Self::NoRoom => "no_room",
            Self::UnknownLease => "unknown_lease",
            Self::BadReturn => "bad_return",
            Self::NotCharged => "not_charged",
            Self::TooLate => "too_late",
            Self::TooManyLoose => "too_many_loose",
        }
    }
}

/// What applying a record changed besides the account itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effects {
    /// What happened.
    pub outcome: Outcome,
    /// Changes of delivery totals.
    pub delivery: DeliveryChanges,
}

impl Effects {
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { outcome, delivery: DeliveryChanges::new() }
    }
}

/// All money state of one advertiser. One owner applies its records, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdvertiserAccount {
    /// Whose it is.
    pub advertiser_id: AdvertiserId,
    /// Balances of the advertiser, its campaigns and its line items, over their lives and on single days.
    pub levels: BTreeMap<LevelId, Balance>,
    /// Open leases, and closed ones that are still remembered.
    pub leases: BTreeMap<LeaseId, Box<Lease>>,
    /// Impressions that no lease of this account covers.
    pub loose: LooseSet,
    /// Charges that were taken back, as long as a second reversal may come.
    pub reversed: BTreeMap<ImpressionId, Reversal>,
}

impl AdvertiserAccount {
    /// An account in which nothing has happened.
    #[must_use]
    pub fn new(advertiser_id: AdvertiserId) -> Self {
        Self {
            advertiser_id,
            levels: BTreeMap::new(),
            leases: BTreeMap::new(),
            loose: LooseSet::default(),
            reversed: BTreeMap::new(),
        }
    }

    /// The balance of a level; zero when nothing happened there.
    #[must_use]
    pub fn balance(&self, level: LevelId) -> Balance {
        self.levels.get(&level).copied().unwrap_or_default()
    }

    /// Open leases of a line item, oldest name first.
    pub fn open_leases(&self, line_item_id: LineItemId) -> impl Iterator<Item = &Lease> {
        let leases = self.leases.values().map(AsRef::<Lease>::as_ref);
        leases.filter(move |lease| lease.closed_at.is_none() && lease.grant.line_item_id == line_item_id)
    }

    /// INV-4: each balance is the sum of its leases' parts, as far as leases tell (open ones are never forgotten). For tests and the
    /// simulator: it walks all leases.
    pub fn check(&self) {
        let mut open: BTreeMap<LevelId, (i128, u64)> = BTreeMap::new();
        for lease in self.leases.values() {
            lease.check();
            for level in levels_of(self.advertiser_id, &lease.grant) {
                let sum = open.entry(level).or_default();
                sum.0 += i128::from(lease.unsettled().0);
                sum.1 += u64::from(lease.unsettled_count());
            }
        }
        for (level, balance) in &self.levels {
            let (micros, count) = open.get(level).copied().unwrap_or_default();
            assert_eq!(i128::from(balance.open.0), micros, "INV-4: {level:?}: open money");
            assert_eq!(balance.open_count, count, "INV-4: {level:?}: open impressions");
            assert!(balance.settled >= Micros::ZERO, "INV-4: {level:?}: settled");
        }
    }
}

/// The levels at which a lease counts: advertiser, campaign and line item, over their lives and on the lease's days.
#[must_use]
pub fn levels_of(advertiser_id: AdvertiserId, grant: &Grant) -> [LevelId; 6] {
    [
        LevelId::Advertiser(advertiser_id),
        LevelId::Campaign(grant.campaign_id),
        LevelId::LineItem(grant.line_item_id),
        LevelId::AdvertiserDay(advertiser_id, grant.advertiser_day),
        LevelId::CampaignDay(grant.campaign_id, grant.advertiser_day),
        LevelId::LineItemDay(grant.line_item_id, grant.line_item_day),
    ]
}

/// Applies one record to the account that it belongs to. Deterministic: same account and record, same account and effects. Never
/// panics on what a record says; what cannot hold is ignored, or kept unbilled, with a reason.
pub fn apply(account: &mut AdvertiserAccount, envelope: &Envelope) -> Effects {
    match &envelope.body {
        Event::LeaseGranted(granted) => open_lease(account, granted),
        Event::LeaseReturned(returned) => return_lease(account, returned),
        Event::LeaseClosed(closed) => close_lease(account, closed),
        Event::Beacon(beacon) => settle::apply_beacon(account, beacon, envelope.received_at),
        Event::Reversal(reversal) => reverse(account, reversal),
        Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_) => {
            Effects::of(Outcome::Ignored(IgnoredReason::NotMoney))
        }
    }
}

fn open_lease(account: &mut AdvertiserAccount, granted: &LeaseGranted) -> Effects {
    let grant = Grant::of(granted);
    let levels = levels_of(account.advertiser_id, &grant);
    // A sum that leaves the range at one level leaves it at none: all levels are looked at before one is changed.
    let fits = levels.iter().all(|level| account.balance(*level).committed().plus(grant.amount).is_ok());
    let holds = grant.amount >= Micros::ZERO && grant.max_ordinals <= MAX_ORDINALS;
    if !fits || !holds || account.leases.contains_key(&grant.lease_id) {
        return Effects::of(Outcome::Ignored(IgnoredReason::BadGrant));
    }
    // Between planning and here only clicks raise what counts as spent; the grant is handed over only if it is opened, so that it may give way.
    let within = |level: &LevelId| {
        let sum = account.balance(*level).committed().plus(grant.amount);
        budget_of(granted, *level).is_none_or(|budget| sum.is_ok_and(|sum| sum <= budget))
    };
    if grant.amount > Micros::ZERO && !levels.iter().all(within) {
        return Effects::of(Outcome::Ignored(IgnoredReason::NoRoom));
    }
    for level in levels {
        let balance = account.levels.entry(level).or_default();
        balance.open = balance.open.plus(grant.amount).expect("looked at above");
        balance.open_count += u64::from(grant.max_ordinals);
        balance.budget = budget_of(granted, level);
    }
    let lease_id = grant.lease_id;
    account.leases.insert(lease_id, Box::new(Lease::open(grant)));
    Effects::of(Outcome::Granted(lease_id))
}

/// The budget that a grant names for a level.
#[must_use]
pub fn budget_of(granted: &LeaseGranted, level: LevelId) -> Option<Micros> {
    granted.limits.iter().find(|limit| (limit.level, limit.window) == level.limit()).and_then(|limit| limit.budget)
}

/// Gives the part back that was never drawn: from then on the lease is what was drawn of it.
fn return_lease(account: &mut AdvertiserAccount, record: &LeaseReturned) -> Effects {
    let Some(lease) = account.leases.get_mut(&record.lease_id).filter(|lease| lease.closed_at.is_none()) else {
        return Effects::of(Outcome::Ignored(IgnoredReason::UnknownLease));
    };
    if lease.returned.is_some() {
        return Effects::of(Outcome::Repeated);
    }
    let returned = Returned { drawn: record.drawn, drawn_count: record.drawn_count, at: record.returned_at };
    let is_holder = (lease.grant.server_id, lease.grant.boot_id) == (record.server_id, record.boot_id);
    if !is_holder || !lease.covers(&returned) {
        return Effects::of(Outcome::Ignored(IgnoredReason::BadReturn));
    }
    let before = (lease.unsettled(), lease.unsettled_count());
    lease.returned = Some(returned);
    let after = (lease.unsettled(), lease.unsettled_count());
    let levels = levels_of(account.advertiser_id, &lease.grant);
    give_back(account, levels, before.0.minus(after.0).expect("less than before"), before.1 - after.1);
    Effects::of(Outcome::Returned(record.lease_id))
}

/// Gives the unsettled part back. What the record says was settled is for readers of the log; the account goes by its own bitmap, and
/// audit compares the two.
fn close_lease(account: &mut AdvertiserAccount, closed: &LeaseClosed) -> Effects {
    let Some(lease) = account.leases.get_mut(&closed.lease_id).filter(|lease| lease.closed_at.is_none()) else {
        return Effects::of(Outcome::Ignored(IgnoredReason::UnknownLease));
    };
    let (micros, count) = (lease.unsettled(), lease.unsettled_count());
    lease.closed_at = Some(closed.closed_at);
    // What waits for its start waits for ever: it stays unbilled.
    lease.awaiting.clear();
    let levels = levels_of(account.advertiser_id, &lease.grant);
    give_back(account, levels, micros, count);
    Effects::of(Outcome::Closed(closed.lease_id))
}

/// What counted as open counts no more.
fn give_back(account: &mut AdvertiserAccount, levels: [LevelId; 6], micros: Micros, count: u32) {
    for level in levels {
        let balance = account.levels.entry(level).or_default();
        balance.open = balance.open.minus(micros).expect("INV-4: a level holds its leases");
        balance.open_count = balance.open_count.checked_sub(u64::from(count)).expect("INV-4: a level holds its leases");
        assert!(balance.open >= Micros::ZERO, "INV-4: {level:?}: less than nothing is open");
    }
}

/// Takes a charge back: the levels have its money again, over their lives; its day is over. The lease keeps what it settled: the reversal
/// is an entry of its own against it. Whether a lease that is no more remembered had charged it was judged by whoever wrote the record, from the
/// log, and audit judges it again.
fn reverse(account: &mut AdvertiserAccount, reversal: &Reversal) -> Effects {
    if account.reversed.contains_key(&reversal.impression_id) {
        return Effects::of(Outcome::Repeated);
    }
    if reversal.reversed_at.since(reversal.decided_at) > REVERSIBLE_MS {
        return Effects::of(Outcome::Ignored(IgnoredReason::TooLate));
    }
    let levels = [
        LevelId::Advertiser(account.advertiser_id),
        LevelId::Campaign(reversal.campaign_id),
        LevelId::LineItem(reversal.line_item_id),
    ];
    let count = u64::from(reversal.event != BeaconEvent::Click);
    let charged = is_charged(account, reversal);
    let holds = levels.iter().all(|level| {
        let balance = account.balance(*level);
        balance.settled >= reversal.price && balance.settled_count >= count
    });
    if !charged || !holds || reversal.price <= Micros::ZERO {
        return Effects::of(Outcome::Ignored(IgnoredReason::NotCharged));
    }
    for level in levels {
        let balance = account.levels.entry(level).or_default();
        balance.settled = balance.settled.minus(reversal.price).expect("looked at above");
        balance.settled_count -= count;
    }
    account.reversed.insert(reversal.impression_id, reversal.clone());
    let mut totals = DeliveryTotals { billed: -1, ..DeliveryTotals::default() };
    totals.billed_micros = Micros::ZERO.minus(reversal.price).expect("a price is not negative");
    totals.unbilled_by(UnbilledReason::from(reversal.reason), 1);
    let key = DeliveryKey { line_item_id: reversal.line_item_id, hour: reversal.decided_at.hour_start() };
    let outcome = Outcome::Reversed { impression_id: reversal.impression_id, price: reversal.price };
    Effects { outcome, delivery: DeliveryChanges::from([(key, totals)]) }
}

/// Whether the lease charged the impression, as far as every copy of the books must remember it: when a lease is forgotten depends on when commits
/// are made, so what may be forgotten is not asked.
fn is_charged(account: &AdvertiserAccount, reversal: &Reversal) -> bool {
    let ImpressionId::Leased { lease_id, ordinal } = reversal.impression_id else { return false };
    if reversal.reversed_at.since(reversal.decided_at) > CLOSED_LEASE_KEPT_MS {
        return true;
    }
    account.leases.get(&lease_id).is_some_and(|lease| {
        lease.settled.contains(ordinal)
            && (lease.grant.campaign_id, lease.grant.line_item_id) == (reversal.campaign_id, reversal.line_item_id)
    })
}

impl AdvertiserAccount {
    /// Drops what no record can change any more at log time `log_time`: days that are over and reversals that can't come twice. (Leases and
    /// impressions without one: see [`super::Book::forget`].)
    pub(super) fn forget_days(&mut self, log_time: WallMs) -> Vec<LevelId> {
        self.reversed.retain(|_, reversal| reversal.decided_at.plus_ms(REVERSAL_KEPT_MS) >= log_time);
        let open = self.leases.values().filter(|lease| lease.closed_at.is_none());
        let held: BTreeSet<_> = open.flat_map(|lease| levels_of(self.advertiser_id, &lease.grant)).collect();
        let over = |level: &LevelId, _: &mut Balance| level.is_over(log_time) && !held.contains(level);
        self.levels.extract_if(.., over).map(|(level, _)| level).collect()
    }
}
