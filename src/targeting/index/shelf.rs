//! A shelf: the entries of one network and one value of the index's shelf lane, best rank first.

use super::ValueId;
use super::bands::{Bands, is_hours_on_days};
use super::query::Lane;
use super::record;

/// Entries of a block; a row of it is a line of the processor's cache.
pub(super) const BLOCK: usize = 512;
const WORDS: usize = BLOCK / 64;

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

    /// Takes out the first entry that is set.
    pub(super) fn take_first(&mut self) -> Option<usize> {
        let place = self.0.iter().position(|word| *word != 0)?;
        let bit = self.0[place].trailing_zeros() as usize;
        self.0[place] &= self.0[place] - 1;
        Some(place * 64 + bit)
    }

    /// The first entry that is set.
    pub(super) fn peek_first(&self) -> Option<usize> {
        let place = self.0.iter().position(|word| *word != 0)?;
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
    /// Where each entry's record begins, and the end of the last.
    starts: Vec<u32>,
    records: Vec<u16>,
}

/// A condition of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition<'a> {
    pub(super) lane: Lane,
    pub(super) is_negated: bool,
    pub(super) set: &'a [ValueId],
    /// The residual that asks the same: for sets that no record has room for.
    pub(super) residual: u32,
}

impl Shelf {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
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
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        if let Some(bands) = bands
            && entry.is_multiple_of(BLOCK)
        {
            self.rows.resize(self.rows.len() + bands.rows, Row::ONES);
        }
        record::begin(document, &mut self.records);
        for condition in conditions {
            if !bands.is_some_and(|bands| self.mark(bands, entry, &condition))
                && !record::ask(condition.lane, condition.is_negated, condition.set, &mut self.records)
            {
                record::ask_residual(condition.residual, &mut self.records);
            }
        }
        residuals.for_each(|residual| record::ask_residual(residual, &mut self.records));
        self.starts.push(u32::try_from(self.records.len()).expect("records of a shelf take less than 8 GiB"));
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

    /// The entries that a block has, and its rows; none where the shelf is small.
    pub(super) fn block(&self, block: usize, rows: usize) -> (Row, Option<&[Row]>) {
        let all = Row::first(self.len() - block * BLOCK);
        (all, self.rows.get(block * rows..(block + 1) * rows).filter(|rows| !rows.is_empty()))
    }

    /// The record of an entry.
    pub(super) fn record(&self, entry: usize) -> &[u16] {
        &self.records[self.starts[entry] as usize..self.starts[entry + 1] as usize]
    }

    /// Gives back room that was not needed.
    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.records.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.rows) + size_of_val(&*self.starts) + size_of_val(&*self.records)
    }
}
