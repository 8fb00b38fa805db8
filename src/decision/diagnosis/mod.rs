//! Why one line item does not deliver: the facts that keep it from delivering at all, and how it ended in breaks that were sampled.
//!
//! **What is of when.** A [`SampledBreak`] remembers how each line item ended that was eligible when it was decided: in the pod, held back by its throttle,
//! without a lease, outranked. That is of the break. Everything before it, targeting, suitability, flight, creatives, caps and floor, is judged again when
//! somebody asks, by the tests that `decide` uses, of the line item *as it is in the catalogue now* against the request and the listener *as they were*.
//! Where the two contradict each other, because the line item was changed since, that is an end of its own: `changed_since`.
//!
//! **What it costs.** A sample costs what its survey found, once, off the path of requests. An answer costs one pass over the breaks remembered, for one
//! line item: nothing is counted for line items that nobody asks about. Shares are of the sample: breaks of senders that are no listeners, and of apps and
//! addresses that get house ads only, are in none.

mod blame;
mod cause;
mod sampled;
#[cfg(test)]
pub(crate) mod samples;
mod standing;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::blame::{Misfit, misfit};
use self::cause::{Count, Key};
use self::sampled::End;
use super::eligibility::{self, Break};
use super::price;
use super::reason::NoFillReason;
use crate::catalog::{LineEntry, Snapshot};
use crate::model::{AdBreakRequest, CapScope, LineItemId, Tier, WallMs};
use crate::targeting::naive;

pub use cause::{Cause, OutrankedBy};
pub use sampled::{ENDS_MAX, SampledBreak};
pub use standing::{Blocker, Level, LevelMoney, Standing, blockers};
pub use verdict::{Unseen, Verdict, verdict};

/// How a line item ended in the breaks sampled.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Breaks sampled in which ads were due.
    pub samples: u32,
    /// Breaks that these stand for.
    pub breaks: u64,
    /// Breaks, likewise, in which none were: too soon after the one before, a listener who pays, an unknown placement.
    pub breaks_not_due: u64,
    /// When the first and the last of all of them were decided.
    pub span: Option<(WallMs, WallMs)>,
    /// Breaks, likewise, that its targeting matches.
    pub breaks_matched: u64,
    /// Of these, the sampled ones.
    pub samples_matched: u32,
    /// Every end, the most frequent first.
    pub causes: Vec<Cause>,
}

/// Who would match: a share of the sample, and examples of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Matches {
    /// Breaks sampled.
    pub samples: u32,
    /// Breaks that these stand for.
    pub breaks: u64,
    /// Of the samples, those that match.
    pub samples_matched: u32,
    /// Of the breaks, those that match.
    pub breaks_matched: u64,
    /// When the first and the last were decided.
    pub span: Option<(WallMs, WallMs)>,
    /// The newest that match.
    pub examples: Vec<Example>,
}

/// A break that matches, as far as may be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Example {
    /// Country.
    pub country: Option<String>,
    /// Platform.
    pub platform: Option<String>,
    /// Hour of the day, UTC.
    pub hour: u8,
    /// Genres of what plays.
    pub genres: Vec<String>,
    /// The placement.
    pub placement: String,
}

/// How the line item ended in these breaks, which are of its network and in order of time. None where the snapshot doesn't have it.
#[must_use]
pub fn tally(snapshot: &Snapshot, id: LineItemId, sampled: &[Arc<SampledBreak>]) -> Option<Tally> {
    let entry = snapshot.line_item(id)?;
    let mut tally = Tally { span: span(sampled), ..Tally::default() };
    let mut counts: BTreeMap<Key, Count> = BTreeMap::new();
    for one in sampled {
        if one.no_break.is_some() {
            tally.breaks_not_due = tally.breaks_not_due.saturating_add(one.stands_for);
            continue;
        }
        let (key, misfit) = judge(snapshot, entry, one);
        tally.samples += 1;
        tally.breaks = tally.breaks.saturating_add(one.stands_for);
        if misfit.is_none() {
            tally.samples_matched += 1;
            tally.breaks_matched = tally.breaks_matched.saturating_add(one.stands_for);
        }
        let count = counts.entry(key.clone()).or_default();
        count.add(one.stands_for, misfit);
        if key == Key::Refused(NoFillReason::Outranked) {
            count.outranked(entry.rank, &one.pod);
        }
    }
    let breaks = tally.breaks;
    tally.causes = counts.into_iter().map(|(key, count)| count.into_cause(key, entry, breaks)).collect();
    tally.causes.sort_by(|one, other| (other.breaks, &one.reason).cmp(&(one.breaks, &other.reason)));
    Some(tally)
}

/// Which of these breaks the line item's targeting matches, with at most `limit` examples, the newest first. None where the snapshot doesn't have it.
#[must_use]
pub fn matches(snapshot: &Snapshot, id: LineItemId, sampled: &[Arc<SampledBreak>], limit: usize) -> Option<Matches> {
    let entry = snapshot.line_item(id)?;
    let mut found = Matches { span: span(sampled), ..Matches::default() };
    for one in sampled.iter().rev() {
        found.samples += 1;
        found.breaks = found.breaks.saturating_add(one.stands_for);
        if !is_matched(entry, one) {
            continue;
        }
        found.samples_matched += 1;
        found.breaks_matched = found.breaks_matched.saturating_add(one.stands_for);
        if found.examples.len() < limit {
            found.examples.push(example(&one.request, one.now.wall));
        }
    }
    Some(found)
}

fn span(sampled: &[Arc<SampledBreak>]) -> Option<(WallMs, WallMs)> {
    let times = || sampled.iter().map(|one| one.now.wall);
    times().min().zip(times().max())
}

fn example(request: &AdBreakRequest, at: WallMs) -> Example {
    Example {
        country: request.facts.country.clone(),
        platform: request.facts.platform.clone(),
        hour: crate::model::Zone::utc().hour_of_week(at) % 24,
        genres: request.facts.genres.clone(),
        placement: request.placement.as_str().to_owned(),
    }
}

fn is_matched(entry: &LineEntry, one: &SampledBreak) -> bool {
    let line_item = &*entry.line_item;
    naive::matches(&line_item.targeting, &one.request, &line_item.flight.zone, one.now.wall)
}

/// How the line item ended in one break; and what its targeting misses, where it does.
fn judge(snapshot: &Snapshot, entry: &LineEntry, one: &SampledBreak) -> (Key, Option<Misfit>) {
    let end = one.end(entry.slot);
    if end == Some(End::InPod) {
        // What was in the pod was, whatever was changed since; but a survey leaves out nobody for a strict cap that can't be kept.
        let kept = eligibility::strict_caps_kept(entry, &one.excluded);
        return (kept.map_or_else(Key::Refused, |()| Key::Chosen), None);
    }
    let line_item = &*entry.line_item;
    if !is_matched(entry, one) {
        let misfit = misfit(&line_item.targeting, &one.request, &line_item.flight.zone, one.now.wall);
        return (Key::NotMatched(misfit.blame.clone()), Some(misfit));
    }
    let resolved = snapshot.resolve(&one.request, one.now);
    let Some(of) = Break::new(&resolved, &one.known, one.now, one.seed) else {
        // The placement is gone meanwhile.
        return (Key::ChangedSince, None);
    };
    let key = match before_money(entry, one, &of) {
        Err(key) => key,
        Ok(()) => match end {
            Some(End::Refused(reason)) => Key::Refused(reason),
            Some(End::InPod) => Key::Chosen,
            None if one.is_cut => Key::NotRemembered,
            // Of sponsors only the one that is drawn is looked at further.
            None if line_item.tier == Tier::Sponsorship => Key::Refused(NoFillReason::SponsorNotDrawn),
            None => Key::ChangedSince,
        },
    };
    (key, None)
}

/// The tests of a decision before throttle and money, in its order.
fn before_money(entry: &LineEntry, one: &SampledBreak, of: &Break<'_>) -> Result<(), Key> {
    eligibility::runs(entry, of).map_err(Key::Refused)?;
    eligibility::strict_caps_kept(entry, &one.excluded).map_err(Key::Refused)?;
    eligibility::choose_creative(entry, of).map_err(|hit| Key::Capped {
        scope: hit.cap.scope,
        max: hit.cap.max,
        window: hit.cap.window,
    })?;
    if price::meets_floor(&entry.line_item, of.floor_cpm) {
        Ok(())
    } else {
        Err(Key::Refused(NoFillReason::BelowFloor))
    }
}

/// A scope's name in caps of the API.
pub(super) const fn scope_name(scope: CapScope) -> &'static str {
    match scope {
        CapScope::Creative => "creative",
        CapScope::LineItem => "line_item",
        CapScope::Campaign => "campaign",
        CapScope::Advertiser => "advertiser",
    }
}
