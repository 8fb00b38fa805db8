//! Records: what rows leave open of an entry.
//!
//! A record is a few 16-bit units: the entry's document in two, then its questions. A question is a head (lane, kind, whether it is negated, how many
//! follow) and its values, by which the reader's [`Possessions`] are asked. Records of a block lie side by side, so that reading the entries that
//! rows let through reads forward in memory.

use super::ValueId;
use super::compile::Residual;
use super::query::{Habit, Lane, Query};

/// Units before the questions: the document.
const DOCUMENT_UNITS: usize = 2;
/// Most values, or ranges, of a question in a record; what has more is a [`Residual`], which all that ask the same share.
const INLINE_MAX: usize = 32;

/// Bits of a head: 0 to 4 the lane, 5 and 6 the kind, 7 whether negated, 8 to 15 how many follow.
const KIND_SHIFT: u32 = 5;
const NEGATED: u16 = 1 << 7;
const COUNT_SHIFT: u32 = 8;
const LANE_MASK: u16 = (1 << KIND_SHIFT) - 1;
const KIND_MASK: u16 = 3;

/// One of these values, each of a unit.
const VALUES: u16 = 0;
/// A value in one of these ranges, each of two units.
const RANGES: u16 = 1;
/// One of these values, each of two units.
const WIDE: u16 = 2;
/// A residual: its number in two units.
const RESIDUAL: u16 = 3;

/// What a listener has, as a bit for each value of the index.
#[derive(Debug, Default)]
pub(super) struct Possessions {
    words: Vec<u64>,
    /// Words with set bits, for clearing.
    set: Vec<u32>,
}

/// Where the bits of each lane begin, and how many values it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneBits {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Possessions {
    /// Forgets all, and makes room for `bits` values.
    pub(super) fn clear(&mut self, bits: usize) {
        for &word in &self.set {
            self.words[word as usize] = 0;
        }
        self.set.clear();
        let words = bits.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Notes a value of a lane; one that the index has nothing of is nothing.
    pub(super) fn add(&mut self, lane: LaneBits, value: ValueId) {
        if value.index() < lane.count {
            let bit = lane.first + value.index();
            self.words[bit / 64] |= 1 << (bit % 64);
            self.set.push(u32::try_from(bit / 64).expect("values are numbered in 32 bits"));
        }
    }

    fn has(&self, bit: usize) -> bool {
        self.words[bit / 64] & (1 << (bit % 64)) != 0
    }
}

/// The document of a record.
pub(super) fn document(record: &[u16]) -> u32 {
    u32_of(record[0], record[1])
}

/// Begins a record.
pub(super) fn begin(document: u32, into: &mut Vec<u16>) {
    into.extend(units_of(document));
}

/// How a set is written.
enum Form {
    Values,
    Ranges(usize),
    Wide,
}

/// How a set of a lane is written in a record; none if it has no room in one. Ranges are compared with each of the listener's values, of which there should
/// not be many.
fn form(lane: Lane, set: &[ValueId]) -> Option<Form> {
    let is_narrow = set.last().is_none_or(|last| u16::try_from(last.0).is_ok());
    let ranges = ranges(set).count();
    match set.len() {
        values if is_narrow && ranges * 2 < values && ranges <= INLINE_MAX && lane.habit() != Habit::Many => {
            Some(Form::Ranges(ranges))
        }
        values if values > INLINE_MAX => None,
        _ if is_narrow => Some(Form::Values),
        _ => Some(Form::Wide),
    }
}

/// Whether records have room for a set of a lane.
pub(super) fn has_room(lane: Lane, set: &[ValueId]) -> bool {
    form(lane, set).is_some()
}

/// Asks that a value of the set is there, or none. False if there is no room for it.
pub(super) fn ask(lane: Lane, is_negated: bool, set: &[ValueId], into: &mut Vec<u16>) -> bool {
    match form(lane, set) {
        None => return false,
        Some(Form::Values) => {
            into.push(head(lane, VALUES, is_negated, set.len()));
            into.extend(set.iter().map(|value| narrow(value.0)));
        }
        Some(Form::Ranges(count)) => {
            into.push(head(lane, RANGES, is_negated, count));
            into.extend(ranges(set).flat_map(|range| [range[0], range[range.len() - 1]]).map(|end| narrow(end.0)));
        }
        Some(Form::Wide) => {
            into.push(head(lane, WIDE, is_negated, set.len()));
            into.extend(set.iter().flat_map(|value| units_of(value.0)));
        }
    }
    true
}

/// Runs of numbers without gaps.
fn ranges(set: &[ValueId]) -> impl Iterator<Item = &[ValueId]> {
    set.chunk_by(|one, next| one.0 + 1 == next.0)
}

/// Asks that a residual holds, by its number.
pub(super) fn ask_residual(number: u32, into: &mut Vec<u16>) {
    into.push(head(Lane::NETWORK, RESIDUAL, false, 1));
    into.extend(units_of(number));
}

/// What a record is read with.
pub(super) struct Reader<'a> {
    pub(super) lanes: &'a [LaneBits; Lane::COUNT],
    pub(super) residuals: &'a [Residual],
    pub(super) has: &'a Possessions,
    pub(super) query: &'a Query,
    /// Faults for tests: negated questions hold, residuals hold.
    pub(super) sabotage: super::Sabotage,
}

impl Reader<'_> {
    /// Whether all questions of a record are answered with yes.
    pub(super) fn holds(&self, record: &[u16]) -> bool {
        let mut rest = &record[DOCUMENT_UNITS..];
        while let Some((&head, after)) = rest.split_first() {
            let lane = usize::from(head & LANE_MASK);
            let count = usize::from(head >> COUNT_SHIFT);
            let kind = (head >> KIND_SHIFT) & KIND_MASK;
            let units = if kind == VALUES { count } else { 2 * count };
            let (values, after) = after.split_at(units);
            let is_met = match kind {
                VALUES => {
                    let first = self.lanes[lane].first;
                    values.iter().any(|&value| self.has.has(first + usize::from(value)))
                }
                RANGES => self.is_in(lane, values),
                WIDE => {
                    let first = self.lanes[lane].first;
                    pairs(values).any(|(low, high)| self.has.has(first + u32_of(low, high) as usize))
                }
                _ => self.residual_holds(u32_of(values[0], values[1])),
            };
            let is_negated = head & NEGATED != 0;
            if is_met == is_negated && !(is_negated && self.sabotage == super::Sabotage::Not) {
                return false;
            }
            rest = after;
        }
        true
    }

    fn is_in(&self, lane: usize, ranges: &[u16]) -> bool {
        self.query
            .values(Lane::at(lane))
            .iter()
            .any(|value| pairs(ranges).any(|(from, to)| (u32::from(from)..=u32::from(to)).contains(&value.0)))
    }

    fn residual_holds(&self, number: u32) -> bool {
        self.sabotage == super::Sabotage::Residual || self.residuals[number as usize].holds(self.query)
    }
}

fn head(lane: Lane, kind: u16, is_negated: bool, count: usize) -> u16 {
    let lane = narrow(u32::try_from(lane.index()).expect("few lanes"));
    let count = narrow(u32::try_from(count).expect("few values"));
    lane | (kind << KIND_SHIFT) | if is_negated { NEGATED } else { 0 } | (count << COUNT_SHIFT)
}

fn narrow(number: u32) -> u16 {
    u16::try_from(number).expect("was looked at before")
}

fn units_of(number: u32) -> [u16; 2] {
    [narrow(number & 0xffff), narrow(number >> 16)]
}

fn u32_of(low: u16, high: u16) -> u32 {
    u32::from(low) | (u32::from(high) << 16)
}

fn pairs(units: &[u16]) -> impl Iterator<Item = (u16, u16)> {
    units.as_chunks::<2>().0.iter().map(|&[low, high]| (low, high))
}
