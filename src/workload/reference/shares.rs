//! What a catalogue is like: a figure counts only where its catalogue is like the reference.

use std::collections::HashMap;

use super::midday::{BEST, CAPPED};
use super::{Profile, ReferenceCatalogue};
use crate::catalog::Rank;
use crate::targeting::Expression;

/// The shares of a catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    profile: Profile,
    /// Of all pairs of a line item and a listener, those that match.
    match_rate: f64,
    /// Spearman's, of the order of rank with the number of clauses: above 0 where narrower line items rank higher.
    rank_correlation: f64,
    /// Of line items, those that are throttled.
    throttled: f64,
    /// Of line items, those without a lease.
    without_lease: f64,
    /// Of a listener's best, those that are capped.
    capped: f64,
    /// What the match rate should be.
    stated: f64,
}

impl Shares {
    /// How far a share may be from what is stated.
    pub const TOLERANCE_PERCENT: f64 = 5.0;

    /// Of a catalogue of which so many pairs match.
    #[must_use]
    pub fn of(profile: Profile, catalogue: &ReferenceCatalogue, matches: usize, listeners: usize) -> Self {
        let total = number(catalogue.line_items.len());
        let share = |count: usize| number(count) / total;
        let stated = match profile {
            Profile::Broad => 0.052,
            Profile::Selective => 0.0019,
            Profile::Rare => 0.000_045,
            // Half of each.
            Profile::Midday => f64::midpoint(0.052, 0.0019),
        };
        Self {
            profile,
            match_rate: number(matches) / (total * number(listeners)),
            rank_correlation: rank_correlation(catalogue),
            throttled: share(catalogue.standings.iter().filter(|one| one.throttle != u64::MAX).count()),
            without_lease: share(catalogue.standings.iter().filter(|one| !one.leased).count()),
            capped: if profile == Profile::Midday { CAPPED } else { 0.0 },
            stated,
        }
    }

    /// How far the match rate is from what is stated, in per cent of that.
    #[must_use]
    pub fn off_percent(&self) -> f64 {
        (self.match_rate / self.stated - 1.0).abs() * 100.0
    }

    /// Whether figures of this catalogue count.
    #[must_use]
    pub fn count(&self) -> bool {
        let is_near = |value: f64, stated: f64| (value - stated).abs() <= stated * Self::TOLERANCE_PERCENT / 100.0;
        let stands = self.profile != Profile::Midday
            || (is_near(self.rank_correlation, 0.5)
                && is_near(self.throttled, 0.8)
                && is_near(self.without_lease, 0.05));
        self.off_percent() <= Self::TOLERANCE_PERCENT && stands
    }

    /// For people.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!(
            "match rate {:.3} % (stated {:.3} %, off by {:.1} % of it), rank correlation {:.2}, throttled {:.0} %, without lease {:.0} %, of the best {BEST} capped {:.0} %{}",
            self.match_rate * 100.0,
            self.stated * 100.0,
            self.off_percent(),
            self.rank_correlation,
            self.throttled * 100.0,
            self.without_lease * 100.0,
            self.capped * 100.0,
            if self.count() { "" } else { ": DOES NOT COUNT" },
        )
    }
}

/// Spearman's correlation of rank with number of clauses, equal ones sharing their mean place.
pub(super) fn rank_correlation(catalogue: &ReferenceCatalogue) -> f64 {
    let ranks = places(catalogue.line_items.iter().map(Rank::of));
    let clauses = places(catalogue.line_items.iter().map(|line_item| match &line_item.targeting {
        Expression::All(parts) | Expression::Any(parts) => parts.len(),
        Expression::Not(_) | Expression::Is(_) => 1,
    }));
    let mean = number(ranks.len() + 1) / 2.0;
    let sum = |one: &[f64], other: &[f64]| -> f64 {
        one.iter().zip(other).map(|(one, other)| (one - mean) * (other - mean)).sum()
    };
    sum(&ranks, &clauses) / (sum(&ranks, &ranks) * sum(&clauses, &clauses)).sqrt().max(f64::MIN_POSITIVE)
}

/// The place of each in the order of all, from 1.
fn places<T: Ord + Copy + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<f64> {
    let values: Vec<T> = values.collect();
    let mut order = values.clone();
    order.sort_unstable();
    let mut of: HashMap<T, (usize, usize)> = HashMap::new();
    for (place, value) in (1..).zip(order) {
        of.entry(value).or_insert((place, place)).1 = place;
    }
    values.iter().map(|value| number(of[value].0 + of[value].1) / 2.0).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}
