//! From a decision to an answer: names, tokens, exposures and records of one break.

use std::sync::Arc;

use super::{AnsweredAd, AnsweredBreak, DecisionRole, Drawn, Moment};
use crate::caps::strict::{self, Hearing};
use crate::catalog::ResolvedBreak;
use crate::decision::{ChosenAd, Decision, Draw, NoBreakReason, Seed, StrictCaps};
use crate::events::{
    BeaconRecord, ChosenAdRecord, DecisionRecord, Envelope, Event, HeldBackRecord, LeaseReadRecord, ListenerView,
    RequestRecord, SpendReadRecord,
};
use crate::model::{
    AdBreakRequest, BeaconEvent, Creative, Exposure, ExposureState, ImpressionId, LineItemId, OpenAd, OpenBreak,
    Platform, Pseudonym, StrictExposure, WallMs,
};
use crate::tokens::Claims;

/// One break while it is being answered.
pub(super) struct Break<'a> {
    pub(super) role: &'a DecisionRole,
    pub(super) request: &'a AdBreakRequest,
    pub(super) resolved: &'a ResolvedBreak,
    pub(super) moment: Moment<'a>,
    pub(super) pseudonym: Pseudonym,
}

impl Break<'_> {
    /// The answer, with a sealed token for each ad.
    pub(super) fn seal(&self, decision: Decision, draws: &[Option<Draw>]) -> AnsweredBreak {
        let mut ads = Vec::with_capacity(decision.ads.len());
        for (slot, (chosen, draw)) in decision.ads.iter().zip(draws).enumerate() {
            let entry = self.moment.snapshot.line(chosen.slot);
            let creative = self.creative(chosen);
            let slot = u8::try_from(slot).expect("a pod has at most 16 ads");
            let claims = self.claims(chosen, draw.as_ref(), slot);
            ads.push(AnsweredAd {
                chosen: *chosen,
                line_item: Arc::clone(&entry.line_item),
                advertiser: Arc::clone(&entry.advertiser),
                creative,
                impression_id: claims.impression_id,
                token: self.role.keys.seal(&claims),
                billable_until: claims.billable_until,
            });
        }
        AnsweredBreak {
            decision_id: self.moment.decision_id,
            ads,
            no_break: decision.no_break.map(NoBreakReason::name),
            limited: self.moment.limited,
            decision,
            explanation: None,
        }
    }

    /// What plays. An operator may preview a creative that does not serve yet; all others stand with their line item.
    fn creative(&self, chosen: &ChosenAd) -> Arc<Creative> {
        let entry = self.moment.snapshot.line(chosen.slot);
        let serving = entry.creatives.iter().map(|(creative, _)| creative).find(|one| one.id == chosen.creative_id);
        serving.map_or_else(
            || {
                let creative = self.moment.snapshot.creative(chosen.creative_id);
                Arc::new(creative.expect("a decision chooses among its snapshot's creatives").clone())
            },
            Arc::clone,
        )
    }

    /// All that billing will need of one ad.
    fn claims(&self, chosen: &ChosenAd, draw: Option<&Draw>, slot: u8) -> Claims {
        let now = self.moment.now.wall;
        let placement = self.resolved.placement();
        let entry = self.moment.snapshot.line(chosen.slot);
        let country = self.request.facts.country.as_deref().and_then(|code| code.as_bytes().try_into().ok());
        Claims {
            network_id: self.request.network_id,
            advertiser_id: chosen.advertiser_id,
            campaign_id: chosen.campaign_id,
            line_item_id: chosen.line_item_id,
            creative_id: chosen.creative_id,
            decision_id: self.moment.decision_id,
            impression_id: self.impression_id(draw, slot),
            tier: chosen.tier,
            price_model: entry.line_item.pricing.model,
            price: chosen.price,
            listener_key: self.request.listener_key,
            pseudonym: self.pseudonym,
            placement: self.request.placement.clone(),
            app: Some(self.request.app.clone()),
            asked_from: self.moment.asked_from,
            country,
            platform: self.request.facts.platform.as_deref().map_or(Platform::Unknown, Platform::named),
            decided_at: now,
            billable_until: self.billable_until(draw),
            duration_ms: chosen.duration_ms,
            impression_at_start: placement.is_some_and(|placement| placement.impression_at_start),
            preview: self.request.preview.is_some(),
        }
    }

    /// The impression's name: never the same for two ads, as no ordinal is given out twice.
    fn impression_id(&self, draw: Option<&Draw>, slot: u8) -> ImpressionId {
        match draw {
            Some(draw) => ImpressionId::Leased { lease_id: draw.lease_id, ordinal: draw.ordinal },
            None => ImpressionId::Unleased { decision_id: self.moment.decision_id, slot },
        }
    }

    /// Until when the ad may be billed. The lease closes some time after its last billable moment, so no token outlives it.
    fn billable_until(&self, draw: Option<&Draw>) -> WallMs {
        let expires_at = self.expires_at();
        draw.map_or(expires_at, |draw| expires_at.min(draw.last_billable_until))
    }

    /// When the placement's life of an answer is over.
    fn expires_at(&self) -> WallMs {
        let life_ms = self.resolved.placement().map_or(0, |placement| placement.token_life_ms);
        self.moment.now.wall.plus_ms(i64::try_from(life_ms).unwrap_or(i64::MAX))
    }

    /// The break as the listener's state keeps it.
    pub(super) fn opened(&self, answered: &AnsweredBreak) -> OpenBreak {
        // An empty pod is an answer too: a repeat of its request gets the same.
        let expires_at = answered.ads.iter().map(|ad| ad.billable_until).max().unwrap_or_else(|| self.expires_at());
        let open = |ad: &AnsweredAd| OpenAd { impression_id: ad.impression_id, token: ad.token.clone() };
        OpenBreak {
            request_id: self.request.request_id.clone(),
            decision_id: self.moment.decision_id,
            ads: answered.ads.iter().map(open).collect(),
            decided_at: self.moment.now.wall,
            expires_at,
            prefetch: self.request.prefetch,
            answer: Vec::new(),
        }
    }

    /// What counts against caps from now on. A preview does not: nobody asked the listener.
    pub(super) fn exposures(&self, answered: &AnsweredBreak) -> Vec<Exposure> {
        if self.request.preview.is_some() {
            return Vec::new();
        }
        let exposure = |ad: &AnsweredAd| self.exposure(&ad.chosen, ad.impression_id, ad.billable_until);
        answered.ads.iter().map(exposure).collect()
    }

    /// What strict caps will count of the pod: it must be reserved before the answer. A preview is never counted.
    pub(super) fn strict_exposures(&self, drawn: &Drawn, hearing: Hearing) -> Vec<StrictExposure> {
        if self.request.preview.is_some() {
            return Vec::new();
        }
        let strict = |(slot, (chosen, draw)): (u8, (&ChosenAd, &Option<Draw>))| {
            let window_ms = self.moment.snapshot.line(chosen.slot).strict_window_ms()?;
            let (impression_id, until) = (self.impression_id(draw.as_ref(), slot), self.billable_until(draw.as_ref()));
            Some(strict::reserved(self.exposure(chosen, impression_id, until), until, window_ms, hearing))
        };
        (0..).zip(drawn.decision.ads.iter().zip(&drawn.draws)).filter_map(strict).collect()
    }

    fn exposure(&self, chosen: &ChosenAd, impression_id: ImpressionId, billable_until: WallMs) -> Exposure {
        Exposure {
            impression_id,
            at: self.moment.now.wall,
            advertiser_id: chosen.advertiser_id,
            campaign_id: chosen.campaign_id,
            line_item_id: chosen.line_item_id,
            creative_id: chosen.creative_id,
            state: ExposureState::Reserved { until: billable_until },
        }
    }

    /// A draw given up before anybody was told of its ad.
    pub(super) fn void_of(&self, chosen: &ChosenAd, draw: &Draw) -> Envelope {
        self.void(self.claims(chosen, Some(draw), 0))
    }

    /// An ad of an earlier break given up; none when its token's key is gone, and with it the token's life.
    pub(super) fn void_of_token(&self, token: &str) -> Option<Envelope> {
        self.role.keys.open(token).ok().map(|claims| self.void(claims))
    }

    fn void(&self, claims: Claims) -> Envelope {
        self.envelope(Event::Beacon(Box::new(BeaconRecord::of(BeaconEvent::Void, claims, None, None))))
    }

    /// The decision log's record: enough to make the decision again.
    pub(super) fn record(
        &self,
        listener: ListenerView,
        excluded: Vec<LineItemId>,
        strict_caps: StrictCaps,
        answered: &AnsweredBreak,
    ) -> Envelope {
        let request = self.request;
        let decision = &answered.decision;
        let ads = answered.ads.iter().map(|ad| ChosenAdRecord {
            impression_id: ad.impression_id,
            advertiser_id: ad.chosen.advertiser_id,
            campaign_id: ad.chosen.campaign_id,
            line_item_id: ad.chosen.line_item_id,
            creative_id: ad.chosen.creative_id,
            tier: ad.chosen.tier,
            price: ad.chosen.price,
            duration_ms: ad.chosen.duration_ms,
        });
        let reads = decision.spend_reads.iter().map(|read| SpendReadRecord {
            line_item_id: read.line_item_id,
            paused: read.view.paused,
            throttle: read.view.throttle,
            lease: read.view.lease.map(|lease| LeaseReadRecord {
                lease_id: lease.lease_id,
                left: lease.left,
                ordinals_left: lease.ordinals_left,
                last_billable_until: lease.last_billable_until,
            }),
        });
        let held_back = decision
            .held_back
            .iter()
            .map(|one| HeldBackRecord { line_item_id: one.line_item_id, throttle: one.throttle });
        self.envelope(Event::Decision(Box::new(DecisionRecord {
            decision_id: self.moment.decision_id,
            request: RequestRecord {
                network_id: request.network_id,
                request_id: request.request_id.clone(),
                pseudonym: self.pseudonym,
                app: request.app.clone(),
                placement: request.placement.clone(),
                spec: request.spec.clone(),
                facts: request.facts.clone(),
                consent: request.consent,
                child: request.child,
                subscription: request.subscription,
                since_last_break_ms: request.since_last_break_ms,
                prefetch: request.prefetch,
                preview: request.preview,
            },
            listener,
            catalog_version: decision.catalog_version,
            now: self.moment.now,
            seed: Seed::of(request).0,
            excluded,
            spend_reads: reads.collect(),
            held_back: held_back.collect(),
            ads: ads.collect(),
            no_break: answered.no_break.map(str::to_owned),
            reasons: answered.reasons().map(|(reason, count)| (reason.to_owned(), count)).collect(),
            strict_caps_refused: strict_caps.refusal().map(|reason| reason.name().to_owned()),
        })))
    }

    fn envelope(&self, body: Event) -> Envelope {
        Envelope {
            event_id: body.id(),
            occurred_at: self.moment.now.wall,
            received_at: self.moment.now.wall,
            server_id: self.role.server_id,
            boot_id: self.role.boot_id,
            trace_id: self.moment.trace_id,
            body,
        }
    }
}
