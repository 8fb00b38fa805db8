//! What stands for chance: a seed derived from the request, and hashes of it.
//!
//! A decision draws nothing. Whatever looks random (throttle, share of voice, ties, which creative) is a hash of the seed and of what is being
//! judged, so that a repeat of the request gets the same answer on any server and in any layout of the catalogue.

use crate::model::{AdBreakRequest, CreativeId, LineItemId};

/// The seed of one decision. Equal for every repeat of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seed(pub u64);

/// What a hash is for; hashes of the same thing for different purposes are independent.
#[derive(Clone, Copy)]
enum Purpose {
    Throttle = 1,
    Tie = 2,
    Creative = 3,
    ShareOfVoice = 4,
}

impl Seed {
    /// The seed of a request: from the network, the listener and the player's id of the request. The listener is in it because players
    /// choose request ids, and two that both count 1, 2, 3 must not draw alike.
    #[must_use]
    pub fn of(request: &AdBreakRequest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&request.network_id.to_bytes());
        hasher.update(&request.listener_key.0);
        hasher.update(request.request_id.as_str().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// Whether a line item with that throttle serves in this break: its hash is below the throttle; `u64::MAX` lets all through.
    #[must_use]
    pub fn passes(self, throttle: u64, line_item_id: LineItemId) -> bool {
        throttle == u64::MAX || self.hash(Purpose::Throttle, line_item_id.as_u128()) < throttle
    }

    /// The line item's lot among equals; the greater goes first.
    #[must_use]
    pub fn tie(self, line_item_id: LineItemId) -> u64 {
        self.hash(Purpose::Tie, line_item_id.as_u128())
    }

    /// The creative's lot among the eligible ones of its line item; the greatest plays.
    #[must_use]
    pub fn creative(self, creative_id: CreativeId) -> u64 {
        self.hash(Purpose::Creative, creative_id.as_u128())
    }

    /// A point in `0..length`, evenly: where the break falls on the sponsors laid end to end.
    #[must_use]
    pub fn point(self, length: u32) -> u32 {
        let wide = u128::from(self.hash(Purpose::ShareOfVoice, 0)) * u128::from(length);
        u32::try_from(wide >> 64).expect("a fraction of a u32 is a u32")
    }

    fn hash(self, purpose: Purpose, id: u128) -> u64 {
        // Two halves of the id, each folded in through a full finaliser; the seed itself is already well mixed.
        let low = u64::try_from(id & u128::from(u64::MAX)).expect("masked to 64 bits");
        let high = u64::try_from(id >> 64).expect("shifted to 64 bits");
        let mut hash = mix(self.0 ^ (purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        hash = mix(hash ^ high);
        mix(hash ^ low)
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): a bijection in which each input
/// bit flips each output bit about half the time.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_lets_its_share_through() {
        // 100,000 draws at p = 0.3: standard deviation 145, so 5 of them are 725.
        let throttle = u64::MAX / 10 * 3;
        for line in [0_u128, 1, u128::MAX] {
            let through = (0..100_000).filter(|&seed| Seed(seed).passes(throttle, LineItemId::from_u128(line))).count();
            assert!((29_275..=30_725).contains(&through), "{through}");
        }
        assert!(!Seed(7).passes(0, LineItemId::from_u128(1)));
        assert!(Seed(7).passes(u64::MAX, LineItemId::from_u128(1)));
    }

    #[test]
    fn purposes_and_neighbours_are_independent() {
        let (mut both, mut ties) = (0, 0);
        for seed in 0..40_000 {
            let (first, second) = (LineItemId::from_u128(1), LineItemId::from_u128(2));
            both += u32::from(Seed(seed).passes(u64::MAX / 2, first) && Seed(seed).passes(u64::MAX / 2, second));
            ties += u32::from(Seed(seed).passes(u64::MAX / 2, first) && Seed(seed).tie(first) < u64::MAX / 2);
        }
        // A quarter each: 10,000, standard deviation 87.
        assert!((9_565..=10_435).contains(&both), "{both}");
        assert!((9_565..=10_435).contains(&ties), "{ties}");
    }

    #[test]
    fn points_cover_the_length() {
        let mut hits = [0_u32; 4];
        for seed in 0..40_000 {
            hits[Seed(seed).point(4) as usize] += 1;
        }
        assert!(hits.iter().all(|hit| (9_565..=10_435).contains(hit)), "{hits:?}");
        assert_eq!(Seed(1).point(0), 0);
    }
}
