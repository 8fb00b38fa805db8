//! The decision itself.
//!
//! First whether a break is due at all; then the candidates in order of rank, each through the tests of [`super::eligibility`];
//! then the best pod of those that passed.
//!
//! **What is asked first.** Pacing lets most candidates into few breaks: a hundred or more are held back for each ad that plays. Whether one is can be
//! told from its id and one look at [`Spending`], while all other tests read the line item, its parents and its creatives all over the memory. So a
//! decision asks that first, and counts as held back what other tests would refuse too. A survey asks it last, in the order of the reasons, as an
//! explanation does: what could have been served but for its throttle is what pacing wants to know. The pod is the same.
//!
//! **Early stop.** A scan yields candidates in non-increasing rank, equal ranks in any order. All candidates of one rank are a *class*. Only
//! between two classes, and only at moments that depend on how many candidates there were, is it asked whether anything unseen could still
//! improve the pod ([`is_improvable`]): every unseen candidate's rank is at most that of the class about to begin, so the jokers of that question
//! are at least as good as any of them. When the answer is no, the pod of the candidates seen is the pod of all candidates, by value and by
//! lot, and the scan ends. As classes are sets and the moments are counted, the set of candidates seen is a function of what the catalogue
//! holds, and so is every byte of the decision.
//!
//! **Equals by thousands.** A class may be half the catalogue: whoever sells at one price has one. Among equals the lot decides, so a large class is looked at
//! from the highest lot down ([`Class`]), and the same question, with the lot of the next as the most that an unseen one can have, ends it. Of a class that is
//! larger than what is looked at in any case, only the highest lots are kept: another break has other lots, so all have their chance.

use super::answer::{ChosenAd, Decision, Degradation, HeldBack, NextBreak, NoBreakReason, SpendRead};
use super::class::Class;
use super::eligibility::{self, Break};
use super::excluded::Excluded;
use super::price;
use super::reason::NoFillReason;
use super::seed::Seed;
use super::spending::{Gate, Spending};
use super::{preview, sponsorship};
use crate::catalog::{Candidate, LineEntry, LineSlot, Rank, ResolvedBreak, ScanScratch, Snapshot};
use crate::impressions::CLOCK_TOLERANCE_MS;
use crate::model::{ListenerState, Micros, Now, Subscription, Tier};
use crate::pod::{self, MAX_CANDIDATES, PodCandidate, PodLimits, PodProblem, PodScratch, Unseen, is_improvable};

/// Most candidates that are weighed against each other before house ads get their places: what is left of a search's limit is theirs.
const MAX_PAID_CANDIDATES: usize = MAX_CANDIDATES - 32;

/// Most paid line items that are looked at. Beyond it only house ads are, so that a break is filled even where thousands of line items match and none
/// has money. Of house ads, which are all of one rank, as many at most. About a millisecond.
pub const MAX_CONSIDERED: u32 = 4_096;

/// The shortest that an ad nobody has seen can be, in milliseconds.
const SHORTEST_AD_MS: u32 = 1;

/// Memory that decisions are made in. One for each thread that decides; after some breaks a decision allocates nothing.
#[derive(Debug)]
pub struct Scratch {
    scan: ScanScratch,
    pod: PodScratch,
    work: Work,
}

/// What a decision fills as it goes.
#[derive(Debug)]
struct Work {
    problem: PodProblem,
    /// Those that passed every test, as they would be answered; a candidate's key in the problem is its place here.
    eligible: Vec<ChosenAd>,
    sponsors: Vec<LineSlot>,
    class: Class,
    decision: Decision,
}

impl Scratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        let problem = PodProblem::new(PodLimits { max_duration_ms: 0, max_ads: 0 });
        let work = Work {
            problem,
            eligible: Vec::new(),
            sponsors: Vec::new(),
            class: Class::default(),
            decision: Decision::default(),
        };
        Self { scan: ScanScratch::new(), pod: PodScratch::default(), work }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a scan goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Until nothing unseen can improve the pod.
    UntilFinal,
    /// To the end.
    All,
}

/// The answer to one ad break. Pure: the same arguments give the same decision, byte for byte, whatever the layout of the snapshot. Reads of
/// `spending`, each line item once, are returned in the decision. `listener.exposures` must hold what strict caps count, too (`caps::strict::counted`).
///
/// The caller draws from the leases of the chosen ads; where a draw fails it decides again with that line item excluded, at most three times.
/// `resolved` must come from the same snapshot, as of the same moment.
pub fn decide<'s>(
    snapshot: &Snapshot,
    resolved: &ResolvedBreak,
    listener: &ListenerState,
    spending: &Spending,
    excluded: &Excluded,
    now: Now,
    seed: Seed,
    scratch: &'s mut Scratch,
) -> &'s Decision {
    answer(&Inputs { snapshot, resolved, listener, spending, excluded, now, seed }, Reach::UntilFinal, scratch)
}

/// The same decision, but every candidate is looked at: the pod is the same, and the reasons and reads cover all line items that match. Off the request
/// path, for a sample of breaks: supply for pacing, reasons for non-delivery, forecasts.
pub fn survey<'s>(
    snapshot: &Snapshot,
    resolved: &ResolvedBreak,
    listener: &ListenerState,
    spending: &Spending,
    excluded: &Excluded,
    now: Now,
    seed: Seed,
    scratch: &'s mut Scratch,
) -> &'s Decision {
    answer(&Inputs { snapshot, resolved, listener, spending, excluded, now, seed }, Reach::All, scratch)
}

struct Inputs<'a> {
    snapshot: &'a Snapshot,
    resolved: &'a ResolvedBreak,
    listener: &'a ListenerState,
    spending: &'a Spending,
    excluded: &'a Excluded,
    now: Now,
    seed: Seed,
}

fn answer<'s>(inputs: &Inputs<'_>, reach: Reach, scratch: &'s mut Scratch) -> &'s Decision {
    debug_assert_eq!(inputs.resolved.now, inputs.now, "resolved and decided at one moment");
    let Scratch { scan, pod, work } = scratch;
    work.decision.clear(inputs.snapshot.version());
    if let Some(of) = begin(inputs, &mut work.decision) {
        work.eligible.clear();
        work.sponsors.clear();
        work.problem.reset(of.limits);
        let mut round = Round { inputs, of, work, next_check: usize::from(of.limits.max_ads.max(1)), is_full: false };
        round.consider_all(reach, scan, pod);
        round.fill(pod);
    }
    &work.decision
}

/// What can be answered without looking at candidates, is; otherwise what they are judged by.
fn begin<'a>(inputs: &Inputs<'a>, decision: &mut Decision) -> Option<Break<'a>> {
    let Some(of) = Break::new(inputs.resolved, inputs.listener, inputs.now, inputs.seed) else {
        decision.no_break = Some(NoBreakReason::UnknownPlacement);
        return None;
    };
    decision.next_break = NextBreak::InMs(cadence_ms(&of));
    if let Some(wish) = inputs.resolved.request.preview {
        match preview::choose(inputs.snapshot, &of, wish) {
            Some(ad) => decision.ads.push(ad),
            None => decision.reasons.add(NoFillReason::PreviewNotFound),
        }
        return None;
    }
    if let Err(reason) = is_due(&of) {
        decision.no_break = Some(reason);
        decision.next_break = match reason {
            NoBreakReason::Premium | NoBreakReason::UnknownPlacement => NextBreak::Never,
            NoBreakReason::Cadence { due_in_ms } => NextBreak::InMs(due_in_ms),
        };
        return None;
    }
    Some(of)
}

fn cadence_ms(of: &Break<'_>) -> u64 {
    of.resolved.placement().map_or(0, |placement| u64::from(placement.cadence_ms))
}

/// Whether a break is due: not to those who pay, and not too soon after the one before, as the server or the player knows it, whichever is later.
fn is_due(of: &Break<'_>) -> Result<(), NoBreakReason> {
    if of.resolved.request.subscription == Subscription::Premium {
        return Err(NoBreakReason::Premium);
    }
    // A break in the future is another server's clock: as if it were now. One further ahead than clocks of servers may be apart was told by a clock
    // that jumped, and would keep the listener without breaks until then.
    let since = of.listener.last_break_at.map(|at| of.now.wall.since(at)).filter(|since| *since >= -CLOCK_TOLERANCE_MS);
    let by_server = since.map(|since| u64::try_from(since).unwrap_or(0));
    let since_last = by_server.into_iter().chain(of.resolved.request.since_last_break_ms).min();
    match since_last.and_then(|since| cadence_ms(of).checked_sub(since)) {
        None | Some(0) => Ok(()),
        Some(due_in_ms) => Err(NoBreakReason::Cadence { due_in_ms }),
    }
}

/// One pass over the candidates.
struct Round<'a> {
    inputs: &'a Inputs<'a>,
    of: Break<'a>,
    work: &'a mut Work,
    /// How many candidates there must be before it is asked again whether the pod is final.
    next_check: usize,
    /// Whether no more paid candidates are taken.
    is_full: bool,
}

impl Round<'_> {
    fn consider_all(&mut self, reach: Reach, scan: &mut ScanScratch, pod: &mut PodScratch) {
        let mut scan = self.inputs.snapshot.scan(self.inputs.resolved, scan);
        let mut class: Option<Rank> = None;
        while let Some(candidate) = scan.next() {
            let rank = candidate.rank;
            if let Some(before) = class.filter(|&before| before != rank) {
                debug_assert!(before > rank, "a scan yields ranks in non-increasing order");
                let is_final = self.ends_class(before, pod) || self.is_final_before(before, rank, pod);
                if is_final && reach == Reach::UntilFinal {
                    return;
                }
            }
            class = Some(rank);
            if self.is_full && rank.tier != Tier::House && reach == Reach::UntilFinal {
                self.passes_over();
                scan.skip_to(Rank::FIRST_OF_HOUSE);
            } else if reach == Reach::All || rank.tier == Tier::Sponsorship {
                self.consider(candidate, reach);
            } else {
                self.work.class.add(candidate, self.of.seed);
            }
        }
        match class {
            Some(last) if last.tier == Tier::Sponsorship => self.consider_sponsors(),
            Some(last) => _ = self.ends_class(last, pod),
            None => {}
        }
    }

    /// Looks at what was gathered of a class, from the highest lot down where it is large. Whether nothing unseen can improve the pod.
    fn ends_class(&mut self, rank: Rank, pod: &mut PodScratch) -> bool {
        let mut class = std::mem::take(&mut self.work.class);
        let mut is_final = false;
        while let Some(next) = class.take_next(self.of.seed) {
            for lot in next {
                self.consider(lot.candidate, Reach::UntilFinal);
            }
            let Some(tie) = class.highest_left() else { break };
            self.is_full |= self.work.decision.considered >= MAX_CONSIDERED;
            if self.is_full && rank.tier != Tier::House {
                break;
            }
            is_final = self.work.problem.len() >= self.next_check && self.is_final(rank, tie, pod);
            if is_final {
                break;
            }
        }
        if !is_final && class.has_left() {
            self.passes_over();
        }
        class.clear();
        self.work.class = class;
        is_final
    }

    /// Leaves candidates unseen that might have been in a better pod. However many they are, it is one reason and one candidate more.
    fn passes_over(&mut self) {
        let decision = &mut self.work.decision;
        decision.degradation = decision.degradation.max(Degradation::SearchLimited);
        decision.considered = decision.considered.saturating_add(1);
        decision.reasons.add(NoFillReason::BeyondLimit);
    }

    /// Between two classes: whether nothing of the next class or after it can improve the pod.
    fn is_final_before(&mut self, before: Rank, next: Rank, scratch: &mut PodScratch) -> bool {
        if before.tier == Tier::Sponsorship && next.tier != Tier::Sponsorship {
            self.consider_sponsors();
        }
        let problem = &self.work.problem;
        let is_new_tier = before.tier != next.tier && !problem.is_empty();
        if problem.len() < self.next_check && !is_new_tier {
            self.is_full |= self.work.decision.considered >= MAX_CONSIDERED;
            return false;
        }
        self.is_final(next, u64::MAX, scratch)
    }

    /// Whether nothing of that rank and at most that lot, or of a lesser rank, can improve the pod. Keeps the candidates within their limits.
    fn is_final(&mut self, next: Rank, tie: u64, scratch: &mut PodScratch) -> bool {
        let problem = &mut self.work.problem;
        problem.prune();
        self.is_full |= problem.len() >= MAX_PAID_CANDIDATES || self.work.decision.considered >= MAX_CONSIDERED;
        if problem.truncate(MAX_PAID_CANDIDATES) {
            self.work.decision.degradation = self.work.decision.degradation.max(Degradation::SearchLimited);
        }
        self.next_check = problem.len() + problem.len().max(usize::from(self.of.limits.max_ads)).max(1);
        let value = pod::solve(problem, scratch).value;
        let (tier, worth) = (next.tier, price::pod_value(next.worth));
        // What is worth less must count for less: at the ends of its range a value does not tell two worths apart, and lots alone would.
        let is_told_apart = next.worth <= Micros::ZERO || price::pod_value(Micros(next.worth.0 - 1)) < worth;
        let tie = if is_told_apart { tie } else { u64::MAX };
        let unseen = Unseen { tier, value: worth, tie, duration_ms: SHORTEST_AD_MS };
        !is_improvable(problem, unseen, value, scratch)
    }

    fn consider(&mut self, candidate: Candidate, reach: Reach) {
        let Candidate { rank: Rank { tier, .. }, slot, line_item_id } = candidate;
        let decision = &mut self.work.decision;
        decision.considered = decision.considered.saturating_add(1);
        // A share of voice is a share of all breaks in which a sponsor runs, so what holds one back is asked once that is known.
        let asks_first = reach == Reach::UntilFinal && tier != Tier::Sponsorship;
        let gate = asks_first.then(|| self.inputs.spending.gate(slot));
        if let Some(gate) = gate
            && let Err(reason) = eligibility::is_let_in(line_item_id, tier, gate, self.of.seed)
        {
            if gate.paused {
                decision.spend_reads.push(SpendRead { slot, line_item_id, tier, view: gate.with(None) });
            } else {
                decision.held_back.push(HeldBack { line_item_id, throttle: gate.throttle });
            }
            decision.reasons.add(reason);
            return;
        }
        let entry = self.inputs.snapshot.line(slot);
        if let Err(reason) = eligibility::runs(entry, &self.of) {
            decision.reasons.add(reason);
        } else if tier == Tier::Sponsorship {
            self.work.sponsors.push(slot);
        } else {
            self.weigh(entry, gate);
        }
    }

    /// Once all sponsors are known: one is drawn, or none, and nobody takes the place of one that can't play.
    fn consider_sponsors(&mut self) {
        let snapshot = self.inputs.snapshot;
        self.work.sponsors.sort_unstable_by_key(|&slot| snapshot.line(slot).line_item.id);
        let shares = self.work.sponsors.iter().map(|&slot| sponsorship::share(&snapshot.line(slot).line_item));
        self.work.decision.share_of_voice = shares.clone().sum();
        let drawn = sponsorship::draw(shares, self.of.seed);
        for index in 0..self.work.sponsors.len() {
            if drawn == Some(index) {
                self.weigh(snapshot.line(self.work.sponsors[index]), None);
            } else {
                self.work.decision.reasons.add(NoFillReason::SponsorNotDrawn);
            }
        }
        self.work.sponsors.clear();
    }

    /// Caps, price and money of one that runs; then it is a candidate for the pod.
    /// Its gate is read once: before, or here.
    fn weigh(&mut self, entry: &LineEntry, gate: Option<Gate>) {
        match self.ad(entry, gate) {
            Ok(ad) => self.add(entry, ad),
            Err(reason) => self.work.decision.reasons.add(reason),
        }
    }

    fn ad(&mut self, entry: &LineEntry, gate: Option<Gate>) -> Result<ChosenAd, NoFillReason> {
        let line_item = &*entry.line_item;
        eligibility::strict_caps_kept(entry, self.inputs.excluded)?;
        let creative = eligibility::choose_creative(entry, &self.of).map_err(|_| NoFillReason::Capped)?;
        if !price::meets_floor(line_item, self.of.floor_cpm) {
            return Err(NoFillReason::BelowFloor);
        }
        if self.inputs.excluded.contains(line_item.id) {
            return Err(NoFillReason::DrawFailed);
        }
        let gate = gate.unwrap_or_else(|| self.inputs.spending.gate(entry.slot));
        let view = gate.with(self.inputs.spending.lease(entry.slot, self.of.now));
        let read = SpendRead { slot: entry.slot, line_item_id: line_item.id, tier: line_item.tier, view };
        self.work.decision.spend_reads.push(read);
        let billing = eligibility::pays(entry, &view, self.of.seed)?;
        Ok(eligibility::chosen(entry, creative, billing))
    }

    fn add(&mut self, entry: &LineEntry, ad: ChosenAd) {
        let key = u32::try_from(self.work.eligible.len()).expect("line items number below 2^32");
        let candidate = PodCandidate {
            key,
            line_item_id: ad.line_item_id,
            advertiser_id: ad.advertiser_id,
            tier: ad.tier,
            value: price::pod_value(ad.worth),
            tie: self.of.seed.tie(ad.line_item_id),
            duration_ms: ad.duration_ms,
            category: entry.category,
        };
        self.work.eligible.push(ad);
        self.work.problem.push(candidate, &entry.excluded_categories);
    }

    /// Searches the pod, and says of every other candidate why it is not in it.
    fn fill(&mut self, scratch: &mut PodScratch) {
        let Work { problem, eligible, decision, .. } = &mut *self.work;
        problem.prune();
        let is_over = problem.truncate(MAX_CANDIDATES);
        let pod = pod::solve(problem, scratch);
        if is_over || !pod.is_complete() {
            decision.degradation = decision.degradation.max(Degradation::SearchLimited);
        }
        decision.ads.extend(pod.keys.iter().map(|&key| eligible[key as usize]));
        for ad in eligible.iter() {
            if let Some(reason) = out_of_pod(self.inputs.snapshot, ad, &decision.ads) {
                decision.reasons.add(reason);
            }
        }
        // Numbers are compared faster than bytes, and have the same order.
        decision.spend_reads.sort_unstable_by_key(|read| read.line_item_id.as_u128());
        decision.held_back.sort_unstable_by_key(|one| one.line_item_id.as_u128());
    }
}

/// Why an eligible ad is not in the pod; none when it is.
pub(super) fn out_of_pod(snapshot: &Snapshot, ad: &ChosenAd, pod: &[ChosenAd]) -> Option<NoFillReason> {
    if pod.iter().any(|chosen| chosen.line_item_id == ad.line_item_id) {
        return None;
    }
    if pod.iter().any(|chosen| chosen.advertiser_id == ad.advertiser_id) {
        return Some(NoFillReason::SameAdvertiser);
    }
    let entry = snapshot.line(ad.slot);
    if pod.iter().any(|chosen| compete(entry, snapshot.line(chosen.slot))) {
        return Some(NoFillReason::CategorySeparation);
    }
    Some(NoFillReason::Outranked)
}

/// Whether two line items may not be in one pod because of what they advertise.
pub(super) fn compete(one: &LineEntry, other: &LineEntry) -> bool {
    let excludes = |one: &LineEntry, other: &LineEntry| {
        other.category.is_some_and(|category| one.excluded_categories.binary_search(&category).is_ok())
    };
    (one.category.is_some() && one.category == other.category) || excludes(one, other) || excludes(other, one)
}
