//! The writer: turns a batch of entries into one write and one sync. Synchronous, with no thread and no clock of its own, so that the
//! simulator drives the same code that the journaller thread does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{DiskFile, SharedDisk};
use super::format::{
    FLAG_FIRST_OF_BATCH, HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, SegmentHeader, encode_record,
    stored_bytes,
};
use super::index::{Index, Mark, Segment};
use super::segment::SegmentFile;
use super::{AppendError, Durability, Entry, Failure, Identity, JournalConfig, QuotaLevel};
use crate::model::WallMs;

/// Zeros are written ahead of the records in steps of so many bytes, so that most syncs find the file's blocks already there and have no
/// metadata to write; and so that no roll has to write a whole segment of zeros before the next beacon is answered.
const ZERO_STEP_BYTES: usize = 1 << 20;

/// What a batch became.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Sequence number of the batch's first entry; the others follow.
    pub first_seq: u64,
    /// Sequence number after its last entry.
    pub next_seq: u64,
    /// The date that its records bear.
    pub at: WallMs,
}

/// The end of a journal. There is at most one writer of a journal at a time; the directory's lock sees to it.
pub struct Writer {
    pub(super) disk: SharedDisk,
    pub(super) dir: PathBuf,
    pub(super) config: JournalConfig,
    pub(super) identity: Identity,
    pub(super) index: Arc<Index>,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) number: u64,
    /// Offset of the next record in the current segment.
    pub(super) end: u64,
    /// Up to here zeros were written ahead.
    pub(super) zeroed_until: u64,
    pub(super) next_seq: u64,
    pub(super) last_at: WallMs,
    pub(super) failure: Option<Failure>,
    /// Kept for its capacity.
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    /// Makes the first segment of a journal, or the one after `number - 1`.
    pub(super) fn begin_segment(
        disk: &SharedDisk,
        dir: &Path,
        header: &SegmentHeader,
    ) -> Result<Box<dyn DiskFile>, Failure> {
        let name = SegmentFile { number: header.number, quarantined: false };
        let (unfinished, finished) = (dir.join(name.unfinished_name()), dir.join(name.name()));
        let failed = |step: &'static str| {
            let file = finished.display().to_string();
            move |error: io::Error| Failure::new(step, file, &error)
        };
        let file = disk.create(&unfinished).map_err(failed("create"))?;
        file.set_len(u64::from(header.segment_bytes)).map_err(failed("extend"))?;
        file.write_at(&header.encode(), 0).map_err(failed("write the header"))?;
        // The header is on disk before the file bears a segment's name: a segment with a broken header is always damage, never a crash.
        file.sync_data().map_err(failed("sync the header"))?;
        disk.rename(&unfinished, &finished).map_err(failed("rename"))?;
        disk.sync_dir(dir).map_err(failed("sync the directory"))?;
        Ok(file)
    }

    /// The next record's sequence number.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Why the journal stopped for good, if it did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Bytes that count against the quota: closed segments whole, the current one up to its end.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.index.closed_bytes() + self.end
    }

    /// How full the quota is.
    #[must_use]
    pub fn quota_level(&self) -> QuotaLevel {
        QuotaLevel::of(self.used_bytes(), self.config.quota_bytes)
    }

    /// Bytes that these entries take in a segment.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] when one of them, or all together, are more than can be written at once.
    pub fn measure(config: &JournalConfig, entries: &[Entry]) -> Result<usize, AppendError> {
        let limit = config.append_bytes_max();
        let payload_limit = PAYLOAD_BYTES_MAX.min(limit - RECORD_HEADER_BYTES);
        let mut total = 0;
        for entry in entries {
            if entry.payload.len() > payload_limit {
                return Err(AppendError::TooLarge { bytes: entry.payload.len(), limit: payload_limit });
            }
            total += stored_bytes(entry.payload.len());
        }
        if total > limit {
            return Err(AppendError::TooLarge { bytes: total, limit });
        }
        Ok(total)
    }

    /// Writes the entries one after another, in one write, and syncs them if the journal is [`Durability::Synced`]. When this returns `Ok`
    /// they are as durable as the journal promises (INV-1). All bear the date `at`, or that of the last record if that is
    /// later: journal time never goes backwards.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] and [`AppendError::QuotaFull`] change nothing. [`AppendError::Failed`] is for good: after an error of
    /// write or sync nobody can say what is on the disk, so nothing is acknowledged until a restart has read it again.
    pub fn append_batch<'e>(
        &mut self,
        entries: impl IntoIterator<Item = &'e Entry>,
        at: WallMs,
    ) -> Result<Appended, AppendError> {
        if let Some(failure) = &self.failure {
            return Err(AppendError::Failed(failure.clone()));
        }
        let at = at.max(self.last_at);
        let first_seq = self.next_seq;
        let next_seq = self.encode_batch(entries, first_seq, at);
        let bytes = self.buffer.len();
        if bytes > self.config.append_bytes_max() {
            return Err(AppendError::TooLarge { bytes, limit: self.config.append_bytes_max() });
        }
        if self.used_bytes() + bytes as u64 > self.config.quota_bytes {
            return Err(AppendError::QuotaFull { quota_bytes: self.config.quota_bytes });
        }
        if let Err(failure) = self.write_buffer(first_seq) {
            self.failure = Some(failure.clone());
            return Err(AppendError::Failed(failure));
        }
        self.next_seq = next_seq;
        self.last_at = at;
        Ok(Appended { first_seq, next_seq, at })
    }

    fn encode_batch<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>, first_seq: u64, at: WallMs) -> u64 {
        self.buffer.clear();
        let mut seq = first_seq;
        for entry in entries {
            let flags = if seq == first_seq { FLAG_FIRST_OF_BATCH } else { 0 };
            encode_record(&mut self.buffer, seq, at, entry.kind, flags, &entry.payload);
            seq += 1;
        }
        seq
    }

    fn write_buffer(&mut self, first_seq: u64) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.end + self.buffer.len() as u64 > u64::from(self.config.segment_bytes) {
            self.roll()?;
        }
        let end = self.end + self.buffer.len() as u64;
        self.zero_ahead(end)?;
        self.file.write_at(&self.buffer, self.end).map_err(|error| self.failed("write", &error))?;
        match self.config.durability {
            Durability::Synced => self.file.sync_data().map_err(|error| self.failed("sync", &error))?,
            Durability::Written => {}
        }
        self.index.mark(self.number, Mark { seq: first_seq, offset: self.end });
        self.end = end;
        Ok(())
    }

    /// Closes the current segment and begins the next one.
    fn roll(&mut self) -> Result<(), Failure> {
        // Only the last segment may be torn, also in a journal that is not synced: so the closed ones are.
        self.file.sync_data().map_err(|error| self.failed("sync", &error))?;
        let header = SegmentHeader {
            segment_bytes: self.config.segment_bytes,
            server: self.identity.server,
            boot: self.identity.boot,
            number: self.number + 1,
            first_seq: self.next_seq,
            base_at: self.last_at,
            synced: self.config.durability == Durability::Synced,
        };
        self.file = Self::begin_segment(&self.disk, &self.dir, &header)?;
        self.number = header.number;
        self.end = HEADER_BYTES as u64;
        self.zeroed_until = self.end;
        let file = SegmentFile { number: self.number, quarantined: false };
        let segment = Segment::new(file, self.next_seq, u64::from(self.config.segment_bytes));
        self.index.with(|segments| segments.push(segment));
        Ok(())
    }

    /// Sees to it that zeros were written up to `end` and somewhat further. They are synced together with the batch.
    fn zero_ahead(&mut self, end: u64) -> Result<(), Failure> {
        if self.config.durability == Durability::Written || end <= self.zeroed_until {
            return Ok(());
        }
        let until = (end + ZERO_STEP_BYTES as u64).min(u64::from(self.config.segment_bytes)).max(end);
        // What lies before `end` is about to be written with records, whose blocks are made by that write.
        let zeros = vec![0; usize::try_from(until - end).expect("at most one step")];
        self.file.write_at(&zeros, end).map_err(|error| self.failed("write ahead", &error))?;
        self.zeroed_until = until;
        Ok(())
    }

    fn failed(&self, step: &'static str, error: &io::Error) -> Failure {
        let name = SegmentFile { number: self.number, quarantined: false }.name();
        Failure::new(step, self.dir.join(name).display().to_string(), error)
    }
}
