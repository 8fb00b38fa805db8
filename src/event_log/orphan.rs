//! The money journal of a server that will not come back: shipped by hand into the log of another.
//!
//! Records keep what they say (server, boot, receive time, ids), so whoever reads the log can't tell by what way they came, and drops by id what came
//! twice. How far the journal was shipped is kept beside the target's journals ([`shipped_file`]): a second run ships nothing, and one after a
//! crash goes on from the last acknowledged records (INV-36, [`super::Shipper`]).
//!
//! Left to others: that no server runs on either directory, and the register of servers (`cli`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{NewRecord, RecordError, StoredRecord};
use super::shipper::{CheckpointError, CheckpointFile, Shipment, Shipper, ShipperInput, ShipperSettings};
use super::{AppendError, EventLog};
use crate::journal::{DirReader, Identity, JournalRecord, ReadError, SharedDisk, read_dir};
use crate::model::{MonotonicMs, ServerId};

/// Most bytes in one append: it is written whole into one segment, and a megabyte is as fast as more.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// What a record takes in a segment beside key and payload, with room.
const RECORD_OVERHEAD_BYTES: usize = 128;
/// One shipment after the other, each kept as shipped at once: the disk is the bound, not the way there.
const SETTINGS: ShipperSettings = ShipperSettings {
    records_max: 1_000,
    in_flight_max: 1,
    timeout_ms: u64::MAX,
    retry_ms: u64::MAX,
    retry_max_ms: u64::MAX,
    checkpoint_ms: 0,
};

/// Where a data directory keeps how far it has shipped other servers' journals: a file of each.
#[must_use]
pub fn shipped_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal").join("shipped")
}

/// Where a data directory keeps how far it has shipped another server's journal.
#[must_use]
pub fn shipped_file(data_dir: &Path, server_id: ServerId) -> PathBuf {
    shipped_dir(data_dir).join(server_id.to_string())
}

/// Why an orphan's journal can't be shipped to its end. What was shipped until then is, and the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// Its files can't be read.
    #[error("can't read the orphan's journal")]
    Read(#[source] ReadError),
    /// No server has written there.
    #[error("there is no journal in {0}")]
    Empty(String),
    /// A record is whole and not understood: written by a later version.
    #[error("record {seq} of the orphan's journal can't be understood")]
    Record {
        /// Its sequence number.
        seq: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The target's log refuses.
    #[error("can't append to the log")]
    Append(#[source] AppendError),
    /// The checkpoint can't be read or kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// What is in an orphan's journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrphanSurvey {
    /// The server that wrote it, and its last run.
    pub identity: Identity,
    /// Sequence number after the last whole record.
    pub end: u64,
    /// Whole records.
    pub records: u64,
    /// Damage, named by file and place. What is whole is shipped all the same.
    pub damage: Vec<String>,
}

/// What a run has shipped.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shipped {
    /// Records appended to the log.
    pub records: u64,
    /// Sequence number before which everything had been shipped by earlier runs.
    pub from: u64,
    /// Sequence number before which everything is shipped now.
    pub until: u64,
}

/// A stopped server's money journal.
pub struct Orphan {
    disk: SharedDisk,
    dir: PathBuf,
}

impl std::fmt::Debug for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orphan").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Orphan {
    /// The journal in `dir`, which no server has open.
    #[must_use]
    pub const fn new(disk: SharedDisk, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// Reads all of it once.
    ///
    /// # Errors
    /// [`OrphanError`] when there is none, or the disk can't be read.
    pub fn survey(&self) -> Result<OrphanSurvey, OrphanError> {
        let mut reader = self.reader()?;
        let (mut end, mut records, mut damage) = (0, 0, Vec::new());
        for read in reader.by_ref() {
            match read {
                Ok(record) => {
                    records += 1;
                    end = record.seq + 1;
                }
                Err(error @ ReadError::Io { .. }) => return Err(OrphanError::Read(error)),
                Err(error) => damage.push(error.to_string()),
            }
        }
        let identity = reader.identity().ok_or_else(|| OrphanError::Empty(self.dir.display().to_string()))?;
        Ok(OrphanSurvey { identity, end, records, damage })
    }

    /// Appends to `log`, whose segments have `segment_bytes`, what `checkpoint` doesn't cover, up to `end`. When this returns, all of it is durable
    /// there and the checkpoint says so.
    ///
    /// # Errors
    /// [`OrphanError`].
    pub fn ship(
        &self,
        end: u64,
        (log, segment_bytes): (&EventLog, u32),
        checkpoint: &mut CheckpointFile,
    ) -> Result<Shipped, OrphanError> {
        // Nothing here waits for time to pass: an append answers or fails.
        let now = MonotonicMs(0);
        let from = checkpoint.checkpoint();
        let mut shipper = Shipper::resume(SETTINGS, from, now);
        let mut shipped = Shipped { records: 0, from, until: from };
        // Half a segment: an append that doesn't fit into what is left of one begins the next.
        let append_bytes =
            usize::try_from(segment_bytes / 2).map_or(APPEND_BYTES_MAX, |half| half.min(APPEND_BYTES_MAX));
        let mut source = Source { reader: self.reader()?, ahead: None, append_bytes };
        loop {
            let sends = shipper.step(ShipperInput::Tail(end), now).send;
            if sends.is_empty() {
                return Ok(shipped);
            }
            for shipment in sends {
                shipped.records += source.send(shipment, log)?;
                let effects = shipper.step(ShipperInput::Acknowledged(shipment.ticket), now);
                if let Some(done) = effects.checkpoint {
                    checkpoint.keep(done)?;
                    shipped.until = done;
                }
            }
        }
    }

    fn reader(&self) -> Result<DirReader, OrphanError> {
        read_dir(Arc::clone(&self.disk), &self.dir).map_err(OrphanError::Read)
    }
}

/// The journal's records, read once from the first to the last.
struct Source {
    reader: DirReader,
    /// Read, and of a later shipment.
    ahead: Option<JournalRecord>,
    append_bytes: usize,
}

impl Source {
    /// Appends the records of a shipment; returns how many there are.
    fn send(&mut self, shipment: Shipment, log: &EventLog) -> Result<u64, OrphanError> {
        let (mut sent, mut piece, mut bytes) = (0, Vec::new(), 0);
        while let Some(record) = self.next_before(shipment.until)? {
            if record.seq < shipment.from {
                continue;
            }
            let stored = StoredRecord::decode(record.kind, &record.payload)
                .map_err(|source| OrphanError::Record { seq: record.seq, source })?;
            let size = stored.key.len() + stored.payload.len() + RECORD_OVERHEAD_BYTES;
            if bytes + size > self.append_bytes {
                sent += append(std::mem::take(&mut piece), log)?;
                bytes = 0;
            }
            bytes += size;
            let (key, payload) = (stored.key.to_vec(), stored.payload.to_vec());
            piece.push(NewRecord { topic: stored.topic, key, payload });
        }
        Ok(sent + append(piece, log)?)
    }

    fn next_before(&mut self, until: u64) -> Result<Option<JournalRecord>, OrphanError> {
        loop {
            let record = match self.ahead.take() {
                Some(record) => record,
                None => match self.reader.next() {
                    None => return Ok(None),
                    Some(Ok(record)) => record,
                    Some(Err(error @ ReadError::Io { .. })) => return Err(OrphanError::Read(error)),
                    // Damage was named by the survey; what comes behind it counts.
                    Some(Err(_)) => continue,
                },
            };
            if record.seq < until {
                return Ok(Some(record));
            }
            self.ahead = Some(record);
            return Ok(None);
        }
    }
}

fn append(records: Vec<NewRecord>, log: &EventLog) -> Result<u64, OrphanError> {
    if records.is_empty() {
        return Ok(0);
    }
    log.append_blocking(records).map(|offsets| offsets.len() as u64).map_err(OrphanError::Append)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event_log::{EmbeddedLog, EmbeddedLogConfig, Topic, money_dir};
    use crate::journal::{Drive, JournalConfig, SimDisk};
    use crate::model::{BootId, WallMs};

    const ORPHAN: &str = "/orphan";
    const TARGET: &str = "/target";
    const SEGMENT_BYTES: u32 = 64 << 10;

    fn identity(n: u128) -> Identity {
        Identity { server: ServerId::from_u128(n), boot: BootId::from_u128(n) }
    }

    fn open(disk: &SimDisk, dir: &str, n: u128) -> Option<EventLog> {
        let money = JournalConfig { segment_bytes: SEGMENT_BYTES, ..JournalConfig::money() };
        let log = JournalConfig { segment_bytes: SEGMENT_BYTES, ..JournalConfig::log() };
        let config = EmbeddedLogConfig { money, log, drive: Drive::Inline, ..EmbeddedLogConfig::new(dir, identity(n)) };
        let log = EmbeddedLog::open(&config, &disk.shared(), || WallMs(7)).ok()?;
        Some(EventLog::Embedded(Arc::new(log)))
    }

    fn record(n: u32) -> NewRecord {
        let payload = n.to_be_bytes().repeat(64);
        NewRecord { topic: Topic::Events, key: n.to_le_bytes().to_vec(), payload }
    }

    fn fill(disk: &SimDisk, count: u32) {
        let log = open(disk, ORPHAN, 1).expect("opens");
        for n in 0..count {
            log.append_blocking(vec![record(n)]).expect("appends");
        }
    }

    fn orphan(disk: &SimDisk) -> Orphan {
        Orphan::new(disk.shared(), money_dir(Path::new(ORPHAN)))
    }

    /// One run of the command; fails where the disk does.
    fn run(disk: &SimDisk) -> Option<Shipped> {
        let survey = orphan(disk).survey().ok()?;
        assert_eq!(survey.identity, identity(1));
        let log = open(disk, TARGET, 2)?;
        let file = shipped_file(Path::new(TARGET), survey.identity.server);
        disk.shared().create_dir_all(file.parent().expect("it has one")).ok()?;
        let mut checkpoint = CheckpointFile::open(&*disk.shared(), &file).ok()?;
        orphan(disk).ship(survey.end, (&log, SEGMENT_BYTES), &mut checkpoint).ok()
    }

    fn counts(disk: &SimDisk) -> BTreeMap<Vec<u8>, u32> {
        let log = open(disk, TARGET, 2).expect("opens");
        let mut counts = BTreeMap::new();
        let mut from = 0;
        loop {
            let batch = log.read(Topic::Events, None, from, 10_000, usize::MAX).expect("reads");
            if batch.next_offset == from {
                return counts;
            }
            from = batch.next_offset;
            for read in batch.records {
                *counts.entry(read.payload).or_default() += 1;
            }
        }
    }

    #[test]
    fn a_second_run_ships_nothing_and_a_journal_that_grew_its_end() {
        let disk = SimDisk::new();
        fill(&disk, 2_500);
        assert_eq!(run(&disk), Some(Shipped { records: 2_500, from: 0, until: 2_500 }));
        assert_eq!(run(&disk), Some(Shipped { records: 0, from: 2_500, until: 2_500 }));
        fill(&disk, 10);
        assert_eq!(run(&disk).map(|shipped| shipped.records), Some(10));
        assert!(counts(&disk).values().all(|count| (1..=2).contains(count)));
    }

    #[test]
    fn nothing_is_there_to_ship_where_no_server_was() {
        let disk = SimDisk::new();
        disk.shared().create_dir_all(&money_dir(Path::new(ORPHAN))).expect("makes it");
        assert!(matches!(orphan(&disk).survey(), Err(OrphanError::Empty(_))));
    }

    // INV-36, over the disk: power fails at every some-hundredth operation, and what was not synced is gone.
    #[test]
    fn whatever_crashes_every_record_arrives_and_few_arrive_twice() {
        const RECORDS: u32 = 1_500;
        let (mut crashes, mut doubled) = (0, 0);
        for seed in 0..6 {
            let disk = SimDisk::new();
            fill(&disk, RECORDS);
            disk.crash(seed);
            let mut die_after = 8 + seed;
            let shipped = loop {
                disk.die_after(die_after);
                let shipped = run(&disk);
                disk.crash(seed + die_after);
                if shipped.is_some() {
                    break shipped;
                }
                crashes += 1;
                assert!(crashes < 1_000, "SEED={seed}: it gets nowhere");
                die_after += 5;
            };
            assert_eq!(shipped.map(|shipped| shipped.until), Some(u64::from(RECORDS)), "SEED={seed}");
            assert_eq!(run(&disk).map(|shipped| shipped.records), Some(0), "SEED={seed}: all of it was acknowledged");
            let counts = counts(&disk);
            assert_eq!(counts.len(), RECORDS as usize, "SEED={seed}: INV-36: a record is missing");
            doubled += counts.values().filter(|count| **count > 1).count();
        }
        assert!(crashes > 12, "{crashes} crashes, {doubled} records twice");
    }
}
