//! Share of voice: which sponsor a break belongs to.
//!
//! The sponsors that match a break are laid end to end, each as long as its share, in order of id; the break falls on one point of the line,
//! drawn evenly by its seed. So shares never overlap, and a sponsor gets its share of exactly the breaks that it runs in. Shares of more than
//! the whole are scaled to it; what is left of less than the whole belongs to nobody.

use super::seed::Seed;
use crate::model::LineItem;

/// The whole, in basis points.
const WHOLE: u32 = 10_000;

/// The line item's share in basis points; 0 for what is no sponsor.
pub(super) fn share(line_item: &LineItem) -> u32 {
    line_item.share_of_voice.map_or(0, |share| u32::from(share.basis_points))
}

/// Which of the shares the break falls on.
pub(super) fn draw(shares: impl Iterator<Item = u32> + Clone, seed: Seed) -> Option<usize> {
    let total: u32 = shares.clone().sum();
    let point = seed.point(total.max(WHOLE));
    let mut end = 0;
    shares.into_iter().position(|share| {
        end += share;
        point < end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shares: &[u32], expected: &[u32]) {
        let mut hits = vec![0_u32; shares.len() + 1];
        for seed in 0..10_000_u64 {
            // The seed of a request is a hash; consecutive ones stand for it here.
            hits[draw(shares.iter().copied(), Seed(seed)).unwrap_or(shares.len())] += 1;
        }
        for (hit, expected) in hits.iter().zip(expected) {
            // Standard deviation at most 50.
            assert!(hit.abs_diff(*expected) <= 250, "{hits:?} for {shares:?}");
        }
    }

    #[test]
    fn sponsors_get_their_shares() {
        check(&[], &[10_000]);
        check(&[3_000], &[3_000, 7_000]);
        check(&[5_000, 2_000, 3_000], &[5_000, 2_000, 3_000, 0]);
        check(&[10_000, 10_000], &[5_000, 5_000, 0]);
        check(&[0, 10_000], &[0, 10_000, 0]);
    }
}
