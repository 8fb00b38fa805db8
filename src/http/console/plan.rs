//! What should be delivered by when, for people: the plan as it was sold, an even line over the flight.
//!
//! Pacing begins a new plan with what is left whenever a line item is changed or paused; this one stays what was promised.

use crate::catalog::{Entity, EntityId, EntityKind};
use crate::http::live::TodayDocument;
use crate::model::{LineItem, Micros, NetworkId, PacingMode, PriceModel, Status, Tier, WallMs};
use crate::pacing::Plan;
use crate::roles::campaign::CampaignHandle;

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Most line items that the plan of a day is made of: that many are looked at in some tens of milliseconds.
const LINE_ITEMS_MAX: usize = 200_000;

/// What is counted against the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Billed impressions.
    Impressions,
    /// Billed micros.
    Micros,
}

/// The unit in which a line item's plan is, and the plan; no plan where it doesn't spread evenly, or nothing bounds it.
#[must_use]
pub fn of_line_item(line: &LineItem) -> (Unit, Option<Plan>) {
    let even = |total| Plan { start: line.flight.start, end: line.flight.end, spent: Micros(0), total: Micros(total) };
    let is_even = line.pacing == PacingMode::Even;
    match (line.goal, line.budget.lifetime) {
        (Some(goal), _) => {
            let total = i64::try_from(goal.impressions).unwrap_or(i64::MAX);
            (Unit::Impressions, is_even.then(|| even(total)))
        }
        (None, Some(budget)) => (Unit::Micros, is_even.then(|| even(budget.0))),
        (None, None) => (if line.tier == Tier::House { Unit::Impressions } else { Unit::Micros }, None),
    }
}

/// What the plan asks for between two moments.
#[must_use]
pub fn between(plan: &Plan, from: WallMs, to: WallMs) -> i64 {
    plan.due(to).0.saturating_sub(plan.due(from).0)
}

/// The money that a line item's plan asks for between two moments, in micros; none without a plan.
fn money_between(line: &LineItem, from: WallMs, to: WallMs) -> Option<i64> {
    if line.tier == Tier::House {
        return None;
    }
    let (unit, plan) = of_line_item(line);
    let amount = between(&plan?, from, to);
    match (unit, line.pricing.model) {
        (Unit::Micros, _) => Some(amount),
        (Unit::Impressions, PriceModel::Cpm) => {
            let micros = i128::from(amount) * i128::from(line.pricing.amount.0) / 1_000;
            Some(i64::try_from(micros).unwrap_or(i64::MAX))
        }
        (Unit::Impressions, PriceModel::Cpcl | PriceModel::Cpc | PriceModel::Flat) => None,
    }
}

/// The first moment of the day in UTC.
const fn day_start(at: WallMs) -> WallMs {
    WallMs(at.0 - at.0.rem_euclid(DAY_MS))
}

/// What a network's active paid line items are to spend between two moments, in micros, and how many have anything to spend.
#[must_use]
pub fn of_network(campaigns: &CampaignHandle, network_id: NetworkId, spans: &[(WallMs, WallMs)]) -> (Vec<i64>, u32) {
    campaigns.read(|state| {
        let mut sums = vec![0_i64; spans.len()];
        let mut line_items = 0;
        let all = state.children(EntityId::Network(network_id), EntityKind::LineItem, None);
        for revision in all.take(LINE_ITEMS_MAX) {
            let Entity::LineItem(line) = &revision.entity else { continue };
            if line.status != Status::Active {
                continue;
            }
            let mut asks = false;
            for (sum, &(from, to)) in sums.iter_mut().zip(spans) {
                let amount = money_between(line, from, to).unwrap_or(0);
                asks |= amount > 0;
                *sum = sum.saturating_add(amount);
            }
            line_items += u32::from(asks);
        }
        (sums, line_items)
    })
}

/// The plan of the day in UTC in which `now` is.
pub(in crate::http) fn today(campaigns: &CampaignHandle, network_id: NetworkId, now: WallMs) -> TodayDocument {
    let from = day_start(now);
    let spans = [(from, from.plus_ms(DAY_MS)), (from, now)];
    let (sums, line_items) = of_network(campaigns, network_id, &spans);
    TodayDocument { from: from.to_rfc3339(), plan_micros: sums[0], due_micros: sums[1], line_items }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::campaign::samples;

    #[test]
    fn days_begin_at_midnight_in_utc() {
        assert_eq!(day_start(WallMs(3 * DAY_MS + 5)), WallMs(3 * DAY_MS));
        assert_eq!(day_start(WallMs(-1)), WallMs(-DAY_MS));
    }

    #[test]
    fn the_hours_of_a_plan_sum_to_its_total() {
        let entities = samples::catalogue();
        let line = entities.iter().find_map(|entity| match entity {
            Entity::LineItem(line) => Some(line),
            _ => None,
        });
        let mut line = LineItem::clone(line.expect("the samples have one"));
        line.goal = Some(crate::model::Goal { impressions: 1_003, daily_impressions: None });
        line.pacing = PacingMode::Even;
        let (unit, plan) = of_line_item(&line);
        let plan = plan.expect("it spreads evenly");
        assert_eq!(unit, Unit::Impressions);
        let (mut at, mut sum) = (line.flight.start, 0);
        while at < line.flight.end {
            sum += between(&plan, at, at.plus_ms(3_600_000));
            at = at.plus_ms(3_600_000);
        }
        assert_eq!(sum, 1_003);
        line.pacing = PacingMode::AsFastAsPossible;
        assert_eq!(of_line_item(&line).1, None);
    }
}
