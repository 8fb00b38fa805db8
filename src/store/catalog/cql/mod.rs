//! The catalogue in CQL, shared by any number of API servers.
//!
//! An entity, its newest revisions and the rows of its outbox are one partition of `catalogue`, written by one conditional batch:
//! of several servers that change an entity at once, one succeeds (INV-47). Before the batch a row of `catalogue_pending` says that the entity will have
//! something to publish; after it the publisher ([`CqlCatalog::outbox`]) hands the revision to the event log, copies it to `catalogue_history`, and only
//! then takes the outbox row and the pending row away (INV-48). What a crash leaves, by where it comes:
//!
//! | after | what is there | what becomes of it |
//! | --- | --- | --- |
//! | the pending row | no revision | looked at by every publisher until the entity has that number; then deleted |
//! | the batch | the revision, its outbox row | any server's publisher finds it within two looks, and publishes it |
//! | the hand-over | the same, and the record | published again: readers keep the greater number |
//! | the copy to history | the same, twice | read once, by number; published again |
//! | the outbox row's end | a pending row without anything to publish | looked at once, and deleted |
//!
//! A statement whose answer is lost is never repeated blindly: who made a revision is told by the id of the attempt that stands beside it.

mod commit;
mod keys;
mod load;
mod outbox;

use std::sync::Arc;

use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::mpsc;

use super::{CatalogStore, Committed, KeysSeen, StoredCatalog};
use crate::catalog::{EntityId, Revision};
use crate::entropy::Entropy;
use crate::store::cql::{CqlSession, CqlTrouble, Kind};
use crate::store::{ApiKey, StoreError};

pub use outbox::{OutboxRow, PENDING_BUCKETS, Pending, Waiting};

/// Longest revision, in bytes: what a record of the event log holds, less its envelope.
const REVISION_BYTES_MAX: usize = 900_000;
/// Statements in flight for one caller: enough to hide the way to the servers, few enough for the other tables.
const IN_FLIGHT_MAX: usize = 16;
/// Revisions in a partition of the history.
const HISTORY_BUCKET: u64 = 64;

/// The catalogue's store in CQL. Cheap to clone.
#[derive(Clone)]
pub struct CqlCatalog {
    inner: Arc<Inner>,
    /// Who publishes what was committed.
    publisher: Option<mpsc::Sender<Vec<OutboxRow>>>,
}

struct Inner {
    session: CqlSession,
    entropy: Entropy,
    statements: Statements,
}

/// Everything that is ever asked.
struct Statements {
    announce: PreparedStatement,
    make: PreparedStatement,
    follow: PreparedStatement,
    add_outbox: PreparedStatement,
    count_outbox: PreparedStatement,
    standing: PreparedStatement,
    head: PreparedStatement,
    heads: PreparedStatement,
    any: PreparedStatement,
    outbox_before: PreparedStatement,
    outbox: PreparedStatement,
    drop_outbox: PreparedStatement,
    history: PreparedStatement,
    history_attempt: PreparedStatement,
    keep: PreparedStatement,
    pending: PreparedStatement,
    drop_pending: PreparedStatement,
    key_changes: PreparedStatement,
    keys: PreparedStatement,
    keys_serial: PreparedStatement,
    first_key: PreparedStatement,
    next_key: PreparedStatement,
    put_key: PreparedStatement,
    agree: PreparedStatement,
    agreed: PreparedStatement,
}

impl CqlCatalog {
    /// The catalogue in the session's keyspace.
    ///
    /// # Errors
    /// [`CqlTrouble`].
    pub async fn open(session: CqlSession, entropy: Entropy) -> Result<Self, CqlTrouble> {
        let statements = Statements::prepare(&session).await?;
        Ok(Self { inner: Arc::new(Inner { session, entropy, statements }), publisher: None })
    }

    /// The same store, telling a publisher of what it commits. Where the channel is full nothing is told: the publisher finds it by itself.
    #[must_use]
    pub fn telling(self, publisher: mpsc::Sender<Vec<OutboxRow>>) -> Self {
        Self { publisher: Some(publisher), ..self }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.inner.session.block_on(future)
    }
}

impl CatalogStore for CqlCatalog {
    fn is_shared(&self) -> bool {
        true
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        self.wait(self.has_none())
    }

    fn load(&self) -> Result<StoredCatalog, StoreError> {
        self.wait(self.load_all())
    }

    fn commit(&self, _version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<Committed, StoreError> {
        Ok(self.wait(self.commit_all(revisions, keys)))
    }

    fn newest(&self, ids: &[EntityId]) -> Result<Vec<Arc<Revision>>, StoreError> {
        self.wait(self.heads_of(ids))
    }

    fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.wait(self.history_of(id, before, limit))
    }

    fn changed_keys(&self, seen: &mut KeysSeen) -> Result<Vec<ApiKey>, StoreError> {
        self.wait(self.keys_since(seen))
    }

    fn agree(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.wait(self.agree_on(name, value))
    }
}

impl std::fmt::Debug for CqlCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlCatalog").field("keyspace", &self.inner.session.keyspace()).finish_non_exhaustive()
    }
}

impl Inner {
    async fn execute(
        &self,
        doing: &'static str,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), CqlTrouble> {
        let done = self.session.driver().execute_unpaged(statement, values).await;
        done.map(|_| ()).map_err(|error| self.session.trouble(doing, &error))
    }

    async fn rows(
        &self,
        doing: &'static str,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, CqlTrouble> {
        let found = self.session.driver().execute_unpaged(statement, values).await;
        let found = found.map_err(|error| self.session.trouble(doing, &error))?;
        found.into_rows_result().map_err(|error| other(doing, &error))
    }
}

/// The rows of an answer.
fn read<R: for<'f, 'm> DeserializeRow<'f, 'm>>(
    doing: &'static str,
    rows: &QueryRowsResult,
) -> Result<Vec<R>, CqlTrouble> {
    let typed = rows.rows::<R>().map_err(|error| other(doing, &error))?;
    typed.map(|row| row.map_err(|error| other(doing, &error))).collect()
}

fn other(doing: &'static str, error: &dyn std::error::Error) -> CqlTrouble {
    CqlTrouble::Other { doing, reason: error.to_string().replace('\n', " ") }
}

/// A revision's number as CQL has it. No entity ever has 2^63 revisions.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// And back; what can't be is no revision.
fn number(bigint: i64) -> u64 {
    u64::try_from(bigint).unwrap_or(0)
}

impl Statements {
    #[rustfmt::skip]
    async fn prepare(session: &CqlSession) -> Result<Self, CqlTrouble> {
        use Kind::{Conditional, Read, SerialRead, Write};
        let make = |kind, text: &'static str| async move {
            let text = text.replace("KS.", &format!("{}.", session.keyspace()));
            session.prepare("prepare the catalogue's statements", &text, kind).await
        };
        Ok(Self {
            announce: make(Write, "INSERT INTO KS.catalogue_pending (bucket, entity, number) VALUES (?, ?, ?)").await?,
            make: make(Conditional, "UPDATE KS.catalogue SET newest = ?, head = ? WHERE entity = ? IF newest = null").await?,
            follow: make(Conditional, "UPDATE KS.catalogue SET newest = ?, head = ? WHERE entity = ? IF newest = ?").await?,
            add_outbox: make(Conditional, "INSERT INTO KS.catalogue (entity, number, attempt, revision) VALUES (?, ?, ?, ?)").await?,
            count_outbox: make(Read, "SELECT number FROM KS.catalogue WHERE entity = ?").await?,
            standing: make(SerialRead, "SELECT newest, head, number, attempt FROM KS.catalogue WHERE entity = ?").await?,
            head: make(Read, "SELECT DISTINCT entity, newest, head FROM KS.catalogue WHERE entity = ?").await?,
            heads: make(Read, "SELECT DISTINCT entity, newest, head FROM KS.catalogue WHERE token(entity) >= ? AND token(entity) <= ?").await?,
            any: make(Read, "SELECT entity FROM KS.catalogue LIMIT 1").await?,
            outbox_before: make(Read, "SELECT number, revision FROM KS.catalogue WHERE entity = ? AND number < ? ORDER BY number DESC LIMIT ?").await?,
            outbox: make(SerialRead, "SELECT newest, number, attempt, revision FROM KS.catalogue WHERE entity = ? LIMIT ?").await?,
            drop_outbox: make(Conditional, "DELETE FROM KS.catalogue WHERE entity = ? AND number = ? IF newest >= ?").await?,
            history: make(Read, "SELECT number, revision FROM KS.catalogue_history WHERE entity = ? AND bucket = ? AND number < ? ORDER BY number DESC LIMIT ?").await?,
            history_attempt: make(Read, "SELECT attempt FROM KS.catalogue_history WHERE entity = ? AND bucket = ? AND number = ?").await?,
            keep: make(Write, "INSERT INTO KS.catalogue_history (entity, bucket, number, attempt, revision) VALUES (?, ?, ?, ?, ?)").await?,
            pending: make(Read, "SELECT entity, number FROM KS.catalogue_pending WHERE bucket = ? LIMIT ?").await?,
            drop_pending: make(Write, "DELETE FROM KS.catalogue_pending WHERE bucket = ? AND entity = ? AND number = ?").await?,
            key_changes: make(Read, "SELECT DISTINCT bucket, changes FROM KS.api_keys WHERE bucket IN ?").await?,
            keys: make(Read, "SELECT changes, id, key FROM KS.api_keys WHERE bucket = ?").await?,
            keys_serial: make(SerialRead, "SELECT changes, id, key FROM KS.api_keys WHERE bucket = ?").await?,
            first_key: make(Conditional, "UPDATE KS.api_keys SET changes = ? WHERE bucket = ? IF changes = null").await?,
            next_key: make(Conditional, "UPDATE KS.api_keys SET changes = ? WHERE bucket = ? IF changes = ?").await?,
            put_key: make(Conditional, "INSERT INTO KS.api_keys (bucket, id, key) VALUES (?, ?, ?)").await?,
            agree: make(Conditional, "INSERT INTO KS.catalogue_agreed (name, value) VALUES (?, ?) IF NOT EXISTS").await?,
            agreed: make(SerialRead, "SELECT value FROM KS.catalogue_agreed WHERE name = ?").await?,
        })
    }
}
