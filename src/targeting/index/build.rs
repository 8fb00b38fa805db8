//! Building an index.

use super::ValueId;
use super::bits::Bits;
use super::compile::{Document, Residual};
use super::query::Lane;

/// A value's conjunctions are kept as a bitmap when they are more than one in this many: there a bitmap is read faster than a list.
const DENSE_ONE_IN: usize = 64;

/// Who asks for a value, or excludes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Posting {
    /// Nobody.
    #[default]
    Empty,
    /// A bitmap: its place in [`Index::bitmaps`].
    Dense(u32),
    /// A sorted list: from and to in [`Index::lists`].
    Sparse(u32, u32),
}

/// An immutable index over documents in a fixed order.
#[derive(Debug, Default)]
pub struct Index {
    /// The document of each conjunction.
    pub(super) document_of: Vec<u32>,
    /// The first conjunction of each document, and one past the last.
    pub(super) first_of: Vec<u32>,
    /// Lanes that some conjunction wants something of, most selective first, with those that want nothing of it.
    pub(super) lanes: Vec<(Lane, Bits)>,
    /// Conjunctions that want a value, by value.
    pub(super) wanted: Vec<Posting>,
    /// Conjunctions that exclude a value, by value.
    pub(super) excluded: Vec<Posting>,
    pub(super) bitmaps: Vec<Bits>,
    pub(super) lists: Vec<u32>,
    /// Conjunctions with something to check.
    pub(super) checked: Bits,
    /// What to check, by conjunction.
    pub(super) residuals: Vec<(u32, Box<[Residual]>)>,
}

impl Index {
    /// The index of documents, in order of rank.
    pub fn build(documents: impl IntoIterator<Item = impl std::borrow::Borrow<Document>>) -> Self {
        let mut index = Self { first_of: vec![0], ..Self::default() };
        let mut wanted: Vec<(ValueId, u32)> = Vec::new();
        let mut excluded: Vec<(ValueId, u32)> = Vec::new();
        let mut asking: Vec<(Lane, u32)> = Vec::new();
        for (document, content) in (0_u32..).zip(documents) {
            for compiled in &content.borrow().conjunctions {
                let id = number(index.document_of.len());
                index.document_of.push(document);
                for (lane, set) in &compiled.wanted {
                    asking.push((*lane, id));
                    wanted.extend(set.iter().map(|&value| (value, id)));
                }
                excluded.extend(compiled.excluded.iter().flat_map(|(_, set)| set.iter()).map(|&value| (value, id)));
                if !compiled.residuals.is_empty() {
                    index.residuals.push((id, compiled.residuals.clone().into()));
                }
            }
            index.first_of.push(number(index.document_of.len()));
        }
        let count = index.document_of.len();
        index.checked = Bits::clear(count);
        for (id, _) in &index.residuals {
            index.checked.insert(*id as usize);
        }
        index.lanes = lanes(&asking, count);
        index.wanted = index.post(&wanted);
        index.excluded = index.post(&excluded);
        index
    }

    /// Number of documents.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.first_of.len() - 1
    }

    /// Number of conjunctions.
    #[must_use]
    pub fn conjunctions(&self) -> usize {
        self.document_of.len()
    }

    /// All conjunctions, live.
    #[must_use]
    pub fn all_live(&self) -> Bits {
        Bits::set(self.conjunctions())
    }

    /// Takes a document out of the live ones.
    ///
    /// # Panics
    /// When there is no such document: a caller's bug.
    pub fn kill(&self, document: u32, live: &mut Bits) {
        let document = document as usize;
        for id in self.first_of[document]..self.first_of[document + 1] {
            live.remove(id as usize);
        }
    }

    /// Groups (value, conjunction) pairs by value; conjunctions come in order already.
    fn post(&mut self, pairs: &[(ValueId, u32)]) -> Vec<Posting> {
        let values = pairs.iter().map(|(value, _)| value.index() + 1).max().unwrap_or(0);
        let mut ends = vec![0_usize; values + 1];
        for (value, _) in pairs {
            ends[value.index() + 1] += 1;
        }
        for value in 0..values {
            ends[value + 1] += ends[value];
        }
        // Counting sort: `ends[v]` walks from the start of value v's group to its end.
        let mut grouped = vec![0_u32; pairs.len()];
        for &(value, id) in pairs {
            let place = &mut ends[value.index()];
            grouped[*place] = id;
            *place += 1;
        }
        let mut start = 0;
        ends.iter()
            .take(values)
            .map(|&end| {
                let group = &grouped[start..end];
                start = end;
                self.posting(group)
            })
            .collect()
    }

    fn posting(&mut self, ids: &[u32]) -> Posting {
        if ids.is_empty() {
            return Posting::Empty;
        }
        if ids.len() * DENSE_ONE_IN > self.conjunctions() {
            let mut bits = Bits::clear(self.conjunctions());
            for &id in ids {
                bits.insert(id as usize);
            }
            self.bitmaps.push(bits);
            return Posting::Dense(number(self.bitmaps.len() - 1));
        }
        let from = number(self.lists.len());
        self.lists.extend_from_slice(ids);
        Posting::Sparse(from, number(self.lists.len()))
    }
}

/// For each lane asked of: who asks nothing, the lane that the fewest don't ask of first.
fn lanes(asking: &[(Lane, u32)], count: usize) -> Vec<(Lane, Bits)> {
    let mut free: Vec<Option<(Lane, Bits)>> = vec![None; Lane::COUNT];
    for &(lane, id) in asking {
        let (_, bits) = free[lane.index()].get_or_insert_with(|| (lane, Bits::set(count)));
        bits.remove(id as usize);
    }
    let mut lanes: Vec<(Lane, Bits)> = free.into_iter().flatten().collect();
    lanes.sort_by_cached_key(|(_, bits)| bits.count());
    lanes
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("an index of fewer than 2^32 entries fits in memory")
}
