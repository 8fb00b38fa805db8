//! What an impression costs, and what an ad is worth to a pod. The one place that knows which price models are served.

use crate::model::{LineItem, Micros, Network, Placement, PriceModel, Tier};
use crate::pod::MAX_VALUE;

/// First price: what one impression costs. House ads cost nothing. None when its price model is not served: completed listens, clicks and flat
/// prices need counting that accounting does not do yet, and the campaign API refuses them.
#[must_use]
pub(super) fn impression_price(line_item: &LineItem) -> Option<Micros> {
    match (line_item.tier, line_item.pricing.model) {
        (Tier::House, _) => Some(Micros::ZERO),
        (Tier::Sponsorship | Tier::Guaranteed | Tier::Auction, PriceModel::Cpm) => line_item.pricing.per_impression(),
        (
            Tier::Sponsorship | Tier::Guaranteed | Tier::Auction,
            PriceModel::Cpcl | PriceModel::Cpc | PriceModel::Flat,
        ) => None,
    }
}

/// Lowest CPM of a paid impression in a placement: the higher of its own floor and the network's.
#[must_use]
pub(super) fn floor_cpm(network: &Network, placement: &Placement) -> Micros {
    network.floor_cpm.max(placement.floor_cpm)
}

/// Whether the line item pays at least the floor. House ads are below none.
#[must_use]
pub(super) fn meets_floor(line_item: &LineItem, floor_cpm: Micros) -> bool {
    line_item.tier == Tier::House || line_item.pricing.amount >= floor_cpm
}

/// What an ad of that worth adds to its tier in the pod: at least 1, so that an ad is always better than none, and a house ad, worth
/// nothing, counts as one.
#[must_use]
pub(super) fn pod_value(worth: Micros) -> i64 {
    worth.0.clamp(1, MAX_VALUE)
}
