//! What a line item asks of a listener, as a tree: `all`, `any`, `not` over predicates.
//!
//! Values are the normalised wire values of [`Facts`](crate::model::Facts). A predicate over something unknown is false; its negation is
//! true. Over a multi-valued fact (genres, segments, taste) a predicate is true when any value of the listener is among its values, and `not`
//! is true when none is.

use std::fmt;

/// A boolean expression. `All` of nothing is true (no targeting), `Any` of nothing is false.
#[derive(Clone, PartialEq, Debug)]
pub enum Expression {
    /// Every part holds.
    All(Vec<Self>),
    /// At least one part holds.
    Any(Vec<Self>),
    /// The part does not hold.
    Not(Box<Self>),
    /// A predicate holds.
    Is(Predicate),
}

impl Expression {
    /// No targeting: matches everybody.
    #[must_use]
    pub const fn everybody() -> Self {
        Self::All(Vec::new())
    }
}

/// One condition.
#[derive(Clone, PartialEq, Debug)]
pub enum Predicate {
    /// The attribute has any of these values.
    Has {
        /// Which attribute.
        attribute: Attribute,
        /// Its values, normalised.
        any_of: Vec<String>,
    },
    /// The age is in any of these ranges.
    Age {
        /// Ranges of years.
        any_of: Vec<AgeRange>,
    },
    /// What plays around the break is explicit (`true`) or known to be clean (`false`).
    Explicit(bool),
    /// The player's key has any of these values.
    KeyValue {
        /// The key.
        key: String,
        /// Its values.
        any_of: Vec<String>,
    },
    /// The local hour of the week is one of these.
    Daypart {
        /// Whose local time.
        zone: DaypartZone,
        /// The hours.
        hours: WeekHours,
    },
    /// The listener is within any of these circles.
    Within {
        /// The circles.
        any_of: Vec<Circle>,
    },
    /// The version is in any of these ranges.
    Version {
        /// Of what.
        of: VersionOf,
        /// Ranges.
        any_of: Vec<VersionRange>,
    },
}

/// What a plain predicate can look at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Attribute {
    /// ISO 3166-1 alpha-2.
    Country,
    /// ISO 3166-2.
    Region,
    /// `country/name`.
    City,
    /// `country/code`.
    PostalCode,
    /// BCP 47 primary language.
    Language,
    /// Gender.
    Gender,
    /// Platform.
    Platform,
    /// Device type.
    DeviceType,
    /// Operating system.
    Os,
    /// Connection.
    Connection,
    /// Genres; multi-valued.
    Genre,
    /// Moods; multi-valued.
    Mood,
    /// Playlist.
    Playlist,
    /// Artists; multi-valued.
    Artist,
    /// Content categories; multi-valued.
    ContentCategory,
    /// Audience segments; multi-valued.
    Segment,
    /// `pre_roll`, `mid_roll`, `post_roll`.
    BreakPosition,
    /// The player application.
    App,
    /// The placement.
    Placement,
    /// Genres of the listener's taste; multi-valued.
    TasteGenre,
    /// Moods of the listener's taste; multi-valued.
    TasteMood,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 21] = [
        Self::Country,
        Self::Region,
        Self::City,
        Self::PostalCode,
        Self::Language,
        Self::Gender,
        Self::Platform,
        Self::DeviceType,
        Self::Os,
        Self::Connection,
        Self::Genre,
        Self::Mood,
        Self::Playlist,
        Self::Artist,
        Self::ContentCategory,
        Self::Segment,
        Self::BreakPosition,
        Self::App,
        Self::Placement,
        Self::TasteGenre,
        Self::TasteMood,
    ];
}

/// Years, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AgeRange {
    /// Youngest.
    pub from: u8,
    /// Oldest; not below `from`.
    pub to: u8,
}

/// Whose local time a day part is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DaypartZone {
    /// The listener's; unknown zone means unknown hour.
    Listener,
    /// The line item's flight.
    LineItem,
}

/// A set of hours of the week; hour 0 is Monday 00:00 to 00:59.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WeekHours([u64; 3]);

impl WeekHours {
    /// Hours in a week.
    pub const COUNT: u8 = 168;

    /// No hours.
    #[must_use]
    pub const fn none() -> Self {
        Self([0; 3])
    }

    /// Adds an hour of the week, 0 to 167.
    ///
    /// # Panics
    /// When the hour is not below 168: a caller's bug.
    pub fn insert(&mut self, hour: u8) {
        assert!(hour < Self::COUNT, "an hour of the week is below 168");
        self.0[usize::from(hour / 64)] |= 1 << (hour % 64);
    }

    /// Whether the hour is in the set.
    #[must_use]
    pub fn contains(self, hour: u8) -> bool {
        hour < Self::COUNT && self.0[usize::from(hour / 64)] & (1 << (hour % 64)) != 0
    }

    /// The hours, in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..Self::COUNT).filter(move |&hour| self.contains(hour))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0
    }
}

impl FromIterator<u8> for WeekHours {
    fn from_iter<I: IntoIterator<Item = u8>>(hours: I) -> Self {
        let mut set = Self::none();
        for hour in hours {
            set.insert(hour);
        }
        set
    }
}

impl fmt::Debug for WeekHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A circle on the ground.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Circle {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// Metres, 100 to 500,000.
    pub radius_m: u32,
}

/// Of what a version is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VersionOf {
    /// The operating system.
    Os,
    /// The player app.
    App,
}

/// A version of up to four dotted numbers; missing ones are 0, so `12.1` equals `12.1.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub [u32; 4]);

impl Version {
    /// The version of that text: 1 to 4 decimal numbers with dots between; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 4];
        let mut parts = text.split('.');
        for (index, part) in parts.by_ref().enumerate() {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *numbers.get_mut(index)? = digits.then(|| part.parse().ok()).flatten()?;
        }
        Some(Self(numbers))
    }
}

impl fmt::Display for Version {
    /// Dotted numbers without trailing zeros but the first: `12`, `12.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.0.iter().rposition(|&number| number != 0).map_or(1, |last| last + 1);
        for (index, number) in self.0.iter().take(numbers).enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{number}")?;
        }
        Ok(())
    }
}

/// Versions from `at_least` (included) to `below` (excluded); an absent end is open.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VersionRange {
    /// Lowest, included.
    pub at_least: Option<Version>,
    /// First above, excluded.
    pub below: Option<Version>,
}

impl VersionRange {
    /// Whether the version is in the range.
    #[must_use]
    pub fn contains(self, version: Version) -> bool {
        self.at_least.is_none_or(|low| low <= version) && self.below.is_none_or(|high| version < high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::parse("12.10") > Version::parse("12.9.9"));
        assert_eq!(Version::parse("12.1"), Version::parse("12.1.0"));
        for text in ["", ".", "1.", "1..2", "1.2.3.4.5", "1a", "+1", "99999999999"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn week_hours_hold_all_168() {
        let all: WeekHours = (0..WeekHours::COUNT).collect();
        assert_eq!(all.iter().count(), 168);
        assert!(!all.contains(168));
        assert!(WeekHours::none().is_empty());
    }
}
