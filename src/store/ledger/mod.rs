//! The books: balances, leases, delivery totals, and the place in the log of which they are the state.
//!
//! One owner loads and commits ([`OwnsLedger`]), anybody reads ([`ReadsLedger`]). What is loaded is always the state after the records before one
//! cursor, whenever a process dies: a commit is there as a whole or not at all. Two implementations:
//!
//! * [`EmbeddedLedger`]: all parts in one database on disk. A commit is one synced batch.
//! * [`CqlLedgerPart`] and [`CqlLedger`]: parts in CQL, each with an owner that another may replace at any moment. A commit is a redo record ([`redo`]),
//!   made valid by one conditional write.
//!
//! Both keep the same keys and rows ([`rows`]). Only the embedded one is audited file by file and dumped; its register is changed by commands on a
//! stopped server.

mod choice;
mod cql;
mod embedded;
mod redo;
mod reversals;
pub mod rows;
mod sealed;
mod servers;

use super::StoreError;
use crate::accounting::{
    AdvertiserAccount, Balance, Book, Chain, Commit, DeliveryKey, DeliveryTotals, Lease, LedgerState, LevelId, Loose,
    Owner, REVERSAL_KEPT_MS, Register, ServerEntry, Sums,
};
use crate::events::{Checkpoint, LedgerEntry, Reversal};
use crate::model::{AdvertiserId, Day, ImpressionId, LeaseId, LineItemId, WallMs};
pub use choice::{LedgerReader, LedgerStore};
pub use cql::{CqlLedger, CqlLedgerPart, LedgerSettings, LedgerTrouble, StatementFaults};
pub use embedded::EmbeddedLedger;
use rows::RowError;

/// A row as it lies on disk: keyspace, key, value.
pub(crate) type RawRow = (&'static str, Vec<u8>, Vec<u8>);

/// Which delivery totals are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryRange {
    /// One line item, or all.
    pub line_item_id: Option<LineItemId>,
    /// First hour.
    pub from: WallMs,
    /// First hour after.
    pub to: WallMs,
}

/// What the owner of a part of the books does. Both calls block their thread.
pub trait OwnsLedger {
    /// The state as of the last commit: all that accounting needs to go on.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    fn load(&self) -> Result<LedgerState, StoreError>;

    /// Makes a commit durable, all or nothing.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it may be acted on. The owner ends, and the next one loads what became durable.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;
}

/// What reports, invoices and verdicts ask of the books, as of commits a moment ago. All calls block their thread: not for an async worker.
pub trait ReadsLedger {
    /// Up to which receive time an advertiser's records are in its books.
    ///
    /// # Errors
    /// [`StoreError`].
    fn log_time_of(&self, id: AdvertiserId) -> Result<WallMs, StoreError>;

    /// The checkpoints of the books that an advertiser stands in, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn checkpoints_of(&self, id: AdvertiserId) -> Result<Vec<Checkpoint>, StoreError>;

    /// All balances, by advertiser and level.
    ///
    /// # Errors
    /// [`StoreError`].
    fn balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError>;

    /// The balances of an advertiser, by level.
    ///
    /// # Errors
    /// [`StoreError`].
    fn balances_of(&self, id: AdvertiserId) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError>;

    /// A lease: open, remembered or past.
    ///
    /// # Errors
    /// [`StoreError`].
    fn lease(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError>;

    /// An advertiser's leases of the days from `first` on and before `end`, by id: open, remembered and past.
    ///
    /// # Errors
    /// [`StoreError`].
    fn leases_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError>;

    /// An advertiser's entries of the days from `first` on and before `end`, by day and number.
    ///
    /// # Errors
    /// [`StoreError`].
    fn entries_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<LedgerEntry>, StoreError>;

    /// Whether an impression's charge was taken back.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_reversed(&self, id: AdvertiserId, impression_id: ImpressionId) -> Result<bool, StoreError>;

    /// The register of servers, as of some seconds ago: what all parts agree on, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn servers(&self) -> Result<Vec<ServerEntry>, StoreError>;

    /// Delivery totals in a range of hours, by line item and hour, at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delivery(&self, range: DeliveryRange, limit: usize) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError>;
}

/// The rows of which a state is made.
struct LoadedRows {
    cursor: u64,
    log_time: WallMs,
    chain: Chain,
    balances: Vec<(AdvertiserId, LevelId, Balance)>,
    /// Open ones and those that are still remembered.
    leases: Vec<(AdvertiserId, Lease)>,
    /// At least those that are still remembered.
    reversals: Vec<Reversal>,
    loose: Vec<(Owner, ImpressionId, Loose)>,
    servers: Vec<ServerEntry>,
    sums: Sums,
    checkpoint: Option<Checkpoint>,
}

fn state(rows: LoadedRows) -> LedgerState {
    let LoadedRows { cursor, log_time, chain, balances, leases, reversals, loose, servers, sums, checkpoint } = rows;
    let mut book = Book { log_time, ..Book::default() };
    for (advertiser_id, level, balance) in balances {
        account(&mut book, advertiser_id).levels.insert(level, balance);
    }
    for (advertiser_id, lease) in leases {
        account(&mut book, advertiser_id).leases.insert(lease.grant.lease_id, Box::new(lease));
    }
    for reversal in reversals {
        if reversal.decided_at.plus_ms(REVERSAL_KEPT_MS) >= log_time {
            account(&mut book, reversal.advertiser_id).reversed.insert(reversal.impression_id, reversal);
        }
    }
    for (owner, impression_id, loose) in loose {
        let set = match owner {
            Owner::Unpaid => &mut book.unpaid,
            Owner::Advertiser(id) => &mut account(&mut book, id).loose,
        };
        set.seen.insert(impression_id, loose);
    }
    LedgerState { book, cursor, chain, register: Register::load(servers), sums, checkpoint }
}

fn account(book: &mut Book, id: AdvertiserId) -> &mut AdvertiserAccount {
    book.accounts.entry(id).or_insert_with(|| AdvertiserAccount::new(id))
}

fn balance_row(key: &[u8], value: &[u8]) -> Result<(AdvertiserId, LevelId, Balance), RowError> {
    let (advertiser_id, level) = rows::read_balance_key(key)?;
    Ok((advertiser_id, level, rows::decode_balance(value)?))
}

fn lease_row(key: &[u8], value: &[u8]) -> Result<(AdvertiserId, Lease), RowError> {
    let (advertiser_id, lease_id) = rows::read_lease_key(key)?;
    let lease = rows::decode_lease(value)?;
    if lease.grant.lease_id != lease_id {
        return Err(RowError::Field("the lease's name"));
    }
    Ok((advertiser_id, lease))
}

fn loose_row(key: &[u8], value: &[u8]) -> Result<(Owner, ImpressionId, Loose), RowError> {
    let (owner, impression_id) = rows::read_loose_key(key)?;
    Ok((owner, impression_id, rows::decode_loose(value)?))
}
