//! The controller in virtual time, against Poisson arrivals.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::model::WallMs;

const DAY_MS: i64 = 86_400_000;

struct Scenario {
    name: &'static str,
    budget: i64,
    /// Eligible impressions over the day, as a multiple of the budget in impressions.
    supply: f64,
    /// Share of unthrottled breaks that are won.
    won: f64,
    /// A factor on the rate between 10 and 11 h.
    spike: f64,
    /// Whether the server counts eligible breaks at all.
    counts_eligible: bool,
    /// Bound of the mean |spend − plan| in per cent of the budget.
    mean_error: f64,
    /// Bound of the shortfall at the end in per cent.
    shortfall: f64,
}

fn unit(rng: &mut ChaCha8Rng) -> f64 {
    as_f64(rng.next_u64() >> 11) / 9_007_199_254_740_992.0
}

fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> u64 {
    let (limit, mut product, mut count) = ((-mean).exp(), unit(rng), 0);
    while product > limit {
        product *= unit(rng);
        count += 1;
    }
    count
}

/// One day in steps of a second; impressions are heard 41 s after the draw, 92 % of them; price one micro. Returns the mean error and the
/// shortfall in per cent of the budget, and whether the budget was passed by draws that a lease would have allowed.
fn run(case: &Scenario, seed: u64) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let plan = Plan { start: WallMs(0), end: WallMs(DAY_MS), spent: Micros(0), total: Micros(case.budget) };
    let at = |ms: i64| Now { wall: WallMs(ms), monotonic: MonotonicMs(ms.unsigned_abs()) };
    let observation = |ms, eligible, drawn: u64, settled: u64| Observation {
        at: at(ms),
        eligible: if case.counts_eligible { eligible } else { 0 },
        drawn_count: drawn,
        settled_count: settled,
        settled: Micros(i64::try_from(settled).expect("small")),
        price: Micros(1),
    };
    let mut controller = Controller::new(plan, observation(0, 0, 0, 0));
    let budget = case.budget.unsigned_abs();
    let (mut eligible, mut drawn, mut settled, mut lost) = (0, 0_u64, 0_u64, 0_u64);
    let mut in_air = std::collections::VecDeque::new();
    let (mut error, mut throttle) = (0.0, threshold(SLOW_START_SHARE));
    for second in 1..=86_400_i64 {
        let spike = if (36_000..39_600).contains(&second) { case.spike } else { 1.0 };
        let mean = as_f64(budget) * case.supply / 86_400.0 * spike;
        for _ in 0..poisson(&mut rng, mean) {
            eligible += 1;
            // The lease: settled and everything in the air never pass the budget.
            let room = settled + (in_air.len() as u64) < budget;
            if rng.next_u64() < throttle && unit(&mut rng) < case.won && room {
                drawn += 1;
                in_air.push_back((second + 41, unit(&mut rng) < 0.92));
            }
        }
        while in_air.front().is_some_and(|(due, _)| *due <= second) {
            match in_air.pop_front() {
                Some((_, true)) => settled += 1,
                _ => lost += 1,
            }
        }
        throttle = controller.observe(observation(second * 1_000, eligible, drawn, settled));
        error += (as_f64(settled) - money_f64(plan.due(WallMs(second * 1_000)))).abs();
    }
    assert!(settled <= budget, "{}: the budget was passed", case.name);
    assert!(settled + lost + in_air.len() as u64 == drawn, "{}: the simulation lost a draw", case.name);
    (error / 86_400.0 / as_f64(budget) * 100.0, (1.0 - as_f64(settled) / as_f64(budget)) * 100.0)
}

#[test]
fn spend_follows_the_plan_in_virtual_time() {
    let case = |name, budget, supply| Scenario {
        name,
        budget,
        supply,
        won: 1.0,
        spike: 1.0,
        counts_eligible: true,
        mean_error: 1.5,
        shortfall: 1.0,
    };
    let cases = [
        case("supply 3x", 10_000, 3.0),
        case("supply 100x", 3_000, 100.0),
        Scenario { mean_error: 2.0, shortfall: 2.0, ..case("tight, 1.3x", 10_000, 1.3) },
        Scenario { won: 0.3, ..case("wins three of ten", 5_000, 10.0) },
        Scenario { spike: 5.0, ..case("spike of an hour", 5_000, 3.0) },
        Scenario { counts_eligible: false, mean_error: 5.0, ..case("eligible breaks are not counted", 5_000, 3.0) },
        Scenario { mean_error: 3.0, shortfall: 2.0, ..case("small budget", 300, 50.0) },
    ];
    for case in &cases {
        for seed in 1..=3 {
            let (error, shortfall) = run(case, seed);
            assert!(error <= case.mean_error, "{} SEED={seed}: mean error {error:.2} % of the budget", case.name);
            assert!(shortfall <= case.shortfall, "{} SEED={seed}: {shortfall:.2} % short", case.name);
        }
    }
}

#[test]
fn a_new_line_item_starts_slowly_and_a_spent_one_stops() {
    let plan = Plan { start: WallMs(0), end: WallMs(DAY_MS), spent: Micros(0), total: Micros(1_000_000) };
    let seen = |ms: u64, eligible, settled| Observation {
        at: Now { wall: WallMs(ms.cast_signed()), monotonic: MonotonicMs(ms) },
        eligible,
        drawn_count: 0,
        settled_count: 0,
        settled: Micros(settled),
        price: Micros(1_000),
    };
    let mut controller = Controller::new(plan, seen(0, 0, 0));
    assert_eq!(controller.observe(seen(1_000, 1_000, 0)), threshold(SLOW_START_SHARE));
    assert!(controller.observe(seen(11_000, 11_000, 0)) < threshold(0.01), "a thousand a second is far above the plan");
    assert_eq!(controller.observe(seen(12_000, 12_000, 1_000_000)), 0);
    let mut quiet = Controller::new(plan, seen(0, 0, 0));
    assert_eq!(quiet.observe(seen(11_000, 0, 0)), u64::MAX, "nothing comes: take all that does");
}

#[test]
fn thresholds_are_total() {
    for (share, expected) in
        [(f64::NAN, 0), (-1.0, 0), (0.0, 0), (0.5, 1 << 63), (1.0, u64::MAX), (f64::INFINITY, u64::MAX)]
    {
        assert_eq!(threshold(share), expected, "{share}");
    }
}
