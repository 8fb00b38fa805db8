//! How far the past is complete: up to which receive time every beacon is known to be in what accounting has read.
//!
//! One server, one journal: a beacon is stamped and then appended, and the append is given up (503) after a bounded time, so a record
//! lies in the log at most [`SETTLE_MARGIN_MS`] after its stamp. When accounting has read the log to its end at wall time `t`, all beacons
//! received before `t − margin` are applied. With several servers the watermark is the least of theirs.

use crate::model::WallMs;

/// Longest time from a record's stamp to its place in the log, in milliseconds, with room: an append that takes longer is refused.
pub const SETTLE_MARGIN_MS: i64 = 60_000;

/// The watermark of one server's journal. Never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermark {
    complete_until: WallMs,
    margin_ms: i64,
}

impl Default for Watermark {
    fn default() -> Self {
        Self::with_margin(SETTLE_MARGIN_MS)
    }
}

impl Watermark {
    /// A watermark that stays `margin_ms` behind: [`SETTLE_MARGIN_MS`], times its speed where the clock runs faster than the disk.
    #[must_use]
    pub const fn with_margin(margin_ms: i64) -> Self {
        Self { complete_until: WallMs(0), margin_ms }
    }

    /// The log was read to its end at `at`.
    pub fn caught_up(&mut self, at: WallMs) {
        self.complete_until = self.complete_until.max(at.plus_ms(-self.margin_ms));
    }

    /// Every record received before this is applied.
    #[must_use]
    pub const fn complete_until(self) -> WallMs {
        self.complete_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_never_goes_back() {
        let mut watermark = Watermark::default();
        watermark.caught_up(WallMs(100_000));
        watermark.caught_up(WallMs(90_000));
        assert_eq!(watermark.complete_until(), WallMs(40_000));
    }
}
