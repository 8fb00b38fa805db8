//! Candidates of one rank: looked at in the order of their lots where they are many.

use super::decide::MAX_CONSIDERED;
use super::seed::Seed;
use crate::catalog::Candidate;

/// Up to so many are looked at in any order: an ordinary class, of a handful, costs no lots.
const SMALL: usize = 64;
/// Most that are looked at before it is asked again whether those left can matter.
const AT_ONCE_MAX: usize = 1_024;
/// Most that are looked at of one class.
const KEPT_MAX: usize = MAX_CONSIDERED as usize;

/// A candidate with its lot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    tie: u64,
    pub(super) candidate: Candidate,
}

/// The candidates of one rank. Which of them are kept, and what [`Class::take_next`] yields, is a function of the set, not of the order in which they came.
/// Keeps its memory from one class to the next.
#[derive(Debug, Default)]
pub(super) struct Class {
    lots: Vec<Lot>,
    /// How many were taken.
    taken: usize,
    /// How many were taken last.
    step: usize,
    /// Of more than are ever looked at, the lot below which none is kept.
    least: Option<u64>,
    is_sorted: bool,
}

impl Lot {
    /// Highest first; of two that are alike, which cannot be told from each other by the pod, the lower id.
    fn order(&self) -> (std::cmp::Reverse<u64>, u128) {
        (std::cmp::Reverse(self.tie), self.candidate.line_item_id.as_u128())
    }
}

impl Class {
    /// One more. Of more than twice as many as are looked at, the lower half is let go.
    pub(super) fn add(&mut self, candidate: Candidate, seed: Seed) {
        let mut lot = Lot { tie: 0, candidate };
        if let Some(least) = self.least {
            lot.tie = seed.tie(candidate.line_item_id);
            if lot.tie < least {
                return;
            }
        }
        self.lots.push(lot);
        if self.lots.len() == 2 * KEPT_MAX {
            self.keep_highest(seed);
        }
    }

    fn keep_highest(&mut self, seed: Seed) {
        if self.least.is_none() {
            draw(&mut self.lots, seed);
        }
        let (_, last, _) = self.lots.select_nth_unstable_by_key(KEPT_MAX - 1, Lot::order);
        self.least = Some(last.tie);
        self.lots.truncate(KEPT_MAX);
    }

    /// Those to look at next: all of a small class; of a large one those with the highest lots, twice as many each time. None when there are no more.
    pub(super) fn take_next(&mut self, seed: Seed) -> Option<&[Lot]> {
        if self.lots.len() > SMALL && !self.is_sorted {
            if self.least.is_none() {
                draw(&mut self.lots, seed);
            }
            if self.lots.len() > KEPT_MAX {
                self.keep_highest(seed);
            }
            self.lots.sort_unstable_by_key(Lot::order);
            self.is_sorted = true;
        }
        self.step = (2 * self.step).clamp(SMALL, AT_ONCE_MAX);
        let from = self.taken;
        self.taken = self.lots.len().min(from + self.step);
        (from < self.taken).then(|| &self.lots[from..self.taken])
    }

    /// The highest lot of those that were not taken; none when all were. For after [`Class::take_next`].
    pub(super) fn highest_left(&self) -> Option<u64> {
        self.lots.get(self.taken).map(|lot| lot.tie)
    }

    /// Whether there are some that were not taken, kept or let go.
    pub(super) const fn has_left(&self) -> bool {
        self.taken < self.lots.len() || self.least.is_some()
    }

    /// Makes room for the next class.
    pub(super) fn clear(&mut self) {
        self.lots.clear();
        (self.taken, self.step, self.least, self.is_sorted) = (0, 0, None, false);
    }
}

fn draw(lots: &mut [Lot], seed: Seed) {
    for lot in lots {
        lot.tie = seed.tie(lot.candidate.line_item_id);
    }
}
