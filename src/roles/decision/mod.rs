//! The decision role: answers one ad break, from the request to the sealed tokens.
//!
//! A state machine without I/O. Given a request and the listener's state it resolves, decides, draws money from the
//! leases, seals a token for each ad and reserves the exposures; what must be written or told elsewhere comes back as
//! [`Effects`]. The shell holds the listener's lock while this runs, and the listener's turn until the break is
//! answered, so two requests of one listener are answered one after the other.
//!
//! **Strict caps.** When the pod holds an ad of a line item with a strict cap, [`DecisionRole::step`] does not
//! answer: it gives back a *pending* break with a reservation, a conditional write that the caller has made durable,
//! and [`DecisionRole::resume`] goes on with what became of it. Accepted: the break is answered as it was decided.
//! Conflict: another device's break came between; the state is as the store has it now, and the break is decided
//! again, at most [`MAX_CONFLICTS`] times. Otherwise, and when nobody knows whether the write was made: it is decided
//! again without any line item with a strict cap, so whatever was written counts and is not served. Nothing is sealed
//! before the pod stands; a draw whose ad did not stay in it is given up.

mod leases;
mod recent;
mod reporter;
mod sealing;
mod shell;
mod supply;
#[cfg(test)]
mod tests;

pub use leases::LeaseKeeper;
pub use recent::{BYTES_MAX, KEPT_MS, RecentBreaks, SAMPLES_MAX, Sight};
pub use reporter::Reporter;
pub(crate) use reporter::{Standing, Telling};
pub use shell::{Asking, DecisionIds, DecisionShell, Origin, Sample, Sampler, Surroundings};
pub use supply::Supply;

use std::sync::Arc;

use self::sealing::Break;
use crate::caps::strict::{self, Hearing, Outcome, Reservation};
use crate::catalog::{ResolvedBreak, Snapshot};
use crate::decision::{
    Billing, ChosenAd, Decision, Degradation, Draw, Excluded, Explanation, NoFillReason, Scratch, Seed, Spending,
    StrictCaps, decide, explain,
};
use crate::events::{Envelope, ListenerView, TraceId};
use crate::impressions::listener::{self, OpenRefusal};
use crate::impressions::{RarelyHeard, TruncatedIp};
use crate::model::{
    AdBreakRequest, Advertiser, BootId, Creative, DecisionId, ImpressionId, LineItem, LineItemId, ListenerState, Now,
    ServerId, StrictVersion, WallMs,
};
use crate::tokens::TokenKeys;

/// How often a break is decided anew because a draw failed; each time without the line items whose draw did.
pub const MAX_REDECISIONS: usize = 3;
/// How often a break is decided anew because the write for its strict caps conflicted. As many devices of one listener that ask in the same
/// moment are a party; the fourth gets ads without strict caps.
pub const MAX_CONFLICTS: u8 = 3;

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
    /// No answer yet: the reservation is to be made durable first, and the break resumed with what became of it.
    Reserve(Box<Pending>),
}

/// A decided break whose ads of line items with strict caps are not reserved yet.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The conditional write.
    pub reservation: Reservation,
    decided: Decided,
}

/// A break that is decided and drawn.
#[derive(Clone, Debug)]
struct Decided {
    resolved: ResolvedBreak,
    /// What was known of the listener.
    view: ListenerView,
    refusal: Option<OpenRefusal>,
    drawn: Drawn,
    /// How many conflicts there were before.
    conflicts: u8,
}

/// How a break is to be decided.
struct Attempt {
    resolved: ResolvedBreak,
    strict_caps: StrictCaps,
    conflicts: u8,
    /// Draws of the attempts before.
    held: Vec<(ChosenAd, Draw)>,
}

/// Makes the bytes that the player gets.
pub type Render<'a> = &'a dyn Fn(&AnsweredBreak) -> Vec<u8>;

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
    /// Whether paid ads may be decided: not while the money journal is nearly full, nor for a sender that is no listener.
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
    hearing: Hearing,
}

/// A decision whose paid ads have their money.
#[derive(Clone, Debug, Default)]
struct Drawn {
    decision: Decision,
    /// The draw of each ad of the decision, in pod order; none where nothing is paid.
    draws: Vec<Option<Draw>>,
    /// Line items left out because their draw failed.
    excluded: Vec<LineItemId>,
    /// Whether line items with a strict cap were left out.
    strict_caps: StrictCaps,
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
    /// A role of that server and boot, drawing from `spending` and sealing with `keys`. It is taken to hear every beacon.
    #[must_use]
    pub fn new(spending: Arc<Spending>, keys: TokenKeys, server_id: ServerId, boot_id: BootId) -> Self {
        Self { spending, no_money: Spending::new(), keys, server_id, boot_id, hearing: Hearing::Everything }
    }

    /// The role beside others that hear beacons, too: then it ends no strict reservation because it heard nothing.
    #[must_use]
    pub fn hearing(self, hearing: Hearing) -> Self {
        Self { hearing, ..self }
    }

    /// Answers the request, or says what must be reserved first. The answer's bytes are kept for a repeat of the
    /// request. Nobody else may decide for the listener until the break is answered.
    pub fn step(
        &self,
        request: &Arc<AdBreakRequest>,
        state: &mut ListenerState,
        moment: Moment<'_>,
        scratch: &mut Scratch,
        render: Render<'_>,
    ) -> Effects {
        let at = moment.now.wall;
        if let Some(answer) = listener::repeated(state, &request.request_id, at) {
            return Effects::Repeated(answer.to_vec());
        }
        listener::expire(state, at);
        let strict_caps = if request.listener_key.is_session() {
            StrictCaps::NotInSession
        } else if moment.degradation >= Degradation::StrictCapsUnsure {
            StrictCaps::Unsure
        } else {
            StrictCaps::Kept
        };
        let resolved = moment.snapshot.resolve(request, moment.now);
        let attempt = Attempt { resolved, strict_caps, conflicts: 0, held: Vec::new() };
        self.attempt(request, state, moment, attempt, scratch, render)
    }

    /// Goes on with a pending break, now that something became of its reservation. `moment` is that of its step, with the same snapshot.
    pub fn resume(
        &self,
        request: &AdBreakRequest,
        state: &mut ListenerState,
        moment: Moment<'_>,
        pending: Pending,
        outcome: Outcome,
        scratch: &mut Scratch,
        render: Render<'_>,
    ) -> Effects {
        let Pending { reservation, decided } = pending;
        let again = |decided: Decided, strict_caps, conflicts| {
            let Drawn { decision, draws, mut unused, .. } = decided.drawn;
            unused.extend(decision.ads.into_iter().zip(draws).filter_map(|(ad, draw)| Some((ad, draw?))));
            Attempt { resolved: decided.resolved, strict_caps, conflicts, held: unused }
        };
        let attempt = match outcome {
            Outcome::Accepted => {
                strict::accepted(&mut state.strict, &reservation);
                return self.finish(request, state, moment, decided, render);
            }
            Outcome::Conflict(stored) => {
                strict::adopt(&mut state.strict, stored);
                let conflicts = decided.conflicts.saturating_add(1);
                let strict_caps = if conflicts > MAX_CONFLICTS { StrictCaps::Unsure } else { StrictCaps::Kept };
                again(decided, strict_caps, conflicts)
            }
            Outcome::Unsure => {
                let conflicts = decided.conflicts;
                again(decided, StrictCaps::Unsure, conflicts)
            }
        };
        self.attempt(request, state, moment, attempt, scratch, render)
    }

    /// Decides and draws once, and answers, unless something must be reserved first.
    fn attempt(
        &self,
        request: &AdBreakRequest,
        state: &mut ListenerState,
        moment: Moment<'_>,
        attempt: Attempt,
        scratch: &mut Scratch,
        render: Render<'_>,
    ) -> Effects {
        let known = ListenerState {
            exposures: strict::counted(&state.exposures, &state.strict),
            last_break_at: state.last_break_at,
            last_break_creatives: state.last_break_creatives.clone(),
            ..ListenerState::new(state.pseudonym)
        };
        let refusal = if request.prefetch { listener::may_prefetch(state, moment.now.wall).err() } else { None };
        let Attempt { resolved, strict_caps, conflicts, held } = attempt;
        let drawn = match refusal {
            Some(_) => Drawn { unused: held, ..Drawn::nothing(moment.snapshot.version()) },
            None => self.decide_and_draw(request, &resolved, &known, moment, strict_caps, held, scratch),
        };
        let ListenerState { exposures, last_break_at, last_break_creatives, .. } = known;
        let view = ListenerView { exposures, last_break_at, last_break_creatives };
        let break_ = Break { role: self, request, resolved: &resolved, moment, pseudonym: state.pseudonym };
        let added = break_.strict_exposures(&drawn, self.hearing);
        let decided = Decided { resolved, view, refusal, drawn, conflicts };
        if added.is_empty() {
            return self.finish(request, state, moment, decided, render);
        }
        let version = StrictVersion::of(moment.decision_id, conflicts);
        let Ok(reservation) = strict::reserve(&state.strict, added, version, moment.now.wall) else {
            // As if nobody could tell: what is never written conflicts with nothing.
            let none = Reservation { expected: None, row: state.strict.clone(), added: Vec::new() };
            let pending = Pending { reservation: none, decided };
            return self.resume(request, state, moment, pending, Outcome::Unsure, scratch, render);
        };
        Effects::Reserve(Box::new(Pending { reservation, decided }))
    }

    /// Answers a decided break: seals its ads, opens it for the listener, and tells what must be written down.
    fn finish(
        &self,
        request: &AdBreakRequest,
        state: &mut ListenerState,
        moment: Moment<'_>,
        decided: Decided,
        render: Render<'_>,
    ) -> Effects {
        let Decided { resolved, view, refusal, drawn, .. } = decided;
        let Drawn { decision, draws, excluded, strict_caps, unused } = drawn;
        let break_ = Break { role: self, request, resolved: &resolved, moment, pseudonym: state.pseudonym };
        let mut answered = break_.seal(decision, &draws);
        answered.no_break = answered.no_break.or(refusal.map(OpenRefusal::name));
        // Where no break is due, no limit is why there are no ads.
        answered.limited = answered.limited.filter(|_| answered.no_break.is_none());
        // From what the decision saw, and after the answer stands: explaining can't change it (INV-8).
        answered.explanation = (moment.explain == Explain::Yes).then(|| {
            let left_out = left_out(strict_caps, &excluded);
            self.explain(request, &resolved, &view.to_state(state.pseudonym), moment, &left_out, &answered.decision)
        });
        let mut voids: Vec<Envelope> = unused.iter().map(|(ad, draw)| break_.void_of(ad, draw)).collect();
        if answered.no_break.is_none() {
            let given_up = listener::open(state, break_.opened(&answered), break_.exposures(&answered));
            voids.extend(given_up.iter().filter_map(|ad| break_.void_of_token(&ad.token)));
        }
        let draws_refused = u64::try_from(excluded.len()).unwrap_or(u64::MAX);
        let record = break_.record(view, excluded, strict_caps, &answered);
        let answer = render(&answered);
        listener::keep_answer(state, &request.request_id, &answer);
        Effects::Answered(Box::new(Answered { answer, answered, voids, record, draws_refused }))
    }

    /// What became of every line item.
    fn explain(
        &self,
        request: &AdBreakRequest,
        resolved: &ResolvedBreak,
        known: &ListenerState,
        moment: Moment<'_>,
        left_out: &Excluded,
        decision: &Decision,
    ) -> Explanation {
        let (spending, seed) = (self.spending(moment), Seed::of(request));
        explain(moment.snapshot, resolved, known, spending, left_out, moment.now, seed, decision)
    }

    /// What is drawn from: nothing, while paid ads are stopped or who asks is limited.
    fn spending(&self, moment: Moment<'_>) -> &Spending {
        if moment.paid && moment.limited.is_none() { &self.spending } else { &self.no_money }
    }

    /// Decides and draws; again, without the line items whose draw failed, at most [`MAX_REDECISIONS`] times. After that the pod is what
    /// could be drawn. `held` are draws made before for this break.
    fn decide_and_draw(
        &self,
        request: &AdBreakRequest,
        resolved: &ResolvedBreak,
        known: &ListenerState,
        moment: Moment<'_>,
        strict_caps: StrictCaps,
        mut held: Vec<(ChosenAd, Draw)>,
        scratch: &mut Scratch,
    ) -> Drawn {
        let seed = Seed::of(request);
        let spending = self.spending(moment);
        let mut excluded = Excluded::by_strict_caps(strict_caps);
        let mut excluded_ids = Vec::new();
        for attempt in 0..=MAX_REDECISIONS {
            let decision = decide(moment.snapshot, resolved, known, spending, &excluded, moment.now, seed, scratch);
            let mut decision = decision.clone();
            decision.degradation = decision.degradation.max(moment.degradation);
            if strict_caps == StrictCaps::Unsure {
                decision.degradation = decision.degradation.max(Degradation::StrictCapsUnsure);
            }
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
            return Drawn { decision, draws, excluded: excluded_ids, strict_caps, unused: held };
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

/// The line items that a decision was made without.
fn left_out(strict_caps: StrictCaps, excluded: &[LineItemId]) -> Excluded {
    let mut left_out = Excluded::by_strict_caps(strict_caps);
    for &line_item_id in excluded {
        left_out.insert(line_item_id);
    }
    left_out
}

/// Takes the ad's draw out of what is held.
fn take_draw(held: &mut Vec<(ChosenAd, Draw)>, ad: &ChosenAd) -> Option<Draw> {
    let index =
        held.iter().position(|(other, draw)| other.line_item_id == ad.line_item_id && draw.price == ad.drawn)?;
    Some(held.swap_remove(index).1)
}
