//! Records: what rows leave open of an entry.
//!
//! A record is a few 16-bit units: the questions that an entry asks. A question is a head (lane, kind, whether it is negated, how many follow, whether
//! it is the last) and its values, by which the reader's [`Possessions`] are asked. Records of a block lie side by side, so that reading the entries
//! that rows let through reads forward in memory. Values are asked for all at once, without a branch: as many answers are no as are yes, and
//! a branch that is guessed wrong costs more than looking ten values up.

use super::ValueId;
use super::compile::Residual;
use super::query::{Habit, Lane, Query};

/// Most values, or ranges, of a question in a record; what has more is a [`Residual`], which all that ask the same share.
const INLINE_MAX: usize = 32;

/// What a search for one value in a large set costs, in steps of looking a value up.
const SEARCH_STEPS: usize = 8;
/// Most units of a record: then the records of a block are told apart by 16 bits.
pub(super) const UNITS_MAX: usize = 127;
/// Units of a question that is a residual's number.
const RESIDUAL_UNITS: usize = 3;

/// Bits of a head: 0 to 4 the lane, 5 and 6 the kind, 7 whether negated, 8 to 14 how many follow, 15 whether it is the record's last.
const KIND_SHIFT: u32 = 5;
const NEGATED: u16 = 1 << 7;
const COUNT_SHIFT: u32 = 8;
const COUNT_MASK: u16 = 127;
const LAST: u16 = 1 << 15;
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

/// Words of a lane's values that have a unit each.
const NARROW_WORDS: usize = (u16::MAX as usize + 1) / 64;

/// What a listener has, as a bit for each value of the index.
#[derive(Debug, Default)]
pub(super) struct Possessions {
    /// The words of all lanes, and so many more that every lane has [`NARROW_WORDS`].
    words: Vec<u64>,
    /// Words with set bits, for clearing.
    set: Vec<u32>,
}

/// Where the words of each lane begin, and how many values it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneBits {
    pub(super) first_word: usize,
    pub(super) count: usize,
}

impl LaneBits {
    /// Words that it takes.
    pub(super) const fn words(self) -> usize {
        self.count.div_ceil(64)
    }
}

impl Possessions {
    /// Forgets all, and makes room for that many words of lanes.
    pub(super) fn clear(&mut self, words: usize) {
        for &word in &self.set {
            self.words[word as usize] = 0;
        }
        self.set.clear();
        if self.words.len() < words + NARROW_WORDS {
            self.words.resize(words + NARROW_WORDS, 0);
        }
    }

    /// Notes a value of a lane; one that the index has nothing of is nothing.
    pub(super) fn add(&mut self, lane: LaneBits, value: ValueId) {
        if value.index() < lane.count {
            let word = lane.first_word + value.index() / 64;
            self.words[word] |= 1 << (value.index() % 64);
            self.set.push(u32::try_from(word).expect("values are numbered in 32 bits"));
        }
    }

    /// Whether it has any of a lane's values.
    fn has_any(&self, lane: LaneBits, values: &[u16]) -> bool {
        let words: &[u64; NARROW_WORDS] =
            self.words[lane.first_word..].first_chunk().expect("there is room after the last lane");
        let bit = |value: &u16| words[usize::from(*value) / 64] >> (value % 64);
        values.iter().fold(0, |any, value| any | bit(value)) & 1 != 0
    }

    fn has(&self, lane: LaneBits, value: u32) -> bool {
        let value = value as usize;
        self.words[lane.first_word + value / 64] & (1 << (value % 64)) != 0
    }
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

/// The room in a record, as it is taken by one question after another.
pub(super) struct Room {
    /// Units that are left when every question still to come is a residual.
    left: usize,
}

impl Room {
    /// Of a record of at most that many questions.
    pub(super) fn for_questions(count: usize) -> Self {
        Self { left: UNITS_MAX.saturating_sub(count * RESIDUAL_UNITS) }
    }

    /// Takes what a set of a lane needs; false if there is no room, and it is to be a residual.
    pub(super) fn take(&mut self, lane: Lane, set: &[ValueId]) -> bool {
        let units = form(lane, set).map(|form| match form {
            Form::Values => 1 + set.len(),
            Form::Ranges(count) => 1 + 2 * count,
            Form::Wide => 1 + 2 * set.len(),
        });
        let Some(left) = units.and_then(|units| self.left.checked_sub(units.saturating_sub(RESIDUAL_UNITS))) else {
            return false;
        };
        self.left = left;
        true
    }
}

/// A record being written, at the end of others.
pub(super) struct Writer<'a> {
    units: &'a mut Vec<u16>,
    /// Where the head of the last question is.
    last: Option<usize>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(units: &'a mut Vec<u16>) -> Self {
        Self { units, last: None }
    }

    /// Asks that a value of the set is there, or none. There must be room for it.
    pub(super) fn ask(&mut self, lane: Lane, is_negated: bool, set: &[ValueId]) {
        match form(lane, set).expect("what records have no room for is a residual") {
            Form::Values => {
                self.head(lane, VALUES, is_negated, set.len());
                self.units.extend(set.iter().map(|value| narrow(value.0)));
            }
            Form::Ranges(count) => {
                self.head(lane, RANGES, is_negated, count);
                let ends = ranges(set).flat_map(|range| [range[0], range[range.len() - 1]]);
                self.units.extend(ends.map(|end| narrow(end.0)));
            }
            Form::Wide => {
                self.head(lane, WIDE, is_negated, set.len());
                self.units.extend(set.iter().flat_map(|value| units_of(value.0)));
            }
        }
    }

    /// Asks that a residual holds, by its number.
    pub(super) fn ask_residual(&mut self, number: u32) {
        self.head(Lane::NETWORK, RESIDUAL, false, 1);
        self.units.extend(units_of(number));
    }

    fn head(&mut self, lane: Lane, kind: u16, is_negated: bool, count: usize) {
        let lane = narrow(u32::try_from(lane.index()).expect("few lanes"));
        let count = narrow(u32::try_from(count).expect("few values"));
        self.last = Some(self.units.len());
        self.units.push(lane | (kind << KIND_SHIFT) | if is_negated { NEGATED } else { 0 } | (count << COUNT_SHIFT));
    }

    /// Ends it; false if nothing was asked.
    pub(super) fn end(self) -> bool {
        if let Some(last) = self.last {
            self.units[last] |= LAST;
        }
        self.last.is_some()
    }
}

/// Runs of numbers without gaps.
fn ranges(set: &[ValueId]) -> impl Iterator<Item = &[ValueId]> {
    set.chunk_by(|one, next| one.0 + 1 == next.0)
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
    /// Whether all questions of the record that begins here are answered with yes.
    pub(super) fn holds(&self, mut record: &[u16]) -> bool {
        loop {
            let head = record[0];
            let lane = usize::from(head & LANE_MASK);
            let count = usize::from((head >> COUNT_SHIFT) & COUNT_MASK);
            let kind = (head >> KIND_SHIFT) & KIND_MASK;
            let (values, rest) = record[1..].split_at(if kind == VALUES { count } else { 2 * count });
            let is_met = match kind {
                VALUES => self.has.has_any(self.lanes[lane], values),
                RANGES => self.is_in(lane, values),
                WIDE => pairs(values).any(|(low, high)| self.has.has(self.lanes[lane], u32_of(low, high))),
                _ => self.residual_holds(u32_of(values[0], values[1])),
            };
            let is_negated = head & NEGATED != 0;
            if is_met == is_negated && !(is_negated && self.sabotage == super::Sabotage::Not) {
                return false;
            }
            if head & LAST != 0 {
                return true;
            }
            record = rest;
        }
    }

    fn is_in(&self, lane: usize, ranges: &[u16]) -> bool {
        self.query
            .values(Lane::at(lane))
            .iter()
            .any(|value| pairs(ranges).any(|(from, to)| (u32::from(from)..=u32::from(to)).contains(&value.0)))
    }

    /// Apart from the loop: what it works out would otherwise be worked out ahead for entries that ask for none of it.
    #[inline(never)]
    fn residual_holds(&self, number: u32) -> bool {
        if self.sabotage == super::Sabotage::Residual {
            return true;
        }
        match &self.residuals[number as usize] {
            // Looking values up in the listener's is a step each, looking a listener's value up in them some steps.
            Residual::Values { lane, negated, set } if set.len() <= self.query.values(*lane).len() * SEARCH_STEPS => {
                let lane = self.lanes[lane.index()];
                set.iter().any(|value| self.has.has(lane, value.0)) != *negated
            }
            other => other.holds(self.query),
        }
    }
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
