//! Clocks of machines: the wall clock may be off and jump, the monotonic one only starts anew with each boot.

use crate::model::{MonotonicMs, Now, WallMs};

/// Wall time at the start of every run: four minutes before midnight UTC, so that a run sees a day end.
pub const START: WallMs = WallMs(1_752_018_960_000);

/// How far a clock may be off before what it says is not judged, in milliseconds: the same bound as for a server that is ready.
pub const RIGHT_WITHIN_MS: i64 = 1_000;

/// How long a server with a wrong clock goes on as if it were right, in milliseconds: then it has noticed, and is not ready.
const NOTICED_MS: u64 = 2_000;

/// The clocks of one machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachineClock {
    /// How far its wall clock is ahead, in milliseconds.
    ahead_ms: i64,
    /// Since when it is so far ahead.
    ahead_since: u64,
    booted_at: u64,
}

impl MachineClock {
    /// Right clocks of a machine that boots at `at`.
    #[must_use]
    pub const fn new(at: u64) -> Self {
        Self { ahead_ms: 0, ahead_since: 0, booted_at: at }
    }

    /// The same with the wall clock right.
    #[must_use]
    pub const fn right(self) -> Self {
        Self { ahead_ms: 0, ..self }
    }

    /// Sets how far the wall clock is ahead.
    pub const fn set_ahead(&mut self, ahead_ms: i64, at: u64) {
        self.ahead_ms = ahead_ms;
        self.ahead_since = at;
    }

    /// Whether its server takes requests and beacons: not for long when the clock is wrong.
    #[must_use]
    pub const fn is_ready(&self, at: u64) -> bool {
        self.is_right() || at < self.ahead_since + NOTICED_MS
    }

    /// The monotonic clock starts anew.
    pub const fn boot(&mut self, at: u64) {
        self.booted_at = at;
    }

    /// What it says `at` milliseconds after the start of the run.
    #[must_use]
    pub fn now(&self, at: u64) -> Now {
        // One at the boot, so that no monotonic time is the default.
        Now { wall: true_wall(at).plus_ms(self.ahead_ms), monotonic: MonotonicMs(at - self.booted_at + 1) }
    }

    /// Whether its wall clock is about right.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.ahead_ms.unsigned_abs() <= RIGHT_WITHIN_MS.unsigned_abs()
    }
}

/// Wall time `at` milliseconds after the start of the run, as nobody in it knows it.
#[must_use]
pub fn true_wall(at: u64) -> WallMs {
    START.plus_ms(i64::try_from(at).unwrap_or(i64::MAX))
}
