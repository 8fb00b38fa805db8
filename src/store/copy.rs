//! A copy of a stopped server's store, to be looked at.
//!
//! To open the database is to recover it: it cuts off what it can't read, and goes on writing. An audit must change nothing, least of all what it is
//! to find, so it opens a copy beside the store. Tables are never changed once they are written and are linked, not copied; journals and
//! manifests are copied. Where the file system has no links everything is copied.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};

use super::{CatalogStore, LedgerStore, StoreError};

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
    /// Copies the store in `data_dir`, which no server may have open, and opens the copy.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be copied, or the copy not opened.
    pub fn of(data_dir: &Path) -> Result<Self, StoreError> {
        let (from, to) = (data_dir.join("store"), data_dir.join(COPY));
        let folder = Folder(to.clone());
        let failed = |source| StoreError::Folder { path: to.clone(), source };
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        copy(&from, &to, false).map_err(failed)?;
        let database = Database::builder(&to).worker_threads(1).open();
        let database = database.map_err(|source| StoreError::Open { path: from, source })?;
        Ok(Self { database, folder })
    }

    /// The books.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ledger(&self) -> Result<LedgerStore, StoreError> {
        LedgerStore::open(self.database.clone())
    }

    /// The catalogue.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn catalog(&self) -> Result<CatalogStore, StoreError> {
        CatalogStore::open(self.database.clone())
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
        } else if !are_tables || fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
