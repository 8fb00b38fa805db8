//! The books in the embedded database, all parts in one.
//!
//! | keyspace | key | row |
//! | --- | --- | --- |
//! | `ledger_meta` | `cursor` | place in the log, log time, chain of digests |
//! | `ledger_meta` | `sums` | sums over entries and delivery |
//! | `ledger_seals` | records (8 bytes, big-endian) | the chain's digest (32 bytes) after so many records |
//! | `ledger_balances` | advertiser, level | settled and open; of a day that is long over, no more |
//! | `ledger_leases` | advertiser, lease | a lease that is open or still remembered |
//! | `ledger_leases_past` | advertiser, lease | a lease that is over for good |
//! | `ledger_reversals` | advertiser, impression | a charge taken back; kept for good |
//! | `ledger_entries` | advertiser, day, number | an entry; never changed, never removed |
//! | `ledger_checkpoints` | number (8 bytes, big-endian) | a checkpoint; never changed, never removed |
//! | `ledger_loose` | owner, impression | an impression without a lease |
//! | `ledger_delivery` | line item, hour | delivery totals |
//! | `servers` | server | the register of servers, which is not made from the log |
//!
//! A commit is one atomic batch over all of them, synced before it returns: the rows are always the state after the records before the cursor,
//! whenever the process dies. There is no other snapshot that the rows could disagree with. The rows' formats are in [`super::rows`].

use std::collections::BTreeMap;

use fjall::{Database, Keyspace, PersistMode};

use super::rows::{self, RowError};
use super::{
    DeliveryRange, LoadedRows, OwnsLedger, RawRow, ReadsLedger, balance_row, lease_row, loose_row, reversals, sealed,
    servers, state,
};
use crate::accounting::{
    Balance, Chain, Commit, DeliveryKey, DeliveryTotals, Lease, LedgerState, LevelId, Loose, Owner, Seal, ServerEntry,
    Sums,
};
use crate::events::{Checkpoint, LedgerEntry, Reversal};
use crate::model::{AdvertiserId, Day, ImpressionId, LeaseId, WallMs};
use crate::store::{StoreError, damaged, keyspace};

const META: &str = "ledger_meta";
const SEALS: &str = "ledger_seals";
const BALANCES: &str = "ledger_balances";
const LEASES: &str = "ledger_leases";
const PAST: &str = "ledger_leases_past";
const REVERSALS: &str = "ledger_reversals";
const ENTRIES: &str = "ledger_entries";
const CHECKPOINTS: &str = "ledger_checkpoints";
const LOOSE: &str = "ledger_loose";
const DELIVERY: &str = "ledger_delivery";
const SERVERS: &str = "servers";
const CURSOR: &[u8] = b"cursor";
const SUMS: &[u8] = b"sums";

/// The ledger's keyspaces. Accounting commits; anybody may read.
#[derive(Clone)]
pub struct EmbeddedLedger {
    database: Database,
    meta: Keyspace,
    seals: Keyspace,
    balances: Keyspace,
    leases: Keyspace,
    past: Keyspace,
    reversals: Keyspace,
    entries: Keyspace,
    checkpoints: Keyspace,
    loose: Keyspace,
    delivery: Keyspace,
    servers: Keyspace,
}

impl EmbeddedLedger {
    pub(in crate::store) fn open(database: Database) -> Result<Self, StoreError> {
        Ok(Self {
            meta: keyspace(&database, META)?,
            seals: keyspace(&database, SEALS)?,
            balances: keyspace(&database, BALANCES)?,
            leases: keyspace(&database, LEASES)?,
            past: keyspace(&database, PAST)?,
            reversals: keyspace(&database, REVERSALS)?,
            entries: keyspace(&database, ENTRIES)?,
            checkpoints: keyspace(&database, CHECKPOINTS)?,
            loose: keyspace(&database, LOOSE)?,
            delivery: keyspace(&database, DELIVERY)?,
            servers: keyspace(&database, SERVERS)?,
            database,
        })
    }

    /// The state as of the last commit: all that accounting needs to go on.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    pub fn load(&self) -> Result<LedgerState, StoreError> {
        let (cursor, log_time, chain) = self.cursor()?;
        Ok(state(LoadedRows {
            cursor,
            log_time,
            chain,
            balances: self.balances()?,
            leases: self.remembered_leases()?,
            reversals: self.reversals()?,
            loose: self.loose()?,
            servers: self.servers()?,
            sums: self.sums()?,
            checkpoint: self.newest_checkpoint()?,
        }))
    }

    /// Makes a commit durable, all or nothing.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it may be acted on.
    pub fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (advertiser_id, level, balance) in &commit.balances {
            let key = rows::balance_key(*advertiser_id, *level);
            match balance {
                Some(balance) => batch.insert(&self.balances, key, rows::encode_balance(balance)),
                None => batch.remove(&self.balances, key),
            }
        }
        for reversal in &commit.reversals {
            let key = reversals::key(reversal.advertiser_id, reversal.impression_id);
            batch.insert(&self.reversals, key, reversals::encode(reversal));
        }
        for entry in &commit.sealed.entries {
            batch.insert(&self.entries, sealed::entry_key(entry), sealed::encode_entry(entry));
        }
        for checkpoint in &commit.sealed.checkpoints {
            let row = sealed::encode_checkpoint(checkpoint);
            batch.insert(&self.checkpoints, checkpoint.number.to_be_bytes(), row);
        }
        batch.insert(&self.meta, SUMS, sealed::encode_sums(&commit.sums));
        for (advertiser_id, lease) in &commit.leases {
            batch.insert(
                &self.leases,
                rows::lease_key(*advertiser_id, lease.grant.lease_id),
                rows::encode_lease(lease),
            );
        }
        for (advertiser_id, lease) in &commit.past {
            let key = rows::lease_key(*advertiser_id, lease.grant.lease_id);
            batch.remove(&self.leases, key.as_slice());
            batch.insert(&self.past, key, rows::encode_lease(lease));
        }
        for (owner, impression_id, loose) in &commit.loose {
            let key = rows::loose_key(*owner, *impression_id);
            match loose {
                Some(loose) => batch.insert(&self.loose, key, rows::encode_loose(loose)),
                None => batch.remove(&self.loose, key),
            }
        }
        for (key, change) in &commit.delivery {
            let key = rows::delivery_key(*key);
            let row = self.delivery.get(&key).map_err(|source| StoreError::Read { what: DELIVERY, source })?;
            let mut totals = match row {
                Some(row) => rows::decode_delivery(&row).map_err(|error| damaged(DELIVERY, &key, error))?,
                None => DeliveryTotals::default(),
            };
            totals.add(change);
            batch.insert(&self.delivery, key, rows::encode_delivery(&totals));
        }
        for seal in &commit.seals {
            batch.insert(&self.seals, seal.records.to_be_bytes(), seal.digest);
        }
        for entry in &commit.servers.entries {
            batch.insert(&self.servers, entry.server_id.to_bytes(), servers::encode_server(entry));
        }
        for server_id in &commit.servers.gone {
            batch.remove(&self.servers, server_id.to_bytes());
        }
        batch.insert(&self.meta, CURSOR, rows::encode_cursor(commit.cursor, commit.log_time, &commit.chain));
        batch.commit().map_err(|source| StoreError::Commit { what: "the ledger", source })
    }

    /// Place in the log, greatest receive time and chain as of the last commit; zeros before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cursor(&self) -> Result<(u64, WallMs, Chain), StoreError> {
        let row = self.meta.get(CURSOR).map_err(|source| StoreError::Read { what: META, source })?;
        row.map_or(Ok((0, WallMs(0), Chain::default())), |row| {
            rows::decode_cursor(&row).map_err(|error| damaged(META, CURSOR, error))
        })
    }

    /// The links of the chain, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seals(&self) -> Result<Vec<Seal>, StoreError> {
        read_all(&self.seals, SEALS, |key, value| {
            let records = key.try_into().map(u64::from_be_bytes).map_err(|_| RowError::Key)?;
            Ok(Seal { records, digest: value.try_into().map_err(|_| RowError::Field("digest"))? })
        })
    }

    /// The register of servers, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn servers(&self) -> Result<Vec<ServerEntry>, StoreError> {
        read_all(&self.servers, SERVERS, servers::decode_server)
    }

    /// Writes one server's entry, durably. For commands on a stopped server: a running one's accounting owns the register.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_server(&self, entry: &ServerEntry) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.servers, entry.server_id.to_bytes(), servers::encode_server(entry));
        batch.commit().map_err(|source| StoreError::Commit { what: "the register of servers", source })
    }

    /// All balances.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        read_all(&self.balances, BALANCES, balance_row)
    }

    /// The balances of an advertiser.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balances_of(&self, id: AdvertiserId) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        read_rows(self.balances.prefix(id.to_bytes()), BALANCES, balance_row)
    }

    /// Leases that are open or still remembered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remembered_leases(&self) -> Result<Vec<(AdvertiserId, Lease)>, StoreError> {
        read_all(&self.leases, LEASES, lease_row)
    }

    /// Leases that are over for good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn past_leases(&self) -> Result<Vec<(AdvertiserId, Lease)>, StoreError> {
        read_all(&self.past, PAST, lease_row)
    }

    /// Charges that were taken back, of all time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reversals(&self) -> Result<Vec<Reversal>, StoreError> {
        read_all(&self.reversals, REVERSALS, reversals::read)
    }

    /// Sums over all entries and all delivery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sums(&self) -> Result<Sums, StoreError> {
        let row = self.meta.get(SUMS).map_err(|source| StoreError::Read { what: META, source })?;
        row.map_or(Ok(Sums::default()), |row| sealed::decode_sums(&row).map_err(|error| damaged(META, SUMS, error)))
    }

    /// All entries of the ledger, by advertiser, day and number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries(&self) -> Result<Vec<LedgerEntry>, StoreError> {
        read_all(&self.entries, ENTRIES, sealed::read_entry)
    }

    /// An advertiser's entries of the days from `first` on and before `end`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<LedgerEntry>, StoreError> {
        let range = sealed::entries_from(id, first)..sealed::entries_from(id, end.max(first));
        read_rows(self.entries.range(range), ENTRIES, sealed::read_entry)
    }

    /// All checkpoints, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        read_all(&self.checkpoints, CHECKPOINTS, sealed::read_checkpoint)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let newest = self.checkpoints.iter().rev().take(1);
        Ok(read_rows(newest, CHECKPOINTS, sealed::read_checkpoint)?.pop())
    }

    /// A lease: open, remembered or past.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lease(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError> {
        let key = rows::lease_key(id, lease_id);
        for (keyspace, name) in [(&self.leases, LEASES), (&self.past, PAST)] {
            if let Some(row) = keyspace.get(&key).map_err(|source| StoreError::Read { what: name, source })? {
                return lease_row(&key, &row).map(|(_, lease)| Some(lease)).map_err(|error| damaged(name, &key, error));
            }
        }
        Ok(None)
    }

    /// Whether an impression's charge was taken back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_reversed(&self, id: AdvertiserId, impression_id: ImpressionId) -> Result<bool, StoreError> {
        let key = reversals::key(id, impression_id);
        self.reversals.contains_key(key).map_err(|source| StoreError::Read { what: REVERSALS, source })
    }

    /// An advertiser's leases of the days from `first` on and before `end`: open, remembered and past. Looks at all of its leases.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leases_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError> {
        let mut leases = BTreeMap::new();
        // The remembered ones first: one that a commit moves in between is then seen twice rather than not at all.
        for (rows, name) in [(self.leases.prefix(id.to_bytes()), LEASES), (self.past.prefix(id.to_bytes()), PAST)] {
            for row in rows {
                let (key, value) = row.into_inner().map_err(|source| StoreError::Read { what: name, source })?;
                let (_, lease) = lease_row(&key, &value).map_err(|error| damaged(name, &key, error))?;
                if (first..end).contains(&lease.grant.advertiser_day) {
                    leases.insert(lease.grant.lease_id, lease);
                }
            }
        }
        Ok(leases.into_values().collect())
    }

    /// Impressions without a lease.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn loose(&self) -> Result<Vec<(Owner, ImpressionId, Loose)>, StoreError> {
        read_all(&self.loose, LOOSE, loose_row)
    }

    /// Delivery totals in a range of hours, by line item and hour, at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivery(
        &self,
        range: DeliveryRange,
        limit: usize,
    ) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        let rows = match range.line_item_id {
            Some(line_item_id) => {
                let key = |hour| rows::delivery_key(DeliveryKey { line_item_id, hour });
                self.delivery.range(key(range.from)..key(range.to.max(range.from)))
            }
            None => self.delivery.iter(),
        };
        let mut found = Vec::new();
        for row in rows {
            let (key, value) = row.into_inner().map_err(|source| StoreError::Read { what: DELIVERY, source })?;
            let at = rows::read_delivery_key(&key).map_err(|error| damaged(DELIVERY, &key, error))?;
            if at.hour < range.from || at.hour >= range.to {
                continue;
            }
            if found.len() >= limit {
                break;
            }
            found.push((at, rows::decode_delivery(&value).map_err(|error| damaged(DELIVERY, &key, error))?));
        }
        Ok(found)
    }

    /// Writes all rows into tables, as a store of some size has them: for tests of what lies in files.
    #[cfg(test)]
    pub(crate) fn write_tables(&self) {
        let log = [&self.reversals, &self.entries, &self.checkpoints, &self.loose];
        let books = [&self.meta, &self.seals, &self.balances, &self.leases, &self.past, &self.delivery];
        for keyspace in books.into_iter().chain(log) {
            keyspace.rotate_memtable_and_wait().expect("written");
        }
    }

    /// Every row that is made from the log, as bytes, in order: equal books have equal bytes (INV-25). The register of servers is not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dump(&self) -> Result<Vec<RawRow>, StoreError> {
        let mut all = Vec::new();
        let keyspaces = [
            (META, &self.meta),
            (SEALS, &self.seals),
            (BALANCES, &self.balances),
            (LEASES, &self.leases),
            (PAST, &self.past),
            (REVERSALS, &self.reversals),
            (ENTRIES, &self.entries),
            (CHECKPOINTS, &self.checkpoints),
            (LOOSE, &self.loose),
            (DELIVERY, &self.delivery),
        ];
        for (name, keyspace) in keyspaces {
            all.extend(read_all(keyspace, name, |key, value| Ok((name, key.to_vec(), value.to_vec())))?);
        }
        Ok(all)
    }
}

impl OwnsLedger for EmbeddedLedger {
    fn load(&self) -> Result<LedgerState, StoreError> {
        Self::load(self)
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        Self::commit(self, commit)
    }
}

impl ReadsLedger for EmbeddedLedger {
    fn log_time_of(&self, _: AdvertiserId) -> Result<WallMs, StoreError> {
        self.cursor().map(|(_, log_time, _)| log_time)
    }

    fn checkpoints_of(&self, _: AdvertiserId) -> Result<Vec<Checkpoint>, StoreError> {
        self.checkpoints()
    }

    fn balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        Self::balances(self)
    }

    fn balances_of(&self, id: AdvertiserId) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        Self::balances_of(self, id)
    }

    fn lease(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError> {
        Self::lease(self, id, lease_id)
    }

    fn leases_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError> {
        Self::leases_of(self, id, first, end)
    }

    fn entries_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<LedgerEntry>, StoreError> {
        Self::entries_of(self, id, first, end)
    }

    fn is_reversed(&self, id: AdvertiserId, impression_id: ImpressionId) -> Result<bool, StoreError> {
        Self::is_reversed(self, id, impression_id)
    }

    fn servers(&self) -> Result<Vec<ServerEntry>, StoreError> {
        Self::servers(self)
    }

    fn delivery(&self, range: DeliveryRange, limit: usize) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        Self::delivery(self, range, limit)
    }
}

fn read_all<T>(
    keyspace: &Keyspace,
    name: &'static str,
    read: impl Fn(&[u8], &[u8]) -> Result<T, RowError>,
) -> Result<Vec<T>, StoreError> {
    read_rows(keyspace.iter(), name, read)
}

fn read_rows<T>(
    rows: impl Iterator<Item = fjall::Guard>,
    name: &'static str,
    read: impl Fn(&[u8], &[u8]) -> Result<T, RowError>,
) -> Result<Vec<T>, StoreError> {
    rows.map(|row| {
        let (key, value) = row.into_inner().map_err(|source| StoreError::Read { what: name, source })?;
        read(&key, &value).map_err(|error| damaged(name, &key, error))
    })
    .collect()
}
