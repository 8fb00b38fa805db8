//! What keeps a line item from delivering at all, told from the catalogue and the books: it needs no breaks.

use std::sync::Arc;

use super::super::price;
use super::super::wording::cpm;
use crate::catalog::Rank;
use crate::model::{
    Advertiser, Approval, Campaign, Creative, Day, LineItem, Micros, Network, PriceModel, Status, Tier, WallMs,
};

/// All that is looked at.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// The line item.
    pub line_item: &'a LineItem,
    /// Its campaign.
    pub campaign: &'a Campaign,
    /// Its advertiser.
    pub advertiser: &'a Advertiser,
    /// Its network.
    pub network: &'a Network,
    /// Those of its creatives that exist.
    pub creatives: &'a [Arc<Creative>],
    /// Its money, level by level; empty where the books can't be read.
    pub money: &'a [LevelMoney],
    /// When it is asked.
    pub now: WallMs,
}

/// A level that has a budget.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// All of the advertiser.
    Advertiser,
    /// All of the campaign.
    Campaign,
    /// The line item.
    LineItem,
}

/// The limits of a level over its life or of one day, and what is gone of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelMoney {
    /// Which level.
    pub level: Level,
    /// The day, where it is of one.
    pub day: Option<Day>,
    /// The most that may be spent.
    pub budget: Option<Micros>,
    /// The most impressions.
    pub goal: Option<u64>,
    /// Billed.
    pub settled: Micros,
    /// Impressions billed.
    pub settled_count: u64,
    /// Held by open leases: it may yet be spent, by whichever line item has them.
    pub open: Micros,
    /// Impressions, likewise.
    pub open_count: u64,
}

/// One fact that is enough to keep the line item from delivering.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// Its stable name.
    pub reason: &'static str,
    /// In words.
    pub words: String,
}

impl Level {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Advertiser => "advertiser",
            Self::Campaign => "campaign",
            Self::LineItem => "line_item",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Advertiser => "the advertiser's",
            Self::Campaign => "the campaign's",
            Self::LineItem => "the line item's",
        }
    }
}

impl LevelMoney {
    /// Budget less billed less held, in micros; none without a budget.
    #[must_use]
    pub fn available(&self) -> Option<Micros> {
        self.budget.map(|budget| Micros(budget.0.saturating_sub(self.settled.0).saturating_sub(self.open.0)))
    }
}

/// Every fact that is enough to keep it from delivering, what holds for longest first. One that is not here may still be why.
#[must_use]
pub fn blockers(facts: &Standing<'_>) -> Vec<Blocker> {
    let mut found = Vec::new();
    add_status(facts, &mut found);
    add_flight(facts, &mut found);
    add_creatives(facts, &mut found);
    if facts.line_item.tier != Tier::House {
        add_money(facts, &mut found);
        add_floor(facts, &mut found);
    }
    add_length(facts, &mut found);
    found
}

fn block(found: &mut Vec<Blocker>, reason: &'static str, words: impl Into<String>) {
    found.push(Blocker { reason, words: words.into() });
}

fn add_status(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    let levels = [
        (facts.line_item.status, ("line_item_paused", "line_item_archived"), "it"),
        (facts.campaign.status, ("campaign_paused", "campaign_archived"), "its campaign"),
        (facts.advertiser.status, ("advertiser_paused", "advertiser_archived"), "its advertiser"),
    ];
    for (status, (_, archived), who) in levels {
        if status == Status::Archived {
            block(found, archived, format!("{who} is archived, for good"));
        }
    }
    for (status, (paused, _), who) in levels {
        if status == Status::Paused {
            block(found, paused, format!("{who} is paused"));
        }
    }
}

fn add_flight(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    let flight = &facts.line_item.flight;
    if facts.now >= flight.end {
        block(found, "flight_ended", format!("its flight ended at {}", flight.end.to_rfc3339()));
    } else if facts.now < flight.start {
        block(found, "flight_not_started", format!("its flight starts at {}", flight.start.to_rfc3339()));
    }
}

/// Whether a creative may serve, whatever the break.
pub(super) fn is_servable(creative: &Creative) -> bool {
    creative.status == Status::Active && creative.approval == Approval::Approved
}

fn add_creatives(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    if facts.creatives.iter().any(|creative| is_servable(creative)) {
        return;
    }
    let live: Vec<_> = facts.creatives.iter().filter(|creative| creative.status != Status::Archived).collect();
    let has = |approval: Approval| live.iter().any(|creative| creative.approval == approval);
    if live.is_empty() {
        block(found, "no_creative", "it has no creative that is not archived");
    } else if has(Approval::Approved) {
        block(found, "creative_paused", "its approved creatives are paused");
    } else if has(Approval::Pending) {
        block(found, "creative_not_approved", "none of its creatives is approved yet");
    } else {
        block(found, "creative_rejected", "its creatives were rejected");
    }
}

/// Limits that are used up for good, or for the day. What is only held by leases may yet be drawn by this line item.
fn add_money(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    // A flat fee is charged at once, and what follows costs nothing.
    let is_flat = facts.line_item.pricing.model == PriceModel::Flat;
    // A click draws nothing beforehand, and wants something left.
    let wanted = price::draw_price(facts.line_item).max(Micros(1));
    for level in facts.money {
        let (whose, span) = (level.level.words(), if level.day.is_some() { "budget of the day" } else { "budget" });
        let left = level.budget.map(|budget| budget.0.saturating_sub(level.settled.0));
        if let (Some(budget), Some(left)) = (level.budget, left)
            && left < wanted.0
            && !is_flat
        {
            let reason = if level.day.is_some() { "daily_budget_spent" } else { "budget_spent" };
            block(found, reason, format!("{whose} {span}, {}, is spent: {} is left", budget, Micros(left)));
        }
        if let Some(goal) = level.goal
            && level.settled_count >= goal
        {
            let (reason, span) =
                if level.day.is_some() { ("daily_goal_reached", "goal of the day") } else { ("goal_reached", "goal") };
            block(found, reason, format!("{whose} {span} of {goal} impressions is reached"));
        }
    }
}

/// A price below the floor of every placement.
fn add_floor(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    let placements = &facts.network.placements;
    let meets = |floor| price::meets_floor(facts.line_item, floor);
    let is_below = placements.iter().all(|placement| !meets(price::floor_cpm(facts.network, placement)));
    if is_below && !placements.is_empty() {
        let own = cpm(Rank::of(facts.line_item).expected_cpm());
        block(found, "below_floor", format!("its price, {own}, is below the floor of every placement"));
    }
}

/// Creatives that are longer than the longest break of every placement.
fn add_length(facts: &Standing<'_>, found: &mut Vec<Blocker>) {
    let servable = facts.creatives.iter().filter(|creative| is_servable(creative));
    let shortest = servable.map(|creative| creative.duration_ms).min();
    let longest = facts.network.placements.iter().map(|placement| placement.max_duration_ms).max();
    if let (Some(shortest), Some(longest)) = (shortest, longest)
        && shortest > longest
    {
        let words = format!("its shortest creative lasts {shortest} ms, and no break is longer than {longest} ms");
        block(found, "too_long", words);
    }
}
