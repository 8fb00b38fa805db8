//! Errors of the disk: a sync that fails, a disk that is full, a quota that is used up; and a clock that goes back.

use std::sync::atomic::AtomicI64;

use super::*;

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_restart_makes_durable_what_it_reads() {
    for batches_before in 0..4 {
        let disk = SimDisk::new();
        let journal = open_inline(&disk);
        for number in 0..batches_before {
            journal.append_blocking(vec![entry(format!("before {number}"))]).expect("appended");
        }
        disk.fail_sync(1);
        let error = journal.append_blocking(vec![entry("unsynced")]).expect_err("the sync failed");
        let AppendError::Failed(failure) = error else { panic!("{error}") };
        assert_eq!(failure.step, "sync");
        assert!(failure.file.ends_with("0000000001.seg"), "{failure}");
        // The disk would work again; the journal doesn't ask it.
        let operations = disk.operations();
        assert_eq!(journal.append_blocking(vec![entry("later")]), Err(AppendError::Failed(failure.clone())));
        assert_eq!(disk.operations(), operations);
        assert_eq!(journal.health().failure, Some(failure));
        assert_eq!(journal.durable_end(), batches_before);

        // The process exits and starts again. The record reads well from the cache; its pages count as clean, so that only writing
        // them again brings them to the disk. Whoever reads the record now may build on it: it must outlive a loss of power.
        disk.kill();
        drop(journal);
        let journal = open_inline(&disk);
        let read = read_all(&journal);
        assert_eq!(read.len() as u64, batches_before + 1);
        disk.crash(7);
        drop(journal);
        assert_eq!(read_all(&open_inline(&disk)), read);
    }
}

#[test]
fn a_full_disk_stops_the_journal_and_loses_nothing() {
    for room in (0..3_000).step_by(137) {
        let disk = SimDisk::new();
        let journal = open(&disk, small(Durability::Written), Drive::Inline).expect("opens");
        journal.append_blocking(vec![entry("kept")]).expect("appended");
        disk.set_capacity(Some(200 + room));
        let mut acknowledged = 1;
        let error = loop {
            match journal.append_blocking(vec![entry(vec![1; 400])]) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AppendError::Failed(_)), "{error}");
        disk.set_capacity(None);
        disk.kill();
        drop(journal);
        let journal = open(&disk, small(Durability::Written), Drive::Inline).expect("opens");
        assert_eq!(journal.recovery().damage, []);
        assert_eq!(read_all(&journal).len(), acknowledged);
        journal.append_blocking(vec![entry("goes on")]).expect("appended");
    }
}

#[test]
fn a_full_disk_stops_a_start_that_needs_room() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(10));
    let error = open(&disk, small(Durability::Synced), Drive::Inline).map(|_| ()).expect_err("no room for a header");
    assert!(matches!(error, OpenError::Begin(_)), "{error}");
}

#[test]
fn the_quota_refuses_before_it_is_passed_and_says_so_on_the_way() {
    // INV-2.
    let disk = SimDisk::new();
    let quota_bytes = 20_480;
    let config = JournalConfig { quota_bytes, ..small(Durability::Synced) };
    let journal = open(&disk, config.clone(), Drive::Inline).expect("opens");
    let mut appended = 0;
    let error = loop {
        let health = journal.health();
        let percent = health.used_bytes * 100 / quota_bytes;
        let expected = match percent {
            0..70 => QuotaLevel::Ok,
            70..90 => QuotaLevel::ShedLog,
            _ => QuotaLevel::StopPaid,
        };
        // On the very border the percentage is rounded down.
        assert!(health.quota == expected || percent == 70 || percent == 90, "{percent} % is {:?}", health.quota);
        assert!(health.used_bytes <= quota_bytes);
        match journal.append_blocking(vec![entry(vec![1; 100])]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, AppendError::QuotaFull { quota_bytes });
    assert_eq!(journal.health().failure, None, "with room made it would go on");
    assert_eq!(read_all(&journal).len(), appended);
    assert_eq!(journal.retain_from(journal.durable_end()).expect("removes"), 4);
    journal.append_blocking(vec![entry("goes on")]).expect("there is room again");
    assert!(matches!(
        journal.reader().read(0, ReadLimit { scan_bytes: 1 }, |_| ControlFlow::Break(())),
        Err(ReadError::Gone { asked: 0, .. })
    ));
    drop(journal);
    let journal = open(&disk, config, Drive::Inline).expect("a journal that begins later opens too");
    assert_eq!(journal.recovery().damage, []);
    assert_eq!(journal.durable_end(), appended as u64 + 1);
}

#[test]
fn what_can_never_be_written_is_refused_at_the_door() {
    let disk = SimDisk::new();
    let journal = open_inline(&disk);
    let limit = small(Durability::Synced).append_bytes_max();
    for (entries, fits) in [
        (vec![entry(vec![0; limit - 26])], true),
        (vec![entry(vec![0; limit - 25])], false),
        (vec![entry(vec![0; limit / 2]), entry(vec![0; limit / 2])], false),
    ] {
        match journal.append_blocking(entries) {
            Ok(_) => assert!(fits),
            Err(AppendError::TooLarge { .. }) => assert!(!fits),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(journal.health().refused, 2);
    assert_eq!(journal.health().failure, None);
}

#[test]
fn settings_that_can_not_be_are_named() {
    for (segment_bytes, quota_bytes) in [(0, 1 << 30), (1_023, 1 << 30), (4_097, 1 << 30), (4_096, 4_095)] {
        let config = JournalConfig { segment_bytes, quota_bytes, ..small(Durability::Synced) };
        let error = open(&SimDisk::new(), config, Drive::Inline).map(|_| ()).expect_err("refused");
        assert!(matches!(error, OpenError::Config(_)), "{error}");
    }
}

#[test]
fn time_never_goes_back() {
    let disk = SimDisk::new();
    let clock = Arc::new(AtomicI64::new(0));
    let open = || {
        let clock = Arc::clone(&clock);
        let clock = Box::new(move || WallMs(clock.load(Ordering::Relaxed)));
        Journal::open(disk.shared(), DIR, small(Durability::Synced), identity(), Drive::Inline, clock).expect("opens")
    };
    let mut journal = open();
    // The last pairs are on both sides of a roll and of a restart.
    for (reads, dates) in [(100, 100), (50, 100), (-5, 100), (101, 101), (90, 101)] {
        clock.store(reads, Ordering::Relaxed);
        let appended = journal.append_blocking(vec![entry(vec![0; 1_500])]).expect("appended");
        assert_eq!(appended.at, WallMs(dates));
        drop(journal);
        journal = open();
    }
    assert_eq!(read_all(&journal).iter().map(|record| record.at.0).collect::<Vec<_>>(), [100, 100, 100, 101, 101]);
}

#[test]
fn faults_are_read_from_settings() {
    for text in ["append:1", "before_sync:17", "roll:3", "accounting_commit:2"] {
        assert!(!text.parse::<Faults>().expect(text).is_none());
    }
    for text in ["", "append", "append:0", "append:x", "nowhere:1"] {
        assert!(text.parse::<Faults>().is_err(), "{text}");
    }
    // Of another point, or none: passing costs nothing and does nothing.
    Faults::kill_at(FaultPoint::Roll, 1).reach(FaultPoint::Append);
    Faults::none().reach(FaultPoint::Roll);
}
