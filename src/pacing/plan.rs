//! What should be spent by when.

use crate::model::{Micros, WallMs};

/// Longest part of a flight kept free at its end, in milliseconds (one hour): the plan is to be done by then, so that the last impressions
/// are heard in time.
const FAST_FINISH_MAX_MS: i64 = 3_600_000;

/// The part of the flight kept free at its end, as a divisor: 4 %.
const FAST_FINISH_DIVISOR: i64 = 25;

/// Even spending from a moment on: begun at `start` with `spent` spent already, to reach `total` a little before `end`. A line item that
/// was paused, or changed, begins a new plan with what is left, so it does not rush after what it missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// When it begins.
    pub start: WallMs,
    /// When the flight ends.
    pub end: WallMs,
    /// What was spent before it began.
    pub spent: Micros,
    /// What is to be spent in all.
    pub total: Micros,
}

impl Plan {
    /// What should be spent by `at`: a straight line from `spent` to `total`, flat before and after.
    #[must_use]
    pub fn due(&self, at: WallMs) -> Micros {
        let length = self.end.since(self.start).max(1);
        let length = (length - FAST_FINISH_MAX_MS.min(length / FAST_FINISH_DIVISOR)).max(1);
        let elapsed = at.since(self.start).clamp(0, length);
        let left = i128::from(self.total.0) - i128::from(self.spent.0);
        let due = i128::from(self.spent.0) + left * i128::from(elapsed) / i128::from(length);
        Micros(i64::try_from(due).expect("between spent and total, both of which fit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_a_line_that_ends_early() {
        let plan = Plan { start: WallMs(1_000), end: WallMs(101_000), spent: Micros(10), total: Micros(970) };
        let cases = [(0, 10), (1_000, 10), (49_000, 490), (97_000, 970), (101_000, 970), (999_999, 970)];
        for (at, due) in cases {
            assert_eq!(plan.due(WallMs(at)), Micros(due), "at {at}");
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let plan = Plan { start: WallMs(i64::MIN), end: WallMs(i64::MAX), spent: Micros(0), total: Micros(i64::MAX) };
        assert_eq!(plan.due(WallMs(i64::MAX)), Micros(i64::MAX));
        let empty = Plan { start: WallMs(5), end: WallMs(5), spent: Micros(3), total: Micros(9) };
        assert_eq!(empty.due(WallMs(5)), Micros(3));
        assert_eq!(empty.due(WallMs(6)), Micros(9));
    }
}
