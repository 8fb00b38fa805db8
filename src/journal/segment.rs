//! Segment files: their names, reading one record after another, and finding what is whole beyond damage.

use std::io;
use std::ops::Deref;
use std::path::Path;

use super::disk::{Disk, DiskFile};
use super::format::{
    ALIGNMENT, Decoded, Defect, FLAG_FIRST_OF_BATCH, HEADER_BYTES, RECORD_HEADER_BYTES, RecordView, SegmentHeader,
    decode_record,
};

/// End of a segment's name.
const SUFFIX: &str = ".seg";
/// End of the name of a segment in which damage was found. It is read up to the damage and never removed.
const SUFFIX_QUARANTINED: &str = ".seg.quarantined";
/// End of the name of a segment that is being made: it holds no record yet.
const SUFFIX_UNFINISHED: &str = ".tmp";
/// How much a scan reads at a time, in bytes: large enough that the disk streams.
const CHUNK_BYTES: usize = 256 << 10;

/// A segment as the directory names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) quarantined: bool,
}

impl SegmentFile {
    pub(super) fn name(&self) -> String {
        let suffix = if self.quarantined { SUFFIX_QUARANTINED } else { SUFFIX };
        format!("{:010}{suffix}", self.number)
    }

    /// The name that the file has while it is being made.
    pub(super) fn unfinished_name(&self) -> String {
        format!("{:010}{SUFFIX_UNFINISHED}", self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (digits, quarantined) = match name.strip_suffix(SUFFIX_QUARANTINED) {
            Some(digits) => (digits, true),
            None => (name.strip_suffix(SUFFIX)?, false),
        };
        let number = digits.parse().ok()?;
        let file = Self { number, quarantined };
        (file.name() == name).then_some(file)
    }
}

/// The segments in a directory by number.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut files: Vec<_> = disk.list(dir)?.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    files.sort_unstable();
    Ok(files)
}

/// The files left by a crash while a segment was being made.
pub(super) fn list_unfinished(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    Ok(disk.list(dir)?.into_iter().filter(|name| name.ends_with(SUFFIX_UNFINISHED)).collect())
}

/// Reads and judges a segment's header; the number must be the one in its name.
pub(super) fn read_header(file: &dyn DiskFile, number: u64) -> io::Result<Result<SegmentHeader, Defect>> {
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]).and_then(|header| {
        if header.number == number {
            Ok(header)
        } else {
            Err(Defect::SegmentNumber { expected: number, found: header.number })
        }
    }))
}

/// What a scan meets next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The record that follows, and where it stands.
    Record(u64, RecordView<'a>),
    /// Nothing was written from this offset on.
    End(u64),
    /// At this offset stands something else than the record that follows.
    Bad(u64, Defect),
}

/// Reads the records of one segment in order. Stops at the first that is not whole or not the one that follows.
pub(super) struct Scan<F> {
    file: F,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    buffer_at: u64,
    /// Place in the buffer of what comes next.
    cursor: usize,
    at_end_of_file: bool,
    /// Sequence number that must come next.
    expected_seq: u64,
}

impl<'d, F: Deref<Target = dyn DiskFile + 'd>> Scan<F> {
    /// A scan that starts at `offset`, where record `expected_seq` must stand.
    pub(super) const fn new(file: F, offset: u64, expected_seq: u64) -> Self {
        Self { file, buffer: Vec::new(), buffer_at: offset, cursor: 0, at_end_of_file: false, expected_seq }
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &(dyn DiskFile + 'd) {
        &*self.file
    }

    /// Goes on at another place, where record `seq` must stand.
    pub(super) fn jump(&mut self, offset: u64, seq: u64) {
        self.buffer.clear();
        (self.buffer_at, self.cursor, self.at_end_of_file, self.expected_seq) = (offset, 0, false, seq);
    }

    /// Sequence number that comes next.
    pub(super) const fn next_seq(&self) -> u64 {
        self.expected_seq
    }

    /// Offset of what comes next.
    pub(super) const fn offset(&self) -> u64 {
        self.buffer_at + self.cursor as u64
    }

    /// The next record, or why there is none. After `End` or `Bad` it says the same again.
    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        let mut needed = RECORD_HEADER_BYTES;
        // The view is taken apart and put together again below: one that lives on out of the loop would keep `fill` from the buffer.
        let (at, kind, flags, payload_bytes, stored_bytes) = loop {
            self.fill(needed)?;
            match decode_record(&self.buffer[self.cursor..], self.at_end_of_file) {
                Decoded::Short(more) => needed = more,
                Decoded::End => return Ok(Step::End(self.offset())),
                Decoded::Bad(defect) => return Ok(Step::Bad(self.offset(), defect)),
                Decoded::Record(view) if view.seq != self.expected_seq => {
                    let defect = Defect::Sequence { expected: self.expected_seq, found: view.seq };
                    return Ok(Step::Bad(self.offset(), defect));
                }
                Decoded::Record(view) => break (view.at, view.kind, view.flags, view.payload.len(), view.stored_bytes),
            }
        };
        let (offset, seq) = (self.offset(), self.expected_seq);
        let payload_at = self.cursor + RECORD_HEADER_BYTES;
        self.cursor += stored_bytes;
        self.expected_seq += 1;
        let payload = &self.buffer[payload_at..payload_at + payload_bytes];
        Ok(Step::Record(offset, RecordView { seq, at, kind, flags, payload, stored_bytes }))
    }

    /// Makes at least `needed` bytes available at the cursor, or all that the file has.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        if self.at_end_of_file || self.buffer.len() - self.cursor >= needed {
            return Ok(());
        }
        self.buffer.drain(..self.cursor);
        self.buffer_at += self.cursor as u64;
        self.cursor = 0;
        let held = self.buffer.len();
        let wanted = needed.max(CHUNK_BYTES).max(held);
        self.buffer.resize(wanted, 0);
        let read = self.file.read_at(&mut self.buffer[held..], self.buffer_at + held as u64)?;
        self.at_end_of_file = held + read < wanted;
        self.buffer.truncate(held + read);
        Ok(())
    }
}

/// A whole record found beyond damage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) seq: u64,
    pub(super) first_of_batch: bool,
    stored_bytes: usize,
}

/// All bytes of a segment from an offset on; to look for what is whole beyond damage, and for what is not zero.
pub(super) struct Rest {
    bytes: Vec<u8>,
    at: u64,
}

impl Rest {
    pub(super) fn read(file: &dyn DiskFile, offset: u64) -> io::Result<Self> {
        let length = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(Self { bytes, at: offset })
    }

    /// Offset just past the last byte that is not zero; none if all are.
    pub(super) fn last_written(&self) -> Option<u64> {
        self.bytes.iter().rposition(|&byte| byte != 0).map(|position| self.at + position as u64 + 1)
    }

    /// Sequence number of the record that stands at the very beginning, if it is whole.
    pub(super) fn first_whole(&self) -> Option<u64> {
        match decode_record(&self.bytes, true) {
            Decoded::Record(view) => Some(view.seq),
            Decoded::End | Decoded::Short(_) | Decoded::Bad(_) => None,
        }
    }

    /// Whole records with a sequence number above `seq`, in the order in which they stand. Tries every aligned place.
    pub(super) fn records_after(&self, seq: u64) -> impl Iterator<Item = Found> + '_ {
        let mut position = 0;
        let mut least = seq;
        std::iter::from_fn(move || {
            while position < self.bytes.len() {
                if let Some(found) = self.whole_record(position, least) {
                    position += found.stored_bytes;
                    least = found.seq;
                    return Some(found);
                }
                position += ALIGNMENT;
            }
            None
        })
    }

    fn whole_record(&self, position: usize, above_seq: u64) -> Option<Found> {
        let bytes = &self.bytes[position..];
        let seq = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        // Each record takes at least 32 bytes; a number out of reach is not worth a checksum. Without this, garbage costs quadratic time.
        if seq <= above_seq || seq - above_seq > (position as u64 + self.at) / 32 + bytes.len() as u64 / 32 + 1 {
            return None;
        }
        match decode_record(bytes, true) {
            Decoded::Record(view) => Some(Found {
                offset: self.at + position as u64,
                seq,
                first_of_batch: view.flags & FLAG_FIRST_OF_BATCH != 0,
                stored_bytes: view.stored_bytes,
            }),
            Decoded::End | Decoded::Short(_) | Decoded::Bad(_) => None,
        }
    }
}
