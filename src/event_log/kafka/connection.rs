//! How the brokers are reached, and what the client library says about it on the side.
//!
//! The library retries and reports through callbacks; the call that waited then fails with no more than "timed out". [`Watch`] keeps what was
//! reported, so that the one line told says why.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use super::{MESSAGE_BYTES_MAX, Trouble};
use crate::event_log::Topic;

/// Longest password read, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// How the brokers are reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Some brokers, `host:port` with commas between them; the others are learnt from these.
    pub brokers: String,
    /// What stands before the names of all topics, groups and transactions: several networks may share a cluster.
    pub topic_prefix: String,
    /// Encryption and login.
    pub security: Security,
    /// Time for the first answer of a broker, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Replicas of each topic.
    pub replication: u32,
}

/// Encryption and login.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Security {
    /// TLS, or none.
    pub tls: bool,
    /// Certificates of those who may sign the brokers', as PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// Login, or none.
    pub login: Option<Login>,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// How the password is shown to be known.
    pub mechanism: Mechanism,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// A password, or the file that holds it. Its text is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// In a file; white space at its end doesn't count.
    File(PathBuf),
    /// Here; for tests.
    Text(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(..)"),
        }
    }
}

/// SASL mechanisms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// The password as it is: only over TLS.
    Plain,
    /// SCRAM with SHA-256.
    Scram256,
    /// SCRAM with SHA-512.
    Scram512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Scram512, Self::Scram256, Self::Plain];

    /// The name, in Kafka and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

/// How records are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Compression {
    /// Smaller.
    #[default]
    Zstd,
    /// Quicker.
    Lz4,
}

impl Compression {
    /// The name, in Kafka and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

impl Connection {
    /// Without encryption and login, for one broker on this machine.
    #[must_use]
    pub fn plain(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            security: Security::default(),
            connect_timeout_ms: 10_000,
            replication: 1,
        }
    }

    /// The topic's name in Kafka.
    #[must_use]
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// The name of a partition group's consumer group and transactions.
    pub(super) fn group_name(&self, group: &str) -> String {
        format!("{}segue.{group}", self.topic_prefix)
    }

    /// The client library's settings that every client has.
    ///
    /// # Errors
    /// [`Trouble::File`].
    pub(super) fn client_config(&self) -> Result<ClientConfig, Trouble> {
        let Security { tls, ca_file, login } = &self.security;
        let mut client = ClientConfig::new();
        let protocol = match (tls, login.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "segue")
            .set("security.protocol", protocol)
            .set("socket.keepalive.enable", "true")
            .set("receive.message.max.bytes", (64 * MESSAGE_BYTES_MAX).to_string())
            // Brokers come and go; a new connection is tried soon, and never later than this.
            .set("reconnect.backoff.max.ms", "2000")
            .set("allow.auto.create.topics", "false");
        if let Some(path) = ca_file.as_ref().filter(|_| *tls) {
            // The library's own message names neither the setting nor the reason.
            std::fs::metadata(path).map_err(|error| file("kafka.ca_file", path, &error.to_string()))?;
            client.set("ssl.ca.location", path.to_string_lossy());
        }
        if let Some(login) = login {
            client
                .set("sasl.mechanisms", login.mechanism.name())
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.read()?);
        }
        client.set_log_level(RDKafkaLogLevel::Info);
        Ok(client)
    }

    fn user(&self) -> String {
        self.security.login.as_ref().map_or_else(String::new, |login| login.user.clone())
    }
}

impl Password {
    fn read(&self) -> Result<String, Trouble> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| file("kafka.password_file", path, &error.to_string()))?;
        let text = text.trim_end();
        if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
            let reason = format!("it has {} bytes, expected 1 to {PASSWORD_BYTES_MAX}", text.len());
            return Err(file("kafka.password_file", path, &reason));
        }
        Ok(text.to_owned())
    }
}

fn file(setting: &'static str, path: &std::path::Path, reason: &str) -> Trouble {
    Trouble::File { setting, path: path.to_owned(), reason: reason.to_owned() }
}

/// What the client library reported on the side, of the errors that are somebody's to mend.
#[derive(Default, Debug)]
pub(super) struct Watch(Mutex<Reported>);

#[derive(Default, Debug)]
struct Reported {
    /// The connection's settings, for the message. Set by the first client that reports.
    about: Option<Connection>,
    /// Login or TLS failed: no retry mends that.
    refused: Option<(RDKafkaErrorCode, String)>,
    /// Not reached.
    unreachable: Option<String>,
}

impl Watch {
    fn lock(&self) -> std::sync::MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something worked: what was reported before is over.
    pub(super) fn clear(&self) {
        let mut reported = self.lock();
        (reported.refused, reported.unreachable) = (None, None);
    }

    /// What was reported that no waiting mends: a refused login, a certificate that doesn't hold.
    pub(super) fn refusal(&self) -> Option<Trouble> {
        let reported = self.lock();
        let (code, reason) = reported.refused.clone()?;
        let about = reported.about.as_ref()?;
        let brokers = about.brokers.clone();
        Some(match (&about.security.login, code) {
            (Some(login), RDKafkaErrorCode::Authentication) => {
                Trouble::Refused { brokers, user: login.user.clone(), mechanism: login.mechanism.name(), reason }
            }
            (None, RDKafkaErrorCode::Authentication) => Trouble::Unreachable { brokers, reason },
            _ => Trouble::Tls { brokers, reason },
        })
    }

    /// An error as it is to be told: what was reported on the side explains those that only say that time ran out.
    pub(super) fn trouble(&self, doing: &'static str, error: &KafkaError) -> Trouble {
        let code = error.rdkafka_error_code();
        let reason = match error {
            KafkaError::Transaction(error) => error.string(),
            other => code.map_or_else(|| other.to_string(), |code| code.to_string()),
        };
        match code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Trouble::TooLarge { limit: MESSAGE_BYTES_MAX },
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
            ) => {
                let user = self.lock().about.as_ref().map_or_else(String::new, Connection::user);
                return Trouble::Denied { user, doing, reason };
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL,
            ) => {}
            _ => return Trouble::Other { doing, reason },
        }
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let reported = self.lock();
        match (&reported.about, &reported.unreachable) {
            (Some(about), Some(why)) => Trouble::Unreachable { brokers: about.brokers.clone(), reason: why.clone() },
            _ => Trouble::Other { doing, reason },
        }
    }
}

/// What every client of the library reports to.
pub(super) struct Context {
    watch: Arc<Watch>,
}

impl Context {
    pub(super) fn new(connection: &Connection, watch: &Arc<Watch>) -> Self {
        watch.lock().about.get_or_insert_with(|| connection.clone());
        Self { watch: Arc::clone(watch) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "kafka: {message}"),
            RDKafkaLogLevel::Debug => tracing::debug!(facility, "kafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        let mut reported = self.watch.lock();
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)) => {
                reported.refused.get_or_insert_with(|| (code, plain(reason)));
            }
            // "All brokers are down" follows what says why.
            Some(RDKafkaErrorCode::AllBrokersDown) if reported.unreachable.is_some() => {}
            Some(
                RDKafkaErrorCode::Resolve | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            ) => reported.unreachable = Some(plain(reason)),
            _ => {}
        }
    }
}

impl ConsumerContext for Context {}

/// The library's reason less its own name for the connection and what it counts.
fn plain(reason: &str) -> String {
    let reason = reason.split_once("/bootstrap: ").map_or(reason, |(_, rest)| rest);
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    reason.replace('\n', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_without_the_librarys_bookkeeping() {
        let said = "sasl_plaintext://127.0.0.1:9092/bootstrap: SASL authentication error: Authentication failed (after 302ms in state AUTH_REQ)";
        assert_eq!(plain(said), "SASL authentication error: Authentication failed");
        assert_eq!(plain("1/1 brokers are down"), "1/1 brokers are down");
    }

    #[test]
    fn what_was_reported_explains_what_timed_out() {
        let watch = Arc::new(Watch::default());
        let context = Context::new(&Connection::plain("nowhere:1"), &watch);
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        assert!(matches!(watch.trouble("read", &timed_out), Trouble::Other { .. }));
        context
            .error(KafkaError::Global(RDKafkaErrorCode::Resolve), "nowhere:1/bootstrap: Failed to resolve 'nowhere:1'");
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let told = watch.trouble("read", &timed_out).to_string();
        assert!(told.contains("nowhere:1 (Failed to resolve 'nowhere:1'): check kafka.brokers"), "{told}");
        assert_eq!(watch.refusal(), None);
        context.error(KafkaError::Global(RDKafkaErrorCode::SSL), "handshake failed");
        assert!(matches!(watch.trouble("read", &timed_out), Trouble::Tls { .. }));
        watch.clear();
        assert!(matches!(watch.trouble("read", &timed_out), Trouble::Other { .. }));
    }

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(format!("{:?}", Password::Text("secret".to_owned())), "Text(..)");
    }
}
