//! The decision log.

use super::codes::Code;
use super::read::{
    Read, app, creative_ids, each, id, impression, impression_to_wire, invalid, micros, narrow, placement, required,
    wall,
};
use super::{facts, proto};
use crate::events::{
    ChosenAdRecord, DecisionRecord, HeldBackRecord, LeaseReadRecord, ListenerView, RequestRecord, SpendReadRecord,
};
use crate::model::{
    AdvertiserId, AudioFormat, BreakPosition, BreakSpec, CampaignId, ConsentScope, CreativeId, DecisionId, Exposure,
    ExposureState, LeaseId, LineItemId, Micros, MonotonicMs, NetworkId, Now, Preview, Pseudonym, RequestId,
    Subscription, Tier, WallMs,
};

pub(super) fn to_wire(decision: &DecisionRecord) -> proto::DecisionRecord {
    proto::DecisionRecord {
        decision_id: decision.decision_id.to_bytes().into(),
        request: Some(request_to_wire(&decision.request)),
        listener: Some(listener_to_wire(&decision.listener)),
        catalog_version: Some(decision.catalog_version),
        decided_at_ms: Some(decision.now.wall.0),
        monotonic_ms: Some(decision.now.monotonic.0),
        seed: Some(decision.seed),
        excluded_line_item_ids: decision.excluded.iter().map(|id| id.to_bytes().into()).collect(),
        spend_reads: decision.spend_reads.iter().map(read_to_wire).collect(),
        ads: decision
            .ads
            .iter()
            .map(|ad| proto::ChosenAd {
                impression_id: Some(impression_to_wire(ad.impression_id)),
                advertiser_id: ad.advertiser_id.to_bytes().into(),
                campaign_id: ad.campaign_id.to_bytes().into(),
                line_item_id: ad.line_item_id.to_bytes().into(),
                creative_id: ad.creative_id.to_bytes().into(),
                tier: ad.tier.code(),
                price_micros: Some(ad.price.0),
                duration_ms: ad.duration_ms,
            })
            .collect(),
        no_break: decision.no_break.clone(),
        reasons: decision
            .reasons
            .iter()
            .map(|(reason, count)| proto::ReasonCount { reason: reason.clone(), count: *count })
            .collect(),
        strict_caps_refused: decision.strict_caps_refused.clone(),
        held_back_line_item_ids: decision.held_back.iter().flat_map(|one| one.line_item_id.to_bytes()).collect(),
        held_back_throttles: decision.held_back.iter().map(|one| one.throttle).collect(),
    }
}

pub(super) fn from_wire(wire: proto::DecisionRecord) -> Read<DecisionRecord> {
    Ok(DecisionRecord {
        decision_id: DecisionId::from_bytes(id("decision.decision_id", &wire.decision_id)?),
        request: request_from_wire(required("decision.request", wire.request)?)?,
        listener: listener_from_wire(required("decision.listener", wire.listener)?)?,
        catalog_version: required("decision.catalog_version", wire.catalog_version)?,
        now: Now {
            wall: wall("decision.decided_at_ms", wire.decided_at_ms)?,
            monotonic: MonotonicMs(required("decision.monotonic_ms", wire.monotonic_ms)?),
        },
        seed: required("decision.seed", wire.seed)?,
        excluded: each(wire.excluded_line_item_ids, |bytes| {
            id("decision.excluded_line_item_ids", &bytes).map(LineItemId::from_bytes)
        })?,
        spend_reads: each(wire.spend_reads, read_from_wire)?,
        held_back: held_back_from_wire(&wire.held_back_line_item_ids, &wire.held_back_throttles)?,
        ads: each(wire.ads, |ad| {
            Ok(ChosenAdRecord {
                impression_id: impression("chosen_ad.impression_id", ad.impression_id)?,
                advertiser_id: AdvertiserId::from_bytes(id("chosen_ad.advertiser_id", &ad.advertiser_id)?),
                campaign_id: CampaignId::from_bytes(id("chosen_ad.campaign_id", &ad.campaign_id)?),
                line_item_id: LineItemId::from_bytes(id("chosen_ad.line_item_id", &ad.line_item_id)?),
                creative_id: CreativeId::from_bytes(id("chosen_ad.creative_id", &ad.creative_id)?),
                tier: Tier::of("chosen_ad.tier", ad.tier)?,
                price: micros("chosen_ad.price_micros", ad.price_micros)?,
                duration_ms: ad.duration_ms,
            })
        })?,
        no_break: wire.no_break,
        reasons: wire.reasons.into_iter().map(|reason| (reason.reason, reason.count)).collect(),
        strict_caps_refused: wire.strict_caps_refused,
    })
}

fn held_back_from_wire(ids: &[u8], throttles: &[u64]) -> Read<Vec<HeldBackRecord>> {
    let (ids, rest) = ids.as_chunks();
    if !rest.is_empty() || ids.len() != throttles.len() {
        return Err(invalid(
            "decision.held_back_line_item_ids",
            "expected 16 bytes for each of decision.held_back_throttles",
        ));
    }
    let one = |(id, throttle): (&[u8; 16], &u64)| HeldBackRecord {
        line_item_id: LineItemId::from_bytes(*id),
        throttle: *throttle,
    };
    Ok(ids.iter().zip(throttles).map(one).collect())
}

fn read_to_wire(read: &SpendReadRecord) -> proto::SpendRead {
    proto::SpendRead {
        line_item_id: read.line_item_id.to_bytes().into(),
        paused: read.paused,
        throttle: read.throttle,
        lease_id: read.lease.map(|lease| lease.lease_id.to_bytes().into()),
        left_micros: read.lease.map_or(0, |lease| lease.left.0),
        ordinals_left: read.lease.map_or(0, |lease| lease.ordinals_left),
        last_billable_until_ms: read.lease.map(|lease| lease.last_billable_until.0),
    }
}

fn read_from_wire(wire: proto::SpendRead) -> Read<SpendReadRecord> {
    let lease = wire.lease_id.map(|bytes| {
        Ok(LeaseReadRecord {
            lease_id: LeaseId::from_bytes(id("spend_read.lease_id", &bytes)?),
            left: Micros(wire.left_micros),
            ordinals_left: wire.ordinals_left,
            last_billable_until: wall("spend_read.last_billable_until_ms", wire.last_billable_until_ms)?,
        })
    });
    Ok(SpendReadRecord {
        line_item_id: LineItemId::from_bytes(id("spend_read.line_item_id", &wire.line_item_id)?),
        paused: wire.paused,
        throttle: wire.throttle,
        lease: lease.transpose()?,
    })
}

fn request_to_wire(request: &RequestRecord) -> proto::AdBreakRequest {
    proto::AdBreakRequest {
        network_id: request.network_id.to_bytes().into(),
        request_id: request.request_id.as_str().to_owned(),
        pseudonym: request.pseudonym.0.into(),
        app: request.app.as_str().to_owned(),
        placement: request.placement.as_str().to_owned(),
        spec: Some(spec_to_wire(&request.spec)),
        facts: Some(facts::to_wire(&request.facts)),
        consent: request.consent.code(),
        child: request.child,
        premium: match request.subscription {
            Subscription::Free => false,
            Subscription::Premium => true,
        },
        since_last_break_ms: request.since_last_break_ms,
        prefetch: request.prefetch,
        preview: request.preview.map(|preview| proto::Preview {
            line_item_id: preview.line_item_id.to_bytes().into(),
            creative_id: preview.creative_id.map(|id| id.to_bytes().into()),
        }),
    }
}

fn request_from_wire(wire: proto::AdBreakRequest) -> Read<RequestRecord> {
    Ok(RequestRecord {
        network_id: NetworkId::from_bytes(id("request.network_id", &wire.network_id)?),
        request_id: RequestId::new(&wire.request_id)
            .ok_or(invalid("request.request_id", "expected 1 to 128 visible ASCII characters"))?,
        pseudonym: Pseudonym(id("request.pseudonym", &wire.pseudonym)?),
        app: app("request.app", &wire.app)?,
        placement: placement("request.placement", &wire.placement)?,
        spec: spec_from_wire(required("request.spec", wire.spec)?)?,
        facts: facts::from_wire(required("request.facts", wire.facts)?)?,
        consent: ConsentScope::of("request.consent", wire.consent)?,
        child: wire.child,
        subscription: if wire.premium { Subscription::Premium } else { Subscription::Free },
        since_last_break_ms: wire.since_last_break_ms,
        prefetch: wire.prefetch,
        preview: wire.preview.map(preview_from_wire).transpose()?,
    })
}

fn preview_from_wire(wire: proto::Preview) -> Read<Preview> {
    let creative_id = wire.creative_id.map(|bytes| id("preview.creative_id", &bytes)).transpose()?;
    Ok(Preview {
        line_item_id: LineItemId::from_bytes(id("preview.line_item_id", &wire.line_item_id)?),
        creative_id: creative_id.map(CreativeId::from_bytes),
    })
}

fn spec_to_wire(spec: &BreakSpec) -> proto::BreakSpec {
    proto::BreakSpec {
        max_duration_ms: spec.max_duration_ms,
        max_ads: u32::from(spec.max_ads),
        position: spec.position.code(),
        formats: spec.formats.iter().map(|format| format.code()).collect(),
        companion_sizes: spec
            .companion_sizes
            .iter()
            .map(|&(width, height)| proto::Size { width: u32::from(width), height: u32::from(height) })
            .collect(),
    }
}

fn spec_from_wire(wire: proto::BreakSpec) -> Read<BreakSpec> {
    Ok(BreakSpec {
        max_duration_ms: wire.max_duration_ms,
        max_ads: narrow("spec.max_ads", wire.max_ads)?,
        position: BreakPosition::of("spec.position", wire.position)?,
        formats: each(wire.formats, |format| AudioFormat::of("spec.formats", format))?,
        companion_sizes: each(wire.companion_sizes, |size| {
            Ok((narrow("spec.companion_sizes.width", size.width)?, narrow("spec.companion_sizes.height", size.height)?))
        })?,
    })
}

fn listener_to_wire(listener: &ListenerView) -> proto::ListenerView {
    proto::ListenerView {
        exposures: listener.exposures.iter().map(exposure_to_wire).collect(),
        last_break_at_ms: listener.last_break_at.map(|at| at.0),
        last_break_creative_ids: listener.last_break_creatives.iter().map(|id| id.to_bytes().into()).collect(),
    }
}

fn listener_from_wire(wire: proto::ListenerView) -> Read<ListenerView> {
    Ok(ListenerView {
        exposures: each(wire.exposures, exposure_from_wire)?,
        last_break_at: wire.last_break_at_ms.map(WallMs),
        last_break_creatives: creative_ids("listener.last_break_creative_ids", wire.last_break_creative_ids)?,
    })
}

pub(super) fn exposure_to_wire(exposure: &Exposure) -> proto::Exposure {
    proto::Exposure {
        impression_id: Some(impression_to_wire(exposure.impression_id)),
        at_ms: Some(exposure.at.0),
        advertiser_id: exposure.advertiser_id.to_bytes().into(),
        campaign_id: exposure.campaign_id.to_bytes().into(),
        line_item_id: exposure.line_item_id.to_bytes().into(),
        creative_id: exposure.creative_id.to_bytes().into(),
        reserved_until_ms: match exposure.state {
            ExposureState::Reserved { until } => Some(until.0),
            ExposureState::Heard => None,
        },
    }
}

pub(super) fn exposure_from_wire(wire: proto::Exposure) -> Read<Exposure> {
    Ok(Exposure {
        impression_id: impression("exposure.impression_id", wire.impression_id)?,
        at: wall("exposure.at_ms", wire.at_ms)?,
        advertiser_id: AdvertiserId::from_bytes(id("exposure.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("exposure.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("exposure.line_item_id", &wire.line_item_id)?),
        creative_id: CreativeId::from_bytes(id("exposure.creative_id", &wire.creative_id)?),
        state: wire
            .reserved_until_ms
            .map_or(ExposureState::Heard, |until| ExposureState::Reserved { until: WallMs(until) }),
    })
}
