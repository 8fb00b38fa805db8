//! The order in which line items are looked at: by tier, then by the most that one impression can be worth.

use std::cmp::{Ordering, Reverse};

use crate::model::{LineItem, Micros, PriceModel, Tier};

/// How many clicks 10,000 impressions are expected to bring, where clicks are what is paid for and nothing has been measured:
/// 0.2 %, a low figure for audio, so that a click price doesn't buy its way past every CPM.
pub const EXPECTED_CLICKS_PER_10_000: i64 = 20;

/// A line item's static rank. **Greater goes first**: the higher tier, then the greater worth.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rank {
    /// The tier.
    pub tier: Tier,
    /// What one impression is expected to be worth, in micros: what decisions rank and value the line item by.
    pub worth: Micros,
}

impl Rank {
    /// The rank of a line item.
    ///
    /// CPM and CPCL: the price of one impression. CPC: the click's price times the clicks expected of an impression. Flat: the price
    /// over the impressions promised, 0 where none are. House: 0.
    #[must_use]
    pub fn of(line_item: &LineItem) -> Self {
        let amount = line_item.pricing.amount.0;
        let worth = match (line_item.tier, line_item.pricing.model) {
            (Tier::House, _) => 0,
            (_, PriceModel::Cpm | PriceModel::Cpcl) => amount / 1_000,
            (_, PriceModel::Cpc) => amount.saturating_mul(EXPECTED_CLICKS_PER_10_000) / 10_000,
            (_, PriceModel::Flat) => line_item.goal.map_or(0, |goal| {
                i64::try_from(goal.impressions).ok().and_then(|goal| amount.checked_div(goal)).unwrap_or(0)
            }),
        };
        Self { tier: line_item.tier, worth: Micros(worth) }
    }
}

impl Rank {
    /// Every paid line item is above it, no house ad is.
    pub const FIRST_OF_HOUSE: Self = Self { tier: Tier::House, worth: Micros(i64::MAX) };

    /// What 1,000 impressions are expected to bring: for CPM the price itself.
    #[must_use]
    pub const fn expected_cpm(self) -> Micros {
        Micros(self.worth.0.saturating_mul(1_000))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        // `Tier` orders highest priority first, that is smallest.
        (Reverse(self.tier), self.worth).cmp(&(Reverse(other.tier), other.worth))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tier_goes_before_worth() {
        let rank = |tier, worth| Rank { tier, worth: Micros(worth) };
        let ordered = [
            rank(Tier::Sponsorship, 0),
            rank(Tier::Guaranteed, 9),
            rank(Tier::Auction, 1_000),
            rank(Tier::Auction, 999),
            rank(Tier::House, 0),
        ];
        assert!(ordered.is_sorted_by(|first, second| first > second));
    }
}
