//! When breaks are due: at random, as many listeners together are, at rates that change from phase to phase.
//!
//! Times between two are exponential, so that arrivals are independent of each other; a seed makes them the same again.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::engine::Nanos;

/// A second.
pub(crate) const SECOND: f64 = 1e9;

/// Independent arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    random: ChaCha8Rng,
    /// The next one, in nanoseconds.
    next: f64,
}

impl Arrivals {
    /// Arrivals of that seed, the first of them soon after the start.
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), next: 0.0 }
    }

    /// When the next one is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^53 for a hundred days")]
    pub(crate) const fn next(&self) -> Nanos {
        self.next as u64
    }

    /// The one after, at so many a second.
    pub(crate) fn advance(&mut self, per_second: f64) {
        // From 1 down to just above 0, so that its logarithm is finite.
        let unit = 1.0 - crate::traffic::as_float(self.random.next_u64() >> 11) / 9_007_199_254_740_992.0;
        self.next += -unit.ln() / per_second.max(1e-6) * SECOND;
    }

    /// Goes on at that time, where it is later.
    pub(crate) fn skip_to(&mut self, at: Nanos) {
        self.next = self.next.max(crate::traffic::as_float(at));
    }
}

/// What a player reports of an ad, in the order in which it happens: its name, and when, for an ad of that length.
pub(crate) const EVENTS: [&str; 6] = ["start", "impression", "q1", "mid", "q3", "complete"];

/// An impression is believed after two seconds.
const AUDIBLE_MS: u32 = 2_000;

/// Milliseconds after the answer at which a player in a hurry reports the event: as soon as a server believes it, which is nine tenths of its moment.
pub(crate) fn reported_after_ms(event: usize, duration_ms: u32) -> u32 {
    let quarters = match event {
        0 => 0,
        1 => return AUDIBLE_MS.min(duration_ms),
        later => u64::try_from(later - 1).unwrap_or(4),
    };
    u32::try_from(u64::from(duration_ms) * quarters * 9 / 40).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate_and_the_same_again() {
        let run = |seed| {
            let mut arrivals = Arrivals::new(seed);
            let mut count = 0_u32;
            while arrivals.next() < 10_000_000_000 {
                arrivals.advance(1_000.0);
                count += 1;
            }
            count
        };
        assert!((9_600..10_400).contains(&run(7)), "{}", run(7));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn events_are_reported_in_their_order_and_never_too_soon() {
        let times: Vec<u32> = (0..EVENTS.len()).map(|event| reported_after_ms(event, 30_000)).collect();
        assert_eq!(times, [0, 2_000, 6_750, 13_500, 20_250, 27_000]);
        assert_eq!(reported_after_ms(1, 1_500), 1_500);
    }
}
