//! What goes wrong with Kafka, each in one line that says what to do.

use std::path::PathBuf;

use crate::event_log::Topic;

/// Why Kafka can't be used, or not for this.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// No broker answers.
    #[error(
        "no Kafka broker answers at {brokers} ({reason}): check kafka.brokers and kafka.security, and that the brokers run and can be reached from here"
    )]
    Unreachable {
        /// Where they were looked for.
        brokers: String,
        /// What the client library said last.
        reason: String,
    },
    /// User or password are refused.
    #[error(
        "Kafka at {brokers} refuses the user {user:?} with {mechanism} ({reason}): check kafka.user, kafka.password_file and kafka.sasl_mechanism"
    )]
    Refused {
        /// Where it was asked.
        brokers: String,
        /// Who asked.
        user: String,
        /// How.
        mechanism: &'static str,
        /// What the broker said.
        reason: String,
    },
    /// The connection can't be made secure.
    #[error(
        "TLS with Kafka at {brokers} fails ({reason}): check kafka.ca_file, and that the brokers' certificates name the addresses of kafka.brokers"
    )]
    Tls {
        /// Where it was tried.
        brokers: String,
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
        /// What the disk said.
        reason: String,
    },
    /// Topics are not there.
    #[error("Kafka at {brokers} has no topic {}: run `segue topics apply`", topics.join(", "))]
    TopicsMissing {
        /// Where they were looked for.
        brokers: String,
        /// Their names.
        topics: Vec<String>,
    },
    /// A topic was made with another number of partitions.
    #[error(
        "the topic {topic} has {found} partitions, not the {planned} of the configuration: the count can't be changed, because a key must stay in its \
        partition; configure {found}, or use another kafka.topic_prefix"
    )]
    Partitions {
        /// Its name in Kafka.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many are configured.
        planned: u32,
    },
    /// A topic has too few replicas in sync to take a record with `acks=all`.
    #[error(
        "partition {partition} of {topic} has {in_sync} replicas in sync and takes records from {needed} on (min.insync.replicas): start the brokers that \
        are missing"
    )]
    TooFewReplicas {
        /// The topic's name in Kafka.
        topic: String,
        /// The first such partition.
        partition: u32,
        /// Replicas in sync.
        in_sync: u32,
        /// Replicas in sync that a record needs.
        needed: u32,
    },
    /// Topics can't be made with as many replicas as configured.
    #[error(
        "{planned} replicas of each topic need {planned} brokers, and Kafka at {brokers} has {found}: start more, or set kafka.replication={found}"
    )]
    TooFewBrokers {
        /// Where they were counted.
        brokers: String,
        /// Replicas configured.
        planned: u32,
        /// Brokers there.
        found: u32,
    },
    /// The user may not do this.
    #[error("the Kafka user {user:?} may not {doing} ({reason}): grant it the right, or configure another kafka.user")]
    Denied {
        /// Who asked.
        user: String,
        /// For what.
        doing: &'static str,
        /// What the broker said.
        reason: String,
    },
    /// A record larger than the topic takes. Others are not affected.
    #[error(
        "a record of more than {limit} bytes was refused by Kafka: it is too large for its topic (max.message.bytes)"
    )]
    TooLarge {
        /// What every topic of ours takes.
        limit: usize,
    },
    /// The place to read from is gone or not there yet.
    #[error("{topic} can't be read from there ({reason}): retention has removed it, or the topic was made anew")]
    NoOffset {
        /// The topic.
        topic: Topic,
        /// What the client library said.
        reason: String,
    },
    /// Anything else.
    #[error("Kafka can't {doing}: {reason}")]
    Other {
        /// What was asked for.
        doing: &'static str,
        /// What the client library or the broker said.
        reason: String,
    },
}

impl Trouble {
    /// Whether it may end without anybody changing settings, rights or topics: brokers that are away, or too few of them.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooFewReplicas { .. } | Self::Other { .. } => true,
            Self::Refused { .. }
            | Self::Tls { .. }
            | Self::File { .. }
            | Self::TopicsMissing { .. }
            | Self::Partitions { .. }
            | Self::TooFewBrokers { .. }
            | Self::Denied { .. }
            | Self::TooLarge { .. }
            | Self::NoOffset { .. } => false,
        }
    }
}
