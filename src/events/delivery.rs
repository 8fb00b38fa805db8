//! How line items stand, for whoever watches them from outside.

use crate::model::{AdvertiserId, CampaignId, Day, LineItemId, Micros, NetworkId, WallMs};

/// One whole, as throttles are told: a share in millionths.
pub const WHOLE_PPM: u32 = 1_000_000;

/// One line item that somebody pays for, as accounting has it after so many records. No event: the last one of a line item is how it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineItemDelivery {
    /// The line item.
    pub line_item_id: LineItemId,
    /// The tenant.
    pub network_id: NetworkId,
    /// Who pays.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// When this was said.
    pub at: WallMs,
    /// The partition of the events that its money is in.
    pub partition: u32,
    /// Every record of the partition before this offset is counted.
    pub events_until: u64,
    /// Whether statuses and flight let it deliver now.
    pub may_spend: bool,
    /// The share of its chances at which it takes part, in millionths; at most [`WHOLE_PPM`].
    pub throttle_ppm: u32,
    /// Of its whole life.
    pub life: Spend,
    /// Of the day that runs in its zone.
    pub today: Spend,
    /// That day.
    pub day: Day,
}

/// What was spent, and what is promised.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spend {
    /// What was charged, less what was taken back.
    pub settled: Micros,
    /// Impressions that count as delivered.
    pub impressions: u64,
    /// What open leases may still charge.
    pub open: Micros,
    /// Impressions that open leases may still settle.
    pub open_impressions: u64,
}
