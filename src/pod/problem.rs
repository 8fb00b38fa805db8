//! What a search is given.

use std::cmp::Reverse;

use super::{MAX_ADS, MAX_VALUE};
use crate::catalog::CategoryId;
use crate::model::{AdvertiserId, LineItemId, Tier};

/// An ad that may go into the pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodCandidate {
    /// The caller's number of it; below `u32::MAX`.
    pub key: u32,
    /// The line item: orders candidates that are equal in everything else.
    pub line_item_id: LineItemId,
    /// At most one ad of each in a pod.
    pub advertiser_id: AdvertiserId,
    /// Its tier.
    pub tier: Tier,
    /// What it adds to its tier; 1 to [`MAX_VALUE`].
    pub value: i64,
    /// Its lot among equals; the greater goes first.
    pub tie: u64,
    /// How long it plays, in milliseconds.
    pub duration_ms: u32,
    /// What it advertises.
    pub category: Option<CategoryId>,
}

/// What a pod must keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodLimits {
    /// Longest in milliseconds, all ads together.
    pub max_duration_ms: u32,
    /// Most ads; at most [`MAX_ADS`] are ever taken.
    pub max_ads: u8,
}

/// Candidates and limits. Keeps its memory from one break to the next.
#[derive(Clone, Debug)]
pub struct PodProblem {
    pub(super) limits: PodLimits,
    pub(super) items: Vec<Item>,
    /// Excluded categories of all candidates, one after the other.
    pub(super) exclusions: Vec<CategoryId>,
}

/// A candidate in a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) candidate: PodCandidate,
    /// Equal for candidates of the same category and exclusions, and seldom for others.
    pub(super) group: u64,
    excluded_from: u32,
    excluded_to: u32,
}

impl PodProblem {
    /// No candidates.
    #[must_use]
    pub fn new(limits: PodLimits) -> Self {
        Self { limits: limits.within_bounds(), items: Vec::new(), exclusions: Vec::new() }
    }

    /// Starts again, keeping the memory.
    pub fn reset(&mut self, limits: PodLimits) {
        self.limits = limits.within_bounds();
        self.items.clear();
        self.exclusions.clear();
    }

    /// Adds a candidate that may not be beside ads of `excluded` categories (sorted).
    ///
    /// # Panics
    /// When the value is not 1 to [`MAX_VALUE`] (sums could leave 64 bits), or the key is `u32::MAX`.
    pub fn push(&mut self, candidate: PodCandidate, excluded: &[CategoryId]) {
        assert!(candidate.key != u32::MAX, "the last key is kept for what is unseen");
        assert!((1..=MAX_VALUE).contains(&candidate.value), "a candidate is worth 1 to MAX_VALUE");
        let place =
            |length: usize| u32::try_from(length).expect("categories of a few hundred candidates are below 2^32");
        let excluded_from = place(self.exclusions.len());
        self.exclusions.extend_from_slice(excluded);
        let excluded_to = place(self.exclusions.len());
        let own = candidate.category.map_or(0, |category| u64::from(category.0) + 1);
        let group = excluded.iter().fold(own, |hash, category| {
            (hash ^ u64::from(category.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        self.items.push(Item { candidate, group, excluded_from, excluded_to });
    }

    /// Keeps the best `count` candidates and drops the rest; whether there were any.
    pub fn truncate(&mut self, count: usize) -> bool {
        self.sort();
        let is_over = self.items.len() > count;
        self.items.truncate(count);
        is_over
    }

    /// How many candidates there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> PodLimits {
        self.limits
    }

    /// The categories that may not be beside the candidate.
    pub(super) fn excluded(&self, item: &Item) -> &[CategoryId] {
        &self.exclusions[item.excluded_from as usize..item.excluded_to as usize]
    }

    /// Puts the candidates in the order of value: best first, by nothing but what they are.
    pub(super) fn sort(&mut self) {
        self.items.sort_unstable_by_key(|item| item.candidate.order());
    }
}

impl PodLimits {
    fn within_bounds(self) -> Self {
        Self { max_ads: self.max_ads.min(MAX_ADS), ..self }
    }
}

impl Item {
    /// A candidate that excludes nothing.
    pub(super) const fn plain(candidate: PodCandidate) -> Self {
        Self { candidate, group: 0, excluded_from: 0, excluded_to: 0 }
    }
}

impl PodCandidate {
    /// The order of value: the lower goes first.
    pub(super) fn order(&self) -> (Tier, Reverse<i64>, Reverse<u64>, LineItemId) {
        (self.tier, Reverse(self.value), Reverse(self.tie), self.line_item_id)
    }
}
