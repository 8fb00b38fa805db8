//! Bands: which rows of a block tell of which values.
//!
//! A row has a bit for each entry of a block: set where the entry may be met by a listener with one of the row's values. A band is the rows of one lane.
//! Its first row is for listeners of whom nothing is known there, or nothing that anybody asks for: set where the entry asks nothing. The
//! other rows stand for values. Values that are always asked for together (the ages of one age class) have one row, which then is exact. Where a lane has
//! more such groups than rows, the most wanted have rows of their own and the others share: a bit of a shared row is a *maybe*, which the entry's record
//! settles.

use std::collections::HashMap;

use super::ValueId;
use super::query::{Habit, Lane};

/// Most groups of values that get a row each; with more, some share.
const EXACT_MAX: usize = 32;
/// Rows of groups of their own, and rows that the other values share, where a lane has more groups than rows: for a lane of which much is asked, for one of
/// which a listener has few values, and for any other. A row costs an eighth of a byte an entry, and pays by the records that need not be read.
const MUCH: (usize, u8) = (8, 16);
const FEW: (usize, u8) = (12, 16);
const LITTLE: (usize, u8) = (1, 16);
/// Parts of a hundred: much is asked of a lane of which as many conjunctions ask something.
const MUCH_ASKED: usize = 30;
/// A lane of which fewer than one entry in this many asks anything gets no rows for values.
const ASKED_ONE_IN: usize = 512;
/// In [`Band::row_of`]: the value has no row, and tells nothing.
const NO_ROW: u8 = u8::MAX;
const HOURS_A_DAY: usize = 24;
const DAYS_A_WEEK: usize = 7;

/// How often the values of a lane are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Conjunctions that ask for some value.
    pub(super) conjunctions: usize,
    /// By value: how many ask for it, and a sum over them that equal sets of askers share. Different sets may share it, too: what follows from
    /// it is looked at again where it matters, in [`Band::is_exact`].
    values: Vec<(u32, u64)>,
}

impl Asked {
    /// Counts one conjunction, by a number that no other has.
    pub(super) fn add(&mut self, conjunction: u32, set: &[ValueId]) {
        self.conjunctions += 1;
        let mark = mix(conjunction);
        for value in set {
            if self.values.len() <= value.index() {
                self.values.resize(value.index() + 1, (0, 0));
            }
            let (count, sum) = &mut self.values[value.index()];
            *count += 1;
            *sum = sum.wrapping_add(mark);
        }
    }

    /// How many ask for each value.
    pub(super) fn counts(&self) -> impl Iterator<Item = usize> {
        self.values.iter().map(|(count, _)| *count as usize)
    }

    /// Values always asked for together, most wanted first.
    fn groups(&self) -> Vec<(u32, Vec<usize>)> {
        let mut groups: HashMap<(u32, u64), Vec<usize>> = HashMap::new();
        for (value, key) in self.values.iter().enumerate().filter(|(_, (count, _))| *count > 0) {
            groups.entry(*key).or_default().push(value);
        }
        let mut groups: Vec<(u32, Vec<usize>)> =
            groups.into_iter().map(|((count, _), values)| (count, values)).collect();
        groups.sort_unstable_by(|(more, one), (fewer, other)| fewer.cmp(more).then(one.cmp(other)));
        groups
    }
}

/// Spreads a number over 64 bits (the finaliser of `SplitMix64`).
fn mix(number: u32) -> u64 {
    let mut bits = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The rows of one lane, or of one side of it.
#[derive(Clone, Debug)]
pub(super) struct Band {
    pub(super) lane: Lane,
    /// Row of those that ask nothing; the others follow.
    pub(super) first: usize,
    /// How many rows, the first included.
    pub(super) count: usize,
    /// Values of each row of one group; rows after these are shared, and never exact.
    group_sizes: Vec<usize>,
    /// Row by value, counted from the first; those beyond the end are asked for by nobody.
    row_of: Vec<u8>,
}

impl Band {
    /// The row for a listener with this value; none when the value tells nothing.
    pub(super) fn row(&self, value: ValueId) -> Option<usize> {
        match self.row_of.get(value.index()) {
            None => Some(self.first),
            Some(&NO_ROW) => None,
            Some(&row) => Some(self.first + usize::from(row)),
        }
    }

    /// Whether rows alone say who asks for just this set: it is made of whole groups.
    pub(super) fn is_exact(&self, set: &[ValueId]) -> bool {
        let mut missing = [0; EXACT_MAX];
        missing[..self.group_sizes.len()].copy_from_slice(&self.group_sizes);
        for value in set {
            let Some(group) = self.group_of(*value) else { return false };
            missing[group] -= 1;
        }
        missing.iter().zip(&self.group_sizes).all(|(missing, size)| *missing == 0 || missing == size)
    }

    /// Whether clearing the set's rows says who excludes it: of a listener with one value, where the set is made of whole groups.
    pub(super) fn is_exact_without(&self, set: &[ValueId]) -> bool {
        self.lane.habit() == Habit::One && self.is_exact(set)
    }

    fn group_of(&self, value: ValueId) -> Option<usize> {
        let row = self.row_of.get(value.index()).copied().filter(|&row| row != NO_ROW && row > 0)?;
        Some(usize::from(row) - 1).filter(|group| *group < self.group_sizes.len())
    }
}

/// The bands of an index.
#[derive(Clone, Debug, Default)]
pub(super) struct Bands {
    /// Those of which most entries ask something first.
    pub(super) all: Vec<Band>,
    /// Rows of all of them.
    pub(super) rows: usize,
    /// By lane: where its bands are in `all`.
    of_lane: Vec<Vec<usize>>,
}

impl Bands {
    /// Rows for what is asked, by lane, of that many conjunctions.
    pub(super) fn new(asked: &[Asked], conjunctions: usize) -> Self {
        let mut lanes: Vec<Lane> = Lane::all().filter(|lane| asked[lane.index()].conjunctions > 0).collect();
        lanes.sort_by_key(|lane| std::cmp::Reverse(asked[lane.index()].conjunctions));
        let mut bands = Self { of_lane: vec![Vec::new(); Lane::COUNT], ..Self::default() };
        for lane in lanes {
            bands.add_lane(lane, &asked[lane.index()], conjunctions);
        }
        bands
    }

    /// The bands of a lane.
    pub(super) fn of(&self, lane: Lane) -> impl Iterator<Item = &Band> {
        self.of_lane[lane.index()].iter().map(|&place| &self.all[place])
    }

    fn add_lane(&mut self, lane: Lane, asked: &Asked, conjunctions: usize) {
        let is_rare = asked.conjunctions * ASKED_ONE_IN < conjunctions;
        let is_much = asked.conjunctions * 100 >= conjunctions * MUCH_ASKED;
        let values = asked.values.len();
        let groups = asked.groups();
        if !is_rare && groups.len() <= EXACT_MAX {
            return self.add(lane, values, &groups, 0);
        }
        if !is_rare && lane == Lane::LISTENER_HOUR {
            // An hour of the week has two sides, and nearly all that ask for hours ask for some hours on some days.
            self.add_side(lane, DAYS_A_WEEK, (0..values).map(|hour| hour / HOURS_A_DAY % DAYS_A_WEEK));
            return self.add_side(lane, HOURS_A_DAY, (0..values).map(|hour| hour % HOURS_A_DAY));
        }
        match lane.habit() {
            _ if is_rare => self.add(lane, values, &[], 0),
            Habit::One if is_much => self.add(lane, values, &groups[..MUCH.0], MUCH.1),
            Habit::One => self.add(lane, values, &groups[..LITTLE.0], LITTLE.1),
            Habit::Few => self.add(lane, values, &groups[..FEW.0], FEW.1),
            // A listener of so many values has some of every shared row.
            Habit::Many => self.add(lane, values, &[], 0),
        }
    }

    /// A band with a row for each of these groups, and for the other values `shared` rows, or none.
    fn add(&mut self, lane: Lane, values: usize, own: &[(u32, Vec<usize>)], shared: u8) {
        let first_shared = 1 + byte(own.len());
        let mut row_of: Vec<u8> = match shared {
            0 if own.is_empty() => vec![NO_ROW; values],
            // Values in between that nobody asks for are as if unknown.
            0 => vec![0; values],
            _ => (0..values).map(|value| first_shared + byte(value % usize::from(shared))).collect(),
        };
        for (row, (_, group)) in (1..).zip(own) {
            for &value in group {
                row_of[value] = row;
            }
        }
        let group_sizes = own.iter().map(|(_, group)| group.len()).collect();
        self.push(lane, usize::from(first_shared + shared), group_sizes, row_of);
    }

    /// A band for one side of a lane's values: never exact by itself.
    fn add_side(&mut self, lane: Lane, sides: usize, side_of: impl Iterator<Item = usize>) {
        self.push(lane, 1 + sides, Vec::new(), side_of.map(|side| 1 + byte(side)).collect());
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let of = |band: &Band| size_of::<Band>() + size_of_val(&*band.row_of) + size_of_val(&*band.group_sizes);
        self.all.iter().map(of).sum()
    }

    fn push(&mut self, lane: Lane, count: usize, group_sizes: Vec<usize>, row_of: Vec<u8>) {
        self.of_lane[lane.index()].push(self.all.len());
        self.all.push(Band { lane, first: self.rows, count, group_sizes, row_of });
        self.rows += count;
    }
}

/// Whether a set of hours of the week is some hours of the day on some days: then the rows of both sides say who asks for it.
pub(super) fn is_hours_on_days(set: &[ValueId]) -> bool {
    let (mut hours, mut days) = (0_u32, 0_u32);
    for value in set {
        hours |= 1 << (value.index() % HOURS_A_DAY);
        days |= 1 << (value.index() / HOURS_A_DAY % DAYS_A_WEEK);
    }
    set.len() == (hours.count_ones() * days.count_ones()) as usize
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("rows of one band are few")
}
