//! The book of one partition: the accounts of its advertisers, and the impressions that nobody pays for.

use std::collections::BTreeMap;

use super::account::{AdvertiserAccount, Effects, IgnoredReason, LevelId, Outcome, apply};
use super::chain::Chain;
use super::checkpoint::Sums;
use super::delivery::UnbilledReason;
use super::lease::Lease;
use super::loose::LooseSet;
use super::servers::Register;
use super::watermark::SETTLE_MARGIN_MS;
use crate::events::{BeaconRecord, Checkpoint, Envelope, Event};
use crate::model::{AdvertiserId, ImpressionId, Tier, WallMs};

/// Whose state a record changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// Nobody's: house ads and previews, which are keyed by impression.
    Unpaid,
    /// An advertiser's.
    Advertiser(AdvertiserId),
}

/// All money state of a partition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Book {
    /// Accounts, by advertiser.
    pub accounts: BTreeMap<AdvertiserId, AdvertiserAccount>,
    /// Impressions that nobody pays for.
    pub unpaid: LooseSet,
    /// Greatest receive time of any record applied.
    pub log_time: WallMs,
}

/// A book and the place in the log of which it is the state: what a commit makes durable.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LedgerState {
    /// The book.
    pub book: Book,
    /// Offset after the last record applied; where reading goes on.
    pub cursor: u64,
    /// What stands for all records applied.
    pub chain: Chain,
    /// The servers; not made from the log, and kept in the same commits.
    pub register: Register,
    /// Sums over entries and delivery.
    pub sums: Sums,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

/// What is no more remembered, so that its rows can go (loose ones) or stay as history (leases).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Forgotten {
    /// Impressions without a lease, with whose they were.
    pub loose: Vec<(Owner, ImpressionId)>,
    /// Closed leases, with whose they were, as they are for good.
    pub leases: Vec<(AdvertiserId, Lease)>,
    /// Days that are over.
    pub days: Vec<(AdvertiserId, LevelId)>,
}

impl Forgotten {
    /// Adds what was forgotten later.
    pub fn extend(&mut self, later: Self) {
        let Self { loose, leases, days } = later;
        self.loose.extend(loose);
        self.leases.extend(leases);
        self.days.extend(days);
    }
}

impl Book {
    /// Applies one record to the account that it belongs to.
    pub fn apply(&mut self, envelope: &Envelope) -> Effects {
        self.log_time = self.log_time.max(envelope.received_at);
        match owner_of(&envelope.body) {
            Some(Owner::Advertiser(id)) => {
                apply(self.accounts.entry(id).or_insert_with(|| AdvertiserAccount::new(id)), envelope)
            }
            Some(Owner::Unpaid) => match &envelope.body {
                Event::Beacon(beacon) => self.unpaid.apply(beacon, envelope.received_at, unleased_reason(beacon)),
                Event::LeaseGranted(_)
                | Event::LeaseReturned(_)
                | Event::LeaseClosed(_)
                | Event::Reversal(_)
                | Event::Decision(_)
                | Event::Catalog(_)
                | Event::Ledger(_) => Effects::of(Outcome::Ignored(IgnoredReason::NotMoney)),
            },
            None => Effects::of(Outcome::Ignored(IgnoredReason::NotMoney)),
        }
    }

    /// The account of an advertiser; begun when it is not there.
    pub fn account(&mut self, id: AdvertiserId) -> &AdvertiserAccount {
        self.accounts.entry(id).or_insert_with(|| AdvertiserAccount::new(id))
    }

    /// The impressions without a lease of an owner.
    #[must_use]
    pub fn loose(&self, owner: Owner) -> Option<&LooseSet> {
        match owner {
            Owner::Unpaid => Some(&self.unpaid),
            Owner::Advertiser(id) => self.accounts.get(&id).map(|account| &account.loose),
        }
    }

    /// Drops what no record can change any more, by the log's own time: for a log whose records wait no longer than the margin.
    pub fn forget(&mut self) -> Forgotten {
        self.forget_until(self.log_time)
    }

    /// The same where records may wait long in a server's journal: nothing is dropped that one received before the watermark, which is
    /// `complete_until`, could still change.
    pub fn forget_complete(&mut self, complete_until: WallMs) -> Forgotten {
        self.forget_until(self.log_time.min(complete_until.plus_ms(SETTLE_MARGIN_MS)))
    }

    fn forget_until(&mut self, at: WallMs) -> Forgotten {
        let mut gone = Forgotten::default();
        gone.loose.extend(self.unpaid.forget(at).into_iter().map(|id| (Owner::Unpaid, id)));
        for account in self.accounts.values_mut() {
            let owner = Owner::Advertiser(account.advertiser_id);
            gone.loose.extend(account.loose.forget(at).into_iter().map(|id| (owner, id)));
            let advertiser_id = account.advertiser_id;
            let old = account.leases.extract_if(.., |_, lease| lease.is_forgotten(at));
            gone.leases.extend(old.map(|(_, lease)| (advertiser_id, *lease)));
            gone.days.extend(account.forget_days(at).into_iter().map(|level| (advertiser_id, level)));
        }
        gone
    }
}

/// Whose account a record belongs to; none for records that are not accounting's. It follows the record's partition key.
#[must_use]
pub fn owner_of(event: &Event) -> Option<Owner> {
    match event {
        Event::LeaseGranted(granted) => Some(Owner::Advertiser(granted.advertiser_id)),
        Event::LeaseReturned(returned) => Some(Owner::Advertiser(returned.advertiser_id)),
        Event::LeaseClosed(closed) => Some(Owner::Advertiser(closed.advertiser_id)),
        Event::Reversal(reversal) => Some(Owner::Advertiser(reversal.advertiser_id)),
        Event::Beacon(beacon) => Some(match beacon.impression_id {
            ImpressionId::Leased { .. } => Owner::Advertiser(beacon.advertiser_id),
            ImpressionId::Unleased { .. } => Owner::Unpaid,
        }),
        Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_) => None,
    }
}

/// Why an impression that has no lease is not billed.
#[must_use]
pub fn unleased_reason(beacon: &BeaconRecord) -> UnbilledReason {
    match (beacon.preview, beacon.tier) {
        (true, _) => UnbilledReason::Preview,
        (false, Tier::House) => UnbilledReason::House,
        (false, Tier::Sponsorship | Tier::Guaranteed | Tier::Auction) => UnbilledReason::UnknownLease,
    }
}
