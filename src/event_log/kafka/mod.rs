//! The event log in Apache Kafka: a [`SharedLog`] for many servers.
//!
//! * **Hand over**: one idempotent producer a log, `acks=all`, no end of retrying. Kafka keeps the order within a partition whatever is sent again, and
//!   writes each record once as long as this producer lives; after a crash records come twice, and consumers dedupe by id.
//! * **Read**: committed records only.
//! * **Claim**: a transactional producer a partition group, whose `transactional.id` is the group's. Claiming raises its epoch, and the broker refuses
//!   what an older epoch sends. How far a group has consumed is its consumer group's offset, sent in the same transaction as what it made.
//!
//! * **Join**: a consumer group, which Kafka shares a topic's partitions out to; nothing is read by it.
//!
//! The partition is computed here ([`PartitionCounts::partition`]), never by the client library: a key's place is the same in every implementation.
//!
//! Left to others: who claims which group. The topics are made by `segue topics apply` ([`topics`]); none is made by writing to it.

mod connection;
mod membership;
mod owner;
mod reader;
mod silence;
pub mod topics;
mod transactions;
mod trouble;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message as _, Statistics};

use super::record::{KEY_BYTES_MAX, NewRecord};
use super::shared::{
    Acknowledge, LogError, PartitionGroup, Position, SharedLog, check_group, check_group_name, check_partitions,
};
use super::topic::{PartitionCounts, Topic};
use crate::model::WallMs;
pub use connection::{Compression, Connection, Login, Mechanism, Password, Security};
use connection::{Context, Watch};
pub use membership::KafkaMembership;
pub use owner::KafkaOwner;
pub use reader::KafkaReader;
pub use trouble::Trouble;

/// Most records that wait to be sent or acknowledged; beyond it [`LogError::Full`]. Ten seconds at 10,000 a second.
const QUEUE_RECORDS_MAX: usize = 100_000;
/// Most kibibytes that wait.
const QUEUE_KIB_MAX: usize = 64 << 10;
/// How long a record waits for others to travel with, in milliseconds: money waits in the journal anyway.
const LINGER_MS: u32 = 5;
/// Largest record as sent, in bytes, before compression; topics are made to take it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// Time between two counts of the client library, in milliseconds: each is some kilobytes of JSON to read.
const STATISTICS_MS: u32 = 5_000;
/// At the end: how long to wait for what is still on its way. What is not acknowledged by then is sent again by the next start.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Settings of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaLogConfig {
    /// How the brokers are reached.
    pub connection: Connection,
    /// Partitions; the topics must have been made with these.
    pub partitions: PartitionCounts,
    /// How records are compressed on their way and at rest.
    pub compression: Compression,
}

/// The event log in Kafka. Cheap to clone. The last clone that goes waits some seconds for what is on its way.
#[derive(Clone)]
pub struct KafkaLog(Arc<Inner>);

struct Inner {
    config: KafkaLogConfig,
    /// Reads the wall clock, for the records' stamps.
    clock: Box<dyn Fn() -> WallMs + Send + Sync>,
    watch: Arc<Watch>,
    counts: Arc<ProducerCounts>,
    producer: ThreadedProducer<Acknowledging>,
}

/// What the client library counts; as of some seconds ago. Counts, ordered with nothing.
#[derive(Default, Debug)]
struct ProducerCounts {
    queue_bytes: AtomicU64,
    retries: AtomicU64,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Connects, and checks that the topics are there, have the configured partitions and enough replicas in sync. `clock` reads the wall clock.
    ///
    /// # Errors
    /// [`Trouble`]: one line that says what to do.
    pub fn open(config: KafkaLogConfig, clock: impl Fn() -> WallMs + Send + Sync + 'static) -> Result<Self, Trouble> {
        let log = Self::begin(config, clock)?;
        log.check()?;
        Ok(log)
    }

    /// As [`Self::open`], without waiting for a broker: what is handed over waits until one answers. `clock` reads the wall clock.
    ///
    /// # Errors
    /// [`Trouble`], of the settings' files alone.
    pub fn begin(config: KafkaLogConfig, clock: impl Fn() -> WallMs + Send + Sync + 'static) -> Result<Self, Trouble> {
        let watch = Arc::new(Watch::default());
        let mut client = producer_config(&config)?;
        client.set("message.timeout.ms", "0"); // tried again without end
        client.set("statistics.interval.ms", STATISTICS_MS.to_string());
        let counts = Arc::new(ProducerCounts::default());
        let context = Acknowledging(Context::new(&config.connection, &watch), Arc::clone(&counts));
        let producer: ThreadedProducer<Acknowledging> =
            client.create_with_context(context).map_err(|error| watch.trouble("make a producer", &error))?;
        Ok(Self(Arc::new(Inner { config, clock: Box::new(clock), watch, counts, producer })))
    }

    /// Whether the topics are there, have the configured partitions and enough replicas in sync. Waits for a broker, the connection's timeout at most.
    ///
    /// # Errors
    /// [`Trouble`]: one line that says what to do. [`Trouble::may_pass`] tells an outage from what somebody has to mend.
    pub fn check(&self) -> Result<(), Trouble> {
        let KafkaLogConfig { connection, partitions, .. } = &self.0.config;
        topics::Admin::connect(connection)?.check(connection, partitions)
    }

    /// Whether a broker answers now. Waits for it, the connection's timeout at most.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn look(&self) -> Result<(), Trouble> {
        let connection = &self.0.config.connection;
        let (one, wait) = (self.topic_name(Topic::Catalog), Duration::from_millis(connection.connect_timeout_ms));
        match self.0.producer.client().fetch_metadata(Some(&one), wait) {
            Ok(_) => {
                self.0.watch.clear();
                Ok(())
            }
            Err(error) => Err(self.0.watch.trouble("ask its brokers", &error)),
        }
    }

    /// Why nothing can be appended any more, if that is so: the producer lost its place in a partition's order. Only a new start helps.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.producer.client().fatal_error().map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Records handed over and not yet acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.0.producer.in_flight_count()).unwrap_or(0)
    }

    /// Bytes of the records handed over and not yet acknowledged, as of some seconds ago.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        self.0.counts.queue_bytes.load(Ordering::Relaxed)
    }

    /// Requests to brokers that had to be made again, since the start.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.counts.retries.load(Ordering::Relaxed)
    }

    fn topic_name(&self, topic: Topic) -> String {
        self.0.config.connection.topic_name(topic)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(CLOSE_WAIT) {
            tracing::warn!(%error, "records were on their way to Kafka at the end; they are sent again at the next start");
        }
    }
}

impl SharedLog for KafkaLog {
    type Reader = KafkaReader;
    type Owner = KafkaOwner;
    type Membership = KafkaMembership;

    fn partition_counts(&self) -> &PartitionCounts {
        &self.0.config.partitions
    }

    fn hand_over(&self, record: NewRecord, done: Acknowledge) {
        if record.key.len() > KEY_BYTES_MAX {
            return done(Err(LogError::KeyTooLong { bytes: record.key.len() }));
        }
        let waiting = Box::new(Waiting { done: Mutex::new(Some(done)), watch: Arc::clone(&self.0.watch) });
        let at = (self.0.clock)();
        let sent = send(&self.0.producer, (&self.0.config, at), &record, waiting);
        if let Err((error, waiting)) = sent {
            waiting.tell(Err(match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => LogError::Full,
                _ => self.0.watch.trouble("append", &error).into(),
            }));
        }
    }

    fn reader(&self, topic: Topic, from: &[Position]) -> Result<KafkaReader, LogError> {
        let config = &self.0.config;
        check_partitions(topic, from.iter().map(|position| position.partition), &config.partitions)?;
        Ok(KafkaReader::open(&config.connection, topic, from)?)
    }

    fn offsets_at(&self, topic: Topic, at: WallMs) -> Result<Vec<Position>, LogError> {
        let config = &self.0.config;
        Ok(reader::offsets_at(&config.connection, topic, config.partitions.of(topic), at)?)
    }

    fn claim(&self, group: &PartitionGroup) -> Result<KafkaOwner, LogError> {
        check_group(group, &self.0.config.partitions)?;
        KafkaOwner::claim(self, group)
    }

    fn join(&self, group: &str, topic: Topic) -> Result<KafkaMembership, LogError> {
        check_group_name(group)?;
        Ok(KafkaMembership::join(&self.0.config.connection, group, topic)?)
    }
}

/// What every producer has in common.
fn producer_config(config: &KafkaLogConfig) -> Result<ClientConfig, Trouble> {
    let mut client = config.connection.client_config()?;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", config.compression.name())
        .set("linger.ms", LINGER_MS.to_string())
        .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX.to_string());
    Ok(client)
}

/// Hands a record to a producer; gives back what waits for its fate when it did not take it.
fn send<C: ProducerContext<DeliveryOpaque = Box<W>> + 'static, W: Send + Sync>(
    producer: &ThreadedProducer<C>,
    (config, at): (&KafkaLogConfig, WallMs),
    record: &NewRecord,
    waiting: Box<W>,
) -> Result<(), (KafkaError, Box<W>)> {
    let name = config.connection.topic_name(record.topic);
    let partition = config.partitions.partition(record.topic, &record.key);
    let sent = BaseRecord::with_opaque_to(&name, waiting)
        .partition(i32::try_from(partition).expect("PartitionCounts are bounded"))
        .key(record.key.as_slice())
        .payload(record.payload.as_slice())
        .timestamp(at.0);
    producer.send(sent).map_err(|(error, refused)| (error, refused.delivery_opaque))
}

/// A record on its way: whom to tell.
struct Waiting {
    /// Taken when it is told. Behind a lock only because the client library may hand it to any thread.
    done: Mutex<Option<Acknowledge>>,
    watch: Arc<Watch>,
}

impl Waiting {
    fn tell(&self, result: Result<Position, LogError>) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            done(result);
        }
    }
}

/// Tells each record's sender what became of it.
struct Acknowledging(Context, Arc<ProducerCounts>);

impl ClientContext for Acknowledging {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.1.queue_bytes.store(statistics.msg_size, Ordering::Relaxed);
        let retries = statistics.brokers.values().map(|broker| broker.txretries).sum();
        self.1.retries.store(retries, Ordering::Relaxed);
    }
}

impl ProducerContext for Acknowledging {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        waiting.tell(match result {
            Ok(message) => {
                waiting.watch.clear();
                position(message.partition(), message.offset())
            }
            Err((error, _)) => Err(waiting.watch.trouble("append", error).into()),
        });
    }
}

fn position(partition: i32, offset: i64) -> Result<Position, LogError> {
    match (u32::try_from(partition), u64::try_from(offset)) {
        (Ok(partition), Ok(offset)) => Ok(Position { partition, offset }),
        _ => Err(Trouble::Other { doing: "append", reason: "the broker names no offset".to_owned() }.into()),
    }
}
