//! Reading an index from the front.

use super::bits::Bits;
use super::build::Index;
use super::query::{Lane, Query};
use super::record::{Possessions, Reader};
use super::shelf::{Block, Row, WORDS};

/// A fault put into reading, so that tests can show that they would see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sabotage {
    /// None: what everything but those tests uses.
    #[default]
    None,
    /// Exclusions are not looked at.
    Not,
    /// Of several values of a field only the first counts.
    MultiValue,
    /// What is left to check is taken to hold.
    Residual,
    /// What was taken out is still there.
    Tombstone,
}

/// Where a reader of one index is, and the memory it works in. Reused from one request to the next.
#[derive(Debug, Default)]
pub struct Cursor {
    /// What the listener has.
    has: Possessions,
    /// Rows that let the listener through, those of one band side by side.
    rows: Vec<usize>,
    /// Where each band's rows end.
    band_ends: Vec<usize>,
    /// The shelves that are read, each from its front.
    arms: Vec<Arm>,
    /// Memory of arms that were read before.
    spare: Vec<Vec<u32>>,
    /// One past the last document yielded.
    seen: u32,
    pub(crate) sabotage: Sabotage,
}

/// Where a reader of one shelf is. It reads the records of 64 entries at a time: then the processor waits for the memory of several at once, not for one
/// after the other, and little is read that nobody asks for.
#[derive(Debug)]
struct Arm {
    shelf: usize,
    /// The block after the one that is being read.
    next_block: usize,
    /// Entries of the block that its rows let through; those of the first `read_words` words were read.
    passed: Row,
    read_words: usize,
    /// Documents found among those read last, in order.
    found: Vec<u32>,
    /// How many of them were yielded.
    yielded: usize,
}

impl Cursor {
    /// Goes to the front of the index, for a query.
    pub fn start(&mut self, index: &Index, query: &Query) {
        self.has.clear(index.value_words());
        self.rows.clear();
        self.band_ends.clear();
        self.spare.extend(self.arms.drain(..).map(|arm| arm.found));
        self.seen = 0;
        let most = if self.sabotage == Sabotage::MultiValue { 1 } else { usize::MAX };
        for lane in Lane::all() {
            let bits = index.lanes[lane.index()];
            query.values(lane).iter().take(most).for_each(|value| self.has.add(bits, *value));
        }
        for band in &index.bands.all {
            let from = self.rows.len();
            let values = query.values(band.lane);
            if values.is_empty() {
                self.rows.push(band.first);
            }
            for value in values.iter().take(most) {
                match band.row(*value) {
                    Some(row) if self.rows[from..].contains(&row) => {}
                    Some(row) => self.rows.push(row),
                    None => {
                        self.rows.truncate(from);
                        break;
                    }
                }
            }
            if self.rows.len() > from {
                self.band_ends.push(self.rows.len());
            }
        }
        for network in query.values(Lane::NETWORK) {
            let values = index.shelf_lane.map_or(&[][..], |lane| query.values(lane));
            for key in values.iter().map(|value| Some(*value)).chain([None]) {
                if let Some(&shelf) = index.shelf_of.get(&(*network, key)) {
                    let found = self.spare.pop().unwrap_or_default();
                    self.arms.push(Arm::new(shelf as usize, found));
                }
            }
        }
    }

    /// The next live document that the query meets; none when there are no more. Index and query must be those of
    /// [`start`](Self::start).
    pub fn next(&mut self, index: &Index, live: &Bits, query: &Query) -> Option<u32> {
        let Self { has, rows, band_ends, arms, seen, sabotage, .. } = self;
        let mut first = None;
        for arm in &mut *arms {
            let document = loop {
                match arm.found.get(arm.yielded) {
                    Some(document) if *document < *seen => arm.yielded += 1,
                    Some(document) => break Some(*document),
                    None => {
                        let shelf = &index.shelves[arm.shelf];
                        if arm.read_words == WORDS {
                            if arm.next_block == shelf.blocks() {
                                break None;
                            }
                            arm.enter(passed(&shelf.block(arm.next_block, index.bands.rows), rows, band_ends));
                        }
                        let (lanes, residuals) = (&index.lanes, &index.residuals[..]);
                        let reader = Reader { lanes, residuals, has, query, sabotage: *sabotage };
                        arm.read(&shelf.block(arm.next_block - 1, index.bands.rows), &reader, live);
                    }
                }
            };
            first = first.into_iter().chain(document).min();
        }
        *seen = first? + 1;
        first
    }

    /// Passes over every document before this one.
    pub fn skip_to(&mut self, index: &Index, document: u32) {
        self.seen = self.seen.max(document);
        for arm in &mut self.arms {
            let block = index.shelves[arm.shelf].block_of(document);
            if block >= arm.next_block {
                arm.begin_at(block);
            }
        }
    }

    /// No document before this one is still to come; none when no document is.
    #[must_use]
    pub fn position(&self, index: &Index) -> Option<u32> {
        let next = |arm: &Arm| {
            let shelf = &index.shelves[arm.shelf];
            let found = arm.found[arm.yielded..].iter().copied().find(|document| *document >= self.seen);
            let passed =
                || arm.passed.first_from(arm.read_words).map(|entry| shelf.document(arm.next_block - 1, entry));
            found.or_else(passed).or_else(|| shelf.first_document(arm.next_block))
        };
        let next = self.arms.iter().filter_map(next).min()?.max(self.seen);
        ((next as usize) < index.documents()).then_some(next)
    }
}

impl Arm {
    fn new(shelf: usize, found: Vec<u32>) -> Self {
        let mut arm = Self { shelf, next_block: 0, passed: Row::ZEROS, read_words: WORDS, found, yielded: 0 };
        arm.begin_at(0);
        arm
    }

    /// Has nothing before this block left to yield.
    fn begin_at(&mut self, block: usize) {
        self.found.clear();
        (self.next_block, self.passed, self.read_words, self.yielded) = (block, Row::ZEROS, WORDS, 0);
    }

    /// Enters the next block, of whose entries these passed its rows.
    fn enter(&mut self, passed: Row) {
        self.next_block += 1;
        self.passed = passed;
        self.read_words = 0;
    }

    /// Finds what matches among the next 64 entries of the block.
    fn read(&mut self, block: &Block<'_>, reader: &Reader<'_>, live: &Bits) {
        self.yielded = 0;
        self.found.clear();
        let first = self.read_words * 64;
        let mut left = self.passed.0[self.read_words];
        self.read_words += 1;
        while left != 0 {
            let entry = first + left.trailing_zeros() as usize;
            left &= left - 1;
            let document = block.document(entry);
            let is_live = reader.sabotage == Sabotage::Tombstone || live.contains(document as usize);
            if is_live
                && block.record(entry).is_none_or(|record| reader.holds(record))
                && self.found.last() != Some(&document)
            {
                self.found.push(document);
            }
        }
    }
}

/// The entries of a block that the rows let through.
fn passed(block: &Block<'_>, rows: &[usize], band_ends: &[usize]) -> Row {
    let mut left = block.all();
    if block.rows.is_empty() {
        return left;
    }
    let mut from = 0;
    for &end in band_ends {
        match &rows[from..end] {
            [row] => left.and(&block.rows[*row]),
            several => {
                let mut any = Row::ZEROS;
                for row in several {
                    any.or(&block.rows[*row]);
                }
                left.and(&any);
            }
        }
        if left.is_empty() {
            break;
        }
        from = end;
    }
    left
}
