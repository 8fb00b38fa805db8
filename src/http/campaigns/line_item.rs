//! The line item's document ↔ the line item.

use super::convert::{Stamp, caps_of, no_companions, read_caps, read_only, read_time, read_zone};
use super::document::{Context, Document, read_id};
use super::wire::{
    AvoidBody, CreativeChoiceBody, FlightBody, GoalBody, LineItemDocument, PacingBody, PacingWord, PricingBody,
    ShareOfVoiceBody, TrackerBody,
};
use crate::catalog::{Entity, EntityId, EntityKind, Revision};
use crate::model::{
    AdvertiserId, Avoidance, BeaconEvent, CampaignId, CreativeChoice, CreativeId, Flight, Goal, LineItem, LineItemId,
    Micros, PacingMode, Pricing, ShareOfVoice, Tracker,
};
use crate::roles::campaign::Faults;
use crate::roles::campaign::rules::{CREATIVES_PER_LINE_ITEM_MAX, targeting_path};
use crate::targeting::{Expression, syntax};

impl Document for LineItemDocument {
    const KIND: EntityKind = EntityKind::LineItem;
    const PATH: &'static str = "/v1/line-items";
    const PARENTS: &'static [(&'static str, EntityKind)] =
        &[("campaign_id", EntityKind::Campaign), ("advertiser_id", EntityKind::Advertiser)];

    fn of(revision: &Revision) -> Option<Self> {
        let Entity::LineItem(line_item) = &revision.entity else { return None };
        Some(document(Stamp::of(revision), line_item))
    }

    fn read_only(&self) -> Vec<(&'static str, Option<String>)> {
        read_only!(self, network_id, advertiser_id)
    }

    fn names(&self) -> Vec<EntityId> {
        let creatives = self.creatives.iter().filter_map(|choice| choice.creative_id.parse().ok());
        let campaign = self.campaign_id.parse().ok().map(EntityId::Campaign);
        // More than a line item may have are refused, not looked up.
        campaign.into_iter().chain(creatives.map(EntityId::Creative)).take(CREATIVES_PER_LINE_ITEM_MAX + 1).collect()
    }

    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity {
        let id = match context.id {
            EntityId::LineItem(id) => id,
            _ => LineItemId::from_u128(0),
        };
        let campaign_id = read_id("campaign_id", &self.campaign_id, faults).unwrap_or(CampaignId::from_u128(0));
        no_companions(&self.companions, faults);
        Entity::from(LineItem {
            id,
            campaign_id,
            advertiser_id: advertiser_of(campaign_id, context),
            network_id: context.network_id(),
            name: self.name.clone(),
            status: self.status.into(),
            flight: Flight {
                start: read_time("flight.start", &self.flight.start, faults),
                end: read_time("flight.end", &self.flight.end, faults),
                zone: read_zone("flight.zone", &self.flight.zone, faults),
            },
            tier: self.tier.into(),
            pricing: Pricing { model: self.pricing.model.into(), amount: Micros(self.pricing.amount_micros) },
            budget: self.budget.into(),
            goal: self
                .goal
                .map(|goal| Goal { impressions: goal.impressions, daily_impressions: goal.daily_impressions }),
            share_of_voice: self.share_of_voice.map(|share| ShareOfVoice { basis_points: share.basis_points }),
            pacing: read_pacing(&self.pacing, faults),
            targeting: read_targeting(self, faults),
            caps: read_caps(&self.caps, faults),
            category: self.category.clone(),
            excluded_categories: self.excluded_categories.clone(),
            avoid: Avoidance {
                explicit: self.avoid.explicit,
                content_categories: self.avoid.content_categories.clone(),
                genres: self.avoid.genres.clone(),
            },
            creatives: read_creatives(&self.creatives, faults),
            trackers: read_trackers(&self.trackers, faults),
        })
    }
}

fn document(stamp: Stamp, line_item: &LineItem) -> LineItemDocument {
    let Stamp { id, revision, created_at, updated_at } = stamp;
    LineItemDocument {
        id,
        revision,
        created_at,
        updated_at,
        network_id: Some(line_item.network_id.to_string()),
        advertiser_id: Some(line_item.advertiser_id.to_string()),
        campaign_id: line_item.campaign_id.to_string(),
        name: line_item.name.clone(),
        status: line_item.status.into(),
        flight: FlightBody {
            start: line_item.flight.start.to_rfc3339(),
            end: line_item.flight.end.to_rfc3339(),
            zone: line_item.flight.zone.name().to_owned(),
        },
        tier: line_item.tier.into(),
        pricing: PricingBody { model: line_item.pricing.model.into(), amount_micros: line_item.pricing.amount.0 },
        budget: line_item.budget.into(),
        goal: line_item
            .goal
            .map(|goal| GoalBody { impressions: goal.impressions, daily_impressions: goal.daily_impressions }),
        share_of_voice: line_item.share_of_voice.map(|share| ShareOfVoiceBody { basis_points: share.basis_points }),
        pacing: pacing_of(&line_item.pacing),
        targeting: syntax::write(&line_item.targeting),
        caps: caps_of(&line_item.caps),
        category: line_item.category.clone(),
        excluded_categories: line_item.excluded_categories.clone(),
        avoid: AvoidBody {
            explicit: line_item.avoid.explicit,
            content_categories: line_item.avoid.content_categories.clone(),
            genres: line_item.avoid.genres.clone(),
        },
        creatives: line_item
            .creatives
            .iter()
            .map(|choice| CreativeChoiceBody { creative_id: choice.creative_id.to_string(), weight: choice.weight })
            .collect(),
        companions: Vec::new(),
        trackers: line_item
            .trackers
            .iter()
            .map(|tracker| TrackerBody { event: tracker.event.name().to_owned(), url: tracker.url.clone() })
            .collect(),
    }
}

/// The advertiser of the campaign; where there is no such campaign the rules say so.
fn advertiser_of(campaign_id: CampaignId, context: &Context<'_>) -> AdvertiserId {
    let campaign = context.state.get(EntityId::Campaign(campaign_id));
    // A change that names another campaign is refused for that; its advertiser must not be reported as changed too.
    let before = context.before.and_then(Entity::advertiser_id);
    before.or_else(|| campaign?.entity.advertiser_id()).unwrap_or(AdvertiserId::from_u128(0))
}

fn read_pacing(body: &PacingBody, faults: &mut Faults) -> PacingMode {
    if body.mode != PacingWord::Curve && !body.curve.is_empty() {
        faults.add("pacing.curve", "wrong_mode", "only the mode curve has a curve");
    }
    match body.mode {
        PacingWord::Even => PacingMode::Even,
        PacingWord::AsFastAsPossible => PacingMode::AsFastAsPossible,
        PacingWord::FrontLoaded => PacingMode::FrontLoaded,
        PacingWord::Curve => PacingMode::Curve(body.curve.clone()),
    }
}

fn pacing_of(pacing: &PacingMode) -> PacingBody {
    let (mode, curve) = match pacing {
        PacingMode::Even => (PacingWord::Even, Vec::new()),
        PacingMode::AsFastAsPossible => (PacingWord::AsFastAsPossible, Vec::new()),
        PacingMode::FrontLoaded => (PacingWord::FrontLoaded, Vec::new()),
        PacingMode::Curve(curve) => (PacingWord::Curve, curve.clone()),
    };
    PacingBody { mode, curve }
}

fn read_targeting(document: &LineItemDocument, faults: &mut Faults) -> Expression {
    syntax::parse(&document.targeting).unwrap_or_else(|errors| {
        for error in errors {
            faults.add(targeting_path(&error.path), error.code, error.message);
        }
        Expression::everybody()
    })
}

fn read_creatives(bodies: &[CreativeChoiceBody], faults: &mut Faults) -> Vec<CreativeChoice> {
    let choice = |(index, body): (usize, &CreativeChoiceBody)| {
        let creative_id = read_id(&format!("creatives[{index}].creative_id"), &body.creative_id, faults);
        CreativeChoice { creative_id: creative_id.unwrap_or(CreativeId::from_u128(0)), weight: body.weight }
    };
    bodies.iter().enumerate().map(choice).collect()
}

fn read_trackers(bodies: &[TrackerBody], faults: &mut Faults) -> Vec<Tracker> {
    let tracker = |(index, body): (usize, &TrackerBody)| {
        let event = BeaconEvent::named(&body.event).unwrap_or_else(|| {
            let names: Vec<_> = BeaconEvent::ALL.iter().map(|event| event.name()).collect();
            faults.add(format!("trackers[{index}].event"), "unknown_value", format!("one of {}", names.join(", ")));
            BeaconEvent::Impression
        });
        Tracker { event, url: body.url.clone() }
    };
    bodies.iter().enumerate().map(tracker).collect()
}
