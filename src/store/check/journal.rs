//! The journals of the store: batches of rows. Little-endian.
//!
//! ```text
//! batch:  1 u8, items u32, place in time u64
//! item:   2 u8, kind u8, compression u8, keyspace u64, key bytes u16, row bytes u32, stored bytes u32, key, row as stored
//! end:    3 u8, checksum of the items u64, "FJL" 3
//! ```
//!
//! Behind the last batch lie zeros: room made beforehand. The first fields of a batch are under no checksum: their number of items is
//! counted, and places in time only go up. The very first could still be set back unnoticed; the rows that are read then differ from the last
//! ones here.

use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::source::{Cut, Source};
use super::{CheckedStore, Flaw, JournalFile, LastRow};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Bytes of a batch's start behind its tag, of an item before its key, and of an end behind its tag.
const START_BYTES: usize = 12;
const ITEM_BYTES: usize = 20;
const END_BYTES: usize = 12;

/// No store comes so far; and from the double on the library refuses to write.
const TIME_MAX: u64 = 1 << 62;

const WHOLE: &str = "whole batches, each later than the one before, and zeros behind them";

/// Why a batch is none.
enum Bad {
    Io(io::Error),
    Defect(String),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn defect(what: impl Into<String>) -> Bad {
    Bad::Defect(what.into())
}

/// Looks at the journals, oldest first.
pub(super) fn check(files: Vec<PathBuf>, checked: &mut CheckedStore) {
    let mut last = None;
    for path in files {
        checked.journals.push(JournalFile { path: path.clone(), whole_bytes: 0 });
        let flaw = check_file(&path, &mut last, checked).err();
        checked.flaws.extend(flaw);
    }
}

fn check_file(file: &Path, last: &mut Option<u64>, checked: &mut CheckedStore) -> Result<(), Flaw> {
    let unreadable = |error| Flaw::of(file, "a file that can be read", error);
    let mut source = Source::open(file).map_err(unreadable)?;
    let number = checked.journals.len() - 1;
    loop {
        let offset = source.offset();
        checked.journals[number].whole_bytes = offset;
        match batch(&mut source, last) {
            Ok(Some(rows)) => {
                checked.last_rows.extend(rows.into_iter().map(|(key, row)| (key, (row, number))));
            }
            Ok(None) => return zeros(file, source),
            Err(Bad::Io(error)) => return Err(unreadable(error)),
            Err(Bad::Defect(what)) => {
                let place = format!("{} offset {offset}", file.display());
                let found = format!("what is no batch: a torn write, or a changed byte: {what}");
                return Err(Flaw { place, expected: WHOLE, found });
            }
        }
    }
}

/// Reads a batch. None at the end of what was written.
fn batch(source: &mut Source, last: &mut Option<u64>) -> Result<Option<Vec<Item>>, Bad> {
    match source.take(1)?.as_deref() {
        None | Some([0]) => return Ok(None),
        Some([START]) => {}
        Some(_) => return Err(defect("its first byte")),
    }
    let start = source.take(START_BYTES)?.ok_or_else(|| defect("it is cut short"))?;
    let mut cut = Cut(&start);
    let (items, at) = cut.u32().zip(cut.u64()).ok_or_else(|| defect("it is cut short"))?;
    if at >= TIME_MAX {
        return Err(defect(format!("{at} is no place in time")));
    }
    if last.is_some_and(|last| at <= last) {
        return Err(defect(format!("its place in time {at} is not behind {}", last.unwrap_or_default())));
    }
    let mut read = Vec::new();
    let mut checksum = Xxh3Default::new();
    for _ in 0..items {
        read.push(item(source, &mut checksum)?);
    }
    let end = source.take(1 + END_BYTES)?.ok_or_else(|| defect("it is cut short"))?;
    let mut cut = Cut(&end);
    if cut.u8() != Some(END) {
        return Err(defect("it does not end after its items"));
    }
    if cut.u64() != Some(checksum.digest()) {
        return Err(defect("its checksum"));
    }
    if cut.0 != TRAILER {
        return Err(defect("its last bytes"));
    }
    *last = Some(at);
    Ok(Some(read))
}

type Item = ((u64, Vec<u8>), LastRow);

fn item(source: &mut Source, checksum: &mut Xxh3Default) -> Result<Item, Bad> {
    let cut_short = || defect("it is cut short");
    let head = source.take(1 + ITEM_BYTES)?.ok_or_else(cut_short)?;
    checksum.update(&head);
    let mut cut = Cut(&head);
    if cut.u8() != Some(ITEM) {
        return Err(defect("it has fewer items than it says"));
    }
    let (kind, compression) = cut.u8().zip(cut.u8()).ok_or_else(cut_short)?;
    let (keyspace, key_bytes) = cut.u64().zip(cut.u16()).ok_or_else(cut_short)?;
    let (row_bytes, stored_bytes) = cut.u32().zip(cut.u32()).ok_or_else(cut_short)?;
    let key = source.take(usize::from(key_bytes))?.ok_or_else(cut_short)?;
    let stored = source.take(usize::try_from(stored_bytes).map_err(|_| cut_short())?)?.ok_or_else(cut_short)?;
    checksum.update(&key);
    checksum.update(&stored);
    let row = match (kind, compression) {
        (0, 0) => LastRow::Row(*blake3::hash(&stored).as_bytes()),
        (0, 1) => LastRow::Packed(u64::from(row_bytes)),
        (1 | 2, _) => LastRow::Removed,
        _ => return Err(defect("an item of no known kind")),
    };
    Ok(((keyspace, key), row))
}

fn zeros(file: &Path, source: Source) -> Result<(), Flaw> {
    let mut first = None;
    let read = source.rest(|at, piece| {
        if first.is_none() {
            first = piece.iter().position(|byte| *byte != 0).map(|place| at + place as u64);
        }
    });
    match (read, first) {
        (Err(error), _) => Err(Flaw::of(file, "a file that can be read", error)),
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(offset)) => {
            let place = format!("{} offset {offset}", file.display());
            Err(Flaw { place, expected: WHOLE, found: "a byte that is not zero behind the last batch".to_owned() })
        }
    }
}
