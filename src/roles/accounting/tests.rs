//! The machine over a real log and store, in virtual time, with crashes.

mod fleet;
mod reports;

use std::collections::{BTreeMap, BTreeSet};

use super::sealed::Announcer;
use super::sim::{LINES, Sim};
use super::*;
use crate::accounting::Chain;
use crate::accounting::testing::line;
use crate::event_log::{Record, Topic};
use crate::events::{self, Event};
use crate::model::{BootId, Micros, MonotonicMs, Now, ServerId, WallMs};
use crate::store::{EmbeddedLedger, Store};

/// Reads the whole log into a store of its own, as a server without a ledger would.
fn replay(sim: &Sim, dir: &std::path::Path, piece: usize) -> (Vec<crate::store::RawRow>, (WallMs, Chain)) {
    let store = Store::open(dir, sim.now.wall, &crate::entropy::Entropy::seeded(1)).expect("opens");
    let ledger = store.ledger().expect("opens");
    let settings = MachineSettings {
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(1),
        partition: 0,
        namer: BootId::from_u128(1).to_bytes(),
        lease_ms: 900_000,
        commit_interval_ms: 20_000,
        report_ms: 1_000,
        clock_tolerance_ms: crate::accounting::CLOCK_TOLERANCE_MS,
        states_delivery: false,
    };
    let mut now = Now { wall: sim.now.wall, monotonic: MonotonicMs(1) };
    // The register is not made from the log: what it says of the end is handed down.
    let register = crate::accounting::Register::load(sim.ledger.servers().expect("reads"));
    let state = crate::accounting::LedgerState { register, ..ledger.load().expect("loads") };
    let mut machine = AccountingMachine::new(settings, state, now);
    let mut announcer = Announcer::new((ServerId::from_u128(7), BootId::from_u128(1)));
    drop(announcer.catch_up(&sim.log, &mut machine).expect("reads"));
    let end = sim.log.durable_end(Topic::Events);
    while machine.cursor() < end {
        let batch = sim.log.read(Topic::Events, None, machine.cursor(), piece, 1 << 20).expect("reads");
        let record = |read: &Record| LogRecord {
            offset: read.offset,
            digest: crate::accounting::record_digest(&read.payload),
            envelope: events::decode(&read.payload).expect("understood"),
        };
        let records = batch.records.iter().map(record).collect();
        now.monotonic = now.monotonic.plus_ms(1_000);
        // An end that is never reached: a replay grants nothing.
        let effects = machine.step(Input::Records(Batch { records, next: batch.next_offset, end: u64::MAX }), now);
        let entries = effects.append.iter().all(|record| matches!(record.body, Event::Ledger(_)));
        assert!(entries, "a replay appends nothing but copies of entries");
        if let Some(commit) = effects.commit {
            ledger.commit(&commit).expect("commits");
        }
    }
    if let Some(commit) = machine.finish(now) {
        ledger.commit(&commit).expect("commits");
    }
    rows(&ledger)
}

/// All rows but the cursor, which is past the last record looked at, be it accounting's or not; what it stands for beside.
fn rows(ledger: &EmbeddedLedger) -> (Vec<crate::store::RawRow>, (WallMs, Chain)) {
    let mut rows = ledger.dump().expect("reads");
    rows.retain(|(_, key, _)| key != b"cursor");
    let (_, log_time, chain) = ledger.cursor().expect("reads");
    (rows, (log_time, chain))
}

#[test]
fn crashes_and_budget_changes_leave_books_that_a_recount_and_a_replay_agree_with() {
    let (mut billed, mut closed, mut boots) = (0, 0, BTreeSet::new());
    for seed in 1..=4 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sim = Sim::new(dir.path(), seed);
        sim.run(400);
        let incremental = rows(&sim.ledger);
        assert!(sim.ledger.checkpoints().expect("reads").len() > 1, "SEED={seed}: hours are sealed");
        for piece in [37, 100_000] {
            let other = tempfile::tempdir().expect("a directory");
            assert!(
                replay(&sim, other.path(), piece) == incremental,
                "SEED={seed}: INV-25: a replay gives other bytes"
            );
        }
        for event in sim.events() {
            match event {
                Event::LeaseGranted(granted) => drop(boots.insert(granted.boot_id)),
                Event::LeaseClosed(_) => closed += 1,
                Event::Beacon(_)
                | Event::LeaseReturned(_)
                | Event::Reversal(_)
                | Event::Decision(_)
                | Event::Catalog(_)
                | Event::Ledger(_) => {}
            }
        }
        drop(sim);
        let report = crate::cli::audit_dir(dir.path()).expect("audits");
        assert!(report.is_balanced(), "SEED={seed}: {:#?}", report.differences);
        billed += report.billed;
    }
    assert!(
        billed > 1_000 && closed > 30 && boots.len() > 6,
        "{billed} billed, {closed} closed, {} boots",
        boots.len()
    );
}

#[test]
fn every_line_item_gets_leases_and_spends_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 11);
    sim.change(super::sim::advertiser(Some(20_000)));
    for _ in 0..2_000 {
        sim.pass(5_000);
    }
    sim.stop();
    let mut granted = BTreeMap::new();
    for event in sim.events() {
        if let Event::LeaseGranted(lease) = event {
            *granted.entry(lease.line_item_id).or_insert(0) += 1;
        }
    }
    for n in 0..LINES {
        assert!(granted.contains_key(&line(n)), "line item {n} got no lease");
        assert_eq!(sim.servers[0].throttles.get(&line(n)), Some(&u64::MAX), "as fast as possible");
    }
    let account = sim.machine.book().accounts.values().next().expect("one account");
    let spent = account.balance(crate::accounting::LevelId::Advertiser(account.advertiser_id));
    assert!(spent.settled <= Micros(20_000) && spent.settled > Micros(15_000), "{spent:?}");
}

#[test]
fn looking_at_what_moved_grants_what_looking_at_all_grants() {
    // An hour and more by seconds: leases that run dry, that end undrawn, budgets that end and come back, and one line item that is paced.
    for seed in 1..=3 {
        let run = |at_all: bool| {
            let dir = tempfile::tempdir().expect("a directory");
            let mut sim = Sim::new(dir.path(), seed);
            let crate::catalog::Entity::LineItem(line) = super::sim::line_entity(2, Some(9_000_000), None) else {
                panic!("a line item")
            };
            let paced = crate::model::LineItem {
                pacing: crate::model::PacingMode::Even,
                ..crate::model::LineItem::clone(&line)
            };
            sim.change(crate::catalog::Entity::from(paced));
            for step in 0..4_000_u32 {
                if at_all {
                    sim.machine.look_at_all_soon();
                }
                sim.pass(u64::from(1_000 + step % 7 * 50));
                if step % 500 == 0 {
                    sim.change(super::sim::advertiser(Some(i64::from(step) * 30)));
                }
            }
            (sim.events(), sim.servers[0].throttles.clone())
        };
        let ((events, throttles), (all_events, all_throttles)) = (run(false), run(true));
        assert!(events == all_events, "SEED={seed}: other leases, or at other times");
        for (id, throttle) in all_throttles {
            let told = throttles[&id];
            assert!(told.abs_diff(throttle) <= throttle / 16, "SEED={seed}: {told} for {throttle}");
        }
    }
}

#[test]
fn many_line_items_that_begin_at_once_are_given_leases_so_many_a_step() {
    const MANY: usize = 20_000;
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 5);
    sim.report();
    let machine = &mut sim.machine;
    // Of the campaign without a budget.
    let lines = (0..MANY as u128).map(|n| super::sim::line_entity(1_000 + 2 * n, None, None));
    let entities = std::iter::once(super::sim::advertiser(None)).chain(lines).collect();
    machine.step(Input::CatalogChanged(entities), sim.now);
    let (mut records, mut next, mut granted) = (Vec::new(), 0_u64, std::collections::BTreeSet::new());
    for _ in 0..12 {
        let batch = Batch { records: std::mem::take(&mut records), next, end: next };
        let effects = machine.step(Input::Records(batch), sim.now);
        assert!(effects.append.len() <= 2_100, "{} records at once", effects.append.len());
        for envelope in effects.append {
            if let Event::LeaseGranted(lease) = &envelope.body {
                assert!(granted.insert(lease.line_item_id), "two leases of {}", lease.line_item_id);
            }
            let digest = crate::accounting::record_digest(&crate::events::encode(&envelope));
            records.push(LogRecord { offset: next, digest, envelope });
            next += 1;
        }
    }
    assert!(granted.len() >= MANY, "{} have leases", granted.len());
}

#[test]
fn nothing_is_granted_before_the_log_is_read_to_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 5);
    sim.report();
    let machine = &mut sim.machine;
    assert!(!machine.is_replayed());
    let behind = Batch { records: Vec::new(), next: 0, end: 1 };
    assert!(machine.step(Input::Records(behind), sim.now).append.is_empty());
    let caught_up = Batch { records: Vec::new(), next: 0, end: 0 };
    let effects = machine.step(Input::Records(caught_up), sim.now);
    assert!(!effects.append.is_empty(), "now it grants");
    assert!(
        !effects.messages.iter().any(|message| matches!(message.body, MessageBody::Lease { .. })),
        "INV-5: but hands nothing out yet"
    );
    let later = Now { monotonic: sim.now.monotonic.plus_ms(5_000), ..sim.now };
    assert!(machine.step(Input::Tick, later).append.is_empty(), "one proposal of an advertiser at a time");
}

#[test]
fn a_lease_of_an_earlier_boot_is_counted_and_never_handed_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 6);
    sim.report();
    let effects = sim.machine.step(Input::Records(Batch { records: Vec::new(), next: 0, end: 0 }), sim.now);
    let (proposed, before) = (effects.append.len(), sim.servers[0].boot_id);
    sim.append(effects.append);
    sim.crash();
    sim.pass(1_000);
    let account = sim.machine.book().accounts.values().next().expect("one account");
    let of_earlier = account.leases.values().filter(|lease| lease.grant.boot_id == before).count();
    assert_eq!(of_earlier, proposed);
    assert!(account.balance(crate::accounting::LevelId::Advertiser(account.advertiser_id)).open > Micros::ZERO);
    let after = (sim.servers[0].server_id, sim.servers[0].boot_id);
    assert!(!sim.handed.is_empty() && sim.handed.values().all(|run| *run == after));
}

#[test]
fn an_advertiser_archived_with_ads_in_the_air_pays_for_them_and_gets_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 12);
    for _ in 0..40 {
        sim.pass(5_000);
    }
    let granted = |sim: &Sim| sim.events().iter().filter(|event| matches!(event, Event::LeaseGranted(_))).count();
    let spent = |sim: &Sim| {
        let account = sim.machine.book().accounts.values().next().expect("one account");
        account.balance(crate::accounting::LevelId::Advertiser(account.advertiser_id)).settled
    };
    let crate::catalog::Entity::Advertiser(advertiser) = super::sim::advertiser(None) else { panic!("an advertiser") };
    let archived = crate::model::Advertiser {
        status: crate::model::Status::Archived,
        ..crate::model::Advertiser::clone(&advertiser)
    };
    sim.change(crate::catalog::Entity::from(archived));
    // What was proposed before the change may still come back from the log.
    sim.pass(1_000);
    let (granted_before, spent_before) = (granted(&sim), spent(&sim));
    for _ in 0..100 {
        sim.pass(5_000);
    }
    assert_eq!(granted(&sim), granted_before, "no lease for an archived advertiser");
    assert!(spent(&sim) > spent_before, "what was in the air is heard and billed");
}
