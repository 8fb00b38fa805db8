//! Reversals.

use super::codes::Code;
use super::proto;
use super::read::{Read, id, impression, impression_to_wire, micros, required, wall};
use crate::events::Reversal;
use crate::model::{AdvertiserId, BeaconEvent, CampaignId, Day, InvalidTraffic, LineItemId, NetworkId};

pub(in crate::events) fn to_wire(reversal: &Reversal) -> proto::Reversal {
    proto::Reversal {
        impression_id: Some(impression_to_wire(reversal.impression_id)),
        event: reversal.event.code(),
        network_id: reversal.network_id.to_bytes().into(),
        advertiser_id: reversal.advertiser_id.to_bytes().into(),
        campaign_id: reversal.campaign_id.to_bytes().into(),
        line_item_id: reversal.line_item_id.to_bytes().into(),
        price_micros: Some(reversal.price.0),
        reason: reversal.reason.code(),
        decided_at_ms: Some(reversal.decided_at.0),
        reversed_at_ms: Some(reversal.reversed_at.0),
        advertiser_day: Some(reversal.advertiser_day.0),
    }
}

pub(in crate::events) fn from_wire(wire: proto::Reversal) -> Read<Reversal> {
    Ok(Reversal {
        impression_id: impression("reversal.impression_id", wire.impression_id)?,
        event: BeaconEvent::of("reversal.event", wire.event)?,
        network_id: NetworkId::from_bytes(id("reversal.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("reversal.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("reversal.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("reversal.line_item_id", &wire.line_item_id)?),
        price: micros("reversal.price_micros", wire.price_micros)?,
        reason: InvalidTraffic::of("reversal.reason", wire.reason)?,
        decided_at: wall("reversal.decided_at_ms", wire.decided_at_ms)?,
        reversed_at: wall("reversal.reversed_at_ms", wire.reversed_at_ms)?,
        advertiser_day: Day(required("reversal.advertiser_day", wire.advertiser_day)?),
    })
}
