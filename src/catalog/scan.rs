//! Candidates of one request, best rank first.

use super::line::LineSlot;
use super::part::Part;
use super::rank::Rank;
use super::resolve::ResolvedBreak;
use super::snapshot::Snapshot;
use crate::targeting::index::Cursor;

/// Memory that a scan works in; kept by the caller from one request to the next, so that a scan allocates nothing.
#[derive(Debug, Default)]
pub struct ScanScratch {
    base: Cursor,
    delta: Cursor,
}

impl ScanScratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes all scans wrong, so that a test can show that it would see it.
    #[cfg(test)]
    pub(crate) fn sabotaged(sabotage: crate::targeting::index::Sabotage) -> Self {
        let mut scratch = Self::new();
        (scratch.base.sabotage, scratch.delta.sabotage) = (sabotage, sabotage);
        scratch
    }
}

/// The line items whose targeting a request meets, in non-increasing [`Rank`].
#[derive(Debug)]
pub struct Scan<'a> {
    resolved: &'a ResolvedBreak,
    base: Side<'a>,
    delta: Side<'a>,
}

/// One part, and its next candidate where it was already looked for.
#[derive(Debug)]
struct Side<'a> {
    part: &'a Part,
    cursor: &'a mut Cursor,
    found: Found,
}

#[derive(Clone, Copy, Debug)]
enum Found {
    NotLooked,
    Candidate(Rank, LineSlot),
    Nothing,
}

impl Snapshot {
    /// Starts a scan over the line items whose network and targeting the request meets, greatest rank first, equal ranks in any order.
    /// Flight, status, caps and money are not looked at: that is for whoever gives reasons.
    pub fn scan<'a>(&'a self, resolved: &'a ResolvedBreak, scratch: &'a mut ScanScratch) -> Scan<'a> {
        debug_assert_eq!(resolved.catalog_version, self.version, "resolved against another snapshot");
        let ScanScratch { base, delta } = scratch;
        Scan {
            resolved,
            base: Side::start(&self.base, base, resolved),
            delta: Side::start(&self.delta, delta, resolved),
        }
    }
}

impl Scan<'_> {
    /// The next candidate; none when there are no more. Not an [`Iterator`], because the bound is asked between steps.
    #[expect(clippy::should_implement_trait, reason = "callers interleave `next` with `bound`")]
    pub fn next(&mut self) -> Option<LineSlot> {
        self.base.look(self.resolved);
        self.delta.look(self.resolved);
        match (self.base.found, self.delta.found) {
            (Found::Candidate(base, _), Found::Candidate(delta, _)) if base < delta => self.delta.take(),
            (Found::Candidate(..), _) => self.base.take(),
            _ => self.delta.take(),
        }
    }

    /// The rank above which nothing unseen can be; none when nothing is left.
    #[must_use]
    pub fn bound(&self) -> Option<Rank> {
        self.base.bound().max(self.delta.bound())
    }
}

impl<'a> Side<'a> {
    fn start(part: &'a Part, cursor: &'a mut Cursor, resolved: &ResolvedBreak) -> Self {
        cursor.start(&part.index, &resolved.query);
        Self { part, cursor, found: Found::NotLooked }
    }

    fn look(&mut self, resolved: &ResolvedBreak) {
        if let Found::NotLooked = self.found {
            self.found = match self.part.next(self.cursor, &resolved.query) {
                Some((rank, slot)) => Found::Candidate(rank, slot),
                None => Found::Nothing,
            };
        }
    }

    fn take(&mut self) -> Option<LineSlot> {
        let Found::Candidate(_, slot) = self.found else { return None };
        self.found = Found::NotLooked;
        Some(slot)
    }

    fn bound(&self) -> Option<Rank> {
        match self.found {
            Found::NotLooked => self.part.bound(self.cursor),
            Found::Candidate(rank, _) => Some(rank),
            Found::Nothing => None,
        }
    }
}
