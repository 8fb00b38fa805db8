//! Sharing out partitions: a member of a consumer group that reads nothing. Kafka notices who died and gives their partitions to others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, TopicPartitionList};

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
    consumer: BaseConsumer<Member>,
    watch: Arc<Watch>,
    is_lost: Arc<AtomicBool>,
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
        let is_lost = Arc::new(AtomicBool::new(false));
        let context = Member { context: Context::new(connection, &watch), is_lost: Arc::clone(&is_lost) };
        let consumer: BaseConsumer<Member> =
            client.create_with_context(context).map_err(|error| watch.trouble("join a group", &error))?;
        let name = connection.topic_name(topic);
        consumer.subscribe(&[&name]).map_err(|error| watch.trouble("join a group", &error))?;
        Ok(Self { name, consumer, watch, is_lost, paused: BTreeSet::new() })
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
        // Taken by nobody: what was shared out last stands until a new share is known.
        if self.is_lost.load(Ordering::Acquire) {
            let reason = "the group was not heard of for too long, and this member joins it again".to_owned();
            return Err(Trouble::Other { doing: "share out partitions", reason }.into());
        }
        Ok(now)
    }
}

/// What a member reports to, and whether its share was lost rather than taken: its coordinator went away, or it was not heard of itself.
struct Member {
    context: Context,
    is_lost: Arc<AtomicBool>,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(_) if consumer.assignment_lost() => self.is_lost.store(true, Ordering::Release),
            // Told after every sharing out, also of nothing.
            Rebalance::Assign(_) => self.is_lost.store(false, Ordering::Release),
            Rebalance::Revoke(_) | Rebalance::Error(_) => {}
        }
    }
}
