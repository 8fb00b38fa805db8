//! The pod search over random candidates: `cargo bench --bench pod`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use segue::catalog::CategoryId;
use segue::model::{AdvertiserId, LineItemId, Tier};
use segue::pod::{PodCandidate, PodLimits, PodProblem, PodScratch, solve};
use segue::workload::Draws;

/// How many candidates, for how long a pod, of how many ads.
const SIZES: [(usize, u32, u8); 3] = [(40, 120_000, 6), (80, 120_000, 6), (120, 180_000, 8)];
const PROBLEMS: usize = 400;

/// Candidates of an auction: 60 advertisers, 25 categories, prices over a factor of 40, five durations.
fn problem(draws: &mut Draws, candidates: usize, limits: PodLimits) -> PodProblem {
    let mut problem = PodProblem::new(limits);
    for key in 0..candidates {
        let category = |draws: &mut Draws| CategoryId(u32::try_from(draws.index(25)).expect("below 25"));
        let candidate = PodCandidate {
            key: u32::try_from(key).expect("a few hundred"),
            line_item_id: LineItemId::from_u128(key as u128),
            advertiser_id: AdvertiserId::from_u128(draws.index(60) as u128),
            tier: Tier::Auction,
            value: 1_000 + i64::try_from(draws.index(39_000)).expect("below 40,000"),
            tie: draws.index(u32::MAX as usize) as u64,
            duration_ms: *draws.pick(&[10_000, 15_000, 20_000, 30_000, 45_000]),
            category: draws.chance(0.8).then(|| category(draws)),
        };
        let excluded = if draws.chance(0.1) { vec![category(draws)] } else { Vec::new() };
        problem.push(candidate, &excluded);
    }
    problem
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pod");
    for (candidates, max_duration_ms, max_ads) in SIZES {
        let limits = PodLimits { max_duration_ms, max_ads };
        let mut draws = Draws::new(7, 1);
        let problems: Vec<PodProblem> = (0..PROBLEMS).map(|_| problem(&mut draws, candidates, limits)).collect();
        let mut scratch = PodScratch::default();
        let mut nodes: Vec<u32> = problems.iter().map(|problem| solve(problem, &mut scratch).nodes).collect();
        nodes.sort_unstable();
        println!(
            "pod/{candidates}: nodes p50 {}, p99 {}, max {}",
            nodes[PROBLEMS / 2],
            nodes[PROBLEMS * 99 / 100],
            nodes[PROBLEMS - 1]
        );
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(candidates), |bencher| {
            bencher.iter(|| {
                next += 1;
                black_box(solve(&problems[next % PROBLEMS], &mut scratch).keys.len())
            });
        });
        let (mut pruned, mut next) = (PodProblem::new(limits), 0);
        group.bench_function(BenchmarkId::new("pruned", candidates), |bencher| {
            bencher.iter(|| {
                next += 1;
                pruned.clone_from(&problems[next % PROBLEMS]);
                pruned.prune();
                black_box(solve(&pruned, &mut scratch).keys.len())
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
