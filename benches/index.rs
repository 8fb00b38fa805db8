//! The targeting index on the reference catalogue: resolving a request, finding the best 16, the best 100 and all that match; building the catalogue, and
//! publishing one change.
//!
//! Criterion gives means over many listeners; the table printed first gives percentiles over listeners, each timed on its own: the least of
//! three passes, as on a shared machine what is more is another's.
//! `LINE_ITEMS=1000000 cargo bench --bench index -- table` prints the table alone
//! for a catalogue of that size.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use segue::catalog::{CatalogWriter, Entity, ScanScratch, Snapshot};
use segue::model::{Micros, Now, WallMs};
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue};

const SIZES: [usize; 2] = [10_000, 100_000];
const PASSES: usize = 3;
/// How many candidates are taken: what a pod needs, what a crowded hour needs, all.
const TAKEN: [(&str, usize); 3] = [("top-16", 16), ("top-100", 100), ("all", usize::MAX)];
const LISTENERS: usize = 2_000;
const CATALOGUE_SEED: u64 = 11;
const LISTENER_SEED: u64 = 12;

fn now(at: WallMs) -> Now {
    Now { wall: at, ..Now::default() }
}

fn take(snapshot: &Snapshot, one: &ReferenceBreak, most: usize, scratch: &mut ScanScratch) -> usize {
    let resolved = snapshot.resolve(&one.request, now(one.at));
    let mut scan = snapshot.scan(&resolved, scratch);
    (0..most).take_while(|_| scan.next().map(black_box).is_some()).count()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = black_box(work());
    (result, start.elapsed())
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits fit")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)).expect("the histogram resizes");
}

fn row(name: &str, histogram: &Histogram<u64>, note: &str) {
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    println!("{name:32} {:9.1} {:9.1} {:9.1} us  {note}", us(0.5), us(0.99), us(0.999));
}

/// The catalogue and how long it took to build.
fn catalogue(profile: Profile, size: usize) -> (CatalogWriter, Arc<Snapshot>, Duration) {
    let entities = ReferenceCatalogue::generate(profile, size, CATALOGUE_SEED).into_entities();
    let mut writer = CatalogWriter::new();
    let (snapshot, took) = timed(|| writer.apply(1, entities));
    (writer, snapshot, took)
}

fn index(criterion: &mut Criterion) {
    println!("{:32} {:>9} {:>9} {:>9}", "", "p50", "p99", "p99.9");
    let asked = std::env::var("LINE_ITEMS").ok();
    let asked = asked.map(|sizes| sizes.split(',').map(|size| size.parse().expect("LINE_ITEMS is numbers")).collect());
    for size in asked.unwrap_or_else(|| SIZES.to_vec()) {
        for profile in Profile::ALL {
            let (mut writer, snapshot, built) = catalogue(profile, size);
            let breaks = ReferenceCatalogue::breaks(profile, LISTENERS, LISTENER_SEED);
            percentiles(profile, size, &snapshot, &breaks, built);
            changes(profile, size, &mut writer);
            means(criterion, profile, size, &snapshot, &breaks);
        }
    }
}

/// Of what `work` takes for each listener, the least of [`PASSES`].
fn least(breaks: &[ReferenceBreak], mut work: impl FnMut(&ReferenceBreak) -> Duration) -> Histogram<u64> {
    let mut took = vec![Duration::MAX; breaks.len()];
    for _ in 0..PASSES {
        for (one, took) in breaks.iter().zip(&mut took) {
            *took = (*took).min(work(one));
        }
    }
    let mut histogram = histogram();
    for took in took {
        record(&mut histogram, took);
    }
    histogram
}

fn percentiles(profile: Profile, size: usize, snapshot: &Snapshot, breaks: &[ReferenceBreak], built: Duration) {
    let mut scratch = ScanScratch::new();
    let resolving = least(breaks, |one| timed(|| snapshot.resolve(&one.request, now(one.at))).1);
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let bytes = snapshot.index_bytes() as f64 / size as f64;
    let note = format!("(built in {built:.1?}, index {bytes:.0} B a line item)");
    row(&format!("{} {size} resolve", profile.name()), &resolving, &note);
    for (name, most) in TAKEN {
        let mut found = 0;
        let scanning = least(breaks, |one| {
            let resolved = snapshot.resolve(&one.request, now(one.at));
            let (count, took) = timed(|| {
                let mut scan = snapshot.scan(&resolved, &mut scratch);
                (0..most).take_while(|_| scan.next().map(black_box).is_some()).count()
            });
            found += count;
            took
        });
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let mean = found as f64 / (breaks.len() * PASSES) as f64;
        row(&format!("{} {size} {name}", profile.name()), &scanning, &format!("({mean:.1} found)"));
    }
}

/// Publishing a change of one line item's targeting and bid, with an empty delta and with a full one.
fn changes(profile: Profile, size: usize, writer: &mut CatalogWriter) {
    const FULL: usize = 4_000;
    const TIMES: usize = 32;
    let targeting = ReferenceCatalogue::generate(profile, FULL + TIMES, CATALOGUE_SEED + 1).line_items;
    let lines: Vec<_> = writer.snapshot().lines().take(targeting.len()).map(|one| Arc::clone(&one.line_item)).collect();
    let mut changed: Vec<Entity> = lines
        .iter()
        .zip(targeting)
        .map(|(line, new)| {
            let mut line_item = (**line).clone();
            line_item.targeting = new.targeting;
            line_item.pricing.amount = Micros(line_item.pricing.amount.0 + 1_000);
            Entity::LineItem(line_item)
        })
        .collect();
    for (bids, filled) in [(1, 0), (2, FULL)] {
        writer.apply(2, changed.drain(..filled.min(changed.len() - TIMES)).collect());
        let mut publishing = histogram();
        let last = changed.len() - TIMES;
        for change in &mut changed[last..] {
            // Another bid each time: a change that the index would not see costs far less.
            if let Entity::LineItem(line_item) = change {
                line_item.pricing.amount = Micros(line_item.pricing.amount.0 + bids * 1_000);
            }
            record(&mut publishing, timed(|| writer.apply(3, vec![change.clone()])).1);
        }
        row(&format!("{} {size} publish a change", profile.name()), &publishing, &format!("(delta {filled})"));
    }
}

fn means(criterion: &mut Criterion, profile: Profile, size: usize, snapshot: &Snapshot, breaks: &[ReferenceBreak]) {
    let mut group = criterion.benchmark_group(format!("index/{}", profile.name()));
    let mut scratch = ScanScratch::new();
    for (name, most) in TAKEN {
        let mut listeners = breaks.iter().cycle();
        group.bench_with_input(BenchmarkId::new(name, size), &most, |bencher, &most| {
            bencher.iter(|| take(snapshot, listeners.next().expect("a cycle"), most, &mut scratch));
        });
    }
    group.finish();
}

criterion_group!(benches, index);
criterion_main!(benches);
