//! The ceiling: the same bytes through a client that does nothing else, with the same promises (idempotent, `acks=all`, zstd; committed records only).

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::statistics::Statistics;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use segue::event_log::kafka::Connection;
use segue::event_log::{NewRecord, Topic, partition};

use super::measure::{Checks, Meter};
use super::{PARTITIONS, PATIENCE};

/// Its producer, as Segue's is set up.
pub(crate) fn producer_config(connection: &Connection) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &connection.brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("message.max.bytes", "1000000")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536");
    config
}

/// Sends and reads the records.
pub(crate) fn produce_and_consume(connection: &Connection, records: &[NewRecord], checks: &mut Checks) {
    let topic = connection.topic_name(Topic::Engagement);
    let producer: BaseProducer = producer_config(connection).create().expect("a producer");
    let meter = Meter::start("ceiling: bare producer");
    for record in records {
        send(&producer, &topic, partition(&record.key, PARTITIONS), (&record.key, &record.payload));
    }
    producer.flush(PATIENCE).expect("sent");
    meter.end(records.len(), checks);

    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &connection.brokers)
        .set("group.id", "cost")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut places = TopicPartitionList::new();
    for partition in 0..PARTITIONS.cast_signed() {
        places.add_partition_offset(&topic, partition, Offset::Beginning).expect("a place");
    }
    let meter = Meter::start("ceiling: bare consumer");
    consumer.assign(&places).expect("assigned");
    let (mut read, mut bytes) = (0, 0);
    while read < records.len() {
        if let Some(message) = consumer.poll(Duration::from_secs(30)) {
            bytes += message.expect("read").payload().map_or(0, <[u8]>::len);
            read += 1;
        }
    }
    meter.end(read, checks);
    assert_eq!(bytes, records.iter().map(|record| record.payload.len()).sum::<usize>());
}

/// Hands a record over; waits while the queue is full.
pub(crate) fn send<C: rdkafka::producer::ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    topic: &str,
    partition: u32,
    (key, payload): (&[u8], &[u8]),
) {
    let mut record = BaseRecord::to(topic).partition(partition.cast_signed()).key(key).payload(payload);
    while let Err((_, refused)) = producer.send(record) {
        producer.poll(Duration::from_millis(5));
        record = refused;
    }
    producer.poll(Duration::ZERO);
}

/// Counts what a producer sends to the brokers, as it is on the wire.
#[derive(Clone, Default)]
pub(crate) struct OnTheWire(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl OnTheWire {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl ClientContext for OnTheWire {
    fn stats(&self, statistics: Statistics) {
        let sent: u64 = statistics.brokers.values().map(|broker| broker.txbytes).sum();
        self.0.store(sent, std::sync::atomic::Ordering::Relaxed);
    }
}

impl rdkafka::producer::ProducerContext for OnTheWire {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}
