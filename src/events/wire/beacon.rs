//! Beacons.

use super::codes::Code;
use super::proto;
use super::read::{Read, app, id, impression, impression_to_wire, invalid, micros, placement, wall};
use crate::events::{BeaconRecord, EventError};
use crate::impressions::TruncatedIp;
use crate::model::{
    AdvertiserId, BeaconEvent, CampaignId, CreativeId, DecisionId, InvalidTraffic, LineItemId, NetworkId, Platform,
    PriceModel, Pseudonym, Tier,
};

pub(super) fn to_wire(beacon: &BeaconRecord) -> proto::BeaconRecord {
    proto::BeaconRecord {
        event: beacon.event.code(),
        impression_id: Some(impression_to_wire(beacon.impression_id)),
        network_id: beacon.network_id.to_bytes().into(),
        advertiser_id: beacon.advertiser_id.to_bytes().into(),
        campaign_id: beacon.campaign_id.to_bytes().into(),
        line_item_id: beacon.line_item_id.to_bytes().into(),
        creative_id: beacon.creative_id.to_bytes().into(),
        decision_id: beacon.decision_id.to_bytes().into(),
        tier: beacon.tier.code(),
        price_model: beacon.price_model.code(),
        price_micros: Some(beacon.price.0),
        pseudonym: beacon.pseudonym.0.into(),
        placement: beacon.placement.as_str().to_owned(),
        app: beacon.app.as_ref().map(|app| app.as_str().to_owned()),
        country: beacon.country.map(|country| String::from_utf8_lossy(&country).into_owned()),
        platform: platform_code(beacon.platform),
        decided_at_ms: Some(beacon.decided_at.0),
        billable_until_ms: Some(beacon.billable_until.0),
        duration_ms: beacon.duration_ms,
        impression_at_start: beacon.impression_at_start,
        preview: beacon.preview,
        played_ms: beacon.played_ms,
        truncated_ip: beacon.truncated_ip.map(|address| address.as_bytes().to_vec()),
        invalid: beacon.invalid.map_or(0, Code::code),
    }
}

pub(super) fn from_wire(wire: proto::BeaconRecord) -> Read<BeaconRecord> {
    Ok(BeaconRecord {
        event: BeaconEvent::of("beacon.event", wire.event)?,
        impression_id: impression("beacon.impression_id", wire.impression_id)?,
        network_id: NetworkId::from_bytes(id("beacon.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("beacon.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("beacon.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("beacon.line_item_id", &wire.line_item_id)?),
        creative_id: CreativeId::from_bytes(id("beacon.creative_id", &wire.creative_id)?),
        decision_id: DecisionId::from_bytes(id("beacon.decision_id", &wire.decision_id)?),
        tier: Tier::of("beacon.tier", wire.tier)?,
        price_model: PriceModel::of("beacon.price_model", wire.price_model)?,
        price: micros("beacon.price_micros", wire.price_micros)?,
        pseudonym: Pseudonym(id("beacon.pseudonym", &wire.pseudonym)?),
        placement: placement("beacon.placement", &wire.placement)?,
        app: wire.app.map(|key| app("beacon.app", &key)).transpose()?,
        country: wire.country.map(|country| read_country(&country)).transpose()?,
        platform: platform(wire.platform)?,
        decided_at: wall("beacon.decided_at_ms", wire.decided_at_ms)?,
        billable_until: wall("beacon.billable_until_ms", wire.billable_until_ms)?,
        duration_ms: wire.duration_ms,
        impression_at_start: wire.impression_at_start,
        preview: wire.preview,
        played_ms: wire.played_ms,
        truncated_ip: wire.truncated_ip.map(|bytes| truncated_ip(&bytes)).transpose()?,
        invalid: (wire.invalid != 0).then(|| InvalidTraffic::of("beacon.invalid", wire.invalid)).transpose()?,
    })
}

fn read_country(text: &str) -> Read<[u8; 2]> {
    let letters = <[u8; 2]>::try_from(text.as_bytes()).ok();
    letters
        .filter(|letters| letters.iter().all(u8::is_ascii_lowercase))
        .ok_or(invalid("beacon.country", "expected two letters in lower case"))
}

fn truncated_ip(bytes: &[u8]) -> Read<TruncatedIp> {
    TruncatedIp::from_bytes(bytes).ok_or(invalid("beacon.truncated_ip", "expected 3 or 6 bytes"))
}

/// The one enum whose 0 is written: an unknown platform is a platform.
pub(super) fn platform_code(platform: Platform) -> i32 {
    let wire = match platform {
        Platform::Unknown => proto::Platform::Unspecified,
        Platform::Ios => proto::Platform::Ios,
        Platform::Android => proto::Platform::Android,
        Platform::Web => proto::Platform::Web,
        Platform::Desktop => proto::Platform::Desktop,
        Platform::Tv => proto::Platform::Tv,
        Platform::Speaker => proto::Platform::Speaker,
        Platform::Car => proto::Platform::Car,
        Platform::Console => proto::Platform::Console,
    };
    wire as i32
}

fn platform(code: i32) -> Read<Platform> {
    match proto::Platform::try_from(code) {
        Ok(proto::Platform::Unspecified) => Ok(Platform::Unknown),
        Ok(proto::Platform::Ios) => Ok(Platform::Ios),
        Ok(proto::Platform::Android) => Ok(Platform::Android),
        Ok(proto::Platform::Web) => Ok(Platform::Web),
        Ok(proto::Platform::Desktop) => Ok(Platform::Desktop),
        Ok(proto::Platform::Tv) => Ok(Platform::Tv),
        Ok(proto::Platform::Speaker) => Ok(Platform::Speaker),
        Ok(proto::Platform::Car) => Ok(Platform::Car),
        Ok(proto::Platform::Console) => Ok(Platform::Console),
        Err(_) => Err(EventError::UnknownKind { field: "beacon.platform" }),
    }
}
