//! The decision, over reference catalogues: `cargo bench --bench decide`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use segue::catalog::{CatalogWriter, ResolvedBreak, Snapshot};
use segue::decision::{Excluded, Scratch, Seed, Spending, decide, survey};
use segue::model::{ListenerState, MonotonicMs, Now, Pseudonym};
use segue::workload::reference::{Profile, ReferenceCatalogue, endless_lease, spending_of};

const SEED: u64 = 7;
const BREAKS: usize = 500;

struct Stage {
    snapshot: Arc<Snapshot>,
    spending: Spending,
    breaks: Vec<(ResolvedBreak, Now, Seed)>,
}

impl Stage {
    fn new(profile: Profile, line_items: usize) -> Self {
        let catalogue = ReferenceCatalogue::generate(profile, line_items, SEED);
        let mut writer = CatalogWriter::new();
        writer.apply(1, catalogue.clone().into_entities());
        let snapshot = writer.rebuild();
        let spending = spending_of(&snapshot, catalogue.standing_of_each(), endless_lease);
        let breaks = ReferenceCatalogue::breaks(profile, BREAKS, SEED).into_iter().map(|one| {
            let now = Now { wall: one.at, monotonic: MonotonicMs(1) };
            (snapshot.resolve(&one.request, now), now, Seed::of(&one.request))
        });
        let breaks = breaks.collect();
        Self { snapshot, spending, breaks }
    }
}

fn benches(criterion: &mut Criterion) {
    let listener = ListenerState::new(Pseudonym([0; 16]));
    let none = Excluded::none();
    for profile in [Profile::Midday, Profile::Broad] {
        let mut group = criterion.benchmark_group(format!("decide/{}", profile.name()));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        for line_items in [10_000, 100_000] {
            let stage = Stage::new(profile, line_items);
            let mut scratch = Scratch::new();
            let mut looked_at = (0_u64, 0_u64, 0_usize);
            for (resolved, now, seed) in &stage.breaks {
                let (snapshot, spending) = (&stage.snapshot, &stage.spending);
                let decision = decide(snapshot, resolved, &listener, spending, &none, *now, *seed, &mut scratch);
                looked_at.0 += u64::from(decision.considered);
                looked_at.2 += decision.ads.len();
                let all = survey(snapshot, resolved, &listener, spending, &none, *now, *seed, &mut scratch);
                looked_at.1 += u64::from(all.considered);
            }
            let breaks = stage.breaks.len() as u64;
            println!(
                "{}/{line_items}: of {} candidates a break {} are looked at; {} ads in {breaks} breaks",
                profile.name(),
                looked_at.1 / breaks,
                looked_at.0 / breaks,
                looked_at.2
            );
            let mut next = 0;
            group.bench_function(BenchmarkId::from_parameter(line_items), |bencher| {
                bencher.iter(|| {
                    let (resolved, now, seed) = &stage.breaks[next % BREAKS];
                    next += 1;
                    let (snapshot, spending) = (&stage.snapshot, &stage.spending);
                    black_box(
                        decide(snapshot, resolved, &listener, spending, &none, *now, *seed, &mut scratch).ads.len(),
                    )
                });
            });
        }
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
