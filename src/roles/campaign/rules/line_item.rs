//! Rules for line items.

use std::collections::BTreeSet;

use super::creative::{Loopback, url};
use super::{CapOwner, budget, caps, living_parent, name};
use crate::catalog::Rank;
use crate::model::{Budget, LineItem, Micros, PacingMode, PriceModel, Tier};
use crate::roles::campaign::{Faults, View};
use crate::targeting::syntax;

/// Longest flight: ten years of 366 days.
pub const FLIGHT_MS_MAX: i64 = 10 * 366 * 86_400_000;
/// Highest price: 10^12 micros, a million units for 1,000 impressions or one click.
pub const PRICE_MICROS_MAX: i64 = 1_000_000_000_000;
/// A price for 1,000 impressions is a multiple of this many micros, so that one impression costs whole micros.
const CPM_STEP_MICROS: i64 = 1_000;
/// Most creatives that a line item rotates.
pub const CREATIVES_PER_LINE_ITEM_MAX: usize = 100;
/// Most third-party trackers: each is a request that a listener's phone makes.
pub const TRACKERS_MAX: usize = 11;
/// Most entries in each list of categories or genres.
pub const CATEGORIES_MAX: usize = 100;
/// Longest category or genre in characters.
pub const WORD_CHARS_MAX: usize = 100;
/// Largest goal: 10^12 impressions.
const GOAL_MAX: u64 = 1_000_000_000_000;

pub(super) fn check(view: View<'_>, line_item: &LineItem, faults: &mut Faults) {
    name("name", &line_item.name, faults);
    check_parents(view, line_item, faults);
    check_flight(line_item, faults);
    check_price(view, line_item, faults);
    check_promise(line_item, faults);
    budget(line_item.budget, faults);
    caps(&line_item.caps, CapOwner::LineItem, faults);
    check_targeting(line_item, faults);
    check_words(line_item, faults);
    check_creatives(view, line_item, faults);
    check_trackers(line_item, faults);
}

fn check_parents(view: View<'_>, line_item: &LineItem, faults: &mut Faults) {
    let campaign = view.campaign(line_item.campaign_id).filter(|campaign| {
        campaign.network_id == line_item.network_id && campaign.advertiser_id == line_item.advertiser_id
    });
    match campaign {
        None => faults.add("campaign_id", "not_found", "there is no such entity"),
        Some(campaign) => {
            living_parent("campaign_id", campaign.status, line_item.status, faults);
            if let Some(advertiser) = view.advertiser(campaign.advertiser_id) {
                living_parent("advertiser_id", advertiser.status, line_item.status, faults);
            }
        }
    }
}

fn check_flight(line_item: &LineItem, faults: &mut Faults) {
    let flight = &line_item.flight;
    if flight.end <= flight.start {
        faults.add("flight.end", "before_start", "a flight ends after its start");
    } else if flight.end.since(flight.start) > FLIGHT_MS_MAX {
        faults.add("flight.end", "too_long", "a flight lasts at most ten years");
    }
}

fn check_price(view: View<'_>, line_item: &LineItem, faults: &mut Faults) {
    const AMOUNT: &str = "pricing.amount_micros";
    let amount = line_item.pricing.amount;
    if amount.0 < 0 {
        faults.add(AMOUNT, "too_small", "a price is at least 0 micros");
        return;
    }
    if amount.0 > PRICE_MICROS_MAX {
        faults.add(AMOUNT, "too_large", format!("a price is at most {PRICE_MICROS_MAX} micros"));
        return;
    }
    if line_item.tier == Tier::House {
        if amount != Micros::ZERO {
            faults.add(AMOUNT, "house_is_free", "a house line item is never billed: its price is 0");
        }
        return;
    }
    if amount == Micros::ZERO {
        faults.add(AMOUNT, "too_small", "a paid line item has a price above 0; the house tier is free");
    }
    match line_item.pricing.model {
        PriceModel::Cpm | PriceModel::Cpcl => price_whole(AMOUNT, amount, faults),
        PriceModel::Cpc => {}
        PriceModel::Flat if line_item.tier == Tier::Auction => {
            faults.add("pricing.model", "wrong_tier", "an auction is for impressions, completed listens or clicks");
        }
        PriceModel::Flat => {
            if line_item.budget.lifetime.is_some_and(|budget| budget < amount) {
                let message = "the fee is owed at once: a budget below it could never serve";
                faults.add("budget.lifetime_micros", "below_price", message);
            }
            if line_item.budget.daily.is_some() {
                faults.add("budget.daily_micros", "not_with_flat", "a flat fee is owed at once, not day by day");
            }
        }
    }
    // A bid below the floor can never serve; where a placement's floor is higher, the bid serves elsewhere.
    if line_item.tier == Tier::Auction
        && let Some(network) = view.network(line_item.network_id)
        && Rank::of(line_item).expected_cpm() < network.floor_cpm
    {
        let message = "what an impression is expected to bring is below the network's floor: it could never serve";
        faults.add(AMOUNT, "below_floor", message);
    }
}

/// A price for 1,000 makes one cost whole micros.
pub(super) fn price_whole(path: &str, price: Micros, faults: &mut Faults) {
    if price.0 % CPM_STEP_MICROS != 0 {
        let message = "a price for 1000 impressions is a multiple of 1000 micros, so that one costs whole micros";
        faults.add(path, "price_not_whole_micros", message);
    }
    if price.0 > PRICE_MICROS_MAX {
        faults.add(path, "too_large", format!("a price is at most {PRICE_MICROS_MAX} micros"));
    }
}

/// Each tier promises what it is for, and nothing else.
fn check_promise(line_item: &LineItem, faults: &mut Faults) {
    let tier = line_item.tier;
    match (&line_item.goal, tier == Tier::Guaranteed) {
        (None, true) => faults.add("goal", "required", "a guaranteed line item has a goal"),
        (Some(_), false) => faults.add("goal", "wrong_tier", "only a guaranteed line item has a goal"),
        (Some(goal), true) => {
            if !(1..=GOAL_MAX).contains(&goal.impressions) {
                faults.add("goal.impressions", "out_of_range", format!("1 to {GOAL_MAX} impressions"));
            }
            if goal.daily_impressions.is_some_and(|daily| !(1..=goal.impressions).contains(&daily)) {
                let message = "1 impression a day up to all of the goal";
                faults.add("goal.daily_impressions", "out_of_range", message);
            }
        }
        (None, false) => {}
    }
    match (line_item.share_of_voice, tier == Tier::Sponsorship) {
        (None, true) => faults.add("share_of_voice", "required", "a sponsorship has a share of voice"),
        (Some(_), false) => faults.add("share_of_voice", "wrong_tier", "only a sponsorship has a share of voice"),
        (Some(share), true) if !(1..=10_000).contains(&share.basis_points) => {
            faults.add("share_of_voice.basis_points", "out_of_range", "1 to 10000 (100 %)");
        }
        (Some(_), true) | (None, false) => {}
    }
    match &line_item.pacing {
        PacingMode::Even | PacingMode::AsFastAsPossible => {}
        PacingMode::FrontLoaded | PacingMode::Curve(_) => {
            faults.add("pacing.mode", "not_supported_yet", "only even and as_fast_as_possible are acted on yet");
        }
    }
    if tier == Tier::House && line_item.budget != Budget::default() {
        faults.add("budget", "house_is_free", "a house line item is never billed: it has no budget");
    }
}

/// Targeting keeps to the syntax's limits however it came: what the syntax writes, it also reads.
fn check_targeting(line_item: &LineItem, faults: &mut Faults) {
    if let Err(errors) = syntax::parse(&syntax::write(&line_item.targeting)) {
        for error in errors {
            faults.add(targeting_path(&error.path), error.code, error.message);
        }
    }
}

/// The path of a field of targeting within the line item.
#[must_use]
pub fn targeting_path(path: &str) -> String {
    if path.is_empty() || path.starts_with('[') { format!("targeting{path}") } else { format!("targeting.{path}") }
}

fn check_words(line_item: &LineItem, faults: &mut Faults) {
    if let Some(category) = &line_item.category {
        word("category", category, faults);
    }
    words("excluded_categories", &line_item.excluded_categories, faults);
    words("avoid.content_categories", &line_item.avoid.content_categories, faults);
    words("avoid.genres", &line_item.avoid.genres, faults);
}

fn words(path: &str, words: &[String], faults: &mut Faults) {
    if words.len() > CATEGORIES_MAX {
        faults.add(path, "too_many", format!("at most {CATEGORIES_MAX}"));
    }
    for (index, text) in words.iter().enumerate() {
        word(&format!("{path}[{index}]"), text, faults);
    }
}

fn word(path: &str, word: &str, faults: &mut Faults) {
    let characters = word.chars().count();
    if word.trim().is_empty() {
        faults.add(path, "empty", "at least one visible character");
    } else if characters > WORD_CHARS_MAX {
        faults.add(path, "too_long", format!("at most {WORD_CHARS_MAX} characters"));
    }
}

fn check_creatives(view: View<'_>, line_item: &LineItem, faults: &mut Faults) {
    if line_item.creatives.is_empty() {
        faults.add("creatives", "too_few", "at least one creative: there is nothing to play");
    }
    if line_item.creatives.len() > CREATIVES_PER_LINE_ITEM_MAX {
        faults.add("creatives", "too_many", format!("at most {CREATIVES_PER_LINE_ITEM_MAX} creatives"));
    }
    let mut seen = BTreeSet::new();
    let first_weight = line_item.creatives.first().map_or(0, |choice| choice.weight);
    for (index, choice) in line_item.creatives.iter().enumerate() {
        let path = format!("creatives[{index}]");
        let known = view.creative(choice.creative_id).filter(|creative| {
            creative.advertiser_id == line_item.advertiser_id && creative.network_id == line_item.network_id
        });
        match known {
            None => faults.add(format!("{path}.creative_id"), "not_found", "the advertiser has no such creative"),
            // A creative may be archived under a line item that uses it; then the line item goes on with the others.
            Some(_) if !seen.insert(choice.creative_id) => {
                faults.add(format!("{path}.creative_id"), "duplicate", "a line item names a creative once");
            }
            Some(_) => {}
        }
        if !(1..=100).contains(&choice.weight) {
            faults.add(format!("{path}.weight"), "out_of_range", "1 to 100");
        } else if choice.weight != first_weight {
            let message = "unequal weights are not acted on yet";
            faults.add(format!("{path}.weight"), "not_supported_yet", message);
        }
    }
}

fn check_trackers(line_item: &LineItem, faults: &mut Faults) {
    if line_item.trackers.len() > TRACKERS_MAX {
        faults.add("trackers", "too_many", format!("at most {TRACKERS_MAX} trackers"));
    }
    for (index, tracker) in line_item.trackers.iter().enumerate() {
        url(&format!("trackers[{index}].url"), &tracker.url, Loopback::Refused, faults);
    }
}
