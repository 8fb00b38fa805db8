//! Reads partitions of one topic: a consumer with its partitions named, in no group; it keeps no position in Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::connection::{Connection, Context, Watch};
use super::silence::Silence;
use super::{LogError, Trouble};
use crate::clock::Clock;
use crate::event_log::record::Record;
use crate::event_log::shared::{LogReader, Position};
use crate::event_log::topic::Topic;
use crate::model::WallMs;

/// Most kibibytes fetched ahead of whoever reads.
const AHEAD_KIB_MAX: u32 = 16 << 10;
/// Reports of passing trouble that one read sits through: each says that the library is trying again.
const PASSING_TROUBLES_MAX: u32 = 16;

/// How often it is asked where a partition ends while its leader is not known.
const END_ATTEMPTS: u32 = 20;
/// Pause between two such questions.
const END_PAUSE: Duration = Duration::from_millis(100);
/// How long a look at a silent partition waits for a broker.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// Reads partitions of one topic; see [`super::SharedLog::reader`].
pub struct KafkaReader {
    topic: Topic,
    name: String,
    connection: Connection,
    consumer: BaseConsumer<Context>,
    watch: Arc<Watch>,
    /// Of this machine, for looks at silent partitions.
    clock: Clock,
    silence: Silence,
    /// Where each partition's next read begins.
    next: BTreeMap<u32, u64>,
    /// Partitions that were seen to their end since their last record.
    ended: BTreeSet<u32>,
    /// Met behind records that were good: told by the next read. The library says it once.
    untold: Option<Trouble>,
}

/// A consumer of committed records that keeps nothing in Kafka by itself. `group` is whose positions it may ask for.
pub(super) fn consumer(
    connection: &Connection,
    watch: &Arc<Watch>,
    group: &str,
) -> Result<BaseConsumer<Context>, Trouble> {
    let mut client = connection.client_config()?;
    client
        .set("group.id", connection.group_name(group))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        // A place that is gone is somebody's to judge: to go on elsewhere in silence would lose records.
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", AHEAD_KIB_MAX.to_string());
    let context = Context::new(connection, watch);
    client.create_with_context(context).map_err(|error| watch.trouble("make a consumer", &error))
}

/// A consumer that reads on from these places.
fn reading(
    connection: &Connection,
    watch: &Arc<Watch>,
    name: &str,
    from: &[Position],
) -> Result<BaseConsumer<Context>, Trouble> {
    let consumer = consumer(connection, watch, "reader")?;
    let mut places = TopicPartitionList::with_capacity(from.len());
    for position in from {
        let added = places.add_partition_offset(name, number(position.partition), place(position.offset));
        added.map_err(|error| watch.trouble("begin to read", &error))?;
    }
    consumer.assign(&places).map_err(|error| watch.trouble("begin to read", &error))?;
    Ok(consumer)
}

/// Where the first records lie that were stamped at `at` or later; the end of a partition that has none.
pub(super) fn offsets_at(
    connection: &Connection,
    topic: Topic,
    partitions: u32,
    at: WallMs,
) -> Result<Vec<Position>, Trouble> {
    let watch = Arc::new(Watch::default());
    let consumer = consumer(connection, &watch, "reader")?;
    let (name, wait) = (connection.topic_name(topic), Duration::from_millis(connection.connect_timeout_ms));
    let told = |error: KafkaError| watch.trouble("ask where a time begins", &error);
    let mut asked = TopicPartitionList::with_capacity(usize::try_from(partitions).unwrap_or(0));
    for partition in 0..partitions {
        asked.add_partition_offset(&name, number(partition), Offset::Offset(at.0.max(0))).map_err(told)?;
    }
    let found = consumer.offsets_for_times(asked, wait).map_err(told)?;
    let offset = |partition| match found.find_partition(&name, number(partition)).map(|found| found.offset()) {
        Some(Offset::Offset(offset)) => Ok(u64::try_from(offset).unwrap_or(0)),
        _ => consumer
            .fetch_watermarks(&name, number(partition), wait)
            .map(|(_, end)| u64::try_from(end).unwrap_or(0))
            .map_err(told),
    };
    (0..partitions).map(|partition| Ok(Position { partition, offset: offset(partition)? })).collect()
}

impl KafkaReader {
    pub(super) fn open(connection: &Connection, topic: Topic, from: &[Position]) -> Result<Self, Trouble> {
        let watch = Arc::new(Watch::default());
        let name = connection.topic_name(topic);
        let consumer = reading(connection, &watch, &name, from)?;
        let clock = Clock::real();
        let silence = Silence::new(from.iter().map(|position| position.partition), clock.now().monotonic);
        Ok(Self {
            topic,
            name,
            connection: connection.clone(),
            consumer,
            watch,
            clock,
            silence,
            next: from.iter().map(|position| (position.partition, position.offset)).collect(),
            ended: BTreeSet::new(),
            untold: None,
        })
    }

    /// Looks at partitions that are silent. Where the library has stopped fetching, a consumer begins anew at the same place.
    fn look(&mut self) -> Result<(), Trouble> {
        let now = self.clock.now().monotonic;
        let mut stopped = None;
        for partition in self.silence.due(now) {
            // While no broker answers, silence is all there is.
            let Ok((_, end)) = self.consumer.fetch_watermarks(&self.name, number(partition), LOOK_WAIT) else { break };
            if self.silence.looked(partition, u64::try_from(end).unwrap_or(0), now) {
                stopped = Some((partition, end));
            }
        }
        let Some((partition, end)) = stopped else { return Ok(()) };
        tracing::warn!(
            topic = self.name,
            partition,
            offset = self.next.get(&partition),
            end,
            "the client library has stopped fetching a partition; it is read on by another consumer"
        );
        let from = self.positions();
        self.consumer = reading(&self.connection, &self.watch, &self.name, &from)?;
        self.ended.clear();
        self.silence = Silence::new(from.iter().map(|position| position.partition), self.clock.now().monotonic);
        Ok(())
    }

    fn trouble(&self, error: &KafkaError) -> Trouble {
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) => {
                Trouble::NoOffset { topic: self.topic, reason: code.to_string() }
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Trouble::TopicsMissing { brokers: "its brokers".to_owned(), topics: vec![self.name.clone()] }
            }
            _ => self.watch.trouble("read", error),
        }
    }
}

impl LogReader for KafkaReader {
    fn read(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        if let Some(trouble) = self.untold.take() {
            return Err(trouble.into());
        }
        self.look()?;
        let mut records = Vec::new();
        let mut passing_troubles = 0;
        let mut answered = false;
        while records.len() < records_max {
            // What has come is taken; only for the first is there a wait.
            let wait = if records.is_empty() { wait } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let record = record(self.topic, &message);
                    self.next.insert(record.partition, record.offset + 1);
                    self.ended.remove(&record.partition);
                    self.silence.heard(record.partition, false);
                    answered = true;
                    records.push(record);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Ok(partition) = u32::try_from(partition) {
                        self.ended.insert(partition);
                        self.silence.heard(partition, true);
                    }
                    answered = true;
                    if self.is_at_end() && !records.is_empty() {
                        break;
                    }
                }
                Some(Err(error)) => {
                    passing_troubles += 1;
                    // Trouble that passes ends the read only where no retry mends it, or when there is no end of it.
                    let is_passing = is_passing(&error) && self.watch.refusal().is_none();
                    if !is_passing {
                        self.untold = Some(self.trouble(&error));
                    }
                    if !is_passing || passing_troubles == PASSING_TROUBLES_MAX {
                        break;
                    }
                }
                None => break,
            }
        }
        if answered {
            self.watch.clear();
        }
        // What was read before it is good, and goes first.
        match self.untold.take_if(|_| records.is_empty()) {
            Some(trouble) => Err(trouble.into()),
            None => Ok(records),
        }
    }

    fn is_at_end(&self) -> bool {
        self.ended.len() == self.next.len()
    }

    fn is_at_end_of(&self, partition: u32) -> bool {
        self.ended.contains(&partition)
    }

    fn positions(&self) -> Vec<Position> {
        self.next.iter().map(|(&partition, &offset)| Position { partition, offset }).collect()
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        let answer_within = Duration::from_millis(self.connection.connect_timeout_ms);
        let count = self.next.keys().last().map_or(0, |last| last + 1);
        if !self.next.contains_key(&partition) {
            return Err(LogError::NoPartition { topic: self.topic, partition, count });
        }
        let mut attempt = 1;
        loop {
            match self.consumer.fetch_watermarks(&self.name, number(partition), answer_within) {
                Ok((_, end)) => return Ok(u64::try_from(end).unwrap_or(0)),
                // A partition's leader changes, or is not known yet: asked again, the library looks for the new one. What has waited in vain has waited enough.
                Err(error)
                    if is_passing(&error)
                        && error.rdkafka_error_code() != Some(RDKafkaErrorCode::OperationTimedOut)
                        && self.watch.refusal().is_none()
                        && attempt < END_ATTEMPTS =>
                {
                    attempt += 1;
                    std::thread::sleep(END_PAUSE);
                }
                Err(error) => return Err(self.trouble(&error).into()),
            }
        }
    }
}

/// Whether the library goes on by itself after this.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, CoordinatorNotAvailable, LeaderNotAvailable, NetworkException,
        NotCoordinator, NotLeaderForPartition, OperationTimedOut, RequestTimedOut, Resolve,
    };
    error.rdkafka_error_code().is_some_and(|code| {
        [
            AllBrokersDown,
            BrokerTransportFailure,
            CoordinatorNotAvailable,
            LeaderNotAvailable,
            NetworkException,
            NotCoordinator,
            NotLeaderForPartition,
            OperationTimedOut,
            RequestTimedOut,
            Resolve,
        ]
        .contains(&code)
    })
}

fn record(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    Record {
        offset: u64::try_from(message.offset()).expect("offsets of messages begin at 0"),
        topic,
        partition: u32::try_from(message.partition()).expect("partitions of messages begin at 0"),
        key: message.key().unwrap_or_default().to_vec(),
        at: WallMs(message.timestamp().to_millis().unwrap_or(0)),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("PartitionCounts are bounded")
}

fn place(offset: u64) -> Offset {
    // 0 is where the partition begins, also when retention has removed its first records.
    if offset == 0 { Offset::Beginning } else { Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX)) }
}
