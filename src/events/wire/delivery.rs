//! How line items stand.

use super::proto;
use super::read::{Read, id, invalid, wall};
use crate::events::{EventError, LineItemDelivery, Spend, WHOLE_PPM};
use crate::model::{AdvertiserId, CampaignId, Day, LineItemId, Micros, NetworkId};

pub(in crate::events) fn to_wire(delivery: &LineItemDelivery) -> proto::LineItemDelivery {
    proto::LineItemDelivery {
        line_item_id: delivery.line_item_id.to_bytes().into(),
        network_id: delivery.network_id.to_bytes().into(),
        advertiser_id: delivery.advertiser_id.to_bytes().into(),
        campaign_id: delivery.campaign_id.to_bytes().into(),
        at_ms: Some(delivery.at.0),
        partition: delivery.partition,
        events_until: delivery.events_until,
        may_spend: delivery.may_spend,
        throttle_ppm: delivery.throttle_ppm,
        life: Some(spend_to_wire(delivery.life)),
        today: Some(spend_to_wire(delivery.today)),
        day: delivery.day.0,
    }
}

const fn spend_to_wire(spend: Spend) -> proto::Spend {
    proto::Spend {
        settled_micros: spend.settled.0,
        impressions: spend.impressions,
        open_micros: spend.open.0,
        open_impressions: spend.open_impressions,
    }
}

pub(in crate::events) fn from_wire(wire: &proto::LineItemDelivery) -> Read<LineItemDelivery> {
    if wire.throttle_ppm > WHOLE_PPM {
        return Err(invalid("delivery.throttle_ppm", "expected at most 1,000,000"));
    }
    let spend = |field, spend: &Option<proto::Spend>| spend.map(spend_from_wire).ok_or(EventError::Missing { field });
    Ok(LineItemDelivery {
        line_item_id: LineItemId::from_bytes(id("delivery.line_item_id", &wire.line_item_id)?),
        network_id: NetworkId::from_bytes(id("delivery.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("delivery.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("delivery.campaign_id", &wire.campaign_id)?),
        at: wall("delivery.at_ms", wire.at_ms)?,
        partition: wire.partition,
        events_until: wire.events_until,
        may_spend: wire.may_spend,
        throttle_ppm: wire.throttle_ppm,
        life: spend("delivery.life", &wire.life)?,
        today: spend("delivery.today", &wire.today)?,
        day: Day(wire.day),
    })
}

const fn spend_from_wire(wire: proto::Spend) -> Spend {
    Spend {
        settled: Micros(wire.settled_micros),
        impressions: wire.impressions,
        open: Micros(wire.open_micros),
        open_impressions: wire.open_impressions,
    }
}
