//! What every entity in the catalogue keeps to. The same rules hold for the API and for imports.
//!
//! Paths are those of the API's JSON. Limits are named below with their reasons.

mod creative;
mod line_item;
mod network;

use super::{Faults, View};
use crate::catalog::Entity;
use crate::model::{Advertiser, Budget, Campaign, CapScope, CapWindow, FrequencyCap, Micros, Status, Strictness};

pub use creative::{CREATIVE_DURATION_MS_MAX, RENDITIONS_MAX, URL_BYTES_MAX};
pub use line_item::{
    CATEGORIES_MAX, CREATIVES_PER_LINE_ITEM_MAX, FLIGHT_MS_MAX, PRICE_MICROS_MAX, TRACKERS_MAX, WORD_CHARS_MAX,
    targeting_path,
};
pub use network::{APPS_MAX, MAX_ADS_MAX, PLACEMENTS_MAX, POD_DURATION_MS_MAX, TOKEN_LIFE_MS_MAX};

/// Longest name in characters: what a table in a console still shows.
pub const NAME_CHARS_MAX: usize = 200;
/// Largest budget: 10^15 micros, a thousand million units. No sum of what the catalogue can hold leaves `i64`.
pub const BUDGET_MICROS_MAX: i64 = 1_000_000_000_000_000;
/// Most caps an entity has: each is looked at for every candidate.
pub const CAPS_MAX: usize = 10;
/// Shortest sliding window.
pub const CAP_WINDOW_MS_MIN: u64 = 1_000;
/// Longest sliding window: 35 days. Exposures are kept as long.
pub const CAP_WINDOW_MS_MAX: u64 = 35 * 24 * 3_600_000;

/// Finds everything wrong with an entity, given the rest of the catalogue.
pub fn check(view: View<'_>, entity: &Entity, faults: &mut Faults) {
    match entity {
        Entity::Network(network) => network::check(network, faults),
        Entity::Advertiser(advertiser) => check_advertiser(view, advertiser, faults),
        Entity::Campaign(campaign) => check_campaign(view, campaign, faults),
        Entity::LineItem(line_item) => line_item::check(view, line_item, faults),
        Entity::Creative(creative) => creative::check(view, creative, faults),
    }
}

fn check_advertiser(view: View<'_>, advertiser: &Advertiser, faults: &mut Faults) {
    name("name", &advertiser.name, faults);
    if view.network(advertiser.network_id).is_none() {
        faults.add("network_id", "not_found", "there is no such entity");
    }
    budget(advertiser.budget, faults);
    caps(&advertiser.caps, CapOwner::Advertiser, faults);
}

fn check_campaign(view: View<'_>, campaign: &Campaign, faults: &mut Faults) {
    name("name", &campaign.name, faults);
    parent_advertiser(view, campaign.advertiser_id, campaign.network_id, campaign.status, faults);
    budget(campaign.budget, faults);
    caps(&campaign.caps, CapOwner::Campaign, faults);
}

/// A name that people can read.
pub fn name(path: &str, name: &str, faults: &mut Faults) {
    let characters = name.chars().count();
    if characters == 0 || name.trim().is_empty() {
        faults.add(path, "empty", "a name has at least one visible character");
    } else if characters > NAME_CHARS_MAX {
        faults.add(path, "too_long", format!("a name has at most {NAME_CHARS_MAX} characters, this one {characters}"));
    } else if name.chars().any(char::is_control) {
        faults.add(path, "control_character", "a name has no control characters");
    }
}

fn parent_advertiser(
    view: View<'_>,
    id: crate::model::AdvertiserId,
    network_id: crate::model::NetworkId,
    status: Status,
    faults: &mut Faults,
) {
    match view.advertiser(id).filter(|advertiser| advertiser.network_id == network_id) {
        None => faults.add("advertiser_id", "not_found", "there is no such entity"),
        Some(advertiser) => living_parent("advertiser_id", advertiser.status, status, faults),
    }
}

/// Under an archived parent nothing can be made or changed, except to be archived too.
fn living_parent(path: &str, parent: Status, child: Status, faults: &mut Faults) {
    if parent == Status::Archived && child != Status::Archived {
        faults.add(path, "archived", "an archived entity takes no more children");
    }
}

fn budget(budget: Budget, faults: &mut Faults) {
    amount("budget.lifetime_micros", budget.lifetime, faults);
    amount("budget.daily_micros", budget.daily, faults);
    if let (Some(daily), Some(lifetime)) = (budget.daily, budget.lifetime)
        && daily > lifetime
    {
        faults.add("budget.daily_micros", "above_lifetime", "a daily budget is not above the one for life");
    }
}

fn amount(path: &str, amount: Option<Micros>, faults: &mut Faults) {
    match amount {
        Some(Micros(micros)) if micros <= 0 => faults.add(path, "too_small", "a budget is more than 0 micros"),
        Some(Micros(micros)) if micros > BUDGET_MICROS_MAX => {
            faults.add(path, "too_large", format!("a budget is at most {BUDGET_MICROS_MAX} micros"));
        }
        Some(_) | None => {}
    }
}

fn caps(caps: &[FrequencyCap], owner: CapOwner, faults: &mut Faults) {
    if caps.len() > CAPS_MAX {
        faults.add("caps", "too_many", format!("at most {CAPS_MAX} caps"));
    }
    for (index, cap) in caps.iter().enumerate() {
        if cap.max == 0 {
            faults.add(format!("caps[{index}].max"), "too_small", "a cap lets at least 1 through");
        }
        if let CapWindow::Sliding(window_ms) = cap.window
            && !(CAP_WINDOW_MS_MIN..=CAP_WINDOW_MS_MAX).contains(&window_ms)
        {
            let message = format!("a window is {CAP_WINDOW_MS_MIN} to {CAP_WINDOW_MS_MAX} milliseconds (35 days)");
            faults.add(format!("caps[{index}].window.duration_ms"), "out_of_range", message);
        }
        // INV-31 rests on this: all that a strict cap counts has the cap itself, so that all of it is reserved.
        if cap.strictness == Strictness::Strict && cap.window != CapWindow::Pod && !owner.covers(cap.scope) {
            let widest = owner.widest();
            let message = format!("a strict cap counts no more than what it stands on; here that is {widest} at most");
            faults.add(format!("caps[{index}].scope"), "too_wide_for_strict", message);
        }
    }
}

/// What a cap stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CapOwner {
    Advertiser,
    Campaign,
    LineItem,
}

impl CapOwner {
    /// Whether every impression that the scope counts is of a line item that has the owner's caps. A creative may play for any line item of its
    /// advertiser.
    const fn covers(self, scope: CapScope) -> bool {
        match self {
            Self::Advertiser => true,
            Self::Campaign => matches!(scope, CapScope::LineItem | CapScope::Campaign),
            Self::LineItem => matches!(scope, CapScope::LineItem),
        }
    }

    /// The widest scope of a strict cap, as the API names it.
    const fn widest(self) -> &'static str {
        match self {
            Self::Advertiser => "advertiser",
            Self::Campaign => "campaign",
            Self::LineItem => "line_item",
        }
    }
}
