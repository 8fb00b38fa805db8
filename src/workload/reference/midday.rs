//! What a server sees at noon: narrower line items pay more, most are throttled, some are out of money, and a listener's best are
//! partly capped.

use super::Profile;
use super::catalogue::bid;
use super::items::Item;
use crate::model::Micros;
use crate::workload::Draws;

/// Weight of the number of clauses in the score by which line items are ranked; the rest is noise. Chosen so that the Spearman
/// correlation of rank order with number of clauses is 0.5 (a test measures it).
const NARROWNESS_WEIGHT: f64 = 0.507;
/// Share of line items that are not throttled.
const UNTHROTTLED: f64 = 0.20;
/// Lowest throttle of the others, which is log-uniform from here to 1.
const LOWEST_THROTTLE: f64 = 0.01;
/// Share of line items without a lease.
const WITHOUT_LEASE: f64 = 0.05;
/// How many of a listener's best matching line items a fifth is capped of.
pub(super) const BEST: usize = 100;
/// The share of them that is capped.
pub(super) const CAPPED: f64 = 0.20;

/// How a line item stands with the pacing and the money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// It serves when a hash of break and line item is below this; `u64::MAX` means always.
    pub throttle: u64,
    /// Whether it has money to draw from.
    pub leased: bool,
}

/// A line item's standing in the profile.
pub(super) fn standing(profile: Profile, draws: &mut Draws) -> Standing {
    match profile {
        Profile::Broad | Profile::Selective | Profile::Rare => Standing { throttle: u64::MAX, leased: true },
        Profile::Midday => {
            let throttle =
                if draws.chance(UNTHROTTLED) { u64::MAX } else { threshold(draws.log_uniform(LOWEST_THROTTLE, 1.0)) };
            Standing { throttle, leased: !draws.chance(WITHOUT_LEASE) }
        }
    }
}

/// The share of all hashes as a threshold.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share from 0 to 1 as a threshold: 53 bits are enough and the cast saturates"
)]
fn threshold(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

/// CPMs by position such that line items with more clauses tend to have higher ones: the same bids as in the other profiles, dealt
/// out in the order of a score.
pub(super) fn bids_by_narrowness(items: &[Item], draws: &mut Draws) -> Vec<Micros> {
    // Centred and scaled number of clauses; broad line items have 1 to 6, selective ones 3 to 6.
    let clauses: Vec<f64> = items.iter().map(|item| count(item.clauses.len())).collect();
    let total = count(items.len().max(1));
    let mean = clauses.iter().sum::<f64>() / total;
    let deviation = (clauses.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / total).sqrt().max(1e-9);
    let noise = (1.0 - NARROWNESS_WEIGHT * NARROWNESS_WEIGHT).sqrt();
    let mut scored: Vec<(f64, usize)> = clauses
        .iter()
        .enumerate()
        .map(|(index, value)| (NARROWNESS_WEIGHT * (value - mean) / deviation + noise * draws.normal(), index))
        .collect();
    scored.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let mut bids = vec![Micros::ZERO; items.len()];
    for (place, (_, index)) in scored.into_iter().enumerate() {
        bids[index] = bid((count(place) + 0.5) / total);
    }
    bids
}

#[expect(clippy::cast_precision_loss, reason = "counts of line items are far below 2^53")]
fn count(value: usize) -> f64 {
    value as f64
}

/// Which of a listener's best matching line items (given best first) are capped for it: a fifth of the first hundred, at random.
/// `listener` is the position of the listener, so that each has its own draw.
#[must_use]
pub fn capped<T: Copy>(best: &[T], listener: usize, seed: u64) -> Vec<T> {
    let mut draws = Draws::new(seed, 1_000 + listener as u64);
    let mut best: Vec<T> = best.iter().take(BEST).copied().collect();
    draws.shuffle(&mut best);
    best.truncate(best.len() / 5);
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::reference::ReferenceCatalogue;
    use crate::workload::reference::shares::rank_correlation;

    #[test]
    fn narrower_line_items_rank_higher_at_midday() {
        for seed in [1, 9] {
            let spearman = rank_correlation(&ReferenceCatalogue::generate(Profile::Midday, 20_000, seed));
            assert!((0.48..0.52).contains(&spearman), "seed {seed}: {spearman}");
        }
    }

    #[test]
    fn standings_have_their_shares() {
        let catalogue = ReferenceCatalogue::generate(Profile::Midday, 10_000, 5);
        let share = |of: &dyn Fn(&Standing) -> bool| {
            count(catalogue.standings.iter().filter(|standing| of(standing)).count()) / 10_000.0
        };
        assert!((0.18..0.22).contains(&share(&|standing| standing.throttle == u64::MAX)));
        assert!((0.04..0.06).contains(&share(&|standing| !standing.leased)));
        // Log-uniform from 0.01: half of the throttled 80 % are below 0.1.
        assert!((0.37..0.43).contains(&share(&|standing| standing.throttle < u64::MAX / 10)));
    }

    #[test]
    fn a_fifth_of_the_best_hundred_is_capped() {
        let best: Vec<u32> = (0..250).collect();
        let first = capped(&best, 3, 7);
        assert_eq!(first.len(), 20);
        assert!(first.iter().all(|&item| item < 100));
        assert_eq!(first, capped(&best, 3, 7));
        assert_ne!(first, capped(&best, 4, 7));
    }
}
