//! Reads what was heard from `segue.events`, as a consumer of events would: committed records only, each impression once, nothing lost.
//!
//! `cargo run --example consume -- --brokers localhost:9092`
//!
//! One line for each impression on standard output; what can't be understood is named on standard error and passed over. Ends at SIGTERM or Ctrl-C, or
//! with `--until-end` when it has read all there is, and says last how much it was. The same in Python: `consume.py`. What the topic promises:
//! `docs/topics.md`.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message as _};
use segue::events::{self, BeaconRecord, Envelope, Event, EventId};
use segue::model::{BeaconEvent, InvalidTraffic, Tier, WallMs};
use serde::Serialize;

/// Ids of events that are remembered. The second record of an event has the same key, so it comes in the same partition; after a crash of a server it may
/// come minutes later. Whoever stores what it reads has no need of this: the event id as a unique key of the table drops every duplicate for ever.
const REMEMBERED_MAX: usize = 1_000_000;
/// How long one look for a record lasts: how soon a signal is seen.
const POLL: Duration = Duration::from_millis(200);

/// Prints each impression in segue.events once.
#[derive(Parser)]
struct Arguments {
    /// Some brokers, HOST:PORT with commas between them.
    #[arg(long)]
    brokers: String,
    /// The topic's name in Kafka, with its prefix if it has one.
    #[arg(long, default_value = "segue.events")]
    topic: String,
    /// Whose progress is kept in Kafka.
    #[arg(long, default_value = "segue-example")]
    group: String,
    /// End when all there is has been read; for one that is alone in its group.
    #[arg(long)]
    until_end: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// The last ids of events.
#[derive(Default)]
struct Seen {
    ids: HashSet<EventId>,
    oldest_first: VecDeque<EventId>,
}

impl Seen {
    /// Whether the id comes for the first time.
    fn is_new(&mut self, id: EventId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// What is told of an impression.
#[derive(Serialize)]
struct Impression {
    event_id: String,
    advertiser_id: String,
    campaign_id: String,
    line_item_id: String,
    creative_id: String,
    tier: &'static str,
    price_micros: i64,
    received_at_ms: i64,
    country: Option<String>,
    preview: bool,
    invalid: Option<&'static str>,
}

impl Impression {
    fn of(envelope: &Envelope, beacon: &BeaconRecord) -> Self {
        Self {
            event_id: envelope.event_id.to_string(),
            advertiser_id: beacon.advertiser_id.to_string(),
            campaign_id: beacon.campaign_id.to_string(),
            line_item_id: beacon.line_item_id.to_string(),
            creative_id: beacon.creative_id.to_string(),
            tier: match beacon.tier {
                Tier::Sponsorship => "sponsorship",
                Tier::Guaranteed => "guaranteed",
                Tier::Auction => "auction",
                Tier::House => "house",
            },
            price_micros: beacon.price.0,
            received_at_ms: envelope.received_at.0,
            country: beacon.country.map(|country| String::from_utf8_lossy(&country).into_owned()),
            preview: beacon.preview,
            invalid: beacon.invalid.map(InvalidTraffic::name),
        }
    }

    /// The same for people.
    fn line(&self) -> String {
        let invalid = self.invalid.map(|reason| format!(", invalid: {reason}")).unwrap_or_default();
        format!(
            "{} line item {}, creative {}, {} micros, {}{}{invalid}",
            WallMs(self.received_at_ms).to_rfc3339(),
            self.line_item_id,
            self.creative_id,
            self.price_micros,
            self.country.as_deref().unwrap_or("somewhere"),
            if self.preview { ", preview" } else { "" },
        )
    }
}

/// How much it was.
#[derive(Default, Serialize)]
struct Counts {
    records: u64,
    impressions: u64,
    duplicates: u64,
    other: u64,
    not_understood: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stop = stop_at_a_signal()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &arguments.brokers)
        .set("group.id", &arguments.group)
        // Nothing of a transaction that was given up.
        .set("isolation.level", "read_committed")
        // A new group begins at the oldest record that is kept.
        .set("auto.offset.reset", "earliest")
        // Progress is kept every few seconds and at the end, but only of what was stored below: of records that are done with.
        .set("enable.auto.commit", "true")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    consumer.subscribe(&[&arguments.topic])?;
    let (mut seen, mut counts, mut ended) = (Seen::default(), Counts::default(), BTreeSet::new());
    while !stop.load(Ordering::Relaxed) {
        if arguments.until_end && is_at_end(&consumer, &ended)? {
            break;
        }
        let message = match consumer.poll(POLL) {
            None => continue,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
                continue;
            }
            Some(message) => message.with_context(|| format!("reading {}", arguments.topic))?,
        };
        ended.remove(&message.partition());
        if let Err(reason) = take(message.payload().unwrap_or_default(), &mut seen, &mut counts, arguments.json)? {
            eprintln!("{} {}/{}: {reason}", arguments.topic, message.partition(), message.offset());
        }
        consumer.store_offset_from_message(&message)?;
    }
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing was read since the last time.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) | Ok(()) => {}
        Err(error) => return Err(error).context("keeping the progress"),
    }
    eprintln!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

/// Takes in one record. The inner error says why it can't be understood: it is passed over, because it would come again and again.
fn take(
    payload: &[u8],
    seen: &mut Seen,
    counts: &mut Counts,
    json: bool,
) -> anyhow::Result<Result<(), events::EventError>> {
    counts.records += 1;
    let envelope = match events::decode(payload) {
        Ok(envelope) => envelope,
        Err(reason) => {
            counts.not_understood += 1;
            return Ok(Err(reason));
        }
    };
    match &envelope.body {
        Event::Beacon(beacon) if beacon.event == BeaconEvent::Impression => {
            if seen.is_new(envelope.event_id) {
                counts.impressions += 1;
                let told = Impression::of(&envelope, beacon);
                let line = if json { serde_json::to_string(&told)? } else { told.line() };
                // Written before the progress is kept.
                writeln!(std::io::stdout(), "{line}")?;
            } else {
                counts.duplicates += 1;
            }
        }
        _ => counts.other += 1,
    }
    Ok(Ok(()))
}

/// Whether every partition that this consumer was given has been read to its end.
fn is_at_end(consumer: &BaseConsumer, ended: &BTreeSet<i32>) -> anyhow::Result<bool> {
    let given = consumer.assignment()?;
    Ok(given.count() > 0 && given.elements().iter().all(|partition| ended.contains(&partition.partition())))
}

/// What becomes true at SIGTERM or Ctrl-C.
fn stop_at_a_signal() -> anyhow::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let told = Arc::clone(&stop);
    // Ends with the process.
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        // Nothing else is told by it.
        told.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
