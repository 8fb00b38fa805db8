//! How far the past is complete: up to which receive time every beacon is known to be in what accounting has applied.
//!
//! A server stamps a beacon and then appends it, and gives the append up (503) after a bounded time, so a record lies in its journal at most
//! [`SETTLE_MARGIN_MS`] after its stamp. When the journal's durable end at wall time `t` is in the log, all beacons that the server received
//! before `t − margin` are: that is the server's mark ([`super::ServerMark`]). The watermark of the whole is the least of the servers'
//! marks ([`super::Register::watermark`]), and leases close by it.

use crate::model::WallMs;

/// Longest time from a record's stamp to its place in the log, in milliseconds, with room: an append that takes longer is refused.
pub const SETTLE_MARGIN_MS: i64 = 60_000;

/// A time before which the past is complete. Never goes back.
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

    /// The watermark that says so much.
    #[must_use]
    pub const fn until(complete_until: WallMs) -> Self {
        Self { complete_until, margin_ms: SETTLE_MARGIN_MS }
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
