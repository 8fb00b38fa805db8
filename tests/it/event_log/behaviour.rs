//! What every implementation of `SharedLog` does.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use segue::event_log::{
    KEY_BYTES_MAX, LogError, LogOwner, LogReader, NewRecord, PartitionGroup, Position, Record, SharedLog, Topic,
};

use super::{Embedded, Kafka, Opens, now};
use crate::harness::suite;

/// Longest wait for what must come; far beyond what it takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// One wait of a reader.
const WAIT: Duration = Duration::from_millis(200);

suite! {
    embedded: Embedded::new(), kafka: Kafka::new;
    each_record_is_acknowledged_with_its_place_and_read_there,
    reading_goes_on_from_any_offset,
    a_reader_at_the_end_waits_for_what_comes,
    what_was_appended_and_consumed_is_there_after_a_restart,
    a_commit_is_seen_as_a_whole_with_its_position,
    an_owner_that_was_replaced_changes_nothing,
    groups_do_not_disturb_each_other,
    a_commit_of_a_position_alone_and_of_records_alone,
    what_can_not_be_is_refused,
}

fn record(topic: Topic, key: &str, payload: &str) -> NewRecord {
    NewRecord { topic, key: key.into(), payload: payload.into() }
}

/// Hands records over; where each one's place is told.
fn hand_over(log: &impl SharedLog, records: Vec<NewRecord>) -> Receiver<(usize, Result<Position, LogError>)> {
    let (sender, told) = channel();
    for (index, record) in records.into_iter().enumerate() {
        let sender = sender.clone();
        log.hand_over(record, Box::new(move |result| sender.send((index, result)).expect("the test waits for it")));
    }
    told
}

/// Appends and waits; the places by index.
fn append(log: &impl SharedLog, records: Vec<NewRecord>) -> Vec<Position> {
    let count = records.len();
    let told = hand_over(log, records);
    let mut places = BTreeMap::new();
    for _ in 0..count {
        let (index, place) = told.recv_timeout(PATIENCE).expect("acknowledged");
        assert!(places.insert(index, place.expect("appended")).is_none(), "{index} acknowledged twice");
    }
    assert!(told.recv().is_err(), "nothing more is told");
    places.into_values().collect()
}

fn from_start(partitions: &[u32]) -> Vec<Position> {
    partitions.iter().map(|&partition| Position { partition, offset: 0 }).collect()
}

/// Reads to the end, in small bites.
fn read_all(reader: &mut impl LogReader) -> Vec<Record> {
    let mut all = Vec::new();
    for _ in 0..PATIENCE.as_millis() / WAIT.as_millis() {
        let records = reader.read(7, WAIT).expect("reads");
        assert!(records.len() <= 7);
        let done = records.is_empty() && reader.is_at_end();
        all.extend(records);
        if done {
            return all;
        }
    }
    panic!("no end after {PATIENCE:?}");
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

fn group(name: &str, partitions: &[u32]) -> PartitionGroup {
    PartitionGroup { name: name.into(), topic: Topic::Events, partitions: partitions.into() }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("advertiser {}", number % 5)).collect()
}

fn each_record_is_acknowledged_with_its_place_and_read_there(opens: &impl Opens) {
    let log = opens.open();
    let keys = keys(40);
    let records = keys.iter().enumerate().map(|(n, key)| record(Topic::Events, key, &format!("{n}"))).collect();
    let places = append(&log, records);
    append(&log, vec![record(Topic::Ledger, "advertiser 1", "not of this topic")]);
    let mut reader = log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader");
    let read = read_all(&mut reader);
    assert_eq!(read.len(), 40);
    let mut last = BTreeMap::new();
    for one in &read {
        let number: usize = String::from_utf8_lossy(&one.payload).parse().expect("a number");
        assert_eq!(one.key, keys[number].as_bytes());
        assert_eq!((one.topic, one.at), (Topic::Events, now()));
        assert_eq!(Position { partition: one.partition, offset: one.offset }, places[number]);
        assert_eq!(one.partition, log.partition_counts().partition(Topic::Events, &one.key));
        assert!(last.insert(one.partition, number).is_none_or(|before| before < number), "in order: {read:?}");
    }
    assert_eq!(last.len(), 2, "both partitions have records");
    for position in reader.positions() {
        assert!(reader.end(position.partition).expect("an end") >= position.offset);
    }
}

fn reading_goes_on_from_any_offset(opens: &impl Opens) {
    let log = opens.open();
    let records = (0..20).map(|n| record(Topic::Events, "one key", &format!("{n}"))).collect();
    let places = append(&log, records);
    let partition = places[0].partition;
    for begin in [0, 1, 13, 19] {
        let mut reader = log.reader(Topic::Events, &[places[begin]]).expect("a reader");
        let expected: Vec<String> = (begin..20).map(|n| n.to_string()).collect();
        assert_eq!(texts(&read_all(&mut reader)), expected);
        // Behind the last one there is nothing, and going on from there finds what comes.
        let position = reader.positions()[0];
        assert!(position.partition == partition && position.offset > places[19].offset);
        assert_eq!(read_all(&mut log.reader(Topic::Events, &[position]).expect("a reader")), []);
    }
    // Another partition has none of them.
    let other = from_start(&[1 - partition]);
    assert_eq!(read_all(&mut log.reader(Topic::Events, &other).expect("a reader")), []);
}

fn a_reader_at_the_end_waits_for_what_comes(opens: &impl Opens) {
    let log = opens.open();
    let mut reader = log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader");
    assert_eq!(read_all(&mut reader), []);
    assert!(reader.is_at_end());
    let appending = {
        let log = log.clone();
        std::thread::spawn(move || append(&log, vec![record(Topic::Events, "key", "late")]))
    };
    let read = (0..300).map(|_| reader.read(10, WAIT).expect("reads")).find(|records| !records.is_empty());
    assert_eq!(texts(&read.unwrap_or_default()), ["late"]);
    appending.join().expect("appends");
}

fn what_was_appended_and_consumed_is_there_after_a_restart(opens: &impl Opens) {
    let log = opens.open();
    let mut owner = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    assert_eq!(owner.consumed(), from_start(&[0, 1]));
    let places = append(&log, vec![record(Topic::Events, "key", "in")]);
    let consumed = Position { partition: places[0].partition, offset: places[0].offset + 1 };
    owner.commit(vec![record(Topic::Events, "key", "out")], &[consumed]).expect("commits");
    drop((owner, log));
    let log = opens.open();
    let owner = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    assert!(owner.consumed().contains(&consumed), "{:?}", owner.consumed());
    let mut reader = log.reader(Topic::Events, owner.consumed()).expect("a reader");
    assert_eq!(texts(&read_all(&mut reader)), ["out"]);
}

fn a_commit_is_seen_as_a_whole_with_its_position(opens: &impl Opens) {
    let log = opens.open();
    let mut owner = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    let mut readers = [
        log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader"),
        log.reader(Topic::Leases, &from_start(&[0, 1])).expect("a reader"),
    ];
    for round in 1..=5_u64 {
        let keys = keys(10);
        let records = keys.iter().flat_map(|key| {
            [record(Topic::Events, key, &format!("granted {round}")), record(Topic::Leases, key, &format!("{round}"))]
        });
        let consumed = [Position { partition: 0, offset: round }, Position { partition: 1, offset: 10 * round }];
        owner.commit(records.collect(), &consumed).expect("commits");
        assert_eq!(owner.consumed(), consumed);
        for reader in &mut readers {
            let read = read_all(reader);
            assert_eq!(read.len(), 10);
            assert!(texts(&read).iter().all(|text| text.ends_with(&round.to_string())));
        }
    }
}

// INV-46.
fn an_owner_that_was_replaced_changes_nothing(opens: &impl Opens) {
    let log = opens.open();
    let one = [Position { partition: 0, offset: 1 }];
    let mut old = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    old.commit(vec![record(Topic::Events, "key", "first")], &one).expect("commits");
    let mut new = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    assert!(new.consumed().contains(&one[0]));
    for _ in 0..2 {
        let late = old.commit(vec![record(Topic::Events, "key", "zombie")], &[Position { partition: 0, offset: 99 }]);
        assert!(matches!(&late, Err(LogError::Fenced(group)) if group == "accounting-0"), "{late:?}");
    }
    new.commit(vec![record(Topic::Events, "key", "second")], &[Position { partition: 0, offset: 2 }]).expect("commits");
    let third = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    assert_eq!(third.consumed()[0], Position { partition: 0, offset: 2 });
    let mut reader = log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader");
    assert_eq!(texts(&read_all(&mut reader)), ["first", "second"]);
}

fn groups_do_not_disturb_each_other(opens: &impl Opens) {
    let log = opens.open();
    let mut zero = log.claim(&group("accounting-0", &[0])).expect("claims");
    let mut one = log.claim(&group("accounting-1", &[1])).expect("claims");
    zero.commit(vec![record(Topic::Events, "key", "zero")], &[Position { partition: 0, offset: 5 }]).expect("commits");
    one.commit(vec![record(Topic::Events, "key", "one")], &[Position { partition: 1, offset: 6 }]).expect("commits");
    assert_eq!(zero.consumed(), [Position { partition: 0, offset: 5 }]);
    assert_eq!(one.consumed(), [Position { partition: 1, offset: 6 }]);
    let foreign = zero.commit(Vec::new(), &[Position { partition: 1, offset: 7 }]);
    assert!(matches!(foreign, Err(LogError::NoPartition { partition: 1, .. })), "{foreign:?}");
    zero.commit(Vec::new(), &[]).expect("nothing is something that can be committed");
}

fn a_commit_of_a_position_alone_and_of_records_alone(opens: &impl Opens) {
    let log = opens.open();
    let mut owner = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    owner.commit(Vec::new(), &[Position { partition: 1, offset: 4 }]).expect("commits");
    owner.commit(vec![record(Topic::Events, "key", "alone")], &[]).expect("commits");
    let again = log.claim(&group("accounting-0", &[0, 1])).expect("claims");
    let expected = [Position { partition: 0, offset: 0 }, Position { partition: 1, offset: 4 }];
    assert_eq!(again.consumed(), expected);
    let mut reader = log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader");
    assert_eq!(texts(&read_all(&mut reader)), ["alone"]);
}

fn what_can_not_be_is_refused(opens: &impl Opens) {
    let log = opens.open();
    let long = NewRecord { topic: Topic::Events, key: vec![7; KEY_BYTES_MAX + 1], payload: Vec::new() };
    let (_, refused) = hand_over(&log, vec![long.clone()]).recv_timeout(PATIENCE).expect("told");
    assert!(matches!(refused, Err(LogError::KeyTooLong { .. })), "{refused:?}");
    let absent = log.reader(Topic::Events, &from_start(&[2])).err();
    assert!(matches!(absent, Some(LogError::NoPartition { partition: 2, count: 2, .. })), "{absent:?}");
    for name in ["", "Accounting", "a/b", &"x".repeat(65)] {
        let refused = log.claim(&group(name, &[0])).err();
        assert!(matches!(refused, Some(LogError::GroupName(_))), "{name}: {refused:?}");
    }
    let mut owner = log.claim(&group("accounting-0", &[0])).expect("claims");
    let refused = owner.commit(vec![record(Topic::Events, "key", "with a bad one"), long], &[]);
    assert!(matches!(refused, Err(LogError::KeyTooLong { .. })), "{refused:?}");
    owner.commit(vec![record(Topic::Events, "key", "good")], &[]).expect("the owner goes on");
    let mut reader = log.reader(Topic::Events, &from_start(&[0, 1])).expect("a reader");
    assert_eq!(texts(&read_all(&mut reader)), ["good"]);
}
