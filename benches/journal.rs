//! The journal on the real disk of a temporary folder: from append to durable, and the scan of a start.
//!
//! A record is 320 bytes, about what a beacon takes. What is measured first is the disk's sync; the batch shows what group commit makes of it.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use segue::journal::{
    Clock, Drive, Durability, Entry, Identity, Journal, JournalConfig, ReadLimit, RealDisk, read_dir,
};
use segue::model::{BootId, ServerId, WallMs};

const PAYLOAD_BYTES: usize = 320 - 26;
/// What the recovery bench reads: 20,000 records in two segments.
const RECORDS: usize = 20_000;

fn open(dir: &Path, durability: Durability) -> Journal {
    let config = JournalConfig { segment_bytes: 4 << 20, durability, ..JournalConfig::money() };
    let identity = Identity { server: ServerId::from_u128(1), boot: BootId::from_u128(2) };
    let clock: Clock = Box::new(|| WallMs(1_790_000_000_000));
    // Inline: the bench's own thread is the journaller, so that no hand-over between threads is measured.
    Journal::open(Arc::new(RealDisk), dir, config, identity, Drive::Inline, clock).expect("an empty folder")
}

fn entries(count: usize) -> Vec<Entry> {
    vec![Entry { kind: 1, payload: vec![7; PAYLOAD_BYTES] }; count]
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal/append");
    for (name, durability) in [("synced", Durability::Synced), ("written", Durability::Written)] {
        for count in [1, 100, 1_000] {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let journal = open(dir.path(), durability);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}/{count}"), |bencher| {
                bencher.iter_batched(
                    || entries(count),
                    |entries| {
                        let appended = journal.append_blocking(entries).expect("appended");
                        // The bench writes for as long as it likes: what is behind it need not stay.
                        journal.retain_from(appended.first_seq).expect("removed");
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path(), Durability::Written);
    for _ in 0..RECORDS / 1_000 {
        journal.append_blocking(entries(1_000)).expect("appended");
    }
    let mut group = criterion.benchmark_group("journal/read");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("tail", |bencher| {
        bencher.iter(|| {
            journal.reader().read(0, ReadLimit { scan_bytes: usize::MAX }, |view| {
                black_box(view.payload);
                std::ops::ControlFlow::Continue(())
            })
        });
    });
    drop(journal);
    group.bench_function("recovery", |bencher| {
        bencher.iter(|| open(dir.path(), Durability::Written).recovery().records);
    });
    group.bench_function("directory", |bencher| {
        bencher.iter(|| read_dir(Arc::new(RealDisk), dir.path()).expect("a journal").flatten().count());
    });
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
