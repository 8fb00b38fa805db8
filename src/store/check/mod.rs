//! Every byte of a stopped store's files, judged before a copy of them is opened.
//!
//! To open the database is to recover it, and recovery takes on trust what an audit may not: the place in time of a batch in a journal and the list of
//! a keyspace's tables have checksums that it doesn't look at, and a journal ends for it where it stops to understand it, as after a crash. So a
//! changed byte could set rows back to what they were, and all would look well. Here each file is held against its checksum:
//!
//! ```text
//! store/version                  "FJL" 3
//! store/N.jnl                    batches, each later than the one before, then zeros: `journal`
//! store/keyspaces/K/current      number and checksum of the manifest in force: `keyspaces`
//! store/keyspaces/K/vM           manifest: the tables, each with its checksum
//! store/keyspaces/K/tables/T     table
//! ```
//!
//! What is opened after that is what is whole: a journal up to its first flaw, and nothing where another file has one, as the library asserts what it
//! expects of its files and may end the process.
//!
//! Earlier manifests, tables that the manifest in force doesn't name, and `lock` are read by nobody, and not here either: the next start
//! removes them. The formats are those of fjall 3 and lsm-tree 3; a test reads what they write.

mod journal;
mod keyspaces;
mod source;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const VERSION: &[u8; 4] = b"FJL\x03";

/// Something in a file that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// The file, and where the flaw may lie in either of two, both; and where in it, if that is known.
    pub place: String,
    /// What must be there.
    pub expected: &'static str,
    /// What is.
    pub found: String,
}

impl Flaw {
    #[expect(clippy::needless_pass_by_value, reason = "callers pass what they made for it")]
    fn of(file: &Path, expected: &'static str, found: impl ToString) -> Self {
        Self { place: file.display().to_string(), expected, found: found.to_string() }
    }
}

/// What a journal says last of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LastRow {
    Removed,
    /// Digest of the row.
    Row([u8; 32]),
    /// The row lies there compressed; it has so many bytes when it isn't.
    Packed(u64),
}

/// A journal, and how much of it is whole batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct JournalFile {
    pub(super) path: PathBuf,
    pub(super) whole_bytes: u64,
}

/// A store whose files were looked at.
#[derive(Clone, Default, Debug)]
pub struct CheckedStore {
    /// At most one flaw of each file.
    pub flaws: Vec<Flaw>,
    /// Whether it can be opened up to where its journals are whole.
    pub can_be_opened: bool,
    pub(super) journals: Vec<JournalFile>,
    /// What the whole batches say last of each row, by the number of its keyspace and its key, and in which of the journals. What tables hold is older, or the
    /// same.
    pub(super) last_rows: BTreeMap<(u64, Vec<u8>), (LastRow, usize)>,
}

/// Looks at every file of the store in a data directory that no server has open.
#[must_use]
pub fn check_store(data_dir: &Path) -> CheckedStore {
    let store = data_dir.join("store");
    let mut checked = CheckedStore::default();
    let (version, keyspaces) = (store.join("version"), store.join("keyspaces"));
    match std::fs::read(&version) {
        Ok(bytes) if bytes == *VERSION => {}
        Ok(bytes) => checked.flaws.push(Flaw::of(&version, "the version of the format", format!("{bytes:02x?}"))),
        Err(error) => checked.flaws.push(Flaw::of(&version, "a file that can be read", error)),
    }
    match numbered(&keyspaces, "") {
        Err(error) => checked.flaws.push(Flaw::of(&keyspaces, "a folder that can be listed", error)),
        Ok(folders) => checked.flaws.extend(folders.iter().filter_map(|folder| keyspaces::check(folder).err())),
    }
    checked.can_be_opened = checked.flaws.is_empty();
    match numbered(&store, ".jnl") {
        Err(error) => checked.flaws.push(Flaw::of(&store, "a folder that can be listed", error)),
        Ok(files) => journal::check(files, &mut checked),
    }
    checked
}

/// What lies in a folder under a number and this ending, by number.
fn numbered(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut found: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let number =
            entry.file_name().to_str().and_then(|name| name.strip_suffix(ending)).and_then(|name| name.parse().ok());
        if let Some(number) = number {
            found.insert(number, entry.path());
        }
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests;
