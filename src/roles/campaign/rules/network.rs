//! Rules for networks.

use std::collections::BTreeSet;

use super::line_item::price_whole;
use super::name;
use crate::model::{Micros, Network, Placement};
use crate::roles::campaign::Faults;

/// Most apps of a network.
pub const APPS_MAX: usize = 1_000;
/// Most placements of a network.
pub const PLACEMENTS_MAX: usize = 1_000;
/// Most ads in a pod: the exact search within a pod is bounded by it.
pub const MAX_ADS_MAX: u8 = 16;
/// Longest pod: an hour, longer than any break anybody sits through.
pub const POD_DURATION_MS_MAX: u32 = 3_600_000;
/// Longest time between breaks: a day.
const CADENCE_MS_MAX: u32 = 86_400_000;
/// Shortest token life: long enough to be heard at all.
const TOKEN_LIFE_MS_MIN: u64 = 60_000;
/// Longest token life: 14 days, for offline listening. Leases stay open as long.
pub const TOKEN_LIFE_MS_MAX: u64 = 14 * 86_400_000;

pub(super) fn check(network: &Network, faults: &mut Faults) {
    name("name", &network.name, faults);
    let currency = network.currency.as_bytes();
    if currency.len() != 3 || !currency.iter().all(u8::is_ascii_uppercase) {
        faults.add("currency", "malformed", "a currency is three capital letters (ISO 4217)");
    }
    floor("floor_cpm_micros", network.floor_cpm, faults);
    check_apps(network, faults);
    if network.placements.len() > PLACEMENTS_MAX {
        faults.add("placements", "too_many", format!("at most {PLACEMENTS_MAX} placements"));
    }
    let mut keys = BTreeSet::new();
    for (index, placement) in network.placements.iter().enumerate() {
        let mut own = Faults::new();
        if !keys.insert(&placement.key) {
            own.add("key", "duplicate", "each placement has a key of its own");
        }
        check_placement(placement, &mut own);
        faults.take(own, &format!("placements[{index}]"));
    }
}

fn check_apps(network: &Network, faults: &mut Faults) {
    if network.apps.len() > APPS_MAX {
        faults.add("apps", "too_many", format!("at most {APPS_MAX} apps"));
    }
    let mut keys = BTreeSet::new();
    for (index, app) in network.apps.iter().enumerate() {
        if !keys.insert(&app.key) {
            faults.add(format!("apps[{index}].key"), "duplicate", "each app has a key of its own");
        }
        name(&format!("apps[{index}].name"), &app.name, faults);
    }
}

fn check_placement(placement: &Placement, faults: &mut Faults) {
    name("name", &placement.name, faults);
    floor("floor_cpm_micros", placement.floor_cpm, faults);
    if !(1_000..=POD_DURATION_MS_MAX).contains(&placement.max_duration_ms) {
        faults.add("max_duration_ms", "out_of_range", format!("1000 to {POD_DURATION_MS_MAX} milliseconds"));
    }
    if !(1..=MAX_ADS_MAX).contains(&placement.max_ads) {
        faults.add("max_ads", "out_of_range", format!("1 to {MAX_ADS_MAX} ads"));
    }
    if placement.cadence_ms > CADENCE_MS_MAX {
        faults.add("cadence_ms", "out_of_range", format!("0 to {CADENCE_MS_MAX} milliseconds (a day)"));
    }
    if !(TOKEN_LIFE_MS_MIN..=TOKEN_LIFE_MS_MAX).contains(&placement.token_life_ms) {
        let message = format!("{TOKEN_LIFE_MS_MIN} to {TOKEN_LIFE_MS_MAX} milliseconds (14 days)");
        faults.add("token_life_ms", "out_of_range", message);
    }
}

fn floor(path: &str, floor: Micros, faults: &mut Faults) {
    if floor.0 < 0 {
        faults.add(path, "too_small", "a floor is at least 0 micros");
    } else {
        price_whole(path, floor, faults);
    }
}
