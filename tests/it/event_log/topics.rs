//! `segue topics apply` as an operator meets it, against the broker beside the tests.

use std::process::Output;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;
use segue::event_log::kafka::{Compression, Connection, KafkaLog, KafkaLogConfig};
use segue::event_log::{PartitionCounts, Topic};
use serde_json::Value;

use super::{connection, now};
use crate::harness::{folder, segue, wait_until};

fn apply(connection: &Connection, more: &[&str]) -> Output {
    let brokers = format!("kafka.brokers={}", connection.brokers);
    let prefix = format!("kafka.topic_prefix={}", connection.topic_prefix);
    let mut arguments = vec!["topics", "apply", "--set", &brokers, "--set", &prefix, "--set", "kafka.replication=1"];
    arguments.extend(more);
    segue(folder().path(), &arguments)
}

fn report(output: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let rows = report["topics"].as_array().expect("topics");
    rows.iter().map(|row| (text(row, "name"), text(row, "state"))).collect()
}

/// Makes a topic as somebody else would have.
fn make(connection: &Connection, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let made = ClientConfig::new().set("bootstrap.servers", &connection.brokers).create();
    let client: AdminClient<DefaultClientContext> = made.expect("a client");
    let name = format!("{}{name}", connection.topic_prefix);
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let made = runtime.block_on(client.create_topics([&topic], &AdminOptions::new())).expect("answered");
    made[0].as_ref().expect("made");
    // It is made when the controller has it; a broker knows of it a moment later.
    wait_until("the broker leads the new topic", || {
        let told = client.inner().fetch_metadata(Some(&name), Duration::from_secs(5)).expect("answered");
        let led = |topic: &MetadataTopic| topic.partitions().iter().filter(|one| one.leader() >= 0).count();
        told.topics().first().map_or(0, led) == usize::try_from(partitions).expect("few")
    });
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn topics_are_made_once_and_then_as_they_should_be() {
    let Some(connection) = connection("topics_are_made_once_and_then_as_they_should_be") else { return };
    let dry = apply(&connection, &["--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(1), "{}", stderr(&dry));
    assert!(report(&dry).iter().all(|(_, state)| state == "missing"), "{:?}", report(&dry));
    // By two at once: each makes what the other has not.
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| apply(&connection, &[]));
        [apply(&connection, &[]), other.join().expect("runs")]
    });
    for output in &both {
        assert!(output.status.success(), "{}", stderr(output));
    }
    let again = apply(&connection, &["--json"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let report = report(&again);
    assert_eq!(report.len(), Topic::ALL.len());
    assert!(report.iter().all(|(_, state)| state == "as_planned"), "{report:?}");
    assert!(report.iter().any(|(name, _)| *name == format!("{}segue.events", connection.topic_prefix)));
    // A server is content with them.
    let partitions = PartitionCounts::default();
    let log = KafkaLog::open(KafkaLogConfig { connection, partitions, compression: Compression::Zstd }, now);
    log.expect("a log on these topics");
}

#[test]
fn a_topic_that_differs_is_explained_and_left_as_it_is() {
    let Some(connection) = connection("a_topic_that_differs_is_explained_and_left_as_it_is") else { return };
    make(&connection, "segue.events", 64, &[("retention.ms", "604800000")]);
    make(&connection, "segue.catalog", 1, &[]);
    for _ in 0..2 {
        let output = apply(&connection, &["--dry-run"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("segue.events: differs"), "{text}");
        assert!(text.contains("retention.ms is 7 d, not 40 d: records go sooner"), "{text}");
        assert!(text.contains("cleanup.policy is delete, not compact"), "{text}");
        assert!(text.contains("kafka-configs.sh --alter --topic"), "{text}");
    }
}

#[test]
fn another_partition_count_is_refused_and_nothing_made() {
    let Some(connection) = connection("another_partition_count_is_refused_and_nothing_made") else { return };
    make(&connection, "segue.ledger", 3, &[]);
    let output = apply(&connection, &[]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("segue.ledger has 3 partitions, not the 64 of the configuration"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let partitions = PartitionCounts::default();
    let config = KafkaLogConfig { connection, partitions, compression: Compression::Zstd };
    let told = KafkaLog::open(config, now).expect_err("no topics").to_string();
    assert!(told.contains("has no topic") && !told.contains("segue.ledger"), "{told}");
}

#[test]
fn too_few_brokers_and_too_few_replicas_are_told() {
    let Some(connection) = connection("too_few_brokers_and_too_few_replicas_are_told") else { return };
    let output = apply(&connection, &["--set", "kafka.replication=3"]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(
        told.contains("need 3 brokers") && told.contains("has 1: start more, or set kafka.replication=1"),
        "{told}"
    );

    let counts = super::partitions();
    for topic in segue::event_log::Topic::ALL {
        let partitions = i32::try_from(counts.of(topic)).expect("few");
        make(&connection, topic.name(), partitions, &[("min.insync.replicas", "2")]);
    }
    let config = KafkaLogConfig { connection, partitions: counts, compression: Compression::Zstd };
    let told = KafkaLog::open(config, now).expect_err("nothing could be appended").to_string();
    assert!(told.contains("has 1 replicas in sync and takes records from 2 on"), "{told}");
}

#[test]
fn without_an_address_or_with_nobody_there_it_says_so() {
    let output = segue(folder().path(), &["topics", "apply"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("kafka.brokers is not set"), "{}", stderr(&output));
    let nobody = Connection::plain("127.0.0.1:1");
    let output = apply(&nobody, &["--set", "kafka.connect_timeout_ms=1000"]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("no Kafka broker answers at 127.0.0.1:1") && told.lines().count() == 1, "{told}");
}
