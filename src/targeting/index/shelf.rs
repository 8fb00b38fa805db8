//! A shelf: the entries of one network and one value of the index's shelf lane, best rank first.

use super::ValueId;
use super::bands::{Bands, is_hours_on_days};
use super::query::Lane;
use super::record::Writer;

/// Entries of a block; a row of it is a line of the processor's cache.
pub(super) const BLOCK: usize = 512;
pub(super) const WORDS: usize = BLOCK / 64;

/// A bit for each entry of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(64))]
pub(super) struct Row(pub(super) [u64; WORDS]);

impl Row {
    const ONES: Self = Self([u64::MAX; WORDS]);
    pub(super) const ZEROS: Self = Self([0; WORDS]);

    /// Ones for the first `count` entries, all of them if there are more.
    fn first(count: usize) -> Self {
        let mut row = Self::ZEROS;
        for (place, word) in row.0.iter_mut().enumerate() {
            *word = match count.saturating_sub(place * 64) {
                0 => 0,
                some @ 1..64 => (1 << some) - 1,
                _ => u64::MAX,
            };
        }
        row
    }

    pub(super) fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    pub(super) fn or(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// The first entry that is set from this word on.
    pub(super) fn first_from(&self, word: usize) -> Option<usize> {
        let place = (word..WORDS).find(|place| self.0[*place] != 0)?;
        Some(place * 64 + self.0[place].trailing_zeros() as usize)
    }

    fn put(&mut self, bit: usize, value: bool) {
        let (word, mask) = (&mut self.0[bit / 64], 1 << (bit % 64));
        *word = if value { *word | mask } else { *word & !mask };
    }
}

/// Entries with their rows and records.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Block by block, all rows of one side by side; none where the shelf is small.
    rows: Vec<Row>,
    /// Whose each entry is.
    documents: Vec<u32>,
    /// Where each entry's record begins in its block's; [`SETTLED`] if it has none, as rows say all.
    starts: Vec<u16>,
    /// Where each block's records begin.
    block_starts: Vec<u32>,
    records: Vec<u16>,
}

/// In [`Shelf::starts`]: who passes the rows is met.
const SETTLED: u16 = u16::MAX;

/// A block, to be read.
pub(super) struct Block<'a> {
    /// Its rows, side by side; empty where the shelf is small.
    pub(super) rows: &'a [Row],
    documents: &'a [u32],
    starts: &'a [u16],
    records: &'a [u16],
}

impl Block<'_> {
    /// All its entries.
    pub(super) fn all(&self) -> Row {
        Row::first(self.documents.len())
    }

    /// Whose an entry is.
    pub(super) fn document(&self, entry: usize) -> u32 {
        self.documents[entry]
    }

    /// The entry's record and what lies behind it; none if it asks nothing that rows don't say.
    pub(super) fn record(&self, entry: usize) -> Option<&[u16]> {
        let start = self.starts[entry];
        (start != SETTLED).then(|| &self.records[usize::from(start)..])
    }
}

/// A condition of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition<'a> {
    pub(super) lane: Lane,
    pub(super) is_negated: bool,
    pub(super) set: &'a [ValueId],
    /// The residual that asks the same, for what a record has no room for.
    pub(super) residual: Option<u32>,
}

impl Shelf {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// Appends an entry. `conditions` leave out what the shelf itself says; `residuals` are to hold, too.
    pub(super) fn push<'a>(
        &mut self,
        bands: Option<&Bands>,
        document: u32,
        conditions: impl Iterator<Item = Condition<'a>>,
        residuals: impl Iterator<Item = u32>,
    ) {
        let entry = self.len();
        if entry.is_multiple_of(BLOCK) {
            self.rows.resize(self.rows.len() + bands.map_or(0, |bands| bands.rows), Row::ONES);
            let start = u32::try_from(self.records.len()).expect("records of a shelf take less than 8 GiB");
            self.block_starts.push(start);
        }
        let start = self.records.len() - self.block_starts[entry / BLOCK] as usize;
        let mut open = Vec::new();
        for condition in conditions {
            if !bands.is_some_and(|bands| self.mark(bands, entry, &condition)) {
                open.push(condition);
            }
        }
        let mut record = Writer::new(&mut self.records);
        for condition in open {
            match condition.residual {
                Some(residual) => record.ask_residual(residual),
                None => record.ask(condition.lane, condition.is_negated, condition.set),
            }
        }
        residuals.for_each(|residual| record.ask_residual(residual));
        let has_record = record.end();
        self.documents.push(document);
        self.starts.push(if has_record { u16::try_from(start).expect("records are short") } else { SETTLED });
    }

    /// Marks in the rows what an entry asks; whether they say all of it.
    fn mark(&mut self, bands: &Bands, entry: usize, condition: &Condition<'_>) -> bool {
        let block = &mut self.rows[entry / BLOCK * bands.rows..];
        let bit = entry % BLOCK;
        let mut is_said = false;
        let mut sides = 0;
        for band in bands.of(condition.lane) {
            if condition.is_negated {
                is_said = band.is_exact_without(condition.set);
                if !is_said {
                    continue;
                }
            } else {
                is_said = band.is_exact(condition.set);
                sides += 1;
                block[band.first..band.first + band.count].iter_mut().for_each(|row| row.put(bit, false));
            }
            for row in condition.set.iter().filter_map(|value| band.row(*value)) {
                block[row].put(bit, !condition.is_negated);
            }
        }
        is_said || (sides == 2 && is_hours_on_days(condition.set))
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        self.len().div_ceil(BLOCK)
    }

    /// A block, with `rows` rows where the shelf has any.
    pub(super) fn block(&self, block: usize, rows: usize) -> Block<'_> {
        let entries = block * BLOCK..self.len().min((block + 1) * BLOCK);
        Block {
            rows: self.rows.get(block * rows..(block + 1) * rows).unwrap_or_default(),
            documents: &self.documents[entries.clone()],
            starts: &self.starts[entries],
            records: &self.records[self.block_starts[block] as usize..],
        }
    }

    /// Whose an entry of a block is.
    pub(super) fn document(&self, block: usize, entry: usize) -> u32 {
        self.documents[block * BLOCK + entry]
    }

    /// Whose the first entry of a block is; none where there is no such block.
    pub(super) fn first_document(&self, block: usize) -> Option<u32> {
        self.documents.get(block * BLOCK).copied()
    }

    /// The block with the first entry that is of no document before this one; the number of blocks where there is none.
    pub(super) fn block_of(&self, document: u32) -> usize {
        self.documents.partition_point(|of| *of < document) / BLOCK
    }

    /// Gives back room that was not needed.
    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.documents.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.block_starts.shrink_to_fit();
        self.records.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let records = size_of_val(&*self.starts) + size_of_val(&*self.block_starts) + size_of_val(&*self.records);
        size_of_val(&*self.rows) + size_of_val(&*self.documents) + records
    }
}
