//! Line items.

use super::catalog::{budget_from_wire, budget_to_wire, caps_from_wire, caps_to_wire};
use super::codes::Code;
use super::read::{Read, each, id, invalid, micros, narrow, required, wall, zone};
use super::{expression, proto};
use crate::events::EventError;
use crate::model::{
    AdvertiserId, Avoidance, BeaconEvent, CampaignId, CreativeChoice, CreativeId, Flight, Goal, LineItem, LineItemId,
    NetworkId, PacingMode, PriceModel, Pricing, ShareOfVoice, Status, Tier, Tracker,
};

pub(super) fn to_wire(line_item: &LineItem) -> proto::LineItem {
    proto::LineItem {
        line_item_id: line_item.id.to_bytes().into(),
        campaign_id: line_item.campaign_id.to_bytes().into(),
        advertiser_id: line_item.advertiser_id.to_bytes().into(),
        network_id: line_item.network_id.to_bytes().into(),
        name: line_item.name.clone(),
        status: line_item.status.code(),
        flight: Some(proto::Flight {
            start_ms: Some(line_item.flight.start.0),
            end_ms: Some(line_item.flight.end.0),
            zone: line_item.flight.zone.name().to_owned(),
        }),
        tier: line_item.tier.code(),
        pricing: Some(proto::Pricing {
            model: line_item.pricing.model.code(),
            amount_micros: Some(line_item.pricing.amount.0),
        }),
        budget: Some(budget_to_wire(line_item.budget)),
        goal: line_item
            .goal
            .map(|goal| proto::Goal { impressions: goal.impressions, daily_impressions: goal.daily_impressions }),
        share_of_voice_basis_points: line_item.share_of_voice.map(|share| u32::from(share.basis_points)),
        pacing: Some(pacing_to_wire(&line_item.pacing)),
        targeting: Some(expression::to_wire(&line_item.targeting)),
        caps: caps_to_wire(&line_item.caps),
        category: line_item.category.clone(),
        excluded_categories: line_item.excluded_categories.clone(),
        avoid: Some(proto::Avoidance {
            explicit: line_item.avoid.explicit,
            content_categories: line_item.avoid.content_categories.clone(),
            genres: line_item.avoid.genres.clone(),
        }),
        creatives: line_item
            .creatives
            .iter()
            .map(|choice| proto::CreativeChoice {
                creative_id: choice.creative_id.to_bytes().into(),
                weight: u32::from(choice.weight),
            })
            .collect(),
        trackers: line_item
            .trackers
            .iter()
            .map(|tracker| proto::Tracker { event: tracker.event.code(), url: tracker.url.clone() })
            .collect(),
    }
}

pub(super) fn from_wire(wire: proto::LineItem) -> Read<LineItem> {
    let share = wire.share_of_voice_basis_points;
    Ok(LineItem {
        id: LineItemId::from_bytes(id("line_item.line_item_id", &wire.line_item_id)?),
        campaign_id: CampaignId::from_bytes(id("line_item.campaign_id", &wire.campaign_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("line_item.advertiser_id", &wire.advertiser_id)?),
        network_id: NetworkId::from_bytes(id("line_item.network_id", &wire.network_id)?),
        name: wire.name,
        status: Status::of("line_item.status", wire.status)?,
        flight: flight_from_wire(wire.flight)?,
        tier: Tier::of("line_item.tier", wire.tier)?,
        pricing: pricing_from_wire(wire.pricing)?,
        budget: budget_from_wire("line_item.budget", wire.budget)?,
        goal: wire.goal.map(|goal| Goal { impressions: goal.impressions, daily_impressions: goal.daily_impressions }),
        share_of_voice: share
            .map(|points| narrow("line_item.share_of_voice_basis_points", points))
            .transpose()?
            .map(|basis_points| ShareOfVoice { basis_points }),
        pacing: pacing_from_wire(wire.pacing)?,
        targeting: expression::from_wire(required("line_item.targeting", wire.targeting)?)?,
        caps: caps_from_wire(wire.caps)?,
        category: wire.category,
        excluded_categories: wire.excluded_categories,
        avoid: wire.avoid.map_or_else(Avoidance::default, |avoid| Avoidance {
            explicit: avoid.explicit,
            content_categories: avoid.content_categories,
            genres: avoid.genres,
        }),
        creatives: each(wire.creatives, |choice| {
            Ok(CreativeChoice {
                creative_id: CreativeId::from_bytes(id("line_item.creatives.creative_id", &choice.creative_id)?),
                weight: narrow("line_item.creatives.weight", choice.weight)?,
            })
        })?,
        trackers: each(wire.trackers, |tracker| {
            Ok(Tracker { event: BeaconEvent::of("line_item.trackers.event", tracker.event)?, url: tracker.url })
        })?,
    })
}

fn flight_from_wire(wire: Option<proto::Flight>) -> Read<Flight> {
    let wire = required("line_item.flight", wire)?;
    Ok(Flight {
        start: wall("line_item.flight.start_ms", wire.start_ms)?,
        end: wall("line_item.flight.end_ms", wire.end_ms)?,
        zone: zone("line_item.flight.zone", &wire.zone)?,
    })
}

fn pricing_from_wire(wire: Option<proto::Pricing>) -> Read<Pricing> {
    let wire = required("line_item.pricing", wire)?;
    Ok(Pricing {
        model: PriceModel::of("line_item.pricing.model", wire.model)?,
        amount: micros("line_item.pricing.amount_micros", wire.amount_micros)?,
    })
}

fn pacing_to_wire(pacing: &PacingMode) -> proto::Pacing {
    let (mode, curve) = match pacing {
        PacingMode::Even => (proto::PacingMode::Even, &[][..]),
        PacingMode::AsFastAsPossible => (proto::PacingMode::AsFastAsPossible, &[][..]),
        PacingMode::FrontLoaded => (proto::PacingMode::FrontLoaded, &[][..]),
        PacingMode::Curve(curve) => (proto::PacingMode::Curve, curve.as_slice()),
    };
    proto::Pacing { mode: mode as i32, curve_basis_points: curve.iter().copied().map(u32::from).collect() }
}

fn pacing_from_wire(wire: Option<proto::Pacing>) -> Read<PacingMode> {
    const MODE: &str = "line_item.pacing.mode";
    const CURVE: &str = "line_item.pacing.curve_basis_points";
    let wire = required("line_item.pacing", wire)?;
    let mode = match proto::PacingMode::try_from(wire.mode) {
        Ok(proto::PacingMode::Even) => PacingMode::Even,
        Ok(proto::PacingMode::AsFastAsPossible) => PacingMode::AsFastAsPossible,
        Ok(proto::PacingMode::FrontLoaded) => PacingMode::FrontLoaded,
        Ok(proto::PacingMode::Curve) => {
            return each(wire.curve_basis_points, |points| narrow(CURVE, points)).map(PacingMode::Curve);
        }
        Ok(proto::PacingMode::Unspecified) => return Err(EventError::Missing { field: MODE }),
        Err(_) => return Err(EventError::UnknownKind { field: MODE }),
    };
    if wire.curve_basis_points.is_empty() {
        Ok(mode)
    } else {
        Err(invalid(CURVE, "expected a curve only in mode CURVE"))
    }
}
