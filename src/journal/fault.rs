//! Deaths on order: a test run of the real binary is killed at a named point, not near it.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::{Disk, DiskFile, SharedDisk};

/// A place where a process can be made to die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultPoint {
    /// In a journal's write: after part of the bytes.
    Append,
    /// Between a journal's write and its sync.
    BeforeSync,
    /// In a roll: the new segment has its name, the directory is not synced.
    Roll,
    /// In accounting's commit, where accounting says so.
    AccountingCommit,
}

impl FaultPoint {
    /// All points.
    pub const ALL: [Self; 4] = [Self::Append, Self::BeforeSync, Self::Roll, Self::AccountingCommit];

    /// The name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::BeforeSync => "before_sync",
            Self::Roll => "roll",
            Self::AccountingCommit => "accounting_commit",
        }
    }
}

/// A text that names no fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is no fault: expected point:occurrence, such as append:17, with append, before_sync, roll or accounting_commit"
)]
pub struct FaultPointError(String);

#[derive(Debug)]
struct Order {
    point: FaultPoint,
    /// Passes that are still survived; the process dies at the one that finds 0.
    left: AtomicU64,
}

/// At which pass of which point the process kills itself; by default never. Cloned into each part that has a point.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    order: Option<Arc<Order>>,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub const fn none() -> Self {
        Self { order: None }
    }

    /// Kills the process at the `occurrence`-th pass of `point`, from 1.
    #[must_use]
    pub fn kill_at(point: FaultPoint, occurrence: u64) -> Self {
        Self { order: Some(Arc::new(Order { point, left: AtomicU64::new(occurrence.saturating_sub(1)) })) }
    }

    /// Whether there is any.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.order.is_none()
    }

    /// Whether this pass is the fatal one. Counts it.
    fn is_due(&self, point: FaultPoint) -> bool {
        self.order.as_ref().filter(|order| order.point == point).is_some_and(|order| {
            // Each pass must count once, whichever thread makes it; nothing else is ordered by it.
            order.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        })
    }

    /// Passes the point; doesn't return from the fatal pass.
    pub fn reach(&self, point: FaultPoint) {
        if self.is_due(point) {
            die();
        }
    }
}

impl FromStr for Faults {
    type Err = FaultPointError;

    fn from_str(text: &str) -> Result<Self, FaultPointError> {
        let error = || FaultPointError(text.to_owned());
        let (name, occurrence) = text.split_once(':').ok_or_else(error)?;
        let point = FaultPoint::ALL.into_iter().find(|point| point.name() == name).ok_or_else(error)?;
        let occurrence = occurrence.parse().ok().filter(|&occurrence| occurrence > 0).ok_or_else(error)?;
        Ok(Self::kill_at(point, occurrence))
    }
}

/// Ends the process as `kill -9` does: no destructor, no flush, no handler runs.
fn die() -> ! {
    // The signal is delivered before the call returns to this thread; the loop is for the type and for a system that thinks otherwise.
    loop {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// A disk that dies at [`FaultPoint::Append`], [`FaultPoint::BeforeSync`] and [`FaultPoint::Roll`] of the journal in one directory, and is
/// the disk below otherwise.
pub struct FaultDisk {
    below: SharedDisk,
    faults: Faults,
    dir: PathBuf,
}

impl FaultDisk {
    /// Wraps `below`; only files in `dir` count.
    #[must_use]
    pub fn new(below: SharedDisk, faults: Faults, dir: impl Into<PathBuf>) -> Self {
        Self { below, faults, dir: dir.into() }
    }

    fn concerns(&self, path: &Path) -> bool {
        path.parent() == Some(&self.dir) && path.extension().is_some_and(|extension| extension == "seg")
    }
}

struct FaultFile {
    below: Box<dyn DiskFile>,
    faults: Faults,
    /// Records were written since the last sync: only then does a sync lie between them and their acknowledgement.
    has_unsynced_records: AtomicBool,
}

impl FaultFile {
    fn boxed(below: Box<dyn DiskFile>, faults: &Faults) -> Box<dyn DiskFile> {
        Box::new(Self { below, faults: faults.clone(), has_unsynced_records: AtomicBool::new(false) })
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.below.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // Neither the header nor zeros written ahead are an append.
        let is_append = offset > 0 && bytes.iter().take(4).any(|&byte| byte != 0);
        if is_append && self.faults.is_due(FaultPoint::Append) {
            self.below.write_at(&bytes[..bytes.len() / 2], offset)?;
            die();
        }
        // Only the journaller's thread writes and syncs.
        self.has_unsynced_records.fetch_or(is_append, Ordering::Relaxed);
        self.below.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.has_unsynced_records.swap(false, Ordering::Relaxed) {
            self.faults.reach(FaultPoint::BeforeSync);
        }
        self.below.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.below.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // A segment that is being made bears another name; the file it becomes is written through this handle, so it counts from the start.
        let below = self.below.create(path)?;
        if path.parent() == Some(&self.dir) {
            return Ok(FaultFile::boxed(below, &self.faults));
        }
        Ok(below)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let below = self.below.open(path)?;
        if self.concerns(path) {
            return Ok(FaultFile::boxed(below, &self.faults));
        }
        Ok(below)
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
        self.below.rename(from, to)?;
        if self.concerns(to) {
            self.faults.reach(FaultPoint::Roll);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.below.lock_dir(dir)
    }
}
