//! How long accounting takes to go on after a death with many events behind its last commit, and what an open lease costs in memory.
//!
//! `cargo run --release --example restart -- [EVENTS] [OPEN_LEASES]`: writes so many events (10,000,000) into a real journal in a temporary folder,
//! starts accounting over it as after a death right after its first commit, and prints how long it took to apply them all, committed; then
//! opens so many leases (1,000,000) and prints by how much the process grew for each.

mod stream;

use std::sync::Arc;
use std::time::Instant;

use segue::accounting::{Book, record_digest};
use segue::entropy::Entropy;
use segue::event_log::{EmbeddedLog, EmbeddedLogConfig, NewRecord, Record, Topic};
use segue::events::{self, Envelope};
use segue::journal::{Drive, Identity, RealDisk, SharedDisk};
use segue::model::{BootId, MonotonicMs, Now, ServerId};
use segue::roles::accounting::{AccountingMachine, Batch, Input, LogRecord};
use segue::store::Store;

/// Events of one append, and of one read.
const BATCH: usize = 8_192;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let events = arguments.next().unwrap_or(10_000_000);
    let leases = arguments.next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk: SharedDisk = Arc::new(RealDisk);
    let identity = Identity { server: ServerId::from_u128(7), boot: BootId::from_u128(8) };
    let config = EmbeddedLogConfig { drive: Drive::Inline, ..EmbeddedLogConfig::new(folder.path(), identity) };
    let log = EmbeddedLog::open(&config, &disk, || stream::T0).expect("an empty folder");
    write(&log, events);
    restart(&log, folder.path());
    memory(leases);
}

#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn now() -> Instant {
    Instant::now()
}

fn write(log: &EmbeddedLog, events: u64) {
    let started = now();
    let (mut written, mut impression, mut waiting) = (0, 0, Vec::new());
    let record = |envelope: Envelope| NewRecord {
        topic: Topic::Events,
        key: envelope.body.key().to_vec(),
        payload: events::encode(&envelope),
    };
    while written < events {
        if impression % u64::from(stream::IMPRESSIONS_PER_LEASE) == 0 {
            waiting.push(record(stream::grant(impression)));
        }
        waiting.extend(stream::beacons(impression).into_iter().map(record));
        impression += 1;
        if waiting.len() >= BATCH {
            written += waiting.len() as u64;
            log.append_blocking(std::mem::take(&mut waiting)).expect("appended");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("wrote {written} events, synced, in {seconds:.1} s");
}

fn restart(log: &EmbeddedLog, folder: &std::path::Path) {
    let started = now();
    let store = Store::open(folder, stream::T0, &Entropy::seeded(1)).expect("opens");
    let ledger = store.ledger().expect("opens");
    let at = |monotonic| Now { wall: stream::T0, monotonic: MonotonicMs(monotonic) };
    let mut machine = AccountingMachine::new(stream::settings(), ledger.load().expect("loads"), at(1));
    let end = log.durable_end(Topic::Events);
    while machine.cursor() < end {
        let batch = log.read(Topic::Events, None, machine.cursor(), BATCH, 4 << 20).expect("reads");
        let decode = |record: &Record| LogRecord {
            offset: record.offset,
            digest: record_digest(&record.payload),
            envelope: events::decode(&record.payload).expect("understood"),
        };
        let records = batch.records.iter().map(decode).collect();
        let elapsed = u64::try_from(started.elapsed().as_millis()).expect("a short time");
        // An end that is never reached: a replay grants nothing.
        let effects =
            machine.step(Input::Records(Batch { records, next: batch.next_offset, end: u64::MAX }), at(elapsed));
        if let Some(commit) = &effects.commit {
            ledger.commit(commit).expect("commits");
        }
    }
    if let Some(commit) = machine.finish(at(1)) {
        ledger.commit(&commit).expect("commits");
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(end).unwrap_or(u32::MAX)) / seconds;
    println!(
        "restart: {end} events behind the last commit applied and committed in {seconds:.1} s, {rate:.0} events/s"
    );
    println!("resident after the restart: {} MiB, {} leases open", resident_bytes() >> 20, machine.open_leases());
}

fn memory(leases: u64) {
    let before = resident_bytes();
    let mut book = Book::default();
    for lease in 0..leases {
        book.apply(&stream::grant(lease * u64::from(stream::IMPRESSIONS_PER_LEASE)));
    }
    let empty = resident_bytes();
    println!("an open lease of which nothing was heard: {} bytes", (empty - before) / leases);
    for lease in 0..leases {
        // All of its ordinals up to the last one: the bitmaps are at their full length.
        let last = (lease + 1) * u64::from(stream::IMPRESSIONS_PER_LEASE) - 1;
        for beacon in stream::beacons(last) {
            book.apply(&beacon);
        }
    }
    println!("one whose bitmaps are full, of 1,000 impressions: {} bytes", (resident_bytes() - before) / leases);
    drop(book);
}

/// Memory of this process that is in RAM, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1_024
}
