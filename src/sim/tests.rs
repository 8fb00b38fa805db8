//! The suite, bounded: some seeds without a bug, and each bug.

use super::board::StrictCounts;
use super::faults::Mix;
use super::sabotage::Sabotage;
use super::suite::{Options, Report, run};
use super::world::Shape;

fn options(first_seed: u64, seeds: u64, sabotage: Sabotage) -> Options {
    Options { first_seed, seeds, sabotage, shape: Shape::default(), echo: None }
}

// INV-35.
#[test]
fn one_seed_gives_one_trace() {
    for seed in [1, 2, 3] {
        let first = run(seed, Mix::of_seed(seed), Shape::default(), Sabotage::None);
        let second = run(seed, Mix::of_seed(seed), Shape::default(), Sabotage::None);
        assert_eq!(first, second, "seed {seed}");
    }
    let other = run(4, Mix::of_seed(4), Shape::default(), Sabotage::None);
    assert_ne!(other.digest, run(5, Mix::of_seed(5), Shape::default(), Sabotage::None).digest);
}

#[test]
fn nothing_fails_in_the_first_seeds() {
    let report = Report::of(&options(1, 30, Sabotage::None), |_, _| {});
    assert!(report.passes(), "{}", report.text());
}

/// The first of so many seeds in which the bug is caught.
#[track_caller]
fn is_caught(sabotage: Sabotage) {
    for seed in 1..=100 {
        let run = run(seed, Mix::of_seed(seed), Shape::default(), sabotage);
        if let Some(violation) = run.violation {
            println!("{}: seed {seed}, {}: {}", sabotage.name(), violation.invariant, violation.what);
            return;
        }
    }
    panic!("{} is not caught", sabotage.name());
}

#[test]
fn each_bug_is_caught() {
    for sabotage in Sabotage::ALL {
        is_caught(sabotage);
    }
}

// INV-31.
#[test]
fn ads_under_strict_caps_are_heard_and_their_writes_conflict() {
    let mut sum = StrictCounts::default();
    for seed in 1..=10 {
        let run = run(seed, Mix::none(), Shape::default(), Sabotage::None);
        assert_eq!(run.violation, None, "seed {seed}");
        sum.add(run.strict);
    }
    println!("{sum:?}");
    assert!(sum.heard > 100 && sum.conflicts > 0, "{sum:?}");
}
