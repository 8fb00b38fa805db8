//! The targeting index on the reference catalogue: finding the best 16, the best 100 and all that match, as means over many listeners.
//!
//! Percentiles over listeners, up to a million line items, are `segue-perf index`'s (`make perf`).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use segue::catalog::{CatalogWriter, ScanScratch, Snapshot};
use segue::model::Now;
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue};

const SIZES: [usize; 2] = [10_000, 100_000];
/// How many candidates are taken: what a pod needs, what a crowded hour needs, all.
const TAKEN: [(&str, usize); 3] = [("top-16", 16), ("top-100", 100), ("all", usize::MAX)];
const LISTENERS: usize = 2_000;
const SEED: u64 = 11;

fn take(snapshot: &Snapshot, one: &ReferenceBreak, most: usize, scratch: &mut ScanScratch) -> usize {
    let resolved = snapshot.resolve(&one.request, Now { wall: one.at, ..Now::default() });
    let mut scan = snapshot.scan(&resolved, scratch);
    (0..most).take_while(|_| scan.next().map(black_box).is_some()).count()
}

fn index(criterion: &mut Criterion) {
    for size in SIZES {
        for profile in Profile::ALL {
            let entities = ReferenceCatalogue::generate(profile, size, SEED).into_entities();
            let snapshot = CatalogWriter::new().apply(1, entities);
            let breaks = ReferenceCatalogue::breaks(profile, LISTENERS, SEED + 1);
            let mut group = criterion.benchmark_group(format!("index/{}", profile.name()));
            let mut scratch = ScanScratch::new();
            for (name, most) in TAKEN {
                let mut listeners = breaks.iter().cycle();
                group.bench_with_input(BenchmarkId::new(name, size), &most, |bencher, &most| {
                    bencher.iter(|| take(&snapshot, listeners.next().expect("a cycle"), most, &mut scratch));
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, index);
criterion_main!(benches);
