//! Reading an index from the front.

use super::bits::Bits;
use super::build::Index;
use super::query::{Lane, Query};
use super::record::{self, Possessions, Reader};
use super::shelf::{BLOCK, Row, Shelf};

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
    /// One past the last document yielded.
    seen: u32,
    pub(crate) sabotage: Sabotage,
}

/// Where a reader of one shelf is.
#[derive(Debug)]
struct Arm {
    shelf: usize,
    /// The block after the one that is being read.
    next_block: usize,
    /// Entries of the current block that the rows let through and that are not yet read.
    left: Row,
    /// The next document found, where it was looked for.
    found: Option<u32>,
}

impl Cursor {
    /// Goes to the front of the index, for a query.
    pub fn start(&mut self, index: &Index, query: &Query) {
        self.has.clear(index.value_bits());
        self.rows.clear();
        self.band_ends.clear();
        self.arms.clear();
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
                    self.arms.push(Arm { shelf: shelf as usize, next_block: 0, left: Row::ZEROS, found: None });
                }
            }
        }
    }

    /// The next live document that the query meets; none when there are no more. Index and query must be those of
    /// [`start`](Self::start).
    pub fn next(&mut self, index: &Index, live: &Bits, query: &Query) -> Option<u32> {
        let Self { has, rows, band_ends, arms, seen, sabotage } = self;
        let (lanes, residuals) = (&index.lanes, &index.residuals[..]);
        let reader = Reader { lanes, residuals, has, query, sabotage: *sabotage };
        let is_live = |document: u32| *sabotage == Sabotage::Tombstone || live.contains(document as usize);
        let found = arms.iter_mut().filter_map(|arm| {
            if arm.found.is_none_or(|document| document < *seen) {
                let shelf = &index.shelves[arm.shelf];
                arm.found = arm.find(
                    shelf,
                    |block| passed(shelf, block, index.bands.rows, rows, band_ends),
                    |record| {
                        let document = record::document(record);
                        (document >= *seen && is_live(document) && reader.holds(record)).then_some(document)
                    },
                );
            }
            arm.found
        });
        let document = found.min()?;
        *seen = document + 1;
        Some(document)
    }

    /// No document before this one is still to come; none when no document is.
    #[must_use]
    pub fn position(&self, index: &Index) -> Option<u32> {
        let next = self.arms.iter().filter_map(|arm| arm.position(&index.shelves[arm.shelf], self.seen)).min()?;
        ((next as usize) < index.documents()).then_some(next)
    }
}

impl Arm {
    /// The next document of the shelf that `test` finds in a record; blocks are computed by `passed`.
    fn find(
        &mut self,
        shelf: &Shelf,
        passed: impl Fn(usize) -> Row,
        test: impl Fn(&[u16]) -> Option<u32>,
    ) -> Option<u32> {
        loop {
            while let Some(entry) = self.left.take_first() {
                let entry = (self.next_block - 1) * BLOCK + entry;
                if let Some(document) = test(shelf.record(entry)) {
                    return Some(document);
                }
            }
            if self.next_block == shelf.blocks() {
                return None;
            }
            self.left = passed(self.next_block);
            self.next_block += 1;
        }
    }

    fn position(&self, shelf: &Shelf, seen: u32) -> Option<u32> {
        if let Some(found) = self.found.filter(|document| *document >= seen) {
            return Some(found);
        }
        let left = self.left.peek_first().map(|entry| (self.next_block - 1) * BLOCK + entry);
        let next = left.or_else(|| (self.next_block < shelf.blocks()).then_some(self.next_block * BLOCK))?;
        Some(record::document(shelf.record(next)).max(seen))
    }
}

/// The entries of a block that the rows let through.
fn passed(shelf: &Shelf, block: usize, row_count: usize, rows: &[usize], band_ends: &[usize]) -> Row {
    let (mut left, of_block) = shelf.block(block, row_count);
    let Some(of_block) = of_block else { return left };
    let mut from = 0;
    for &end in band_ends {
        match &rows[from..end] {
            [row] => left.and(&of_block[*row]),
            several => {
                let mut any = Row::ZEROS;
                for row in several {
                    any.or(&of_block[*row]);
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
