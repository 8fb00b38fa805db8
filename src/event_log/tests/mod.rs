//! The embedded log over the disk in memory and over the real one.

mod stuck_disk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::journal::{Drive, Identity, JournalConfig, QuotaLevel, RealDisk, SharedDisk, SimDisk};
use crate::model::{BootId, ServerId, WallMs};

fn config(data_dir: impl AsRef<Path>, drive: Drive) -> EmbeddedLogConfig {
    let identity = Identity { server: ServerId::from_u128(1), boot: BootId::from_u128(2) };
    EmbeddedLogConfig {
        money: JournalConfig { segment_bytes: 4_096, quota_bytes: 1 << 20, ..JournalConfig::money() },
        log: JournalConfig { segment_bytes: 4_096, quota_bytes: 1 << 20, ..JournalConfig::log() },
        drive,
        ..EmbeddedLogConfig::new(data_dir.as_ref(), identity)
    }
}

fn open(config: &EmbeddedLogConfig, disk: &SharedDisk) -> EventLog {
    EventLog::Embedded(Arc::new(EmbeddedLog::open(config, disk, || WallMs(1_000)).expect("opens")))
}

fn record(topic: Topic, key: &str, payload: &str) -> NewRecord {
    NewRecord { topic, key: key.into(), payload: payload.into() }
}

fn payloads(batch: &Batch) -> Vec<String> {
    batch.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

#[tokio::test]
async fn what_was_appended_is_read_by_topic_and_partition_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk: SharedDisk = Arc::new(RealDisk);
    let config = config(dir.path(), Drive::Thread);
    let log = open(&config, &disk);
    let mut all = Vec::new();
    for number in 0..300 {
        let (key, text) = (format!("advertiser {}", number % 7), format!("event {number}"));
        let offsets = log
            .append(vec![record(Topic::Events, &key, &text), record(Topic::Ledger, &key, "entry")])
            .await
            .expect("appended");
        assert_eq!(offsets, [number * 2, number * 2 + 1]);
        all.push(text);
    }
    log.close();
    assert_eq!(
        log.append(vec![record(Topic::Events, "", "")]).await,
        Err(AppendError::Journal(journal::AppendError::Closed))
    );
    drop(log);

    let log = open(&config, &disk);
    assert_eq!(log.durable_end(Topic::Events), 600);
    let mut read = Vec::new();
    let mut offset = 0;
    while offset < 600 {
        let batch = log.read(Topic::Events, None, offset, 50, 1 << 20).expect("reads");
        assert!(batch.next_offset > offset);
        assert!(batch.records.len() <= 50);
        read.extend(payloads(&batch));
        offset = batch.next_offset;
    }
    assert_eq!(read, all);

    let partition = log.partitions().partition(Topic::Events, b"advertiser 3");
    let batch = log.read(Topic::Events, Some(partition), 0, 1_000, 1 << 20).expect("reads");
    assert_eq!(batch.next_offset, 600);
    assert!(batch.records.iter().all(|record| record.partition == partition && record.at == WallMs(1_000)));
    assert_eq!(batch.records.iter().filter(|record| record.key == b"advertiser 3").count(), 43);
}

#[test]
fn a_read_is_bounded_by_bytes_but_makes_progress() {
    let disk = SimDisk::new().shared();
    let log = open(&config("data", Drive::Inline), &disk);
    log.append_blocking((0..5).map(|_| record(Topic::Events, "", &"x".repeat(100))).collect()).expect("appended");
    for (max_bytes, expected) in [(0, 1), (100, 1), (199, 1), (200, 2), (10_000, 5)] {
        let batch = log.read(Topic::Events, None, 0, 100, max_bytes).expect("reads");
        assert_eq!((batch.records.len(), batch.next_offset), (expected, expected as u64), "{max_bytes}");
    }
    let batch = log.read(Topic::Catalog, None, 0, 100, 100).expect("reads");
    assert_eq!((batch.records.len(), batch.next_offset), (0, 5));
}

#[test]
fn more_than_can_be_written_at_once_is_appended_in_pieces() {
    // Accounting closes all leases in one step when a server ends: 16 MB of records for a hundred thousand.
    let disk = SimDisk::new().shared();
    let log = open(&config("data", Drive::Inline), &disk);
    let texts: Vec<String> = (0..200_usize).map(|n| "x".repeat(n * 7 % 400)).collect();
    let records = texts.iter().map(|text| record(Topic::Events, "", text)).collect();
    assert_eq!(log.append_blocking(records), Ok((0..200).collect()));
    let batch = log.read(Topic::Events, None, 0, 1_000, 1 << 20).expect("reads");
    assert_eq!(payloads(&batch), texts);
    // One record that no segment can hold is still refused.
    let large = vec![record(Topic::Events, "", &"x".repeat(5_000))];
    assert!(matches!(log.append_blocking(large), Err(AppendError::Journal(journal::AppendError::TooLarge { .. }))));
}

#[test]
fn waiting_ends_when_a_record_is_durable() {
    let disk = SimDisk::new().shared();
    let log = open(&config("data", Drive::Thread), &disk);
    let waiting = {
        let log = log.clone();
        std::thread::spawn(move || log.wait_beyond(Topic::Events, 0, Duration::from_mins(1)))
    };
    log.append_blocking(vec![record(Topic::Events, "", "")]).expect("appended");
    assert_eq!(waiting.join().expect("ends"), 1);
    assert_eq!(log.wait_beyond(Topic::Decisions, 0, Duration::ZERO), 0);
}

#[test]
fn partition_counts_are_fixed_when_the_directory_is_made() {
    let disk = SimDisk::new().shared();
    let config = config("data", Drive::Inline);
    drop(open(&config, &disk));
    let changed = config.partitions.with(Topic::Events, 8).expect("a possible count");
    let changed = EmbeddedLogConfig { partitions: changed, ..config.clone() };
    match EmbeddedLog::open(&changed, &disk, || WallMs(0)).map(|_| ()) {
        Err(OpenError::PartitionsChanged { topic: Topic::Events, recorded: 64, configured: 8 }) => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
    drop(open(&config, &disk));
}

#[test]
fn money_and_log_records_have_no_common_append() {
    let disk = SimDisk::new().shared();
    let log = open(&config("data", Drive::Inline), &disk);
    let mixed = vec![record(Topic::Events, "", ""), record(Topic::Decisions, "", "")];
    assert_eq!(log.append_blocking(mixed), Err(AppendError::Mixed));
    let long = vec![record(Topic::Events, &"k".repeat(257), "")];
    assert_eq!(log.append_blocking(long), Err(AppendError::KeyTooLong { bytes: 257 }));
    assert_eq!(log.append_blocking(Vec::new()), Ok(Vec::new()));
}

// INV-2.
#[test]
fn log_records_are_shed_and_counted_before_money_is_refused() {
    let disk = SimDisk::new().shared();
    let config = EmbeddedLogConfig {
        money: JournalConfig { segment_bytes: 4_096, quota_bytes: 40_960, ..JournalConfig::money() },
        ..config("data", Drive::Inline)
    };
    let log = open(&config, &disk);
    let money = || log.append_blocking(vec![record(Topic::Events, "", &"x".repeat(900))]);
    let mut levels = vec![log.health().quota()];
    log.offer(vec![record(Topic::Decisions, "", "kept")]);
    assert_eq!(log.health().shed_records, 0);
    let refused = loop {
        if let Err(error) = money() {
            break error;
        }
        levels.push(log.health().quota());
    };
    levels.dedup();
    assert_eq!(levels, [QuotaLevel::Ok, QuotaLevel::ShedLog, QuotaLevel::StopPaid]);
    assert_eq!(refused, AppendError::Journal(journal::AppendError::QuotaFull { quota_bytes: 40_960 }));
    log.offer(vec![record(Topic::Decisions, "", "shed"), record(Topic::Engagement, "", "shed")]);
    assert_eq!(log.health().shed_records, 2);
    assert_eq!(payloads(&log.read(Topic::Decisions, None, 0, 10, 1_000).expect("reads")), ["kept"]);
    assert!(!log.health().has_failed());
}

#[test]
#[should_panic(expected = "never shed")]
fn money_can_not_be_offered() {
    let disk = SimDisk::new().shared();
    open(&config("data", Drive::Inline), &disk).offer(vec![record(Topic::Events, "", "")]);
}

#[test]
fn a_log_journal_that_hangs_sheds_and_never_delays_money() {
    let gate = Arc::new(stuck_disk::Gate::default());
    let below = SimDisk::new().shared();
    let disk: SharedDisk =
        Arc::new(stuck_disk::StuckDisk { below, dir: log_dir(Path::new("data")), gate: Arc::clone(&gate) });
    let log = open(&config("data", Drive::Thread), &disk);
    gate.set_closed(true);
    // More than the queue and the batch that hangs hold together.
    for _ in 0..10 {
        for _ in 0..20_000 {
            log.offer(vec![record(Topic::Decisions, "", "")]);
        }
        log.append_blocking(vec![record(Topic::Events, "", "heard")]).expect("appended");
    }
    let shed = log.health().shed_records;
    assert!(shed > 100_000, "{shed} shed");
    assert_eq!(log.durable_end(Topic::Decisions), 0);
    gate.set_closed(false);
    log.close();
    let health = log.health();
    // Not all that waited fit into the quota; what did not is counted too.
    assert_eq!(health.log.durable_end + health.shed_records, 200_000);
    assert_eq!((health.money.durable_end, health.money.refused), (10, 0));
}

#[test]
fn golden_event_log_record() {
    // How a record of the event log stands in a journal, for ever (INV-21). `UPDATE_GOLDEN=1` rewrites the file.
    let disk = SimDisk::new();
    let config = EmbeddedLogConfig {
        money: JournalConfig { segment_bytes: 1_024, ..JournalConfig::money() },
        ..config("data", Drive::Inline)
    };
    let written = vec![
        record(Topic::Events, "advertiser", "an event"),
        record(Topic::Catalog, "", "a revision"),
        record(Topic::DeadLetter, "?", ""),
    ];
    open(&config, &disk.shared()).append_blocking(written.clone()).expect("appended");
    let segment = money_dir(Path::new("data")).join("0000000001.seg");
    let bytes = disk.read_file(&segment).expect("there");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/journal-event-log.bin");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).expect("the golden file can be written");
    }
    let kept = std::fs::read(&path).expect("the golden file is there");
    assert!(kept == bytes, "the format has changed; if that is meant it is another version");

    disk.replace_file(&segment, &kept).expect("there");
    let log = open(&config, &disk.shared());
    for (offset, new) in (0..).zip(&written) {
        let batch = log.read(new.topic, None, 0, 10, 1_000).expect("reads");
        let expected = Record {
            offset,
            topic: new.topic,
            partition: log.partitions().partition(new.topic, &new.key),
            key: new.key.clone(),
            at: WallMs(1_000),
            payload: new.payload.clone(),
        };
        assert_eq!(batch.records, [expected]);
    }
}
