//! The durable local logs: what was acknowledged is on disk.
//!
//! A journal is a directory of segments, each a run of records with consecutive sequence numbers ([`mod@format`], `schemas/journal.md`).
//! One thread writes it: it takes whatever is queued, up to [`BATCH_BYTES_MAX`], makes one write and one `fdatasync` of it, and only then
//! completes the acknowledgements (group commit: the rate of syncs is the disk's, the rate of records is not). The thread is a shell; what it
//! drives is [`Writer`], synchronous and pure over [`Disk`], so that tests and the simulator crash it wherever they like.
//!
//! ```text
//! open ──recover──▶ running ──write or sync fails──▶ failed: refuses for good, the process exits, the next start recovers
//! ```
//!
//! Invariants: nothing acknowledged is lost; nothing is acknowledged that is not as durable as the journal promises; a sequence
//! number is never given to two acknowledged records; a reader never sees a record that is not durable; journal time never goes backwards.
//!
//! Left to others: what the payloads mean (`event_log`, `events`), which records may be shed (`event_log`), to exit when
//! [`JournalHealth::failure`] is set (`app`).

mod config;
mod disk;
pub mod edit;
mod fault;
pub mod format;
#[cfg(test)]
mod fuzz;
mod index;
mod queue;
mod reader;
mod recover;
mod segment;
mod sim_disk;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use config::{
    AppendError, ConfigError, Damage, Durability, Entry, Failure, Identity, JournalConfig, OpenError, QuotaLevel,
    Recovery, Torn,
};
pub use disk::{Disk, DiskFile, RealDisk, SharedDisk};
pub use fault::{FaultDisk, FaultPoint, FaultPointError, Faults};
pub use format::{Defect, JournalRecord, RecordView, stored_bytes};
pub use reader::{DirReader, JournalReader, ReadError, ReadLimit, Tail, read_dir};
pub use sim_disk::SimDisk;
pub use writer::{Appended, Writer};

use crate::model::WallMs;
use index::Index;
use queue::{Job, PushError, Queue};

/// Most bytes that wait in one group commit: more would make the first one wait for the last one's transfer.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one append: it is written whole, so it bounds a batch too.
pub const APPEND_BYTES_MAX: usize = 8 << 20;

/// Tells the caller of [`Journal::submit`] what became of the entries. Called on the journaller's thread: it must not block.
pub type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;
/// Reads the wall clock; given to a journal by whoever opens it.
pub type Clock = Box<dyn Fn() -> WallMs + Send + Sync>;

/// Who turns the journal's crank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// A thread of its own: group commit. For production.
    Thread,
    /// The appending caller, one append a batch. For the simulator and tests that must be deterministic.
    Inline,
}

/// An open journal. Dropping it writes what is queued and stops the thread.
pub struct Journal {
    shared: Arc<Shared>,
    drive: Driver,
    clock: Arc<dyn Fn() -> WallMs + Send + Sync>,
    // Held while the journal is open; released by the operating system however the process ends.
    _lock: Box<dyn Send + Sync>,
}

enum Driver {
    Thread(Mutex<Option<JoinHandle<()>>>),
    Inline(Box<Mutex<Writer>>),
}

/// What writer, readers and whoever asks for health share.
struct Shared {
    disk: SharedDisk,
    dir: PathBuf,
    config: JournalConfig,
    recovery: Recovery,
    index: Arc<Index>,
    queue: Queue,
    progress: Mutex<Progress>,
    /// Notified whenever `progress` changes.
    advanced: Condvar,
    batches: AtomicU64,
    refused: AtomicU64,
}

#[derive(Clone, Debug)]
struct Progress {
    durable_end: u64,
    used_bytes: u64,
    failure: Option<Failure>,
    closed: bool,
}

/// How a journal is, for health checks and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalHealth {
    /// Why it stopped for good; the process must exit and recover.
    pub failure: Option<Failure>,
    /// Damaged segments found when it was opened. They stay an alarm until an operator has dealt with them.
    pub damage: Vec<Damage>,
    /// How full its quota is.
    pub quota: QuotaLevel,
    /// Bytes that count against the quota.
    pub used_bytes: u64,
    /// The quota in bytes.
    pub quota_bytes: u64,
    /// Sequence number after the last durable record.
    pub durable_end: u64,
    /// Bytes of the entries that wait to be written.
    pub queued_bytes: usize,
    /// Group commits since it was opened.
    pub batches: u64,
    /// Appends that were refused since it was opened, for whatever reason.
    pub refused: u64,
}

impl Journal {
    /// Opens the journal in `dir`, recovering it if need be, or begins one.
    ///
    /// # Errors
    /// [`OpenError`]: the directory can't be used, another process has it, or what is in it can't be made sense of. Damaged
    /// segments are no error: see [`Journal::recovery`].
    pub fn open(
        disk: SharedDisk,
        dir: impl Into<PathBuf>,
        config: JournalConfig,
        identity: Identity,
        drive: Drive,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let dir = dir.into();
        let io = |source: io::Error| OpenError::Io { dir: dir.display().to_string(), source };
        disk.create_dir_all(&dir).map_err(io)?;
        let lock = disk.lock_dir(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => OpenError::InUse { dir: dir.display().to_string() },
            _ => io(error),
        })?;
        let (writer, recovery) = recover::open(Arc::clone(&disk), dir.clone(), config.clone(), identity)?;
        let progress =
            Progress { durable_end: writer.next_seq(), used_bytes: writer.used_bytes(), failure: None, closed: false };
        let shared = Arc::new(Shared {
            disk,
            dir: dir.clone(),
            config,
            recovery,
            index: Arc::clone(&writer.index),
            queue: Queue::default(),
            progress: Mutex::new(progress),
            advanced: Condvar::new(),
            batches: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let clock: Arc<dyn Fn() -> WallMs + Send + Sync> = Arc::from(clock);
        let drive = match drive {
            Drive::Inline => Driver::Inline(Box::new(Mutex::new(writer))),
            Drive::Thread => {
                let (shared, clock) = (Arc::clone(&shared), Arc::clone(&clock));
                let thread = std::thread::Builder::new()
                    .name("journal".to_owned())
                    .spawn(move || journal_loop(&shared, writer, &*clock))
                    .map_err(io)?;
                Driver::Thread(Mutex::new(Some(thread)))
            }
        };
        Ok(Self { shared, drive, clock, _lock: lock })
    }

    /// What was found when the journal was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// The directory of its segments.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Queues entries and returns; `done` is told the sequence number of the first of them once they are durable, or why they never
    /// will be. An append is written whole in one batch, in the order of its entries. Entries that were refused may have reached the disk all the same
    /// if the reason was [`AppendError::Failed`]: whoever asked is to ask again, and dedupe by id.
    pub fn submit(&self, entries: Vec<Entry>, done: Done) {
        self.submit_job(entries, done, Queue::push);
    }

    /// Like [`Journal::submit`], but waits for room in the queue instead of refusing with [`AppendError::QueueFull`], and for the
    /// entries to be durable. Blocks the thread: not for an async worker.
    ///
    /// # Errors
    /// [`AppendError`], but never `QueueFull`.
    pub fn append_blocking(&self, entries: Vec<Entry>) -> Result<Appended, AppendError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let done: Done = Box::new(move |result| {
            // Nobody has stopped waiting: the receiver is on the stack below.
            drop(sender.send(result));
        });
        self.submit_job(entries, done, Queue::push_when_room);
        receiver.recv().unwrap_or(Err(AppendError::Closed))
    }

    fn submit_job(
        &self,
        entries: Vec<Entry>,
        done: Done,
        push: impl FnOnce(&Queue, Job) -> Result<(), (Job, PushError)>,
    ) {
        let refuse = |done: Done, error: AppendError| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            done(Err(error));
        };
        let bytes = match Writer::measure(&self.shared.config, &entries) {
            Ok(bytes) => bytes,
            Err(error) => return refuse(done, error),
        };
        match &self.drive {
            Driver::Inline(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                if self.shared.progress().closed {
                    return refuse(done, AppendError::Closed);
                }
                let result = writer.append_batch(&entries, (self.clock)());
                self.shared.publish(&writer);
                drop(writer);
                match result {
                    Ok(appended) => done(Ok(appended)),
                    Err(error) => refuse(done, error),
                }
            }
            Driver::Thread(_) => match push(&self.shared.queue, Job { entries, bytes, done }) {
                Ok(()) => {}
                Err((job, PushError::Full)) => refuse(job.done, AppendError::QueueFull),
                Err((job, PushError::Closed)) => {
                    let error = self.shared.progress().failure.clone().map_or(AppendError::Closed, AppendError::Failed);
                    refuse(job.done, error);
                }
            },
        }
    }

    /// Sequence number after the last durable record.
    #[must_use]
    pub fn durable_end(&self) -> u64 {
        self.shared.progress().durable_end
    }

    /// Waits until there is a durable record with a sequence number of `seq` or more, the journal has stopped, or `timeout` is over.
    /// Returns [`Journal::durable_end`]. Blocks the thread.
    #[must_use]
    pub fn wait_for(&self, seq: u64, timeout: Duration) -> u64 {
        let waiting =
            |progress: &mut Progress| progress.durable_end <= seq && progress.failure.is_none() && !progress.closed;
        let (progress, _) = self
            .shared
            .advanced
            .wait_timeout_while(self.shared.progress(), timeout, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        progress.durable_end
    }

    /// How full its quota is.
    #[must_use]
    pub fn quota_level(&self) -> QuotaLevel {
        QuotaLevel::of(self.shared.progress().used_bytes, self.shared.config.quota_bytes)
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> JournalHealth {
        let progress = self.shared.progress().clone();
        JournalHealth {
            failure: progress.failure,
            damage: self.shared.recovery.damage.clone(),
            quota: QuotaLevel::of(progress.used_bytes, self.shared.config.quota_bytes),
            used_bytes: progress.used_bytes,
            quota_bytes: self.shared.config.quota_bytes,
            durable_end: progress.durable_end,
            queued_bytes: self.shared.queue.queued_bytes(),
            batches: self.shared.batches.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Reads durable records.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// Removes the segments that hold only records before `seq`; quarantined ones stay. Returns how many were removed. Nothing else ever
    /// removes a segment.
    ///
    /// # Errors
    /// What the disk says; the segments removed until then are gone.
    pub fn retain_from(&self, seq: u64) -> io::Result<usize> {
        let mut removed = 0;
        loop {
            // The first segment may go if the second one begins at or before `seq`.
            let first = self.shared.index.with(|segments| match segments.as_slice() {
                [first, second, ..] if second.first_seq <= seq && !first.file.quarantined => Some(segments.remove(0)),
                _ => None,
            });
            let Some(first) = first else { break };
            self.shared.disk.remove(&self.shared.dir.join(first.file.name()))?;
            removed += 1;
        }
        if removed > 0 {
            self.shared.disk.sync_dir(&self.shared.dir)?;
        }
        Ok(removed)
    }

    /// Writes what is queued, refuses what comes after, and returns when the thread has ended. Calling it again does nothing.
    pub fn close(&self) {
        self.shared.queue.close();
        if let Driver::Thread(thread) = &self.drive {
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                // A panic of the thread has been turned into a failure that health shows.
                drop(thread.join());
            }
        }
        self.shared.progress().closed = true;
        self.shared.advanced.notify_all();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Each change is one assignment of whole values, so a panic elsewhere leaves nothing half done.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the writer's state seen: only here do records become readable.
    fn publish(&self, writer: &Writer) {
        let mut progress = self.progress();
        progress.durable_end = writer.next_seq();
        progress.used_bytes = writer.used_bytes();
        progress.failure = writer.failure().cloned();
        drop(progress);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.advanced.notify_all();
    }
}

/// The journaller: one batch after another until the queue is closed and empty.
fn journal_loop(shared: &Shared, mut writer: Writer, clock: &(dyn Fn() -> WallMs + Send + Sync)) {
    let _ending = Ending(shared);
    let batch_bytes_max = shared.config.batch_bytes_max();
    let mut is_refusing = false;
    while let Some(batch) = shared.queue.take_batch(batch_bytes_max) {
        let result = writer.append_batch(batch.iter().flat_map(|job| &job.entries), clock());
        shared.publish(&writer);
        if let Err(error) = &result {
            shared.refused.fetch_add(batch.len() as u64, Ordering::Relaxed);
            // Said once: a journal that has failed refuses thousands a second, and they are counted.
            if !is_refusing {
                tracing::error!(dir = %shared.dir.display(), %error, appends = batch.len(), "the journal refuses batches");
            }
        }
        is_refusing = result.is_err();
        let mut first_seq = result.as_ref().map_or(0, |appended| appended.first_seq);
        for job in batch {
            let next_seq = first_seq + job.entries.len() as u64;
            (job.done)(result.clone().map(|appended| Appended { first_seq, next_seq, at: appended.at }));
            first_seq = next_seq;
        }
        if !shared.config.rest_after_batch.is_zero() {
            std::thread::sleep(shared.config.rest_after_batch);
        }
    }
}

/// Whatever ends the journaller, nobody waits for it for ever.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = io::Error::other("the journaller panicked");
            let failure = Failure::new("write", self.0.dir.display().to_string(), &error);
            self.0.progress().failure.get_or_insert(failure);
        }
        self.0.queue.close();
        self.0.queue.discard();
        self.0.progress().closed = true;
        self.0.advanced.notify_all();
    }
}
