//! The bytes of a segment, version 1: header, records, and how to tell a whole record from a torn one.
//!
//! `schemas/journal.md` is the same in prose; the golden files under `schemas/golden/v1/` hold both to it. Everything is little-endian.

use crate::model::{BootId, ServerId, WallMs};

/// First eight bytes of every segment.
pub const MAGIC: [u8; 8] = *b"SEGUEJNL";
/// Version of the format that this build writes, and the only one so far that it reads.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header; the first record starts here. A multiple of [`ALIGNMENT`].
pub const HEADER_BYTES: usize = 80;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 26;
/// Records start at multiples of this, so that a search after damage tries one place in eight.
pub const ALIGNMENT: usize = 8;
/// Longest payload of one record, in bytes: a line item with 50,000 segment ids of 36 bytes fits twice. Bounds what a reader must hold.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Flag on the first record of each group commit. It proves that all before it had been synced, so damage before it is no torn write.
pub const FLAG_FIRST_OF_BATCH: u8 = 1;

/// A segment that claims to begin beyond this is none: at a million records a second it would take 292,000 years. So nothing that counts on
/// from it can overflow.
const SEQ_MAX: u64 = u64::MAX / 2;

const OFFSET_VERSION: usize = 8;
const OFFSET_SEGMENT_BYTES: usize = 12;
const OFFSET_SERVER: usize = 16;
const OFFSET_BOOT: usize = 32;
const OFFSET_NUMBER: usize = 48;
const OFFSET_FIRST_SEQ: usize = 56;
const OFFSET_BASE_AT: usize = 64;
const OFFSET_FLAGS: usize = 72;
const OFFSET_CRC: usize = 76;
/// Header flag: each group commit in this segment was synced before the next one was written.
const FLAG_SYNCED: u32 = 1;

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Size that the segment was made for, in bytes. A file may be longer (one that was edited), never is it cut by this.
    pub segment_bytes: u32,
    /// The server that wrote it.
    pub server: ServerId,
    /// The run of the server that began it; a later run may have gone on in it.
    pub boot: BootId,
    /// Segments are numbered from 1 without gaps.
    pub number: u64,
    /// Sequence number of the first record in it.
    pub first_seq: u64,
    /// No record in it is dated before this: the date of the last record of the segment before.
    pub base_at: WallMs,
    /// Whether each group commit was synced before the next was written (the money journal), or none was (the log journal).
    pub synced: bool,
}

/// One record as it stands in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalRecord {
    /// Its place in the journal: consecutive from 0.
    pub seq: u64,
    /// When it was journalled. Never before the record before it.
    pub at: WallMs,
    /// The caller's kind of record.
    pub kind: u8,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// The caller's bytes.
    pub payload: Vec<u8>,
}

/// A record still in the bytes that it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// See [`JournalRecord::seq`].
    pub seq: u64,
    /// See [`JournalRecord::at`].
    pub at: WallMs,
    /// See [`JournalRecord::kind`].
    pub kind: u8,
    /// See [`JournalRecord::flags`].
    pub flags: u8,
    /// The caller's bytes.
    pub payload: &'a [u8],
    /// Bytes that it takes in the segment, padding included.
    pub stored_bytes: usize,
}

impl RecordView<'_> {
    /// The record with a payload of its own.
    #[must_use]
    pub fn to_owned(&self) -> JournalRecord {
        JournalRecord { seq: self.seq, at: self.at, kind: self.kind, flags: self.flags, payload: self.payload.to_vec() }
    }
}

/// Why bytes are not a record, or a file not a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Defect {
    /// The header is shorter than a header.
    #[error("the segment header is cut short")]
    HeaderShort,
    /// It doesn't start with [`MAGIC`].
    #[error("the file does not start with the journal's magic bytes")]
    Magic,
    /// A version that this build can't read.
    #[error("segment version {0} is not known to this build")]
    Version(u32),
    /// The header's checksum is wrong.
    #[error("the segment header's checksum is wrong")]
    HeaderChecksum,
    /// The length is no length of a record.
    #[error("{0} is not a possible record length")]
    Length(u32),
    /// A sequence number that no journal reaches.
    #[error("{0} is not a possible sequence number")]
    SequenceRange(u64),
    /// The record goes on past the end of the file.
    #[error("the record is cut short by the end of the file")]
    CutShort,
    /// The record's checksum is wrong.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// Bytes that must be zero are not: padding, or what follows the last record.
    #[error("bytes that must be zero are not")]
    NotZero,
    /// The record is whole but not the one that follows.
    #[error("record {found} stands where {expected} belongs")]
    Sequence {
        /// The number that follows the record before.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// The file's number is not the one in its name, or not the one that follows.
    #[error("segment {found} stands where {expected} belongs")]
    SegmentNumber {
        /// The number that follows the segment before.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// The segment ends before the next one begins.
    #[error("records {from} to {until} (exclusive) are missing before the next segment")]
    Missing {
        /// First missing sequence number.
        from: u64,
        /// First sequence number of the next segment.
        until: u64,
    },
}

/// What stands at a place in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// A whole record.
    Record(RecordView<'a>),
    /// A zero length: nothing was written from here on.
    End,
    /// The bytes given are too few to tell: at least this many are needed.
    Short(usize),
    /// Not a record.
    Bad(Defect),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[OFFSET_VERSION..OFFSET_VERSION + 4].copy_from_slice(&VERSION.to_le_bytes());
        bytes[OFFSET_SEGMENT_BYTES..OFFSET_SEGMENT_BYTES + 4].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[OFFSET_SERVER..OFFSET_SERVER + 16].copy_from_slice(&self.server.to_bytes());
        bytes[OFFSET_BOOT..OFFSET_BOOT + 16].copy_from_slice(&self.boot.to_bytes());
        bytes[OFFSET_NUMBER..OFFSET_NUMBER + 8].copy_from_slice(&self.number.to_le_bytes());
        bytes[OFFSET_FIRST_SEQ..OFFSET_FIRST_SEQ + 8].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[OFFSET_BASE_AT..OFFSET_BASE_AT + 8].copy_from_slice(&stored_time(self.base_at).to_le_bytes());
        let flags = if self.synced { FLAG_SYNCED } else { 0 };
        bytes[OFFSET_FLAGS..OFFSET_FLAGS + 4].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..OFFSET_CRC]);
        bytes[OFFSET_CRC..OFFSET_CRC + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The [`Defect`] that makes it none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(Defect::HeaderShort)?;
        if bytes[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32c::crc32c(&bytes[..OFFSET_CRC]) != u32_at(bytes, OFFSET_CRC) {
            return Err(Defect::HeaderChecksum);
        }
        let version = u32_at(bytes, OFFSET_VERSION);
        if version != VERSION {
            return Err(Defect::Version(version));
        }
        let first_seq = u64_at(bytes, OFFSET_FIRST_SEQ);
        if first_seq > SEQ_MAX {
            return Err(Defect::SequenceRange(first_seq));
        }
        Ok(Self {
            segment_bytes: u32_at(bytes, OFFSET_SEGMENT_BYTES),
            server: ServerId::from_bytes(sixteen_at(bytes, OFFSET_SERVER)),
            boot: BootId::from_bytes(sixteen_at(bytes, OFFSET_BOOT)),
            number: u64_at(bytes, OFFSET_NUMBER),
            first_seq,
            base_at: read_time(u64_at(bytes, OFFSET_BASE_AT)),
            synced: u32_at(bytes, OFFSET_FLAGS) & FLAG_SYNCED != 0,
        })
    }
}

/// Bytes that a payload of this length takes in a segment.
#[must_use]
pub const fn stored_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Appends one record to `out`, whose length must be a multiple of [`ALIGNMENT`].
///
/// Panics when the payload is longer than [`PAYLOAD_BYTES_MAX`]: the journal refuses such a record at its door.
pub fn encode_record(out: &mut Vec<u8>, seq: u64, at: WallMs, kind: u8, flags: u8, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the journal refuses longer payloads");
    let start = out.len();
    assert!(start.is_multiple_of(ALIGNMENT), "records are aligned");
    let length = u32::try_from(RECORD_HEADER_BYTES + payload.len()).expect("bounded by PAYLOAD_BYTES_MAX");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&stored_time(at).to_le_bytes());
    out.push(kind);
    out.push(flags);
    out.extend_from_slice(payload);
    let crc = record_crc(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + stored_bytes(payload.len()), 0);
}

/// What stands at the start of `bytes`. Never panics, whatever the bytes are; a record is returned only if its checksum is right.
///
/// `at_end_of_file` says that there are no bytes after these, so that too few of them are a defect and not [`Decoded::Short`].
#[must_use]
pub fn decode_record(bytes: &[u8], at_end_of_file: bool) -> Decoded<'_> {
    let short = |needed: usize| {
        if !at_end_of_file {
            return Decoded::Short(needed);
        }
        if bytes.iter().all(|&byte| byte == 0) { Decoded::End } else { Decoded::Bad(Defect::CutShort) }
    };
    if bytes.len() < RECORD_HEADER_BYTES {
        return short(RECORD_HEADER_BYTES);
    }
    let length = u32_at(bytes, 0);
    if length == 0 {
        return Decoded::End;
    }
    let Some(length_bytes) = usize::try_from(length)
        .ok()
        .filter(|length| (RECORD_HEADER_BYTES..=RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX).contains(length))
    else {
        return Decoded::Bad(Defect::Length(length));
    };
    let stored = length_bytes.next_multiple_of(ALIGNMENT);
    if bytes.len() < stored {
        return short(stored);
    }
    let record = &bytes[..length_bytes];
    if record_crc(record) != u32_at(record, 4) {
        return Decoded::Bad(Defect::Checksum);
    }
    if bytes[length_bytes..stored].iter().any(|&byte| byte != 0) {
        return Decoded::Bad(Defect::NotZero);
    }
    Decoded::Record(RecordView {
        seq: u64_at(record, 8),
        at: read_time(u64_at(record, 16)),
        kind: record[24],
        flags: record[25],
        payload: &record[RECORD_HEADER_BYTES..],
        stored_bytes: stored,
    })
}

/// CRC32C over the length and all that follows the checksum; so a flipped bit in the length is found too.
fn record_crc(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

/// Times before 1970 are stored as 0: the journal's clock is the present.
fn stored_time(at: WallMs) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

fn read_time(stored: u64) -> WallMs {
    WallMs(i64::try_from(stored).unwrap_or(i64::MAX))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn sixteen_at(bytes: &[u8], offset: usize) -> [u8; 16] {
    bytes[offset..offset + 16].try_into().expect("sixteen bytes")
}
