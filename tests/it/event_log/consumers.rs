//! The consumers in `examples/`, in Rust and in Python, as a consumer team would run them against the broker beside the tests: what they print is what was
//! written.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use segue::event_log::{NewRecord, SharedLog, Topic};
use segue::events::{self, Envelope, Event, EventId, Stream};
use segue::model::{AdvertiserId, BeaconEvent, ImpressionId, Tier};
use serde_json::{Value, json};

use super::{Kafka, Opens};
use crate::harness::{engine, wait_until};
use crate::repository::root;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
/// Impressions beside the golden one.
const IMPRESSIONS: u32 = 40;

/// An envelope as a newer version might write it: a kind of event, or of beacon, that nobody knows yet.
#[derive(Clone, PartialEq, prost::Message)]
struct Newer {
    #[prost(bytes = "vec", tag = "1")]
    event_id: Vec<u8>,
    #[prost(int64, optional, tag = "2")]
    occurred_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    received_at_ms: Option<i64>,
    #[prost(bytes = "vec", tag = "4")]
    server_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    boot_id: Vec<u8>,
    #[prost(uint32, tag = "7")]
    schema_version: u32,
    #[prost(message, optional, tag = "18")]
    beacon: Option<NewerBeacon>,
    #[prost(bytes = "vec", optional, tag = "99")]
    of_tomorrow: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewerBeacon {
    #[prost(uint32, tag = "1")]
    event: u32,
}

impl Newer {
    fn kind() -> Vec<u8> {
        Self { of_tomorrow: Some(b"something".to_vec()), ..Self::envelope(1) }.encode_to_vec()
    }

    fn beacon() -> Vec<u8> {
        Self { beacon: Some(NewerBeacon { event: 99 }), ..Self::envelope(2) }.encode_to_vec()
    }

    fn envelope(id: u8) -> Self {
        Self {
            event_id: vec![id; 16],
            occurred_at_ms: Some(1),
            received_at_ms: Some(1),
            server_id: vec![1; 16],
            boot_id: vec![1; 16],
            schema_version: 2,
            ..Self::default()
        }
    }
}

/// Every golden event, by name.
pub(super) fn golden() -> BTreeMap<String, Envelope> {
    let folder = root().join("schemas/golden/v1/events");
    let entries = std::fs::read_dir(folder).expect("golden events").map(|entry| entry.expect("readable").path());
    let named = entries.map(|path| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        (name, events::decode(&std::fs::read(&path).expect("readable")).expect("understood"))
    });
    named.collect()
}

/// The golden impression as one of another ad and advertiser, with another fate.
fn impression(number: u32) -> Envelope {
    let mut envelope = golden().remove("beacon_paid").expect("it is golden");
    let Event::Beacon(beacon) = &mut envelope.body else { panic!("a beacon") };
    let ImpressionId::Leased { lease_id, .. } = beacon.impression_id else { panic!("a paid one") };
    beacon.impression_id = ImpressionId::Leased { lease_id, ordinal: 1_000 + number };
    beacon.advertiser_id = AdvertiserId::from_u128(u128::from(number % 5));
    beacon.price.0 += i64::from(number);
    beacon.preview = number.is_multiple_of(7);
    if number.is_multiple_of(3) {
        (beacon.country, beacon.tier) = (None, Tier::House);
    }
    envelope.event_id = envelope.body.id();
    envelope
}

/// What is written: every golden event of the topic, impressions, some of them twice, and what nobody understands.
struct Written {
    records: Vec<NewRecord>,
    impressions: Vec<Value>,
    duplicates: u64,
    other: u64,
}

/// Records that no consumer of today understands.
const NOT_UNDERSTOOD: u64 = 3;

impl Written {
    fn new() -> Self {
        let mut this = Self { records: Vec::new(), impressions: Vec::new(), duplicates: 0, other: 0 };
        let golden: Vec<Envelope> =
            golden().into_values().filter(|envelope| envelope.body.stream() == Stream::Events).collect();
        let mut seen: Vec<EventId> = Vec::new();
        // The golden ones first, then the others, then all of them as after a crash.
        for envelope in golden.iter().cloned().chain((0..IMPRESSIONS).map(impression)).chain(golden.iter().cloned()) {
            this.write(&envelope, &mut seen, &[]);
        }
        for number in 0..IMPRESSIONS {
            // Field 1000, a number, which nobody knows yet: in half of them of a new event, in half of one that was there.
            this.write(&impression(number * 2), &mut seen, &[0xC0, 0x3E, 0x2A]);
        }
        for payload in [Newer::kind(), Newer::beacon(), b"\xFF\xFF".to_vec()] {
            this.records.push(NewRecord { topic: Topic::Events, key: b"anybody".to_vec(), payload });
        }
        this
    }

    fn write(&mut self, envelope: &Envelope, seen: &mut Vec<EventId>, more: &[u8]) {
        let payload = [&events::encode(envelope), more].concat();
        self.records.push(NewRecord { topic: Topic::Events, key: envelope.body.key().to_vec(), payload });
        match &envelope.body {
            Event::Beacon(beacon) if beacon.event == BeaconEvent::Impression => {
                if seen.contains(&envelope.event_id) {
                    self.duplicates += 1;
                } else {
                    seen.push(envelope.event_id);
                    self.impressions.push(told(envelope));
                }
            }
            _ => self.other += 1,
        }
    }

    fn append(&self, log: &impl SharedLog) {
        let (sender, acknowledged) = channel();
        for record in &self.records {
            let sender = sender.clone();
            log.hand_over(record.clone(), Box::new(move |result| sender.send(result).expect("the test waits for it")));
        }
        for _ in &self.records {
            acknowledged.recv_timeout(PATIENCE).expect("acknowledged").expect("appended");
        }
    }

    fn counts(&self) -> Value {
        json!({
            "records": self.records.len(), "impressions": self.impressions.len(), "duplicates": self.duplicates,
            "other": self.other, "not_understood": NOT_UNDERSTOOD,
        })
    }
}

/// What a consumer is to say of an impression.
pub(super) fn told(envelope: &Envelope) -> Value {
    let Event::Beacon(beacon) = &envelope.body else { panic!("a beacon") };
    json!({
        "event_id": envelope.event_id.to_string(),
        "advertiser_id": beacon.advertiser_id.to_string(),
        "campaign_id": beacon.campaign_id.to_string(),
        "line_item_id": beacon.line_item_id.to_string(),
        "creative_id": beacon.creative_id.to_string(),
        "tier": if beacon.tier == Tier::House { "house" } else { "auction" },
        "price_micros": beacon.price.0,
        "received_at_ms": envelope.received_at.0,
        "country": beacon.country.map(|_| "se"),
        "preview": beacon.preview,
        "invalid": beacon.invalid.map(|_| "data_centre"),
    })
}

/// Writes to the topic in a transaction that is given up.
fn write_and_give_up(brokers: &str, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("transactional.id", format!("{topic}.given-up"));
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("begins");
    producer.begin_transaction().expect("begins");
    let payload = events::encode(&impression(777));
    producer
        .send(BaseRecord::to(topic).key(b"x").payload(&payload).partition(0))
        .map_err(|(error, _)| error)
        .expect("sent");
    producer.flush(PATIENCE).expect("written");
    producer.abort_transaction(PATIENCE).expect("given up");
}

/// How a consumer is started.
#[derive(Clone, Copy)]
enum Consumer<'p> {
    Rust,
    Python(&'p str),
}

impl Consumer<'_> {
    fn command(self, kafka: &Kafka, group: &str, more: &[&str]) -> Command {
        let mut command = match self {
            Self::Rust => Command::new(rust_example()),
            Self::Python(python) => Command::new(python),
        };
        if let Self::Python(_) = self {
            command.arg(root().join("examples/consume.py"));
        }
        let topic = kafka.0.topic_name(Topic::Events);
        command
            .args(["--brokers", &kafka.0.brokers, "--topic", &topic, "--group", &format!("{topic}.{group}")])
            .args(more);
        command
    }

    /// What it prints, sorted (between partitions there is no order), and its counts.
    fn run(self, kafka: &Kafka, group: &str, more: &[&str]) -> (Vec<String>, Value) {
        let output = self.command(kafka, group, &[&["--until-end"], more].concat()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (lines(&output), counts(&said))
    }
}

/// The example beside this test's own program.
fn rust_example() -> PathBuf {
    let tests = std::env::current_exe().expect("a program");
    let built = tests.parent().and_then(Path::parent).expect("of a target directory").join("examples/consume");
    assert!(built.exists(), "{} is not there: cargo build --example consume", built.display());
    built
}

fn lines(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn counts(said: &str) -> Value {
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// As JSON, sorted by event.
fn parsed(lines: &[String]) -> Vec<Value> {
    by_event(lines.iter().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect())
}

fn by_event(mut told: Vec<Value>) -> Vec<Value> {
    told.sort_by_key(|one| one["event_id"].to_string());
    told
}

#[test]
fn both_consumers_tell_what_was_written_once_and_nothing_else() {
    const NAME: &str = "both_consumers_tell_what_was_written_once_and_nothing_else";
    let Some(kafka) = Kafka::new(NAME) else { return };
    let Some(python) = engine("SEGUE_TEST_PYTHON", NAME) else { return };
    let written = Written::new();
    written.append(&kafka.open());
    write_and_give_up(&kafka.0.brokers, &kafka.0.topic_name(Topic::Events));
    let expected = by_event(written.impressions.clone());
    assert!(written.duplicates > 0 && written.other > 0);
    let mut texts = Vec::new();
    for (name, consumer) in [("rust", Consumer::Rust), ("python", Consumer::Python(&python))] {
        let (lines, counts) = consumer.run(&kafka, name, &["--json"]);
        assert_eq!(parsed(&lines), expected, "{name}");
        assert_eq!(counts, written.counts(), "{name}");
        // The group's progress was kept: nothing comes again.
        let (again, counts) = consumer.run(&kafka, name, &["--json"]);
        assert_eq!((again, &counts["records"]), (Vec::new(), &json!(0)), "{name}");
        let (text, _) = consumer.run(&kafka, &format!("{name}-text"), &[]);
        texts.push((lines, text));
    }
    assert_eq!(texts[0], texts[1], "both say the same, byte for byte");
    assert!(texts[0].1.iter().any(|line| line.ends_with("4500 micros, se, invalid: data_centre")), "{:?}", texts[0].1);
}

#[test]
fn a_consumer_that_is_stopped_goes_on_where_it_was() {
    const NAME: &str = "a_consumer_that_is_stopped_goes_on_where_it_was";
    let Some(kafka) = Kafka::new(NAME) else { return };
    let Some(python) = engine("SEGUE_TEST_PYTHON", NAME) else { return };
    let written = Written::new();
    written.append(&kafka.open());
    for (group, consumer) in [("rust", Consumer::Rust), ("python", Consumer::Python(&python))] {
        let mut command = consumer.command(&kafka, group, &["--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut printed = String::new();
        output.read_line(&mut printed).expect("a line");
        let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        assert!(killed.is_ok_and(|status| status.success()), "SIGTERM was not sent");
        output.read_to_string(&mut printed).expect("the rest");
        wait_until("the consumer ends", || child.try_wait().expect("ours").is_some());
        let ended = child.wait_with_output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{group}: {said}");
        let before: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(counts(&said)["impressions"], json!(before.len()), "{group}");
        let (after, rest) = consumer.run(&kafka, group, &["--json"]);
        let records = |counts: &Value| counts["records"].as_u64().expect("a number");
        assert_eq!(records(&counts(&said)) + records(&rest), written.records.len() as u64, "{group}: each came once");
        // Over a restart only a store of one's own knows duplicates: what was told twice is such a one.
        let mut all = parsed(&[before, after].concat());
        all.dedup_by_key(|told| told["event_id"].to_string());
        assert_eq!(all, by_event(written.impressions.clone()), "{group}");
    }
}

#[test]
fn consumers_name_a_topic_that_is_not_there() {
    const NAME: &str = "consumers_name_a_topic_that_is_not_there";
    let Some(python) = engine("SEGUE_TEST_PYTHON", NAME) else { return };
    let Some(mut kafka) = Kafka::new(NAME) else { return };
    kafka.0.topic_prefix = format!("{}nothing.", kafka.0.topic_prefix);
    for consumer in [Consumer::Rust, Consumer::Python(&python)] {
        let output = consumer.command(&kafka, "group", &["--until-end"]).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("nothing.segue.events"), "{said}");
    }
}
