//! What became of every line item of the network in one break, in words.
//!
//! A second function over the predicates that `decide` uses, given the decision; it looks at everything, in no hurry, and can't change the
//! answer because the answer is one of its arguments.

use std::cmp::Reverse;

use super::answer::{Billing, ChosenAd, Decision, Degradation, NoBreakReason};
use super::decide::out_of_pod;
use super::eligibility::{self, Break};
use super::excluded::Excluded;
use super::reason::{NoFillReason, ReasonCounts};
use super::seed::Seed;
use super::spending::{SpendView, Spending};
use super::wording::{Scene, price_in_words, sentence};
use super::{price, sponsorship};
use crate::catalog::{LineEntry, Rank, ResolvedBreak, Snapshot};
use crate::model::{LineItemId, ListenerState, Now, Tier};

/// Most line items whose fate is told in words; the rest are in the counts.
pub const MAX_FATES: usize = 200;

/// What became of everybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The decision in one sentence.
    pub summary: String,
    /// Line items of the network, all of which were looked at.
    pub line_items: u32,
    /// How many fell for which reason; the others are in the pod.
    pub counts: ReasonCounts,
    /// The pod, then those that came closest to it; at most [`MAX_FATES`].
    pub fates: Vec<Fate>,
}

/// What became of one line item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    /// The line item.
    pub line_item_id: LineItemId,
    /// What people call it.
    pub name: String,
    /// Its tier.
    pub tier: Tier,
    /// In short.
    pub outcome: Outcome,
    /// In words.
    pub words: String,
}

/// What became of one line item, in short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// It is in the pod.
    Chosen {
        /// Its place, from 0.
        slot: u8,
    },
    /// It is not.
    Refused(NoFillReason),
}

/// A line item judged, before words are found.
struct Judged<'a> {
    entry: &'a LineEntry,
    outcome: Outcome,
    view: Option<SpendView>,
}

/// What became of every line item of the network, given the decision that the same arguments led to. Money is told as the decision read it, and
/// as it is now for line items that the decision had no need to look at.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    resolved: &ResolvedBreak,
    listener: &ListenerState,
    spending: &Spending,
    excluded: &Excluded,
    now: Now,
    seed: Seed,
    decision: &Decision,
) -> Explanation {
    let mut explanation = Explanation {
        summary: summary(snapshot, decision),
        line_items: 0,
        counts: ReasonCounts::new(),
        fates: Vec::new(),
    };
    let of = Break::new(resolved, listener, now, seed).filter(|_| decision.no_break.is_none());
    let Some(of) = of.filter(|_| resolved.request.preview.is_none()) else {
        return explanation;
    };
    let scene = Scene { snapshot, of, decision };
    let own = || snapshot.lines().filter(|entry| entry.line_item.network_id == resolved.request.network_id);
    let drawn = drawn_sponsor(snapshot, &of, own());
    let judge = Judge { scene: &scene, spending, excluded, drawn };
    let mut judged: Vec<Judged<'_>> = own().map(|entry| judge.judge(entry)).collect();
    explanation.line_items = u32::try_from(judged.len()).unwrap_or(u32::MAX);
    for one in &judged {
        if let Outcome::Refused(reason) = one.outcome {
            explanation.counts.add(reason);
        }
    }
    judged.sort_by_key(relevance);
    judged.truncate(MAX_FATES);
    explanation.fates = judged.iter().map(|one| fate(one, &scene)).collect();
    explanation
}

/// The pod in its order, then those that came furthest, the better ranked first.
fn relevance(judged: &Judged<'_>) -> (u8, u8, Reverse<NoFillReason>, Reverse<Rank>, LineItemId) {
    let (is_out, slot, reason) = match judged.outcome {
        Outcome::Chosen { slot } => (0, slot, NoFillReason::NotMatched),
        Outcome::Refused(reason) => (1, 0, reason),
    };
    (is_out, slot, Reverse(reason), Reverse(judged.entry.rank), judged.entry.line_item.id)
}

fn fate(judged: &Judged<'_>, scene: &Scene<'_>) -> Fate {
    let line_item = &judged.entry.line_item;
    let words = match judged.outcome {
        Outcome::Chosen { slot } if line_item.tier == Tier::House => format!("in slot {} of the pod", slot + 1),
        Outcome::Chosen { slot } => {
            format!("in slot {} of the pod, at {}", slot + 1, price_in_words(line_item.pricing))
        }
        Outcome::Refused(reason) => sentence(reason, judged.entry, judged.view.as_ref(), scene),
    };
    Fate {
        line_item_id: line_item.id,
        name: line_item.name.clone(),
        tier: line_item.tier,
        outcome: judged.outcome,
        words,
    }
}

/// The sponsor that the break was drawn for.
fn drawn_sponsor<'a>(
    snapshot: &Snapshot,
    of: &Break<'_>,
    entries: impl Iterator<Item = &'a LineEntry>,
) -> Option<LineItemId> {
    let matches = |entry: &&LineEntry| snapshot.matches(entry.slot, of.resolved);
    let mut sponsors: Vec<&LineEntry> = entries
        .filter(|entry| entry.rank.tier == Tier::Sponsorship)
        .filter(matches)
        .filter(|entry| eligibility::runs(entry, of).is_ok())
        .collect();
    sponsors.sort_unstable_by_key(|entry| entry.line_item.id);
    let shares = sponsors.iter().map(|entry| sponsorship::share(&entry.line_item));
    Some(sponsors[sponsorship::draw(shares, of.seed)?].line_item.id)
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    spending: &'a Spending,
    excluded: &'a Excluded,
    drawn: Option<LineItemId>,
}

impl Judge<'_> {
    fn judge<'e>(&self, entry: &'e LineEntry) -> Judged<'e> {
        let ads = &self.scene.decision.ads;
        if let Some(place) = ads.iter().position(|ad| ad.line_item_id == entry.line_item.id) {
            let slot = u8::try_from(place).expect("a pod has at most sixteen ads");
            return Judged { entry, outcome: Outcome::Chosen { slot }, view: None };
        }
        let mut view = None;
        let reason = self.refusal(entry, &mut view);
        Judged { entry, outcome: Outcome::Refused(reason), view }
    }

    /// The tests of `decide`, in its order.
    fn refusal(&self, entry: &LineEntry, view: &mut Option<SpendView>) -> NoFillReason {
        let Scene { snapshot, of, decision } = self.scene;
        let line_item = &*entry.line_item;
        if !snapshot.matches(entry.slot, of.resolved) {
            return NoFillReason::NotMatched;
        }
        if let Err(reason) = eligibility::runs(entry, of) {
            return reason;
        }
        if line_item.tier == Tier::Sponsorship && self.drawn != Some(line_item.id) {
            return NoFillReason::SponsorNotDrawn;
        }
        if let Err(reason) = eligibility::strict_caps_kept(entry, self.excluded) {
            return reason;
        }
        let Ok(creative) = eligibility::choose_creative(entry, of) else {
            return NoFillReason::Capped;
        };
        if !price::meets_floor(line_item, of.floor_cpm) {
            return NoFillReason::BelowFloor;
        }
        if self.excluded.contains(line_item.id) {
            return NoFillReason::DrawFailed;
        }
        let recorded = decision.read_of(line_item.id);
        let read = recorded.unwrap_or_else(|| self.spending.read(entry.slot, of.now));
        *view = Some(read);
        match eligibility::pays(entry, &read, of.seed) {
            Err(reason) => reason,
            Ok(billing) => self.out_of_pod(&eligibility::chosen(entry, creative, billing), recorded.is_some()),
        }
    }

    /// Why an ad that could have played did not.
    fn out_of_pod(&self, ad: &ChosenAd, was_weighed: bool) -> NoFillReason {
        let Scene { snapshot, decision, .. } = self.scene;
        match out_of_pod(snapshot, ad, &decision.ads) {
            Some(NoFillReason::Outranked) | None
                if !was_weighed && decision.degradation == Degradation::SearchLimited =>
            {
                NoFillReason::BeyondLimit
            }
            Some(reason) => reason,
            None => NoFillReason::Outranked,
        }
    }
}

/// A decision in one sentence.
#[must_use]
pub fn summary(snapshot: &Snapshot, decision: &Decision) -> String {
    match decision.no_break {
        Some(NoBreakReason::Premium) => return "no break: the listener pays not to hear ads".to_owned(),
        Some(NoBreakReason::Cadence { due_in_ms }) => {
            return format!("no break: the next is due in {due_in_ms} ms");
        }
        Some(NoBreakReason::UnknownPlacement) => return "no break: the network has no such placement".to_owned(),
        None => {}
    }
    if decision.ads.is_empty() {
        let most = decision.reasons.iter().max_by_key(|&(reason, count)| (count, Reverse(reason)));
        return most.map_or_else(
            || "no ads: no line item matches".to_owned(),
            |(reason, count)| format!("no ads: of {} candidates {count} {}", decision.considered, reason.name()),
        );
    }
    let ads: Vec<String> = decision.ads.iter().map(|ad| ad_in_words(snapshot, ad)).collect();
    let seconds = decision.ads.iter().map(|ad| ad.duration_ms).sum::<u32>().div_ceil(1_000);
    format!("{} in {seconds} s, of {} candidates", ads.join(", then "), decision.considered)
}

fn ad_in_words(snapshot: &Snapshot, ad: &ChosenAd) -> String {
    let entry = snapshot.get(ad.slot);
    let name = entry.map_or("a line item", |entry| entry.line_item.name.as_str());
    match entry.filter(|_| ad.billing != Billing::None) {
        Some(entry) => format!("{name} ({})", price_in_words(entry.line_item.pricing)),
        None => format!("{name} (free)"),
    }
}
