//! What a player told of one ad.

use crate::impressions::{AdTimes, TruncatedIp, is_too_soon, least_played_ms};
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
    /// Whether it was received after the ad could be billed.
    #[must_use]
    pub fn is_late(&self, received_at: WallMs) -> bool {
        received_at > self.billable_until
    }

    /// Whether it was received sooner than the ad can have played so far.
    #[must_use]
    pub fn is_too_soon(&self, received_at: WallMs) -> bool {
        is_too_soon(self.event, &self.times(), received_at)
    }

    /// Whether the player itself says that less was played than the event needs. A player that does not say is believed.
    #[must_use]
    pub fn is_not_played(&self) -> bool {
        self.played_ms.is_some_and(|played_ms| played_ms < least_played_ms(self.event, &self.times()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::paid_beacon;

    fn beacon(event: BeaconEvent, played_ms: Option<u32>) -> BeaconRecord {
        BeaconRecord { event, played_ms, ..paid_beacon() }
    }

    #[test]
    fn a_record_tells_whether_it_can_be_true() {
        let check = |event, after_ms, too_soon| {
            let beacon = beacon(event, None);
            assert_eq!(beacon.is_too_soon(beacon.decided_at.plus_ms(after_ms)), too_soon, "{event:?} after {after_ms}");
        };
        // An ad of 30 seconds, and clocks up to two seconds apart.
        check(BeaconEvent::Impression, -1, true);
        check(BeaconEvent::Impression, 0, false);
        check(BeaconEvent::Complete, 24_999, true);
        check(BeaconEvent::Complete, 25_000, false);
        check(BeaconEvent::Click, 0, false);
        check(BeaconEvent::Void, 0, false);
    }

    #[test]
    fn a_player_that_says_how_far_it_came_is_held_to_it() {
        let check = |event, played_ms, not_played| {
            assert_eq!(beacon(event, played_ms).is_not_played(), not_played, "{event:?} at {played_ms:?}");
        };
        check(BeaconEvent::Impression, Some(1_999), true);
        check(BeaconEvent::Impression, Some(2_000), false);
        check(BeaconEvent::Impression, None, false);
        check(BeaconEvent::FirstQuartile, Some(6_749), true);
        check(BeaconEvent::FirstQuartile, Some(6_750), false);
        check(BeaconEvent::Complete, Some(26_999), true);
        check(BeaconEvent::Complete, Some(27_000), false);
        for event in [BeaconEvent::Start, BeaconEvent::Click, BeaconEvent::Skip, BeaconEvent::Void, BeaconEvent::Error]
        {
            check(event, Some(0), false);
        }
        let at_start = BeaconRecord { impression_at_start: true, ..beacon(BeaconEvent::Impression, Some(0)) };
        assert!(!at_start.is_not_played());
        let short = BeaconRecord { duration_ms: 1_500, ..beacon(BeaconEvent::Impression, Some(1_500)) };
        assert!(!short.is_not_played());
    }

    #[test]
    fn a_record_is_late_after_its_last_moment() {
        let beacon = paid_beacon();
        assert!(!beacon.is_late(beacon.billable_until) && beacon.is_late(beacon.billable_until.plus_ms(1)));
    }
}
