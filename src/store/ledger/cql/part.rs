//! A part of the ledger in CQL, for its owner: commits that are taken as a whole, by one owner at a time.
//!
//! ```text
//!            chunks of the redo record          one conditional write           rows, by timestamp = number
//! commit n ──────────────────────────▶ ledger_commits ──▶ ledger_heads: n−1 → n ──▶ tables ──▶ "applied n" ──▶ chunks of n−1 go
//!                                                          └ lost: Replaced
//! load: read the head ─▶ write its rows if they are not applied ─▶ move the head to a commit of its own, without rows ─▶ read all rows
//!       ─▶ the head is still that one
//! ```
//!
//! * The head is one row, moved from the commit that its owner knows to the next one, on condition. It is never deleted: an owner of whatever age that
//!   wakes up finds another there and is told so (INV-49). (A row a commit, `IF NOT EXISTS`, would have to be kept for ever: whoever removed it would let
//!   in an owner that slept.) What became of a move whose answer was lost is read from it, serially.
//! * The head moves on only when all rows of its commit are written. So at most one commit has rows that are not, and it is the one that the head names:
//!   whoever loads writes them first. What is read after that is the state after the head's commit (INV-50), and since nobody else has moved the head
//!   before the last row was read, it is of no other.
//! * Rows are written with the commit's number as their timestamp, so that they may come twice, late, and in any order: the later commit's holds. New rows
//!   are written before old ones are removed, and the cursor last: who reads in between sees a lease in two places rather than in none.
//! * Rows are written within [`APPLY_MINUTES`] of the moment when their commit was known to be the head's: long before the markers of rows removed since
//!   may have gone (`gc_grace_seconds`), under which they would come back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row};

use super::place::{self, CqlTable, NAME_DAYS_APART, Place, part_value, places};
use super::statements::{Ask, Deadline, Failed, KeyRow, RowLimit, Tables, other, pause};
use super::trouble::LedgerTrouble;
use super::{LedgerSettings, decoded};
use crate::accounting::{Chain, Commit, DeliveryKey, DeliveryTotals, Lease, LedgerState};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{AdvertiserId, WallMs};
use crate::store::cql::CqlSession;
use crate::store::ledger::redo::{self, CURSOR, Changes, SUMS, Table};
use crate::store::ledger::{
    LoadedRows, OwnsLedger, balance_row, lease_row, loose_row, reversals, rows, sealed, servers, state,
};
use crate::store::{StoreError, damaged};

/// Largest commit, in bytes: a million leases. Half a day's leases of a large part are forgotten at once when servers were silent for as long.
pub(super) const COMMIT_BYTES_MAX: usize = 512 << 20;
/// Most rows of a part that is loaded: a million of nobody's impressions, and as many leases as memory holds.
const LOAD_ROWS_MAX: usize = 50_000_000;
/// Bytes of a chunk: servers take 16 MB in one statement by default, and less is easier on their heaps.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks of a partition: 64 MB.
const BLOCK_CHUNKS: u32 = 256;
/// How long the rows of a commit may take, in minutes. Far below the three days that markers of removed rows live at least.
const APPLY_MINUTES: i64 = 60;
/// How often a head is moved, or looked at, until somebody says what became of it.
const MOVES: u32 = 10;
/// How often a new owner begins again because another came before it.
const CLAIMS: u32 = 10;
/// Totals that are kept in memory: the line items and hours that change now. Others are read when they change.
const TOTALS_KEPT: usize = 100_000;
/// Key of the row that says up to which commit all rows are written.
const APPLIED: &[u8] = b"applied";
/// The keyspace in errors of damage.
const COMMITS: &str = "ledger_commits";

/// A part, for its owner. Clones are the same owner.
#[derive(Clone)]
pub struct CqlLedgerPart(Arc<Inner>);

struct Inner {
    tables: Tables,
    part: u32,
    chunk_bytes: usize,
    commit_bytes_max: usize,
    clock: Clock,
    entropy: Entropy,
    /// None before the first load and after a commit that failed.
    owned: Mutex<Option<Owned>>,
}

/// The newest commit of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Head {
    number: u64,
    /// Which attempt at that number was taken.
    attempt: [u8; 16],
    /// Chunks of its record; none where an owner began.
    chunks: u32,
    /// BLAKE3 of the record.
    digest: [u8; 32],
}

/// What the owner knows.
struct Owned {
    head: Head,
    /// Totals as of the head.
    totals: BTreeMap<DeliveryKey, DeliveryTotals>,
}

/// What became of moving the head.
enum Moved {
    Done,
    /// It is somebody else's.
    Other(Head),
}

impl std::fmt::Debug for CqlLedgerPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlLedgerPart").field("part", &self.0.part).finish_non_exhaustive()
    }
}

impl CqlLedgerPart {
    /// A part, which is owned once it is loaded.
    #[must_use]
    pub fn new(session: CqlSession, part: u32, settings: &LedgerSettings, clock: Clock, entropy: Entropy) -> Self {
        let tables = Tables::new(session, settings.in_flight, settings.faults.clone());
        let chunk_bytes = settings.chunk_bytes.clamp(1, CHUNK_BYTES);
        let commit_bytes_max = settings.commit_bytes_max.min(COMMIT_BYTES_MAX);
        let owned = Mutex::new(None);
        Self(Arc::new(Inner { tables, part, chunk_bytes, commit_bytes_max, clock, entropy, owned }))
    }
}

impl OwnsLedger for CqlLedgerPart {
    fn load(&self) -> Result<LedgerState, StoreError> {
        let mut owned = self.0.owned.lock().unwrap_or_else(PoisonError::into_inner);
        *owned = None;
        let (state, head) = self.0.tables.block_on(self.0.load())?;
        *owned = Some(Owned { head, totals: BTreeMap::new() });
        Ok(state)
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut owned = self.0.owned.lock().unwrap_or_else(PoisonError::into_inner);
        let held = owned.as_mut().ok_or(LedgerTrouble::NotOwned(self.0.part))?;
        // Whatever fails here, nothing was written, and the owner may go on.
        let (next, changes, record) = self.0.tables.block_on(self.0.prepare(held, commit))?;
        let before = held.head.clone();
        let mut held = owned.take().ok_or(LedgerTrouble::NotOwned(self.0.part))?;
        self.0.tables.block_on(self.0.take(&before, &next, changes, &record))?;
        held.head = next;
        *owned = Some(held);
        Ok(())
    }
}

impl Inner {
    fn deadline(&self, number: u64) -> Deadline {
        let at = self.clock.now().monotonic.plus_ms(APPLY_MINUTES.unsigned_abs() * 60_000);
        let overdue = LedgerTrouble::Overdue { part: self.part, number, minutes: APPLY_MINUTES };
        Deadline { clock: self.clock.clone(), at, overdue }
    }

    // ── load ──

    async fn load(&self) -> Result<(LedgerState, Head), StoreError> {
        let (before, mine) = self.claim().await?;
        let state = self.read().await?;
        match self.head().await? {
            Some(head) if head == mine => {}
            Some(head) => return Err(self.replaced(&head)),
            None => return Err(damaged("ledger_heads", &self.part.to_be_bytes(), "the head is gone")),
        }
        if let Some(before) = before {
            self.remove_chunks(&before).await;
        }
        Ok((state, mine))
    }

    /// Makes this the owner: the head's rows are written, and the head is one of its own. Returns the head before, and its own.
    async fn claim(&self) -> Result<(Option<Head>, Head), StoreError> {
        let mut deadline = self.deadline(0);
        let mut head = self.head().await?;
        for attempt in 1..=CLAIMS {
            if let Some(known) = &head
                && !self.finish(known, &deadline).await?
            {
                deadline = self.deadline(0);
                head = self.head().await?;
                continue;
            }
            let number = head.as_ref().map_or(0, |head| head.number) + 1;
            let mine = Head { number, attempt: self.entropy.bytes(), chunks: 0, digest: [0; 32] };
            match self.advance(head.as_ref(), &mine).await? {
                Moved::Done => return Ok((head, mine)),
                Moved::Other(other) => head = Some(other),
            }
            deadline = self.deadline(0);
            pause(attempt).await;
        }
        Err(LedgerTrouble::Contended(self.part).into())
    }

    /// Writes the rows of the head's commit, if that is not done. False when the head has moved on meanwhile.
    async fn finish(&self, head: &Head, deadline: &Deadline) -> Result<bool, StoreError> {
        let overdue = LedgerTrouble::Overdue { part: self.part, number: head.number, minutes: APPLY_MINUTES };
        let deadline = &Deadline { overdue, ..deadline.clone() };
        if head.chunks == 0 || self.applied().await? >= head.number {
            return Ok(true);
        }
        let record = self.record(head).await?;
        if *blake3::hash(&record).as_bytes() != head.digest {
            // Who moved the head on has removed the chunks.
            if self.head().await?.as_ref() != Some(head) {
                return Ok(false);
            }
            return Err(damaged(COMMITS, &head.number.to_be_bytes(), "its chunks are not what the head says"));
        }
        let changes = redo::decode(self.part, head.number, &record)
            .map_err(|error| damaged(COMMITS, &head.number.to_be_bytes(), error))?;
        self.apply(changes, head.number, deadline).await?;
        Ok(true)
    }

    async fn applied(&self) -> Result<u64, StoreError> {
        let row = self.tables.get(&self.meta(APPLIED)).await?;
        row.map_or(Ok(0), |row| {
            let bytes: Result<[u8; 8], _> = row.as_slice().try_into();
            bytes.map(u64::from_be_bytes).map_err(|_| damaged("ledger_meta", APPLIED, "not a number"))
        })
    }

    async fn record(&self, head: &Head) -> Result<Vec<u8>, StoreError> {
        let (mut record, limit) = (Vec::new(), RowLimit::new(LOAD_ROWS_MAX));
        for block in 0..head.chunks.div_ceil(BLOCK_CHUNKS) {
            let values = self.chunk_values(head, block);
            for (_, bytes) in self.tables.rows(Ask::Chunks, values, &limit).await? {
                record.extend_from_slice(&bytes);
            }
        }
        Ok(record)
    }

    fn meta(&self, key: &[u8]) -> Place {
        Place { table: CqlTable::Meta, partition: vec![part_value(self.part)], key: key.to_vec() }
    }

    /// All rows of the part that a state is made of.
    async fn read(&self) -> Result<LedgerState, StoreError> {
        let limit = RowLimit::new(LOAD_ROWS_MAX);
        let cursor = self.tables.get(&self.meta(CURSOR)).await?;
        let (cursor, log_time, chain) = cursor.map_or(Ok((0, WallMs(0), Chain::default())), |row| {
            rows::decode_cursor(&row).map_err(|error| damaged("ledger_meta", CURSOR, error))
        })?;
        let sums = self.tables.get(&self.meta(SUMS)).await?;
        let sums = sums.map_or(Ok(<_>::default()), |row| {
            sealed::decode_sums(&row).map_err(|error| damaged("ledger_meta", SUMS, error))
        })?;
        let newest = self.tables.rows(Ask::NewestCheckpoint, vec![part_value(self.part)], &limit).await?;
        let checkpoint = decoded(CqlTable::Checkpoints, newest, sealed::read_checkpoint)?.pop();
        Ok(state(LoadedRows {
            cursor,
            log_time,
            chain,
            balances: decoded(CqlTable::Balances, self.bucketed(CqlTable::Balances, &limit).await?, balance_row)?,
            leases: decoded(CqlTable::Leases, self.bucketed(CqlTable::Leases, &limit).await?, lease_row)?,
            reversals: decoded(CqlTable::Reversed, self.bucketed(CqlTable::Reversed, &limit).await?, reversals::read)?,
            loose: decoded(CqlTable::Loose, self.bucketed(CqlTable::Loose, &limit).await?, loose_row)?,
            servers: {
                let rows = self.tables.rows(Ask::All(CqlTable::Servers), vec![part_value(self.part)], &limit).await?;
                decoded(CqlTable::Servers, rows, servers::decode_server)?
            },
            sums,
            checkpoint,
        }))
    }

    async fn bucketed(&self, table: CqlTable, limit: &RowLimit) -> Result<Vec<KeyRow>, StoreError> {
        super::all_buckets(&self.tables, self.part, table, limit).await
    }

    // ── commit ──

    /// The next head, the rows and their record. Writes nothing.
    async fn prepare(&self, held: &mut Owned, commit: &Commit) -> Result<(Head, Changes, Vec<u8>), StoreError> {
        self.check_days(commit)?;
        self.read_totals(held, commit).await?;
        let mut changed = BTreeMap::new();
        for (key, change) in &commit.delivery {
            let mut totals = held.totals.get(key).cloned().unwrap_or_default();
            totals.add(change);
            changed.insert(*key, totals);
        }
        let changes = Changes::of(commit, &changed);
        let number = held.head.number + 1;
        let record = redo::encode(self.part, number, &changes);
        let max = self.commit_bytes_max;
        if record.len() > max {
            return Err(LedgerTrouble::TooLarge { part: self.part, bytes: record.len(), max }.into());
        }
        let chunks = u32::try_from(record.len().div_ceil(self.chunk_bytes)).unwrap_or(u32::MAX);
        let digest = *blake3::hash(&record).as_bytes();
        let next = Head { number, attempt: self.entropy.bytes(), chunks, digest };
        // What the totals are after the commit: if it fails they are forgotten with the rest.
        held.totals.extend(changed);
        if held.totals.len() > TOTALS_KEPT {
            held.totals.retain(|key, _| commit.delivery.contains_key(key));
        }
        Ok((next, changes, record))
    }

    /// Past leases are found by the day in their name.
    fn check_days(&self, commit: &Commit) -> Result<(), StoreError> {
        let is_near = |lease: &Lease| {
            let name = place::name_day(lease.grant.lease_id.to_bytes());
            lease.grant.advertiser_day.0.abs_diff(name.0) <= NAME_DAYS_APART.unsigned_abs()
        };
        let of_commit = commit.leases.iter().chain(&commit.past);
        let wrong: Option<&(AdvertiserId, Lease)> = of_commit.into_iter().find(|(_, lease)| !is_near(lease));
        wrong.map_or(Ok(()), |(_, lease)| {
            Err(LedgerTrouble::Misfiled { part: self.part, lease: lease.grant.lease_id.to_string() }.into())
        })
    }

    /// Reads the totals that change and are not known yet. The rows of all commits before are written, so they are as of the head.
    async fn read_totals(&self, held: &mut Owned, commit: &Commit) -> Result<(), StoreError> {
        let unknown: Vec<DeliveryKey> =
            commit.delivery.keys().filter(|key| !held.totals.contains_key(key)).copied().collect();
        let reads = unknown.into_iter().map(|key| {
            let (tables, row_key) = (self.tables.clone(), rows::delivery_key(key));
            let places = places(self.part, Table::Delivery, &row_key);
            async move {
                let place = places.map_err(|error| damaged("ledger_delivery", &row_key, error))?.swap_remove(0);
                let row = tables.get(&place).await?;
                let totals = row.map_or(Ok(DeliveryTotals::default()), |row| {
                    rows::decode_delivery(&row).map_err(|error| damaged("ledger_delivery", &row_key, error))
                })?;
                Ok((key, totals))
            }
        });
        held.totals.extend(self.tables.all(reads).await?);
        Ok(())
    }

    /// Makes a commit durable: its record, the head, its rows.
    async fn take(&self, before: &Head, next: &Head, changes: Changes, record: &[u8]) -> Result<(), StoreError> {
        let deadline = self.deadline(next.number);
        let chunks = record.chunks(self.chunk_bytes).zip(0_u32..).map(|(bytes, chunk)| {
            let mut values = self.chunk_values(next, chunk / BLOCK_CHUNKS);
            values.extend([CqlValue::Int(chunk.cast_signed()), CqlValue::Blob(bytes.to_vec())]);
            let tables = self.tables.clone();
            async move { tables.run(Ask::PutChunk, &values, None).await.map(drop) }
        });
        self.tables.all(chunks).await?;
        match self.advance(Some(before), next).await? {
            Moved::Done => {}
            Moved::Other(other) => {
                self.remove_chunks(next).await;
                return Err(self.replaced(&other));
            }
        }
        self.apply(changes, next.number, &deadline).await?;
        self.remove_chunks(before).await;
        Ok(())
    }

    fn chunk_values(&self, head: &Head, block: u32) -> Vec<CqlValue> {
        vec![
            part_value(self.part),
            CqlValue::BigInt(head.number.cast_signed()),
            CqlValue::Blob(head.attempt.to_vec()),
            CqlValue::Int(block.cast_signed()),
        ]
    }

    /// Removes the chunks of a commit that nobody needs any more. What a failure leaves goes by its time to live.
    async fn remove_chunks(&self, head: &Head) {
        for block in 0..head.chunks.div_ceil(BLOCK_CHUNKS) {
            if let Err(error) = self.tables.run(Ask::RemoveChunks, &self.chunk_values(head, block), None).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "an old commit of the ledger stays for now");
                return;
            }
        }
    }

    /// Writes the rows of a commit: new ones, then removals, then the cursor, then that all is written.
    async fn apply(&self, changes: Changes, number: u64, deadline: &Deadline) -> Result<(), StoreError> {
        let mut steps: [Vec<(Place, Option<Vec<u8>>)>; 3] = Default::default();
        for ((table, key), row) in changes.0 {
            let step = match (table, &row) {
                (Table::Meta, _) => 2,
                (_, Some(_)) => 0,
                (_, None) => 1,
            };
            let found = places(self.part, table, &key).map_err(|error| damaged(COMMITS, &key, error))?;
            steps[step].extend(found.into_iter().map(|place| (place, row.clone())));
        }
        for step in steps {
            let writes = step.into_iter().map(|(place, row)| {
                let (tables, deadline) = (self.tables.clone(), deadline.clone());
                async move { tables.apply(place, row, number, &deadline).await }
            });
            self.tables.all(writes).await?;
        }
        let applied = Some(number.to_be_bytes().to_vec());
        self.tables.apply(self.meta(APPLIED), applied, number, deadline).await
    }

    // ── the head ──

    /// The head, after every move that was begun before.
    async fn head(&self) -> Result<Option<Head>, StoreError> {
        let result = self.tables.run(Ask::Head, &[part_value(self.part)], None).await?;
        let rows = result.into_rows_result().map_err(|error| other(Ask::Head, &error))?;
        let row = rows.maybe_first_row::<(i64, Vec<u8>, i32, Vec<u8>)>().map_err(|error| other(Ask::Head, &error))?;
        row.map(|(number, attempt, chunks, digest)| {
            Some(Head {
                number: u64::try_from(number).ok()?,
                attempt: attempt.try_into().ok()?,
                chunks: u32::try_from(chunks).ok()?,
                digest: digest.try_into().ok()?,
            })
        })
        .map(|head| head.ok_or_else(|| damaged("ledger_heads", &self.part.to_be_bytes(), "not a head")))
        .transpose()
    }

    /// Moves the head on from one commit to another. Whatever becomes of the answers: what the head says then is what happened.
    async fn advance(&self, from: Option<&Head>, to: &Head) -> Result<Moved, StoreError> {
        let part = part_value(self.part);
        let mut values = vec![
            CqlValue::BigInt(to.number.cast_signed()),
            CqlValue::Blob(to.attempt.to_vec()),
            CqlValue::Int(to.chunks.cast_signed()),
            CqlValue::Blob(to.digest.to_vec()),
        ];
        let ask = if let Some(from) = from {
            let known = [CqlValue::BigInt(from.number.cast_signed()), CqlValue::Blob(from.attempt.to_vec())];
            values.push(part);
            values.extend(known);
            Ask::NextHead
        } else {
            values.insert(0, part);
            Ask::FirstHead
        };
        for attempt in 1..=MOVES {
            match self.tables.once(ask, &values).await {
                Ok(result) if is_applied(ask, &result)? => return Ok(Moved::Done),
                // Not now; an attempt before, whose answer was lost, may have been.
                Ok(_) | Err(Failed::MaybeDone(_)) => {}
                Err(failed @ Failed::Refused(_)) => return Err(failed.into_error()),
            }
            match self.head().await? {
                Some(head) if head == *to => return Ok(Moved::Done),
                head if head.as_ref() == from => pause(attempt).await,
                Some(head) => return Ok(Moved::Other(head)),
                None => return Err(damaged("ledger_heads", &self.part.to_be_bytes(), "the head is gone")),
            }
        }
        Err(LedgerTrouble::Unknown { part: self.part, number: to.number }.into())
    }

    fn replaced(&self, head: &Head) -> StoreError {
        LedgerTrouble::Replaced { part: self.part, number: head.number }.into()
    }
}

/// Whether a conditional write was made. The driver's own word for it knows only ScyllaDB: the first column says it in both.
fn is_applied(ask: Ask, result: &QueryResult) -> Result<bool, StoreError> {
    let rows = result.clone().into_rows_result().map_err(|error| other(ask, &error))?;
    let row = rows.first_row::<Row>().map_err(|error| other(ask, &error))?;
    Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
}
