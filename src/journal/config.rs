//! The journal's settings, and what it says when something is wrong.

use std::fmt;
use std::io;
use std::time::Duration;

use super::format::{Defect, HEADER_BYTES, RECORD_HEADER_BYTES};
use super::{APPEND_BYTES_MAX, BATCH_BYTES_MAX};
use crate::model::{BootId, ServerId};

/// Smallest segment, in bytes: a header and some records.
const SEGMENT_BYTES_MIN: u32 = 1 << 10;
/// Largest segment, in bytes: recovery may have to hold one in memory.
const SEGMENT_BYTES_MAX: u32 = 1 << 30;
/// Above this share of the quota, in percent, records of the log journal are shed.
const SHED_LOG_PERCENT: u64 = 70;
/// Above this share of the quota, in percent, no paid ad may be decided: what can't be billed must not be played.
const STOP_PAID_PERCENT: u64 = 90;

/// What a caller gives to the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The caller's kind of record.
    pub kind: u8,
    /// The caller's bytes.
    pub payload: Vec<u8>,
}

/// Whose journal it is; written into the header of each segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The server.
    pub server: ServerId,
    /// This run of it.
    pub boot: BootId,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The record outlives a loss of power: written and `fdatasync`ed. The money journal.
    Synced,
    /// The record outlives the process: written. The log journal.
    Written,
}

/// A journal's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalConfig {
    /// Size of a segment in bytes.
    pub segment_bytes: u32,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Most bytes that the journal may take on disk; then it refuses.
    pub quota_bytes: u64,
    /// After a batch the journaller rests for so long, so that the next one is of all that came meanwhile and those who append need not wake it: worth it where
    /// nobody waits for the acknowledgement. Zero where somebody does.
    pub rest_after_batch: Duration,
    /// So many of the newest segments are read through when the journal is opened; damage in older ones is found when they are read.
    pub verify_segments_max: usize,
}

impl JournalConfig {
    /// Settings for the money journal: 64 MiB segments, 50 GiB quota (2.3 hours of 20,000 events a second without Kafka).
    #[must_use]
    pub const fn money() -> Self {
        Self {
            segment_bytes: 64 << 20,
            durability: Durability::Synced,
            quota_bytes: 50 << 30,
            rest_after_batch: Duration::ZERO,
            verify_segments_max: 16,
        }
    }

    /// Settings for the log journal: not synced, 10 GiB quota.
    #[must_use]
    pub const fn log() -> Self {
        Self {
            segment_bytes: 64 << 20,
            durability: Durability::Written,
            quota_bytes: 10 << 30,
            rest_after_batch: Duration::from_millis(5),
            verify_segments_max: 2,
        }
    }

    /// Most bytes of one append, as stored.
    #[must_use]
    pub fn append_bytes_max(&self) -> usize {
        let segment = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        APPEND_BYTES_MAX.min(segment.saturating_sub(HEADER_BYTES))
    }

    /// Most bytes that are gathered into one batch, as stored.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX.min(self.append_bytes_max())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(8)
        {
            return Err(ConfigError::SegmentBytes(self.segment_bytes));
        }
        if self.quota_bytes < u64::from(self.segment_bytes) {
            return Err(ConfigError::Quota { quota_bytes: self.quota_bytes, segment_bytes: self.segment_bytes });
        }
        debug_assert!(self.append_bytes_max() > RECORD_HEADER_BYTES, "the smallest segment holds a record");
        Ok(())
    }
}

/// A setting that can't be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The segment's size.
    #[error("a segment of {0} bytes: expected a multiple of 8 from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}")]
    SegmentBytes(u32),
    /// The quota is less than one segment.
    #[error("a quota of {quota_bytes} bytes: expected at least one segment of {segment_bytes} bytes")]
    Quota {
        /// The quota.
        quota_bytes: u64,
        /// The segment's size.
        segment_bytes: u32,
    },
}

/// How full a journal is, and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum QuotaLevel {
    /// Room enough.
    Ok,
    /// More than 70 %: records of the log journal are shed.
    ShedLog,
    /// More than 90 %: no paid ad is decided any more.
    StopPaid,
}

impl QuotaLevel {
    /// The level at so many bytes used.
    #[must_use]
    pub fn of(used_bytes: u64, quota_bytes: u64) -> Self {
        let above = |percent: u64| u128::from(used_bytes) * 100 > u128::from(quota_bytes) * u128::from(percent);
        if above(STOP_PAID_PERCENT) {
            Self::StopPaid
        } else if above(SHED_LOG_PERCENT) {
            Self::ShedLog
        } else {
            Self::Ok
        }
    }
}

/// Why a journal stopped for good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("could not {step} {file}: {message}")]
pub struct Failure {
    /// What was being done.
    pub step: &'static str,
    /// The file.
    pub file: String,
    /// What the disk said; text, so that each of those who wait gets a copy.
    pub message: String,
}

impl Failure {
    pub(super) fn new(step: &'static str, file: String, error: &io::Error) -> Self {
        Self { step, file, message: error.to_string() }
    }
}

/// Why entries were not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The caller's fault: an append that could never be written. Don't retry.
    #[error("{bytes} bytes are more than the {limit} that can be appended at once")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that are possible.
        limit: usize,
    },
    /// The disk does not keep up. Retry later.
    #[error("too much waits to be written")]
    QueueFull,
    /// The quota is used up. Retry when an operator has made room.
    #[error("the journal's quota of {quota_bytes} bytes is used up")]
    QuotaFull {
        /// The quota.
        quota_bytes: u64,
    },
    /// The journal stopped for good. Whether the entries are on disk is unknown; retry after a restart.
    #[error("the journal has failed")]
    Failed(#[source] Failure),
    /// The journal was closed, or its thread died, before the entries were written.
    #[error("the journal is closed")]
    Closed,
}

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that can't be.
    #[error("the journal's settings are wrong")]
    Config(#[from] ConfigError),
    /// The disk said no.
    #[error("could not read the journal in {dir}")]
    Io {
        /// The journal's directory.
        dir: String,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the journal in {dir} is in use by another process")]
    InUse {
        /// The journal's directory.
        dir: String,
    },
    /// A new segment can't be begun.
    #[error("could not begin a segment")]
    Begin(#[source] Failure),
    /// The first segment's header is damaged, so nobody knows which sequence numbers were given.
    #[error("{file} is unreadable and there is no segment before it to go on from")]
    Unreadable {
        /// The segment.
        file: String,
        /// What is wrong with it.
        source: Defect,
    },
}

/// Acknowledged records that can no longer be read. An alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The segment's file, under the name that it had when the damage was found.
    pub file: String,
    /// The segment's number.
    pub segment: u64,
    /// Where in the file; 0 when the header or the whole file is concerned.
    pub offset: u64,
    /// Sequence number of the first record concerned.
    pub seq: u64,
    /// What is wrong.
    pub defect: Defect,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}, from record {} on: {}", self.file, self.offset, self.seq, self.defect)
    }
}

/// A write that a crash had torn; nothing in it was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where the journal ends now.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// The sequence number that is given next.
    pub seq: u64,
    /// What was wrong there.
    pub defect: Defect,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, seq, defect } = self;
        write!(f, "{file} ends in a torn write at byte {offset}: {bytes} bytes from record {seq} on ({defect})")
    }
}

/// What was found when a journal was opened.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Recovery {
    /// Records that were read through.
    pub records: u64,
    /// Damage, oldest first. The segments concerned were put aside.
    pub damage: Vec<Damage>,
    /// The torn write that was cut off.
    pub torn: Option<Torn>,
}
