//! What an impression costs, and what an ad is worth to a pod.

use crate::catalog::Rank;
use crate::model::{LineItem, Micros, Network, Placement, PriceModel, Tier};
use crate::pod::MAX_VALUE;

/// First price: what is charged when the line item's billable event comes (an impression, a completed listen, a click). House ads cost nothing;
/// a flat fee is owed by the lease, not by an impression.
#[must_use]
pub(super) fn unit_price(line_item: &LineItem) -> Micros {
    match (line_item.tier, line_item.pricing.model) {
        (Tier::House, _) | (_, PriceModel::Flat) => Micros::ZERO,
        (_, PriceModel::Cpc) => line_item.pricing.amount,
        (_, PriceModel::Cpm | PriceModel::Cpcl) => line_item.pricing.per_impression().unwrap_or_default(),
    }
}

/// What is drawn from the lease for one impression: the whole price where it is known beforehand, nothing where a click or the flight is paid.
#[must_use]
pub(super) fn draw_price(line_item: &LineItem) -> Micros {
    match line_item.pricing.model {
        PriceModel::Cpm | PriceModel::Cpcl => unit_price(line_item),
        PriceModel::Cpc | PriceModel::Flat => Micros::ZERO,
    }
}

/// Lowest CPM of a paid impression in a placement: the higher of its own floor and the network's.
#[must_use]
pub(super) fn floor_cpm(network: &Network, placement: &Placement) -> Micros {
    network.floor_cpm.max(placement.floor_cpm)
}

/// Whether the line item pays at least the floor, by what an impression is expected to bring. House ads are below none; a flat price is agreed
/// for the whole flight and knows no floor.
#[must_use]
pub(super) fn meets_floor(line_item: &LineItem, floor_cpm: Micros) -> bool {
    let is_free_of_it = line_item.tier == Tier::House || line_item.pricing.model == PriceModel::Flat;
    is_free_of_it || Rank::of(line_item).expected_cpm() >= floor_cpm
}

/// What an ad of that worth adds to its tier in the pod: at least 1, so that an ad is always better than none, and a house ad, worth
/// nothing, counts as one.
#[must_use]
pub(super) fn pod_value(worth: Micros) -> i64 {
    worth.0.clamp(1, MAX_VALUE)
}
