//! Sharing out partitions: a member of a consumer group that reads nothing. Kafka notices who died and gives their partitions to others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::connection::{Connection, Context, Watch};
use super::reader::{is_passing, number};
use super::{LogError, Trouble};
use crate::event_log::shared::LogMembership;
use crate::event_log::topic::Topic;

/// A member that was not heard of for so long has died, in milliseconds: the least that brokers allow as they come.
const SESSION_TIMEOUT_MS: u32 = 6_000;
/// Time between two signs of life, in milliseconds.
const HEARTBEAT_MS: u32 = 1_500;
/// A member whose process doesn't take part for so long is stuck, in milliseconds.
const POLL_INTERVAL_MS: u32 = 60_000;

/// Takes part in sharing out partitions; see [`super::SharedLog::join`].
pub struct KafkaMembership {
    name: String,
    consumer: BaseConsumer<Context>,
    watch: Arc<Watch>,
    /// Partitions that are this member's, of which nothing is fetched.
    paused: BTreeSet<u32>,
}

impl KafkaMembership {
    pub(super) fn join(connection: &Connection, group: &str, topic: Topic) -> Result<Self, Trouble> {
        let watch = Arc::new(Watch::default());
        let mut client = connection.client_config()?;
        client
            .set("group.id", connection.group_name(group))
            // A partition moves only where it must, and those that stay are not disturbed.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_MS.to_string())
            .set("max.poll.interval.ms", POLL_INTERVAL_MS.to_string())
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest");
        let context = Context::new(connection, &watch);
        let consumer: BaseConsumer<Context> =
            client.create_with_context(context).map_err(|error| watch.trouble("join a group", &error))?;
        let name = connection.topic_name(topic);
        consumer.subscribe(&[&name]).map_err(|error| watch.trouble("join a group", &error))?;
        Ok(Self { name, consumer, watch, paused: BTreeSet::new() })
    }
}

impl LogMembership for KafkaMembership {
    fn partitions(&mut self, wait: Duration) -> Result<BTreeSet<u32>, LogError> {
        // A record that was on its way before its partition was paused is nobody's.
        match self.consumer.poll(wait) {
            Some(Err(error)) if !is_passing(&error) || self.watch.refusal().is_some() => {
                return Err(self.watch.trouble("share out partitions", &error).into());
            }
            Some(Ok(_)) => self.watch.clear(),
            Some(Err(_)) | None => {}
        }
        let assigned =
            self.consumer.assignment().map_err(|error| self.watch.trouble("share out partitions", &error))?;
        let of_topic = assigned.elements_for_topic(&self.name);
        let now: BTreeSet<u32> = of_topic.iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect();
        let mut fresh = TopicPartitionList::new();
        for &partition in now.difference(&self.paused) {
            fresh.add_partition(&self.name, number(partition));
        }
        if fresh.count() > 0 {
            self.consumer.pause(&fresh).map_err(|error| self.watch.trouble("share out partitions", &error))?;
        }
        self.paused.clone_from(&now);
        Ok(now)
    }
}
