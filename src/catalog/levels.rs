//! Base, middle and delta: how a change to a few line items among many is published in milliseconds, a thousand times a second.
//!
//! The base holds most line items and is never changed, but for a bitmap of those that were taken out. A line item that changed is taken out
//! there and put into the delta, which is small and built anew at each change. When the delta has grown, it is folded into the middle, which is built
//! anew then; when the middle has, a new base is built of everything. Both on another thread; what changed meanwhile stays in the delta. So a change
//! is built some hundred times with few others, some ten times with thousands, and once with all: a log-structured merge tree
//! (O'Neil et al., 1996) of three levels.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use super::dictionary::Dictionary;
use super::line::{Candidate, LineEntry, LineSlot};
use super::part::Part;
use super::rebuild::{Places, RebuildJob, Rebuilt, RebuiltPart, Work, build, document};
use super::shards::SlotTable;
use crate::targeting::index::Document;

/// From how many line items on something is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// In the delta beyond which it is to be folded into the middle: building a delta of this size takes about 2 ms, and that is the price of each change.
    pub(super) delta_wanted: usize,
    /// In the middle beyond which a new base is wanted instead. Where a million line items change a thousand times a second, that is once in a minute, and a base takes 6 to 7 s
    /// of a core; a larger middle is dearer to fold, which happens once a second.
    pub(super) middle_wanted: usize,
    /// Changed at once beyond which a new base is built at once, as in a bulk load.
    pub(super) bulk: usize,
    /// In the delta beyond which a new base is built at once: nobody runs the rebuilds that are wanted.
    pub(super) delta_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { delta_wanted: 1_024, middle_wanted: 65_536, bulk: 4_096, delta_max: 16_384 }
    }
}

/// The parts of the newest snapshot, and where each line item is.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) base: Part,
    pub(super) middle: Part,
    pub(super) delta: Part,
    /// INV-18: line items that the index has nothing of, because they have no normal form; they never serve, and nothing else suffers.
    pub(super) unindexable: BTreeSet<LineSlot>,
    base_places: Places,
    middle_lines: BTreeMap<LineSlot, Folded>,
    delta_lines: BTreeMap<LineSlot, Loose>,
    /// Line items that changed since the newest rebuild was begun.
    since_begun: BTreeSet<LineSlot>,
    /// Number of the newest rebuild begun, or of the one done at once.
    generation: u64,
    pub(super) limits: Limits,
}

/// A line item of the delta.
type Loose = (Candidate, Arc<Document>);

/// A line item of the middle: its document's number there, too.
#[derive(Debug)]
struct Folded {
    place: u32,
    line: Loose,
}

impl Levels {
    /// Empty, with a dictionary of that key.
    pub(super) fn keyed(key: u64) -> Self {
        Self { dictionary: Arc::new(Dictionary::keyed(key)), ..Self::default() }
    }

    /// Brings the parts up to date with line items that changed.
    pub(super) fn update(&mut self, changed: &[LineSlot], lines: &SlotTable<LineEntry>) {
        if changed.is_empty() {
            return;
        }
        if changed.len() > self.limits.bulk || self.delta_lines.len() + changed.len() > self.limits.delta_max {
            self.build_all(lines);
            return;
        }
        let dictionary = Arc::make_mut(&mut self.dictionary);
        for &slot in changed {
            if let Some(place) = self.base_places.remove(slot) {
                self.base.kill(place);
            }
            if let Some(folded) = self.middle_lines.remove(&slot) {
                self.middle.kill(folded.place);
            }
            self.delta_lines.remove(&slot);
            self.unindexable.remove(&slot);
            self.since_begun.insert(slot);
            if let Some(entry) = lines.get(slot) {
                match document(&entry.line_item, dictionary) {
                    Some(document) => _ = self.delta_lines.insert(slot, (entry.candidate(), Arc::new(document))),
                    None => _ = self.unindexable.insert(slot),
                }
            }
        }
        self.build_delta();
    }

    pub(super) fn wants_rebuild(&self) -> bool {
        self.delta_lines.len() > self.limits.delta_wanted
    }

    /// What is wanted: the delta folded into the middle, or a new base when the middle has grown.
    pub(super) fn begin_rebuild(&mut self, lines: &SlotTable<LineEntry>) -> RebuildJob {
        if self.middle_lines.len() + self.delta_lines.len() > self.limits.middle_wanted {
            return self.begin_base(lines);
        }
        let folded = self.middle_lines.values().map(|folded| &folded.line);
        let work = Work::Middle(folded.chain(self.delta_lines.values()).cloned().collect());
        self.begin(work)
    }

    pub(super) fn begin_base(&mut self, lines: &SlotTable<LineEntry>) -> RebuildJob {
        let work = Work::Base { lines: lines.clone(), dictionary: Arc::clone(&self.dictionary) };
        self.begin(work)
    }

    fn begin(&mut self, work: Work) -> RebuildJob {
        self.generation += 1;
        self.since_begun.clear();
        RebuildJob { generation: self.generation, work }
    }

    /// Whether what was built was put in place; not if it is out of date.
    pub(super) fn finish_rebuild(&mut self, rebuilt: Rebuilt) -> bool {
        if rebuilt.generation != self.generation {
            return false;
        }
        match rebuilt.part {
            RebuiltPart::Base(part, places) => {
                (self.base, self.base_places) = (part, places);
                (self.middle, self.middle_lines) = Default::default();
            }
            RebuiltPart::Middle(part, lines) => {
                let places = part.places();
                let folded = lines.into_iter().map(|line| (line.0.slot, Folded { place: places[&line.0.slot], line }));
                self.middle_lines = folded.collect();
                self.middle = part;
            }
        }
        let changed = mem::take(&mut self.since_begun);
        for slot in &changed {
            if let Some(place) = self.base_places.remove(*slot) {
                self.base.kill(place);
            }
            if let Some(folded) = self.middle_lines.remove(slot) {
                self.middle.kill(folded.place);
            }
        }
        self.delta_lines.retain(|slot, _| changed.contains(slot));
        self.build_delta();
        // The same part is not put in place twice.
        self.generation += 1;
        true
    }

    /// Line items in the base (those taken out since included), in the middle and in the delta.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.base.lines.len(), self.middle_lines.len(), self.delta_lines.len())
    }

    fn build_all(&mut self, lines: &SlotTable<LineEntry>) {
        let (part, places, unindexable) = build(lines, Arc::make_mut(&mut self.dictionary));
        (self.base, self.base_places) = (part, places);
        self.unindexable = unindexable.into_iter().collect();
        (self.middle, self.middle_lines) = Default::default();
        (self.delta, self.delta_lines) = Default::default();
        self.since_begun.clear();
        self.generation += 1;
    }

    fn build_delta(&mut self) {
        self.delta = Part::build(self.delta_lines.values().cloned().collect());
    }
}
