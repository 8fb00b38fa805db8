//! Candidates of one request, best rank first.
//!
//! The parts of a snapshot are read side by side. One is not begun before something of it could be next: what changed last is few, and most of it ranks
//! below what a break needs.

use super::line::Candidate;
use super::part::Part;
use super::rank::Rank;
use super::resolve::ResolvedBreak;
use super::snapshot::Snapshot;
use crate::targeting::index::Cursor;

/// Memory that a scan works in; kept by the caller from one request to the next, so that a scan allocates nothing.
#[derive(Debug, Default)]
pub struct ScanScratch {
    cursors: [Cursor; PARTS],
}

/// Base, middle, delta.
const PARTS: usize = 3;

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
        scratch.cursors.iter_mut().for_each(|cursor| cursor.sabotage = sabotage);
        scratch
    }
}

/// The line items whose targeting a request meets, in non-increasing [`Rank`].
#[derive(Debug)]
pub struct Scan<'a> {
    resolved: &'a ResolvedBreak,
    sides: [Side<'a>; PARTS],
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
    /// Nothing was begun; the first of the part is of this rank.
    NotBegun(Rank),
    NotLooked,
    /// Not looked for further, as nothing above this rank is left.
    Below(Rank),
    Candidate(Candidate),
    Nothing,
}

impl Snapshot {
    /// Starts a scan over the line items whose network and targeting the request meets, greatest rank first, equal ranks in any order.
    /// Flight, status, caps and money are not looked at: that is for whoever gives reasons.
    pub fn scan<'a>(&'a self, resolved: &'a ResolvedBreak, scratch: &'a mut ScanScratch) -> Scan<'a> {
        debug_assert_eq!(resolved.catalog_version, self.version, "resolved against another snapshot");
        let [base, middle, delta] = &mut scratch.cursors;
        let sides = [(&self.base, base), (&self.middle, middle), (&self.delta, delta)];
        Scan { resolved, sides: sides.map(|(part, cursor)| Side::new(part, cursor)) }
    }
}

impl Scan<'_> {
    /// The next candidate; none when there are no more. Not an [`Iterator`], because the bound is asked between steps.
    #[expect(clippy::should_implement_trait, reason = "callers interleave `next` with `bound`")]
    pub fn next(&mut self) -> Option<Candidate> {
        let mut best: Option<(Rank, &mut Side<'_>)> = None;
        for side in &mut self.sides {
            let before = best.as_ref().map(|(rank, _)| *rank);
            if let Some(rank) = side.look(self.resolved, before)
                && before.is_none_or(|before| before < rank)
            {
                best = Some((rank, side));
            }
        }
        best?.1.take()
    }

    /// Passes over all that is above this rank, without looking at it.
    pub fn skip_to(&mut self, rank: Rank) {
        self.sides.iter_mut().for_each(|side| side.skip_to(rank, self.resolved));
    }

    /// The rank above which nothing unseen can be; none when nothing is left.
    #[must_use]
    pub fn bound(&self) -> Option<Rank> {
        self.sides.iter().filter_map(Side::bound).max()
    }
}

impl<'a> Side<'a> {
    fn new(part: &'a Part, cursor: &'a mut Cursor) -> Self {
        let found = part.lines.first().map_or(Found::Nothing, |line| Found::NotBegun(line.rank));
        Self { part, cursor, found }
    }

    /// The next candidate's rank; it may be left unsaid where it can't be above `than`.
    fn look(&mut self, resolved: &ResolvedBreak, than: Option<Rank>) -> Option<Rank> {
        if let (Found::NotLooked, Some(_)) = (self.found, than) {
            self.found = self.part.bound(self.cursor).map_or(Found::Nothing, Found::Below);
        }
        if let Found::NotBegun(most) | Found::Below(most) = self.found {
            if than.is_some_and(|than| most <= than) {
                return None;
            }
            if let Found::NotBegun(_) = self.found {
                self.cursor.start(&self.part.index, &resolved.query);
            }
            self.found = Found::NotLooked;
        }
        if let Found::NotLooked = self.found {
            self.found = match self.part.next(self.cursor, &resolved.query) {
                Some(candidate) => Found::Candidate(candidate),
                None => Found::Nothing,
            };
        }
        match self.found {
            Found::Candidate(candidate) => Some(candidate.rank),
            Found::NotBegun(_) | Found::NotLooked | Found::Below(_) | Found::Nothing => None,
        }
    }

    fn skip_to(&mut self, rank: Rank, resolved: &ResolvedBreak) {
        let above = match self.found {
            Found::NotBegun(first) => first > rank,
            Found::Candidate(candidate) => candidate.rank > rank,
            Found::NotLooked | Found::Below(_) => true,
            Found::Nothing => false,
        };
        if !above {
            return;
        }
        if let Found::NotBegun(_) = self.found {
            self.cursor.start(&self.part.index, &resolved.query);
        }
        self.part.skip_to(self.cursor, rank);
        self.found = Found::NotLooked;
    }

    fn take(&mut self) -> Option<Candidate> {
        let Found::Candidate(candidate) = self.found else { return None };
        self.found = Found::NotLooked;
        Some(candidate)
    }

    fn bound(&self) -> Option<Rank> {
        match self.found {
            Found::NotLooked => self.part.bound(self.cursor),
            Found::NotBegun(rank) | Found::Below(rank) => Some(rank),
            Found::Candidate(candidate) => Some(candidate.rank),
            Found::Nothing => None,
        }
    }
}
