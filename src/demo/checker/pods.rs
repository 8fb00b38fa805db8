//! Pods and listeners' histories: what may stand together, and how often one listener may hear the same.

use std::collections::BTreeMap;

use super::log::{AdLogged, LogSummary};
use super::{Findings, Rules};
use crate::demo::evidence::{AdSeen, BreakSeen, Evidence};
use crate::model::{CapScope, CapWindow, CreativeId, FrequencyCap, LineItem, Strictness, WallMs};

/// A break with the moment of its decision: exact where the log tells it, else between request and answer.
struct Placed<'a> {
    seen: &'a BreakSeen,
    earliest: WallMs,
    latest: WallMs,
}

/// An ad of an earlier break that was heard.
struct Heard<'a> {
    ad: &'a AdSeen,
    /// Not decided before this.
    earliest: WallMs,
    /// Acknowledged then.
    acknowledged: WallMs,
    /// Whether a later break, or the player, gave it up.
    given_up: bool,
}

/// Checks every break, listener by listener.
pub(super) fn check(rules: &Rules, evidence: &Evidence, log: &LogSummary, findings: &mut Findings) {
    let mut by_listener: BTreeMap<u32, Vec<Placed<'_>>> = BTreeMap::new();
    for seen in &evidence.breaks {
        check_pod(rules, seen, findings);
        let (earliest, latest) = match log.decided_at(seen.decision_id) {
            Some(at) => (at, at),
            None => (seen.sent, seen.answered),
        };
        if earliest < seen.sent || latest > seen.answered {
            findings.add("time", || format!("break {} was decided outside its request", seen.decision_id));
        }
        by_listener.entry(seen.listener).or_default().push(Placed { seen, earliest, latest });
    }
    for (listener, mut breaks) in by_listener {
        breaks.sort_by_key(|placed| (placed.earliest, placed.latest));
        let name = evidence.listeners.get(listener as usize).map_or("", String::as_str);
        check_history(rules, log, name, &breaks, findings);
    }
}

/// One pod by itself: it fits, and nobody in it competes.
fn check_pod(rules: &Rules, seen: &BreakSeen, findings: &mut Findings) {
    let total_ms: u64 = seen.ads.iter().map(|ad| u64::from(ad.duration_ms)).sum();
    if total_ms > u64::from(seen.max_duration_ms.min(rules.pod_max_ms)) {
        findings.add("duration", || format!("break {} lasts {total_ms} ms", seen.decision_id));
    }
    if seen.ads.len() > usize::from(seen.max_ads.min(rules.pod_max_ads)) {
        findings.add("too_many_ads", || format!("break {} has {} ads", seen.decision_id, seen.ads.len()));
    }
    for (place, ad) in seen.ads.iter().enumerate() {
        for other in &seen.ads[..place] {
            if let Some(why) = competes(rules, ad, other) {
                findings.add("separation", || format!("break {}: two ads {why}", seen.decision_id));
            }
        }
    }
}

/// Why two ads may not be in one pod.
fn competes(rules: &Rules, one: &AdSeen, other: &AdSeen) -> Option<String> {
    if one.advertiser_id == other.advertiser_id {
        return Some(format!("of advertiser {}", one.advertiser_id));
    }
    if one.creative_id == other.creative_id {
        return Some(format!("with creative {}", one.creative_id));
    }
    let (one, other) = (rules.item(one.line_item_id)?, rules.item(other.line_item_id)?);
    let category = |item: &LineItem| item.category.clone();
    if category(one).is_some() && category(one) == category(other) {
        return Some(format!("of category {:?}", one.category));
    }
    let excludes = |item: &LineItem, competitor: &LineItem| {
        competitor.category.as_ref().is_some_and(|category| item.excluded_categories.contains(category))
    };
    (excludes(one, other) || excludes(other, one)).then(|| format!("{:?} and {:?}", one.category, other.category))
}

/// A listener's breaks in order: no creative of the break before, and no cap passed.
fn check_history(rules: &Rules, log: &LogSummary, listener: &str, breaks: &[Placed<'_>], findings: &mut Findings) {
    let longest_ms = rules.longest_window_ms();
    let mut heard: Vec<Heard<'_>> = Vec::new();
    let mut before: Option<&Placed<'_>> = None;
    let mut empty_until = None;
    for placed in breaks {
        // Two devices may have asked at the same moment; then nobody can say which break was before the other.
        if let Some(before) = before.filter(|before| before.latest < placed.earliest) {
            let earlier: Vec<CreativeId> = before.seen.ads.iter().map(|ad| ad.creative_id).collect();
            for ad in placed.seen.ads.iter().filter(|ad| earlier.contains(&ad.creative_id)) {
                findings.add("separation", || {
                    format!(
                        "break {}: creative {} was in {listener}'s break before",
                        placed.seen.decision_id, ad.creative_id
                    )
                });
            }
        }
        heard.retain(|one| placed.latest.since(one.earliest) < longest_ms);
        check_caps(rules, listener, placed, &heard, findings);
        if placed.seen.ads.is_empty() {
            (before, empty_until) = (None, Some(placed.latest));
        } else {
            // Of an empty break at the same moment nobody can say whether it came after this one.
            before = Some(placed).filter(|placed| empty_until.is_none_or(|until| until < placed.earliest));
        }
        heard.extend(placed.seen.ads.iter().filter_map(|ad| {
            // What was told too late was dropped from the listener's history before.
            let given_up = log.ad(placed.seen.decision_id, ad.creative_id).is_some_and(AdLogged::was_given_up);
            let (_, acknowledged) = ad.heard.filter(|&(_, at)| at <= ad.expires_at)?;
            Some(Heard { ad, earliest: placed.earliest, acknowledged, given_up })
        }));
    }
}

fn check_caps(rules: &Rules, listener: &str, placed: &Placed<'_>, heard: &[Heard<'_>], findings: &mut Findings) {
    for (slot, ad) in placed.seen.ads.iter().enumerate() {
        let Some(item) = rules.item(ad.line_item_id) else { continue };
        for cap in rules.caps_of(item) {
            let in_pod = placed.seen.ads[..slot].iter().filter(|other| counts(rules, &cap, item, ad, other)).count();
            let earlier = match cap.window {
                CapWindow::Pod => 0,
                CapWindow::Sliding(window_ms) => {
                    let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX);
                    // A soft cap counts what was heard before this break was asked for, and not what a later break gave up while it was still
                    // unplayed (a second device, say), although that is billed when heard all the same. A strict cap counts whatever was
                    // decided before and heard at any time, on whatever device.
                    let is_counted = |one: &Heard<'_>| {
                        cap.strictness == Strictness::Strict || (one.acknowledged <= placed.seen.sent && !one.given_up)
                    };
                    let surely_in_it = |one: &&Heard<'_>| {
                        is_counted(one)
                            && placed.latest.since(one.earliest) < window_ms
                            && counts(rules, &cap, item, ad, one.ad)
                    };
                    heard.iter().filter(surely_in_it).count()
                }
            };
            let total = in_pod + earlier + 1;
            if total > usize::from(cap.max) {
                findings.add("cap", || {
                    format!(
                        "break {}: {listener} hears {} {total} times under {cap:?}",
                        placed.seen.decision_id, item.name
                    )
                });
            }
        }
    }
}

/// Whether another ad counts towards the cap of this one.
fn counts(rules: &Rules, cap: &FrequencyCap, item: &LineItem, ad: &AdSeen, other: &AdSeen) -> bool {
    match cap.scope {
        CapScope::Creative => other.line_item_id == item.id && other.creative_id == ad.creative_id,
        CapScope::LineItem => other.line_item_id == item.id,
        CapScope::Campaign => rules.item(other.line_item_id).is_some_and(|other| other.campaign_id == item.campaign_id),
        CapScope::Advertiser => other.advertiser_id == item.advertiser_id,
    }
}
