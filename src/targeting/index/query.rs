//! The side of the request: its values by field.

use super::ValueId;
use crate::model::Coordinates;
use crate::targeting::dnf::Field;
use crate::targeting::expression::{Attribute, Version, VersionOf};

/// A field's dense number, or that of the network, which every line item asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(u8);

/// How many values of a lane a request has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// One, or none.
    One,
    /// A few.
    Few,
    /// Up to hundreds.
    Many,
}

impl Lane {
    /// How many there are.
    pub const COUNT: usize = 27;
    /// The network.
    pub const NETWORK: Self = Self(0);
    /// The hour of the listener's week.
    pub(super) const LISTENER_HOUR: Self = Self::of(Field::ListenerHour);

    /// Every lane.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self::at)
    }

    /// The lane of that index.
    pub(super) fn at(index: usize) -> Self {
        debug_assert!(index < Self::COUNT, "a lane's index");
        Self(u8::try_from(index).expect("lanes are few"))
    }

    /// How many values a request has here.
    pub(super) fn habit(self) -> Habit {
        let is = |attribute| self == Self::of(Field::Plain(attribute));
        if [Attribute::Segment, Attribute::Artist].into_iter().any(is) || self == Self::of(Field::KeyValue) {
            Habit::Many
        } else if self == Self::of(Field::LineItemHour)
            || [
                Attribute::Genre,
                Attribute::Mood,
                Attribute::ContentCategory,
                Attribute::TasteGenre,
                Attribute::TasteMood,
            ]
            .into_iter()
            .any(is)
        {
            Habit::Few
        } else {
            Habit::One
        }
    }

    /// The lane of a field.
    #[must_use]
    pub const fn of(field: Field) -> Self {
        Self(match field {
            Field::Plain(attribute) => 1 + Self::place(attribute),
            Field::Age => 22,
            Field::Explicit => 23,
            Field::KeyValue => 24,
            Field::ListenerHour => 25,
            Field::LineItemHour => 26,
        })
    }

    const fn place(attribute: Attribute) -> u8 {
        match attribute {
            Attribute::Country => 0,
            Attribute::Region => 1,
            Attribute::City => 2,
            Attribute::PostalCode => 3,
            Attribute::Language => 4,
            Attribute::Gender => 5,
            Attribute::Platform => 6,
            Attribute::DeviceType => 7,
            Attribute::Os => 8,
            Attribute::Connection => 9,
            Attribute::Genre => 10,
            Attribute::Mood => 11,
            Attribute::Playlist => 12,
            Attribute::Artist => 13,
            Attribute::ContentCategory => 14,
            Attribute::Segment => 15,
            Attribute::BreakPosition => 16,
            Attribute::App => 17,
            Attribute::Placement => 18,
            Attribute::TasteGenre => 19,
            Attribute::TasteMood => 20,
        }
    }

    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a request has, in numbers. Values that no line item asks for have no number and are left out.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Query {
    /// By lane, sorted, without repeats.
    values: Vec<ValueId>,
    /// Where each lane's values end.
    ends: [usize; Lane::COUNT],
    /// Where the listener is.
    pub coordinates: Option<Coordinates>,
    /// Version of the operating system.
    pub os_version: Option<Version>,
    /// Version of the player application.
    pub app_version: Option<Version>,
}

impl Query {
    /// Adds a lane's values, in any order, with repeats. Lanes come in order of their index.
    pub fn push(&mut self, lane: Lane, values: impl IntoIterator<Item = ValueId>) {
        debug_assert!(self.values(lane).is_empty(), "a lane is added once, after those before it");
        let first = self.values.len();
        self.values.extend(values);
        let of_lane = &mut self.values[first..];
        if !of_lane.is_sorted_by(|one, next| one < next) {
            of_lane.sort_unstable();
            let mut kept = first;
            for place in first..self.values.len() {
                if place == first || self.values[place] != self.values[kept - 1] {
                    self.values[kept] = self.values[place];
                    kept += 1;
                }
            }
            self.values.truncate(kept);
        }
        debug_assert!(
            lane.habit() != Habit::One || self.values.len() - first <= 1,
            "a request has one value where it can have only one"
        );
        self.ends[lane.index()..].fill(self.values.len());
    }

    /// The values of a lane, sorted.
    #[must_use]
    pub fn values(&self, lane: Lane) -> &[ValueId] {
        let start = lane.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[lane.index()]]
    }

    /// The version of what is asked.
    #[must_use]
    pub const fn version(&self, of: VersionOf) -> Option<Version> {
        match of {
            VersionOf::Os => self.os_version,
            VersionOf::App => self.app_version,
        }
    }
}
