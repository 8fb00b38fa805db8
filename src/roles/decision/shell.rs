//! The decision role's I/O: the listener's state in, the records out.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use arc_swap::Guard;

use super::{Answered, DecisionRole, Effects, Explain, Moment, Pending, Render};
use crate::caps::strict::Outcome;
use crate::catalog::{CatalogPublisher, Snapshot};
use crate::clock::{Clock, Stopwatch};
use crate::decision::{Billing, Degradation, Scratch, Seed};
use crate::event_log::EventLog;
use crate::events::TraceId;
use crate::impressions::{DrawTimes, RarelyHeard, TruncatedIp};
use crate::journal::QuotaLevel;
use crate::model::{AdBreakRequest, DecisionId, InvalidTraffic, ListenerKey, ListenerState, Now, Pseudonym, Tier};
use crate::patience::Seldom;
use crate::profile::personal;
use crate::roles::heard::{Asker, HeardWatch};
use crate::roles::listeners::ListenerAccess;
use crate::roles::records;
use crate::store::{Listener, ReserveError};
use crate::telemetry::{Metric, Metrics};

/// Longest wait for a listener who is not in memory. A local disk answers in a millisecond; a quarter of a second is a disk that is in trouble, and
/// the player's patience is not much longer.
const LISTENER_DEADLINE: Duration = Duration::from_millis(250);
/// Longest that all conditional writes of one break may take together. A group commit takes the disk's milliseconds;
/// a quarter of a second is a disk in trouble, and the break is answered without line items with strict caps.
const RESERVE_DEADLINE: Duration = Duration::from_millis(250);
/// Longest wait for the listener's turn: one break of another device that uses up its time, and is decided.
const TURN_DEADLINE: Duration = Duration::from_millis(500);

thread_local! {
    /// One a worker thread: a decision allocates nothing once it is warm.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Answers ad breaks.
#[derive(Debug)]
pub struct DecisionShell {
    role: DecisionRole,
    at: Surroundings,
    unread: Seldom,
    late: Seldom,
}

/// What the decision role is surrounded by.
#[derive(Debug)]
pub struct Surroundings {
    /// The catalogue.
    pub catalog: Arc<CatalogPublisher>,
    /// Where records go.
    pub log: EventLog,
    /// The listeners.
    pub listeners: ListenerAccess,
    /// Who gets paid ads.
    pub heard: Arc<HeardWatch>,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Names the answers.
    pub decision_ids: DecisionIds,
    /// Takes breaks to be evaluated again.
    pub sampler: Sampler,
}

/// How an answer is asked for, beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Whether each candidate's fate is wanted.
    pub explain: Explain,
    /// The request's trace.
    pub trace_id: Option<TraceId>,
    /// Who asks.
    pub origin: Origin,
    /// Why its sender is no listener, if it is none.
    pub invalid: Option<InvalidTraffic>,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// An operator who tries things out: what isn't heard then is held against nobody.
    Operator,
    /// A player of the request's app, at this address if it is known.
    Player(Option<TruncatedIp>),
}

/// One request, and how it is to be answered.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a Arc<AdBreakRequest>,
    now: Now,
    decision_id: DecisionId,
    asking: Asking,
    limited: Option<RarelyHeard>,
    render: Render<'a>,
}

/// Makes decision ids: unique across servers and restarts, without drawing randomness for each.
#[derive(Debug)]
pub struct DecisionIds {
    key: [u8; 32],
    next: AtomicU64,
}

/// Breaks to be evaluated again off the request path, without early stop.
#[derive(Clone, Debug)]
pub struct Sampler {
    one_in: u64,
    queue: SyncSender<Sample>,
    metrics: Metrics,
}

/// One break to be evaluated again.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was asked.
    pub request: Arc<AdBreakRequest>,
    /// What was known of the listener before the answer.
    pub listener: ListenerState,
    /// When it was decided.
    pub now: Now,
}

impl DecisionIds {
    /// Ids of one boot, from 32 random bytes.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key, next: AtomicU64::new(0) }
    }

    fn next(&self, now: Now) -> DecisionId {
        // Relaxed: only uniqueness is wanted.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::keyed_hash(&self.key, &number.to_le_bytes());
        DecisionId::at(now.wall, *hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

impl Sampler {
    /// Takes one break in `one_in` (by hash of the request) into `queue`.
    #[must_use]
    pub const fn new(one_in: u64, queue: SyncSender<Sample>, metrics: Metrics) -> Self {
        Self { one_in, queue, metrics }
    }

    /// Hands the break over if it is one of those; drops and counts it when the ones before are not done.
    fn offer(&self, request: &Arc<AdBreakRequest>, listener: &ListenerState, now: Now) {
        if !self.takes(Seed::of(request)) {
            return;
        }
        let sample = Sample { request: Arc::clone(request), listener: listener.clone(), now };
        if self.queue.try_send(sample).is_err() {
            self.metrics.add(Metric::SamplesDropped, 1);
        }
    }

    fn takes(&self, seed: Seed) -> bool {
        // The seed's own bits decide throttles; a multiplication by a large odd number takes others.
        seed.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).is_multiple_of(self.one_in)
    }
}

impl DecisionShell {
    /// A shell around the role.
    #[must_use]
    pub fn new(role: DecisionRole, surroundings: Surroundings) -> Self {
        Self { role, at: surroundings, unread: Seldom::default(), late: Seldom::default() }
    }

    /// Answers one break. `render` makes the answer's bytes. A sender that is no listener is given no paid ads, and is no supply. Never fails:
    /// where the listener's state can't be had, the break is decided as for somebody unknown, and the answer says so.
    pub async fn answer(&self, request: AdBreakRequest, asking: Asking, render: Render<'_>) -> Vec<u8> {
        let (request, now) = (Arc::new(request), self.at.clock.now());
        // Who gets no paid ads anyway is not watched for hearing them.
        let asker = asker(&request, asking.origin).filter(|_| asking.invalid.is_none());
        let limited = asker.as_ref().and_then(|asker| self.at.heard.limit(asker, now.wall));
        let decision_id = self.at.decision_ids.next(now);
        let asked = Asked { request: &request, now, decision_id, asking, limited, render };
        let listener = self.known(request.listener_key, now).await;
        let effects = if let Some(listener) = &listener {
            if let Ok(_turn) = tokio::time::timeout(TURN_DEADLINE, listener.turn()).await {
                self.answer_known(asked, listener).await
            } else {
                tracing::warn!("another break of a listener took longer than {TURN_DEADLINE:?}");
                self.answer_unknown(asked)
            }
        } else {
            self.answer_unknown(asked)
        };
        if let (Some(asker), Effects::Answered(answered)) = (&asker, &effects) {
            self.at.heard.drawn(asker, &draws(answered, now));
        }
        if let Some(reason) = asking.invalid {
            self.at.metrics.add_labelled(Metric::InvalidBreaks, &[reason.name()], 1);
        }
        self.carry_out(effects)
    }

    /// Decides for somebody of whom nothing is known.
    fn answer_unknown(&self, asked: Asked<'_>) -> Effects {
        let mut nobody = ListenerState::new(Pseudonym(asked.decision_id.to_bytes()));
        let snapshot = self.at.catalog.load();
        self.step(asked, &mut nobody, asked.moment(&snapshot, Degradation::ListenerUnknown, self.paid()))
    }

    /// Decides for a listener whose turn is held; what strict caps need is durable before this returns.
    async fn answer_known(&self, asked: Asked<'_>, listener: &Listener) -> Effects {
        let listeners = self.at.listeners.listeners();
        // What is known of them stands in the request from here on: in the sample, the decision and its record alike.
        let known = listeners.look(listener, |state| personal(asked.request, &state.profile, asked.now.wall));
        let asked = Asked { request: &known, ..asked };
        let (snapshot, paid) = (self.at.catalog.load(), self.paid());
        let effects =
            listeners.with(listener, |state| self.step(asked, state, asked.moment(&snapshot, Degradation::None, paid)));
        let Effects::Reserve(mut pending) = effects else { return effects };
        // Waits follow: no borrowed guard is kept over them.
        let snapshot: Arc<Snapshot> = Guard::into_inner(snapshot);
        let moment = asked.moment(&snapshot, Degradation::None, paid);
        let watch = self.at.clock.stopwatch();
        loop {
            let outcome = self.reserve(asked.request.listener_key, &pending, watch).await;
            let effects = listeners.with(listener, |state| {
                SCRATCH.with_borrow_mut(|scratch| {
                    self.role.resume(asked.request, state, moment, *pending, outcome, scratch, asked.render)
                })
            });
            match effects {
                Effects::Reserve(next) => pending = next,
                Effects::Repeated(_) | Effects::Answered(_) => {
                    self.at.metrics.observe_seconds(Metric::StrictSeconds, watch.elapsed_seconds());
                    return effects;
                }
            }
        }
    }

    /// Makes a reservation durable, in what is left of the break's time. `watch` runs since the first.
    async fn reserve(&self, key: ListenerKey, pending: &Pending, watch: Stopwatch) -> Outcome {
        let left = RESERVE_DEADLINE.saturating_sub(Duration::from_micros(watch.elapsed_us()));
        let write = self.at.listeners.listeners().reserve(key, pending.reservation.clone());
        let (outcome, word) = match tokio::time::timeout(left, write).await {
            Ok(Ok(Outcome::Accepted)) => (Outcome::Accepted, "accepted"),
            Ok(Ok(Outcome::Conflict(row))) => (Outcome::Conflict(row), "conflict"),
            Ok(Ok(Outcome::Unsure) | Err(ReserveError::Failed)) => (Outcome::Unsure, "failed"),
            Ok(Err(ReserveError::Busy)) => (Outcome::Unsure, "busy"),
            Err(_) => (Outcome::Unsure, "late"),
        };
        self.at.metrics.add_labelled(Metric::StrictReservations, &[word], 1);
        outcome
    }

    /// The listener, unless their state can't be had in time.
    async fn known(&self, key: ListenerKey, now: Now) -> Option<Arc<Listener>> {
        match tokio::time::timeout(LISTENER_DEADLINE, self.at.listeners.get(key, now.wall)).await {
            Ok(Ok(listener)) => Some(listener),
            Ok(Err(error)) => {
                if let Some(others) = self.unread.happens(now.monotonic) {
                    tracing::warn!(%error, others, "a listener's state could not be read");
                }
                None
            }
            Err(_) => {
                if let Some(others) = self.late.happens(now.monotonic) {
                    tracing::warn!(others, "a listener's state was not read within {LISTENER_DEADLINE:?}");
                }
                None
            }
        }
    }

    fn step(&self, asked: Asked<'_>, state: &mut ListenerState, moment: Moment<'_>) -> Effects {
        // No line item could have been served in a limited break, nor to a sender that is no listener: neither is supply.
        if asked.limited.is_none() && asked.asking.invalid.is_none() {
            self.at.sampler.offer(asked.request, state, asked.now);
        }
        let (watch, cpu) = (self.at.clock.stopwatch(), self.at.clock.cpu_stopwatch());
        let effects =
            SCRATCH.with_borrow_mut(|scratch| self.role.step(asked.request, state, moment, scratch, asked.render));
        self.at.metrics.observe_seconds(Metric::DecisionCpu, cpu.elapsed_seconds());
        self.at.metrics.observe_seconds(Metric::DecisionSeconds, watch.elapsed_seconds());
        effects
    }

    /// Whether paid ads may be decided.
    fn paid(&self) -> bool {
        self.at.log.quota_level() < QuotaLevel::StopPaid
    }

    /// Writes down what an answer leads to. Nothing here is waited for: a `void` frees money that is safe where it is, and the decision log may
    /// be shed.
    fn carry_out(&self, effects: Effects) -> Vec<u8> {
        let answered = match effects {
            Effects::Repeated(answer) => {
                self.at.metrics.add_labelled(Metric::Breaks, &["repeated"], 1);
                return answer;
            }
            Effects::Answered(answered) => answered,
            Effects::Reserve(_) => {
                unreachable!("a break of a known listener is resumed to its answer, an unknown one's has none")
            }
        };
        self.count(&answered);
        if !answered.voids.is_empty() {
            let voids: Vec<_> = answered.voids.iter().map(records::encode).collect();
            self.at.log.submit(&voids, |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "given up ads were not recorded; their money returns when their leases close");
                }
            });
        }
        self.at.log.offer(vec![records::encode(&answered.record)]);
        answered.answer
    }

    fn count(&self, answered: &Answered) {
        let metrics = &self.at.metrics;
        let outcome = match (answered.answered.no_break, answered.answered.ads.is_empty()) {
            (Some(reason), _) => reason,
            (None, true) => "empty",
            (None, false) => "filled",
        };
        metrics.add_labelled(Metric::Breaks, &[outcome], 1);
        for ad in &answered.answered.ads {
            metrics.add_labelled(Metric::Ads, &[tier_word(ad.chosen.tier)], 1);
        }
        for (reason, count) in answered.answered.reasons() {
            metrics.add_labelled(Metric::NoFill, &[reason], u64::from(count));
        }
        metrics.add(Metric::DrawsRefused, answered.draws_refused);
    }
}

impl<'a> Asked<'a> {
    fn moment(&self, snapshot: &'a Snapshot, degradation: Degradation, paid: bool) -> Moment<'a> {
        Moment {
            snapshot,
            now: self.now,
            decision_id: self.decision_id,
            trace_id: self.asking.trace_id,
            explain: self.asking.explain,
            degradation,
            paid: paid && self.asking.invalid.is_none(),
            limited: self.limited,
            asked_from: self.asking.origin.address(),
        }
    }
}

impl Origin {
    /// Where a player asks from.
    const fn address(self) -> Option<TruncatedIp> {
        match self {
            Self::Operator => None,
            Self::Player(address) => address,
        }
    }
}

/// Who is watched for hearing what is drawn.
fn asker(request: &AdBreakRequest, origin: Origin) -> Option<Asker> {
    let Origin::Player(address) = origin else { return None };
    Some(Asker { network_id: request.network_id, app: request.app.clone(), address })
}

/// The times of the paid ads of an answer.
fn draws(answered: &Answered, now: Now) -> Vec<DrawTimes> {
    let paid = answered.answered.ads.iter().filter(|ad| matches!(ad.chosen.billing, Billing::Lease(_)));
    paid.map(|ad| DrawTimes { decided_at: now.wall, billable_until: ad.billable_until }).collect()
}

/// A tier's label in metrics.
const fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Sponsorship => "sponsorship",
        Tier::Guaranteed => "guaranteed",
        Tier::Auction => "auction",
        Tier::House => "house",
    }
}
