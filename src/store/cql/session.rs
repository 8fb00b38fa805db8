//! One session with the servers, for all stores of a process.
//!
//! It is opened once, on the runtime that its connections then live on, and checks what it stands on: that somebody answers, that a server is in the
//! data centre of `cql.datacenter`, and that the keyspace has the tables. Only servers of that data centre are asked: `LOCAL_QUORUM` and `LOCAL_SERIAL`
//! mean those of whoever is asked.
//!
//! Statements are prepared by their [`Kind`], which says all that is particular about asking: consistency, deadline, and whether it may be asked twice.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use super::{CqlConnection, CqlTrouble, schema};

/// How a statement is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A read: `LOCAL_QUORUM`, `cql.read_timeout_ms`, asked again of another server where one fails.
    Read,
    /// A read that a break waits for: as [`Self::Read`], and asked of a second server after `cql.speculative_after_ms`.
    SpeculativeRead,
    /// A read of what conditional writes wrote, after which none that it did not see is accepted: `LOCAL_SERIAL`, `cql.conditional_timeout_ms`, asked once.
    SerialRead,
    /// A write that may come twice: `LOCAL_QUORUM`, `cql.write_timeout_ms`, asked again where a server fails.
    Write,
    /// A write on a condition: `LOCAL_SERIAL`, then `LOCAL_QUORUM`; `cql.conditional_timeout_ms`; asked once, since after a failure nobody knows whether it
    /// was applied ([`CqlSession::may_be_applied`]).
    Conditional,
}

/// The session. Cheap to clone.
#[derive(Clone)]
pub struct CqlSession(Arc<Inner>);

struct Inner {
    session: Session,
    connection: CqlConnection,
    runtime: tokio::runtime::Handle,
    plain: ExecutionProfileHandle,
    speculative: ExecutionProfileHandle,
    once: ExecutionProfileHandle,
    newer_schema: Option<i32>,
}

impl std::fmt::Debug for CqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlSession").field("connection", &self.0.connection).finish_non_exhaustive()
    }
}

impl CqlSession {
    /// Connects and checks data centre and schema. The connections live on the runtime that this is awaited on: not on an HTTP worker's.
    ///
    /// # Errors
    /// [`CqlTrouble`]: one line that says what to do.
    pub async fn open(connection: &CqlConnection) -> Result<Self, CqlTrouble> {
        let [plain, speculative, once] = profiles(connection);
        let session = connection.connect_as(Some(plain.clone())).await?;
        let found: BTreeSet<String> =
            session.get_cluster_state().get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
        if !found.contains(&connection.datacenter) {
            let found = found.into_iter().collect::<Vec<_>>().join(", ");
            return Err(CqlTrouble::Datacenter { wanted: connection.datacenter.clone(), found });
        }
        let newer_schema = schema::check(connection, &session).await?;
        if let Some(found) = newer_schema {
            let (keyspace, known) = (&connection.keyspace, schema::LATEST);
            tracing::warn!(
                "keyspace {keyspace} has schema version {found}, and this segue knows {known}: it goes on, since versions only add; upgrade it soon"
            );
        }
        let runtime = tokio::runtime::Handle::current();
        let connection = connection.clone();
        Ok(Self(Arc::new(Inner { session, connection, runtime, plain, speculative, once, newer_schema })))
    }

    /// The driver's session.
    #[must_use]
    pub fn driver(&self) -> &Session {
        &self.0.session
    }

    /// The keyspace of all tables. Statements name it: `{keyspace}.listeners`.
    #[must_use]
    pub fn keyspace(&self) -> &str {
        &self.0.connection.keyspace
    }

    /// How it was reached, and the deadlines.
    #[must_use]
    pub fn connection(&self) -> &CqlConnection {
        &self.0.connection
    }

    /// The runtime that the connections live on.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.0.runtime
    }

    /// The keyspace's schema version, if it is later than any that this program knows.
    #[must_use]
    pub fn newer_schema(&self) -> Option<i32> {
        self.0.newer_schema
    }

    /// Waits on a thread that may wait, such as a writer's own. Panics on a thread that runs asynchronous tasks.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(future)
    }

    /// Prepares a statement that is asked like others of its kind. `doing` is what it does, for the error: `read a listener`.
    ///
    /// # Errors
    /// [`CqlTrouble`].
    pub async fn prepare(&self, doing: &'static str, text: &str, kind: Kind) -> Result<PreparedStatement, CqlTrouble> {
        let prepared = self.0.session.prepare(text).await;
        let mut prepared = prepared.map_err(|error| self.trouble(doing, &unprepared(error)))?;
        let at = &self.0.connection;
        let (consistency, timeout_ms, profile, twice) = match kind {
            Kind::Read => (Consistency::LocalQuorum, at.read_timeout_ms, &self.0.plain, true),
            Kind::SpeculativeRead => (Consistency::LocalQuorum, at.read_timeout_ms, &self.0.speculative, true),
            Kind::SerialRead => (Consistency::LocalSerial, at.conditional_timeout_ms, &self.0.once, false),
            Kind::Write => (Consistency::LocalQuorum, at.write_timeout_ms, &self.0.plain, true),
            Kind::Conditional => (Consistency::LocalQuorum, at.conditional_timeout_ms, &self.0.once, false),
        };
        prepared.set_consistency(consistency);
        prepared.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        prepared.set_request_timeout(Some(Duration::from_millis(timeout_ms)));
        prepared.set_execution_profile_handle(Some(profile.clone()));
        prepared.set_is_idempotent(twice);
        Ok(prepared)
    }

    /// An error as it is to be told.
    #[must_use]
    pub fn trouble(&self, doing: &'static str, error: &ExecutionError) -> CqlTrouble {
        self.0.connection.trouble(doing, error)
    }

    /// Whether a conditional write that ended in this error may have been applied, or may be yet. False only where it certainly never is: nobody took
    /// it, or it was refused as a whole. If true, read what it was to write, serially, before another attempt.
    #[must_use]
    pub fn may_be_applied(error: &ExecutionError) -> bool {
        match error {
            ExecutionError::BadQuery(_)
            | ExecutionError::EmptyPlan
            | ExecutionError::PrepareError(_)
            | ExecutionError::ConnectionPoolError(_) => false,
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => !matches!(
                error,
                DbError::SyntaxError
                    | DbError::Invalid
                    | DbError::Unauthorized
                    | DbError::Unavailable { .. }
                    | DbError::IsBootstrapping
            ),
            _ => true,
        }
    }
}

/// As a rule, with a second server asked early, and asked once.
fn profiles(connection: &CqlConnection) -> [ExecutionProfileHandle; 3] {
    let near = DefaultPolicy::builder()
        .prefer_datacenter(connection.datacenter.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    let base = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .load_balancing_policy(near);
    let plain = base.clone().retry_policy(Arc::new(DefaultRetryPolicy::new()));
    let again = SimpleSpeculativeExecutionPolicy {
        max_retry_count: 1,
        retry_interval: Duration::from_millis(connection.speculative_after_ms),
    };
    let speculative = plain.clone().speculative_execution_policy(Some(Arc::new(again)));
    let once = base.retry_policy(Arc::new(FallthroughRetryPolicy::new()));
    [plain, speculative, once].map(|profile| profile.build().into_handle())
}

/// What a refused preparation would have been told as if the statement had been run.
fn unprepared(error: PrepareError) -> ExecutionError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => ExecutionError::LastAttemptError(first_attempt),
        other => ExecutionError::PrepareError(other),
    }
}
