//! The decision, over reference catalogues: `cargo bench --bench decide`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use segue::catalog::{CatalogWriter, ResolvedBreak, Snapshot};
use segue::decision::{Excluded, LeaseTerms, Scratch, Seed, Spending, decide, survey};
use segue::model::{LeaseId, ListenerState, Micros, MonotonicMs, Now, Pseudonym, WallMs};
use segue::workload::reference::{Profile, ReferenceCatalogue};

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
        let spending = Spending::new();
        for (index, (line_item, standing)) in catalogue.line_items.iter().zip(&catalogue.standings).enumerate() {
            let slot = snapshot.slot(line_item.id).expect("the snapshot has every line item");
            spending.set_throttle(slot, standing.throttle);
            if standing.leased {
                spending.install_lease(
                    slot,
                    LeaseTerms {
                        lease_id: LeaseId::from_u128(index as u128),
                        amount: Micros(1_000_000_000),
                        max_ordinals: 1_000_000,
                        draw_until: MonotonicMs(u64::MAX),
                        last_billable_until: WallMs(i64::MAX),
                    },
                );
            }
        }
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
