//! Reading an index from the front.

use super::bits::{Bits, WORD};
use super::build::{Index, Posting};
use super::query::Query;

/// Words of the first block: 1,024 conjunctions, enough for the best few of a request that many line items match.
const FIRST_BLOCK_WORDS: usize = 16;
/// Words of the largest block: 16,384 conjunctions, 2 KiB, so that all that is computed stays in the nearest cache.
const LARGEST_BLOCK_WORDS: usize = 256;

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
    /// What to do for each lane of the index.
    steps: Vec<Step>,
    /// Bitmaps of the steps, then those of exclusions.
    dense: Vec<u32>,
    /// Lists of the steps, then those of exclusions: where each is, and where it ends.
    sparse: Vec<(u32, u32)>,
    /// Where exclusions begin in `dense` and `sparse`.
    excluded: (usize, usize),
    /// The words of the current block that are not yet read.
    block: Vec<u64>,
    /// What a lane lets through.
    passed: Vec<u64>,
    /// First word of the current block.
    block_start: usize,
    /// The word of the block that is being read.
    word: usize,
    /// Words of the next block.
    next_words: usize,
    /// One past the last document yielded.
    seen: u32,
    pub(crate) sabotage: Sabotage,
}

/// One lane: its place in the index, and where its bitmaps and lists end.
#[derive(Clone, Copy, Debug)]
struct Step {
    lane: usize,
    dense_end: usize,
    sparse_end: usize,
}

impl Cursor {
    /// Goes to the front of the index, for a query.
    pub fn start(&mut self, index: &Index, query: &Query) {
        self.steps.clear();
        self.dense.clear();
        self.sparse.clear();
        self.block.clear();
        (self.block_start, self.word, self.seen) = (0, 0, 0);
        self.next_words = FIRST_BLOCK_WORDS;
        for (lane, (name, _)) in index.lanes.iter().enumerate() {
            let all = query.values(*name);
            let values = if self.sabotage == Sabotage::MultiValue { &all[..all.len().min(1)] } else { all };
            for value in values {
                self.add(index.wanted.get(value.index()));
            }
            self.steps.push(Step { lane, dense_end: self.dense.len(), sparse_end: self.sparse.len() });
        }
        self.excluded = (self.dense.len(), self.sparse.len());
        if self.sabotage != Sabotage::Not {
            for value in query.lanes().flatten() {
                self.add(index.excluded.get(value.index()));
            }
        }
    }

    fn add(&mut self, posting: Option<&Posting>) {
        match posting {
            None | Some(Posting::Empty) => {}
            Some(&Posting::Dense(bitmap)) => self.dense.push(bitmap),
            Some(&Posting::Sparse(from, to)) => self.sparse.push((from, to)),
        }
    }

    /// The next live document that the query meets; none when there are no more. Index and query must be those of
    /// [`start`](Self::start).
    pub fn next(&mut self, index: &Index, live: &Bits, query: &Query) -> Option<u32> {
        loop {
            while let Some(word) = self.block.get_mut(self.word) {
                if *word == 0 {
                    self.word += 1;
                    continue;
                }
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                let id = (self.block_start + self.word) * WORD + bit;
                let document = index.document_of[id];
                if document >= self.seen && self.checks_hold(index, id, query) {
                    self.seen = document + 1;
                    return Some(document);
                }
            }
            if !self.advance(index, live) {
                return None;
            }
        }
    }

    /// No document before this one is still to come; none when no document is.
    #[must_use]
    pub fn position(&self, index: &Index) -> Option<u32> {
        let id = (self.block_start + self.word) * WORD;
        let document = index.document_of.get(id)?.max(&self.seen);
        ((*document as usize) < index.documents()).then_some(*document)
    }

    fn checks_hold(&self, index: &Index, id: usize, query: &Query) -> bool {
        if self.sabotage == Sabotage::Residual || !index.checked.contains(id) {
            return true;
        }
        let place = index.residuals.partition_point(|(of, _)| (*of as usize) < id);
        index.residuals[place].1.iter().all(|residual| residual.holds(query))
    }

    /// Computes the next block; false at the end of the index.
    fn advance(&mut self, index: &Index, live: &Bits) -> bool {
        let start = self.block_start + self.block.len();
        let end = live.words().len().min(start + self.next_words);
        self.next_words = (self.next_words * 2).min(LARGEST_BLOCK_WORDS);
        self.block_start = start;
        self.word = 0;
        self.block.clear();
        self.block.extend_from_slice(&live.words()[start..end]);
        if self.sabotage == Sabotage::Tombstone {
            self.block.copy_from_slice(&index.all_live().words()[start..end]);
        }
        let (mut dense_from, mut sparse_from) = (0, 0);
        for place in 0..self.steps.len() {
            let Step { lane, dense_end, sparse_end } = self.steps[place];
            self.passed.clear();
            self.passed.extend_from_slice(&index.lanes[lane].1.words()[start..end]);
            for &bitmap in &self.dense[dense_from..dense_end] {
                let words = &index.bitmaps[bitmap as usize].words()[start..end];
                for (passed, word) in self.passed.iter_mut().zip(words) {
                    *passed |= word;
                }
            }
            for list in &mut self.sparse[sparse_from..sparse_end] {
                for &id in ids_in(list, &index.lists, start, end) {
                    let id = id as usize - start * WORD;
                    self.passed[id / WORD] |= 1 << (id % WORD);
                }
            }
            (dense_from, sparse_from) = (dense_end, sparse_end);
            let mut any = 0;
            for (word, passed) in self.block.iter_mut().zip(&self.passed) {
                *word &= passed;
                any |= *word;
            }
            if any == 0 {
                return start < end;
            }
        }
        self.exclude(index, start, end);
        start < end
    }

    fn exclude(&mut self, index: &Index, start: usize, end: usize) {
        for &bitmap in &self.dense[self.excluded.0..] {
            let words = &index.bitmaps[bitmap as usize].words()[start..end];
            for (word, excluded) in self.block.iter_mut().zip(words) {
                *word &= !excluded;
            }
        }
        for list in &mut self.sparse[self.excluded.1..] {
            for &id in ids_in(list, &index.lists, start, end) {
                let id = id as usize - start * WORD;
                self.block[id / WORD] &= !(1 << (id % WORD));
            }
        }
    }
}

/// The ids of a list that lie in the words from `start` to `end`; moves the list past them. Blocks only go forward, and some are left out.
fn ids_in<'a>(list: &mut (u32, u32), lists: &'a [u32], start: usize, end: usize) -> &'a [u32] {
    let rest = &lists[list.0 as usize..list.1 as usize];
    let from = gallop(rest, start * WORD);
    let to = from + gallop(&rest[from..], end * WORD);
    list.0 += u32::try_from(to).expect("within a list whose ends are 32 bits");
    &rest[from..to]
}

/// How many ids are below `bound`, found in time of the logarithm of the answer.
fn gallop(ids: &[u32], bound: usize) -> usize {
    let is_below = |id: u32| (id as usize) < bound;
    let mut step = 1;
    while step <= ids.len() && is_below(ids[step - 1]) {
        step *= 2;
    }
    let from = step / 2;
    from + ids[from..ids.len().min(step)].partition_point(|&id| is_below(id))
}
