//! What an audit reads: the journals' files, the store's, and a copy of the store.
//!
//! What is wrong with a file is a difference that names it, never an end of the audit, be it an error or a panic of the database
//! library: a file that was changed may say anything, and whoever audits wants to know of the rest too.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::accounting::audit::{AuditRecord, AuditReport, LedgerRows};
use crate::accounting::record_digest;
use crate::event_log::{
    CheckpointFile, PartitionCounts, StoredRecord, Topic, log_dir, money_dir, recorded_partitions, shipped_dir,
};
use crate::events;
use crate::journal::{JournalRecord, RealDisk, SharedDisk, Tail, read_dir};
use crate::model::WallMs;
use crate::store::{CheckedStore, DeliveryRange, EmbeddedLedger, Flaw, StoreCopy, StoreError, check_store};

/// The records of the money journal that an audit looks at.
#[derive(Default)]
pub(super) struct Log {
    /// Of `segue.events`.
    pub(super) events: Vec<AuditRecord>,
    /// Of `segue.ledger`.
    pub(super) ledger: Vec<AuditRecord>,
}

/// The disk of this machine.
pub(super) fn disk() -> SharedDisk {
    Arc::new(RealDisk)
}

/// Keeps servers from the data directory while it is looked at.
///
/// # Errors
/// In words, when it is none or a server is running.
pub(crate) fn lock(data_dir: &Path) -> anyhow::Result<Box<dyn Send + Sync>> {
    let dir = money_dir(data_dir);
    if !dir.is_dir() || !data_dir.join("store").is_dir() {
        bail!("{} is not a data directory of segue: it has no journal and store", data_dir.display());
    }
    disk().lock_dir(&dir).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => anyhow::anyhow!(
            "a server is running on {}: it holds the lock {}; stop it first",
            data_dir.display(),
            dir.join("LOCK").display()
        ),
        _ => anyhow::Error::new(error).context(format!("locking {}", dir.display())),
    })
}

/// Reads both journals: the records of money, and of the other one only whether it is whole.
pub(super) fn read_journals(data_dir: &Path, report: &mut AuditReport) -> anyhow::Result<Log> {
    let mut log = Log::default();
    let mut take = |record: &JournalRecord, file: &Arc<str>, report: &mut AuditReport| {
        understood(record, file, &mut log, report);
    };
    read_journal(&money_dir(data_dir), report, &mut take).context("reading the money journal")?;
    if log_dir(data_dir).is_dir() {
        read_journal(&log_dir(data_dir), report, &mut |_, _, _| {}).context("reading the log journal")?;
    }
    partitions(data_dir, report);
    shipped(data_dir, report);
    Ok(log)
}

type Take<'t> = &'t mut dyn FnMut(&JournalRecord, &Arc<str>, &mut AuditReport);

fn read_journal(dir: &Path, report: &mut AuditReport, take: Take<'_>) -> anyhow::Result<()> {
    let mut reader = read_dir(disk(), dir)?;
    let (mut segment, mut file) = (None, Arc::from(dir.display().to_string()));
    while let Some(record) = reader.next() {
        match record {
            Ok(record) => {
                if segment != reader.segment_number() {
                    segment = reader.segment_number();
                    file = reader.segment_path().map_or(file, |path| Arc::from(path.display().to_string()));
                }
                take(&record, &file, report);
            }
            Err(error) => {
                let place = error.place().unwrap_or_else(|| dir.display().to_string());
                report.differs("journal_whole", place, "whole records in sequence", error);
            }
        }
    }
    if let Tail::Torn(torn) = reader.tail() {
        // The next start cuts it off; whether it was acknowledged nobody can tell from here.
        let place = format!("{} offset {}", torn.file, torn.offset);
        let found =
            format!("{} bytes that are no record: a torn write, or a changed byte: {}", torn.bytes, torn.defect);
        report.differs("journal_tail", place, "whole records, and nothing behind them", found);
    }
    Ok(())
}

fn understood(record: &JournalRecord, file: &Arc<str>, log: &mut Log, report: &mut AuditReport) {
    let place = || format!("{file} record {}", record.seq);
    let stored = match StoredRecord::decode(record.kind, &record.payload) {
        Ok(stored) => stored,
        Err(error) => return report.differs("record_understood", place(), "a record of a topic", error),
    };
    let records = match stored.topic {
        Topic::Events => &mut log.events,
        Topic::Ledger => &mut log.ledger,
        Topic::Engagement
        | Topic::Leases
        | Topic::Delivery
        | Topic::Catalog
        | Topic::Decisions
        | Topic::Listening
        | Topic::DeadLetter
        | Topic::Servers => return,
    };
    let envelope = events::decode(stored.payload).map_err(|error| error.to_string());
    if let Ok(envelope) = &envelope
        && *envelope.body.key() != *stored.key
    {
        report.differs("record_key", place(), "the key of what it says", "another key");
    }
    records.push(AuditRecord {
        file: Arc::clone(file),
        offset: record.seq,
        digest: record_digest(stored.payload),
        envelope,
    });
}

/// The partition counts beside the journals: fixed for ever, and these.
fn partitions(data_dir: &Path, report: &mut AuditReport) {
    let counts = PartitionCounts::default();
    let expected: Vec<_> = Topic::ALL.iter().map(|topic| (*topic, counts.of(*topic))).collect();
    match recorded_partitions(&disk(), data_dir) {
        Ok((_, found)) if found == expected => {}
        Ok((path, found)) => {
            report.differs("partition_counts", path.display(), format!("{expected:?}"), format!("{found:?}"));
        }
        Err((path, error)) => report.differs("partition_counts", path.display(), "the counts of all topics", error),
    }
}

/// How far other servers' journals were shipped into this log.
fn shipped(data_dir: &Path, report: &mut AuditReport) {
    let dir = shipped_dir(data_dir);
    let names = match disk().list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return report.differs("shipped_checkpoint", dir.display(), "a folder that can be listed", error),
    };
    for path in names.iter().map(|name| dir.join(name)) {
        let found = CheckpointFile::flaw(&*disk(), &path).unwrap_or_else(|error| Some(error.to_string()));
        if let Some(found) = found {
            let expected = "two checkpoints, the second made right behind the first";
            report.differs("shipped_checkpoint", path.display(), expected, found);
        }
    }
}

/// The ledger's rows from a copy of the store, once every file of it was looked at and every row of every keyspace was read. None when it can't be
/// read: the report says why.
pub(super) fn read_store(data_dir: &Path, report: &mut AuditReport) -> Option<LedgerRows> {
    let place = data_dir.join("store");
    let folder = data_dir.to_owned();
    let mut checked = check_store(data_dir);
    for Flaw { place, expected, found } in std::mem::take(&mut checked.flaws) {
        report.differs("store_whole", place, expected, found);
    }
    if !checked.can_be_opened {
        return None;
    }
    // On a thread of its own, whose panic is an answer: the library asserts what it expects of its files.
    let reading = std::thread::Builder::new().name("store".to_owned()).spawn(move || rows(&folder, &checked));
    let read = match reading.map(std::thread::JoinHandle::join) {
        Ok(Ok(read)) => read.map_err(|error| format!("{:#}", anyhow::Error::new(error))),
        Ok(Err(panic)) => Err(format!("the database stopped: {}", panic_text(&*panic))),
        Err(error) => Err(format!("no thread to read it: {error}")),
    };
    match read {
        Ok(read) => {
            for (check, Flaw { place, expected, found }) in read.flaws {
                report.differs(check, place, expected, found);
            }
            Some(read.ledger)
        }
        Err(error) => {
            report.differs("store_whole", place.display(), "a database whose rows can be read", error);
            None
        }
    }
}

/// What the copy of the store holds.
struct Read {
    ledger: LedgerRows,
    /// Rows that are not what they must be, by check.
    flaws: Vec<(&'static str, Flaw)>,
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

fn rows(data_dir: &Path, checked: &CheckedStore) -> Result<Read, StoreError> {
    let copy = StoreCopy::of(data_dir, checked)?;
    copy.read_all()?;
    let set_back = copy.not_last(checked)?.into_iter().map(|flaw| ("store_row_is_last", flaw));
    let catalog = copy.catalog()?.check()?.into_iter().map(|flaw| ("catalog_is_its_history", flaw));
    let flaws = set_back.chain(catalog).collect();
    Ok(Read { ledger: ledger_rows(&copy.ledger()?)?, flaws })
}

fn ledger_rows(store: &EmbeddedLedger) -> Result<LedgerRows, StoreError> {
    let (cursor, log_time, chain) = store.cursor()?;
    let mut leases = store.remembered_leases()?;
    leases.extend(store.past_leases()?);
    let all = DeliveryRange { line_item_id: None, from: WallMs(i64::MIN), to: WallMs(i64::MAX) };
    Ok(LedgerRows {
        cursor,
        chain,
        log_time,
        seals: store.seals()?,
        balances: store.balances()?,
        leases,
        delivery: store.delivery(all, usize::MAX)?,
        reversals: store.reversals()?,
        loose: store.loose()?,
        entries: store.entries()?,
        checkpoints: store.checkpoints()?,
        sums: store.sums()?,
    })
}
