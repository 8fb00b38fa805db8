//! The shared event log: one behaviour suite, run against every implementation. Embedded over a folder; Kafka beside the tests where one runs.

mod behaviour;
mod consumers;
mod dead_letter;
mod kafka;
mod page;
mod shipping;
mod topics;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use segue::clock::Clock;
use segue::event_log::kafka::topics::{Admin, TopicPlan};
use segue::event_log::kafka::{Compression, Connection, KafkaLog, KafkaLogConfig};
use segue::event_log::{EmbeddedLog, EmbeddedLogConfig, PartitionCounts, Topic};
use segue::journal::{Identity, RealDisk, SharedDisk};
use segue::model::{BootId, ServerId, WallMs};
use tempfile::TempDir;

use crate::harness::{engine, folder};

/// What every record is stamped with: the present, as of the first look. A broker judges the age of records by a clock of its own, and removes in the
/// middle of a test what is of another year.
fn now() -> WallMs {
    static NOW: LazyLock<WallMs> = LazyLock::new(|| Clock::real().now().wall);
    *NOW
}

/// Few partitions: each costs the broker files.
fn partitions() -> PartitionCounts {
    Topic::ALL
        .into_iter()
        .filter(|topic| *topic != Topic::Catalog)
        .fold(PartitionCounts::default(), |counts, topic| counts.with(topic, 2).expect("a possible count"))
}

/// A log that can be opened anew: what it holds stays.
pub(crate) trait Opens {
    type Log: segue::event_log::SharedLog;
    fn open(&self) -> Self::Log;
}

pub(crate) struct Embedded(TempDir);

impl Embedded {
    pub(crate) fn new() -> Self {
        Self(folder())
    }
}

impl Opens for Embedded {
    type Log = Arc<EmbeddedLog>;

    fn open(&self) -> Arc<EmbeddedLog> {
        let identity = Identity { server: ServerId::from_u128(1), boot: BootId::from_u128(2) };
        let config = EmbeddedLogConfig { partitions: partitions(), ..EmbeddedLogConfig::new(self.0.path(), identity) };
        let disk: SharedDisk = Arc::new(RealDisk);
        Arc::new(EmbeddedLog::open(&config, &disk, now).expect("opens"))
    }
}

/// Topics of its own in the broker beside the tests.
pub(crate) struct Kafka(Connection);

impl Kafka {
    /// None, and the test counted as skipped, where no broker runs.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let kafka = Self(connection(test)?);
        let admin = Admin::connect(&kafka.0).expect("the broker answers");
        let plans = TopicPlan::all(&kafka.0, &partitions());
        admin.make(&plans.iter().collect::<Vec<_>>()).expect("topics are made");
        Some(kafka)
    }

    fn config(&self, compression: Compression) -> KafkaLogConfig {
        KafkaLogConfig { connection: self.0.clone(), partitions: partitions(), compression }
    }
}

impl Opens for Kafka {
    type Log = KafkaLog;

    fn open(&self) -> KafkaLog {
        KafkaLog::open(self.config(Compression::Zstd), now).expect("connects")
    }
}

/// How to reach the broker beside the tests, with names that no other test uses.
fn connection(test: &str) -> Option<Connection> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let broker = engine("SEGUE_TEST_KAFKA", test)?;
    // The broker outlives the process when a developer keeps one running.
    let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    Some(Connection { topic_prefix: format!("t{process}-{number}."), ..Connection::plain(broker) })
}
