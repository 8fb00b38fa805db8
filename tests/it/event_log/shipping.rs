//! A server's journal, shipped into a log that servers share: INV-36 over the real thing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use segue::clock::Clock;
use segue::event_log::{
    EmbeddedLog, EmbeddedLogConfig, LogReader, NewRecord, Position, SharedLog, Shipping, Topic, Which,
};
use segue::journal::{Identity, RealDisk, SharedDisk};
use segue::model::{BootId, ServerId};
use tempfile::TempDir;

use super::{Embedded, Kafka, Opens, now};
use crate::harness::{folder, wait_until};

/// A server with a journal.
struct Server {
    journal: Arc<EmbeddedLog>,
    dir: TempDir,
    disk: SharedDisk,
}

impl Server {
    fn new() -> Self {
        let (dir, disk): (TempDir, SharedDisk) = (folder(), Arc::new(RealDisk));
        let identity = Identity { server: ServerId::from_u128(9), boot: BootId::from_u128(9) };
        let config = EmbeddedLogConfig::new(dir.path(), identity);
        let journal = Arc::new(EmbeddedLog::open(&config, &disk, now).expect("opens"));
        Self { journal, dir, disk }
    }

    fn hear(&self, payloads: impl IntoIterator<Item = Vec<u8>>) -> u64 {
        for (n, payload) in payloads.into_iter().enumerate() {
            let key = format!("key {}", n % 5).into_bytes();
            self.journal.append_blocking(vec![NewRecord { topic: Topic::Events, key, payload }]).expect("journalled");
        }
        self.journal.durable_end(Topic::Events)
    }

    fn ship<L: SharedLog>(&self, log: &L) -> Shipping {
        let (journal, clock) = (Arc::clone(&self.journal), Clock::real());
        let to = (&self.disk, self.dir.path());
        Shipping::start(journal, Which::Money, log.clone(), to, move || clock.now()).expect("starts")
    }
}

/// How often each payload is there.
type Counts = BTreeMap<Vec<u8>, u32>;

/// How often the log has each payload, and where the records of each partition end.
fn arrived<L: SharedLog>(log: &L) -> (Counts, Vec<(u32, u64)>) {
    let partitions = log.partition_counts().of(Topic::Events);
    let from: Vec<_> = (0..partitions).map(|partition| Position { partition, offset: 0 }).collect();
    let mut reader = log.reader(Topic::Events, &from).expect("a reader");
    let (mut counts, mut ends) = (Counts::new(), BTreeMap::new());
    loop {
        for record in reader.read(1_000, Duration::from_millis(100)).expect("reads") {
            *counts.entry(record.payload).or_default() += 1;
            ends.insert(record.partition, record.offset + 1);
        }
        if reader.is_at_end() {
            return (counts, ends.into_iter().collect());
        }
    }
}

fn numbered(from: u32, to: u32) -> impl Iterator<Item = Vec<u8>> {
    (from..to).map(|n| n.to_be_bytes().to_vec())
}

fn what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped<O: Opens>(opens: &O) {
    let log = opens.open();
    let server = Server::new();
    let end = server.hear(numbered(0, 2_500));
    let shipping = server.ship(&log);
    wait_until("all is shipped and kept", || shipping.watch().kept() == end);
    let ends = shipping.watch().ends().expect("the log has answered");
    shipping.stop().expect("in good order");
    let (counts, found) = arrived(&log);
    assert_eq!((counts.len(), counts.values().max().copied()), (2_500, Some(1)));
    assert_eq!(ends, found, "it knows where its records end");
    // The next run knows it too, from the log alone.
    let shipping = server.ship(&log);
    wait_until("the log was asked", || shipping.watch().ends().is_some());
    assert_eq!(shipping.watch().ends(), Some(found));
    let end = server.hear(numbered(2_500, 2_600));
    wait_until("the rest is shipped and kept", || shipping.watch().kept() == end);
    let (counts, found) = arrived(&log);
    assert_eq!((counts.len(), counts.values().max().copied()), (2_600, Some(1)));
    assert_eq!(shipping.watch().ends(), Some(found));
    assert_eq!(shipping.watch().refused(), 0);
}

#[test]
fn embedded_what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped() {
    what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped(&Embedded::new());
}

#[test]
fn kafka_what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped() {
    const NAME: &str = "kafka_what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped";
    let Some(kafka) = Kafka::new(NAME) else { return };
    what_is_journalled_arrives_once_and_shipping_goes_on_where_it_stopped(&kafka);
}

#[test]
fn a_record_too_large_for_the_log_is_counted_and_holds_nothing_up() {
    let Some(kafka) = Kafka::new("a_record_too_large_for_the_log_is_counted_and_holds_nothing_up") else { return };
    let log = kafka.open();
    let server = Server::new();
    let end = server.hear([vec![1; 10], vec![2; 2_000_000], vec![3; 10]]);
    let shipping = server.ship(&log);
    wait_until("the others are shipped", || shipping.watch().kept() == end);
    assert_eq!((shipping.watch().refused(), shipping.watch().has_ended()), (1, false));
    let (counts, _) = arrived(&log);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), [vec![1; 10], vec![3; 10]]);
}
