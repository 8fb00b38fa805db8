//! `segue audit`: recounts the event log of a stopped server and compares it with the ledger.
//!
//! It reads the journal's files and the store, changes nothing, and shares no counting with accounting (`accounting::audit`).

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{ConfigOptions, Exit, Failure, print};
use crate::accounting::audit::{AuditRecord, AuditReport, LedgerRows, audit};
use crate::accounting::record_digest;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::event_log::{StoredRecord, Topic, money_dir};
use crate::events;
use crate::journal::{JournalRecord, RealDisk, SharedDisk, read_dir};
use crate::model::WallMs;
use crate::store::{DeliveryRange, LedgerStore, Store};

/// Arguments of `segue audit`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs `segue audit`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let report = audit_dir(&config.data_dir)?;
    let text = if args.json { json(&report)? } else { table(&report) };
    print(&text)?;
    Ok(if report.is_balanced() { Exit::Ok } else { Exit::Difference })
}

/// Audits a data directory that no server has open.
pub(crate) fn audit_dir(data_dir: &Path) -> anyhow::Result<AuditReport> {
    let dir = money_dir(data_dir);
    if !dir.is_dir() || !data_dir.join("store").is_dir() {
        bail!("{} is not a data directory of segue: it has no journal and store", data_dir.display());
    }
    let disk: SharedDisk = Arc::new(RealDisk);
    let _lock = disk.lock_dir(&dir).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => anyhow::anyhow!(
            "a server is running on {}: it holds the lock {}; stop it before the audit",
            data_dir.display(),
            dir.join("LOCK").display()
        ),
        _ => anyhow::Error::new(error).context(format!("locking {}", dir.display())),
    })?;
    let mut report = AuditReport::default();
    let records = read_log(&disk, &dir, &mut report)?;
    let store = Store::open(data_dir, Clock::real().now().wall, &Entropy::real()).context("opening the store")?;
    let ledger = read_ledger(&store.ledger().context("opening the ledger")?).context("reading the ledger")?;
    Ok(audit(&records, &ledger, report))
}

/// The records of `segue.events`. What is wrong with the files is a difference; reading goes on behind it.
fn read_log(disk: &SharedDisk, dir: &Path, report: &mut AuditReport) -> anyhow::Result<Vec<AuditRecord>> {
    let mut records = Vec::new();
    let mut reader = read_dir(Arc::clone(disk), dir).context("reading the money journal")?;
    let (mut segment, mut file) = (None, Arc::from(dir.display().to_string()));
    while let Some(record) = reader.next() {
        if segment != reader.segment_number() {
            segment = reader.segment_number();
            file = Arc::from(format!("{} segment {}", dir.display(), segment.unwrap_or(0)));
        }
        match record {
            Ok(record) => records.extend(understood(&record, &file, report)),
            Err(error) => report.differs("journal_whole", &file, "whole records in sequence", error),
        }
    }
    Ok(records)
}

fn understood(record: &JournalRecord, file: &Arc<str>, report: &mut AuditReport) -> Option<AuditRecord> {
    let place = || format!("{file} record {}", record.seq);
    let stored = match StoredRecord::decode(record.kind, &record.payload) {
        Ok(stored) => stored,
        Err(error) => {
            report.differs("record_understood", place(), "a record of a topic", error);
            return None;
        }
    };
    if stored.topic != Topic::Events {
        return None;
    }
    let envelope = events::decode(stored.payload).map_err(|error| error.to_string());
    if let Ok(envelope) = &envelope
        && *envelope.body.key() != *stored.key
    {
        report.differs("record_key", place(), "the key of what it says", "another key");
    }
    Some(AuditRecord { file: Arc::clone(file), offset: record.seq, digest: record_digest(stored.payload), envelope })
}

fn read_ledger(store: &LedgerStore) -> anyhow::Result<LedgerRows> {
    let (cursor, _, chain) = store.cursor()?;
    let mut leases = store.remembered_leases()?;
    leases.extend(store.past_leases()?);
    let all = DeliveryRange { line_item_id: None, from: WallMs(i64::MIN), to: WallMs(i64::MAX) };
    Ok(LedgerRows {
        cursor,
        chain,
        seals: store.seals()?,
        balances: store.balances()?,
        leases,
        delivery: store.delivery(all, usize::MAX)?,
    })
}

fn table(report: &AuditReport) -> String {
    let mut text = String::new();
    let rows: [(&str, String); 9] = [
        ("records of money events", report.records.to_string()),
        ("not applied yet", report.unapplied.to_string()),
        ("leases granted", report.leases.to_string()),
        ("leases open", report.open_leases.to_string()),
        ("impressions billed", report.billed.to_string()),
        ("billed micros", report.billed_micros.to_string()),
        ("impressions not billed", report.unbilled.to_string()),
        ("balances compared", report.balances.to_string()),
        ("delivery totals compared", report.delivery_totals.to_string()),
    ];
    // Writing to a String never fails.
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<26} {value:>20}");
    }
    for difference in &report.differences {
        let _ = writeln!(
            text,
            "DIFFERENCE {}: {}: expected {}, found {}",
            difference.check, difference.place, difference.expected, difference.found
        );
    }
    let _ = match report.difference_count {
        0 => writeln!(text, "balanced: the log and the books agree"),
        count => writeln!(text, "NOT balanced: {count} differences"),
    };
    text
}

/// The report as scripts read it.
#[derive(Serialize)]
struct ReportJson<'a> {
    balanced: bool,
    records: u64,
    unapplied_records: u64,
    leases: u64,
    open_leases: u64,
    billed_impressions: u64,
    billed_micros: i128,
    unbilled_impressions: u64,
    balances_compared: u64,
    delivery_totals_compared: u64,
    difference_count: u64,
    differences: Vec<DifferenceJson<'a>>,
}

#[derive(Serialize)]
struct DifferenceJson<'a> {
    check: &'a str,
    place: &'a str,
    expected: &'a str,
    found: &'a str,
}

fn json(report: &AuditReport) -> anyhow::Result<String> {
    let differences = report.differences.iter().map(|difference| DifferenceJson {
        check: difference.check,
        place: &difference.place,
        expected: &difference.expected,
        found: &difference.found,
    });
    let mut text = serde_json::to_string(&ReportJson {
        balanced: report.is_balanced(),
        records: report.records,
        unapplied_records: report.unapplied,
        leases: report.leases,
        open_leases: report.open_leases,
        billed_impressions: report.billed,
        billed_micros: report.billed_micros,
        unbilled_impressions: report.unbilled,
        balances_compared: report.balances,
        delivery_totals_compared: report.delivery_totals,
        difference_count: report.difference_count,
        differences: differences.collect(),
    })?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
