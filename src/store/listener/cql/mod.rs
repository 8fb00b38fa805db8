//! Listeners in CQL, which several servers share. The tables are in `schemas/cql/0001-listeners.cql`.
//!
//! * **Head**: the pseudonym is given once, by a conditional write, so that two servers that meet a listener at once give them one. All else of the head
//!   is one value; the last one written wins. A head, or an exposure, that names another pseudonym than the row's is of a listener who was forgotten
//!   since: it is nobody's, and is not read.
//! * **Exposures**: one row an impression. Each write is stamped by what it says (`Said`), not by a clock: heard beats given up, given up beats reserved,
//!   whichever server says it, in whatever order, however often. So writes are idempotent and commute.
//! * **Strict rows**: written on the condition of their version (INV-31), asked once. What fails or is late may have been applied: the answer is that
//!   nobody knows ([`ReserveError::Failed`]), and the next attempt finds out by its condition. A conflict's answer is read serially, which ends whatever
//!   was under way; so what was accepted is never missing from it. Within one data centre: its servers alone vote.
//! * **Forgetting**: the rows of head and strict caps go by conditional deletes, ordered with the conditional writes, and the taste likewise; exposures and segments by partition.
//!
//! Reads at a miss are all made at once, at `LOCAL_QUORUM` and speculatively. The strict row too: one that is behind makes a reservation conflict, no more.

mod profile;
mod statements;
mod writer;

use std::sync::Arc;

use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::statements::{Said, Statements, WEEKS_KEPT, stamp};
use self::writer::Writer;
use super::super::cql::{CqlSession, CqlTrouble};
use super::super::{StoreError, damaged};
use super::backend::{ListenerChange, ListenerStore, RESERVATIONS, ReserveError, StoredListener};
use super::format::{self, decode_head, decode_strict, week_of, weeks_seen};
use super::profile::TasteRow;
use crate::caps::strict::{self, Outcome, Reservation, Verdict};
use crate::clock::Clock;
use crate::impressions::CLOCK_TOLERANCE_MS;
use crate::model::{Exposure, ListenerKey, ListenerState, Pseudonym, StrictRow, TimedSegment, WallMs};
use crate::patience::Seldom;
use crate::profile::Taste;

/// Rows of a page of exposures.
const PAGE_ROWS: i32 = 256;
/// Pages read of a week, newest first: twice as many rows as are kept of a listener, for those that are nobody's.
const PAGES_MAX: usize = 4;
const HEADS: &str = "listeners";
const EXPOSURES: &str = "exposures";
const STRICT: &str = "strict_caps";

/// Listeners in CQL. Clones are one store; when the last one goes, its writer ends with what was handed over, as long as the runtime lives.
#[derive(Clone)]
pub struct CqlListeners {
    at: Arc<Statements>,
    writer: Arc<Writer>,
    reserving: Arc<Semaphore>,
    /// Of this machine, for the log.
    clock: Clock,
    unsure: Arc<Seldom>,
}

impl std::fmt::Debug for CqlListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlListeners").field("session", &self.at.session).finish_non_exhaustive()
    }
}

impl CqlListeners {
    /// Prepares the statements and starts the writer.
    pub(super) async fn open(session: &CqlSession) -> Result<Self, StoreError> {
        let at = Arc::new(Statements::prepare(session, PAGE_ROWS).await?);
        let writer = Arc::new(Writer::start(&at));
        Ok(Self {
            at,
            writer,
            reserving: Arc::new(Semaphore::new(RESERVATIONS)),
            clock: Clock::real(),
            unsure: Arc::default(),
        })
    }

    /// The rows of exposures of all weeks that windows see, each as impression and value. A server ahead of this one may have begun the next week.
    async fn exposures(&self, key: ListenerKey, now: WallMs) -> Result<Vec<StoredRow>, StoreError> {
        let (first, last) = weeks_seen(now).into_inner();
        let mut reading = JoinSet::new();
        for week in first..=last.max(week_of(now.plus_ms(CLOCK_TOLERANCE_MS))) {
            reading.spawn_on(week_rows(Arc::clone(&self.at), key, week), self.at.session.runtime());
        }
        let mut rows = Vec::new();
        while let Some(read) = reading.join_next().await {
            rows.extend(read.map_err(|_| StoreError::WriterGone { what: EXPOSURES })??);
        }
        Ok(rows)
    }

    async fn reserve_or_tell(&self, key: ListenerKey, reservation: &Reservation) -> Result<Outcome, CqlTrouble> {
        const DOING: &str = "write a strict row";
        let version = reservation.row.version.expect("a row that is written has a version");
        let counted = format::encode_strict(&reservation.row);
        let is_applied = match reservation.expected {
            None => {
                self.at
                    .conditionally(DOING, &self.at.strict_first, (key.0.as_slice(), bits(version.0), counted))
                    .await?
            }
            Some(expected) => {
                let values = (bits(version.0), counted, key.0.as_slice(), bits(expected.0));
                self.at.conditionally(DOING, &self.at.strict_next, values).await?
            }
        };
        if is_applied {
            return Ok(Outcome::Accepted);
        }
        let row = self.strict_row(&self.at.strict_serially, key).await.map_err(into_trouble)?;
        Ok(match strict::judge(row.version, reservation) {
            // Written by this very reservation, whose first answer was lost on the way.
            Verdict::Repeated => Outcome::Accepted,
            // Not applied, whatever has become of the row since.
            Verdict::Conflict | Verdict::Accept => Outcome::Conflict(row),
        })
    }

    async fn strict_row(&self, statement: &PreparedStatement, key: ListenerKey) -> Result<StrictRow, StoreError> {
        const DOING: &str = "read a strict row";
        let found = self.at.run(DOING, statement, (key.0.as_slice(),)).await?;
        let row: Option<(Option<i64>, Option<Vec<u8>>)> = first(DOING, found)?;
        let Some((Some(version), Some(counted))) = row else { return Ok(StrictRow::default()) };
        let row = decode_strict(&counted).ok_or_else(|| damaged(STRICT, &key.0, "not a strict row"))?;
        if row.version.is_some_and(|inside| bits(inside.0) == version) {
            Ok(row)
        } else {
            Err(damaged(STRICT, &key.0, "its version is not that of its value"))
        }
    }

    async fn head(&self, key: ListenerKey) -> Result<Option<ListenerState>, StoreError> {
        const DOING: &str = "read a listener";
        let found = self.at.run(DOING, &self.at.head, (key.0.as_slice(),)).await?;
        let row: Option<HeadRow> = first(DOING, found)?;
        // A head without pseudonym was written by a server that did not know yet that they were forgotten.
        let Some((Some(pseudonym), head)) = row else { return Ok(None) };
        let pseudonym = pseudonym_of(key, &pseudonym)?;
        let Some(head) = head else { return Ok(Some(ListenerState::new(pseudonym))) };
        let state = decode_head(&head).ok_or_else(|| damaged(HEADS, &key.0, "not a listener's head"))?;
        Ok(Some(if state.pseudonym == pseudonym { state } else { ListenerState::new(pseudonym) }))
    }

    async fn pseudonym(&self, key: ListenerKey) -> Result<Option<Pseudonym>, StoreError> {
        Ok(self.head(key).await?.map(|state| state.pseudonym))
    }
}

impl ListenerStore for CqlListeners {
    async fn load(&self, key: ListenerKey, now: WallMs) -> Result<StoredListener, StoreError> {
        let reads = tokio::try_join!(
            self.head(key),
            self.exposures(key, now),
            self.strict_row(&self.at.strict, key),
            Box::pin(self.profile(key, now))
        )?;
        let (Some(mut state), rows, strict, profile) = reads else {
            return Ok(StoredListener { state: None, strict: reads.2, profile: reads.3 });
        };
        for row in rows {
            let (exposure, pseudonym) =
                row.decode().ok_or_else(|| damaged(EXPOSURES, &row.impression, "not an exposure"))?;
            if pseudonym == state.pseudonym.0 {
                state.exposures.push(exposure);
            }
        }
        // As the embedded store has them: ads of one moment by their impressions.
        state.exposures.sort_by_key(|exposure| (exposure.at, exposure.impression_id.to_bytes()));
        let excess = state.exposures.len().saturating_sub(ListenerState::MAX_EXPOSURES);
        state.exposures.drain(..excess);
        Ok(StoredListener { state: Some(state), strict, profile })
    }

    async fn establish(&self, key: ListenerKey, pseudonym: Pseudonym) -> Result<Pseudonym, StoreError> {
        const DOING: &str = "give a listener a pseudonym";
        let values = (pseudonym.0.as_slice(), key.0.as_slice());
        if self.at.conditionally(DOING, &self.at.establish, values).await? {
            return Ok(pseudonym);
        }
        // The other's is committed at a quorum when this was refused.
        let other = self.pseudonym(key).await?;
        other.ok_or_else(|| {
            let reason = "another server gave one, and they were forgotten since".to_owned();
            CqlTrouble::Other { doing: DOING, reason }.into()
        })
    }

    fn offer(&self, change: ListenerChange) {
        self.writer.offer(change);
    }

    async fn read_strict(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        self.strict_row(&self.at.strict_serially, key).await
    }

    async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        let Ok(_permit) = self.reserving.try_acquire() else { return Err(ReserveError::Busy) };
        self.reserve_or_tell(key, &reservation).await.map_err(|error| {
            if let Some(others) = self.unsure.happens(self.clock.now().monotonic) {
                tracing::warn!(%error, others, "a strict row's reservation has no verdict");
            }
            ReserveError::Failed
        })
    }

    async fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), StoreError> {
        const DOING: &str = "forget a listener";
        // What was handed over before may not come after.
        self.writer.settle().await?;
        self.at.conditionally(DOING, &self.at.forget_strict, (key.0.as_slice(),)).await?;
        self.forget_profile(key).await?;
        self.at.conditionally(DOING, &self.at.forget_head, (key.0.as_slice(),)).await?;
        // Later than whatever any ad decided until now may say.
        let stamp = stamp(now, Said::Erased);
        let weeks = week_of(now) - WEEKS_KEPT..=week_of(now.plus_ms(CLOCK_TOLERANCE_MS));
        let mut deleting = JoinSet::new();
        for week in weeks {
            let at = Arc::clone(&self.at);
            let delete = async move {
                let values = (stamp, key.0.as_slice(), in_column(week));
                at.run(DOING, &at.forget_week, values).await.map(|_| ())
            };
            deleting.spawn_on(delete, self.at.session.runtime());
        }
        while let Some(deleted) = deleting.join_next().await {
            deleted.map_err(|_| StoreError::WriterGone { what: EXPOSURES })??;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        match self.writer.settle().await? {
            0 => Ok(()),
            lost => {
                let reason = format!("{lost} changes could not be written since the last time");
                Err(CqlTrouble::Other { doing: "write listeners", reason }.into())
            }
        }
    }

    async fn drop_too_old(&self, _now: WallMs) -> Result<usize, StoreError> {
        // They expire by themselves.
        Ok(0)
    }

    async fn read_taste(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        self.taste(key).await
    }

    async fn replace_taste(&self, key: ListenerKey, before: TasteRow, taste: Taste) -> Result<bool, StoreError> {
        self.swap(key, &before, &taste).await
    }

    async fn put_segment(&self, key: ListenerKey, segment: TimedSegment, now: WallMs) -> Result<(), StoreError> {
        self.put(key, &segment, now).await
    }

    fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    fn max_age_ms(&self) -> Option<i64> {
        Some(i64::try_from(self.at.session.connection().listener_max_age_ms).unwrap_or(i64::MAX))
    }

    fn read_wait_ms(&self) -> u64 {
        self.at.session.connection().read_timeout_ms
    }
}

/// Pseudonym and value.
type HeadRow = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A row of an exposure.
struct StoredRow {
    impression: Vec<u8>,
    value: Vec<u8>,
}

impl StoredRow {
    /// The exposure, and whose it is.
    fn decode(&self) -> Option<(Exposure, Vec<u8>)> {
        format::decode_owned_exposure(&self.impression, &self.value)
    }
}

/// A week's newest rows, page by page.
async fn week_rows(at: Arc<Statements>, key: ListenerKey, week: i64) -> Result<Vec<StoredRow>, StoreError> {
    const DOING: &str = "read a listener's exposures";
    let (mut rows, mut from) = (Vec::new(), PagingState::start());
    for _ in 0..PAGES_MAX {
        let values = (key.0.as_slice(), in_column(week));
        let page = at.session.driver().execute_single_page(&at.week, values, from).await;
        let (page, next) = page.map_err(|error| at.session.trouble(DOING, &error))?;
        let page = page.into_rows_result().map_err(|error| other(DOING, &error))?;
        for row in page.rows::<(Vec<u8>, Vec<u8>)>().map_err(|error| other(DOING, &error))? {
            let (impression, value) = row.map_err(|error| other(DOING, &error))?;
            rows.push(StoredRow { impression, value });
        }
        match next {
            PagingStateResponse::HasMorePages { state } => from = state,
            PagingStateResponse::NoMorePages => break,
        }
    }
    Ok(rows)
}

impl Statements {
    async fn run(
        &self,
        doing: &'static str,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<QueryResult, CqlTrouble> {
        let done: Result<_, ExecutionError> = self.session.driver().execute_unpaged(statement, values).await;
        done.map_err(|error| self.session.trouble(doing, &error))
    }

    /// A conditional write; whether it was applied. An error says nothing of that.
    async fn conditionally(
        &self,
        doing: &'static str,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<bool, CqlTrouble> {
        let row: Option<Row> = first(doing, self.run(doing, statement, values).await?)?;
        Ok(row.is_some_and(|row| matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true))))))
    }
}

fn first<R>(doing: &'static str, found: QueryResult) -> Result<Option<R>, CqlTrouble>
where
    R: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
{
    let rows = found.into_rows_result().map_err(|error| other(doing, &error))?;
    rows.maybe_first_row::<R>().map_err(|error| other(doing, &error))
}

fn pseudonym_of(key: ListenerKey, bytes: &[u8]) -> Result<Pseudonym, StoreError> {
    let pseudonym = bytes.try_into().map_err(|_| damaged(HEADS, &key.0, "not a pseudonym"))?;
    Ok(Pseudonym(pseudonym))
}

/// A version as its column has it: the same bits.
const fn bits(version: u64) -> i64 {
    version.cast_signed()
}

/// A week as its column has it. Those that don't fit are no weeks of this era.
fn in_column(week: i64) -> i32 {
    i32::try_from(week).unwrap_or(if week < 0 { i32::MIN } else { i32::MAX })
}

fn other(doing: &'static str, error: &dyn std::error::Error) -> CqlTrouble {
    CqlTrouble::Other { doing, reason: error.to_string() }
}

/// What a strict row's reading tells, as it is logged.
fn into_trouble(error: StoreError) -> CqlTrouble {
    match error {
        StoreError::Cql(trouble) => trouble,
        error => other("read a strict row", &error),
    }
}
