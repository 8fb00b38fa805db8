//! The statements of the ledger: their texts, how often each is tried, and how many are under way.
//!
//! Every write to a table of rows says `USING TIMESTAMP` with the commit's number, in place of a clock: of two writes of a row the later commit's holds,
//! whenever they arrive, and a row of one commit is the same whoever writes it. Only `ledger_heads` is written on conditions, which take no timestamp.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::response::PagingState;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::place::{CqlTable, Place};
use super::trouble::LedgerTrouble;
use crate::clock::Clock;
use crate::model::MonotonicMs;
use crate::store::StoreError;
use crate::store::cql::{CqlSession, CqlTrouble, Kind};

/// How long one statement may take: nobody waits for the ledger within a break, and a server that collects garbage is given the time.
const STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// How often one is tried: a quarter of a minute without its replicas, and a statement is given up. Leases bridge longer.
const ATTEMPTS: u32 = 10;
/// Pause before the second attempt; twice as long before each one after, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Rows of a page: 200 kB of usual leases, 28 MB of the largest that can be.
const PAGE_ROWS: i32 = 500;
/// Chunks of a page: 4 MB.
const PAGE_CHUNKS: i32 = 16;

/// A key and its row.
pub(super) type KeyRow = (Vec<u8>, Vec<u8>);

/// How many rows one call may still read. Clones count together.
#[derive(Clone)]
pub(super) struct RowLimit {
    max: usize,
    read: Arc<AtomicUsize>,
}

impl RowLimit {
    pub(super) fn new(max: usize) -> Self {
        Self { max, read: Arc::default() }
    }

    fn take(&self, rows: usize) -> Result<(), StoreError> {
        // A count: nothing else is ordered by it.
        let read = self.read.fetch_add(rows, Ordering::Relaxed) + rows;
        if read > self.max { Err(LedgerTrouble::TooMuch { what: "rows", max: self.max }.into()) } else { Ok(()) }
    }
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Ask {
    /// Partition, key, row, timestamp.
    Put(CqlTable),
    /// Timestamp, partition, key.
    Remove(CqlTable),
    /// Partition, key.
    Get(CqlTable),
    /// Partition.
    All(CqlTable),
    /// Partition, first key, first key after.
    Range(CqlTable),
    /// Part.
    NewestCheckpoint,
    /// Part.
    Head,
    /// Part, number, attempt, chunks, digest.
    FirstHead,
    /// Number, attempt, chunks, digest, part, number before, attempt before.
    NextHead,
    /// Part, number, attempt, block, chunk, bytes.
    PutChunk,
    /// Part, number, attempt, block.
    Chunks,
    /// Part, number, attempt, block.
    RemoveChunks,
}

impl Ask {
    fn text(self, keyspace: &str) -> String {
        let name = |table: CqlTable| format!("{keyspace}.{}", table.name());
        let there = |table: CqlTable| {
            table.partition().iter().map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(" AND ")
        };
        match self {
            Self::Put(table) => {
                let columns = table.partition().join(", ");
                let marks = "?, ".repeat(table.partition().len());
                format!("INSERT INTO {} ({columns}, key, row) VALUES ({marks}?, ?) USING TIMESTAMP ?", name(table))
            }
            Self::Remove(table) => {
                format!("DELETE FROM {} USING TIMESTAMP ? WHERE {} AND key = ?", name(table), there(table))
            }
            Self::Get(table) => format!("SELECT row FROM {} WHERE {} AND key = ?", name(table), there(table)),
            Self::All(table) => format!("SELECT key, row FROM {} WHERE {}", name(table), there(table)),
            Self::Range(table) => {
                format!("SELECT key, row FROM {} WHERE {} AND key >= ? AND key < ?", name(table), there(table))
            }
            Self::NewestCheckpoint => {
                format!("SELECT key, row FROM {} WHERE part = ? LIMIT 1", name(CqlTable::Checkpoints))
            }
            Self::Head => format!("SELECT number, attempt, chunks, digest FROM {keyspace}.ledger_heads WHERE part = ?"),
            Self::FirstHead => format!(
                "INSERT INTO {keyspace}.ledger_heads (part, number, attempt, chunks, digest) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS"
            ),
            Self::NextHead => format!(
                "UPDATE {keyspace}.ledger_heads SET number = ?, attempt = ?, chunks = ?, digest = ? WHERE part = ? IF number = ? AND attempt = ?"
            ),
            Self::PutChunk => format!(
                "INSERT INTO {keyspace}.ledger_commits (part, number, attempt, block, chunk, bytes) VALUES (?, ?, ?, ?, ?, ?)"
            ),
            Self::Chunks => format!(
                "SELECT attempt, bytes FROM {keyspace}.ledger_commits WHERE part = ? AND number = ? AND attempt = ? AND block = ?"
            ),
            Self::RemoveChunks => format!(
                "DELETE FROM {keyspace}.ledger_commits WHERE part = ? AND number = ? AND attempt = ? AND block = ?"
            ),
        }
    }

    const fn page_rows(self) -> i32 {
        if matches!(self, Self::Chunks) { PAGE_CHUNKS } else { PAGE_ROWS }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Put(_) | Self::Remove(_) | Self::PutChunk | Self::RemoveChunks => Kind::Write,
            Self::Get(_) | Self::All(_) | Self::Range(_) | Self::NewestCheckpoint | Self::Chunks => Kind::Read,
            Self::Head => Kind::SerialRead,
            Self::FirstHead | Self::NextHead => Kind::Conditional,
        }
    }

    const fn doing(self) -> &'static str {
        match self {
            Self::Put(_) => "write a row of the ledger",
            Self::Remove(_) => "remove a row of the ledger",
            Self::Get(_) | Self::All(_) | Self::Range(_) | Self::NewestCheckpoint => "read rows of the ledger",
            Self::Head => "read the ledger's head",
            Self::FirstHead | Self::NextHead => "move the ledger's head",
            Self::PutChunk => "write a commit of the ledger",
            Self::Chunks => "read a commit of the ledger",
            Self::RemoveChunks => "remove an old commit of the ledger",
        }
    }
}

/// Ends and losses on order, for the crash tests: counts every statement that is sent.
#[derive(Clone, Debug)]
pub struct StatementFaults(Arc<Orders>);

#[derive(Debug)]
struct Orders {
    sent: AtomicU64,
    ends_after: u64,
    loses: u64,
    holds_from: u64,
    is_holding: AtomicBool,
    /// Without a permit until it is let go on.
    held: Semaphore,
}

impl StatementFaults {
    /// Nothing is sent after so many statements, as if the process had died.
    #[must_use]
    pub fn ends_after(statements: u64) -> Self {
        Self::ordered(statements, u64::MAX, u64::MAX)
    }

    /// The answer to that statement, from 1 on, never comes, though it was done.
    #[must_use]
    pub fn loses_answer(statement: u64) -> Self {
        Self::ordered(u64::MAX, statement, u64::MAX)
    }

    /// Nothing is sent from that statement on, from 1 on, until [`StatementFaults::go_on`]: an owner that sleeps.
    #[must_use]
    pub fn holds_from(statement: u64) -> Self {
        Self::ordered(u64::MAX, u64::MAX, statement)
    }

    fn ordered(ends_after: u64, loses: u64, holds_from: u64) -> Self {
        let (sent, held) = (AtomicU64::new(0), Semaphore::new(0));
        Self(Arc::new(Orders { sent, ends_after, loses, holds_from, is_holding: AtomicBool::new(false), held }))
    }

    /// Whether something is held.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.0.is_holding.load(Ordering::Acquire)
    }

    /// Lets what is held be sent.
    pub fn go_on(&self) {
        self.0.held.add_permits(1);
    }

    /// How many statements were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed).min(self.0.ends_after)
    }

    /// Lets one more through, and says whether its answer is lost.
    async fn pass(&self) -> Result<bool, StoreError> {
        // A count: nothing else is ordered by it.
        let statement = self.0.sent.fetch_add(1, Ordering::Relaxed) + 1;
        if statement > self.0.ends_after {
            return Err(LedgerTrouble::Ended(self.0.ends_after).into());
        }
        if statement >= self.0.holds_from {
            self.0.is_holding.store(true, Ordering::Release);
            drop(self.0.held.acquire().await);
        }
        Ok(statement == self.0.loses)
    }
}

impl Default for StatementFaults {
    fn default() -> Self {
        Self::ends_after(u64::MAX)
    }
}

/// A moment after which rows of a commit are no more written.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    pub(super) clock: Clock,
    pub(super) at: MonotonicMs,
    pub(super) overdue: LedgerTrouble,
}

impl Deadline {
    fn check(&self) -> Result<(), StoreError> {
        if self.clock.now().monotonic >= self.at { Err(self.overdue.clone().into()) } else { Ok(()) }
    }
}

/// How a statement failed.
pub(super) enum Failed {
    /// It may succeed if it is tried again; it may have been done.
    MaybeDone(StoreError),
    /// It makes no sense to try it again.
    Refused(StoreError),
}

impl Failed {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::MaybeDone(error) | Self::Refused(error) => error,
        }
    }
}

/// The ledger's tables. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tables(Arc<Inner>);

struct Inner {
    session: CqlSession,
    prepared: Mutex<HashMap<Ask, PreparedStatement>>,
    faults: StatementFaults,
    in_flight: usize,
}

impl Tables {
    pub(super) fn new(session: CqlSession, in_flight: usize, faults: StatementFaults) -> Self {
        Self(Arc::new(Inner { session, prepared: Mutex::default(), faults, in_flight: in_flight.max(1) }))
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.session.block_on(future)
    }

    async fn prepared(&self, ask: Ask) -> Result<PreparedStatement, StoreError> {
        let known = |prepared: &Mutex<HashMap<Ask, PreparedStatement>>| {
            prepared.lock().unwrap_or_else(PoisonError::into_inner).get(&ask).cloned()
        };
        if let Some(prepared) = known(&self.0.prepared) {
            return Ok(prepared);
        }
        let text = ask.text(self.0.session.keyspace());
        let mut prepared = self.0.session.prepare(ask.doing(), &text, ask.kind()).await?;
        prepared.set_request_timeout(Some(STATEMENT_WAIT));
        prepared.set_page_size(ask.page_rows());
        // Two that prepare it at once prepare the same.
        self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(ask, prepared.clone());
        Ok(prepared)
    }

    /// One attempt.
    pub(super) async fn once(&self, ask: Ask, values: &[CqlValue]) -> Result<QueryResult, Failed> {
        let prepared = self.prepared(ask).await.map_err(Failed::MaybeDone)?;
        let is_lost = self.0.faults.pass().await.map_err(Failed::Refused)?;
        let done = self.0.session.driver().execute_unpaged(&prepared, values).await;
        match done {
            Ok(_) if is_lost => Err(Failed::MaybeDone(lost(ask))),
            Ok(result) => Ok(result),
            Err(error) => Err(self.failed(ask, &error)),
        }
    }

    /// Until it is done, or has failed too often. For what may be done twice.
    pub(super) async fn run(
        &self,
        ask: Ask,
        values: &[CqlValue],
        deadline: Option<&Deadline>,
    ) -> Result<QueryResult, StoreError> {
        for attempt in 1.. {
            deadline.map_or(Ok(()), Deadline::check)?;
            match self.once(ask, values).await {
                Ok(result) => return Ok(result),
                Err(Failed::MaybeDone(_)) if attempt < ATTEMPTS => pause(attempt).await,
                Err(failed) => return Err(failed.into_error()),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// All rows of a partition, or a range of them, by pages.
    pub(super) async fn rows(
        &self,
        ask: Ask,
        values: Vec<CqlValue>,
        limit: &RowLimit,
    ) -> Result<Vec<KeyRow>, StoreError> {
        let prepared = self.prepared(ask).await?;
        let (mut found, mut place) = (Vec::new(), PagingState::start());
        loop {
            let (page, next) = self.page(ask, &prepared, &values, &place).await?;
            limit.take(page.rows_num())?;
            for row in page.rows::<KeyRow>().map_err(|error| other(ask, &error))? {
                found.push(row.map_err(|error| other(ask, &error))?);
            }
            match next {
                Some(next) => place = next,
                None => return Ok(found),
            }
        }
    }

    async fn page(
        &self,
        ask: Ask,
        prepared: &PreparedStatement,
        values: &[CqlValue],
        place: &PagingState,
    ) -> Result<(QueryRowsResult, Option<PagingState>), StoreError> {
        for attempt in 1.. {
            let is_lost = self.0.faults.pass().await?;
            let read = self.0.session.driver().execute_single_page(prepared, values, place.clone()).await;
            let failed = match read {
                Ok(_) if is_lost => Failed::MaybeDone(lost(ask)),
                Ok((page, next)) => {
                    let rows = page.into_rows_result().map_err(|error| other(ask, &error))?;
                    return Ok((rows, next.into_paging_control_flow().continue_value()));
                }
                Err(error) => self.failed(ask, &error),
            };
            match failed {
                Failed::MaybeDone(_) if attempt < ATTEMPTS => pause(attempt).await,
                failed => return Err(failed.into_error()),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// A row, if it is there.
    pub(super) async fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
        let ask = Ask::Get(place.table);
        let mut values = place.partition.clone();
        values.push(CqlValue::Blob(place.key.clone()));
        let result = self.run(ask, &values, None).await?;
        let rows = result.into_rows_result().map_err(|error| other(ask, &error))?;
        let row = rows.maybe_first_row::<(Vec<u8>,)>().map_err(|error| other(ask, &error))?;
        Ok(row.map(|(row,)| row))
    }

    /// Writes a row, or removes it, as of a commit.
    pub(super) async fn apply(
        &self,
        place: Place,
        row: Option<Vec<u8>>,
        number: u64,
        deadline: &Deadline,
    ) -> Result<(), StoreError> {
        let at = CqlValue::BigInt(number.cast_signed());
        let Place { table, partition: mut values, key } = place;
        let ask = if let Some(row) = row {
            values.extend([CqlValue::Blob(key), CqlValue::Blob(row), at]);
            Ask::Put(table)
        } else {
            values.insert(0, at);
            values.push(CqlValue::Blob(key));
            Ask::Remove(table)
        };
        self.run(ask, &values, Some(deadline)).await.map(drop)
    }

    /// Runs all of these, a bounded number at a time, and gives what they found in the order in which they end. The first error ends them all.
    pub(super) async fn all<T: Send + 'static, F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        jobs: impl IntoIterator<Item = F>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut running, mut found) = (JoinSet::new(), Vec::new());
        for job in jobs {
            if running.len() >= self.0.in_flight
                && let Some(done) = running.join_next().await
            {
                found.push(done.expect("a statement's task neither panics nor is it aborted")?);
            }
            running.spawn(job);
        }
        while let Some(done) = running.join_next().await {
            found.push(done.expect("a statement's task neither panics nor is it aborted")?);
        }
        Ok(found)
    }

    fn failed(&self, ask: Ask, error: &ExecutionError) -> Failed {
        let told = StoreError::Cql(self.0.session.trouble(ask.doing(), error));
        let refused = match error {
            ExecutionError::BadQuery(_) => true,
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => {
                matches!(error, DbError::SyntaxError | DbError::Invalid | DbError::Unauthorized)
            }
            _ => false,
        };
        if refused { Failed::Refused(told) } else { Failed::MaybeDone(told) }
    }
}

/// Waits a little before the attempt after this one.
pub(super) async fn pause(attempt: u32) {
    let doubled = PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    tokio::time::sleep(doubled.min(PAUSE_MAX)).await;
}

/// What driver or server said that makes no sense.
pub(super) fn other(ask: Ask, error: &dyn std::error::Error) -> StoreError {
    StoreError::Cql(CqlTrouble::Other { doing: ask.doing(), reason: error.to_string().replace('\n', " ") })
}

fn lost(ask: Ask) -> StoreError {
    StoreError::Cql(CqlTrouble::Other {
        doing: ask.doing(),
        reason: "the answer was lost, as was asked for".to_owned(),
    })
}
