//! One of the three levels of a snapshot: an index over line items in order of rank, and which of them are still live.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::line::{Candidate, LineSlot};
use super::rank::Rank;
use crate::targeting::index::{Bits, Cursor, Document, Index, Query};

/// An index with its line items.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) index: Arc<Index>,
    /// Document → line item, greatest rank first.
    pub(super) lines: Arc<[Candidate]>,
    /// Documents that were not taken out since the index was built.
    pub(super) live: Arc<Bits>,
}

impl Part {
    /// The part of these line items, in any order.
    pub(super) fn build(mut line_items: Vec<(Candidate, Arc<Document>)>) -> Self {
        line_items.sort_by_key(|(line, _)| (Reverse(line.rank), line.slot));
        let index = Index::build(line_items.iter().map(|(_, document)| document.as_ref()));
        let lines = line_items.iter().map(|(line, _)| *line).collect();
        Self { live: Arc::new(index.all_live()), index: Arc::new(index), lines }
    }

    /// Which document each line item is.
    pub(super) fn places(&self) -> HashMap<LineSlot, u32> {
        self.lines.iter().map(|line| line.slot).zip(0..).collect()
    }

    /// Takes a line item out, by its document.
    pub(super) fn kill(&mut self, document: u32) {
        Arc::make_mut(&mut self.live).remove(document as usize);
    }

    /// The next line item that the query meets.
    pub(super) fn next(&self, cursor: &mut Cursor, query: &Query) -> Option<Candidate> {
        cursor.next(&self.index, &self.live, query).map(|document| self.lines[document as usize])
    }

    /// Has the cursor pass over all line items above this rank.
    pub(super) fn skip_to(&self, cursor: &mut Cursor, rank: Rank) {
        let above = self.lines.partition_point(|line| line.rank > rank);
        cursor.skip_to(&self.index, u32::try_from(above).expect("documents are numbered by 32 bits"));
    }

    /// The rank above which the cursor finds nothing more.
    pub(super) fn bound(&self, cursor: &Cursor) -> Option<Rank> {
        cursor.position(&self.index).map(|document| self.lines[document as usize].rank)
    }
}
