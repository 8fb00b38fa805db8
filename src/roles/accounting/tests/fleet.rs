//! The machine with many servers: who gets leases, and what the watermark waits for.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::accounting::{Lease, LevelId, Refusal, SERVERS_MAX, ServerState, UnbilledReason};
use crate::model::{AdvertiserId, ImpressionId, LeaseId};
use crate::roles::accounting::sim::{advertiser, line_entity};

fn leases(sim: &Sim) -> BTreeMap<LeaseId, Lease> {
    let mut all = sim.ledger.remembered_leases().expect("reads");
    all.extend(sim.ledger.past_leases().expect("reads"));
    all.into_iter().map(|(_, lease): (AdvertiserId, Lease)| (lease.grant.lease_id, lease)).collect()
}

/// Every impression that was acknowledged in time is billed, whichever server got it and whenever its journal was shipped.
fn all_that_was_heard_in_time_is_billed(sim: &Sim, seed: u64) -> usize {
    let leases = leases(sim);
    let mut billed = 0;
    for heard in sim.heard.iter().filter(|heard| heard.is_in_time) {
        let ImpressionId::Leased { lease_id, ordinal } = heard.impression_id else { continue };
        let lease = &leases[&lease_id];
        assert!(
            lease.settled.contains(ordinal),
            "SEED={seed}: INV-39: {heard:?} is {:?}, the lease closed at {:?}",
            lease.unbilled.get(&ordinal),
            lease.closed_at
        );
        billed += 1;
    }
    billed
}

#[test]
fn servers_that_die_stall_and_come_back_neither_overspend_nor_lose_what_they_acknowledged() {
    let (mut billed, mut closed, mut runs, mut replays) = (0, 0, 0, 0);
    for seed in 1..=6 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sim = Sim::with_servers(dir.path(), seed, 3);
        sim.run_fleet(500);
        billed += all_that_was_heard_in_time_is_billed(&sim, seed);
        closed += leases(&sim).values().filter(|lease| lease.closed_at.is_some()).count();
        runs += sim.granted_to().len();
        // What was granted to a run went to that run, or to none (the sim asserts that it went once).
        for event in sim.events() {
            if let Event::LeaseGranted(granted) = event
                && let Some(run) = sim.handed.get(&granted.lease_id)
            {
                assert_eq!(*run, (granted.server_id, granted.boot_id), "SEED={seed}: INV-40");
            }
        }
        if seed == 1 {
            let other = tempfile::tempdir().expect("a directory");
            let incremental = rows(&sim.ledger);
            assert!(replay(&sim, other.path(), 1_000) == incremental, "INV-25: a replay gives other bytes");
            replays += 1;
        }
        drop(sim);
        let report = crate::cli::audit_dir(dir.path()).expect("audits");
        assert!(report.is_balanced(), "SEED={seed}: {:#?}", report.differences);
    }
    assert!(billed > 3_000 && closed > 50 && runs > 30 && replays == 1, "{billed} {closed} {runs}");
}

#[test]
fn all_live_servers_get_leases_and_share_what_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 3, 3);
    sim.change(advertiser(Some(20_000)));
    for _ in 0..20 {
        sim.pass(5_000);
    }
    let runs: BTreeSet<_> = sim.handed.values().map(|(server_id, _)| *server_id).collect();
    assert_eq!(runs.len(), 3);
    for _ in 0..3_000 {
        sim.pass(5_000);
    }
    let account = sim.machine.book().accounts.values().next().expect("one account");
    let spent = account.balance(LevelId::Advertiser(account.advertiser_id));
    assert!(spent.settled <= Micros(20_000) && spent.settled > Micros(12_000), "{spent:?}");
}

#[test]
fn a_draining_server_gives_all_back_gets_none_and_holds_nothing_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 4, 2);
    for _ in 0..5 {
        sim.pass(2_000);
    }
    let before = sim.handed.values().filter(|(server_id, _)| *server_id == sim.servers[1].server_id).count();
    assert!(before > 0);
    sim.drain(1);
    sim.pump();
    let entry = |sim: &Sim| sim.machine.register().get(sim.servers[1].server_id).expect("known").clone();
    assert_eq!(entry(&sim).state, ServerState::Closed);
    let returned: BTreeSet<_> = sim
        .events()
        .into_iter()
        .filter_map(|event| if let Event::LeaseReturned(returned) = event { Some(returned.lease_id) } else { None })
        .collect();
    let its = sim.handed.iter().filter(|(_, (server_id, _))| *server_id == sim.servers[1].server_id);
    assert!(its.clone().all(|(lease_id, _)| returned.contains(lease_id)), "every lease of it was given back");
    for _ in 0..100 {
        sim.pass(5_000);
    }
    let now = sim.handed.values().filter(|(server_id, _)| *server_id == sim.servers[1].server_id).count();
    assert_eq!(now, before, "no lease after the drain");
    let watermark = sim.machine.register().watermark().complete_until();
    assert_eq!(watermark, sim.now.wall.plus_ms(-crate::accounting::SETTLE_MARGIN_MS), "it holds nothing back");
    assert!(entry(&sim).complete_until < watermark);
}

#[test]
fn a_dead_server_holds_the_watermark_back_until_it_is_back_and_shipped() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 5, 2);
    sim.pass(1_000);
    sim.servers[1].is_stalled = true;
    for _ in 0..40 {
        sim.pass(1_000);
    }
    let at = sim.machine.register().watermark().complete_until();
    sim.kill(1);
    for _ in 0..2_000 {
        sim.pass(10_000);
    }
    assert_eq!(sim.machine.register().watermark().complete_until(), at);
    let account = sim.machine.book().accounts.values().next().expect("one account");
    for lease in account.leases.values().filter(|lease| lease.closed_at.is_some()) {
        let drawn = lease.returned.as_ref().map(|returned| returned.drawn);
        assert_eq!(drawn, Some(lease.settled_micros), "closed only where nothing more can come");
    }
    assert!(account.leases.values().any(|lease| lease.closed_at.is_none()));
    sim.restart(1);
    sim.pass(1_000);
    assert_eq!(sim.machine.register().watermark().complete_until(), at, "its journal is not shipped yet");
    sim.servers[1].is_stalled = false;
    sim.pass(6_000);
    assert!(sim.machine.register().watermark().complete_until() > at.plus_ms(10_000_000));
    sim.stop();
    assert!(all_that_was_heard_in_time_is_billed(&sim, 5) > 0);
}

#[test]
fn a_server_whose_clock_is_wrong_gets_no_lease_and_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 6, 2);
    sim.servers[1].ahead_ms = 1_500;
    for _ in 0..10 {
        sim.pass(2_000);
    }
    assert_eq!(sim.servers[1].standing, Some(Err(Refusal::Clock { ahead_ms: 1_500 })));
    assert!(sim.handed.values().all(|(server_id, _)| *server_id == sim.servers[0].server_id));
    assert!(sim.servers[1].throttles.is_empty());
    sim.servers[1].ahead_ms = -900;
    for _ in 0..10 {
        sim.pass(2_000);
    }
    assert_eq!(sim.servers[1].standing, Some(Ok(())));
    assert!(sim.handed.values().any(|(server_id, _)| *server_id == sim.servers[1].server_id));
    assert_eq!(sim.servers[1].throttles, sim.servers[0].throttles, "one throttle for all");
}

#[test]
fn reports_of_older_boots_and_of_strangers_are_refused_counted_and_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 7);
    sim.pass(1_000);
    let (server_id, old) = (sim.servers[0].server_id, sim.servers[0].boot_id);
    sim.restart(0);
    let report = |server_id, boot_id| {
        let (extent, lines) = (Extent::whole(1), Vec::new());
        Input::ServerReport(ServerReport { server_id, boot_id, at: sim.now, transit_ms: 0, extent, lines })
    };
    let stranger = ServerId::from_u128(99);
    for (input, to, refusal) in [
        (report(server_id, old), (server_id, old), Refusal::OlderBoot),
        (report(stranger, old), (stranger, old), Refusal::Unknown),
    ] {
        let effects = sim.machine.step(input, sim.now);
        assert_eq!(effects.refused, [refusal]);
        let body = MessageBody::Standing(Err(refusal));
        assert_eq!(effects.messages, [Message { server_id: to.0, boot_id: to.1, body }]);
    }
}

#[test]
fn a_full_register_refuses_a_server_and_counts_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::new(dir.path(), 8);
    let mut refused = Vec::new();
    for n in 0..u128::try_from(SERVERS_MAX).expect("small") {
        let (server_id, boot_id) = (ServerId::from_u128(1_000 + n), BootId::from_u128(n));
        let says = ServerSays { server_id, boot_id, news: ServerNews::Registered };
        refused.extend(sim.machine.step(Input::Server(says), sim.now).refused);
    }
    assert_eq!(refused, [Refusal::Full], "one place was taken");
}

#[test]
fn a_lease_that_waits_for_a_server_that_is_gone_goes_back_untouched() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 9, 2);
    sim.report();
    let effects = sim.machine.step(Input::Records(Batch { records: Vec::new(), next: 0, end: 0 }), sim.now);
    let granted = effects.append.len();
    sim.append(effects.append);
    // The server that asked first is killed and back before its grants are read: they were never handed to anybody.
    let before = sim.servers[0].boot_id;
    sim.restart(0);
    sim.pump();
    sim.pass(1_000);
    let untouched = |event: &Event| matches!(event, Event::LeaseReturned(lease) if lease.boot_id == before && lease.drawn == Micros::ZERO && lease.drawn_count == 0);
    assert_eq!(sim.events().iter().filter(|event| untouched(event)).count(), granted);
    assert!(granted > 0 && sim.handed.values().all(|(_, boot_id)| *boot_id != before));
}

#[test]
fn a_new_run_of_a_server_is_given_at_once_what_the_run_before_it_drew() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 12, 2);
    sim.change(advertiser(Some(100_000_000)));
    sim.change(line_entity(2, Some(100_000_000), None));
    let first_lease = |sim: &Sim| {
        let boot_id = sim.servers[0].boot_id;
        sim.events().into_iter().find_map(|event| match event {
            Event::LeaseGranted(granted) if granted.boot_id == boot_id && granted.line_item_id == line(2) => {
                Some(granted.max_ordinals)
            }
            _ => None,
        })
    };
    (0..60).for_each(|_| sim.pass(1_000));
    assert_eq!(first_lease(&sim), Some(20), "nothing was known of it");
    sim.restart(0);
    (0..3).for_each(|_| sim.pass(1_000));
    // It drew five or six a second: so many last for a quarter of an hour.
    assert_eq!(first_lease(&sim), Some(5_120));
}

#[test]
fn what_a_lost_server_never_shipped_is_the_price_of_declaring_it_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sim = Sim::with_servers(dir.path(), 10, 2);
    sim.servers[1].is_stalled = true;
    for _ in 0..60 {
        sim.pass(1_000);
    }
    let lost = sim.servers[1].server_id;
    sim.kill(1);
    sim.stop();
    // As `segue servers declare-lost` does it: in the stopped store.
    let mut entry =
        sim.ledger.servers().expect("reads").into_iter().find(|entry| entry.server_id == lost).expect("known");
    entry.state = ServerState::Lost;
    sim.ledger.put_server(&entry).expect("commits");
    sim.crash_accounting();
    // Until they are closed, and not so long that they are forgotten.
    for _ in 0..500 {
        sim.pass(10_000);
    }
    sim.stop();
    let open = leases(&sim).values().filter(|lease| lease.closed_at.is_none() && lease.grant.server_id == lost).count();
    assert_eq!(open, 0, "its leases close");
    // It is found after all: what it heard comes too late, and is kept with that reason.
    sim.servers[1].is_stalled = false;
    sim.restart(1);
    sim.pass(1_000);
    sim.stop();
    let leases = leases(&sim);
    let (mut billed, mut late) = (0, 0);
    for heard in sim.heard.iter().filter(|heard| heard.is_in_time && heard.by == lost) {
        let ImpressionId::Leased { lease_id, ordinal } = heard.impression_id else { continue };
        let reason = leases[&lease_id].unbilled.get(&ordinal).copied();
        billed += usize::from(leases[&lease_id].settled.contains(ordinal));
        late += usize::from(reason == Some(UnbilledReason::LeaseClosed));
    }
    assert!(late > 0, "{billed} billed, {late} late");
}
