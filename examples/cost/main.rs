//! What money's path costs: processor seconds and events a second of each step alone, beside a minimal Kafka client as the ceiling; and how many bytes
//! decision servers and accounting tell each other.
//!
//! `make cost`, or `scripts/engines/with.sh cargo run --release --example cost -- [--events N] [--seconds N] [--line-items N] [--json]`. Each step does what
//! the server does, with the product's own roles, and nothing else runs in the process meanwhile; the engines are processes of their own, whose time isn't
//! counted, but which share the machine. With `--json` the last line is `{commit, machine, checks: [{name, value, unit}]}`.

mod bare;
mod measure;
mod traffic;

#[path = "../restart/stream.rs"]
mod stream;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser as _;
use segue::accounting::{Commit, record_digest};
use segue::catalog::Entity;
use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::event_log::kafka::topics::{Admin, TopicPlan};
use segue::event_log::kafka::{Compression, Connection, KafkaLog, KafkaLogConfig};
use segue::event_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, NewRecord, PartitionCounts, Shipping, Topic, Which};
use segue::events;
use segue::journal::{Faults, Identity, RealDisk, SharedDisk};
use segue::model::{BootId, MonotonicMs, Now, ServerId};
use segue::roles::accounting::{AccountingMachine, Batch, Input, LogRecord, ShellSettings, spawn, spawn_partitions};
use segue::store::cql::{CqlConnection, CqlSession, schema};
use segue::store::{CqlLedgerPart, LedgerSettings, LedgerStore, OwnsLedger as _, Store};
use segue::telemetry::Metrics;

use measure::{Checks, Meter, per_second};

/// Partitions of the events.
const PARTITIONS: u32 = 4;
/// Beacons that wait for their acknowledgement at a time: what a server has under way when its disk is the limit.
const WAITING_MAX: usize = 1_000;
/// Leases of the stream, each of a line item of its own.
const LEASES: u64 = 1_000;
/// Events of one commit of the books: 200 ms at 10,000 a second.
const COMMIT_EVENTS: usize = 2_000;
/// Longest wait for a step.
const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(10);
const IDENTITY: Identity = Identity { server: ServerId::from_u128(7), boot: BootId::from_u128(8) };

/// What the path of money costs, step by step.
#[derive(clap::Parser)]
struct Options {
    /// Events of each step.
    #[arg(long, default_value_t = 300_000)]
    events: usize,
    /// Virtual seconds of lease traffic that are measured, after one minute that is not.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Line items of the lease traffic.
    #[arg(long, default_value_t = 100_000)]
    line_items: usize,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() {
    let options = Options::parse();
    // What the roles warn of.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let [kafka, cql] = ["SEGUE_TEST_KAFKA", "SEGUE_TEST_CQL"].map(|name| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by scripts/engines/with.sh"))
    });
    let mut checks = Checks::default();
    let connection =
        Connection { topic_prefix: format!("cost{}.", std::process::id()), ..Connection::plain(kafka.clone()) };
    let log = open_kafka(&connection);

    traffic::measure(&options, &connection, &mut checks);

    let records = records(options.events);
    let bytes = records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
    println!("{} events of {} bytes on average", records.len(), bytes / records.len() as u64);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = append(folder.path(), &records, &mut checks);
    ship(folder.path(), &journal, &log, &mut checks);
    account_embedded(folder.path(), &journal, &mut checks);
    let commits = commits(&records);
    ledger_embedded(&commits, records.len(), &mut checks);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let session = open_cql(&runtime, &cql);
    account_shared(&log, &session, records.len(), &mut checks);
    ledger_cql(&session, &commits, records.len(), &mut checks);
    drop_keyspace(&runtime, &session);
    bare::produce_and_consume(&connection, &records, &mut checks);
    checks.print(options.json);
}

/// The stream as records: leases, and of each impression what is heard of it. A thousand leases of as many line items are drawn from by turns.
fn records(count: usize) -> Vec<NewRecord> {
    let per_lease = u64::from(stream::IMPRESSIONS_PER_LEASE);
    let mut records: Vec<_> = (0..LEASES).map(|lease| stream::grant(lease * per_lease)).collect();
    for turn in 0..LEASES * per_lease {
        if records.len() >= count {
            break;
        }
        records.extend(stream::beacons(turn % LEASES * per_lease + turn / LEASES));
    }
    let record = |envelope: segue::events::Envelope| NewRecord {
        topic: Topic::Events,
        key: envelope.body.key().to_vec(),
        payload: events::encode(&envelope),
    };
    records.into_iter().map(record).collect()
}

fn partitions() -> PartitionCounts {
    let topics = Topic::ALL.into_iter().filter(|topic| *topic != Topic::Catalog);
    topics.fold(PartitionCounts::default(), |counts, topic| counts.with(topic, PARTITIONS).expect("a possible count"))
}

fn open_kafka(connection: &Connection) -> KafkaLog {
    let admin = Admin::connect(connection).expect("the broker answers");
    let plans = TopicPlan::all(connection, &partitions());
    admin.make(&plans.iter().collect::<Vec<_>>()).expect("topics are made");
    let (connection, clock) = (connection.clone(), Clock::real());
    let config = KafkaLogConfig { connection, partitions: partitions(), compression: Compression::Zstd };
    KafkaLog::open(config, move || clock.now().wall).expect("connects")
}

/// Each event an append of its own, many under way: they are synced in groups.
fn append(folder: &Path, records: &[NewRecord], checks: &mut Checks) -> Arc<EmbeddedLog> {
    let (disk, clock): (SharedDisk, _) = (Arc::new(RealDisk), Clock::real());
    let config = EmbeddedLogConfig::new(folder, IDENTITY);
    let log = Arc::new(EmbeddedLog::open(&config, &disk, move || clock.now().wall).expect("an empty folder"));
    let waiting = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let meter = Meter::start("journal append, synced in groups");
    for record in records {
        let (count, told) = &*waiting;
        let mut held = told
            .wait_while(count.lock().unwrap_or_else(PoisonError::into_inner), |count| *count >= WAITING_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *held += 1;
        drop(held);
        let waiting = Arc::clone(&waiting);
        log.submit(std::slice::from_ref(record), move |result| {
            result.expect("appended");
            *waiting.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            waiting.1.notify_one();
        });
    }
    let (count, told) = &*waiting;
    drop(told.wait_while(count.lock().unwrap_or_else(PoisonError::into_inner), |count| *count > 0));
    meter.end(records.len(), checks);
    log
}

fn ship(folder: &Path, journal: &Arc<EmbeddedLog>, log: &KafkaLog, checks: &mut Checks) {
    let (disk, clock): (SharedDisk, _) = (Arc::new(RealDisk), Clock::real());
    let end = journal.durable_end(Topic::Events);
    let meter = Meter::start("shipper, journal to Kafka");
    let shipping =
        Shipping::start(Arc::clone(journal), Which::Money, log.clone(), (&disk, folder), move || clock.now());
    let shipping = shipping.expect("ships");
    assert!(shipping.drain(end, PATIENCE, std::thread::sleep), "shipped");
    meter.end(usize::try_from(end).expect("a count"), checks);
    shipping.stop().expect("in good order");
}

fn settings() -> ShellSettings {
    ShellSettings { machine: stream::settings(), settle_margin_ms: 1_000, faults: Faults::none() }
}

/// Reads, applies, commits to the embedded tables every 200 ms.
fn account_embedded(folder: &Path, journal: &Arc<EmbeddedLog>, checks: &mut Checks) {
    let store = Store::open(folder, stream::T0, &Entropy::seeded(1)).expect("opens");
    let ledger = store.ledger().expect("opens");
    let (clock, end) = (Clock::real(), journal.durable_end(Topic::Events));
    let log = EventLog::Embedded(Arc::clone(journal));
    let meter = Meter::start("accounting, embedded");
    let handle = spawn(log, ledger.into(), settings(), clock, Metrics::new(), |_| {}).expect("starts");
    wait("accounting reads to the end", || handle.cursor() >= end);
    handle.stop().expect("in good order");
    meter.end(usize::try_from(end).expect("a count"), checks);
}

fn open_cql(runtime: &tokio::runtime::Runtime, host: &str) -> CqlSession {
    let connection = CqlConnection {
        hosts: vec![host.to_owned()],
        keyspace: format!("cost{}", std::process::id()),
        datacenter: "datacenter1".to_owned(),
        replication: 1,
        login: None,
        tls: None,
        connect_timeout_ms: 30_000,
        read_timeout_ms: 30_000,
        speculative_after_ms: 1_000,
        write_timeout_ms: 30_000,
        conditional_timeout_ms: 30_000,
        listener_max_age_ms: 30_000,
    };
    println!("making the tables in Cassandra");
    runtime.block_on(schema::apply(&connection, "cost", Clock::real().now().wall)).expect("applied");
    runtime.block_on(CqlSession::open(&connection)).expect("connects")
}

fn drop_keyspace(runtime: &tokio::runtime::Runtime, session: &CqlSession) {
    let statement = format!("DROP KEYSPACE {}", session.keyspace());
    // It ends with the node, if not now.
    let _ = runtime.block_on(session.driver().query_unpaged(statement, ()));
}

fn part(session: &CqlSession, part: u32) -> LedgerStore {
    CqlLedgerPart::new(session.clone(), part, &LedgerSettings::default(), Clock::real(), Entropy::real()).into()
}

/// Claims, consumes, applies, commits in transactions, writes the books to CQL: all partitions in this process.
fn account_shared(log: &KafkaLog, session: &CqlSession, events: usize, checks: &mut Checks) {
    let books = session.clone();
    let open = Box::new(move |partition| Ok(part(&books, partition)));
    let handle = spawn_partitions(log.clone(), open, settings(), Clock::real(), Metrics::new()).expect("starts");
    handle.changes().send(Vec::<Entity>::new()).expect("it lives");
    let watch = handle.watch();
    // The group takes some seconds to say whose the partitions are; they cost nothing.
    let meter = Meter::start("accounting, over Kafka and CQL");
    wait("all partitions are owned", || !watch.owned().0.is_empty());
    let began = meter.elapsed_seconds();
    wait("accounting reads to the end", || {
        let (owned, replayed) = watch.owned();
        owned.len() == PARTITIONS as usize && replayed == owned.len()
    });
    handle.stop().expect("in good order");
    meter.end_since(began, events, checks);
}

/// The commits that accounting makes of the records.
fn commits(records: &[NewRecord]) -> Vec<Commit> {
    let now = |ms| Now { wall: stream::T0, monotonic: MonotonicMs(ms) };
    let mut machine = AccountingMachine::new(stream::settings(), segue::accounting::LedgerState::default(), now(1));
    let mut commits = Vec::new();
    let (mut offset, mut ms) = (0, 1);
    for piece in records.chunks(COMMIT_EVENTS) {
        let record = |(offset, record): (u64, &NewRecord)| LogRecord {
            offset,
            digest: record_digest(&record.payload),
            envelope: events::decode(&record.payload).expect("just encoded"),
        };
        let records = (offset..).zip(piece).map(record).collect();
        offset += piece.len() as u64;
        ms += 1_000;
        let batch = Batch { records, next: offset, end: u64::MAX };
        commits.extend(machine.step(Input::Records(batch), now(ms)).commit);
    }
    commits.extend(machine.finish(now(ms)));
    commits
}

/// Rows that a commit writes: those of its balances, leases, totals and the rest.
fn rows(commits: &[Commit]) -> usize {
    let of = |commit: &Commit| {
        let Commit { balances, leases, past, reversals, loose, delivery, .. } = commit;
        balances.len() + leases.len() + past.len() + reversals.len() + loose.len() + delivery.len() + 1
    };
    commits.iter().map(of).sum()
}

fn ledger_embedded(commits: &[Commit], events: usize, checks: &mut Checks) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path(), stream::T0, &Entropy::seeded(1)).expect("opens");
    let ledger = store.ledger().expect("opens").into();
    write_books("ledger, embedded", &ledger, commits, events, checks);
}

fn ledger_cql(session: &CqlSession, commits: &[Commit], events: usize, checks: &mut Checks) {
    write_books("ledger, CQL", &part(session, 1_000), commits, events, checks);
}

fn write_books(name: &'static str, ledger: &LedgerStore, commits: &[Commit], events: usize, checks: &mut Checks) {
    ledger.load().expect("loads");
    let meter = Meter::start(name);
    for commit in commits {
        ledger.commit(commit).expect("commits");
    }
    let seconds = meter.end(events, checks);
    checks.add(format!("{name}: commits"), per_second(commits.len(), seconds), "1/s");
    checks.add(format!("{name}: rows"), per_second(rows(commits), seconds), "1/s");
}

/// Waits for something that comes by itself, and says so while it doesn't.
fn wait(what: &str, is_there: impl Fn() -> bool) {
    let clock = Clock::real();
    let began = clock.now().monotonic;
    while !is_there() {
        let waited = clock.now().monotonic.since(began);
        assert!(u128::from(waited) < PATIENCE.as_millis(), "{what}: not within {PATIENCE:?}");
        std::thread::sleep(PAUSE);
    }
}
