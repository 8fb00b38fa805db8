//! Accounting of several processes over one shared log, with a decision and beacon server's journal shipped into it: leases come, what is heard is
//! billed once, and whoever owns a partition may be replaced at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use segue::accounting::{Balance, LevelId};
use segue::catalog::Entity;
use segue::clock::Clock;
use segue::decision::OfferedLease;
use segue::entropy::Entropy;
use segue::event_log::{
    EmbeddedLog, EmbeddedLogConfig, EventLog, LogReader, NewRecord, PartitionGroup, Position, SharedLog, Shipping,
    Topic, Which,
};
use segue::events::{self, BeaconRecord, Envelope, Event};
use segue::journal::{Faults, Identity, RealDisk, SharedDisk};
use segue::model::{
    AdvertiserId, App, AppKey, BeaconEvent, BootId, CreativeId, DecisionId, ImpressionId, LeaseId, Micros, Network,
    NetworkId, Placement, PlacementKey, Platform, PriceModel, Pseudonym, ServerId, Tier,
};
use segue::roles::accounting::{
    Extent, MachineSettings, Message, MessageBody, PartitionsHandle, ServerReport, ShellSettings, spawn_partitions,
};
use segue::roles::fleet::{FleetLink, FromServer, LinkSettings, Word, encode_from_server};
use segue::store::{EmbeddedLedger, Store};
use segue::telemetry::Metrics;
use segue::workload::world::World;
use tempfile::TempDir;

use crate::event_log::{Embedded, Kafka, Opens};
use crate::harness::{folder, wait_until};

const SERVER: ServerId = ServerId::from_u128(77);
const BOOT: BootId = BootId::from_u128(78);
/// Impressions heard of each lease.
const HEARD: u32 = 3;

fn network() -> Network {
    let placement = Placement {
        key: PlacementKey::new("between-tracks").expect("a key"),
        name: "Between tracks".to_owned(),
        floor_cpm: Micros(0),
        max_duration_ms: 90_000,
        max_ads: 3,
        cadence_ms: 0,
        impression_at_start: false,
        token_life_ms: 3_600_000,
    };
    let app = App { key: AppKey::new("player").expect("a key"), name: "Player".to_owned() };
    Network {
        id: NetworkId::from_u128(1),
        name: "A network".to_owned(),
        currency: "EUR".to_owned(),
        floor_cpm: Micros(1_000),
        approve_creatives: false,
        apps: vec![app],
        placements: vec![placement],
    }
}

/// The books of each partition, which all processes share.
struct Books {
    _stores: Vec<(TempDir, Store)>,
    ledgers: Vec<EmbeddedLedger>,
}

impl Books {
    fn new(clock: &Clock, partitions: u32) -> Self {
        let open = |_| {
            let dir = folder();
            let store = Store::open(dir.path(), clock.now().wall, &Entropy::real()).expect("opens");
            (dir, store)
        };
        let stores: Vec<_> = (0..partitions).map(open).collect();
        let ledgers = stores.iter().map(|(_, store)| store.ledger().expect("opens")).collect();
        Self { _stores: stores, ledgers }
    }

    /// What each advertiser was charged, over its life.
    fn charged(&self) -> BTreeMap<AdvertiserId, i64> {
        let balances = self.ledgers.iter().flat_map(|ledger| ledger.balances().expect("reads"));
        let life = |(id, level, balance): (AdvertiserId, LevelId, Balance)| match level {
            LevelId::Advertiser(_) if balance.settled.0 > 0 => Some((id, balance.settled.0)),
            _ => None,
        };
        balances.filter_map(life).collect()
    }
}

fn accounting<L: SharedLog>(log: &L, books: &Books, clock: &Clock, n: u128, entities: &[Entity]) -> PartitionsHandle {
    let settings = ShellSettings {
        machine: MachineSettings {
            server_id: ServerId::from_u128(n),
            boot_id: BootId::from_u128(n),
            partition: 0,
            namer: [0; 16],
            lease_ms: 900_000,
            commit_interval_ms: 50,
            report_ms: 1_000,
            clock_tolerance_ms: 1_000,
            states_delivery: false,
        },
        settle_margin_ms: 1_000,
        faults: Faults::none(),
    };
    let ledgers = books.ledgers.clone();
    let open = Box::new(move |partition: u32| Ok(ledgers[partition as usize].clone().into()));
    let handle = spawn_partitions(log.clone(), open, settings, clock.clone(), Metrics::new()).expect("starts");
    handle.changes().send(entities.to_vec()).expect("it lives");
    handle
}

/// A decision and beacon server: its journal, the leases that it got, and what it has to be paid for.
struct Decider {
    journal: EventLog,
    shipping: Shipping,
    link: FleetLink,
    leases: Arc<Mutex<Vec<OfferedLease>>>,
    clock: Clock,
    used: usize,
    owed: BTreeMap<AdvertiserId, i64>,
    _dir: TempDir,
}

impl Decider {
    fn start<L: SharedLog>(log: &L, clock: &Clock) -> Self {
        let dir = folder();
        let disk: SharedDisk = Arc::new(RealDisk);
        let config = EmbeddedLogConfig::new(dir.path(), Identity { server: SERVER, boot: BOOT });
        let wall = clock.clone();
        let journal = Arc::new(EmbeddedLog::open(&config, &disk, move || wall.now().wall).expect("opens"));
        let now = clock.clone();
        let shipping =
            Shipping::start(Arc::clone(&journal), Which::Money, log.clone(), (&disk, dir.path()), move || now.now());
        let shipping = shipping.expect("ships");
        let leases: Arc<Mutex<Vec<OfferedLease>>> = Arc::default();
        let (end, got) = (Arc::clone(&journal), Arc::clone(&leases));
        let link = FleetLink::start(
            log.clone(),
            LinkSettings { server_id: SERVER, boot_id: BOOT, settle_margin_ms: 1_000 },
            (move || end.durable_end(Topic::Events), shipping.watch()),
            clock.clone(),
            move |_, Message { body, .. }| {
                if let MessageBody::Lease(lease) = body {
                    got.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
                }
            },
        );
        Self {
            journal: EventLog::Embedded(journal),
            shipping,
            link,
            leases,
            clock: clock.clone(),
            used: 0,
            owed: BTreeMap::new(),
            _dir: dir,
        }
    }

    fn leases(&self) -> Vec<OfferedLease> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that it is there, and what its clocks read.
    fn report(&self) {
        let at = self.clock.now();
        self.link.report(ServerReport {
            server_id: SERVER,
            boot_id: BOOT,
            at,
            transit_ms: 0,
            extent: Extent::whole(1),
            lines: Vec::new(),
        });
    }

    /// Reports until so many leases have come.
    fn wait_for_leases(&self, count: usize) {
        wait_until("leases come", || {
            self.report();
            self.leases().len() >= count
        });
    }

    /// Some impressions of each of the next leases are heard, the first of them twice.
    fn hear(&mut self, leases: usize) {
        let now = self.clock.now().wall;
        let mut records = Vec::new();
        for lease in &self.leases()[self.used..self.used + leases] {
            let price = Micros(lease.terms.amount.0 / i64::from(lease.terms.max_ordinals));
            let heard = HEARD.min(lease.terms.max_ordinals);
            for ordinal in (0..heard).chain([0]) {
                records.push(record(&beacon(lease, ordinal, price, now)));
            }
            *self.owed.entry(lease.owner.advertiser_id).or_default() += price.0 * i64::from(heard);
        }
        self.used += leases;
        for piece in records.chunks(100) {
            self.journal.append_blocking(piece.to_vec()).expect("journalled");
        }
    }
}

fn record(envelope: &Envelope) -> NewRecord {
    NewRecord { topic: Topic::Events, key: envelope.body.key().to_vec(), payload: events::encode(envelope) }
}

fn beacon(lease: &OfferedLease, ordinal: u32, price: Micros, now: segue::model::WallMs) -> Envelope {
    let body = Event::Beacon(Box::new(BeaconRecord {
        event: BeaconEvent::Impression,
        impression_id: ImpressionId::Leased { lease_id: lease.terms.lease_id, ordinal },
        network_id: lease.owner.network_id,
        advertiser_id: lease.owner.advertiser_id,
        campaign_id: lease.owner.campaign_id,
        line_item_id: lease.owner.line_item_id,
        creative_id: CreativeId::from_u128(5),
        decision_id: DecisionId::from_u128(6),
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price,
        pseudonym: Pseudonym([7; 16]),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        app: None,
        country: None,
        platform: Platform::Unknown,
        decided_at: now.plus_ms(-30_000),
        billable_until: lease.terms.last_billable_until,
        duration_ms: 20_000,
        impression_at_start: true,
        preview: false,
        played_ms: None,
        truncated_ip: None,
        invalid: None,
    }));
    let (server_id, boot_id) = (SERVER, BOOT);
    Envelope { event_id: body.id(), occurred_at: now, received_at: now, server_id, boot_id, trace_id: None, body }
}

/// Letters about records that were put aside.
fn letters<L: SharedLog>(log: &L) -> usize {
    let every = (0..log.partition_counts().of(Topic::DeadLetter)).map(|partition| Position { partition, offset: 0 });
    let mut reader = log.reader(Topic::DeadLetter, &every.collect::<Vec<_>>()).expect("a reader");
    let mut count = 0;
    while !reader.is_at_end() {
        count += reader.read(100, Duration::from_millis(100)).expect("reads").len();
    }
    count
}

fn owned(handles: &[&PartitionsHandle]) -> Vec<BTreeSet<u32>> {
    handles.iter().map(|handle| handle.watch().owned().0).collect()
}

/// The suite: INV-3, INV-5, INV-40 and INV-46 across processes.
fn owners_follow_one_another_and_what_is_heard_is_billed_once<O: Opens>(opens: &O) {
    let log = opens.open();
    let clock = Clock::real();
    let partitions = log.partition_counts().of(Topic::Events);
    let books = Books::new(&clock, partitions);
    let entities = World::generate(network(), clock.now().wall, 5).into_entities();
    let mut decider = Decider::start(&log, &clock);
    let first = accounting(&log, &books, &clock, 1_001, &entities);
    decider.wait_for_leases(40);
    decider.hear(10);
    wait_until("what was heard is billed", || books.charged() == decider.owed);

    // Somebody else claims every partition: the owner is fenced off, begins anew, and nothing is lost or billed twice.
    for partition in 0..partitions {
        let name = format!("accounting-{partition}");
        let group = PartitionGroup { name, topic: Topic::Events, partitions: vec![partition] };
        drop(log.claim(&group).expect("claims"));
    }
    // So is a record that nobody understands: it is put aside, and what comes after it counts.
    let advertiser = decider.leases()[0].owner.advertiser_id;
    let poison = NewRecord { topic: Topic::Events, key: advertiser.to_bytes().into(), payload: vec![0xFF; 9] };
    log.hand_over(poison, Box::new(|told| assert!(told.is_ok(), "appended")));
    decider.hear(10);
    wait_until("what was heard meanwhile is billed", || books.charged() == decider.owed);
    assert_eq!(letters(&log), 1, "one letter, whoever owned the partition meanwhile");

    // A second process takes part, and the first ends.
    let second = accounting(&log, &books, &clock, 1_002, &entities);
    wait_until("both own something", || owned(&[&first, &second]).iter().all(|owned| !owned.is_empty()));
    decider.hear(10);
    wait_until("both bill", || books.charged() == decider.owed);
    first.stop().expect("in good order");
    wait_until("the second owns all", || owned(&[&second])[0].len() == partitions as usize);
    decider.hear(10);
    wait_until("the second bills", || books.charged() == decider.owed);

    // Every lease came once, and new ones still come: the second tells what the first granted to nobody.
    let leases: Vec<LeaseId> = decider.leases().iter().map(|lease| lease.terms.lease_id).collect();
    assert_eq!(leases.iter().collect::<BTreeSet<_>>().len(), leases.len(), "INV-40: a lease was handed over twice");

    // It drains: all that it received is in the log, and its last word closes it.
    decider.link.drain();
    let end = match &decider.journal {
        EventLog::Embedded(journal) => journal.durable_end(Topic::Events),
    };
    assert!(decider.shipping.drain(end, Duration::from_secs(30), std::thread::sleep), "the journal is shipped");
    let ends = decider.shipping.watch().ends().expect("the log has answered");
    assert!(decider.link.close(&log, ends, Duration::from_secs(30)), "its last word is in the log");
    let state = |state: &str| {
        let servers = second.watch().servers();
        servers.iter().any(|entry| entry.server_id == SERVER && entry.state.name() == state)
    };
    wait_until("the server is closed", || state("closed"));
    second.stop().expect("in good order");
}

/// INV-40: a new process of accounting hears all that servers have said for a day, and takes no earlier run of one for a new one.
fn a_server_is_not_taken_for_one_of_its_earlier_runs<O: Opens>(opens: &O) {
    let log = opens.open();
    let clock = Clock::real();
    let books = Books::new(&clock, log.partition_counts().of(Topic::Events));
    // More runs than accounting remembers.
    for run in 1..=30 {
        let said = FromServer {
            server_id: SERVER,
            boot_id: BootId::from_u128(run),
            at: clock.now(),
            echoes: Vec::new(),
            word: Word::Registered,
        };
        let record =
            NewRecord { topic: Topic::Servers, key: SERVER.to_bytes().into(), payload: encode_from_server(&said) };
        log.hand_over(record, Box::new(|told| assert!(told.is_ok(), "appended")));
    }
    let decider = Decider::start(&log, &clock);
    let known = |handle: &PartitionsHandle| {
        let servers = handle.watch().servers();
        servers.into_iter().find(|entry| (entry.server_id, entry.boot_id) == (SERVER, BOOT))
    };
    let first = accounting(&log, &books, &clock, 1_001, &[]);
    wait_until("the server is known", || known(&first).is_some());
    let registered_at = known(&first).expect("just seen").registered_at;
    first.stop().expect("in good order");
    let begun = clock.now().wall;
    let second = accounting(&log, &books, &clock, 1_002, &[]);
    wait_until("the server is heard of anew", || {
        decider.report();
        known(&second).is_some_and(|entry| entry.heard_at > begun)
    });
    let entry = known(&second).expect("just seen");
    assert_eq!(entry.registered_at, registered_at, "it registered once: earlier runs were taken for new ones");
    second.stop().expect("in good order");
}

#[test]
fn embedded_a_server_is_not_taken_for_one_of_its_earlier_runs() {
    a_server_is_not_taken_for_one_of_its_earlier_runs(&Embedded::new());
}

#[test]
fn kafka_a_server_is_not_taken_for_one_of_its_earlier_runs() {
    let Some(kafka) = Kafka::new("kafka_a_server_is_not_taken_for_one_of_its_earlier_runs") else { return };
    a_server_is_not_taken_for_one_of_its_earlier_runs(&kafka);
}

#[test]
fn embedded_owners_follow_one_another_and_what_is_heard_is_billed_once() {
    owners_follow_one_another_and_what_is_heard_is_billed_once(&Embedded::new());
}

#[test]
fn kafka_owners_follow_one_another_and_what_is_heard_is_billed_once() {
    let Some(kafka) = Kafka::new("kafka_owners_follow_one_another_and_what_is_heard_is_billed_once") else { return };
    owners_follow_one_another_and_what_is_heard_is_billed_once(&kafka);
}
