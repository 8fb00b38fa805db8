//! How far the past is complete: up to which receive time every beacon is known to be in what accounting has applied.
//!
//! A server stamps a beacon and then appends it, and gives the append up (503) after a bounded time, so a record lies in its journal at most
//! [`SETTLE_MARGIN_MS`] after its stamp. When the journal's durable end at wall time `t` is in the log, all beacons that the server received
//! before `t − margin` are: that is the server's mark ([`super::ServerMark`]). The watermark of the whole is the least of the servers'
//! marks ([`super::Register::watermark`]), and leases close by it.

use crate::model::WallMs;

/// Longest time from a record's stamp to its place in the log, in milliseconds, with room: an append that takes longer is refused.
pub const SETTLE_MARGIN_MS: i64 = 60_000;

/// A time before which the past is complete; 0 where nothing is known yet. That it never goes back is the register's to see to (INV-39).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Watermark(WallMs);

impl Watermark {
    /// The watermark that says so much.
    #[must_use]
    pub const fn until(complete_until: WallMs) -> Self {
        Self(complete_until)
    }

    /// Every record received before this is applied.
    #[must_use]
    pub const fn complete_until(self) -> WallMs {
        self.0
    }
}
