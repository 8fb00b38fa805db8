//! Forgery: changes a closed journal so that its structure stays perfect. For canary tests only.
//!
//! Checksums and sequence numbers catch a broken disk; they don't catch somebody who rewrites the file with care, or a bug that journals
//! a record twice. Audit has to. Each function here makes such a change, with numbers and checksums right again, and the canary
//! tests prove that audit names it.

use std::path::Path;

use super::disk::SharedDisk;
use super::format::{FLAG_FIRST_OF_BATCH, HEADER_BYTES, JournalRecord, SegmentHeader, encode_record};
use super::reader::{ReadError, read_dir};
use super::segment::{self, SegmentFile};

/// Why a journal was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It can't be read.
    #[error("could not read the journal")]
    Read(#[from] ReadError),
    /// It can't be written.
    #[error("could not write the journal")]
    Write(#[from] std::io::Error),
    /// There is no such record.
    #[error("there is no record {0}")]
    Absent(u64),
}

/// Takes the record out and closes the gap: each record after it gets the number before its own.
///
/// # Errors
/// [`EditError`].
pub fn delete_record(disk: &SharedDisk, dir: &Path, seq: u64) -> Result<(), EditError> {
    edit(disk, dir, seq, |records, place| {
        records.remove(place);
    })
}

/// Puts a copy of the record behind it: each record after it gets the number after its own.
///
/// # Errors
/// [`EditError`].
pub fn double_record(disk: &SharedDisk, dir: &Path, seq: u64) -> Result<(), EditError> {
    edit(disk, dir, seq, |records, place| records.insert(place, records[place].clone()))
}

/// Changes the record's payload.
///
/// # Errors
/// [`EditError`].
pub fn change_payload(
    disk: &SharedDisk,
    dir: &Path,
    seq: u64,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<(), EditError> {
    edit(disk, dir, seq, |records, place| change(&mut records[place].1.payload))
}

/// A record and the number of the segment that it stays in.
type Placed = (u64, JournalRecord);

fn edit(
    disk: &SharedDisk,
    dir: &Path,
    seq: u64,
    change: impl FnOnce(&mut Vec<Placed>, usize),
) -> Result<(), EditError> {
    let mut reader = read_dir(SharedDisk::clone(disk), dir)?;
    let mut records: Vec<Placed> = Vec::new();
    while let Some(record) = reader.next() {
        records.push((reader.segment_number().unwrap_or(0), record?));
    }
    let place = records.iter().position(|(_, record)| record.seq == seq).ok_or(EditError::Absent(seq))?;
    let mut next_seq = records.first().map_or(0, |(_, record)| record.seq);
    change(&mut records, place);
    for file in segment::list(&**disk, dir)? {
        let of_segment = records.iter().filter(|(number, _)| *number == file.number).map(|(_, record)| record);
        next_seq = rewrite_segment(disk, dir, &file, next_seq, of_segment)?;
    }
    disk.sync_dir(dir)?;
    Ok(())
}

/// Writes a segment anew with these records, numbered from `first_seq` on. Returns the number after the last one.
fn rewrite_segment<'r>(
    disk: &SharedDisk,
    dir: &Path,
    file: &SegmentFile,
    first_seq: u64,
    records: impl Iterator<Item = &'r JournalRecord>,
) -> Result<u64, EditError> {
    let opened = disk.open(&dir.join(file.name()))?;
    let mut bytes = vec![0; HEADER_BYTES];
    opened.read_at(&mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes).map_err(std::io::Error::other)?;
    bytes.copy_from_slice(&SegmentHeader { first_seq, ..header }.encode());
    let mut seq = first_seq;
    for record in records {
        // Every record the first of its batch: it is true of some journal, and no later reader can tell.
        let flags = record.flags | FLAG_FIRST_OF_BATCH;
        encode_record(&mut bytes, seq, record.at, record.kind, flags, &record.payload);
        seq += 1;
    }
    let length = opened.len()?.max(bytes.len() as u64);
    opened.set_len(0)?;
    opened.set_len(length)?;
    opened.write_at(&bytes, 0)?;
    opened.sync_data()?;
    Ok(seq)
}
