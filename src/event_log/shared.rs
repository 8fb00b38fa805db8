//! What the roles may ask of an event log that several servers share: [`SharedLog`], with one behaviour suite for all implementations
//! (`tests/it/event_log/`).
//!
//! * **Append**: a record's key decides its partition; each record is acknowledged for itself, once it is as durable as the log promises. Records
//!   handed over one after the other with the same key stay in that order.
//! * **Read**: by partition, in order, from an offset on. Offsets ascend and have gaps. A record of an append that failed may be read: ids of events are
//!   derived, and consumers dedupe by id.
//! * **Claim**: one owner at a time of a group of partitions. What an owner [commits](LogOwner::commit), records and how far it has consumed, is there
//!   as a whole or, after a newer claim, refused as a whole (INV-46): an owner that does not know yet that it was replaced changes nothing.
//!
//! * **Join**: the members of a group share out a topic's partitions, each partition to one of them. A member that dies loses its partitions within
//!   seconds. It is who should work on what, no more: that no two do is a claim's to see to.
//!
//! Everything here may block its thread but [`SharedLog::hand_over`].

use std::collections::BTreeSet;

use super::record::{KEY_BYTES_MAX, NewRecord, Record};
use super::shipper::CheckpointError;
use super::topic::{PartitionCounts, Topic};
use super::{AppendError, ReadError, kafka};
use crate::journal;
use crate::model::WallMs;

/// Longest name of a partition group, in bytes: it stands in file names and in Kafka's ids.
pub const GROUP_NAME_BYTES_MAX: usize = 64;
/// Most records of one commit: it is held in memory whole.
pub const COMMIT_RECORDS_MAX: usize = 10_000;

/// Tells what became of a record, on a thread of the log's: it must not block.
pub type Acknowledge = Box<dyn FnOnce(Result<Position, LogError>) + Send>;

/// A place in a partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// The offset in it. As a place to begin at, 0 is the first record that is still kept.
    pub offset: u64,
}

/// Partitions that have one owner together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionGroup {
    /// Its name: the same name is the same group for ever. 1 to [`GROUP_NAME_BYTES_MAX`] of a-z, 0-9 and -.
    pub name: String,
    /// The topic that its owner consumes.
    pub topic: Topic,
    /// The partitions of that topic.
    pub partitions: Vec<u32>,
}

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Too much waits to be appended. Nothing was; ask again later.
    #[error("too much waits to be appended to the event log")]
    Full,
    /// The caller's fault: a key too long.
    #[error("a key of {bytes} bytes: at most {KEY_BYTES_MAX} are possible")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The caller's fault: no such partition.
    #[error("{topic} has {count} partitions: there is no number {partition}")]
    NoPartition {
        /// The topic.
        topic: Topic,
        /// The number asked for.
        partition: u32,
        /// How many it has.
        count: u32,
    },
    /// The caller's fault: a name that can't be one.
    #[error("{0:?} names no partition group: expected 1 to {GROUP_NAME_BYTES_MAX} of a-z, 0-9 and -")]
    GroupName(String),
    /// The caller's fault: more than a commit may hold.
    #[error("a commit of {records} records: at most {COMMIT_RECORDS_MAX} are possible")]
    CommitTooLarge {
        /// How many there were.
        records: usize,
    },
    /// A newer owner has claimed the group. Nothing of the commit is in the log; this owner is done.
    #[error("partition group {0} has a newer owner")]
    Fenced(String),
    /// The commit was given up whole, and may be tried again by the same owner.
    #[error("nothing of the commit is in the log: {0}")]
    Aborted(String),
    /// Whether the commit is in the log is not known. Claim the group again: its consumed position says it.
    #[error("whether the commit is in the log is not known ({0}); claim the group again")]
    Unknown(String),
    /// What is kept of an owner's progress can't be read or written.
    #[error("the consumed position of a partition group")]
    Consumed(#[source] CheckpointError),
    /// The embedded log refused.
    #[error(transparent)]
    Append(AppendError),
    /// The embedded log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Kafka refused, or can't be reached.
    #[error(transparent)]
    Kafka(#[from] kafka::Trouble),
}

impl From<AppendError> for LogError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Journal(journal::AppendError::QueueFull) => Self::Full,
            AppendError::KeyTooLong { bytes } => Self::KeyTooLong { bytes },
            AppendError::Mixed | AppendError::Journal(_) => Self::Append(error),
        }
    }
}

/// An event log that several servers share. Cheap to clone.
pub trait SharedLog: Clone + Send + Sync + 'static {
    /// Reads partitions of one topic.
    type Reader: LogReader;
    /// Owns a group of partitions.
    type Owner: LogOwner;
    /// Takes part in sharing out partitions.
    type Membership: LogMembership;

    /// How many partitions each topic has.
    fn partition_counts(&self) -> &PartitionCounts;

    /// Hands over a record and doesn't wait; `done` is told exactly once, perhaps before this returns. What can't be reached is tried again without end:
    /// `done` may be told hours later. A full queue is told at once, as [`LogError::Full`].
    fn hand_over(&self, record: NewRecord, done: Acknowledge);

    /// Begins to read partitions of a topic, each from an offset on.
    ///
    /// # Errors
    /// [`LogError`].
    fn reader(&self, topic: Topic, from: &[Position]) -> Result<Self::Reader, LogError>;

    /// Where reading has to begin for all records of a topic to be read that were handed over at `at` or later, by the clock of who handed them over: in each
    /// partition an offset at or before the first of them.
    ///
    /// # Errors
    /// [`LogError`].
    fn offsets_at(&self, topic: Topic, at: WallMs) -> Result<Vec<Position>, LogError>;

    /// Makes the caller the owner of a group of partitions, and whoever was it before no longer.
    ///
    /// # Errors
    /// [`LogError`].
    fn claim(&self, group: &PartitionGroup) -> Result<Self::Owner, LogError>;

    /// Joins those who share out the partitions of a topic under that name (of the form of [`PartitionGroup::name`]). Leaves when it is dropped.
    ///
    /// # Errors
    /// [`LogError`].
    fn join(&self, group: &str, topic: Topic) -> Result<Self::Membership, LogError>;
}

/// A member of those who share out the partitions of a topic.
pub trait LogMembership: Send {
    /// Takes part, for `wait` at most, and says which partitions are this member's now. Has to be called again and again, within seconds: a member that
    /// isn't heard of loses its partitions.
    ///
    /// # Errors
    /// [`LogError`]: what was said last stands. So too where the share was lost because nobody was heard of for too long: then it is nobody's until it is
    /// shared out anew, and who owns partitions may go on as long as nobody claims them.
    fn partitions(&mut self, wait: std::time::Duration) -> Result<BTreeSet<u32>, LogError>;
}

/// Reads partitions of one topic in order. Only what is committed is seen.
pub trait LogReader: Send {
    /// The next records: at most `records_max`; none when no more come within `wait`. Records of one partition are in order.
    ///
    /// # Errors
    /// [`LogError`]. The next call goes on where this one failed.
    fn read(&mut self, records_max: usize, wait: std::time::Duration) -> Result<Vec<Record>, LogError>;

    /// Whether every partition was seen to its end at some moment since its last record.
    fn is_at_end(&self) -> bool;

    /// Whether this partition was, by itself: where records keep coming, all of them may never be at once.
    fn is_at_end_of(&self, partition: u32) -> bool;

    /// Where each partition's next read begins, by partition.
    fn positions(&self) -> Vec<Position>;

    /// The offset after the partition's last record that can be read. More than the last record's by any number.
    ///
    /// # Errors
    /// [`LogError`].
    fn end(&self, partition: u32) -> Result<u64, LogError>;
}

/// The owner of a group of partitions, until someone else claims it.
pub trait LogOwner: Send {
    /// How far this owner and those before it have consumed: the offset to begin at, by partition. A partition that nobody consumed begins at 0.
    fn consumed(&self) -> &[Position];

    /// Appends records of any topics and notes how far it has consumed (the offset after the last record, by partition; partitions not named stay as they
    /// are), both or neither. Where the log is embedded, a crash in the middle may leave records without the note: then they come again, with the same ids.
    ///
    /// # Errors
    /// [`LogError`]: [`LogError::Fenced`] when someone else has claimed the group.
    fn commit(&mut self, records: Vec<NewRecord>, consumed: &[Position]) -> Result<(), LogError>;
}

/// Whether the name can be one and the partitions are there.
pub(super) fn check_group(group: &PartitionGroup, counts: &PartitionCounts) -> Result<(), LogError> {
    let PartitionGroup { name, topic, partitions } = group;
    check_group_name(name)?;
    check_partitions(*topic, partitions.iter().copied(), counts)
}

/// Whether the name of a group can be one.
pub(super) fn check_group_name(name: &str) -> Result<(), LogError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > GROUP_NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(LogError::GroupName(name.to_owned()));
    }
    Ok(())
}

/// Whether the topic has these partitions.
pub(super) fn check_partitions(
    topic: Topic,
    partitions: impl IntoIterator<Item = u32>,
    counts: &PartitionCounts,
) -> Result<(), LogError> {
    let count = counts.of(topic);
    match partitions.into_iter().find(|partition| *partition >= count) {
        Some(partition) => Err(LogError::NoPartition { topic, partition, count }),
        None => Ok(()),
    }
}

/// Whether a commit can be one of this owner: bounded, keys bounded, and only of its partitions.
pub(super) fn check_commit(
    group: &PartitionGroup,
    records: &[NewRecord],
    consumed: &[Position],
) -> Result<(), LogError> {
    if records.len() > COMMIT_RECORDS_MAX {
        return Err(LogError::CommitTooLarge { records: records.len() });
    }
    if let Some(long) = records.iter().find(|record| record.key.len() > KEY_BYTES_MAX) {
        return Err(LogError::KeyTooLong { bytes: long.key.len() });
    }
    match consumed.iter().find(|position| !group.partitions.contains(&position.partition)) {
        Some(Position { partition, .. }) => {
            let count = u32::try_from(group.partitions.len()).unwrap_or(u32::MAX);
            Err(LogError::NoPartition { topic: group.topic, partition: *partition, count })
        }
        None => Ok(()),
    }
}
