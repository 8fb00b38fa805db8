//! How many impressions one listener or address may have within a sliding window: exact, in bounded memory.
//!
//! An impression stands in the window at the moment of its *decision*, which a server's clock told and its token seals. So the beacons of a
//! whole flight that arrive within a second count as spread as they were decided, and nobody gains by sending late. First come, first served:
//! an impression is admitted unless some window that holds it has its fill of admitted ones. What is not admitted is not held.
//!
//! An impression is counted once, whatever is told of it and however often: one that is held is admitted again (INV-33).
//!
//! # Bounds
//! Of one key no more than [`WINDOWS_KEPT`] windows' fill is held; the impression that was decided first goes first. Over all keys, held are two
//! generations of about half the pool each: a key that is heard of moves to the young one, and when that is full the old one is forgotten.
//! So a key is never forgotten while fewer than half the pool of impressions came since it was last heard of, and forgetting only ever makes
//! the rule milder towards that key.

use std::collections::{HashMap, VecDeque};

use crate::model::{ImpressionId, WallMs};

/// Windows' fill held of one key. An hour's window at its limit all day long is held for two thirds of a day, longer than most tokens live.
pub const WINDOWS_KEPT: usize = 16;

/// Whose impressions are counted: a listener's key or an address, as a number.
pub type RateKey = u128;

/// How many are too many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RateLimit {
    /// Most impressions decided within any window; at least 1.
    pub impressions_max: usize,
    /// The window's length in milliseconds: two impressions that far apart are in no common window.
    pub window_ms: i64,
}

type Held = VecDeque<(WallMs, ImpressionId)>;

/// The admitted impressions of every key, as far as they are held.
#[derive(Debug)]
pub struct ImpressionRates {
    limit: RateLimit,
    /// Impressions that a generation holds before it becomes the old one.
    generation_max: usize,
    young: Generation,
    old: Generation,
    forgotten_keys: u64,
}

#[derive(Debug, Default)]
struct Generation {
    by_key: HashMap<RateKey, Held>,
    impressions: usize,
}

impl Generation {
    fn take(&mut self, key: RateKey) -> Option<Held> {
        let held = self.by_key.remove(&key)?;
        self.impressions -= held.len();
        Some(held)
    }

    fn put(&mut self, key: RateKey, held: Held) {
        self.impressions += held.len();
        self.by_key.insert(key, held);
    }
}

impl ImpressionRates {
    /// No impressions yet, and room for about `pool_impressions` over all keys.
    ///
    /// # Panics
    /// When the limit is 0: a rule that is off is not made.
    #[must_use]
    pub fn new(limit: RateLimit, pool_impressions: usize) -> Self {
        assert!(limit.impressions_max > 0 && limit.window_ms > 0, "a limit lets something through: {limit:?}");
        let (young, old) = (Generation::default(), Generation::default());
        Self { limit, generation_max: pool_impressions.div_ceil(2), young, old, forgotten_keys: 0 }
    }

    /// Whether an impression of the key is within the limit; holds it if so.
    pub fn admits(&mut self, key: RateKey, impression_id: ImpressionId, decided_at: WallMs) -> bool {
        let mut held = self.young.take(key).or_else(|| self.old.take(key)).unwrap_or_default();
        let admitted = match held.binary_search(&(decided_at, impression_id)) {
            Ok(_) => true,
            Err(place) => {
                let fits = fits(&held, place, decided_at, self.limit);
                if fits {
                    held.insert(place, (decided_at, impression_id));
                    if held.len() > WINDOWS_KEPT.saturating_mul(self.limit.impressions_max) {
                        held.pop_front();
                    }
                }
                fits
            }
        };
        self.young.put(key, held);
        if self.young.impressions >= self.generation_max {
            let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forgotten_keys =
                self.forgotten_keys.saturating_add(u64::try_from(forgotten.by_key.len()).unwrap_or(u64::MAX));
        }
        admitted
    }

    /// Impressions held: at most the pool and two keys' worth.
    #[must_use]
    pub fn impressions_held(&self) -> usize {
        self.young.impressions + self.old.impressions
    }

    /// Keys forgotten so far because there was no room.
    #[must_use]
    pub const fn forgotten_keys(&self) -> u64 {
        self.forgotten_keys
    }
}

/// Whether one more at that time, which would come at `place`, leaves no window with more than the limit. A window that would hold too many
/// holds `impressions_max` neighbours of the place, so only those runs are looked at.
fn fits(held: &Held, place: usize, at: WallMs, limit: RateLimit) -> bool {
    let count = limit.impressions_max;
    let earliest = place.saturating_sub(count);
    // The run that begins at `first` and the new one; too close together when they fit into one window.
    (earliest..=place).take_while(|first| first + count <= held.len()).all(|first| {
        let (from, to) = (held[first].0.min(at), held[first + count - 1].0.max(at));
        to.since(from) >= limit.window_ms
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::LeaseId;

    const LIMIT: RateLimit = RateLimit { impressions_max: 3, window_ms: 100 };
    const KEY: RateKey = 7;
    /// Far more than any test that is not about it holds.
    const ROOM: usize = 1_000_000;

    fn id(number: u32) -> ImpressionId {
        ImpressionId::Leased { lease_id: LeaseId::from_u128(1), ordinal: number }
    }

    #[test]
    fn a_window_takes_its_fill_and_no_more_in_whatever_order() {
        let mut rates = ImpressionRates::new(LIMIT, ROOM);
        let mut check = |number, at, admitted| {
            assert_eq!(rates.admits(KEY, id(number), WallMs(at)), admitted, "{number} at {at}");
        };
        check(1, 1_000, true);
        check(2, 1_099, true);
        check(3, 1_050, true);
        check(4, 1_099, false);
        check(5, 1_000, false);
        check(6, 1_100, true);
        check(7, 950, true);
        check(8, 960, true);
        check(9, 970, false);
        check(10, 1_101, false);
        check(11, 1_151, true);
        // What is held is admitted as often as it comes.
        check(1, 1_000, true);
        check(6, 1_100, true);
    }

    #[test]
    fn keys_do_not_know_each_other() {
        let mut rates = ImpressionRates::new(RateLimit { impressions_max: 1, window_ms: 10 }, ROOM);
        assert!(rates.admits(1, id(1), WallMs(0)) && rates.admits(2, id(1), WallMs(0)));
        assert!(!rates.admits(1, id(2), WallMs(9)) && rates.admits(1, id(2), WallMs(10)));
    }

    /// A plane lands: what was decided over ten hours is told within a second.
    #[test]
    fn beacons_of_a_long_flight_at_once_are_no_fraud() {
        let hour = RateLimit { impressions_max: 60, window_ms: 3_600_000 };
        let mut rates = ImpressionRates::new(hour, ROOM);
        for number in 0..400 {
            let decided_at = WallMs(i64::from(number) * 90_000);
            assert!(rates.admits(KEY, id(number), decided_at), "{number}");
        }
    }

    #[test]
    fn memory_is_bounded_and_a_forgotten_key_starts_anew() {
        const POOL: usize = 100;
        let mut rates = ImpressionRates::new(LIMIT, POOL);
        let mut admitted = 0;
        for key in 0..10_000_u32 {
            let slow = WallMs(i64::from(key) * 1_000);
            // One key is heard of all the time and never forgotten.
            rates.admits(KEY, id(1), WallMs(0));
            admitted += u32::from(rates.admits(1_000 + u128::from(key), id(key), slow));
            assert!(rates.impressions_held() <= POOL + 2 * WINDOWS_KEPT * LIMIT.impressions_max);
        }
        assert_eq!(admitted, 10_000);
        assert!(rates.forgotten_keys() > 9_800, "{}", rates.forgotten_keys());
        for number in 2..4 {
            assert!(rates.admits(KEY, id(number), WallMs(0)));
        }
        assert!(!rates.admits(KEY, id(4), WallMs(0)), "the busy key was held");
        assert!(rates.admits(1_000, id(77), WallMs(0)), "a forgotten one is new");
    }

    #[test]
    fn of_one_key_the_oldest_go_first() {
        let mut rates = ImpressionRates::new(LIMIT, ROOM);
        let most = u32::try_from(WINDOWS_KEPT * LIMIT.impressions_max).expect("small");
        for number in 0..(most + 3) {
            assert!(rates.admits(KEY, id(number), WallMs(i64::from(number) * 40)));
        }
        assert_eq!(rates.impressions_held(), usize::try_from(most).expect("small"));
        assert!(rates.admits(KEY, id(1_000), WallMs(0)), "its window was forgotten");
        assert!(!rates.admits(KEY, id(1_001), WallMs(i64::from(most) * 40)), "this one was not");
    }

    /// Every admitted impression kept for ever; every window that could hold the new one counted.
    #[derive(Default)]
    struct Naive(Vec<(RateKey, ImpressionId, i64)>);

    impl Naive {
        fn admits(&mut self, key: RateKey, impression_id: ImpressionId, at: i64, limit: RateLimit) -> bool {
            if self.0.contains(&(key, impression_id, at)) {
                return true;
            }
            let fits = (0..limit.window_ms).all(|before| {
                let window = at - before..at - before + limit.window_ms;
                let inside = self.0.iter().filter(|(other, _, at)| *other == key && window.contains(at));
                inside.count() < limit.impressions_max
            });
            if fits {
                self.0.push((key, impression_id, at));
            }
            fits
        }
    }

    proptest! {
        /// INV-33 and the limit: equal to counting every window, in any order, with repeats.
        #[test]
        fn equal_to_counting_every_window(
            impressions_max in 1_usize..5, window_ms in 1_i64..20,
            heard in proptest::collection::vec((0_u128..2, 0_u32..12, 0_i64..30), 0..60),
        ) {
            let limit = RateLimit { impressions_max, window_ms };
            let (mut rates, mut naive) = (ImpressionRates::new(limit, ROOM), Naive::default());
            // No more than is held of one key: what is forgotten beyond it has tests of its own.
            for (key, number, at) in heard.into_iter().take(WINDOWS_KEPT * impressions_max) {
                // An impression has one decision, so its time follows from its name.
                let number = number + 12 * u32::try_from(at).expect("small");
                let admitted = rates.admits(key, id(number), WallMs(at));
                prop_assert_eq!(admitted, naive.admits(key, id(number), at, limit), "{} at {}", number, at);
            }
        }
    }
}
