//! A copy of a stopped server's store, to be looked at.
//!
//! To open the database is to recover it: it cuts off what it can't read, and goes on writing. An audit must change nothing, least of all what it is
//! to find, so it opens a copy beside the store. Tables are never changed once they are written and are linked, not copied; journals, up to
//! where they are whole, and manifests are copied. Where the file system has no links everything is copied.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};

use super::check::{JournalFile, LastRow};
use super::{CheckedStore, EmbeddedCatalog, EmbeddedLedger, Flaw, StoreError, hex};

/// Name of the copy's folder in the data directory. One left by a process that was killed is replaced.
const COPY: &str = "store.reading";
/// Folders whose files never change.
const TABLES: &str = "tables";

/// The copy; removed when it is dropped.
pub struct StoreCopy {
    // Before the folder, which is removed after it.
    database: Database,
    folder: Folder,
}

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is replaced by the next copy.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl StoreCopy {
    /// Copies the store in `data_dir`, which no server may have open, each journal up to where it is whole, and opens the copy.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be copied, or the copy not opened.
    pub fn of(data_dir: &Path, checked: &CheckedStore) -> Result<Self, StoreError> {
        let (from, to) = (data_dir.join("store"), data_dir.join(COPY));
        let folder = Folder(to.clone());
        let failed = |source| StoreError::Folder { path: to.clone(), source };
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        copy(&from, &to, false).map_err(failed)?;
        for JournalFile { path, whole_bytes } in &checked.journals {
            copy_journal(path, &to, *whole_bytes).map_err(failed)?;
        }
        let database = Database::builder(&to).worker_threads(1).open();
        let database = database.map_err(|source| StoreError::Open { path: from, source })?;
        Ok(Self { database, folder })
    }

    /// The books.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ledger(&self) -> Result<EmbeddedLedger, StoreError> {
        EmbeddedLedger::open(self.database.clone())
    }

    /// The catalogue.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn catalog(&self) -> Result<EmbeddedCatalog, StoreError> {
        EmbeddedCatalog::open(self.database.clone())
    }

    /// Reads every row of every keyspace, whosever it is, and says how many there are: each block's checksum is looked at.
    ///
    /// # Errors
    /// [`StoreError`] at the first that can't be read.
    pub fn read_all(&self) -> Result<u64, StoreError> {
        let read = |source| StoreError::Read { what: "every row", source };
        let mut rows = 0;
        for name in self.database.list_keyspace_names() {
            let keyspace = self.database.keyspace(&name, KeyspaceCreateOptions::default).map_err(read)?;
            for row in keyspace.iter() {
                row.into_inner().map_err(read)?;
                rows += 1;
            }
        }
        Ok(rows)
    }

    /// Rows that are not what the journals say last of them, as after a batch whose place in time was changed: at most one of each keyspace is named.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read.
    pub fn not_last(&self, checked: &CheckedStore) -> Result<Vec<Flaw>, StoreError> {
        let read = |source| StoreError::Read { what: "a row", source };
        let mut keyspaces = BTreeMap::new();
        for name in self.database.list_keyspace_names() {
            let keyspace = self.database.keyspace(&name, KeyspaceCreateOptions::default).map_err(read)?;
            let number = keyspace.path().file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
            keyspaces.insert(number, keyspace);
        }
        let mut flaws = BTreeMap::new();
        for ((number, key), (expected, file)) in &checked.last_rows {
            let keyspace = keyspaces.get(&Some(*number));
            let row = keyspace.map(|keyspace| keyspace.get(key)).transpose().map_err(read)?;
            let is_last = match (row, expected) {
                (Some(None), expected) => *expected == LastRow::Removed,
                (Some(Some(row)), LastRow::Row(digest)) => blake3::hash(&row) == *digest,
                (Some(Some(row)), LastRow::Packed(bytes)) => row.len() as u64 == *bytes,
                // No keyspace is ever removed.
                (None, _) | (Some(Some(_)), LastRow::Removed) => false,
            };
            if !is_last {
                let name = keyspace.map_or_else(|| number.to_string(), |keyspace| keyspace.name().to_string());
                let file = checked.journals.get(*file).map_or_else(String::new, |file| file.path.display().to_string());
                let place = format!("{file}, keyspace {name}, key {}", hex(key));
                let found = "an older row, or another".to_owned();
                flaws.entry(*number).or_insert(Flaw { place, expected: "the row that was written last", found });
            }
        }
        Ok(flaws.into_values().collect())
    }

    /// The keyspaces by number, as their folders are named.
    #[cfg(test)]
    pub(crate) fn keyspace_names(&self) -> BTreeMap<u64, String> {
        let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
        let named = self.database.list_keyspace_names().into_iter().filter_map(|name| {
            let keyspace = self.database.keyspace(&name, KeyspaceCreateOptions::default).ok()?;
            Some((number(keyspace.path())?, name.to_string()))
        });
        named.collect()
    }
}

impl std::fmt::Debug for StoreCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreCopy").field("folder", &self.folder.0).finish_non_exhaustive()
    }
}

fn copy(from: &Path, to: &Path, are_tables: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&path, &target, entry.file_name() == TABLES)?;
        } else if path.extension().is_some_and(|ending| ending == "jnl") {
            // Copied apart.
        } else if !are_tables || fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies the first bytes of a journal: behind them the database makes much room beforehand.
fn copy_journal(from: &Path, to: &Path, whole_bytes: u64) -> io::Result<()> {
    let name = from.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    io::copy(&mut File::open(from)?.take(whole_bytes), &mut File::create(to.join(name))?)?;
    Ok(())
}
