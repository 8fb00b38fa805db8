//! Base and delta: how a change to a few line items among many is published in milliseconds.
//!
//! The base holds most line items and is never changed, but for a bitmap of those that were taken out. A line item that changed is taken out
//! there and put into the delta, which is small and built anew at each change. When the delta has grown, a new base is built of everything, on
//! another thread; what changed meanwhile stays in the delta.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use super::dictionary::Dictionary;
use super::line::{LineEntry, LineSlot};
use super::part::Part;
use super::rank::Rank;
use super::rebuild::{Places, RebuildJob, RebuiltBase, build, document};
use super::shards::SlotTable;
use crate::targeting::index::Document;

/// Line items in the delta beyond which a new base is wanted: building a delta of this size takes about 10 ms, and that is the price of each change.
pub(super) const DELTA_WANTED_MAX: usize = 4_096;
/// Line items in the delta beyond which a new base is built at once, as it is after a bulk load: nobody runs the rebuilds that are wanted.
pub(super) const DELTA_MAX: usize = 16_384;

/// The parts of the newest snapshot, and where each line item is.
#[derive(Debug)]
pub(super) struct Halves {
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) base: Part,
    pub(super) delta: Part,
    /// INV-18: line items that the index has nothing of, because they have no normal form; they never serve, and nothing else suffers.
    pub(super) unindexable: BTreeSet<LineSlot>,
    base_places: Places,
    delta_lines: BTreeMap<LineSlot, (Rank, Arc<Document>)>,
    /// Line items that changed since the newest rebuild was begun.
    since_begun: BTreeSet<LineSlot>,
    /// Number of the newest rebuild begun, or of the one done at once.
    generation: u64,
    /// [`DELTA_MAX`], or less in tests.
    pub(super) delta_max: usize,
}

impl Default for Halves {
    fn default() -> Self {
        Self {
            dictionary: Arc::default(),
            base: Part::default(),
            delta: Part::default(),
            unindexable: BTreeSet::new(),
            base_places: Places::default(),
            delta_lines: BTreeMap::new(),
            since_begun: BTreeSet::new(),
            generation: 0,
            delta_max: DELTA_MAX,
        }
    }
}

impl Halves {
    /// Brings the parts up to date with line items that changed.
    pub(super) fn update(&mut self, changed: &[LineSlot], lines: &SlotTable<LineEntry>) {
        if changed.is_empty() {
            return;
        }
        let is_bulk = changed.len() > DELTA_WANTED_MAX;
        if is_bulk || self.delta_lines.len() + changed.len() > self.delta_max {
            self.build_all(lines);
            return;
        }
        let dictionary = Arc::make_mut(&mut self.dictionary);
        for &slot in changed {
            if let Some(place) = self.base_places.remove(slot) {
                self.base.kill(place);
            }
            self.delta_lines.remove(&slot);
            self.unindexable.remove(&slot);
            self.since_begun.insert(slot);
            if let Some(entry) = lines.get(slot) {
                match document(&entry.line_item, dictionary) {
                    Some(document) => _ = self.delta_lines.insert(slot, (entry.rank, Arc::new(document))),
                    None => _ = self.unindexable.insert(slot),
                }
            }
        }
        self.build_delta();
    }

    pub(super) fn wants_rebuild(&self) -> bool {
        self.delta_lines.len() > DELTA_WANTED_MAX
    }

    pub(super) fn begin_rebuild(&mut self, lines: &SlotTable<LineEntry>) -> RebuildJob {
        self.generation += 1;
        self.since_begun.clear();
        RebuildJob { generation: self.generation, lines: lines.clone(), dictionary: Arc::clone(&self.dictionary) }
    }

    /// Whether the base was put in place; not if it is out of date.
    pub(super) fn finish_rebuild(&mut self, base: RebuiltBase) -> bool {
        if base.generation != self.generation {
            return false;
        }
        (self.base, self.base_places) = (base.part, base.places);
        let changed = mem::take(&mut self.since_begun);
        for &slot in &changed {
            if let Some(place) = self.base_places.remove(slot) {
                self.base.kill(place);
            }
        }
        self.delta_lines.retain(|slot, _| changed.contains(slot));
        self.build_delta();
        // The same base is not put in place twice.
        self.generation += 1;
        true
    }

    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.base.lines.len(), self.delta_lines.len())
    }

    fn build_all(&mut self, lines: &SlotTable<LineEntry>) {
        let (part, places, unindexable) = build(lines, Arc::make_mut(&mut self.dictionary));
        (self.base, self.base_places) = (part, places);
        self.unindexable = unindexable.into_iter().collect();
        self.delta_lines.clear();
        self.delta = Part::default();
        self.since_begun.clear();
        self.generation += 1;
    }

    fn build_delta(&mut self) {
        let lines = self.delta_lines.iter().map(|(slot, (rank, document))| (*rank, *slot, Arc::clone(document)));
        self.delta = Part::build(lines.collect());
    }
}
