//! A changed byte anywhere: the audit finds it and says where, or it was harmless (INV-45).
//!
//! A small data directory with everything in it; then, again and again, one bit or byte of one file is changed, the directory audited, and the byte put
//! back. Each time the audit must name a difference, or come to exactly the same report over exactly the same rows. `SEGUE_FLIPS=10000 cargo test
//! --release flips` makes more of them; `SEGUE_FLIPS_SEED` others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::read_store;
use super::*;
use crate::accounting::audit::LedgerRows;
use crate::accounting::testing::envelope;
use crate::events::{Event, Reversal};
use crate::model::{BeaconEvent, Day, ImpressionId, InvalidTraffic};
use crate::roles::accounting::sim::Sim;
use crate::workload::Draws;

/// Flips in a usual run of the tests: some tens of seconds where other things run.
const FLIPS: u32 = 100;

/// A data directory with leases open and closed, reversals, entries, checkpoints, rows in tables and rows in the store's own journal.
fn make(dir: &Path) {
    let mut sim = Sim::new(dir, 33);
    sim.run(120);
    sim.ledger.write_tables();
    for reversal in charged(&sim).into_iter().take(3) {
        sim.append(vec![envelope(sim.now.wall, Event::Reversal(Box::new(reversal)))]);
    }
    sim.run(60);
    let taken_back: usize = sim.machine.book().accounts.values().map(|account| account.reversed.len()).sum();
    assert!(taken_back > 0, "charges were taken back");
}

/// Reversals of impressions that were charged.
fn charged(sim: &Sim) -> Vec<Reversal> {
    let accounts = &sim.machine.book().accounts;
    let reversal = |event: Event| {
        let Event::Beacon(beacon) = event else { return None };
        let ImpressionId::Leased { lease_id, ordinal } = beacon.impression_id else { return None };
        let lease = accounts.get(&beacon.advertiser_id)?.leases.get(&lease_id)?;
        let is_charged = beacon.event == BeaconEvent::Impression && lease.settled.contains(ordinal);
        is_charged.then(|| Reversal {
            impression_id: beacon.impression_id,
            event: beacon.event,
            network_id: beacon.network_id,
            advertiser_id: beacon.advertiser_id,
            campaign_id: beacon.campaign_id,
            line_item_id: beacon.line_item_id,
            price: beacon.price,
            reason: InvalidTraffic::Reported,
            decided_at: beacon.decided_at,
            reversed_at: sim.now.wall,
            advertiser_day: Day::utc_of(sim.now.wall),
        })
    };
    let mut found: BTreeMap<ImpressionId, Reversal> = BTreeMap::new();
    for reversal in sim.events().into_iter().filter_map(reversal) {
        found.insert(reversal.impression_id, reversal);
    }
    found.into_values().collect()
}

/// Every file with something in it, but for the empty locks.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).expect("a file").len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What an audit comes to: the report, and the rows that it read.
type Seen = (AuditReport, Option<LedgerRows>);

fn look(dir: &Path) -> Seen {
    let report = audit_dir(dir).expect("audits");
    // Read again only where the audit says that all is well.
    let rows = report.is_balanced().then(|| read_store(dir, &mut AuditReport::default())).flatten();
    (report, rows)
}

#[derive(Default)]
struct Tally {
    found: BTreeMap<String, u32>,
    harmless: BTreeMap<String, u32>,
}

/// A place in a file: half of them among the bytes that are not zero, as segments and journals are mostly empty.
fn place(bytes: &[u8], draws: &mut Draws) -> usize {
    let any = draws.below(u32::try_from(bytes.len()).expect("a small file")) as usize;
    if draws.chance(0.5) {
        return any;
    }
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    any % written
}

#[test]
fn a_changed_byte_is_found_or_harmless() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (flips, seed) = (number("SEGUE_FLIPS", FLIPS), number("SEGUE_FLIPS_SEED", 1));
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path());
    let right = look(dir.path());
    assert!(right.0.is_balanced(), "{:#?}", right.0.differences);
    assert!(right.0.entries > 3 && right.0.checkpoints > 1 && right.0.invoices > 0, "{:?}", right.0);
    let files = files(dir.path());
    let mut draws = Draws::new(u64::from(seed), 1);
    let mut tally = Tally::default();
    for flip in 0..flips {
        let file = &files[draws.below(u32::try_from(files.len()).expect("few")) as usize];
        let bytes = fs::read(file).expect("reads");
        let place = place(&bytes, &mut draws);
        let with =
            if draws.chance(0.5) { 1 << draws.below(8) } else { u8::try_from(draws.between(1, 255)).expect("a byte") };
        let mut changed = bytes.clone();
        changed[place] ^= with;
        fs::write(file, &changed).expect("writes");
        let seen = look(dir.path());
        fs::write(file, &bytes).expect("writes");
        let name = file.strip_prefix(dir.path()).expect("inside").display().to_string();
        let context = format!("SEED={seed} flip {flip}: {name} byte {place} ^ {with:#04x}");
        if seen.0.is_balanced() {
            assert!(seen == right, "{context}: another report or other rows, and no difference: {:?}", seen.0);
            *tally.harmless.entry(name).or_default() += 1;
        } else {
            let named = seen.0.differences.iter().all(|difference| !difference.place.is_empty());
            assert!(named, "{context}: {:?}", seen.0.differences);
            *tally.found.entry(name).or_default() += 1;
        }
    }
    let sum = |counts: &BTreeMap<String, u32>| counts.values().sum::<u32>();
    println!("{flips} flips, seed {seed}: {} found, {} harmless", sum(&tally.found), sum(&tally.harmless));
    println!("found: {:#?}\nharmless: {:#?}", tally.found, tally.harmless);
    // The harmless ones lie in what nobody reads: the store's earlier manifests, the checksum in `current`, its lock.
    assert!(sum(&tally.found) * 3 > flips, "many are found");
    assert_eq!(look(dir.path()), right, "the directory is as it was");
}
