//! A disk in memory that is as bad as a disk may be: at a crash it forgets what was not synced, block by block at random, tears the write
//! that was under way, and undoes files that were made or renamed without a sync of their directory. For tests and the simulator; everything
//! random comes from seeds passed in.
//!
//! ```text
//! let disk = SimDisk::new();
//! ... journal over disk.shared() ...
//! disk.die_after(17);   // the 17th operation from here and all after it fail, as if the machine had lost power in it
//! disk.crash(seed);     // power is back: old handles are dead, what was not synced is partly gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile, SharedDisk};

/// What the disk writes whole or not at all, in bytes: the sector of an old disk, so the smallest there is.
const BLOCK_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// What the directories say now.
    names: BTreeMap<PathBuf, u64>,
    /// What they would say after a crash at once.
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since their directory was last synced, in order.
    pending_names: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    /// Handles of an earlier run are dead.
    run: u64,
    /// Operations that still succeed before the machine dies; none: it doesn't.
    operations_left: Option<u64>,
    operations: u64,
    /// Syncs that still succeed before one fails.
    syncs_until_error: Option<u64>,
    sync_lies: bool,
    capacity_bytes: Option<u64>,
}

#[derive(Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    pending: Vec<Change>,
    /// Bytes up to here were written, not only reserved.
    written_until: usize,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

enum NameChange {
    Set(PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            Self::Set(path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write_into(to, *offset, bytes),
            Self::Length(length) => to.resize(*length, 0),
        }
    }
}

fn write_into(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

impl Inode {
    /// What is left after a loss of power.
    fn lose_power(&mut self, random: &mut ChaCha8Rng) {
        let pending = std::mem::take(&mut self.pending);
        let last = pending.len().saturating_sub(1);
        for (place, change) in pending.iter().enumerate() {
            match change {
                Change::Length(_) => {
                    if random.next_u32().is_multiple_of(2) {
                        change.apply(&mut self.durable);
                    }
                }
                Change::Write { offset, bytes } => {
                    // The write under way may stop at any byte.
                    let torn_at = if place == last { below(random, bytes.len() + 1) } else { bytes.len() };
                    self.keep_some_blocks(*offset, &bytes[..torn_at], random);
                }
            }
        }
        self.now = self.durable.clone();
        self.written_until = self.written_until.min(self.now.len());
    }

    fn keep_some_blocks(&mut self, offset: usize, bytes: &[u8], random: &mut ChaCha8Rng) {
        // All, none, or each by itself: the first two are the commonest in life and the rarest among random subsets.
        let mode = random.next_u32() % 4;
        let mut at = 0;
        while at < bytes.len() {
            let until = (at + BLOCK_BYTES - (offset + at) % BLOCK_BYTES).min(bytes.len());
            let kept = match mode {
                0 => false,
                1 => true,
                _ => random.next_u32().is_multiple_of(2),
            };
            if kept {
                write_into(&mut self.durable, offset + at, &bytes[at..until]);
            }
            at = until;
        }
    }
}

/// A number from 0 to `end` (exclusive); 0 if that is 0.
fn below(random: &mut ChaCha8Rng, end: usize) -> usize {
    let end = end.max(1) as u64;
    usize::try_from(random.next_u64() % end).expect("below a usize")
}

impl State {
    /// Counts an operation; whether the machine is still alive. `Err` for the fatal one and all after it.
    fn operate(&mut self) -> Result<(), Fatal> {
        self.operations += 1;
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(Fatal::Before),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(Fatal::Now) } else { Ok(()) }
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.written_until as u64).sum()
    }

    fn inode_of(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// When the machine died.
enum Fatal {
    /// In an earlier operation.
    Before,
    /// In this one: it may have been done in part.
    Now,
}

impl From<Fatal> for io::Error {
    fn from(_: Fatal) -> Self {
        Self::other("the simulated machine has lost power")
    }
}

impl SimDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This disk as the journal takes it.
    #[must_use]
    pub fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power and is started again: what was not synced is lost in part, as `seed` says; open handles and locks
    /// are dead; no death is ordered any more.
    pub fn crash(&self, seed: u64) {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut state = self.state();
        // A file system with a journal keeps changes of names in order: some first of them are kept.
        let pending = std::mem::take(&mut state.pending_names);
        let kept = below(random, pending.len() + 1);
        for change in &pending[..kept] {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        for inode in state.inodes.values_mut() {
            inode.lose_power(random);
        }
        state.restart();
    }

    /// The process dies and is started again, the machine lives: nothing that was written is lost; open handles and locks are dead.
    pub fn kill(&self) {
        self.state().restart();
    }

    /// The machine dies in the `operations`-th write, sync or change of names from now: that one is done in part and fails, and all
    /// after it fail until [`SimDisk::crash`] or [`SimDisk::kill`].
    pub fn die_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// No death and no failing sync is ordered any more.
    pub fn spare(&self) {
        let mut state = self.state();
        state.operations_left = None;
        state.syncs_until_error = None;
    }

    /// Writes, syncs and changes of names so far: the range that [`SimDisk::die_after`] can choose from.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Makes the `syncs`-th sync of a file from now, and only that one, fail. As Linux does it, the data then counts as clean:
    /// it stays readable, no later sync writes it, and it is gone after a crash.
    pub fn fail_sync(&self, syncs: u64) {
        self.state().syncs_until_error = Some(syncs.saturating_sub(1));
    }

    /// From now on files are not synced though it is said so. Tests that still pass prove nothing.
    pub fn lie_about_sync(&self, lies: bool) {
        self.state().sync_lies = lies;
    }

    /// The disk holds at most so many bytes from now on: a write beyond it is done in part and fails.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Flips one bit of a file, on the disk and in the cache.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::NotFound)?;
        *inode.now.get_mut(offset).ok_or(io::ErrorKind::NotFound)? ^= 1 << (bit % 8);
        if let Some(byte) = inode.durable.get_mut(offset) {
            *byte ^= 1 << (bit % 8);
        }
        Ok(())
    }

    /// The bytes of a file as a reader sees them.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let inode = state.inode_of(path)?;
        Ok(state.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?.now.clone())
    }

    /// Replaces a file's bytes, durably.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn replace_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        inode.now = bytes.to_vec();
        inode.durable = bytes.to_vec();
        inode.pending.clear();
        Ok(())
    }

    /// The paths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn handle(&self, inode: u64, run: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), inode, run })
    }
}

impl State {
    fn restart(&mut self) {
        self.run += 1;
        self.locked.clear();
        self.operations_left = None;
        self.syncs_until_error = None;
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        // Directories are where files are; the real disk syncs those it makes.
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.operate()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange::Set(path.to_owned(), inode));
        let run = state.run;
        drop(state);
        Ok(self.handle(inode, run))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let (inode, run) = (state.inode_of(path)?, state.run);
        drop(state);
        Ok(self.handle(inode, run))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.inode_of(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let inode = state.inode_of(from)?;
        // Atomic in a crash on the file systems that we run on; here the old name may stay beside the new one, which is harder.
        state.change_name(NameChange::Set(to.to_owned(), inode));
        state.change_name(NameChange::Remove(from.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if state.sync_lies {
            return Ok(());
        }
        let (synced, pending): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending_names)
            .into_iter()
            .partition(|change| change.path().parent() == Some(dir));
        state.pending_names = pending;
        for change in &synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        if !state.locked.insert(dir.to_owned()) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let run = state.run;
        drop(state);
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned(), run }))
    }
}

struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    run: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A dead run's lock went with it; the one that there is now belongs to somebody else.
        if state.run == self.run {
            state.locked.remove(&self.dir);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    run: u64,
}

impl SimFile {
    /// The disk, if this handle is of the present run.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.run == self.run { Ok(state) } else { Err(io::Error::other("the handle is of a dead process")) }
    }
}

fn inode(state: &mut State, number: u64) -> &mut Inode {
    state.inodes.get_mut(&number).expect("inodes are never removed")
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        let now = &inode(&mut state, self.inode).now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
        let bytes = into.len().min(now.len() - from);
        into[..bytes].copy_from_slice(&now[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let died = state.operate();
        if let Err(Fatal::Before) = died {
            return Err(Fatal::Before.into());
        }
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let room = state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes()));
        let inode = inode(&mut state, self.inode);
        let fits_until = inode.written_until.saturating_add(usize::try_from(room).unwrap_or(usize::MAX));
        let written = bytes.len().min(fits_until.saturating_sub(offset));
        write_into(&mut inode.now, offset, &bytes[..written]);
        inode.written_until = inode.written_until.max(offset + written);
        inode.pending.push(Change::Write { offset, bytes: bytes[..written].to_vec() });
        died?;
        if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        let fails = match &mut state.syncs_until_error {
            Some(0) => {
                state.syncs_until_error = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let lies = state.sync_lies;
        let inode = inode(&mut state, self.inode);
        if fails {
            inode.pending.clear();
            return Err(io::Error::other("simulated input/output error in sync"));
        }
        if !lies {
            for change in std::mem::take(&mut inode.pending) {
                change.apply(&mut inode.durable);
            }
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        let inode = inode(&mut state, self.inode);
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        inode.now.resize(length, 0);
        inode.written_until = inode.written_until.min(length);
        inode.pending.push(Change::Length(length));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.alive()?;
        Ok(inode(&mut state, self.inode).now.len() as u64)
    }
}
