//! Building an index.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::ValueId;
use super::bands::{Asked, Bands};
use super::bits::Bits;
use super::compile::{Compiled, Document, Residual};
use super::query::{Habit, Lane};
use super::record::{self, LaneBits};
use super::shelf::{Condition, Shelf};

/// From how much on an index does what pays only in large ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Conjunctions from which they are parted into shelves.
    pub(super) parted: usize,
    /// Entries from which a shelf has rows.
    pub(super) with_rows: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { parted: 8_192, with_rows: 256 }
    }
}

/// Parts of a thousand: an index is parted only where as many conjunctions ask for a value of the shelf lane, and where what a listener then has to
/// read is at most as much of it.
const PARTED_ASKED_LEAST: usize = 600;
const PARTED_READ_MOST: usize = 500;
/// Most entries to a hundred conjunctions: each stands on the shelf of every value it asks for.
const PARTED_ENTRIES_MOST: usize = 250;

/// Where conjunctions of a network stand that ask for a value of the shelf lane, or for none.
type Key = (ValueId, Option<ValueId>);

/// An immutable index over documents in a fixed order.
#[derive(Debug, Default)]
pub struct Index {
    documents: usize,
    /// The lane by whose values conjunctions are parted; none in a small index, or where it would not pay.
    pub(super) shelf_lane: Option<Lane>,
    pub(super) shelf_of: HashMap<Key, u32>,
    pub(super) shelves: Vec<Shelf>,
    pub(super) bands: Bands,
    /// Where a reader's bits of each lane are.
    pub(super) lanes: [LaneBits; Lane::COUNT],
    pub(super) residuals: Vec<Residual>,
}

impl Index {
    /// The index of documents, in order of rank.
    pub fn build(documents: impl IntoIterator<Item = impl Borrow<Document>>) -> Self {
        Self::of_sizes(documents, Sizes::default())
    }

    /// The same for indexes that are small but built as large ones are, in tests.
    pub(super) fn of_sizes(documents: impl IntoIterator<Item = impl Borrow<Document>>, sizes: Sizes) -> Self {
        let mut drafts = Drafts::default();
        for (document, content) in (0_u32..).zip(documents) {
            for compiled in &content.borrow().conjunctions {
                drafts.add(document, compiled);
            }
            drafts.documents += 1;
        }
        drafts.build(sizes)
    }

    /// Number of documents.
    #[must_use]
    pub const fn documents(&self) -> usize {
        self.documents
    }

    /// All documents, live.
    #[must_use]
    pub fn all_live(&self) -> Bits {
        Bits::set(self.documents)
    }

    /// Words that a reader needs for what a listener has.
    pub(super) fn value_words(&self) -> usize {
        self.lanes.iter().map(|lane| lane.words()).sum()
    }

    /// Bytes that it takes, what its line items' large sets take included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let shelves: usize = self.shelves.iter().map(Shelf::bytes).sum();
        shelves
            + self.bands.bytes()
            + self.shelves.len() * size_of::<Shelf>()
            + self.shelf_of.capacity() * (size_of::<Key>() + size_of::<u32>())
            + self.residuals.iter().map(Residual::bytes).sum::<usize>()
    }
}

/// All conjunctions in compact form, and what is known of them together.
#[derive(Default)]
struct Drafts {
    documents: usize,
    conjunctions: Vec<Draft>,
    conditions: Vec<DraftCondition>,
    values: Vec<ValueId>,
    /// By lane.
    asked: [Asked; Lane::COUNT],
    lane_counts: [usize; Lane::COUNT],
    residuals: Vec<Residual>,
    /// Large sets by content, with their residuals.
    large: HashMap<(Lane, bool, Arc<[ValueId]>), u32>,
}

/// A conjunction; its conditions begin where those of the one before end.
struct Draft {
    document: u32,
    network: ValueId,
    conditions: Range<u32>,
    residuals: Range<u32>,
}

struct DraftCondition {
    lane: Lane,
    is_negated: bool,
    residual: Option<u32>,
    values: Range<u32>,
}

impl Drafts {
    fn add(&mut self, document: u32, compiled: &Compiled) {
        let this = number(self.conjunctions.len());
        let residuals = number(self.residuals.len())..number(self.residuals.len() + compiled.residuals.len());
        self.residuals.extend(compiled.residuals.iter().cloned());
        for residual in &compiled.residuals {
            if let Residual::Values { lane, set, .. } = residual {
                self.count_values(*lane, set);
            }
        }
        let first = number(self.conditions.len());
        let mut network = None;
        let mut room =
            record::Room::for_questions(compiled.wanted.len() + compiled.excluded.len() + compiled.residuals.len());
        for (lane, set) in &compiled.wanted {
            if *lane == Lane::NETWORK {
                network = set.first().copied();
            } else {
                self.asked[lane.index()].add(this, set);
                self.condition(*lane, false, set, &mut room);
            }
        }
        for (lane, set) in &compiled.excluded {
            self.condition(*lane, true, set, &mut room);
        }
        let network = network.expect("every conjunction asks for its network");
        let conditions = first..number(self.conditions.len());
        self.conjunctions.push(Draft { document, network, conditions, residuals });
    }

    fn condition(&mut self, lane: Lane, is_negated: bool, set: &[ValueId], room: &mut record::Room) {
        let residual = (!room.take(lane, set)).then(|| self.large(lane, is_negated, set));
        let first = number(self.values.len());
        self.values.extend_from_slice(set);
        let values = first..number(self.values.len());
        self.conditions.push(DraftCondition { lane, is_negated, residual, values });
        self.count_values(lane, set);
    }

    /// Notes how many values of a lane are asked for.
    fn count_values(&mut self, lane: Lane, set: &[ValueId]) {
        let count = &mut self.lane_counts[lane.index()];
        *count = set.last().map_or(*count, |last| (*count).max(last.index() + 1));
    }

    /// The residual of a large set; equal sets share one.
    fn large(&mut self, lane: Lane, negated: bool, set: &[ValueId]) -> u32 {
        let key = (lane, negated, Arc::from(set));
        if let Some(&known) = self.large.get(&key) {
            return known;
        }
        let residual = number(self.residuals.len());
        self.residuals.push(Residual::Values { lane, negated, set: Arc::clone(&key.2) });
        self.large.insert(key, residual);
        residual
    }

    fn conditions(&self, draft: &Draft) -> impl Iterator<Item = Condition<'_>> {
        let conditions = &self.conditions[draft.conditions.start as usize..draft.conditions.end as usize];
        conditions.iter().map(|one| Condition {
            lane: one.lane,
            is_negated: one.is_negated,
            set: &self.values[one.values.start as usize..one.values.end as usize],
            residual: one.residual,
        })
    }

    /// The shelves on which a conjunction stands.
    fn keys(&self, draft: &Draft, shelf_lane: Option<Lane>, mut each: impl FnMut(Key)) {
        match self.conditions(draft).find(|one| !one.is_negated && Some(one.lane) == shelf_lane) {
            Some(by) => by.set.iter().for_each(|value| each((draft.network, Some(*value)))),
            None => each((draft.network, None)),
        }
    }

    fn build(mut self, sizes: Sizes) -> Index {
        let conjunctions = self.conjunctions.len();
        let shelf_lane = if conjunctions >= sizes.parted { self.shelf_lane() } else { None };
        if let Some(lane) = shelf_lane {
            self.asked[lane.index()] = Asked::default();
        }
        let bands = Bands::new(&self.asked, conjunctions);
        let mut shelf_of: HashMap<Key, u32> = HashMap::new();
        let mut counts: Vec<usize> = Vec::new();
        for draft in &self.conjunctions {
            self.keys(draft, shelf_lane, |key| {
                let shelf = *shelf_of.entry(key).or_insert_with(|| number(counts.len()));
                counts.resize(counts.len().max(shelf as usize + 1), 0);
                counts[shelf as usize] += 1;
            });
        }
        let mut shelves: Vec<Shelf> = counts.iter().map(|_| Shelf::default()).collect();
        for draft in &self.conjunctions {
            self.keys(draft, shelf_lane, |key| {
                let place = shelf_of[&key] as usize;
                let bands = (counts[place] >= sizes.with_rows).then_some(&bands);
                // A shelf of a value says that the value is asked for.
                let said = shelf_lane.filter(|_| key.1.is_some());
                let open = self.conditions(draft).filter(|one| one.is_negated || Some(one.lane) != said);
                shelves[place].push(bands, draft.document, open, draft.residuals.clone());
            });
        }
        shelves.iter_mut().for_each(Shelf::shrink);
        let lanes = lane_bits(self.lane_counts);
        let (documents, residuals) = (self.documents, self.residuals);
        Index { documents, shelf_lane, shelf_of, shelves, bands, lanes, residuals }
    }

    /// The lane whose shelves leave a listener least to read; none if none leaves little.
    fn shelf_lane(&self) -> Option<Lane> {
        let conjunctions = self.conjunctions.len();
        let read = |lane: &Lane| {
            let asked = &self.asked[lane.index()];
            let entries: usize = asked.counts().sum();
            let is_asked = asked.conjunctions * 1_000 >= conjunctions * PARTED_ASKED_LEAST;
            let is_small = (conjunctions - asked.conjunctions + entries) * 100 <= conjunctions * PARTED_ENTRIES_MOST;
            // A value that many ask for is one that many listeners have.
            let squares: u128 = asked.counts().map(|count| (count as u128).pow(2)).sum();
            let shelf = usize::try_from(squares / (entries as u128).max(1)).unwrap_or(usize::MAX);
            let read = conjunctions - asked.conjunctions + shelf;
            (is_asked && is_small && read * 1_000 <= conjunctions * PARTED_READ_MOST).then_some((read, *lane))
        };
        let lanes = Lane::all().filter(|lane| *lane != Lane::NETWORK && lane.habit() == Habit::One);
        lanes.filter_map(|lane| read(&lane)).min().map(|(_, lane)| lane)
    }
}

fn lane_bits(counts: [usize; Lane::COUNT]) -> [LaneBits; Lane::COUNT] {
    let mut first_word = 0;
    counts.map(|count| {
        let lane = LaneBits { first_word, count };
        first_word += lane.words();
        lane
    })
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 conjunctions fit in memory")
}
