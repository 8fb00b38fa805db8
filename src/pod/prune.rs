//! Drops candidates that no best pod needs.

use super::problem::{Item, PodProblem};

impl PodProblem {
    /// Drops every candidate that could always be exchanged for a better one, and puts the rest in order, best first.
    ///
    /// A candidate `c` is dropped when, among the candidates that are better (tier, value, lot), no longer, and of the same category and
    /// exclusions, there is one of its own advertiser, or there are as many advertisers as the pod has places. Why no best pod holds `c`:
    /// the better one of its own advertiser can take its place, because nothing else of that advertiser is in the pod and it competes with
    /// exactly what `c` competes with. In the other case the pod's other ads, one fewer than places, block at most one advertiser each, so one of
    /// the better ones is free to take its place. Either way the pod becomes better, so it was not the best.
    ///
    /// It is enough to look at those that were kept: whatever replaces a dropped one replaces `c` too.
    pub fn prune(&mut self) {
        self.sort();
        let places = usize::from(self.limits.max_ads);
        let mut kept = 0;
        for index in 0..self.items.len() {
            let item = self.items[index];
            if !self.is_dominated(&item, kept, places) {
                self.items[kept] = item;
                kept += 1;
            }
        }
        self.items.truncate(kept);
    }

    fn is_dominated(&self, item: &Item, kept: usize, places: usize) -> bool {
        let candidate = &item.candidate;
        let better = &self.items[..kept];
        let replaces = |other: &Item| {
            other.group == item.group
                && other.candidate.duration_ms <= candidate.duration_ms
                && other.candidate.category == candidate.category
                && self.excluded(other) == self.excluded(item)
        };
        let mut advertisers = 0;
        for (index, other) in better.iter().enumerate() {
            if !replaces(other) {
                continue;
            }
            let advertiser_id = other.candidate.advertiser_id;
            if advertiser_id == candidate.advertiser_id {
                return true;
            }
            let is_first_of_advertiser = !better[..index]
                .iter()
                .any(|earlier| earlier.candidate.advertiser_id == advertiser_id && replaces(earlier));
            advertisers += usize::from(is_first_of_advertiser);
            // Not an early return: one of its own advertiser may come later, but then the answer is the same.
            if advertisers >= places {
                return true;
            }
        }
        false
    }
}
