//! Ends counted: how often a line item ended how, with what belongs to it, in words that name nobody else.

use std::collections::BTreeMap;

use super::super::mismatch::list;
use super::super::reason::NoFillReason;
use super::super::wording::cpm;
use super::blame::{Blame, Misfit};
use super::scope_name;
use crate::caps::CapHit;
use crate::catalog::{LineEntry, Rank};
use crate::model::{CapScope, CapWindow, FrequencyCap, Micros, Strictness, Tier};

/// Most different values that are counted of what requests have instead of what is wanted.
const SEEN_MAX: usize = 64;
/// Most of them that are told.
const SEEN_TOLD: usize = 5;

/// An end, with all that makes it another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Chosen,
    NotMatched(Blame),
    Capped { scope: CapScope, max: u16, window: CapWindow },
    Refused(NoFillReason),
    ChangedSince,
    NotRemembered,
}

/// What was counted of an end.
#[derive(Default)]
pub(super) struct Count {
    samples: u32,
    breaks: u64,
    breaks_sole: u64,
    breaks_unknown: u64,
    breaks_without_consent: u64,
    seen: BTreeMap<String, u64>,
    /// How far below the lowest of its own tier, in micros of an impression, break by break.
    gaps: Vec<i64>,
    by_higher_tier: u32,
}

/// One end and how often it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// Its stable name: `chosen`, `changed_since`, `not_remembered`, or a [`NoFillReason`]'s.
    pub reason: &'static str,
    /// Not matched: the condition in the way, as targeting names it, `not` before one that excludes, `or` between alternatives none of which holds. Capped:
    /// what the cap counts.
    pub predicate: Option<String>,
    /// Breaks sampled.
    pub samples: u32,
    /// Breaks that they stand for.
    pub breaks: u64,
    /// Share of all breaks, in basis points.
    pub share: u32,
    /// Not matched: breaks in which nothing else is in the way.
    pub breaks_sole: Option<u64>,
    /// Not matched: breaks whose listener did not allow what is asked for to be known.
    pub breaks_without_consent: Option<u64>,
    /// Outranked: by how much.
    pub outranked_by: Option<OutrankedBy>,
    /// All of it in words.
    pub words: String,
}

/// By how much a line item was outranked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutrankedBy {
    /// Median of the lowest price of its own tier in the pod less its own, as CPM; none where no break was lost on price.
    pub median_micros_cpm: Option<Micros>,
    /// Breaks sampled that were lost on price.
    pub samples_by_price: u32,
    /// Those whose pods were full of higher tiers.
    pub samples_by_tier: u32,
}

impl Count {
    pub(super) fn add(&mut self, breaks: u64, misfit: Option<Misfit>) {
        self.samples += 1;
        self.breaks = self.breaks.saturating_add(breaks);
        let Some(misfit) = misfit else { return };
        let add = |is_so: bool, to: &mut u64| *to = to.saturating_add(if is_so { breaks } else { 0 });
        add(misfit.is_sole, &mut self.breaks_sole);
        add(misfit.is_unknown, &mut self.breaks_unknown);
        add(misfit.lacks_consent, &mut self.breaks_without_consent);
        if let Some(seen) = misfit.seen
            && (self.seen.len() < SEEN_MAX || self.seen.contains_key(&seen))
        {
            *self.seen.entry(seen).or_default() += breaks;
        }
    }

    /// It was outranked by a pod of these tiers and worths.
    pub(super) fn outranked(&mut self, own: Rank, pod: &[(Tier, Micros)]) {
        let same = pod.iter().filter(|(tier, _)| *tier == own.tier).map(|(_, worth)| worth.0).min();
        match same.map(|lowest| lowest.saturating_sub(own.worth.0)) {
            Some(gap) if gap > 0 => self.gaps.push(gap),
            Some(_) => {}
            None => self.by_higher_tier += 1,
        }
    }

    pub(super) fn into_cause(mut self, key: Key, entry: &LineEntry, all: u64) -> Cause {
        let is_misfit = matches!(key, Key::NotMatched(_));
        let outranked_by = (key == Key::Refused(NoFillReason::Outranked)).then(|| self.outranked_by());
        let predicate = match &key {
            Key::NotMatched(blame) => predicate(blame),
            Key::Capped { scope, .. } => Some(scope_name(*scope).to_owned()),
            Key::Chosen | Key::Refused(_) | Key::ChangedSince | Key::NotRemembered => None,
        };
        let (reason, words) = match key {
            Key::Chosen => ("chosen", "it was in the pod".to_owned()),
            Key::NotMatched(blame) => (NoFillReason::NotMatched.name(), self.misfit_in_words(&blame)),
            Key::Capped { scope, max, window } => (NoFillReason::Capped.name(), capped(scope, max, window)),
            Key::Refused(reason) => (reason.name(), refused(reason, entry, outranked_by)),
            Key::ChangedSince => {
                ("changed_since", "it was changed since these breaks: they say nothing of it as it is now".to_owned())
            }
            Key::NotRemembered => {
                ("not_remembered", "more line items were eligible than are remembered of a break".to_owned())
            }
        };
        Cause {
            reason,
            predicate,
            samples: self.samples,
            breaks: self.breaks,
            share: basis_points(self.breaks, all),
            breaks_sole: is_misfit.then_some(self.breaks_sole),
            breaks_without_consent: is_misfit.then_some(self.breaks_without_consent),
            outranked_by,
            words,
        }
    }

    fn outranked_by(&mut self) -> OutrankedBy {
        let samples_by_price = u32::try_from(self.gaps.len()).unwrap_or(u32::MAX);
        let middle = self.gaps.len() / 2;
        let median = (samples_by_price > 0).then(|| *self.gaps.select_nth_unstable(middle).1);
        let median_micros_cpm = median.map(|gap| Micros(gap.saturating_mul(1_000)));
        OutrankedBy { median_micros_cpm, samples_by_price, samples_by_tier: self.by_higher_tier }
    }

    fn misfit_in_words(&self, blame: &Blame) -> String {
        if blame.subjects.is_empty() {
            return "its targeting lets nobody in".to_owned();
        }
        let (subjects, values) = (blame.subjects.join(" or ").replace('_', " "), &blame.values);
        let mut words = match (blame.is_excluded, values.is_empty()) {
            (true, true) => format!("excluded by {subjects}"),
            (true, false) => format!("excluded by {subjects}: it does not want {values}"),
            (false, true) => format!("{subjects} is outside what it wants"),
            (false, false) => format!("{subjects} is not what it wants, {values}"),
        };
        let mut seen: Vec<(&String, &u64)> = self.seen.iter().collect();
        seen.sort_by(|one, other| (other.1, one.0).cmp(&(one.1, other.0)));
        seen.truncate(SEEN_TOLD);
        if !seen.is_empty() {
            let values: Vec<&str> = seen.iter().map(|(value, _)| value.as_str()).collect();
            words = format!("{words}; there was {}", list(&values));
        }
        if self.breaks_unknown > 0 {
            words = format!("{words}; in {} % of them it is not known", percent(self.breaks_unknown, self.breaks));
        }
        if self.breaks_without_consent > 0 {
            let share = percent(self.breaks_without_consent, self.breaks);
            words = format!("{words}; in {share} % of them the listener gave no consent to it");
        }
        words
    }
}

/// None where nobody at all is let in.
fn predicate(blame: &Blame) -> Option<String> {
    let subjects = blame.subjects.join(" or ");
    let named = if blame.is_excluded { format!("not {subjects}") } else { subjects };
    (!blame.subjects.is_empty()).then_some(named)
}

fn capped(scope: CapScope, max: u16, window: CapWindow) -> String {
    let cap = FrequencyCap { scope, max, window, strictness: Strictness::Soft };
    let hit = CapHit { cap, count: u32::from(max) };
    format!("the listener had heard {hit}")
}

fn refused(reason: NoFillReason, entry: &LineEntry, outranked_by: Option<OutrankedBy>) -> String {
    let category = entry.line_item.category.as_deref().unwrap_or("what it advertises");
    let words = match reason {
        NoFillReason::NotMatched => "the break is outside its targeting",
        NoFillReason::AvoidsExplicit => "it avoids explicit content, and what played was explicit",
        NoFillReason::AvoidsContentCategory => "it avoids a content category of what played",
        NoFillReason::AvoidsGenre => "it avoids a genre of what played",
        NoFillReason::NotForChildren => {
            return format!("the listener was a child, and {category} is not advertised to children");
        }
        NoFillReason::Paused => "it, its campaign or its advertiser is paused",
        NoFillReason::FlightNotStarted => "its flight had not begun",
        NoFillReason::FlightEnded => "its flight was over",
        NoFillReason::NoServableCreative => "none of its creatives is active and approved",
        NoFillReason::OnlyExplicitCreatives => "the listener was a child, and its creatives are explicit",
        NoFillReason::NoPlayableFormat => "the player plays none of the encodings of its creatives",
        NoFillReason::TooLong => "its shortest creative is longer than the break",
        NoFillReason::HeardInLastBreak => "its creatives were heard in the listener's break before",
        NoFillReason::SponsorNotDrawn => "its share of voice did not draw the break",
        NoFillReason::StrictCapInSession => {
            "it has a strict cap, which can't be kept for a listener of whom nothing may be stored"
        }
        NoFillReason::StrictCapUnsure => "it has a strict cap, and the listener's state could not be had",
        NoFillReason::Capped => "a frequency cap was reached",
        NoFillReason::BelowFloor => {
            return format!("its price, {}, is below the floor", cpm(entry.rank.expected_cpm()));
        }
        NoFillReason::DrawFailed => "its lease ran out while the break was decided",
        NoFillReason::PausedJustNow => "it had been paused a moment before",
        NoFillReason::Throttled => "it was held back, to spread its delivery over the flight",
        NoFillReason::NoLease => "the server that decided held no lease of its budget",
        NoFillReason::LeaseSpent => "the lease of its budget was spent",
        NoFillReason::LeaseOutOfOrdinals => "its lease had no impressions left",
        NoFillReason::SameAdvertiser => "another ad of the same advertiser was in the pod",
        NoFillReason::CategorySeparation => {
            return format!("an ad that competes with {category} was in the pod");
        }
        NoFillReason::Outranked => return outranked(outranked_by),
        NoFillReason::BeyondLimit => "more candidates than a decision may weigh were ahead of it",
        NoFillReason::PreviewNotFound => "an operator listened to something else",
    };
    words.to_owned()
}

fn outranked(by: Option<OutrankedBy>) -> String {
    match by {
        Some(OutrankedBy { median_micros_cpm: Some(gap), .. }) => {
            format!("the pod was filled by ads that pay more: the lowest of them by {} in the middle", cpm(gap))
        }
        Some(OutrankedBy { samples_by_tier, .. }) if samples_by_tier > 0 => {
            "the pod was filled by ads of a higher priority".to_owned()
        }
        Some(_) | None => {
            "the pod was worth more without it: it had no room for its length, or its lot was lower".to_owned()
        }
    }
}

/// A share in ten-thousandths, rounded down; nothing of nothing.
pub(super) fn basis_points(part: u64, whole: u64) -> u32 {
    let share = u128::from(part) * 10_000 / u128::from(whole.max(1));
    u32::try_from(share.min(10_000)).unwrap_or(10_000)
}

/// A share as people read it: `2.5`, or `0.01`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = basis_points(part, whole);
    let text = format!("{}.{:02}", share / 100, share % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
