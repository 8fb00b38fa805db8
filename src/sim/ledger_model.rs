//! The ledger's store as a model: commits are atomic and conditional on the owner's generation.

use std::collections::BTreeMap;

use super::sabotage::Sabotage;
use crate::accounting::audit::LedgerRows;
use crate::accounting::{
    AdvertiserAccount, Balance, Bitmap, Book, Chain, Commit, DeliveryKey, DeliveryTotals, Lease, LedgerState, LevelId,
    Loose, Owner, Register, Seal, ServerEntry, Sums,
};
use crate::events::{Checkpoint, LedgerEntry, Reversal};
use crate::model::{AdvertiserId, ImpressionId, LeaseId, Micros, PriceModel, ServerId, WallMs};

/// A commit of an owner that is none any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOwner;

/// The rows of the ledger.
#[derive(Clone, Default, Debug)]
pub struct LedgerModel {
    owner: u64,
    cursor: u64,
    log_time: WallMs,
    chain: Chain,
    seals: Vec<Seal>,
    balances: BTreeMap<(AdvertiserId, LevelId), Balance>,
    leases: BTreeMap<(AdvertiserId, LeaseId), Lease>,
    past: BTreeMap<(AdvertiserId, LeaseId), Lease>,
    loose: BTreeMap<(Owner, ImpressionId), Loose>,
    delivery: BTreeMap<DeliveryKey, DeliveryTotals>,
    servers: BTreeMap<ServerId, ServerEntry>,
    reversals: Vec<Reversal>,
    posted: Vec<LedgerEntry>,
    checkpoints: BTreeMap<u64, Checkpoint>,
    sums: Sums,
}

impl LedgerModel {
    /// A new owner begins; commits of those before are refused.
    pub const fn begin(&mut self, owner: u64) {
        self.owner = owner;
    }

    /// Applies a commit, all or nothing.
    ///
    /// # Errors
    /// [`NotOwner`] when another owner has begun.
    pub fn commit(&mut self, owner: u64, commit: &Commit, sabotage: Sabotage) -> Result<(), NotOwner> {
        if owner != self.owner {
            return Err(NotOwner);
        }
        if sabotage != Sabotage::CursorBeforeEntries {
            self.entries(commit, sabotage);
        }
        self.cursor = commit.cursor;
        self.log_time = commit.log_time;
        self.chain = commit.chain;
        self.seals.extend(&commit.seals);
        for entry in &commit.servers.entries {
            self.servers.insert(entry.server_id, entry.clone());
        }
        for server_id in &commit.servers.gone {
            self.servers.remove(server_id);
        }
        Ok(())
    }

    /// The entries without the cursor: what is there when the owner dies between two writes that should be one.
    pub fn commit_entries_only(&mut self, commit: &Commit) {
        self.entries(commit, Sabotage::CursorBeforeEntries);
    }

    fn entries(&mut self, commit: &Commit, sabotage: Sabotage) {
        for (advertiser_id, level, balance) in &commit.balances {
            match balance {
                Some(balance) => self.balances.insert((*advertiser_id, *level), *balance),
                None => self.balances.remove(&(*advertiser_id, *level)),
            };
        }
        for (advertiser_id, lease) in &commit.leases {
            let key = (*advertiser_id, lease.grant.lease_id);
            let mut lease = lease.clone();
            if sabotage == Sabotage::BitmapNotKept
                && let Some(before) = self.leases.get(&key)
            {
                lease.settled = before.settled.clone();
            }
            self.leases.insert(key, lease);
        }
        for (advertiser_id, lease) in &commit.past {
            let key = (*advertiser_id, lease.grant.lease_id);
            self.leases.remove(&key);
            self.past.insert(key, lease.clone());
        }
        self.reversals.extend(commit.reversals.iter().cloned());
        self.posted.extend(commit.sealed.entries.iter().cloned());
        for checkpoint in &commit.sealed.checkpoints {
            self.checkpoints.insert(checkpoint.number, *checkpoint);
        }
        self.sums = commit.sums;
        for (owner, impression_id, loose) in &commit.loose {
            match loose {
                Some(loose) => self.loose.insert((*owner, *impression_id), *loose),
                None => self.loose.remove(&(*owner, *impression_id)),
            };
        }
        for (key, change) in &commit.delivery {
            self.delivery.entry(*key).or_default().add(change);
        }
    }

    /// The state as of the last commit.
    #[must_use]
    pub fn load(&self, sabotage: Sabotage) -> LedgerState {
        let mut book = Book { log_time: self.log_time, ..Book::default() };
        for ((advertiser_id, level), balance) in &self.balances {
            let mut balance = *balance;
            if sabotage == Sabotage::MoneyInU32 {
                balance.settled = Micros(balance.settled.0 & i64::from(u32::MAX));
            }
            account(&mut book, *advertiser_id).levels.insert(*level, balance);
        }
        for ((advertiser_id, lease_id), lease) in &self.leases {
            let mut lease = lease.clone();
            if sabotage == Sabotage::ClickBilledTwice && lease.grant.price_model == PriceModel::Cpc {
                lease.settled = Bitmap::default();
            }
            account(&mut book, *advertiser_id).leases.insert(*lease_id, Box::new(lease));
        }
        let forgets = sabotage == Sabotage::ReversalTwice;
        for reversal in self.reversals.iter().filter(|_| !forgets) {
            let reversed = &mut account(&mut book, reversal.advertiser_id).reversed;
            reversed.insert(reversal.impression_id, reversal.clone());
        }
        for ((owner, impression_id), loose) in &self.loose {
            let set = match owner {
                Owner::Unpaid => &mut book.unpaid,
                Owner::Advertiser(id) => &mut account(&mut book, *id).loose,
            };
            set.seen.insert(*impression_id, *loose);
        }
        let register = Register::load(self.servers.values().cloned());
        LedgerState {
            book,
            cursor: self.cursor,
            chain: self.chain,
            register,
            sums: self.sums,
            checkpoint: self.checkpoints.values().next_back().copied(),
        }
    }

    /// What audit compares with the log.
    #[must_use]
    pub fn rows(&self) -> LedgerRows {
        let lease = |((advertiser_id, _), lease): (&(AdvertiserId, LeaseId), &Lease)| (*advertiser_id, lease.clone());
        LedgerRows {
            cursor: self.cursor,
            chain: self.chain,
            seals: self.seals.clone(),
            balances: self.balances.iter().map(|((id, level), balance)| (*id, *level, *balance)).collect(),
            leases: self.leases.iter().chain(&self.past).map(lease).collect(),
            delivery: self.delivery.iter().map(|(key, totals)| (*key, totals.clone())).collect(),
            log_time: self.log_time,
            reversals: self.reversals.clone(),
            loose: self.loose.iter().map(|((owner, id), loose)| (*owner, *id, *loose)).collect(),
            entries: self.posted.clone(),
            checkpoints: self.checkpoints.values().copied().collect(),
            sums: self.sums,
        }
    }

    /// The lease's row, open, remembered or past.
    #[must_use]
    pub fn lease(&self, advertiser_id: AdvertiserId, lease_id: LeaseId) -> Option<&Lease> {
        let key = (advertiser_id, lease_id);
        self.leases.get(&key).or_else(|| self.past.get(&key))
    }

    /// Every lease's row.
    pub fn all_leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().chain(self.past.values())
    }

    /// Whether a charge of that impression was taken back, as of the last commit.
    #[must_use]
    pub fn is_reversed(&self, impression_id: ImpressionId) -> bool {
        self.reversals.iter().any(|reversal| reversal.impression_id == impression_id)
    }

    /// Balances of all levels.
    pub fn balances(&self) -> impl Iterator<Item = (AdvertiserId, LevelId, Balance)> {
        self.balances.iter().map(|((id, level), balance)| (*id, *level, *balance))
    }

    /// Offset after the last record applied.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }
}

fn account(book: &mut Book, id: AdvertiserId) -> &mut AdvertiserAccount {
    book.accounts.entry(id).or_insert_with(|| AdvertiserAccount::new(id))
}
