//! Accounting on one core: from a record's bytes to balances, and what of that is the state machine alone.
//!
//! The stream is that of a busy hour: leases of 1,000 impressions, each heard from its start to its end, in which one beacon in ten is a repeat.
//! `records` is what a partition's owner does with a record short of the store: decode, digest, chain, apply. `apply` is the state machine alone.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use segue::accounting::{Book, record_digest};
use segue::events::{self, Envelope};
use segue::model::{MonotonicMs, Now, WallMs};
use segue::roles::accounting::{AccountingMachine, Batch, Input, LogRecord};

#[path = "../examples/restart/stream.rs"]
mod stream;

/// Impressions in the stream.
const IMPRESSIONS: u64 = 20_000;

fn grants_and_beacons() -> (Vec<Envelope>, Vec<Envelope>) {
    let (mut grants, mut beacons) = (Vec::new(), Vec::new());
    for impression in 0..IMPRESSIONS {
        if impression % u64::from(stream::IMPRESSIONS_PER_LEASE) == 0 {
            grants.push(stream::grant(impression));
        }
        beacons.extend(stream::beacons(impression));
    }
    (grants, beacons)
}

fn apply(criterion: &mut Criterion) {
    let (grants, beacons) = grants_and_beacons();
    let mut opened = Book::default();
    for grant in &grants {
        opened.apply(grant);
    }
    let mut group = criterion.benchmark_group("accounting");
    group.throughput(Throughput::Elements(beacons.len() as u64)).sample_size(20);
    group.bench_function("apply", |bencher| {
        bencher.iter_batched(
            || opened.clone(),
            |mut book| beacons.iter().for_each(|beacon| drop(black_box(book.apply(beacon)))),
            BatchSize::LargeInput,
        );
    });
    let payloads: Vec<_> = grants.iter().chain(&beacons).map(events::encode).collect();
    let now = Now { wall: WallMs(stream::T0.0), monotonic: MonotonicMs(1) };
    group.bench_function("records", |bencher| {
        bencher.iter_batched(
            || AccountingMachine::new(stream::settings(), segue::accounting::LedgerState::default(), now),
            |mut machine| {
                let record = |(offset, payload): (usize, &Vec<u8>)| LogRecord {
                    offset: offset as u64,
                    digest: record_digest(payload),
                    envelope: events::decode(payload).expect("just encoded"),
                };
                let records = payloads.iter().enumerate().map(record).collect();
                let batch = Batch { records, next: payloads.len() as u64, end: u64::MAX };
                black_box(machine.step(Input::Records(batch), now));
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
