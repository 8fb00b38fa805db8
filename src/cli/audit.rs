//! `segue audit`: recounts the event log of a stopped server and compares it with the ledger.
//!
//! It reads the journals' files and a copy of the store, changes nothing, and shares no counting with accounting (`accounting::audit`). What it
//! looks at byte for byte (INV-45): both journals (checksums and sequence of every record, zeros behind the last), the partition counts, how far other
//! servers' journals were shipped, and the store: its files against their checksums (`store::check`), every row, the last rows of its journals, and
//! the catalogue against its history. Not the books, and not looked at: the lock files, which hold nothing, the files with keys, and what of the store nobody reads
//! any more, its earlier manifests.

pub(super) mod files;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::{ConfigOptions, Exit, Failure, print};
use crate::accounting::audit::{AuditReport, audit};

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
    let _lock = files::lock(data_dir)?;
    let mut report = AuditReport::default();
    let log = files::read_journals(data_dir, &mut report)?;
    Ok(match files::read_store(data_dir, &mut report) {
        Some(ledger) => audit(&log.events, &log.ledger, &ledger, report),
        // Against nothing everything would differ.
        None => report,
    })
}

fn table(report: &AuditReport) -> String {
    let mut text = String::new();
    let rows: [(&str, String); 12] = [
        ("records of money events", report.records.to_string()),
        ("not applied yet", report.unapplied.to_string()),
        ("leases granted", report.leases.to_string()),
        ("leases open", report.open_leases.to_string()),
        ("impressions billed", report.billed.to_string()),
        ("billed micros", report.billed_micros.to_string()),
        ("impressions not billed", report.unbilled.to_string()),
        ("balances compared", report.balances.to_string()),
        ("delivery totals compared", report.delivery_totals.to_string()),
        ("ledger entries", report.entries.to_string()),
        ("checkpoints", report.checkpoints.to_string()),
        ("invoices recomputed", report.invoices.to_string()),
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
    ledger_entries: u64,
    checkpoints: u64,
    invoices_recomputed: u64,
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
        ledger_entries: report.entries,
        checkpoints: report.checkpoints,
        invoices_recomputed: report.invoices,
        difference_count: report.difference_count,
        differences: differences.collect(),
    })?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod flips;
#[cfg(test)]
mod tests;
