//! Charges that are taken back.

use crate::model::{
    AdvertiserId, BeaconEvent, CampaignId, Day, ImpressionId, InvalidTraffic, LineItemId, Micros, NetworkId, WallMs,
};

/// A charge was taken back: a new entry against the old one, which stays as it is. An impression's charge is taken back at most once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reversal {
    /// Of which impression.
    pub impression_id: ImpressionId,
    /// The event that had been charged.
    pub event: BeaconEvent,
    /// The tenant.
    pub network_id: NetworkId,
    /// To whom it goes back.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// What had been charged.
    pub price: Micros,
    /// Why.
    pub reason: InvalidTraffic,
    /// When the ad was decided: the hour in whose totals it counts.
    pub decided_at: WallMs,
    /// When it was taken back.
    pub reversed_at: WallMs,
    /// The day in the advertiser's zone on which it was taken back: the month of whose invoice it is.
    pub advertiser_day: Day,
}
