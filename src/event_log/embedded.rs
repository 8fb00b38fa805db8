//! The embedded event log: two journals on this machine, `<data>/journal/money` and `<data>/journal/log`, each with a thread, files and a
//! queue of its own, so that the log journal never delays the money.
//!
//! One journal holds all its topics and partitions; an offset is the journal's sequence number; a partition is a filtered read.

mod shared;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::{KEY_BYTES_MAX, KIND_TOPIC_RECORD, NewRecord, StoredRecord};
use super::topic::{PartitionCounts, Topic};
use super::{AppendError, Batch, ReadError, Which};
use crate::journal::{
    self, Appended, Done, Drive, Entry, Identity, Journal, JournalConfig, JournalHealth, JournalReader, QuotaLevel,
    ReadLimit, SharedDisk, stored_bytes,
};
use crate::model::WallMs;
use shared::{Claims, Members};
pub use shared::{EmbeddedMembership, EmbeddedOwner, EmbeddedReader};

/// One read looks at no more than so many bytes of the journal, so that a read that matches nothing returns soon.
const SCAN_BYTES_MAX: usize = 16 << 20;
/// The file beside the journals that fixes the partition counts.
const PARTITIONS_FILE: &str = "partitions";
/// Longest such file, in bytes.
const PARTITIONS_FILE_BYTES_MAX: usize = 4_096;

/// The directory of the money journal.
#[must_use]
pub fn money_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal").join("money")
}

/// The directory of the log journal.
#[must_use]
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal").join("log")
}

/// Settings of the embedded log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmbeddedLogConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whose log it is.
    pub identity: Identity,
    /// Partitions; must be those that the directory was made with.
    pub partitions: PartitionCounts,
    /// The money journal.
    pub money: JournalConfig,
    /// The log journal.
    pub log: JournalConfig,
    /// Who writes.
    pub drive: Drive,
}

impl EmbeddedLogConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, identity: Identity) -> Self {
        Self {
            data_dir: data_dir.into(),
            identity,
            partitions: PartitionCounts::default(),
            money: JournalConfig::money(),
            log: JournalConfig::log(),
            drive: Drive::Thread,
        }
    }
}

/// Why the log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A journal can't be opened.
    #[error("could not open the {journal} journal")]
    Journal {
        /// Which.
        journal: &'static str,
        /// Why.
        source: journal::OpenError,
    },
    /// The file with the partition counts can't be read or written.
    #[error("could not read or write {file}")]
    Partitions {
        /// The file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The configured count is another one than the directory was made with.
    #[error("{topic} has {recorded} partitions in this data directory, not {configured}: the count can't be changed")]
    PartitionsChanged {
        /// The topic.
        topic: Topic,
        /// The count that the directory was made with.
        recorded: u32,
        /// The count configured now.
        configured: u32,
    },
}

/// How the log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventLogHealth {
    /// The money journal.
    pub money: JournalHealth,
    /// The log journal.
    pub log: JournalHealth,
    /// Records of log topics that were shed since the start.
    pub shed_records: u64,
}

impl EventLogHealth {
    /// Whether a journal has stopped for good: the process must say so and exit.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.money.failure.is_some() || self.log.failure.is_some()
    }

    /// Whether paid ads may be decided, or only log records are to be shed, or all is well: what the money journal's quota says.
    #[must_use]
    pub const fn quota(&self) -> QuotaLevel {
        self.money.quota
    }
}

/// One journal and its reader.
struct Half {
    journal: Journal,
    reader: JournalReader,
    /// Most bytes of one piece of an append that is cut, as stored.
    piece_bytes_max: usize,
}

/// The embedded log. See [`super::EventLog`], which is how the rest of the program sees it.
pub struct EmbeddedLog {
    partitions: PartitionCounts,
    money: Half,
    log: Half,
    /// Shared with the acknowledgements of offers, which count what the journal refuses.
    shed_records: Arc<AtomicU64>,
    disk: SharedDisk,
    /// Where the journals lie.
    dir: PathBuf,
    claims: Claims,
    members: Members,
}

impl EmbeddedLog {
    /// Opens the log in a data directory, or begins one. `clock` reads the wall clock.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        config: &EmbeddedLogConfig,
        disk: &SharedDisk,
        clock: impl Fn() -> WallMs + Send + Sync + Clone + 'static,
    ) -> Result<Self, OpenError> {
        let dir = config.data_dir.join("journal");
        fix_partitions(disk, &dir, &config.partitions)?;
        let open = |name: &'static str, dir: PathBuf, journal: &JournalConfig| {
            let clock = Box::new(clock.clone());
            Journal::open(SharedDisk::clone(disk), dir, journal.clone(), config.identity, config.drive, clock)
                .map(|opened| Half {
                    reader: opened.reader(),
                    journal: opened,
                    // A batch's size: a beacon that comes meanwhile waits behind no more than it does behind others.
                    piece_bytes_max: journal.batch_bytes_max(),
                })
                .map_err(|source| OpenError::Journal { journal: name, source })
        };
        Ok(Self {
            partitions: config.partitions,
            money: open("money", money_dir(&config.data_dir), &config.money)?,
            log: open("log", log_dir(&config.data_dir), &config.log)?,
            shed_records: Arc::new(AtomicU64::new(0)),
            disk: SharedDisk::clone(disk),
            dir,
            claims: Claims::default(),
            members: Members::default(),
        })
    }

    fn half(&self, topic: Topic) -> &Half {
        if topic.is_money() { &self.money } else { &self.log }
    }

    /// The journal of the money topics.
    #[must_use]
    pub const fn money_journal(&self) -> &Journal {
        &self.money.journal
    }

    /// The journal of the log topics.
    #[must_use]
    pub const fn log_journal(&self) -> &Journal {
        &self.log.journal
    }

    fn entries(&self, records: Vec<NewRecord>) -> Result<(&Half, Vec<Entry>), AppendError> {
        let Some(first) = records.first() else { return Ok((&self.money, Vec::new())) };
        let (half, is_money) = (self.half(first.topic), first.topic.is_money());
        let mut entries = Vec::with_capacity(records.len());
        for NewRecord { topic, key, payload } in records {
            if topic.is_money() != is_money {
                return Err(AppendError::Mixed);
            }
            if key.len() > KEY_BYTES_MAX {
                return Err(AppendError::KeyTooLong { bytes: key.len() });
            }
            let partition = self.partitions.partition(topic, &key);
            let payload = StoredRecord { topic, partition, key: &key, payload: &payload }.encode();
            entries.push(Entry { kind: KIND_TOPIC_RECORD, payload });
        }
        Ok((half, entries))
    }

    /// See [`super::EventLog::append`].
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        let (half, entries) = self.entries(records)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A caller that has gone away no longer wants to know.
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        half.journal.submit(entries, done);
        let appended = receiver.await.unwrap_or(Err(journal::AppendError::Closed))?;
        Ok(offsets(&appended))
    }

    /// See [`super::EventLog::append_blocking`]. What the journal could not write at once is written in pieces, one after the other.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_blocking(&self, records: Vec<NewRecord>) -> Result<Vec<u64>, AppendError> {
        let (half, entries) = self.entries(records)?;
        let mut appended = Vec::with_capacity(entries.len());
        for piece in pieces(entries, half.piece_bytes_max) {
            appended.extend(offsets(&half.journal.append_blocking(piece)?));
        }
        Ok(appended)
    }

    /// See [`super::EventLog::submit`].
    pub fn submit(&self, records: &[NewRecord], done: impl FnOnce(Result<(), AppendError>) + Send + 'static) {
        match self.entries(records.to_vec()) {
            Ok((half, entries)) => half
                .journal
                .submit(entries, Box::new(move |result| done(result.map(|_| ()).map_err(AppendError::from)))),
            Err(error) => done(Err(error)),
        }
    }

    /// See [`super::EventLog::offer`].
    pub fn offer(&self, records: Vec<NewRecord>) {
        assert!(records.iter().all(|record| !record.topic.is_money()), "a record of a money topic is never shed");
        let count = records.len() as u64;
        let shed = Arc::clone(&self.shed_records);
        // Counted for people to read; orders nothing.
        let count_shed = move || {
            shed.fetch_add(count, Ordering::Relaxed);
        };
        if self.money.journal.quota_level() >= QuotaLevel::ShedLog {
            return count_shed();
        }
        match self.entries(records) {
            Ok((half, entries)) => half.journal.submit(
                entries,
                Box::new(move |result| {
                    if result.is_err() {
                        count_shed();
                    }
                }),
            ),
            Err(_) => count_shed(),
        }
    }

    /// See [`super::EventLog::read`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        topic: Topic,
        partition: Option<u32>,
        from_offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, ReadError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut malformed = None;
        let limit = ReadLimit { scan_bytes: SCAN_BYTES_MAX };
        let next_offset = self.half(topic).reader.read(from_offset, limit, |view| {
            let stored = match StoredRecord::decode(view.kind, view.payload) {
                Ok(stored) => stored,
                Err(error) => {
                    malformed = Some((view.seq, error));
                    return ControlFlow::Break(());
                }
            };
            if stored.topic != topic || partition.is_some_and(|partition| partition != stored.partition) {
                return ControlFlow::Continue(());
            }
            bytes += stored.key.len() + stored.payload.len();
            if records.len() >= max_records || (bytes > max_bytes && !records.is_empty()) {
                return ControlFlow::Break(());
            }
            records.push(stored.to_record(view.seq, view.at));
            ControlFlow::Continue(())
        })?;
        match malformed {
            // What was read before it is good; the next read begins with it and says so.
            Some((offset, source)) if records.is_empty() => Err(ReadError::Record { offset, source }),
            _ => Ok(Batch { records, next_offset }),
        }
    }

    /// The records of a journal, of all its topics, from one sequence number on and before another; and where the next read begins. Returns early when
    /// `max_bytes` of keys and payloads are passed, but always with a record where there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_journal(
        &self,
        which: Which,
        from: u64,
        until: u64,
        max_bytes: usize,
    ) -> Result<(Vec<NewRecord>, u64), ReadError> {
        let half = match which {
            Which::Money => &self.money,
            Which::Log => &self.log,
        };
        let (mut records, mut bytes, mut malformed) = (Vec::new(), 0, None);
        let next = half.reader.read(from, ReadLimit { scan_bytes: SCAN_BYTES_MAX }, |view| {
            if view.seq >= until || bytes >= max_bytes {
                return ControlFlow::Break(());
            }
            match StoredRecord::decode(view.kind, view.payload) {
                Ok(StoredRecord { topic, key, payload, .. }) => {
                    bytes += key.len() + payload.len();
                    records.push(NewRecord { topic, key: key.to_vec(), payload: payload.to_vec() });
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    malformed = Some((view.seq, error));
                    ControlFlow::Break(())
                }
            }
        })?;
        match malformed {
            Some((offset, source)) if records.is_empty() => Err(ReadError::Record { offset, source }),
            _ => Ok((records, next.min(until))),
        }
    }

    /// When the first record of a journal from a sequence number on was journalled; none where none is there, or it can't be read.
    #[must_use]
    pub fn stamp(&self, which: Which, from: u64) -> Option<WallMs> {
        let half = match which {
            Which::Money => &self.money,
            Which::Log => &self.log,
        };
        let mut stamp = None;
        // What can't be read is told by who ships it.
        let _ = half.reader.read(from, ReadLimit { scan_bytes: SCAN_BYTES_MAX }, |view| {
            stamp = Some(view.at);
            ControlFlow::Break(())
        });
        stamp
    }

    /// See [`super::EventLog::wait_beyond`].
    #[must_use]
    pub fn wait_beyond(&self, topic: Topic, offset: u64, timeout: Duration) -> u64 {
        self.half(topic).journal.wait_for(offset, timeout)
    }

    /// See [`super::EventLog::durable_end`].
    #[must_use]
    pub fn durable_end(&self, topic: Topic) -> u64 {
        self.half(topic).journal.durable_end()
    }

    /// How many partitions each topic has.
    #[must_use]
    pub const fn partitions(&self) -> &PartitionCounts {
        &self.partitions
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> EventLogHealth {
        EventLogHealth {
            money: self.money.journal.health(),
            log: self.log.journal.health(),
            shed_records: self.shed_records.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued and refuses what comes after.
    pub fn close(&self) {
        self.money.journal.close();
        self.log.journal.close();
    }
}

fn offsets(appended: &Appended) -> Vec<u64> {
    (appended.first_seq..appended.next_seq).collect()
}

/// Cuts entries into pieces of so many bytes at most, as stored. An entry that is larger is a piece of its own: whether it can be is the journal's to say.
fn pieces(entries: Vec<Entry>, bytes_max: usize) -> Vec<Vec<Entry>> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let its = stored_bytes(entry.payload.len());
        if bytes + its > bytes_max && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += its;
        piece.push(entry);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Records the partition counts of a new data directory, or checks that they are still the same. A topic that is new to the
/// directory is added.
fn fix_partitions(disk: &SharedDisk, dir: &Path, configured: &PartitionCounts) -> Result<(), OpenError> {
    let path = dir.join(PARTITIONS_FILE);
    let failed = |source: io::Error| OpenError::Partitions { file: path.display().to_string(), source };
    disk.create_dir_all(dir).map_err(failed)?;
    let recorded = match read_partitions(disk, &path) {
        Ok(recorded) => recorded,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    for &(topic, count) in &recorded {
        if count != configured.of(topic) {
            let configured = configured.of(topic);
            return Err(OpenError::PartitionsChanged { topic, recorded: count, configured });
        }
    }
    if recorded.len() == Topic::ALL.len() {
        return Ok(());
    }
    let text: String = Topic::ALL.map(|topic| format!("{topic} {}\n", configured.of(topic))).concat();
    let unfinished = dir.join(format!("{PARTITIONS_FILE}.tmp"));
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = disk.create(&unfinished).map_err(failed)?;
    file.write_at(text.as_bytes(), 0).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    disk.rename(&unfinished, &path).map_err(failed)?;
    disk.sync_dir(dir).map_err(failed)
}

/// A file of partition counts, and what it says.
type RecordedPartitions = (PathBuf, Vec<(Topic, u32)>);

/// The partition counts that a data directory was made with, and the file that says so.
///
/// # Errors
/// The file, and what the disk says or why it can't be understood.
pub fn recorded_partitions(disk: &SharedDisk, data_dir: &Path) -> Result<RecordedPartitions, (PathBuf, io::Error)> {
    let path = data_dir.join("journal").join(PARTITIONS_FILE);
    match read_partitions(disk, &path) {
        Ok(recorded) => Ok((path, recorded)),
        Err(error) => Err((path, error)),
    }
}

fn read_partitions(disk: &SharedDisk, path: &Path) -> io::Result<Vec<(Topic, u32)>> {
    let file = disk.open_read(path)?;
    let mut bytes = vec![0; PARTITIONS_FILE_BYTES_MAX];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    parse_partitions(&bytes)
}

fn parse_partitions(bytes: &[u8]) -> io::Result<Vec<(Topic, u32)>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    let parse = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.parse().ok()?, count.parse().ok()?))
    };
    text.lines().map(|line| parse(line).ok_or_else(|| invalid(format!("{line:?} is no partition count")))).collect()
}
