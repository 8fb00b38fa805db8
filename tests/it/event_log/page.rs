//! `docs/topics.md` against the code: what it promises of a topic is what the topic's plan makes, and its examples are what it says they are.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use segue::event_log::kafka::Connection;
use segue::event_log::kafka::topics::TopicPlan;
use segue::event_log::{PartitionCounts, Topic};
use segue::events::{Event, LedgerRecord};
use segue::model::ImpressionId;

use super::consumers::{golden, told};
use crate::repository::root;

const DAY_MS: i64 = 86_400_000;

fn page() -> String {
    std::fs::read_to_string(root().join("docs/topics.md")).expect("the page")
}

/// The cells of the table's rows that have so many.
fn rows(page: &str, cells: usize) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('|').trim().to_owned());
        cells.collect::<Vec<_>>()
    });
    rows.filter(|row| row.len() == cells).collect()
}

/// A topic's row as its plan has it: partitions, how long its records are kept, and whether they may be shed.
fn planned(plan: &TopicPlan) -> [String; 3] {
    let setting = |name| plan.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    let kept = match (setting("cleanup.policy"), setting("retention.ms")) {
        (Some("compact"), None) => "last of each key".to_owned(),
        (Some("delete"), Some("-1")) => "for ever".to_owned(),
        (Some("delete"), Some(ms)) => match ms.parse::<i64>().expect("a number") / DAY_MS {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
        other => panic!("no word for {other:?}"),
    };
    let delivery = if plan.topic.is_money() { "nothing lost" } else { "may be shed" };
    [plan.partitions.to_string(), kept, delivery.to_owned()]
}

#[test]
fn the_page_promises_what_the_topics_are_made_to() {
    let rows = rows(&page(), 6);
    let plans = TopicPlan::all(&Connection::plain("x:1"), &PartitionCounts::default());
    let names: Vec<String> = plans.iter().map(|plan| format!("`{}`", plan.topic)).collect();
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), names);
    for (row, plan) in rows.iter().zip(&plans) {
        assert_eq!(row[3..], planned(plan), "{}", plan.topic);
    }
    let largest = "1,000,000 bytes";
    let limit = plans[0].settings.iter().find(|(name, _)| *name == "max.message.bytes").expect("a limit");
    // Kafka counts 48,588 bytes more for what it adds.
    assert_eq!((limit.1.as_str(), page().contains(largest)), ("1048588", true));
}

/// The key as the page names it.
fn key(body: &Event) -> &'static str {
    match body {
        Event::Beacon(beacon) => match beacon.impression_id {
            ImpressionId::Leased { .. } => "advertiser id",
            ImpressionId::Unleased { .. } => "impression id",
        },
        Event::Decision(_) => "decision id",
        Event::Catalog(_) => "entity id",
        Event::Ledger(record) => match &**record {
            LedgerRecord::Entry(_) => "advertiser id",
            LedgerRecord::Checkpoint(_) => "partition",
        },
        Event::LeaseGranted(_) | Event::LeaseReturned(_) | Event::LeaseClosed(_) | Event::Reversal(_) => {
            "advertiser id"
        }
    }
}

#[test]
fn the_pages_examples_are_what_it_says() {
    let golden = golden();
    for row in rows(&page(), 4) {
        let name = row[3].trim_matches('`').trim_end_matches(".bin");
        let example = golden.get(name).unwrap_or_else(|| panic!("{name} is no golden event"));
        assert_eq!(row[1], format!("`{}`", example.body.stream().topic()), "{name}");
        assert!(row[2].contains(key(&example.body)), "{name}: {} is not {}", row[2], key(&example.body));
    }
    let page = page();
    let (_, json) = page.split_once("```json\n").expect("an example");
    let shown: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(shown, told(&golden["beacon_paid"]));
}

#[test]
fn every_kind_of_event_and_every_topic_is_on_the_page() {
    let set = std::fs::read(root().join("schemas/golden/v1/segue.binpb")).expect("the committed set");
    let set = FileDescriptorSet::decode(set.as_slice()).expect("a descriptor set");
    let mut messages = set.file.iter().flat_map(|file| &file.message_type);
    let envelope = messages.find(|message| message.name() == "Envelope").expect("the envelope");
    let body = |oneof: Option<i32>| {
        oneof
            .and_then(|index| envelope.oneof_decl.get(usize::try_from(index).ok()?))
            .is_some_and(|o| o.name() == "body")
    };
    let kinds: BTreeSet<String> = envelope
        .field
        .iter()
        .filter(|field| body(field.oneof_index))
        .map(|field| format!("`{}`", field.name()))
        .collect();
    let named: BTreeSet<String> =
        rows(&page(), 4).into_iter().map(|row| row[0].split_inclusive('`').take(2).collect::<String>()).collect();
    assert_eq!(named, kinds);
    let sections: String = page().lines().filter(|line| line.starts_with("## ")).collect();
    for topic in Topic::ALL {
        assert!(sections.contains(topic.name()), "{topic} has no section");
    }
}
