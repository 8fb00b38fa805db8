//! The folders of keyspaces: the manifest in force by the checksum beside its number, and every table by the checksum in the manifest.
//! Little-endian; checksums are XXH3 of 128 bits over a whole file.
//!
//! ```text
//! current:   manifest's number u64, its checksum u128, 0 u8
//! manifest:  sections; contents "TOC!", count u32, of each: offset u64, bytes u64, name bytes u16, name; at the end "SFA!", 1 u8, 0 u8, checksum of
//!            the contents u128, their offset u64, their bytes u64
//! "tables":  levels u8, of each: runs u8, of each: tables u32, of each: number u64, 0 u8, checksum u128, shift of places in time u64
//! ```

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::Flaw;
use super::source::{Cut, Source};

const TRAILER_BYTES: usize = 38;
const READABLE: &str = "a file that can be read";

/// Holds a keyspace's files against their checksums.
pub(super) fn check(folder: &Path) -> Result<(), Flaw> {
    let path = folder.join("current");
    let current = match std::fs::read(&path) {
        Ok(current) => current,
        // A keyspace that a crash found in the making: the next start makes it anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Flaw::of(&path, READABLE, error)),
    };
    let mut cut = Cut(&current);
    let (Some((number, checksum)), [0]) = (cut.u64().zip(cut.u128()), cut.0) else {
        return Err(Flaw::of(&path, "a manifest's number, its checksum, and a zero", "something else"));
    };
    let file = folder.join(format!("v{number}"));
    let manifest = match std::fs::read(&file) {
        Ok(manifest) => manifest,
        Err(error) => return Err(Flaw::of(&path, "the number of a manifest", format!("{}: {error}", file.display()))),
    };
    let found = xxh3_128(&manifest);
    if found != checksum {
        // Either may be the one that was changed.
        let place = format!("{} or {}", file.display(), path.display());
        return Err(Flaw { place, expected: "the manifest in force and its checksum", found: format!("{found:032x}") });
    }
    let tables = tables(&manifest).ok_or_else(|| Flaw::of(&file, "a manifest", "what can't be understood"))?;
    tables.into_iter().try_for_each(|(number, checksum)| {
        let file = folder.join("tables").join(number.to_string());
        match sum(&file) {
            Ok(found) if found == checksum => Ok(()),
            Ok(found) => Err(Flaw::of(&file, "a table with the checksum in the manifest", format!("{found:032x}"))),
            Err(error) => Err(Flaw::of(&file, READABLE, error)),
        }
    })
}

fn sum(file: &Path) -> io::Result<u128> {
    let mut sum = Xxh3Default::new();
    Source::open(file)?.rest(|_, piece| sum.update(piece))?;
    Ok(sum.digest128())
}

/// The tables that a manifest names. None where it is not understood, or names files of values apart, which no keyspace of ours has.
fn tables(manifest: &[u8]) -> Option<Vec<(u64, u128)>> {
    let mut cut = Cut(section(manifest, b"tables")?);
    let mut found = Vec::new();
    for _level in 0..cut.u8()? {
        for _run in 0..cut.u8()? {
            for _table in 0..cut.u32()? {
                let (number, 0, checksum, _shift) = (cut.u64()?, cut.u8()?, cut.u128()?, cut.u64()?) else {
                    return None;
                };
                found.push((number, checksum));
            }
        }
    }
    let values = Cut(section(manifest, b"blob_files")?).u32()?;
    (cut.0.is_empty() && values == 0).then_some(found)
}

fn section<'m>(manifest: &'m [u8], name: &[u8]) -> Option<&'m [u8]> {
    let mut trailer = Cut(manifest.get(manifest.len().checked_sub(TRAILER_BYTES)?..)?);
    let (b"SFA!", 1, 0) = (trailer.bytes(4)?, trailer.u8()?, trailer.u8()?) else { return None };
    let (_checksum, contents) = (trailer.u128()?, trailer.u64()?);
    let mut contents = Cut(manifest.get(usize::try_from(contents).ok()?..)?);
    if contents.bytes(4)? != b"TOC!" {
        return None;
    }
    for _ in 0..contents.u32()? {
        let (offset, bytes, name_bytes) = (contents.u64()?, contents.u64()?, contents.u16()?);
        if contents.bytes(usize::from(name_bytes))? == name {
            let offset = usize::try_from(offset).ok()?;
            return manifest.get(offset..offset.checked_add(usize::try_from(bytes).ok()?)?);
        }
    }
    None
}
