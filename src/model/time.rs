//! Time as values. Nothing here reads a clock: the one place that does is `clock.rs`.

use std::fmt;

use jiff::tz::TimeZone;

/// Milliseconds of a day without a change of the clock.
const DAY_MS: i64 = 86_400_000;

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z, no leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallMs(pub i64);

/// Milliseconds on a clock that never goes back and starts anywhere. Compares only within one boot of one server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct MonotonicMs(pub u64);

/// A calendar day in some zone: days since 1970-01-01. Which zone is said by whoever holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Day(pub i32);

impl Day {
    /// The UTC day that holds the moment; days beyond the range of an `i32` stay at its end.
    #[must_use]
    pub fn utc_of(at: WallMs) -> Self {
        let days = at.0.div_euclid(DAY_MS);
        Self(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }

    /// The day as a calendar date; days outside of the calendar (years -9999 to 9999) stay at its ends.
    #[must_use]
    pub fn date(self) -> jiff::civil::Date {
        let epoch = jiff::civil::date(1970, 1, 1);
        let end = if self.0 < 0 { jiff::civil::Date::MIN } else { jiff::civil::Date::MAX };
        epoch.checked_add(jiff::Span::new().try_days(self.0).unwrap_or_default()).unwrap_or(end)
    }
}

impl fmt::Display for Day {
    /// The date in ISO 8601.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date())
    }
}

/// The moment at which something is decided: both clocks, read together, once, at the edge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Now {
    /// Wall clock: dates, windows, events.
    pub wall: WallMs,
    /// Monotonic clock: leases and timeouts.
    pub monotonic: MonotonicMs,
}

impl WallMs {
    /// This time plus `ms` (may be negative); stays at the end of the range instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Start of the UTC hour that holds this time.
    #[must_use]
    pub const fn hour_start(self) -> Self {
        Self(self.0.div_euclid(3_600_000) * 3_600_000)
    }

    /// The time in RFC 3339, UTC, with milliseconds.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| format!("{}ms", self.0), |at| format!("{at:.3}"))
    }
}

impl MonotonicMs {
    /// This time plus `ms`; stays at the end of the range instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A name that is not in the IANA time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {0:?}: expected an IANA name such as Europe/Stockholm")]
pub struct UnknownZone(pub String);

/// An IANA time zone, by name. The database is built in, so the same name means the same on every server.
#[derive(Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of that name.
    ///
    /// # Errors
    /// [`UnknownZone`] when the database has no such name.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(name).map(Self).map_err(|_| UnknownZone(name.to_owned()))
    }

    /// UTC.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The zone's rules.
    #[must_use]
    pub const fn rules(&self) -> &TimeZone {
        &self.0
    }

    /// The local calendar day that holds the moment.
    #[must_use]
    pub fn day(&self, at: WallMs) -> Day {
        let timestamp = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = self.0.to_datetime(timestamp).date();
        let days = date.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days());
        Day(days)
    }

    /// First moment after the local day that holds `at`, changes of the clock included; a zone that skips a day has none of it.
    #[must_use]
    pub fn day_end(&self, at: WallMs) -> WallMs {
        let next =
            |day: Day| self.0.to_zoned(Day(day.0.saturating_add(1)).date().to_datetime(jiff::civil::Time::midnight()));
        // Where the calendar ends, so does the day: a full day later is as good as any.
        next(self.day(at)).map_or_else(|_| at.plus_ms(DAY_MS), |start| WallMs(start.timestamp().as_millisecond()))
    }

    /// Hour of the local week, 0 to 167; 0 is Monday 00:00 to 00:59. Daylight saving time is in it: the hour is the one a wall clock shows.
    #[must_use]
    pub fn hour_of_week(&self, at: WallMs) -> u8 {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let local = self.0.to_datetime(at);
        let day = u8::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let hour = u8::try_from(local.hour()).unwrap_or(0);
        day * 24 + hour
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hour_of_week_follows_the_wall_clock_across_dst() {
        let stockholm = Zone::named("Europe/Stockholm").expect("in the database");
        // 2026-03-29 is the Sunday on which 02:00 becomes 03:00 in Stockholm.
        let before = "2026-03-29T00:59:59Z".parse::<jiff::Timestamp>().expect("a time").as_millisecond();
        assert_eq!(stockholm.hour_of_week(WallMs(before)), 6 * 24 + 1);
        assert_eq!(stockholm.hour_of_week(WallMs(before + 1_000)), 6 * 24 + 3);
    }

    #[test]
    fn days_follow_the_wall_clock_across_dst() {
        let at = |text: &str| WallMs(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let stockholm = Zone::named("Europe/Stockholm").expect("in the database");
        // 23:30 and 00:30 in Stockholm.
        let (before, after) = (at("2026-03-28T22:30:00Z"), at("2026-03-28T23:30:00Z"));
        assert_eq!(stockholm.day(before).to_string(), "2026-03-28");
        assert_eq!(stockholm.day(after).to_string(), "2026-03-29");
        assert_eq!(stockholm.day_end(before), at("2026-03-28T23:00:00Z"));
        // The day on which the clock goes forward has 23 hours.
        assert_eq!(stockholm.day_end(after), at("2026-03-29T22:00:00Z"));
        assert_eq!(Zone::utc().day(WallMs(-1)), Day(-1));
        assert_eq!(Day::utc_of(WallMs(-1)), Day(-1));
        assert_eq!(Zone::utc().day_end(WallMs(0)), WallMs(86_400_000));
        // Samoa had no 30 December 2011: the 29th ends where the 31st begins.
        let apia = Zone::named("Pacific/Apia").expect("in the database");
        assert_eq!(apia.day_end(at("2011-12-29T12:00:00Z")), at("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn unknown_zones_are_named() {
        assert_eq!(Zone::named("Mars/Olympus"), Err(UnknownZone("Mars/Olympus".into())));
    }

    #[test]
    fn times_print_in_utc() {
        assert_eq!(WallMs(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(WallMs(3_599_999).hour_start(), WallMs(0));
        assert_eq!(WallMs(-1).hour_start(), WallMs(-3_600_000));
    }
}
