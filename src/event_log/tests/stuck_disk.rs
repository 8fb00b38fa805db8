//! A disk on which the writes of one directory hang until they are let go.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::journal::{Disk, DiskFile, SharedDisk};

/// Closed, writes wait at it.
#[derive(Default)]
pub(super) struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn set_closed(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_closed, |is_closed| *is_closed).unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) struct StuckDisk {
    pub(super) below: SharedDisk,
    pub(super) dir: PathBuf,
    pub(super) gate: Arc<Gate>,
}

struct StuckFile {
    below: Box<dyn DiskFile>,
    gate: Option<Arc<Gate>>,
}

impl StuckDisk {
    fn file(&self, path: &Path, below: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let gate = path.starts_with(&self.dir).then(|| Arc::clone(&self.gate));
        Box::new(StuckFile { below, gate })
    }
}

impl DiskFile for StuckFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.below.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.below.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.below.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.below.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
}

impl Disk for StuckDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.below.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.below.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.below.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.below.lock_dir(dir)
    }
}
