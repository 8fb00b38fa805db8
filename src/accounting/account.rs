//! One advertiser's money: balances at every level, leases, and the impressions that have none.
//!
//! The state changes only by applying records of the event log, in the log's order. Which records may permute without changing the
//! result is INV-14: the beacons of an advertiser among each other, duplicated at will, after the `LeaseGranted` and before the
//! `LeaseClosed` of their lease. An impression wins over a void of the same ordinal, whichever comes first: a void marks the ordinal, and
//! its money goes back to the levels only when the lease closes, when no impression can come any more that would be billed. (Had a void
//! freed the money at once, an impression after it could be charged only by breaking the budget or by depending on the order.)

use std::collections::BTreeMap;

use super::delivery::{DeliveryChanges, UnbilledReason};
use super::lease::{Grant, Lease, MAX_ORDINALS};
use super::loose::LooseSet;
use super::settle;
use crate::events::{Envelope, Event, LeaseClosed, LeaseGranted};
use crate::model::{AdvertiserId, CampaignId, LeaseId, LineItemId, Micros};

/// A level at which money is limited. Every lease counts at one of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LevelId {
    /// All of an advertiser.
    Advertiser(AdvertiserId),
    /// All of a campaign.
    Campaign(CampaignId),
    /// One line item.
    LineItem(LineItemId),
}

/// The money of one level. `available` = budget − settled − open, where the level has a budget.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Balance {
    /// What was billed.
    pub settled: Micros,
    /// How many impressions were billed.
    pub settled_count: u64,
    /// The unsettled part of open leases: counts as spent.
    pub open: Micros,
    /// The impressions that open leases may still settle.
    pub open_count: u64,
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
}

/// What a record did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A lease was opened.
    Granted(LeaseId),
    /// A lease was closed, and its unsettled part given back.
    Closed(LeaseId),
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
    /// The close of a lease that is unknown or closed.
    UnknownLease,
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
            Self::UnknownLease => "unknown_lease",
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
    /// Balances of the advertiser, its campaigns and its line items.
    pub levels: BTreeMap<LevelId, Balance>,
    /// Open leases, and closed ones that are still remembered.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Impressions that no lease of this account covers.
    pub loose: LooseSet,
}

impl AdvertiserAccount {
    /// An account in which nothing has happened.
    #[must_use]
    pub fn new(advertiser_id: AdvertiserId) -> Self {
        Self { advertiser_id, levels: BTreeMap::new(), leases: BTreeMap::new(), loose: LooseSet::default() }
    }

    /// The balance of a level; zero when nothing happened there.
    #[must_use]
    pub fn balance(&self, level: LevelId) -> Balance {
        self.levels.get(&level).copied().unwrap_or_default()
    }

    /// Open leases of a line item, oldest name first.
    pub fn open_leases(&self, line_item_id: LineItemId) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(move |lease| lease.closed_at.is_none() && lease.grant.line_item_id == line_item_id)
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

/// The three levels at which a lease counts.
#[must_use]
pub fn levels_of(advertiser_id: AdvertiserId, grant: &Grant) -> [LevelId; 3] {
    [LevelId::Advertiser(advertiser_id), LevelId::Campaign(grant.campaign_id), LevelId::LineItem(grant.line_item_id)]
}

/// Applies one record to the account that it belongs to. Deterministic: same account and record, same account and effects. Never
/// panics on what a record says; what cannot hold is ignored, or kept unbilled, with a reason.
pub fn apply(account: &mut AdvertiserAccount, envelope: &Envelope) -> Effects {
    match &envelope.body {
        Event::LeaseGranted(granted) => open_lease(account, granted),
        Event::LeaseClosed(closed) => close_lease(account, closed),
        Event::Beacon(beacon) => settle::apply_beacon(account, beacon, envelope.received_at),
        Event::LeaseReturned(_) | Event::Reversal(_) | Event::Decision(_) | Event::Catalog(_) => {
            Effects::of(Outcome::Ignored(IgnoredReason::NotMoney))
        }
    }
}

fn open_lease(account: &mut AdvertiserAccount, granted: &LeaseGranted) -> Effects {
    let grant = Grant {
        lease_id: granted.lease_id,
        server_id: granted.server_id,
        boot_id: granted.boot_id,
        network_id: granted.network_id,
        campaign_id: granted.campaign_id,
        line_item_id: granted.line_item_id,
        amount: granted.amount,
        max_ordinals: granted.max_ordinals,
        granted_at: granted.granted_at,
        draw_until: granted.draw_until,
        last_billable_until: granted.last_billable_until,
    };
    let levels = levels_of(account.advertiser_id, &grant);
    // A sum that leaves the range at one level leaves it at none: all levels are looked at before one is changed.
    let fits = levels.iter().all(|level| account.balance(*level).committed().plus(grant.amount).is_ok());
    let holds = grant.amount >= Micros::ZERO && grant.max_ordinals <= MAX_ORDINALS;
    if !fits || !holds || account.leases.contains_key(&grant.lease_id) {
        return Effects::of(Outcome::Ignored(IgnoredReason::BadGrant));
    }
    for level in levels {
        let balance = account.levels.entry(level).or_default();
        balance.open = balance.open.plus(grant.amount).expect("looked at above");
        balance.open_count += u64::from(grant.max_ordinals);
    }
    let lease_id = grant.lease_id;
    account.leases.insert(lease_id, Lease::open(grant));
    Effects::of(Outcome::Granted(lease_id))
}

/// Gives the unsettled part back. What the record says was settled is for readers of the log; the account goes by its own bitmap, and
/// audit compares the two.
fn close_lease(account: &mut AdvertiserAccount, closed: &LeaseClosed) -> Effects {
    let Some(lease) = account.leases.get_mut(&closed.lease_id).filter(|lease| lease.closed_at.is_none()) else {
        return Effects::of(Outcome::Ignored(IgnoredReason::UnknownLease));
    };
    let (micros, count) = (lease.unsettled(), lease.unsettled_count());
    lease.closed_at = Some(closed.closed_at);
    let levels = levels_of(account.advertiser_id, &lease.grant);
    for level in levels {
        let balance = account.levels.entry(level).or_default();
        balance.open = balance.open.minus(micros).expect("INV-4: a level holds its leases");
        balance.open_count = balance.open_count.checked_sub(u64::from(count)).expect("INV-4: a level holds its leases");
        assert!(balance.open >= Micros::ZERO, "INV-4: {level:?}: less than nothing is open");
    }
    Effects::of(Outcome::Closed(closed.lease_id))
}
