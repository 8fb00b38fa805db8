//! Building a base or a middle, off the path of changes.

use std::cmp::Reverse;
use std::sync::Arc;

use super::dictionary::{Dictionary, Numbers};
use super::line::{Candidate, LineEntry, LineSlot};
use super::part::Part;
use super::rank::Rank;
use super::shards::SlotTable;
use crate::model::LineItem;
use crate::targeting::dnf::normal_form;
use crate::targeting::index::{Document, Index};

/// What is needed to build a part: everything as of one moment, shared with the catalogue. Send it to another thread and [`run`](Self::run) it.
#[derive(Debug)]
pub struct RebuildJob {
    pub(super) generation: u64,
    pub(super) work: Work,
}

/// What is to be built.
#[derive(Debug)]
pub(super) enum Work {
    /// A base of everything.
    Base { lines: SlotTable<LineEntry>, dictionary: Arc<Dictionary> },
    /// A middle of these.
    Middle(Vec<(Candidate, Arc<Document>)>),
}

/// A part that was built, to be put in place by [`finish_rebuild`](super::CatalogWriter::finish_rebuild).
#[derive(Debug)]
pub struct Rebuilt {
    pub(super) generation: u64,
    pub(super) part: RebuiltPart,
}

#[derive(Debug)]
pub(super) enum RebuiltPart {
    Base(Part, Places),
    Middle(Part, Vec<(Candidate, Arc<Document>)>),
}

impl RebuildJob {
    /// Builds the part: a base in about five seconds for a million line items, a middle in a tenth.
    #[must_use]
    pub fn run(self) -> Rebuilt {
        let part = match self.work {
            Work::Base { lines, dictionary } => {
                let (part, places, _) = build(&lines, &mut &*dictionary);
                RebuiltPart::Base(part, places)
            }
            Work::Middle(lines) => RebuiltPart::Middle(Part::build(lines.clone()), lines),
        };
        Rebuilt { generation: self.generation, part }
    }
}

/// Which document of a part a line item is.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<u32>);

impl Places {
    const NOWHERE: u32 = u32::MAX;

    /// The line item's document.
    pub(super) fn get(&self, slot: LineSlot) -> Option<u32> {
        self.0.get(slot.index()).copied().filter(|&document| document != Self::NOWHERE)
    }

    /// Forgets the line item; returns its document.
    pub(super) fn remove(&mut self, slot: LineSlot) -> Option<u32> {
        let document = self.get(slot)?;
        self.0[slot.index()] = Self::NOWHERE;
        Some(document)
    }

    fn set(&mut self, slot: LineSlot, document: u32) {
        if self.0.len() <= slot.index() {
            self.0.resize(slot.index() + 1, Self::NOWHERE);
        }
        self.0[slot.index()] = document;
    }
}

/// The part of all line items; and those that can't be indexed.
pub(super) fn build(lines: &SlotTable<LineEntry>, numbers: &mut impl Numbers) -> (Part, Places, Vec<LineSlot>) {
    let mut order: Vec<(Rank, &Arc<LineEntry>)> = lines.iter().map(|entry| (entry.rank, entry)).collect();
    order.sort_by_key(|(rank, entry)| (Reverse(*rank), entry.slot));
    let mut indexed = Vec::with_capacity(order.len());
    let mut unindexable = Vec::new();
    let documents = order.iter().filter_map(|(_, entry)| {
        let document = document(&entry.line_item, numbers);
        if document.is_some() {
            indexed.push(entry.candidate());
        } else {
            unindexable.push(entry.slot);
        }
        document
    });
    let index = Index::build(documents);
    let mut places = Places::default();
    for (document, line) in (0..).zip(&indexed) {
        places.set(line.slot, document);
    }
    let part = Part { live: Arc::new(index.all_live()), index: Arc::new(index), lines: indexed.into() };
    (part, places, unindexable)
}

/// The line item's targeting in numbers; none when it has no normal form.
pub(super) fn document(line_item: &LineItem, numbers: &mut impl Numbers) -> Option<Document> {
    let conjunctions = normal_form(&line_item.targeting).ok()?;
    let network = numbers.network(line_item.network_id);
    let zone = &line_item.flight.zone;
    Some(Document::new(network, &conjunctions, |field, term| numbers.value(field, term, zone)))
}
