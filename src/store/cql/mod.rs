//! CQL: Cassandra or ScyllaDB. How it is reached ([`CqlConnection`]), its tables ([`schema`]), and the one session that the stores share
//! ([`CqlSession`]); the stores themselves are beside their embedded twins.

pub mod schema;
mod session;

pub use session::{CqlSession, Kind};

use std::path::PathBuf;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::{OpenSsl010Config, Session};
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    NewSessionError, RequestAttemptError,
};

/// Longest password read, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// How Cassandra begins to say that too few of those who hold its users answer: no fault of who logs in.
const USERS_UNREADABLE: &str = "Unable to perform authentication";
/// How OpenSSL says that the other side closed the connection in the middle of a handshake, as a server that ends does.
const HUNG_UP: &str = "unexpected eof while reading";

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
    /// Encryption, if there is any.
    pub tls: Option<CqlTls>,
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

/// Encryption of all connections. A server's certificate has to name the IP address at which it is reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CqlTls {
    /// Certificates of those who may sign the servers', as PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why the store in CQL can't be used. Each is one line that says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CqlTrouble {
    /// No server answers, or all refuse.
    #[error(
        "no CQL server can be used at {hosts} ({reason}): check cql.hosts and cql.tls, and that the servers run and can be reached from here"
    )]
    Unreachable {
        /// Where they were looked for.
        hosts: String,
        /// What the driver said.
        reason: String,
    },
    /// User or password are refused, or none were given and some are needed.
    #[error("CQL at {hosts} refuses the user {user:?} ({reason}): check cql.user and cql.password_file")]
    Refused {
        /// Where it was asked.
        hosts: String,
        /// Who asked.
        user: String,
        /// What the server said.
        reason: String,
    },
    /// The connection can't be made secure.
    #[error(
        "TLS with CQL at {hosts} fails ({reason}): check cql.tls and cql.ca_file, and that the servers' certificates name their IP addresses"
    )]
    Tls {
        /// Where it was tried.
        hosts: String,
        /// What the TLS library said.
        reason: String,
    },
    /// A file that the settings name can't be read.
    #[error("{} ({setting}) can't be read ({reason}): name a readable file", path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
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
            Self::Refused { .. }
            | Self::Tls { .. }
            | Self::File { .. }
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
        if let Some(tls) = &self.tls {
            builder = builder.tls_context(Some(OpenSsl010Config::new(tls.connector()?)));
        }
        let failed =
            |reason: String| CqlTrouble::Unreachable { hosts: self.hosts.join(","), reason: one_line(&reason) };
        match tokio::time::timeout(timeout, builder.build()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(self.refusal(&error).unwrap_or_else(|| failed(error.to_string()))),
            Err(_) => Err(failed(format!("no answer within {} ms", self.connect_timeout_ms))),
        }
    }

    /// What no waiting mends, if that is why nobody could be connected to: a refused login, or a certificate that doesn't hold.
    fn refusal(&self, error: &NewSessionError) -> Option<CqlTrouble> {
        let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
            last_connection_error,
        })) = error
        else {
            return None;
        };
        let hosts = self.hosts.join(",");
        if let ConnectionError::IoError(error) = last_connection_error {
            return tls_refusal(error).map(|reason| CqlTrouble::Tls { hosts, reason });
        }
        let ConnectionError::ConnectionSetupRequestError(error) = last_connection_error else { return None };
        let reason = match error.get_error() {
            // A server that can't read its users for now says the same, but with these words.
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, reason)
                if !reason.contains(USERS_UNREADABLE) =>
            {
                one_line(reason)
            }
            ConnectionSetupRequestErrorKind::MissingAuthentication => "it asks for a login".to_owned(),
            _ => return None,
        };
        let user = self.login.as_ref().map_or_else(String::new, |(user, _)| user.clone());
        Some(CqlTrouble::Refused { hosts, user, reason })
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

impl CqlTls {
    /// What connections are encrypted with.
    fn connector(&self) -> Result<SslConnectorBuilder, CqlTrouble> {
        let failed =
            |error: ErrorStack| CqlTrouble::Other { doing: "set up TLS", reason: one_line(&error.to_string()) };
        let mut connector = SslConnector::builder(SslMethod::tls()).map_err(failed)?;
        if let Some(path) = &self.ca_file {
            let unreadable = |reason: String| CqlTrouble::File { setting: "cql.ca_file", path: path.clone(), reason };
            let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
            let certificates = X509::stack_from_pem(&text).map_err(|error| unreadable(one_line(&error.to_string())))?;
            if certificates.is_empty() {
                return Err(unreadable("it holds no certificate".to_owned()));
            }
            // These and nobody else's: the system's would do too otherwise.
            let mut trusted = X509StoreBuilder::new().map_err(failed)?;
            for certificate in certificates {
                trusted.add_cert(certificate).map_err(failed)?;
            }
            connector.set_cert_store(trusted.build());
        }
        Ok(connector)
    }
}

/// What the TLS library holds against the other side; nothing if that went away in the middle of the handshake.
fn tls_refusal(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<openssl::ssl::Error>()?;
    let is_cut = error.ssl_error()?.errors().iter().any(|error| error.reason() == Some(HUNG_UP));
    (!is_cut).then(|| one_line(&error.to_string()))
}

fn read_password(path: &PathBuf) -> Result<String, CqlTrouble> {
    let failed = |reason: String| CqlTrouble::File { setting: "cql.password_file", path: path.clone(), reason };
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
