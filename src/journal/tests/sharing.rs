//! Threads: many producers, one journaller, readers beside it.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use super::*;

#[test]
fn what_waits_is_written_in_one_batch() {
    let queue = Queue::default();
    let job = |bytes: usize| Job { entries: vec![entry("")], bytes, done: Box::new(|_| ()) };
    for bytes in [10, 20, 30, 100, 5] {
        assert!(queue.push(job(bytes)).is_ok());
    }
    let sizes = |batch: Option<Vec<Job>>| batch.map(|batch| batch.iter().map(|job| job.bytes).collect::<Vec<_>>());
    assert_eq!(sizes(queue.take_batch(60)), Some(vec![10, 20, 30]));
    // Larger than a batch, and first in line: it goes alone.
    assert_eq!(sizes(queue.take_batch(60)), Some(vec![100]));
    assert_eq!(queue.queued_bytes(), 5);
    queue.close();
    assert!(matches!(queue.push(job(1)), Err((_, PushError::Closed))));
    assert!(matches!(queue.push_when_room(job(1)), Err((_, PushError::Closed))));
    assert_eq!(sizes(queue.take_batch(60)), Some(vec![5]));
    assert_eq!(sizes(queue.take_batch(60)), None);
}

#[test]
fn a_full_queue_refuses_or_waits() {
    let queue = Queue::default();
    let job = || Job { entries: Vec::new(), bytes: 40 << 20, done: Box::new(|_| ()) };
    assert!(queue.push(job()).is_ok());
    assert!(matches!(queue.push(job()), Err((_, PushError::Full))));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.push_when_room(job()).is_ok());
        assert_eq!(queue.take_batch(1).map(|batch| batch.len()), Some(1));
        assert!(waiting.join().expect("no panic"));
    });
    assert_eq!(queue.take_batch(1).map(|batch| batch.len()), Some(1));
}

#[test]
fn many_threads_append_and_readers_see_only_what_is_durable() {
    // INV-27.
    const THREADS: u64 = 8;
    const APPENDS: u64 = 200;
    let disk = SimDisk::new();
    let journal = open(&disk, small(Durability::Synced), Drive::Thread).expect("opens");
    let done = AtomicBool::new(false);
    let offsets = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut next = 0;
            while !done.load(Ordering::Acquire) || next < journal.durable_end() {
                let end = journal.wait_for(next, Duration::from_millis(10));
                let mut seen = next;
                next = journal
                    .reader()
                    .read(next, ReadLimit { scan_bytes: 2_000 }, |view| {
                        assert_eq!(view.seq, seen);
                        seen += 1;
                        ControlFlow::Continue(())
                    })
                    .expect("reads");
                assert!(next >= end || next == seen);
            }
            next
        });
        let appending: Vec<_> = (0..THREADS)
            .map(|thread| {
                let journal = &journal;
                scope.spawn(move || {
                    let payload = |number: u64| (thread * APPENDS + number).to_le_bytes().to_vec();
                    let append =
                        |number| journal.append_blocking(vec![entry(payload(number))]).expect("appended").first_seq;
                    (0..APPENDS).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        let offsets: Vec<_> = appending.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        done.store(true, Ordering::Release);
        assert_eq!(reading.join().expect("no panic"), THREADS * APPENDS);
        offsets
    });
    assert_eq!(offsets.iter().collect::<BTreeSet<_>>().len() as u64, THREADS * APPENDS, "no number is given twice");
    let records = read_all(&journal);
    for (place, offset) in offsets.iter().enumerate() {
        assert_eq!(records[usize::try_from(*offset).expect("small")].payload, (place as u64).to_le_bytes());
    }
}

#[test]
fn appends_that_come_together_share_a_sync() {
    let disk = SimDisk::new();
    let journal = open(&disk, JournalConfig { segment_bytes: 1 << 20, ..small(Durability::Synced) }, Drive::Thread);
    let journal = journal.expect("opens");
    // The first append's acknowledgement holds the journaller until all others are queued.
    let (release, held) = mpsc::channel::<()>();
    journal.submit(vec![entry("first")], Box::new(move |_| held.recv().expect("released")));
    let (sender, receiver) = mpsc::channel();
    for number in 0..1_000_u64 {
        let sender = sender.clone();
        journal.submit(vec![entry(number.to_le_bytes())], Box::new(move |result| sender.send(result).expect("heard")));
    }
    release.send(()).expect("held");
    let seqs: Vec<_> = receiver.iter().take(1_000).map(|result| result.expect("appended").first_seq).collect();
    assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
    assert_eq!(journal.durable_end(), 1_001);
    let batches = journal.health().batches;
    assert!(batches <= 3, "{batches} batches: the first may have been taken with or without others");
}

#[test]
fn closing_writes_what_is_queued_and_refuses_what_comes_after() {
    let disk = SimDisk::new();
    let journal = open(&disk, small(Durability::Synced), Drive::Thread).expect("opens");
    let (sender, receiver) = mpsc::channel();
    for _ in 0..50 {
        let sender = sender.clone();
        journal.submit(vec![entry("queued")], Box::new(move |result| sender.send(result.is_ok()).expect("heard")));
    }
    journal.close();
    journal.close();
    assert_eq!(receiver.iter().take(50).filter(|acknowledged| *acknowledged).count(), 50);
    assert_eq!(journal.append_blocking(vec![entry("late")]), Err(AppendError::Closed));
    assert_eq!(journal.wait_for(50, Duration::from_mins(1)), 50, "nobody waits for a closed journal");
    assert_eq!(read_all(&journal).len(), 50, "a closed journal is read all the same");
}

#[test]
fn a_journal_has_one_writer() {
    let disk = SimDisk::new();
    let journal = open_inline(&disk);
    let refused = open(&disk, small(Durability::Synced), Drive::Inline).map(|_| ());
    assert!(matches!(refused, Err(OpenError::InUse { .. })), "{refused:?}");
    drop(journal);
    open_inline(&disk);

    let dir = tempfile::tempdir().expect("a directory");
    let open_real = || {
        let config = small(Durability::Synced);
        Journal::open(Arc::new(RealDisk), dir.path(), config, identity(), Drive::Thread, Box::new(|| WallMs(0)))
    };
    let journal = open_real().expect("opens");
    assert!(matches!(open_real().map(|_| ()), Err(OpenError::InUse { .. })));
    drop(journal);
    open_real().expect("opens");
}

#[test]
fn a_position_beyond_the_end_is_an_error_and_not_a_wait() {
    let disk = SimDisk::new();
    let journal = open_inline(&disk);
    let read = |from| journal.reader().read(from, ReadLimit { scan_bytes: 1 }, |_| ControlFlow::Break(()));
    assert!(matches!(read(0), Ok(0)));
    assert!(matches!(read(1), Err(ReadError::Beyond { asked: 1, end: 0 })));
}
