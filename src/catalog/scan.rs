//! Candidates of one request, best rank first.

use super::line::LineSlot;
use super::rank::Rank;
use super::resolve::ResolvedBreak;
use super::snapshot::Snapshot;
use crate::targeting::naive;

/// Memory that a scan works in; kept by the caller from one request to the next, so that a scan allocates nothing.
#[derive(Debug, Default)]
pub struct ScanScratch {
    _private: (),
}

impl ScanScratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The line items whose targeting a request meets, in non-increasing [`Rank`].
#[derive(Debug)]
pub struct Scan<'a> {
    snapshot: &'a Snapshot,
    resolved: &'a ResolvedBreak,
    next: usize,
}

impl Snapshot {
    /// Starts a scan over the line items whose network and targeting the request meets, greatest rank first, equal ranks in any order.
    /// Flight, status, caps and money are not looked at: that is for whoever gives reasons.
    pub fn scan<'a>(&'a self, resolved: &'a ResolvedBreak, _scratch: &'a mut ScanScratch) -> Scan<'a> {
        debug_assert_eq!(resolved.catalog_version, self.version, "resolved against another snapshot");
        Scan { snapshot: self, resolved, next: 0 }
    }

    /// Whether the line item's network and targeting match, by the definition rather than by the index: for `explain`.
    #[must_use]
    pub fn matches(&self, slot: LineSlot, resolved: &ResolvedBreak) -> bool {
        self.get(slot).is_some_and(|entry| {
            let line_item = &entry.line_item;
            line_item.network_id == resolved.network_id
                && naive::matches(&line_item.targeting, &resolved.request, &line_item.flight.zone, resolved.now.wall)
        })
    }
}

impl Scan<'_> {
    /// The next candidate; none when there are no more. Not an [`Iterator`], because the bound is asked between steps.
    #[expect(clippy::should_implement_trait, reason = "callers interleave `next` with `bound`")]
    pub fn next(&mut self) -> Option<LineSlot> {
        while let Some(&(_, slot)) = self.snapshot.order.get(self.next) {
            self.next += 1;
            if self.snapshot.matches(slot, self.resolved) {
                return Some(slot);
            }
        }
        None
    }

    /// The rank above which nothing unseen can be; none when nothing is left.
    #[must_use]
    pub fn bound(&self) -> Option<Rank> {
        self.snapshot.order.get(self.next).map(|&(rank, _)| rank)
    }
}
