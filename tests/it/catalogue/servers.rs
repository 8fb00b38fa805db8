//! The campaign role on two API servers that share a catalogue: Cassandra keeps it, Kafka tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use segue::catalog::{Entity, EntityId};
use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::event_log::SharedLog;
use segue::model::{ApiKeyId, BootId, CampaignId, MonotonicMs, Now, Role, ServerId, WallMs};
use segue::roles::api_keys::KeyWatch;
use segue::roles::campaign::{Bootstrap, CampaignHandle, CampaignWriter, Command, Outcome, Refusal, Requester};
use segue::roles::campaign::{bootstrap, start as start_role};
use segue::roles::catalogue_feed::CatalogueFeed;
use segue::roles::catalogue_outbox::{Publisher, PublisherSettings, start as start_publisher};
use segue::store::{CqlCatalog, Secret};

use super::{ADVERTISER, CAMPAIGN, Cql, NETWORK, Opens, advertiser, campaign, network, seen};
use crate::event_log::{Kafka, Opens as _};
use crate::harness::{folder, wait_until};

const NOW: Now = Now { wall: WallMs(1_700_000_000_000), monotonic: MonotonicMs(0) };

/// A server without its feed: what it knows of the others it has looked up.
struct Server {
    handle: CampaignHandle,
    writer: CampaignWriter,
}

impl Server {
    fn start(store: CqlCatalog, number: u8) -> Self {
        let secret = Secret([number; 32]);
        let started =
            start_role(store, secret, Box::new(|change| panic!("the feed publishes, not the writer: {change:?}")));
        let (handle, writer) = started.expect("starts");
        Self { handle, writer }
    }

    fn submit(&self, command: Command) -> Result<Outcome, Refusal> {
        self.handle.submit_blocking(command, Requester::Segue, NOW)
    }

    fn number(&self, id: EntityId) -> Option<u64> {
        self.handle.read(|state| state.get(id).map(|revision| revision.number))
    }

    fn stop(self) {
        drop(self.handle);
        self.writer.join();
    }
}

fn two(cql: &Cql) -> [Server; 2] {
    let mut stores = cql.open(2).into_iter();
    let mut server = |number| Server::start(stores.next().expect("two"), number);
    [server(1), server(2)]
}

fn create(entity: Entity) -> Command {
    Command::Create { entity }
}

#[test]
fn what_one_server_made_the_other_knows_when_it_is_asked() {
    let Some(cql) = Cql::new("what_one_server_made_the_other_knows_when_it_is_asked") else { return };
    let [one, other] = two(&cql);
    one.submit(create(network(1))).expect("accepted");
    other.submit(create(advertiser())).expect("its network was made by another");
    one.submit(create(campaign(CAMPAIGN, "a campaign"))).expect("accepted");
    let change = |name, expected| Command::Change { entity: campaign(CAMPAIGN, name), expected };
    other.submit(change("changed", 1)).expect("accepted");
    assert_eq!(one.submit(change("late", 1)), Err(Refusal::Stale { current: 2 }));
    let archive = Command::Archive { id: EntityId::Advertiser(ADVERTISER), expected: 1 };
    one.submit(archive).expect("accepted");
    let child = campaign(CampaignId::from_u128(21), "too late");
    let Err(Refusal::Invalid(faults)) = other.submit(create(child)) else { panic!("refused") };
    assert_eq!((faults[0].path.as_str(), faults[0].code), ("advertiser_id", "archived"));
    // Looked up for whoever is about to show it.
    let refreshed = one.handle.refresh(vec![EntityId::Campaign(CAMPAIGN)]);
    cql.runtime.block_on(refreshed).expect("answers");
    assert_eq!(one.number(EntityId::Campaign(CAMPAIGN)), Some(2));
    one.stop();
    other.stop();
}

// INV-47.
#[test]
fn of_changes_through_two_servers_none_is_lost_and_each_is_answered_truly() {
    const CLIENTS: usize = 6;
    const CHANGES: usize = 8;
    let Some(cql) = Cql::new("of_changes_through_two_servers_none_is_lost_and_each_is_answered_truly") else { return };
    let servers = two(&cql);
    let [one, _] = &servers;
    for entity in [network(1), advertiser(), campaign(CAMPAIGN, "first")] {
        one.submit(create(entity)).expect("accepted");
    }
    let accepted: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let server = &servers[client % 2];
                scope.spawn(move || {
                    let (mut accepted, mut seen) = (0, 1);
                    for change in 0..CHANGES {
                        let entity = campaign(CAMPAIGN, &format!("{client}'s {change}"));
                        match server.submit(Command::Change { entity, expected: seen }) {
                            Ok(Outcome::Entity(revision)) => {
                                assert_eq!(revision.number, seen + 1);
                                (accepted, seen) = (accepted + 1, revision.number);
                            }
                            Err(Refusal::Stale { current }) => {
                                assert!(current > seen, "{current} after {seen}");
                                seen = current;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    accepted
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("ends")).sum()
    });
    let id = EntityId::Campaign(CAMPAIGN);
    let history = one.handle.history(id, None, 1_000).expect("reads");
    assert_eq!(history.len(), accepted + 1, "every accepted change is a revision, and nothing else is");
    let numbers: Vec<usize> =
        history.iter().rev().map(|revision| usize::try_from(revision.number).expect("small")).collect();
    assert_eq!(numbers, (1..=accepted + 1).collect::<Vec<_>>());
    servers.into_iter().for_each(Server::stop);
}

#[test]
fn imports_through_two_servers_both_succeed() {
    let Some(cql) = Cql::new("imports_through_two_servers_both_succeed") else { return };
    let servers = two(&cql);
    let entities = || {
        let campaigns = (0..20).map(|number| campaign(CampaignId::from_u128(number + 100), "imported"));
        [network(1), advertiser()].into_iter().chain(campaigns).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for server in &servers {
            scope.spawn(move || {
                let outcome = server.submit(Command::Import { entities: entities() });
                assert_eq!(outcome, Ok(Outcome::Imported(22)));
            });
        }
    });
    let stored = segue::store::CatalogStore::load(&cql.open_one()).expect("loads");
    assert_eq!(stored.entities.len(), 22);
    assert!(stored.entities.iter().all(|revision| revision.number == 2), "each was put there twice");
    servers.into_iter().for_each(Server::stop);
}

#[test]
fn a_revoked_key_opens_nothing_anywhere() {
    let Some(cql) = Cql::new("a_revoked_key_opens_nothing_anywhere") else { return };
    let [one, other] = two(&cql);
    let watch = KeyWatch::start(cql.open_one(), other.handle.live_keys());
    one.submit(create(network(1))).expect("accepted");
    let id = ApiKeyId::from_u128(7);
    let (key, secret) = one.handle.keys().make(id, NETWORK, "a key".to_owned(), Role::Operator, [5; 32], NOW.wall);
    one.submit(Command::AddKey { key: key.clone() }).expect("accepted");
    let opens = |server: &Server| server.handle.keys().open(secret.reveal()).is_some();
    assert!(opens(&one));
    // With the secret that the two agreed on, though each came with its own.
    wait_until("the other server knows the key", || opens(&other));
    one.submit(Command::RevokeKey { key }).expect("accepted");
    assert!(!opens(&one));
    wait_until("the other server knows that it is revoked", || !opens(&other));
    drop(watch);
    one.stop();
    other.stop();
}

#[test]
fn servers_that_start_first_together_make_one_network() {
    let Some(cql) = Cql::new("servers_that_start_first_together_make_one_network") else { return };
    let stores = cql.open(3);
    let folders: Vec<_> = stores.iter().map(|_| folder()).collect();
    let made: Vec<Bootstrap> = std::thread::scope(|scope| {
        let servers: Vec<_> = stores
            .iter()
            .zip(&folders)
            .map(|(store, dir)| {
                scope.spawn(move || {
                    bootstrap(dir.path(), store, Secret([1; 32]), NOW, &Entropy::real()).expect("starts")
                })
            })
            .collect();
        servers.into_iter().map(|server| server.join().expect("ends")).collect()
    });
    assert_eq!(made.iter().filter(|made| matches!(made, Bootstrap::Made(_))).count(), 1, "{made:?}");
    let server = Server::start(stores[0].clone(), 9);
    assert_eq!(server.handle.read(|state| state.entities().count()), 1);
    let written: Vec<String> =
        folders.iter().filter_map(|dir| std::fs::read_to_string(dir.path().join("operator.key")).ok()).collect();
    assert!(!written.is_empty());
    for key in written {
        assert!(server.handle.keys().open(key.trim()).is_some(), "every key that was written opens");
    }
    server.stop();
}

/// A server with its publisher and its feed.
struct Whole {
    server: Server,
    publisher: Publisher,
    stop: Arc<AtomicBool>,
    feed: JoinHandle<()>,
}

impl Whole {
    fn start(cql: &Cql, store: CqlCatalog, log: impl SharedLog, number: u8) -> Self {
        let settings = PublisherSettings::new(ServerId::from_u128(number.into()), BootId::from_u128(9));
        let (store, publisher) = cql.runtime.block_on(async { start_publisher(store, log.clone(), settings, seen()) });
        let server = Server::start(store, number);
        let (handle, stop) = (server.handle.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let feed = std::thread::spawn(move || {
            let (mut feed, whole) = CatalogueFeed::open(&log, || true).expect("reads").expect("goes on");
            handle.apply_feed(whole.version, &whole.revisions);
            while !stopped.load(Ordering::Relaxed) {
                if let Some(change) = feed.next(Duration::from_millis(100)).expect("reads") {
                    handle.apply_feed(change.version, &change.revisions);
                }
            }
        });
        Self { server, publisher, stop, feed }
    }

    fn stop(self, cql: &Cql) {
        self.stop.store(true, Ordering::Relaxed);
        self.feed.join().expect("ends");
        self.server.stop();
        cql.runtime.block_on(self.publisher.stop());
    }
}

#[test]
fn what_one_server_changes_the_other_sees_by_the_feed_within_a_second() {
    const NAME: &str = "what_one_server_changes_the_other_sees_by_the_feed_within_a_second";
    let (Some(cql), Some(kafka)) = (Cql::new(NAME), Kafka::new(NAME)) else { return };
    let mut stores = cql.open(2).into_iter();
    let mut server = |number| Whole::start(&cql, stores.next().expect("two"), kafka.open(), number);
    let [one, other] = [server(1), server(2)];
    for entity in [network(1), advertiser(), campaign(CAMPAIGN, "1")] {
        one.server.submit(create(entity)).expect("accepted");
    }
    let id = EntityId::Campaign(CAMPAIGN);
    wait_until("the feed runs", || other.server.number(id) == Some(1));
    let clock = Clock::real();
    let mut taken_ms = Vec::new();
    for expected in 1..=15 {
        let watch = clock.stopwatch();
        let entity = campaign(CAMPAIGN, &expected.to_string());
        one.server.submit(Command::Change { entity, expected }).expect("accepted");
        wait_until("the other sees it", || other.server.number(id) == Some(expected + 1));
        taken_ms.push(watch.elapsed_us() / 1_000);
    }
    taken_ms.sort_unstable();
    eprintln!("from command to the other server's view, in ms: {taken_ms:?}");
    // The middle one: a machine that is busy otherwise may hold up any single one.
    assert!(taken_ms[7] < 1_000, "{taken_ms:?}");
    let versions = [&one, &other].map(|whole| whole.server.handle.read(segue::roles::campaign::CatalogState::version));
    assert!(versions[1] >= 18, "{versions:?}");
    one.stop(&cql);
    other.stop(&cql);
}
