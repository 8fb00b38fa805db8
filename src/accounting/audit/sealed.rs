//! What was posted and sealed, against the log: the entries of the ledger, the chain of checkpoints, and the books that they stand for.
//!
//! The records are applied once more, as accounting did, and what that posts and seals must be what the rows and `segue.ledger` hold; the recount, which
//! shares no code with accounting, must come to the same sums. So log, checkpoints and rows vouch for each other: a change of one is a
//! difference with another.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::hex;
use super::recount::Recount;
use super::{AuditRecord, AuditReport, LedgerRows};
use crate::accounting::account::AdvertiserAccount;
use crate::accounting::invoice::{self, Month, Names};
use crate::accounting::lease::Lease;
use crate::accounting::loose::Loose;
use crate::accounting::{
    Book, Chain, Owner, REVERSAL_KEPT_MS, Sealer, Sums, book_digest, checkpoint_digest, ledger, owner_of,
};
use crate::events::{Checkpoint, EntryCause, Event, LedgerEntry, LedgerRecord, TrialBalance};
use crate::model::{AdvertiserId, ImpressionId};

/// What `segue.ledger` holds, each with its place.
#[derive(Default)]
pub(super) struct Vouched<'v> {
    entries: Vec<(&'v LedgerEntry, String)>,
    checkpoints: Vec<(&'v Checkpoint, String)>,
}

/// Sorts the records of `segue.ledger`.
pub(super) fn vouched<'v>(records: &'v [AuditRecord], report: &mut AuditReport) -> Vouched<'v> {
    let mut vouched = Vouched::default();
    for record in records {
        let place = format!("{} record {}", record.file, record.offset);
        let envelope = match &record.envelope {
            Ok(envelope) => envelope,
            Err(error) => {
                report.differs("record_understood", place, "an event", error);
                continue;
            }
        };
        if envelope.event_id != envelope.body.id() {
            report.differs("event_id_derived", &place, envelope.body.id(), envelope.event_id);
        }
        match &envelope.body {
            Event::Ledger(record) => match &**record {
                LedgerRecord::Entry(entry) => vouched.entries.push((entry, place)),
                LedgerRecord::Checkpoint(checkpoint) => vouched.checkpoints.push((checkpoint, place)),
            },
            Event::LeaseGranted(_)
            | Event::LeaseReturned(_)
            | Event::LeaseClosed(_)
            | Event::Reversal(_)
            | Event::Beacon(_)
            | Event::Decision(_)
            | Event::Catalog(_) => report.differs("record_topic", place, "a record of the ledger", "another event"),
        }
    }
    vouched
}

/// Checkpoints as rows and as records: each row is chained to the one before, and each is in the log; the newest may be on its way there.
pub(super) fn checkpoints(ledger: &LedgerRows, vouched: &Vouched<'_>, report: &mut AuditReport) {
    report.checkpoints = ledger.checkpoints.len() as u64;
    let mut previous: Option<&Checkpoint> = None;
    for checkpoint in &ledger.checkpoints {
        let place = format!("checkpoint {}", checkpoint.number);
        let number = previous.map_or(0, |previous| previous.number) + 1;
        if checkpoint.number != number {
            report.differs("checkpoint_chain", &place, format!("number {number}"), checkpoint.number);
        }
        let before = previous.map_or([0; 32], checkpoint_digest);
        if checkpoint.previous_digest != before {
            report.differs("checkpoint_chain", &place, hex(&before), hex(&checkpoint.previous_digest));
        }
        let TrialBalance { advertisers, networks, house, .. } = checkpoint.trial;
        if advertisers + networks + house != 0 {
            report.differs("trial_balance", &place, 0, advertisers + networks + house);
        }
        previous = Some(checkpoint);
    }
    let rows: BTreeMap<u64, &Checkpoint> = ledger.checkpoints.iter().map(|row| (row.number, row)).collect();
    let mut in_log = BTreeSet::new();
    for (checkpoint, place) in &vouched.checkpoints {
        let place = format!("checkpoint {}, {place}", checkpoint.number);
        match rows.get(&checkpoint.number) {
            None => report.differs("checkpoint_in_ledger", place, "a row", "none: the store was set back or damaged"),
            Some(row) if row != checkpoint => {
                report.differs(
                    "checkpoint_agrees",
                    place,
                    hex(&checkpoint_digest(checkpoint)),
                    hex(&checkpoint_digest(row)),
                );
            }
            Some(_) => {}
        }
        in_log.insert(checkpoint.number);
    }
    let newest = ledger.checkpoints.last().map(|newest| newest.number);
    for number in rows.keys().filter(|number| !in_log.contains(number) && Some(**number) != newest) {
        report.differs("checkpoint_in_log", format!("checkpoint {number}"), "a record of segue.ledger", "none");
    }
}

/// Applies the records once more, and compares what that comes to with the rows.
pub(super) fn replay(records: &[AuditRecord], ledger: &LedgerRows, vouched: &Vouched<'_>, report: &mut AuditReport) {
    let (mut book, mut chain, mut sealer) = (Book::default(), Chain::default(), Sealer::default());
    // Where the log or the rows say that a stop was; whether what is sealed there is the same is compared below.
    let said = vouched.checkpoints.iter().map(|(checkpoint, _)| *checkpoint).chain(&ledger.checkpoints);
    said.for_each(|checkpoint| sealer.expect(checkpoint.chain_records));
    for record in records {
        let Ok(envelope) = &record.envelope else { return };
        if sealer.is_due(&book, &chain, envelope.received_at) {
            sealer.seal(&book, &chain);
        }
        chain.append(record.digest);
        if owner_of(&envelope.body).is_some() {
            let applied = book.apply(envelope);
            let _ = sealer.applied(record.offset, envelope, applied.outcome, &applied.delivery, &book);
        }
    }
    if sealer.is_expected(&chain) {
        sealer.seal(&book, &chain);
    }
    drop(book.forget());
    let sums = sealer.sums();
    let sealed = sealer.take();
    entries(&sealed.entries, ledger, vouched, report);
    resealed(&sealed.checkpoints, ledger, report);
    state(&book, sums, ledger, report);
}

/// Entries posted again, against the rows and the log.
fn entries(replayed: &[LedgerEntry], ledger: &LedgerRows, vouched: &Vouched<'_>, report: &mut AuditReport) {
    report.entries = ledger.entries.len() as u64;
    let mut rows: BTreeMap<u64, &LedgerEntry> = ledger.entries.iter().map(|entry| (entry.number, entry)).collect();
    let mut in_log: BTreeMap<u64, &LedgerEntry> = BTreeMap::new();
    for (entry, place) in &vouched.entries {
        let before = in_log.insert(entry.number, entry);
        if before.is_some_and(|before| before != *entry) {
            report.differs("entry_agrees", format!("entry {}, {place}", entry.number), "the same entry", "another");
        }
    }
    for entry in replayed {
        let place = format!("entry {}, {}", entry.number, cause(&entry.cause));
        match rows.remove(&entry.number) {
            None => report.differs("entry_in_ledger", &place, "a row", "none"),
            Some(row) if row != entry => report.differs("entry_agrees", &place, told(entry), told(row)),
            Some(_) => {}
        }
        match in_log.remove(&entry.number) {
            None => report.differs("entry_in_log", &place, "a record of segue.ledger", "none"),
            Some(record) if record != entry => {
                report.differs("entry_agrees", format!("{place}, segue.ledger"), told(entry), told(record));
            }
            Some(_) => {}
        }
    }
    for (number, row) in rows {
        let place = format!("entry {number}, {}", cause(&row.cause));
        report.differs("entry_has_a_cause", place, "nothing in the log", told(row));
    }
    for entry in &ledger.entries {
        if ledger::sum(entry) != 0 {
            report.differs("entry_sums_to_zero", format!("entry {}", entry.number), 0, ledger::sum(entry));
        }
    }
    let rest: i128 = ledger::accounts(&ledger.entries).values().sum();
    if rest != 0 {
        report.differs("trial_balance", "all accounts", 0, rest);
    }
}

fn cause(cause: &EntryCause) -> String {
    match cause {
        EntryCause::Settlement { lease_id, .. } => format!("lease {lease_id}"),
        EntryCause::Reversal { impression_id, .. } => format!("reversal of {impression_id}"),
    }
}

fn told(entry: &LedgerEntry) -> String {
    format!("{} micros for {} on {}", ledger::charge(entry), entry.quantity, entry.advertiser_day)
}

fn resealed(replayed: &[Checkpoint], ledger: &LedgerRows, report: &mut AuditReport) {
    let mut replayed = replayed.iter();
    for row in &ledger.checkpoints {
        let place = format!("checkpoint {}, at record {}", row.number, row.cursor);
        match replayed.next() {
            Some(again) if again == row => {}
            Some(again) => {
                let what = differing(again, row);
                report.differs("checkpoint_is_the_logs", place, what, hex(&checkpoint_digest(row)));
                // All after it are chained to it.
                return;
            }
            None => return report.differs("checkpoint_is_the_logs", place, "nothing to seal", "a checkpoint"),
        }
    }
    for again in replayed {
        report.differs("checkpoint_in_ledger", format!("checkpoint {}", again.number), "a row", "none");
    }
}

fn differing(again: &Checkpoint, row: &Checkpoint) -> &'static str {
    if again.book_digest != row.book_digest {
        "another book"
    } else if again.chain_digest != row.chain_digest {
        "other records"
    } else if again.trial != row.trial {
        "another trial balance"
    } else if again.delivered != row.delivered {
        "another delivery"
    } else {
        "another place or number"
    }
}

/// The rows are the book that the records make.
fn state(book: &Book, sums: Sums, ledger: &LedgerRows, report: &mut AuditReport) {
    if sums != ledger.sums {
        report.differs("sums", "the ledger", format!("{sums:?}"), format!("{:?}", ledger.sums));
    }
    let mut kept = kept(ledger);
    drop(kept.forget());
    if kept.log_time != book.log_time {
        report.differs("log_time", "the ledger", book.log_time.to_rfc3339(), kept.log_time.to_rfc3339());
    }
    let before = report.difference_count;
    let (expected, found) = (loose(book), loose(&kept));
    for (key, expected) in &expected {
        match found.get(key) {
            Some(found) if found == expected => {}
            found => report.differs("loose", place_of(*key), format!("{expected:?}"), format!("{found:?}")),
        }
    }
    for (key, found) in found.iter().filter(|(key, _)| !expected.contains_key(key)) {
        report.differs("loose", place_of(*key), "nothing", format!("{found:?}"));
    }
    if report.difference_count == before && book_digest(book) != book_digest(&kept) {
        // What is not named one by one (open leases and balances are, by the recount): terms that nobody else looks at.
        let digests = (hex(&book_digest(book)), hex(&book_digest(&kept)));
        report.differs("book_is_replayed", "balances and leases that are remembered", digests.0, digests.1);
    }
}

fn place_of((owner, impression_id): (Owner, ImpressionId)) -> String {
    format!("impression {impression_id} of {owner:?}")
}

fn loose(book: &Book) -> BTreeMap<(Owner, ImpressionId), Loose> {
    let unpaid = book.unpaid.seen.iter().map(|(id, loose)| ((Owner::Unpaid, *id), *loose));
    let paid = book.accounts.values().flat_map(|account| {
        let owner = Owner::Advertiser(account.advertiser_id);
        account.loose.seen.iter().map(move |(id, loose)| ((owner, *id), *loose))
    });
    unpaid.chain(paid).collect()
}

/// The book that the rows hold.
fn kept(ledger: &LedgerRows) -> Book {
    let mut book = Book { log_time: ledger.log_time, ..Book::default() };
    for (id, level, balance) in &ledger.balances {
        of(&mut book, *id).levels.insert(*level, *balance);
    }
    for (id, lease) in &ledger.leases {
        of(&mut book, *id).leases.insert(lease.grant.lease_id, Box::new(lease.clone()));
    }
    for reversal in &ledger.reversals {
        if reversal.decided_at.plus_ms(REVERSAL_KEPT_MS) >= ledger.log_time {
            of(&mut book, reversal.advertiser_id).reversed.insert(reversal.impression_id, reversal.clone());
        }
    }
    for (owner, id, loose) in &ledger.loose {
        let set = match owner {
            Owner::Unpaid => &mut book.unpaid,
            Owner::Advertiser(advertiser_id) => &mut of(&mut book, *advertiser_id).loose,
        };
        set.seen.insert(*id, *loose);
    }
    book
}

fn of(book: &mut Book, id: AdvertiserId) -> &mut AdvertiserAccount {
    book.accounts.entry(id).or_insert_with(|| AdvertiserAccount::new(id))
}

/// Leases and entries of a month.
type MonthRows<'r> = (Vec<&'r Lease>, Vec<&'r LedgerEntry>);

/// Every month of every advertiser: what its invoice comes to, against the recount of the log.
pub(super) fn invoices(recount: &Recount, ledger: &LedgerRows, report: &mut AuditReport) {
    let mut expected: BTreeMap<(AdvertiserId, Month), (i128, i128)> = BTreeMap::new();
    for lease in recount.leases.values() {
        let key = (lease.grant.advertiser_id, Month::of(lease.grant.advertiser_day));
        expected.entry(key).or_default().0 += lease.settled_micros;
    }
    for (_, reversal, _) in recount.reversals.values() {
        let key = (reversal.advertiser_id, Month::of(reversal.advertiser_day));
        expected.entry(key).or_default().1 -= i128::from(reversal.price.0);
    }
    let mut rows: BTreeMap<(AdvertiserId, Month), MonthRows<'_>> = BTreeMap::new();
    for (id, lease) in &ledger.leases {
        rows.entry((*id, Month::of(lease.grant.advertiser_day))).or_default().0.push(lease);
    }
    for entry in &ledger.entries {
        rows.entry((entry.advertiser_id, Month::of(entry.advertiser_day))).or_default().1.push(entry);
    }
    for (key, (leases, entries)) in &rows {
        let (id, month) = key;
        let place = format!("advertiser {id}, {month}");
        let log = expected.remove(key).unwrap_or_default();
        match invoice::amounts(*month, leases, entries, &Names::default()) {
            Ok(amounts) => {
                report.invoices += 1;
                let found = (i128::from(amounts.charged.0), i128::from(amounts.credited.0));
                if found != log {
                    report.differs("invoice_sum", place, format!("{log:?} micros"), format!("{found:?} micros"));
                }
            }
            Err(error) => report.differs("invoice_sum", place, format!("{log:?} micros"), error),
        }
    }
    for ((id, month), log) in expected {
        report.differs("invoice_sum", format!("advertiser {id}, {month}"), format!("{log:?} micros"), "no lease");
    }
}
