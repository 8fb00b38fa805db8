//! CQL: Cassandra or ScyllaDB. How it is reached ([`CqlConnection`]), its tables ([`schema`]), and the one session that the stores share
//! ([`CqlSession`]); the stores themselves are beside their embedded twins.

pub mod schema;
mod session;

pub use session::{CqlSession, Kind};

use std::path::PathBuf;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

/// Longest password read, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// How the servers are reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CqlConnection {
    /// Some servers, `host:port`; the others are learnt from these.
    pub hosts: Vec<String>,
    /// The keyspace of all tables.
    pub keyspace: String,
    /// The data centre whose servers hold the replicas; the others' are never asked.
    pub datacenter: String,
    /// Replicas of each row.
    pub replication: u32,
    /// User, and the file that holds the password.
    pub login: Option<(String, PathBuf)>,
    /// Time for a server's first answer, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time for a read, in milliseconds.
    pub read_timeout_ms: u64,
    /// When a read that a break waits for is asked of a second server too, in milliseconds.
    pub speculative_after_ms: u64,
    /// Time for a write, in milliseconds.
    pub write_timeout_ms: u64,
    /// Time for a write on a condition, in milliseconds.
    pub conditional_timeout_ms: u64,
    /// How old a listener in memory may be before it is read again, in milliseconds.
    pub listener_max_age_ms: u64,
}

/// Why the store in CQL can't be used. Each is one line that says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CqlTrouble {
    /// No server answers, or all refuse.
    #[error(
        "no CQL server can be used at {hosts} ({reason}): check cql.hosts, cql.user and cql.password_file, and that the servers run"
    )]
    Unreachable {
        /// Where they were looked for.
        hosts: String,
        /// What the driver said.
        reason: String,
    },
    /// The password's file can't be read.
    #[error("{} (cql.password_file) can't be read ({reason}): name a readable file", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The user may not do this.
    #[error(
        "the CQL user may not {doing} ({reason}): grant it the right, or have keyspace {keyspace} and its tables made by one who may"
    )]
    Denied {
        /// What was asked for.
        doing: &'static str,
        /// The keyspace.
        keyspace: String,
        /// What the server said.
        reason: String,
    },
    /// No server is where they are looked for.
    #[error(
        "no CQL server is in data centre {wanted}, they are in {found}: set cql.datacenter to the one beside this server"
    )]
    Datacenter {
        /// The data centre asked for.
        wanted: String,
        /// Those that there are.
        found: String,
    },
    /// The keyspace is not there, or has none of the tables.
    #[error(
        "keyspace {0} is missing or has no tables: run `segue schema apply` with the same cql settings, or correct cql.keyspace"
    )]
    NoSchema(String),
    /// The tables are of an earlier version than this program needs.
    #[error("keyspace {keyspace} has schema version {found}, and this segue needs {needed}: run `segue schema apply`")]
    Older {
        /// The keyspace.
        keyspace: String,
        /// Its version.
        found: i32,
        /// The version needed.
        needed: i32,
    },
    /// The tables are of a later version than this program knows.
    #[error("keyspace {keyspace} has schema version {found}, and this segue knows {known} at most: run the newer one")]
    Newer {
        /// The keyspace.
        keyspace: String,
        /// Its version.
        found: i32,
        /// The latest known.
        known: i32,
    },
    /// A version that was applied reads differently now.
    #[error(
        "schema version {version} of keyspace {keyspace} was applied with another text than {name} has now: restore that file, and add a new one"
    )]
    Changed {
        /// The keyspace.
        keyspace: String,
        /// The version.
        version: i32,
        /// The file.
        name: &'static str,
    },
    /// Too few of the servers that hold a row answer.
    #[error(
        "keyspace {keyspace} needs {required} replicas to answer, and {alive} do: start the servers that are missing, or change its replication by ALTER \
        KEYSPACE"
    )]
    TooFewReplicas {
        /// The keyspace.
        keyspace: String,
        /// Replicas that must answer.
        required: i32,
        /// Replicas that do.
        alive: i32,
    },
    /// Somebody else is changing the schema and doesn't end.
    #[error("somebody else is changing the schema of keyspace {0} and has not ended: run it again in a minute")]
    Busy(String),
    /// No answer in time. A write may have been made.
    #[error(
        "CQL: can't {doing} within {timeout_ms} ms: its servers are slow or can't be reached, or the cql.*_timeout_ms is too short"
    )]
    Late {
        /// What was asked for.
        doing: &'static str,
        /// How long was waited, in milliseconds.
        timeout_ms: u128,
    },
    /// Anything else.
    #[error("CQL: can't {doing}: {reason}")]
    Other {
        /// What was asked for.
        doing: &'static str,
        /// What driver or server said.
        reason: String,
    },
}

impl CqlTrouble {
    /// Whether it may end without anybody changing settings, rights or schema: servers that are away, too few, or slow.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooFewReplicas { .. } | Self::Late { .. } | Self::Other { .. } => true,
            Self::Password { .. }
            | Self::Denied { .. }
            | Self::Datacenter { .. }
            | Self::NoSchema(_)
            | Self::Older { .. }
            | Self::Newer { .. }
            | Self::Changed { .. }
            | Self::Busy(_) => false,
        }
    }
}

impl CqlConnection {
    /// Connects, to change the schema: any data centre will do.
    async fn connect(&self) -> Result<Session, CqlTrouble> {
        self.connect_as(None).await
    }

    async fn connect_as(&self, profile: Option<ExecutionProfileHandle>) -> Result<Session, CqlTrouble> {
        let timeout = Duration::from_millis(self.connect_timeout_ms);
        let mut builder = SessionBuilder::new().known_nodes(&self.hosts).connection_timeout(timeout);
        if let Some((user, path)) = &self.login {
            builder = builder.user(user, read_password(path)?);
        }
        if let Some(profile) = profile {
            builder = builder.default_execution_profile_handle(profile);
        }
        let failed =
            |reason: String| CqlTrouble::Unreachable { hosts: self.hosts.join(","), reason: one_line(&reason) };
        match tokio::time::timeout(timeout, builder.build()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} ms", self.connect_timeout_ms))),
        }
    }

    /// An error as it is to be told.
    fn trouble(&self, doing: &'static str, error: &ExecutionError) -> CqlTrouble {
        let reason = one_line(&error.to_string());
        match error {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _)) => {
                CqlTrouble::Denied { doing, keyspace: self.keyspace.clone(), reason }
            }
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::Unavailable { required, alive, .. },
                _,
            )) => CqlTrouble::TooFewReplicas { keyspace: self.keyspace.clone(), required: *required, alive: *alive },
            ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => {
                CqlTrouble::Unreachable { hosts: self.hosts.join(","), reason }
            }
            ExecutionError::RequestTimeout(waited) => CqlTrouble::Late { doing, timeout_ms: waited.as_millis() },
            _ => CqlTrouble::Other { doing, reason },
        }
    }
}

fn read_password(path: &PathBuf) -> Result<String, CqlTrouble> {
    let failed = |reason: String| CqlTrouble::Password { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let text = text.trim_end();
    if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
        return Err(failed(format!("it has {} bytes, expected 1 to {PASSWORD_BYTES_MAX}", text.len())));
    }
    Ok(text.to_owned())
}

fn one_line(reason: &str) -> String {
    reason.replace('\n', " ")
}
