//! The books in CQL: Cassandra or ScyllaDB. Tables in `schemas/cql/`.
//!
//! A part for its owner is [`CqlLedgerPart`]; all parts for those who read are [`CqlLedger`]. Where a row lies is in [`place`], what is asked in
//! [`statements`]. Reads are of the moment, row by row: while the rows of a commit are written, some are of the commit before. What must not be missed is
//! then there twice (a lease that moves), and whoever needs books that add up reads again, as invoices do.

mod part;
mod place;
mod statements;
mod trouble;

use std::collections::BTreeMap;

use scylla::value::CqlValue;

use super::rows::{self, RowError};
use super::{DeliveryRange, ReadsLedger, balance_row, lease_row, redo, sealed, servers};
use crate::accounting::{Balance, DeliveryKey, DeliveryTotals, Lease, LevelId, ServerEntry};
use crate::events::{Checkpoint, LedgerEntry};
use crate::model::{AdvertiserId, Day, ImpressionId, LeaseId, WallMs};
use crate::store::cql::CqlSession;
use crate::store::{StoreError, damaged};
pub use part::CqlLedgerPart;
use place::{CqlTable, DATED_BUCKETS, NAME_DAYS_APART, Place, part_value};
pub use statements::StatementFaults;
use statements::{Ask, KeyRow, RowLimit, Tables};
pub use trouble::LedgerTrouble;

/// Statements under way at a time, of one owner or reader.
const IN_FLIGHT: usize = 32;
/// Most days of one read: a year and a month. A read asks some partitions a day.
const DAYS_MAX: usize = 400;
/// Most rows of one read for a report or an invoice: a gigabyte of leases, which no invoice of one advertiser's month should need.
const READ_ROWS_MAX: usize = 2_000_000;

/// How a ledger in CQL is worked on.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// Statements under way at a time.
    pub in_flight: usize,
    /// Bytes of a chunk of a commit's record: 256 kB at most.
    pub chunk_bytes: usize,
    /// Largest commit, in bytes: 512 MB at most.
    pub commit_bytes_max: usize,
    /// Faults on order, for the crash tests.
    pub faults: StatementFaults,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            in_flight: IN_FLIGHT,
            chunk_bytes: part::CHUNK_BYTES,
            commit_bytes_max: part::COMMIT_BYTES_MAX,
            faults: StatementFaults::default(),
        }
    }
}

/// All parts, for those who read. Cheap to clone.
#[derive(Clone)]
pub struct CqlLedger {
    tables: Tables,
    parts: u32,
    part_of: fn(&[u8], u32) -> u32,
}

impl std::fmt::Debug for CqlLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlLedger").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl CqlLedger {
    /// The books of so many parts. `part_of` says which of them holds an advertiser's money, by its key in the event log: as the log's partitions do.
    #[must_use]
    pub fn new(session: CqlSession, parts: u32, part_of: fn(&[u8], u32) -> u32, settings: &LedgerSettings) -> Self {
        Self { tables: Tables::new(session, settings.in_flight, settings.faults.clone()), parts, part_of }
    }

    fn part(&self, id: AdvertiserId) -> u32 {
        (self.part_of)(&id.to_bytes(), self.parts)
    }

    /// An advertiser's rows of days, in a table of days.
    async fn dated(&self, table: CqlTable, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<KeyRow>, StoreError> {
        let days = days("days", first, end)?;
        let limit = RowLimit::new(READ_ROWS_MAX);
        let partitions = days.flat_map(|day| (0..DATED_BUCKETS).map(move |bucket| (day, bucket)));
        let reads = partitions.map(|(day, bucket)| {
            let tables = self.tables.clone();
            let limit = limit.clone();
            async move { tables.rows(Ask::All(table), place::dated_partition(id, Day(day), bucket), &limit).await }
        });
        Ok(self.tables.all(reads).await?.into_iter().flatten().collect())
    }

    /// An advertiser's rows, of all buckets of its part.
    async fn remembered(&self, table: CqlTable, id: AdvertiserId) -> Result<Vec<KeyRow>, StoreError> {
        let part = self.part(id);
        let limit = RowLimit::new(READ_ROWS_MAX);
        let first = id.to_bytes().to_vec();
        // No key that begins with the id is as long.
        let end = [&first[..], &[u8::MAX; 64]].concat();
        let reads = (0..table.buckets()).map(|bucket| {
            let range = [CqlValue::Blob(first.clone()), CqlValue::Blob(end.clone())];
            let values = [part_value(part), CqlValue::Int(bucket)].into_iter().chain(range).collect();
            let tables = self.tables.clone();
            let limit = limit.clone();
            async move { tables.rows(Ask::Range(table), values, &limit).await }
        });
        Ok(self.tables.all(reads).await?.into_iter().flatten().collect())
    }

    async fn all_balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        let limit = RowLimit::new(READ_ROWS_MAX);
        let mut all = Vec::new();
        for part in 0..self.parts {
            let rows = all_buckets(&self.tables, part, CqlTable::Balances, &limit).await?;
            all.extend(decoded(CqlTable::Balances, rows, balance_row)?);
        }
        all.sort_unstable_by_key(|(id, level, _)| (*id, *level));
        Ok(all)
    }

    async fn all_servers(&self) -> Result<Vec<ServerEntry>, StoreError> {
        let limit = RowLimit::new(READ_ROWS_MAX);
        let reads = (0..self.parts).map(|part| {
            let (tables, limit) = (self.tables.clone(), limit.clone());
            async move { tables.rows(Ask::All(CqlTable::Servers), vec![part_value(part)], &limit).await }
        });
        let rows = self.tables.all(reads).await?.into_iter().flatten().collect();
        Ok(ServerEntry::merged(decoded(CqlTable::Servers, rows, servers::decode_server)?))
    }

    async fn lease_at(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError> {
        let key = rows::lease_key(id, lease_id);
        let places = [place::in_bucket(self.part(id), CqlTable::Leases, &key), place::past(id, lease_id)];
        for place in places {
            if let Some(row) = self.tables.get(&place).await? {
                let lease = lease_row(&key, &row).map_err(|error| damaged(place.table.name(), &key, error))?;
                return Ok(Some(lease.1));
            }
        }
        Ok(None)
    }

    async fn leases_at(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError> {
        let mut leases = BTreeMap::new();
        // The remembered ones first: one that a commit moves in between is then seen twice rather than not at all.
        let remembered = self.remembered(CqlTable::Leases, id).await?;
        let (earlier, later) = (first.0.saturating_sub(NAME_DAYS_APART), end.0.saturating_add(NAME_DAYS_APART));
        let past =
            if first < end { self.dated(CqlTable::Past, id, Day(earlier), Day(later)).await? } else { Vec::new() };
        for (table, rows) in [(CqlTable::Leases, remembered), (CqlTable::Past, past)] {
            for (_, lease) in decoded(table, rows, lease_row)? {
                if (first..end).contains(&lease.grant.advertiser_day) {
                    leases.insert(lease.grant.lease_id, lease);
                }
            }
        }
        Ok(leases.into_values().collect())
    }

    /// Of one line item: its stretches of days.
    async fn delivery_of_line(&self, range: DeliveryRange) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        let Some(line_item_id) = range.line_item_id else { return Ok(Vec::new()) };
        let (first, last) = (place::stretch(range.from), place::stretch(range.to));
        let stretches = days("stretches of days", Day(first), Day(last.saturating_add(1)))?;
        let (from, to) = (place::line_hour_key(range.from), place::line_hour_key(range.to));
        let limit = RowLimit::new(READ_ROWS_MAX);
        let reads = stretches.map(|stretch| {
            let mut values = place::line_partition(line_item_id, stretch);
            values.extend([CqlValue::Blob(from.to_vec()), CqlValue::Blob(to.to_vec())]);
            let tables = self.tables.clone();
            let limit = limit.clone();
            async move { tables.rows(Ask::Range(CqlTable::Delivery), values, &limit).await }
        });
        let rows = self.tables.all(reads).await?.into_iter().flatten().collect();
        decoded(CqlTable::Delivery, rows, |key, row| {
            let hour = place::read_line_hour_key(key)?;
            Ok((DeliveryKey { line_item_id, hour }, rows::decode_delivery(row)?))
        })
    }

    /// Of all line items: the days of all parts.
    async fn delivery_of_all(&self, range: DeliveryRange) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        let (first, last) = (Day::utc_of(range.from), Day::utc_of(range.to));
        let limit = RowLimit::new(READ_ROWS_MAX);
        let mut all = Vec::new();
        for part in 0..self.parts {
            let partitions = days("days", first, Day(last.0.saturating_add(1)))?
                .flat_map(|day| (0..DATED_BUCKETS).map(move |bucket| (day, bucket)));
            let reads = partitions.map(|(day, bucket)| {
                let tables = self.tables.clone();
                let values = place::day_partition(part, Day(day), bucket);
                let limit = limit.clone();
                async move { tables.rows(Ask::All(CqlTable::DeliveryDays), values, &limit).await }
            });
            let rows: Vec<KeyRow> = self.tables.all(reads).await?.into_iter().flatten().collect();
            all.extend(decoded(CqlTable::DeliveryDays, rows, |key, row| {
                Ok((rows::read_delivery_key(key)?, rows::decode_delivery(row)?))
            })?);
        }
        Ok(all)
    }

    async fn delivery_at(
        &self,
        range: DeliveryRange,
        limit: usize,
    ) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        let found = match range.line_item_id {
            _ if range.from >= range.to => Vec::new(),
            Some(_) => self.delivery_of_line(range).await?,
            None => self.delivery_of_all(range).await?,
        };
        let mut totals: BTreeMap<DeliveryKey, DeliveryTotals> = BTreeMap::new();
        for (key, of_part) in found {
            if (range.from..range.to).contains(&key.hour) {
                totals.entry(key).or_default().add(&of_part);
            }
        }
        Ok(totals.into_iter().take(limit).collect())
    }
}

impl ReadsLedger for CqlLedger {
    fn log_time_of(&self, id: AdvertiserId) -> Result<WallMs, StoreError> {
        let partition = vec![part_value(self.part(id))];
        let place = Place { table: CqlTable::Meta, partition, key: redo::CURSOR.to_vec() };
        let row = self.tables.block_on(self.tables.get(&place))?;
        row.map_or(Ok(WallMs(0)), |row| {
            let cursor = rows::decode_cursor(&row).map_err(|error| damaged("ledger_meta", redo::CURSOR, error));
            cursor.map(|(_, log_time, _)| log_time)
        })
    }

    fn checkpoints_of(&self, id: AdvertiserId) -> Result<Vec<Checkpoint>, StoreError> {
        let (values, limit) = (vec![part_value(self.part(id))], RowLimit::new(READ_ROWS_MAX));
        let mut rows = self.tables.block_on(self.tables.rows(Ask::All(CqlTable::Checkpoints), values, &limit))?;
        rows.reverse();
        decoded(CqlTable::Checkpoints, rows, sealed::read_checkpoint)
    }

    fn balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        self.tables.block_on(self.all_balances())
    }

    fn balances_of(&self, id: AdvertiserId) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        let rows = self.tables.block_on(self.remembered(CqlTable::Balances, id))?;
        let mut balances = decoded(CqlTable::Balances, rows, balance_row)?;
        balances.sort_unstable_by_key(|(_, level, _)| *level);
        Ok(balances)
    }

    fn lease(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError> {
        self.tables.block_on(self.lease_at(id, lease_id))
    }

    fn leases_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError> {
        self.tables.block_on(self.leases_at(id, first, end))
    }

    fn entries_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<LedgerEntry>, StoreError> {
        let rows = self.tables.block_on(self.dated(CqlTable::Entries, id, first, end.max(first)))?;
        let mut entries = decoded(CqlTable::Entries, rows, sealed::read_entry)?;
        entries.sort_unstable_by_key(|entry| (entry.advertiser_day, entry.number));
        Ok(entries)
    }

    fn is_reversed(&self, id: AdvertiserId, impression_id: ImpressionId) -> Result<bool, StoreError> {
        self.tables.block_on(self.tables.get(&place::reversal(id, impression_id))).map(|row| row.is_some())
    }

    fn servers(&self) -> Result<Vec<ServerEntry>, StoreError> {
        self.tables.block_on(self.all_servers())
    }

    fn delivery(&self, range: DeliveryRange, limit: usize) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        self.tables.block_on(self.delivery_at(range, limit))
    }
}

/// Days from `first` on and before `end`, as many as one read may ask for.
fn days(what: &'static str, first: Day, end: Day) -> Result<std::ops::Range<i32>, StoreError> {
    let count = i64::from(end.0) - i64::from(first.0);
    if count > i64::try_from(DAYS_MAX).unwrap_or(i64::MAX) {
        return Err(LedgerTrouble::TooMuch { what, max: DAYS_MAX }.into());
    }
    Ok(first.0..end.0)
}

/// All rows of a part in a table of buckets.
async fn all_buckets(tables: &Tables, part: u32, table: CqlTable, limit: &RowLimit) -> Result<Vec<KeyRow>, StoreError> {
    let reads = (0..table.buckets()).map(|bucket| {
        let tables = tables.clone();
        let limit = limit.clone();
        async move { tables.rows(Ask::All(table), vec![part_value(part), CqlValue::Int(bucket)], &limit).await }
    });
    Ok(tables.all(reads).await?.into_iter().flatten().collect())
}

fn decoded<T>(
    table: CqlTable,
    rows: Vec<KeyRow>,
    read: impl Fn(&[u8], &[u8]) -> Result<T, RowError>,
) -> Result<Vec<T>, StoreError> {
    let read = |(key, row): KeyRow| read(&key, &row).map_err(|error| damaged(table.name(), &key, error));
    rows.into_iter().map(read).collect()
}
