//! What stands in Kafka, read as any consumer reads it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::history::AdName;

/// Longest that reading a topic to its end takes.
const READ_MAX: Duration = Duration::from_mins(3);

#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, dead_code, reason = "generated from schemas/")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/segue.v1.rs"));
}

use wire::envelope::Body;
use wire::impression_id::Owner;

/// What names an impression in the log: lease or decision, and a number.
pub(super) type ImpressionName = (Vec<u8>, u32);

/// An impression that was heard, by its first record.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// The ad.
    pub(super) ad: AdName,
    /// Whether somebody pays.
    pub(super) is_paid: bool,
    /// What it costs, in micros.
    pub(super) price_micros: i64,
    /// Whether what the record says of itself keeps it from being billed: invalid, a preview, or too late.
    pub(super) is_unbillable: bool,
}

/// A settlement or a grant.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lease {
    /// Granted, in micros.
    pub(super) amount_micros: i64,
    /// Whether it is closed, and what was settled then: micros and impressions.
    pub(super) closed: Option<(i64, u32)>,
    /// Entries of the ledger about it: how many different ones, their quantity and the sum that the advertiser owes.
    pub(super) entry: Option<(u32, i64)>,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Impressions heard.
    pub(super) heard: HashMap<ImpressionName, Heard>,
    /// Leases.
    pub(super) leases: HashMap<Vec<u8>, Lease>,
    /// Records that came twice: the same event id.
    pub(super) duplicates: u64,
    /// Records.
    pub(super) records: u64,
    /// Entries of the ledger, and those whose postings are not zero together, or that say something else than an entry of the same number before.
    pub(super) entries: u64,
    pub(super) wrong_entries: u64,
    /// Letters in the dead-letter topic.
    pub(super) dead_letters: u64,
}

impl Log {
    /// Reads what is committed in the topics of a cluster, to their end.
    pub(super) fn read(brokers: &str, prefix: &str) -> anyhow::Result<Self> {
        let mut log = Self::default();
        let mut seen = HashSet::new();
        for topic in ["segue.events", "segue.ledger"] {
            each(brokers, &format!("{prefix}.{topic}"), |bytes| {
                let envelope = wire::Envelope::decode(bytes).context("a record that is no envelope")?;
                log.records += 1;
                if seen.insert(envelope.event_id.clone()) {
                    log.take(envelope)?;
                } else {
                    log.duplicates += 1;
                }
                Ok(())
            })?;
        }
        each(brokers, &format!("{prefix}.segue.dead-letter"), |_| {
            log.dead_letters += 1;
            Ok(())
        })?;
        Ok(log)
    }

    fn take(&mut self, envelope: wire::Envelope) -> anyhow::Result<()> {
        match envelope.body {
            Some(Body::LeaseGranted(grant)) => {
                self.leases.entry(grant.lease_id).or_default().amount_micros = grant.amount_micros.unwrap_or(0);
            }
            Some(Body::LeaseClosed(close)) => {
                let settled = (close.settled_micros.unwrap_or(0), close.settled_count);
                self.leases.entry(close.lease_id).or_default().closed = Some(settled);
            }
            Some(Body::LedgerEntry(entry)) => {
                self.entries += 1;
                let sum: i64 = entry.postings.iter().map(|posting| posting.amount_micros.unwrap_or(0)).sum();
                self.wrong_entries += u64::from(sum != 0);
                let owed: i64 = entry.postings.iter().map(|posting| posting.amount_micros.unwrap_or(0).max(0)).sum();
                if let Some(wire::ledger_entry::Cause::Settlement(settlement)) = entry.cause {
                    let lease = self.leases.entry(settlement.lease_id).or_default();
                    self.wrong_entries += u64::from(lease.entry.is_some());
                    lease.entry = Some((entry.quantity, owed));
                }
            }
            Some(Body::Beacon(beacon)) if beacon.event() == wire::BeaconEvent::Impression => {
                let id = beacon.impression_id.clone().context("a beacon without an impression")?;
                let owner = match id.owner.context("an impression without an owner")? {
                    Owner::LeaseId(id) | Owner::DecisionId(id) => id,
                };
                let ad = AdName {
                    decision: Uuid::from_slice(&beacon.decision_id).context("a decision's id")?,
                    line_item: Uuid::from_slice(&beacon.line_item_id).context("a line item's id")?,
                };
                let is_late = envelope.received_at_ms > beacon.billable_until_ms;
                let heard = Heard {
                    ad,
                    is_paid: beacon.tier() != wire::Tier::House,
                    price_micros: beacon.price_micros.unwrap_or(0),
                    is_unbillable: is_late || beacon.preview || beacon.invalid() != wire::InvalidTraffic::Unspecified,
                };
                self.heard.entry((owner, id.number)).or_insert(heard);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Calls for each committed record of a topic.
fn each(brokers: &str, topic: &str, mut with: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "segue-chaos-judge")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .context("a consumer")?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).context("asking for a topic")?;
    let partitions: Vec<i32> =
        metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment).context("assigning partitions")?;
    let (mut ended, until) = (HashSet::new(), Instant::now() + READ_MAX);
    while ended.len() < partitions.len() {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => with(message.payload().unwrap_or_default())?,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            // Whatever is wrong with a connection, the client mends.
            Some(Err(_)) | None => {}
        }
        if Instant::now() > until {
            bail!("{topic} can't be read to its end");
        }
    }
    Ok(())
}
