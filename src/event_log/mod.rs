//! The event log: what happened, in order, for whoever wants to know.
//!
//! Records are appended to topics; a key decides the partition, and within a partition the order is the order of appends. Offsets
//! ascend within a topic and have gaps: whoever reads asks for [`Batch::next_offset`] next, never for "last plus one".
//!
//! Consumer positions are not kept here. A consumer keeps its position in its own store and commits it together with what it made of the
//! records: accounting's ledger rows, accounts and cursor are one commit, so no crash can come between them. Kafka's own consumer groups
//! will serve only to share out partitions, for the same reason.
//!
//! Delivery to a reader: every record that was acknowledged, in order; and perhaps records that were written and never
//! acknowledged, because the process died in between. So ids of events are derived, and consumers dedupe by id.

pub mod dead_letter;
mod embedded;
pub mod kafka;
mod orphan;
mod record;
mod shared;
mod shipper;
mod shipping;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::time::Duration;

pub use embedded::{
    EmbeddedLog, EmbeddedLogConfig, EmbeddedMembership, EmbeddedOwner, EmbeddedReader, EventLogHealth, OpenError,
    log_dir, money_dir, recorded_partitions,
};
pub use orphan::{Orphan, OrphanError, OrphanSurvey, Shipped, shipped_dir, shipped_file};
pub use record::{KEY_BYTES_MAX, KIND_TOPIC_RECORD, NewRecord, Record, RecordError, StoredRecord};
pub use shared::{
    Acknowledge, COMMIT_RECORDS_MAX, GROUP_NAME_BYTES_MAX, LogError, LogMembership, LogOwner, LogReader,
    PartitionGroup, Position, SharedLog,
};
pub use shipper::{CheckpointError, CheckpointFile, Shipment, Shipper, ShipperEffects, ShipperInput, ShipperSettings};
pub use shipping::{Shipping, ShippingError, ShippingWatch, Which, shipping_file};
pub use topic::{PartitionCountError, PartitionCounts, Topic, UnknownTopic, partition};

use crate::journal::{self, QuotaLevel};

/// Why records were not acknowledged. None, some or all of them may be in the log; append again with the same ids.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The caller's fault: records of money topics and of log topics in one append have no common fate.
    #[error("one append with money topics and log topics")]
    Mixed,
    /// The caller's fault: a key too long.
    #[error("a key of {bytes} bytes: at most {KEY_BYTES_MAX} are possible")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] journal::AppendError),
}

/// Why records can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The journal can't be read there.
    #[error(transparent)]
    Journal(#[from] journal::ReadError),
    /// A record is whole but not understood.
    #[error("record {offset} can't be understood")]
    Record {
        /// Its offset.
        offset: u64,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// What a read returned.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    /// The records, by offset.
    pub records: Vec<Record>,
    /// The offset to ask for next. It may be beyond the last record's: what lies between belongs to others. It is past the offset asked for
    /// unless that was the end of the log or a record was larger than the bytes allowed.
    pub next_offset: u64,
}

/// The event log. An enum and not a trait object: implementations are few, known, and chosen in one place. Cheap to clone.
#[derive(Clone)]
pub enum EventLog {
    /// The journals of this server are the log.
    Embedded(Arc<EmbeddedLog>),
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("EventLog::Embedded(..)"),
        }
    }
}

impl EventLog {
    /// Appends records and returns their offsets once they are durable: fsynced for money topics, written for log topics. The records of
    /// one append stay in order.
    ///
    /// # Errors
    /// [`AppendError`]. Nothing of the append counts as acknowledged then.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        match self {
            Self::Embedded(log) => log.append(records).await,
        }
    }

    /// [`EventLog::append`] for threads that may block. Waits for room instead of refusing when the queue is full, and is of any size: what can't be
    /// written at once is written in pieces. The records stay in order; others may come in between.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_blocking(&self, records: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        match self {
            Self::Embedded(log) => log.append_blocking(records),
        }
    }

    /// Hands over records of any topic and doesn't wait; `done` is told, on another thread, whether they are durable. It must not block. For records
    /// whose loss costs no money, such as a `void`: the money stays where it is safe.
    pub fn submit(&self, records: &[NewRecord], done: impl FnOnce(Result<(), AppendError>) + Send + 'static) {
        match self {
            Self::Embedded(log) => log.submit(records, done),
        }
    }

    /// Hands over records of log topics and doesn't wait. Those that find no room are shed and counted. Never blocks.
    ///
    /// Panics on a record of a money topic: to shed one would be a bug in the caller.
    pub fn offer(&self, records: Vec<NewRecord>) {
        match self {
            Self::Embedded(log) => log.offer(records),
        }
    }

    /// The topic's durable records from `from_offset` on, of one partition or of all. Returns at the end of the log, after `max_records`,
    /// before `max_bytes` of keys and payloads are passed (but always at least one record), or when much was searched without a match. Blocks the thread for disk
    /// reads, never for records to come: see [`EventLog::wait_beyond`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        topic: Topic,
        partition: Option<u32>,
        from_offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, ReadError> {
        match self {
            Self::Embedded(log) => log.read(topic, partition, from_offset, max_records, max_bytes),
        }
    }

    /// Waits until the log that holds `topic` has a durable record at `offset` or beyond (of whatever topic), has stopped, or `timeout` is over. Returns
    /// [`EventLog::durable_end`]. Blocks the thread.
    #[must_use]
    pub fn wait_beyond(&self, topic: Topic, offset: u64, timeout: Duration) -> u64 {
        match self {
            Self::Embedded(log) => log.wait_beyond(topic, offset, timeout),
        }
    }

    /// The offset after the last durable record of the log that holds `topic`.
    #[must_use]
    pub fn durable_end(&self, topic: Topic) -> u64 {
        match self {
            Self::Embedded(log) => log.durable_end(topic),
        }
    }

    /// How many partitions each topic has.
    #[must_use]
    pub fn partitions(&self) -> &PartitionCounts {
        match self {
            Self::Embedded(log) => log.partitions(),
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> EventLogHealth {
        match self {
            Self::Embedded(log) => log.health(),
        }
    }

    /// How full the money journal's quota is. Cheap: for every request.
    #[must_use]
    pub fn quota_level(&self) -> QuotaLevel {
        match self {
            Self::Embedded(log) => log.money_journal().quota_level(),
        }
    }

    /// Writes what is queued and refuses what comes after. For the end of a drain.
    pub fn close(&self) {
        match self {
            Self::Embedded(log) => log.close(),
        }
    }
}
