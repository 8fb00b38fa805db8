//! What a player told of one ad.

use crate::impressions::{AdTimes, TruncatedIp};
use crate::model::{
    AdvertiserId, AppKey, BeaconEvent, CampaignId, CreativeId, DecisionId, ImpressionId, InvalidTraffic, LineItemId,
    Micros, NetworkId, PlacementKey, Platform, PriceModel, Pseudonym, Tier, WallMs,
};
use crate::tokens::Claims;

/// A beacon, complete: whoever reads it needs nothing else to bill it. The listener key of the token is left out (INV-20).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeaconRecord {
    /// What happened.
    pub event: BeaconEvent,
    /// To which impression.
    pub impression_id: ImpressionId,
    /// The tenant.
    pub network_id: NetworkId,
    /// Who pays.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// What played.
    pub creative_id: CreativeId,
    /// The decision that chose it.
    pub decision_id: DecisionId,
    /// The line item's tier.
    pub tier: Tier,
    /// What is paid for.
    pub price_model: PriceModel,
    /// Price of the impression, completed listen or click; 0 for house ads and previews.
    pub price: Micros,
    /// Who listened.
    pub pseudonym: Pseudonym,
    /// The placement.
    pub placement: PlacementKey,
    /// The player application.
    pub app: Option<AppKey>,
    /// ISO 3166-1 alpha-2 in lower case.
    pub country: Option<[u8; 2]>,
    /// The kind of player.
    pub platform: Platform,
    /// When the ad was decided.
    pub decided_at: WallMs,
    /// Last moment of receipt at which it can be billed.
    pub billable_until: WallMs,
    /// Length of the creative in milliseconds.
    pub duration_ms: u32,
    /// Whether the impression is billable at its start rather than after two audible seconds.
    pub impression_at_start: bool,
    /// Whether an operator asked to hear it; never billed.
    pub preview: bool,
    /// How far into the ad the player was, in milliseconds, if it said so.
    pub played_ms: Option<u32>,
    /// Where it was sent from.
    pub truncated_ip: Option<TruncatedIp>,
    /// Why it is invalid traffic: kept, counted, never charged. None for what looks valid.
    pub invalid: Option<InvalidTraffic>,
}

impl BeaconRecord {
    /// The record of an event of the ad that the claims name.
    #[must_use]
    pub fn of(event: BeaconEvent, claims: Claims, played_ms: Option<u32>, truncated_ip: Option<TruncatedIp>) -> Self {
        Self {
            event,
            impression_id: claims.impression_id,
            network_id: claims.network_id,
            advertiser_id: claims.advertiser_id,
            campaign_id: claims.campaign_id,
            line_item_id: claims.line_item_id,
            creative_id: claims.creative_id,
            decision_id: claims.decision_id,
            tier: claims.tier,
            price_model: claims.price_model,
            price: claims.price,
            pseudonym: claims.pseudonym,
            placement: claims.placement,
            app: claims.app,
            country: claims.country,
            platform: claims.platform,
            decided_at: claims.decided_at,
            billable_until: claims.billable_until,
            duration_ms: claims.duration_ms,
            impression_at_start: claims.impression_at_start,
            preview: claims.preview,
            played_ms,
            truncated_ip,
            invalid: None,
        }
    }

    /// The ad's times, to judge the beacon by.
    #[must_use]
    pub const fn times(&self) -> AdTimes {
        AdTimes {
            decided_at: self.decided_at,
            billable_until: self.billable_until,
            duration_ms: self.duration_ms,
            impression_at_start: self.impression_at_start,
        }
    }
}
