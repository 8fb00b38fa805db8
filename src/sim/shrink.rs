//! Makes a failure smaller: fewer kinds of faults, fewer players, an earlier end, as long as the same invariant fails.

use std::fmt;

use super::faults::{FaultKind, Mix};
use super::invariants::Violation;
use super::sabotage::Sabotage;
use super::suite;
use super::world::Shape;

/// A smaller run in which the same invariant fails.
#[derive(Clone, PartialEq, Debug)]
pub struct Smaller {
    /// Faults that are needed.
    pub kinds: Vec<FaultKind>,
    /// Its shape.
    pub shape: Shape,
    /// What fails.
    pub violation: Violation,
}

impl fmt::Display for Smaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        let (shape, violation) = (self.shape, &self.violation);
        write!(f, "{} players, faults until {} ms of ", shape.players, shape.faults_until_ms)?;
        write!(f, "{:?}; fails at step {}, {} ms: {}", kinds, violation.step, violation.at_ms, violation.what)
    }
}

/// Looks for a smaller run of the seed that fails in the same way. None when nothing can be left out.
#[must_use]
pub fn shrink(seed: u64, mix: &Mix, shape: Shape, sabotage: Sabotage, invariant: &str) -> Option<Smaller> {
    let fails = |mix: &Mix, shape: Shape| {
        suite::run(seed, mix.clone(), shape, sabotage).violation.filter(|violation| violation.invariant == invariant)
    };
    let (mut mix, mut shape) = (mix.clone(), shape);
    let mut smallest = None;
    // First the length and the crowd, as they make each further run cheaper.
    for faults_until_ms in [60_000, 120_000, 240_000] {
        let shorter = Shape { faults_until_ms, ..shape };
        if faults_until_ms < shape.faults_until_ms
            && let Some(violation) = fails(&mix, shorter)
        {
            (shape, smallest) = (shorter, Some(violation));
            break;
        }
    }
    for players in [2, 6, 12] {
        let fewer = Shape { players, ..shape };
        if players < shape.players
            && let Some(violation) = fails(&mix, fewer)
        {
            (shape, smallest) = (fewer, Some(violation));
            break;
        }
    }
    let kinds: Vec<_> = mix.kinds().collect();
    for kind in kinds {
        let fewer = mix.without(kind);
        if let Some(violation) = fails(&fewer, shape) {
            (mix, smallest) = (fewer, Some(violation));
        }
    }
    smallest.map(|violation| Smaller { kinds: mix.kinds().collect(), shape, violation })
}
