//! The search against trying every set of ads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::catalog::CategoryId;
use crate::model::{AdvertiserId, LineItemId, Tier};

/// What a random problem looks like.
#[derive(Clone, Copy)]
struct Shape {
    max_candidates: u32,
    advertisers: u32,
    categories: u32,
    values: u32,
    ties: u32,
    tiers: u32,
}

#[derive(Clone, Debug)]
struct Ad {
    candidate: PodCandidate,
    excluded: Vec<CategoryId>,
}

struct Chance(ChaCha8Rng);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    fn problem(&mut self, shape: Shape) -> (Vec<Ad>, PodLimits) {
        let count = self.below(shape.max_candidates + 1);
        let limits =
            PodLimits { max_duration_ms: self.below(13) * 10_000, max_ads: u8::try_from(self.below(7)).unwrap() };
        ((0..count).map(|key| self.ad(key, shape)).collect(), limits)
    }

    fn ad(&mut self, key: u32, shape: Shape) -> Ad {
        let category = self.below(shape.categories + 1);
        let mut excluded: Vec<_> = (0..self.below(3)).map(|_| CategoryId(self.below(shape.categories + 1))).collect();
        excluded.sort_unstable();
        excluded.dedup();
        let tiers = [Tier::Auction, Tier::House, Tier::Guaranteed, Tier::Sponsorship];
        let duration_ms = [10_000, 15_000, 20_000, 30_000, 1 + self.below(40_000)][self.below(5) as usize];
        Ad {
            candidate: PodCandidate {
                key,
                line_item_id: LineItemId::from_u128(u128::from(key)),
                advertiser_id: AdvertiserId::from_u128(u128::from(self.below(shape.advertisers))),
                tier: tiers[self.below(shape.tiers) as usize],
                value: i64::from(1 + self.below(shape.values)),
                tie: u64::from(self.below(shape.ties)),
                duration_ms,
                category: (category > 0).then_some(CategoryId(category)),
            },
            excluded,
        }
    }
}

fn problem_of(ads: &[Ad], limits: PodLimits) -> PodProblem {
    let mut problem = PodProblem::new(limits);
    for ad in ads {
        problem.push(ad.candidate, &ad.excluded);
    }
    problem
}

fn compete(a: &Ad, b: &Ad) -> bool {
    let excludes =
        |one: &Ad, other: &Ad| other.candidate.category.is_some_and(|category| one.excluded.contains(&category));
    a.candidate.advertiser_id == b.candidate.advertiser_id
        || (a.candidate.category.is_some() && a.candidate.category == b.candidate.category)
        || excludes(a, b)
        || excludes(b, a)
}

fn is_valid(pod: &[&Ad], limits: PodLimits) -> bool {
    let duration: u64 = pod.iter().map(|ad| u64::from(ad.candidate.duration_ms)).sum();
    let apart = (0..pod.len()).all(|a| (a + 1..pod.len()).all(|b| !compete(pod[a], pod[b])));
    pod.len() <= usize::from(limits.max_ads) && duration <= u64::from(limits.max_duration_ms) && apart
}

fn value_of(pod: &[&Ad]) -> PodValue {
    let mut value = PodValue::default();
    for ad in pod {
        value.tiers[ad.candidate.tier as usize] += ad.candidate.value;
        value.tie += u128::from(ad.candidate.tie);
    }
    value
}

/// The value of the best of all sets of ads.
fn brute_force(ads: &[Ad], limits: PodLimits) -> PodValue {
    let sets = (0_u32..1 << ads.len()).map(|set| {
        let in_set = ads.iter().enumerate().filter(|&(index, _)| set & (1 << index) != 0);
        in_set.map(|(_, ad)| ad).collect::<Vec<&Ad>>()
    });
    sets.filter(|pod| is_valid(pod, limits)).map(|pod| value_of(&pod)).max().unwrap()
}

/// Few values and lots (so that everything ties), and many.
const SHAPES: [Shape; 4] = [
    Shape { max_candidates: 12, advertisers: 4, categories: 3, values: 2, ties: 3, tiers: 4 },
    Shape { max_candidates: 12, advertisers: 12, categories: 5, values: 6, ties: 100, tiers: 2 },
    Shape { max_candidates: 12, advertisers: 40, categories: 2, values: 1_000_000, ties: u32::MAX, tiers: 1 },
    Shape { max_candidates: 13, advertisers: 40, categories: 1, values: 1, ties: u32::MAX, tiers: 1 },
];

// INV-13.
#[test]
fn equals_brute_force() {
    let (mut scratch, mut instances, mut with_ads) = (PodScratch::default(), 0_u32, 0_u32);
    for shape in SHAPES {
        for seed in 0..5_000 {
            let (ads, limits) = Chance::new(seed).problem(shape);
            let expected = brute_force(&ads, limits);
            let mut problem = problem_of(&ads, limits);
            let plain = solve(&problem, &mut scratch).clone();
            problem.prune();
            let pruned = solve(&problem, &mut scratch);
            for pod in [&plain, pruned] {
                let chosen: Vec<&Ad> = pod.keys.iter().map(|&key| &ads[key as usize]).collect();
                assert!(is_valid(&chosen, limits), "seed {seed}: {pod:?}");
                assert_eq!(pod.value, value_of(&chosen), "seed {seed}");
                assert_eq!(pod.value, expected, "seed {seed}: {ads:?} {limits:?}");
                assert!(pod.is_complete(), "seed {seed}");
                assert!(chosen.is_sorted_by_key(|ad| ad.candidate.order()), "seed {seed}: best first");
            }
            instances += 1;
            with_ads += u32::from(!plain.keys.is_empty());
        }
    }
    println!("{instances} instances, {with_ads} of them with ads in the pod");
    assert!(instances >= 10_000 && with_ads > instances / 2);
}

#[test]
fn what_is_unseen_never_improves_a_pod_that_is_said_to_be_final() {
    let (mut scratch, mut finals, mut wrongly_open) = (PodScratch::default(), 0_u32, 0_u32);
    for shape in SHAPES {
        for seed in 0..3_000 {
            let mut chance = Chance::new(seed);
            let (mut ads, limits) = chance.problem(shape);
            ads.sort_by_key(|ad| ad.candidate.order());
            let seen = chance.below(u32::try_from(ads.len()).unwrap() + 1) as usize;
            let (seen, unseen) = ads.split_at(seen);
            let Some(first) = unseen.first() else { continue };
            let bound = Unseen {
                tier: first.candidate.tier,
                value: first.candidate.value,
                tie: first.candidate.tie,
                duration_ms: unseen.iter().map(|ad| ad.candidate.duration_ms).min().unwrap(),
            };
            let problem = problem_of(seen, limits);
            let best = solve(&problem, &mut scratch).value;
            if is_improvable(&problem, bound, best, &mut scratch) {
                wrongly_open += u32::from(brute_force(&ads, limits) == best);
            } else {
                finals += 1;
                assert_eq!(brute_force(&ads, limits), best, "seed {seed}");
            }
        }
    }
    println!("{finals} pods final, {wrongly_open} final but not seen to be");
    assert!(finals > 500);
}

// INV-26.
#[test]
fn large_problems_keep_to_the_limits_in_any_order() {
    let shape = Shape { max_candidates: 240, advertisers: 60, categories: 12, values: 9_000, ties: u32::MAX, tiers: 4 };
    let (mut scratch, mut worst) = (PodScratch::default(), 0);
    for seed in 0..300 {
        let (mut ads, limits) = Chance::new(seed).problem(shape);
        let pod = solve(&problem_of(&ads, limits), &mut scratch).clone();
        let chosen: Vec<&Ad> = pod.keys.iter().map(|&key| &ads[key as usize]).collect();
        assert!(is_valid(&chosen, limits), "seed {seed}");
        worst = worst.max(pod.nodes);
        ads.reverse();
        let mut problem = problem_of(&ads, limits);
        assert_eq!(solve(&problem, &mut scratch), &pod, "seed {seed}: order of candidates");
        problem.prune();
        if pod.is_complete() {
            assert_eq!(solve(&problem, &mut scratch).keys, pod.keys, "seed {seed}: pruned");
        }
    }
    println!("at most {worst} nodes");
}
