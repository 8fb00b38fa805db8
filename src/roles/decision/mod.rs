//! The decision role: answers one ad break, from the request to the sealed tokens.
//!
//! A state machine without I/O. Given a request and the listener's state it resolves, decides, draws money from the leases, seals a token for
//! each ad and reserves the exposures; what must be written or told elsewhere comes back as [`Effects`]. The shell holds the listener's lock
//! while this runs, so two requests of one listener are answered one after the other.

mod leases;
mod shell;
mod supply;
#[cfg(test)]
mod tests;

pub use leases::LeaseKeeper;
pub use shell::{Asking, DecisionIds, DecisionShell, Origin, Sample, Sampler, Surroundings};
pub use supply::{Reporter, Supply};

use std::sync::Arc;

use crate::catalog::{ResolvedBreak, Snapshot};
use crate::decision::{
    Billing, ChosenAd, Decision, Degradation, Draw, Excluded, Explanation, NoBreakReason, NoFillReason, Scratch, Seed,
    Spending, decide, explain,
};
use crate::events::{
    BeaconRecord, ChosenAdRecord, DecisionRecord, Envelope, Event, LeaseReadRecord, ListenerView, RequestRecord,
    SpendReadRecord, TraceId,
};
use crate::impressions::listener::{self, OpenRefusal};
use crate::impressions::{RarelyHeard, TruncatedIp};
use crate::model::{
    AdBreakRequest, Advertiser, BeaconEvent, BootId, Creative, DecisionId, Exposure, ExposureState, ImpressionId,
    LineItem, LineItemId, ListenerState, Now, OpenAd, OpenBreak, Platform, Pseudonym, ServerId, WallMs,
};
use crate::tokens::{Claims, TokenKeys};

/// How often a break is decided anew because a draw failed; each time without the line items whose draw did.
pub const MAX_REDECISIONS: usize = 3;

/// An answered break, as the player will be told of it.
#[derive(Clone, Debug)]
pub struct AnsweredBreak {
    /// The answer's id.
    pub decision_id: DecisionId,
    /// The ads, in pod order.
    pub ads: Vec<AnsweredAd>,
    /// Why no break is due, by stable name.
    pub no_break: Option<&'static str>,
    /// Whose ads are heard too rarely for paid ones; it was decided without money then.
    pub limited: Option<RarelyHeard>,
    /// What was decided, with reasons and advice.
    pub decision: Decision,
    /// Each line item's fate, where it was asked for.
    pub explanation: Option<Explanation>,
}

impl AnsweredBreak {
    /// How many candidates fell for which reason, by its stable name. In a limited break no line item had money, and the limit is why.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.decision.reasons.iter().map(|(reason, count)| match (self.limited, reason) {
            (Some(limited), NoFillReason::NoLease) => (limited.name(), count),
            _ => (reason.name(), count),
        })
    }
}

/// One ad of an answered break.
#[derive(Clone, Debug)]
pub struct AnsweredAd {
    /// What was chosen.
    pub chosen: ChosenAd,
    /// Its line item.
    pub line_item: Arc<LineItem>,
    /// Its advertiser.
    pub advertiser: Arc<Advertiser>,
    /// What plays.
    pub creative: Arc<Creative>,
    /// The impression's name.
    pub impression_id: ImpressionId,
    /// The sealed token.
    pub token: String,
    /// Until when it may be billed, and played.
    pub billable_until: WallMs,
}

/// What an answer leads to.
#[derive(Clone, Debug)]
pub enum Effects {
    /// The request was answered before: these are the bytes that were sent.
    Repeated(Vec<u8>),
    /// A new answer.
    Answered(Box<Answered>),
}

/// A new answer, and what must be written down.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer as the player gets it.
    pub answer: Vec<u8>,
    /// The answered break.
    pub answered: AnsweredBreak,
    /// Draws given up: `void` records for the money journal.
    pub voids: Vec<Envelope>,
    /// The decision log's record.
    pub record: Envelope,
    /// Draws that failed after a decision had chosen their line item.
    pub draws_refused: u64,
}

/// What of the outside world a decision uses besides the request: read together, once.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The catalogue.
    pub snapshot: &'a Snapshot,
    /// When it is decided.
    pub now: Now,
    /// The new answer's id.
    pub decision_id: DecisionId,
    /// The request's trace.
    pub trace_id: Option<TraceId>,
    /// Whether each candidate's fate is wanted.
    pub explain: Explain,
    /// How far short of the full rules it falls before it begins.
    pub degradation: Degradation,
    /// Whether paid ads may be decided: not while the money journal is nearly full.
    pub paid: bool,
    /// Whose ads are heard too rarely for paid ones to be decided, if anybody's.
    pub limited: Option<RarelyHeard>,
    /// The network that is asked from, to be told by the ads' tokens; none where it doesn't matter.
    pub asked_from: Option<TruncatedIp>,
}

/// Whether each candidate's fate is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explain {
    /// Only the answer.
    No,
    /// The answer, and why it is that.
    Yes,
}

/// The decision role's state: who it is, the leases, and the keys that seal.
#[derive(Debug)]
pub struct DecisionRole {
    spending: Arc<Spending>,
    /// Holds no lease: what is drawn from while paid ads are stopped.
    no_money: Spending,
    keys: TokenKeys,
    server_id: ServerId,
    boot_id: BootId,
}

/// A decision whose paid ads have their money.
#[derive(Default)]
struct Drawn {
    decision: Decision,
    /// The draw of each ad of the decision, in pod order; none where nothing is paid.
    draws: Vec<Option<Draw>>,
    /// Line items left out because their draw failed.
    excluded: Vec<LineItemId>,
    /// Draws of earlier attempts whose ads did not make it into the final pod: their money is given up.
    unused: Vec<(ChosenAd, Draw)>,
}

impl Drawn {
    /// No decision was made.
    fn nothing(catalog_version: u64) -> Self {
        Self { decision: Decision { catalog_version, ..Decision::default() }, ..Self::default() }
    }
}

impl DecisionRole {
    /// A role of that server and boot, drawing from `spending` and sealing with `keys`.
    #[must_use]
    pub fn new(spending: Arc<Spending>, keys: TokenKeys, server_id: ServerId, boot_id: BootId) -> Self {
        Self { spending, no_money: Spending::new(), keys, server_id, boot_id }
    }

    /// Answers the request. `render` makes the bytes that the player gets; they are kept for a repeat of the request.
    pub fn step(
        &self,
        request: &AdBreakRequest,
        state: &mut ListenerState,
        moment: Moment<'_>,
        scratch: &mut Scratch,
        render: impl FnOnce(&AnsweredBreak) -> Vec<u8>,
    ) -> Effects {
        let at = moment.now.wall;
        if let Some(answer) = listener::repeated(state, &request.request_id, at) {
            return Effects::Repeated(answer.to_vec());
        }
        listener::expire(state, at);
        let view = ListenerView {
            exposures: state.exposures.clone(),
            last_break_at: state.last_break_at,
            last_break_creatives: state.last_break_creatives.clone(),
        };
        let resolved = moment.snapshot.resolve(request, moment.now);
        let refusal = if request.prefetch { listener::may_prefetch(state, at).err() } else { None };
        let drawn = match refusal {
            Some(_) => Drawn::nothing(moment.snapshot.version()),
            None => self.decide_and_draw(request, &resolved, state, moment, scratch),
        };
        let break_ = Break { role: self, request, resolved: &resolved, moment, pseudonym: state.pseudonym };
        let mut answered = break_.seal(&drawn);
        answered.no_break = answered.no_break.or(refusal.map(OpenRefusal::name));
        // Where no break is due, no limit is why there are no ads.
        answered.limited = answered.limited.filter(|_| answered.no_break.is_none());
        // Before the state changes, and after the answer stands: explaining can't change it (INV-8).
        answered.explanation =
            (moment.explain == Explain::Yes).then(|| self.explain(request, &resolved, state, moment, &drawn));
        let mut voids: Vec<Envelope> = drawn.unused.iter().map(|(ad, draw)| break_.void_of(ad, draw)).collect();
        if answered.no_break.is_none() {
            let given_up = listener::open(state, break_.opened(&answered), break_.exposures(&answered));
            voids.extend(given_up.iter().filter_map(|ad| break_.void_of_token(&ad.token)));
        }
        let draws_refused = u64::try_from(drawn.excluded.len()).unwrap_or(u64::MAX);
        let record = break_.record(view, &drawn, &answered);
        let answer = render(&answered);
        listener::keep_answer(state, &request.request_id, &answer);
        Effects::Answered(Box::new(Answered { answer, answered, voids, record, draws_refused }))
    }

    /// What became of every line item.
    fn explain(
        &self,
        request: &AdBreakRequest,
        resolved: &ResolvedBreak,
        state: &ListenerState,
        moment: Moment<'_>,
        drawn: &Drawn,
    ) -> Explanation {
        let spending = self.spending(moment);
        let mut excluded = Excluded::default();
        for &line_item_id in &drawn.excluded {
            excluded.insert(line_item_id);
        }
        let seed = Seed::of(request);
        explain(moment.snapshot, resolved, state, spending, &excluded, moment.now, seed, &drawn.decision)
    }

    /// What is drawn from: nothing, while paid ads are stopped or who asks is limited.
    fn spending(&self, moment: Moment<'_>) -> &Spending {
        if moment.paid && moment.limited.is_none() { &self.spending } else { &self.no_money }
    }

    /// Decides and draws; again, without the line items whose draw failed, at most [`MAX_REDECISIONS`] times. After that the pod is what
    /// could be drawn.
    fn decide_and_draw(
        &self,
        request: &AdBreakRequest,
        resolved: &ResolvedBreak,
        state: &ListenerState,
        moment: Moment<'_>,
        scratch: &mut Scratch,
    ) -> Drawn {
        let seed = Seed::of(request);
        let spending = self.spending(moment);
        let mut excluded = Excluded::none();
        let mut excluded_ids = Vec::new();
        let mut held: Vec<(ChosenAd, Draw)> = Vec::new();
        for attempt in 0..=MAX_REDECISIONS {
            let decision = decide(moment.snapshot, resolved, state, spending, &excluded, moment.now, seed, scratch);
            let mut decision = decision.clone();
            decision.degradation = decision.degradation.max(moment.degradation);
            let failed = self.draw_all(&decision, &mut held, moment.now);
            if attempt == MAX_REDECISIONS {
                decision.ads.retain(|ad| !failed.contains(&ad.line_item_id));
            } else if !failed.is_empty() {
                for &line_item_id in &failed {
                    excluded.insert(line_item_id);
                    excluded_ids.push(line_item_id);
                }
                continue;
            }
            let draws = decision.ads.iter().map(|ad| take_draw(&mut held, ad)).collect();
            return Drawn { decision, draws, excluded: excluded_ids, unused: held };
        }
        unreachable!("the last attempt returns")
    }

    /// Draws for each paid ad that has no draw yet; gives back the line items whose draw failed.
    fn draw_all(&self, decision: &Decision, held: &mut Vec<(ChosenAd, Draw)>, now: Now) -> Vec<LineItemId> {
        let mut failed = Vec::new();
        for ad in &decision.ads {
            let Billing::Lease(lease_id) = ad.billing else { continue };
            if held.iter().any(|(other, draw)| other.line_item_id == ad.line_item_id && draw.price == ad.drawn) {
                continue;
            }
            match self.spending.draw(ad.slot, lease_id, ad.drawn, now) {
                Ok(draw) => held.push((*ad, draw)),
                Err(_) => failed.push(ad.line_item_id),
            }
        }
        failed
    }
}

/// Takes the ad's draw out of what is held.
fn take_draw(held: &mut Vec<(ChosenAd, Draw)>, ad: &ChosenAd) -> Option<Draw> {
    let index =
        held.iter().position(|(other, draw)| other.line_item_id == ad.line_item_id && draw.price == ad.drawn)?;
    Some(held.swap_remove(index).1)
}

/// One break while it is being answered.
struct Break<'a> {
    role: &'a DecisionRole,
    request: &'a AdBreakRequest,
    resolved: &'a ResolvedBreak,
    moment: Moment<'a>,
    pseudonym: Pseudonym,
}

impl Break<'_> {
    /// The answer, with a sealed token for each ad.
    fn seal(&self, drawn: &Drawn) -> AnsweredBreak {
        let mut ads = Vec::with_capacity(drawn.decision.ads.len());
        for (slot, (chosen, draw)) in drawn.decision.ads.iter().zip(&drawn.draws).enumerate() {
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
            no_break: drawn.decision.no_break.map(NoBreakReason::name),
            limited: self.moment.limited,
            decision: drawn.decision.clone(),
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
        let expires_at = self.expires_at();
        let entry = self.moment.snapshot.line(chosen.slot);
        let country = self.request.facts.country.as_deref().and_then(|code| code.as_bytes().try_into().ok());
        Claims {
            network_id: self.request.network_id,
            advertiser_id: chosen.advertiser_id,
            campaign_id: chosen.campaign_id,
            line_item_id: chosen.line_item_id,
            creative_id: chosen.creative_id,
            decision_id: self.moment.decision_id,
            impression_id: match draw {
                Some(draw) => ImpressionId::Leased { lease_id: draw.lease_id, ordinal: draw.ordinal },
                None => ImpressionId::Unleased { decision_id: self.moment.decision_id, slot },
            },
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
            // The lease closes some time after its last billable moment, so no token outlives it.
            billable_until: draw.map_or(expires_at, |draw| expires_at.min(draw.last_billable_until)),
            duration_ms: chosen.duration_ms,
            impression_at_start: placement.is_some_and(|placement| placement.impression_at_start),
            preview: self.request.preview.is_some(),
        }
    }

    /// When the placement's life of an answer is over.
    fn expires_at(&self) -> WallMs {
        let life_ms = self.resolved.placement().map_or(0, |placement| placement.token_life_ms);
        self.moment.now.wall.plus_ms(i64::try_from(life_ms).unwrap_or(i64::MAX))
    }

    /// The break as the listener's state keeps it.
    fn opened(&self, answered: &AnsweredBreak) -> OpenBreak {
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
    fn exposures(&self, answered: &AnsweredBreak) -> Vec<Exposure> {
        if self.request.preview.is_some() {
            return Vec::new();
        }
        let exposure = |ad: &AnsweredAd| Exposure {
            impression_id: ad.impression_id,
            at: self.moment.now.wall,
            advertiser_id: ad.chosen.advertiser_id,
            campaign_id: ad.chosen.campaign_id,
            line_item_id: ad.chosen.line_item_id,
            creative_id: ad.chosen.creative_id,
            state: ExposureState::Reserved { until: ad.billable_until },
        };
        answered.ads.iter().map(exposure).collect()
    }

    /// A draw given up before anybody was told of its ad.
    fn void_of(&self, chosen: &ChosenAd, draw: &Draw) -> Envelope {
        self.void(self.claims(chosen, Some(draw), 0))
    }

    /// An ad of an earlier break given up; none when its token's key is gone, and with it the token's life.
    fn void_of_token(&self, token: &str) -> Option<Envelope> {
        self.role.keys.open(token).ok().map(|claims| self.void(claims))
    }

    fn void(&self, claims: Claims) -> Envelope {
        self.envelope(Event::Beacon(Box::new(BeaconRecord::of(BeaconEvent::Void, claims, None, None))))
    }

    /// The decision log's record: enough to make the decision again.
    fn record(&self, listener: ListenerView, drawn: &Drawn, answered: &AnsweredBreak) -> Envelope {
        let request = self.request;
        let decision = &drawn.decision;
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
            excluded: drawn.excluded.clone(),
            spend_reads: reads.collect(),
            ads: ads.collect(),
            no_break: answered.no_break.map(str::to_owned),
            reasons: answered.reasons().map(|(reason, count)| (reason.to_owned(), count)).collect(),
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
