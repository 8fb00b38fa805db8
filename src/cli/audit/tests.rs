//! Canaries: a log that was forged with care, and audit that names what was done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{disk, read_journals};
use super::*;
use crate::accounting::audit::AuditRecord;
use crate::catalog::{Action, Author, Revision};
use crate::entropy::Entropy;
use crate::event_log::{StoredRecord, money_dir};
use crate::events::{self, Envelope, Event};
use crate::journal::edit::{change_payload, delete_record, double_record};
use crate::journal::format::HEADER_BYTES;
use crate::model::{BeaconEvent, ImpressionId, Micros, WallMs};
use crate::roles::accounting::sim::Sim;
use crate::roles::campaign::samples;
use crate::store::Store;

/// A data directory as a server leaves it.
struct Made {
    dir: tempfile::TempDir,
    /// A billed impression whose impression beacon came once, and its place in the log.
    billed: (u64, ImpressionId),
}

fn make() -> Made {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 21);
    sim.run(60);
    drop(sim);
    let mut report = AuditReport::default();
    let records = read_journals(dir.path(), &mut report).expect("reads").events;
    let impressions: Vec<_> = records.iter().filter_map(impression).collect();
    let once = |id| impressions.iter().filter(|(_, other)| *other == id).count() == 1;
    let billed = *impressions.iter().find(|(_, id)| once(*id)).expect("an impression that came once");
    Made { dir, billed }
}

fn impression(record: &AuditRecord) -> Option<(u64, ImpressionId)> {
    match record.envelope.as_ref().ok()? {
        Envelope { body: Event::Beacon(beacon), received_at, .. }
            if beacon.event == BeaconEvent::Impression && *received_at <= beacon.billable_until =>
        {
            Some((record.offset, beacon.impression_id))
        }
        _ => None,
    }
}

fn named(made: &Made) -> (String, String) {
    match made.billed.1 {
        ImpressionId::Leased { lease_id, ordinal } => (lease_id.to_string(), format!("ordinal {ordinal}")),
        ImpressionId::Unleased { .. } => panic!("billed ones are leased"),
    }
}

fn checks(report: &AuditReport) -> Vec<&'static str> {
    report.differences.iter().map(|difference| difference.check).collect()
}

/// Audits, and expects that a difference of this check names these words.
fn check(dir: &Path, check: &str, words: &[&str]) {
    let report = audit_dir(dir).expect("audits");
    assert!(!report.is_balanced());
    let names_it = report.differences.iter().any(|difference| {
        let text = format!("{} {} {}", difference.place, difference.expected, difference.found);
        difference.check == check && words.iter().all(|word| text.contains(word))
    });
    assert!(names_it, "{check} {words:?} is not among {:#?}", report.differences);
    assert!(checks(&report).contains(&"log_is_what_was_applied"), "{:?}", checks(&report));
    assert!(table(&report).contains("NOT balanced"));
    let json: serde_json::Value = serde_json::from_str(&json(&report).expect("writes")).expect("JSON");
    assert_eq!(json["balanced"], false);
}

#[test]
fn untouched_books_balance() {
    let made = make();
    let report = audit_dir(made.dir.path()).expect("audits");
    assert!(report.is_balanced(), "{:#?}", report.differences);
    assert!(report.billed > 100 && report.leases > 4 && report.unapplied == 0, "{report:?}");
    assert!(table(&report).contains("balanced: the log and the books agree"));
    assert!(audit_dir(made.dir.path()).expect("audits again").is_balanced(), "an audit changes nothing");
}

#[test]
fn a_deleted_record_is_named() {
    let made = make();
    delete_record(&disk(), &money_dir(made.dir.path()), made.billed.0).expect("edits");
    let (lease, ordinal) = named(&made);
    check(made.dir.path(), "settled_ordinal", &[&lease, &ordinal, "log: no", "ledger: yes"]);
}

#[test]
fn a_doubled_record_is_named() {
    let made = make();
    double_record(&disk(), &money_dir(made.dir.path()), made.billed.0).expect("edits");
    check(made.dir.path(), "record_not_doubled", &[&made.billed.1.to_string()]);
}

#[test]
fn a_changed_price_is_named() {
    let made = make();
    change_payload(&disk(), &money_dir(made.dir.path()), made.billed.0, |payload| {
        let stored = StoredRecord::decode(crate::event_log::KIND_TOPIC_RECORD, payload).expect("a record");
        let mut envelope = events::decode(stored.payload).expect("an event");
        if let Event::Beacon(beacon) = &mut envelope.body {
            beacon.price = Micros(9);
        }
        let changed = events::encode(&envelope);
        *payload = StoredRecord { payload: &changed, ..stored }.encode();
    })
    .expect("edits");
    let (lease, ordinal) = named(&made);
    check(made.dir.path(), "lease_digest", &[&lease, &ordinal, "9µ"]);
    check(made.dir.path(), "lease_settled_micros", &[&lease]);
}

#[test]
fn a_flipped_byte_is_named_with_its_file() {
    let made = make();
    let dir = money_dir(made.dir.path());
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(&dir).expect("lists").map(|entry| entry.expect("an entry").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).expect("reads");
    bytes[HEADER_BYTES + 40] ^= 1;
    std::fs::write(&segments[0], bytes).expect("writes");
    let report = audit_dir(made.dir.path()).expect("audits");
    let place = format!("{} offset {HEADER_BYTES}", segments[0].display());
    let names_it = report.differences.iter().any(|found| found.check == "journal_whole" && found.place == place);
    assert!(names_it, "{:#?}", report.differences);
}

#[test]
fn an_entity_set_back_to_an_earlier_revision_is_named() {
    let made = make();
    let catalog =
        || Store::open(made.dir.path(), WallMs(5), &Entropy::seeded(1)).expect("opens").catalog().expect("opens");
    let entity = &samples::catalogue()[0];
    let revision = |number| {
        let (entity, author, action) = (entity.clone(), Author::Segue, Action::Changed);
        Arc::new(Revision { entity, number, created_at: WallMs(1), at: WallMs(1), author, action })
    };
    catalog().commit(1, &[revision(1), revision(2)], &[]).expect("commits");
    assert!(audit_dir(made.dir.path()).expect("audits").is_balanced());
    catalog().set_back(&revision(1));
    let report = audit_dir(made.dir.path()).expect("audits");
    assert_eq!(checks(&report), ["catalog_is_its_history"], "{:#?}", report.differences);
    let difference = &report.differences[0];
    assert!(difference.place.contains("catalog_current"), "{difference:?}");
    assert_eq!(difference.found, "revision 1, and its last is 2");
}

#[test]
fn a_running_server_and_a_strange_directory_are_refused_in_words() {
    let made = make();
    let lock = disk().lock_dir(&money_dir(made.dir.path())).expect("locks");
    let error = audit_dir(made.dir.path()).expect_err("locked").to_string();
    assert!(error.contains("a server is running") && error.contains("LOCK"), "{error}");
    drop(lock);
    let empty = tempfile::tempdir().expect("a directory");
    let error = audit_dir(empty.path()).expect_err("empty").to_string();
    assert!(error.contains("is not a data directory"), "{error}");
    assert_eq!(std::fs::read_dir(empty.path()).expect("lists").count(), 0, "nothing is made there");
}
