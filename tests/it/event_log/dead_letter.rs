//! `segue dead-letter` as an operator meets it, against the broker beside the tests.

use std::process::Output;
use std::sync::mpsc::channel;
use std::time::Duration;

use segue::event_log::dead_letter::{self, PAYLOAD_BYTES_MAX, Reason};
use segue::event_log::kafka::topics::{Admin, TopicPlan};
use segue::event_log::kafka::{Compression, Connection, KafkaLog, KafkaLogConfig};
use segue::event_log::{LogReader, NewRecord, PartitionCounts, Position, Record, SharedLog, Topic};
use segue::events::DeadLetterReason;
use segue::model::{ServerId, WallMs};
use serde_json::Value;

use super::{connection, now};
use crate::harness::{folder, segue};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
const SERVER: ServerId = ServerId::from_u128(9);

/// Topics with the partitions that the command expects.
struct Broker {
    connection: Connection,
    log: KafkaLog,
}

impl Broker {
    fn new(test: &str) -> Option<Self> {
        let connection = connection(test)?;
        let partitions = PartitionCounts::default();
        let plans = TopicPlan::all(&connection, &partitions);
        let admin = Admin::connect(&connection).expect("the broker answers");
        admin.make(&plans.iter().collect::<Vec<_>>()).expect("topics are made");
        let config = KafkaLogConfig { connection: connection.clone(), partitions, compression: Compression::default() };
        let log = KafkaLog::open(config, now).expect("connects");
        Some(Self { connection, log })
    }

    fn append(&self, record: NewRecord) -> Position {
        let (sender, told) = channel();
        self.log.hand_over(record, Box::new(move |result| sender.send(result).expect("the test waits for it")));
        told.recv_timeout(PATIENCE).expect("acknowledged").expect("appended")
    }

    /// Appends a record and the letter about it, as a role would.
    fn bury(&self, topic: Topic, key: &[u8], payload: &[u8], found_at: WallMs) -> Position {
        let place = self.append(NewRecord { topic, key: key.to_vec(), payload: payload.to_vec() });
        let Position { partition, offset } = place;
        let record = Record { offset, topic, partition, key: key.to_vec(), at: now(), payload: payload.to_vec() };
        let reason = Reason { code: DeadLetterReason::UnknownKind, detail: "a kind of tomorrow".to_owned() };
        self.append(dead_letter::record(&record, &reason, found_at, SERVER));
        place
    }

    /// All records of the key's partition of a topic.
    fn read(&self, topic: Topic, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let partition = self.log.partition_counts().partition(topic, key);
        let mut reader = self.log.reader(topic, &[Position { partition, offset: 0 }]).expect("a reader");
        let mut all = Vec::new();
        for _ in 0..300 {
            let records = reader.read(100, Duration::from_millis(200)).expect("reads");
            all.extend(records.into_iter().map(|record| (record.key, record.payload)));
            if reader.is_at_end() {
                return all;
            }
        }
        panic!("{topic} is never read to its end");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let brokers = format!("kafka.brokers={}", self.connection.brokers);
        let prefix = format!("kafka.topic_prefix={}", self.connection.topic_prefix);
        let with = ["dead-letter"].iter().chain(arguments).copied();
        segue(folder().path(), &with.chain(["--set", &brokers, "--set", &prefix]).collect::<Vec<_>>())
    }

    /// The letters as `list --json` shows them.
    fn list(&self, more: &[&str]) -> (Option<i32>, Value) {
        let output = self.run(&[&["list", "--json"], more].concat());
        (output.status.code(), json(&output))
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_letter_is_listed_replayed_with_its_key_and_waits_again_when_that_was_in_vain() {
    const NAME: &str = "a_letter_is_listed_replayed_with_its_key_and_waits_again_when_that_was_in_vain";
    let Some(broker) = Broker::new(NAME) else { return };
    let (status, none) = broker.list(&[]);
    assert_eq!((status, none["letters"].as_array().map(Vec::len)), (Some(0), Some(0)), "{none}");

    let place = broker.bury(Topic::Events, b"advertiser", b"poison", WallMs(1_700_000_000_000));
    broker.bury(Topic::Engagement, b"", b"later poison", WallMs(1_800_000_000_000));
    let (status, both) = broker.list(&[]);
    assert_eq!((status, &both["waiting"]), (Some(1), &Value::from(2)), "{both}");
    let first = &both["letters"][0];
    assert_eq!(first["topic"], "segue.events");
    assert_eq!((&first["partition"], &first["offset"]), (&place.partition.into(), &place.offset.into()));
    assert_eq!((&first["reason"], &first["detail"]), (&"unknown_kind".into(), &"a kind of tomorrow".into()));
    assert_eq!((&first["key"], &first["bytes"]), (&"61647665727469736572".into(), &6.into()));
    assert_eq!((&first["found_at"], &first["replays"]), (&"2023-11-14T22:13:20.000Z".into(), &0.into()));
    let (_, late) = broker.list(&["--since", "2026-01-01T00:00:00Z"]);
    assert_eq!((late["letters"].as_array().map(Vec::len), &late["waiting"]), (Some(1), &1.into()), "{late}");
    let (_, last) = broker.list(&["--limit", "1"]);
    assert_eq!((&last["letters"][0]["topic"], &last["not_shown"]), (&"segue.engagement".into(), &1.into()), "{last}");

    let position = first["position"].as_str().expect("a position").to_owned();
    let dry = broker.run(&["replay", "--position", &position, "--dry-run"]);
    assert!(dry.status.success() && stdout(&dry).contains("would be replayed to segue.events"), "{}", stderr(&dry));
    assert_eq!(broker.read(Topic::Events, b"advertiser").len(), 1, "nothing was appended");
    // Twice: the second harms nobody.
    for replays in 1..=2 {
        let replayed = broker.run(&["replay", "--position", &position]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        let (_, list) = broker.list(&[]);
        let letter =
            list["letters"].as_array().expect("letters").iter().find(|letter| letter["topic"] == "segue.events");
        let letter = letter.expect("still listed");
        assert_eq!((&letter["replays"], &letter["waits"]), (&replays.into(), &false.into()), "{list}");
    }
    let poison = (b"advertiser".to_vec(), b"poison".to_vec());
    assert_eq!(broker.read(Topic::Events, b"advertiser"), vec![poison; 3]);

    // Only the other one waits.
    let rest = broker.run(&["replay", "--all", "--json"]);
    assert!(rest.status.success(), "{}", stderr(&rest));
    assert_eq!(
        (&json(&rest)["replayed"], &json(&rest)["letters"][0]["topic"]),
        (&1.into(), &"segue.engagement".into())
    );
    assert_eq!(broker.list(&[]).0, Some(0), "nothing waits");

    // In vain: found once more, it is the same letter.
    broker.bury(Topic::Events, b"advertiser", b"poison", WallMs(1_700_000_009_000));
    let (status, again) = broker.list(&[]);
    assert_eq!((status, again["letters"].as_array().map(Vec::len)), (Some(1), Some(2)), "{again}");
    let letter = &again["letters"][1];
    assert_eq!(
        (&letter["found"], &letter["replays"], &letter["waits"]),
        (&2.into(), &2.into(), &true.into()),
        "{again}"
    );
    let lines = stdout(&broker.run(&["list"]));
    assert!(lines.contains("waits again: replayed 2 times") && lines.contains("1 letters wait"), "{lines}");
}

#[test]
fn a_record_too_large_for_a_letter_is_replayed_from_its_place() {
    let Some(broker) = Broker::new("a_record_too_large_for_a_letter_is_replayed_from_its_place") else { return };
    let large = vec![7; PAYLOAD_BYTES_MAX + 1];
    broker.bury(Topic::Events, b"a", &large, now());
    // As if its place had been removed since: there never was one.
    let gone = Record {
        offset: 999,
        topic: Topic::Events,
        partition: 5,
        key: b"b".to_vec(),
        at: now(),
        payload: vec![8; PAYLOAD_BYTES_MAX + 1],
    };
    let reason = Reason { code: DeadLetterReason::Refused, detail: "no".to_owned() };
    broker.append(dead_letter::record(&gone, &reason, now(), SERVER));
    broker.append(NewRecord { topic: Topic::DeadLetter, key: Vec::new(), payload: b"\xFF".to_vec() });
    let replayed = broker.run(&["replay", "--all"]);
    let text = stdout(&replayed);
    assert_eq!(replayed.status.code(), Some(1), "{text}{}", stderr(&replayed));
    assert!(
        text.contains("0/1: not replayed: it was too large for a letter, and is no longer in segue.events at 5/999"),
        "{text}"
    );
    assert!(text.contains("1 replayed, 1 not"), "{text}");
    let read = broker.read(Topic::Events, b"a");
    assert_eq!(read, vec![(b"a".to_vec(), large); 2]);
    let (status, list) = broker.list(&[]);
    assert_eq!(
        (status, &list["waiting"], &list["not_understood_at"][0]),
        (Some(1), &1.into(), &"0/2".into()),
        "{list}"
    );
}

#[test]
fn what_can_not_be_replayed_is_told() {
    let Some(broker) = Broker::new("what_can_not_be_replayed_is_told") else { return };
    broker.bury(Topic::Catalog, b"entity", b"old revision", now());
    let refused = broker.run(&["replay", "--all"]);
    let text = stdout(&refused);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(text.contains("segue.catalog keeps the last record of each key"), "{text}");
    for (arguments, told) in [
        (&["replay", "--position", "0/7"][..], "segue.dead-letter holds no letter at 0/7"),
        (&["replay", "--position", "9/0"], "segue.dead-letter holds no letter at 9/0"),
        (&["replay", "--position", "seven"], "expected partition/offset"),
        (&["replay"], "--position"),
        (&["list", "--since", "yesterday"], "expected an age such as 90m"),
    ] {
        let output = broker.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn without_a_kafka_it_says_what_to_set() {
    for command in [&["dead-letter", "list"][..], &["dead-letter", "replay", "--all"]] {
        let output = segue(folder().path(), command);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("kafka.brokers is not set"), "{}", stderr(&output));
    }
}
