//! Time as values. Nothing here reads a clock: the one place that does is `clock.rs`.

use std::fmt;

use jiff::tz::TimeZone;

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z, no leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallMs(pub i64);

/// Milliseconds on a clock that never goes back and starts anywhere. Compares only within one boot of one server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct MonotonicMs(pub u64);

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
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of that name.
    ///
    /// # Errors
    /// [`UnknownZone`] when the database has no such name.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|_| UnknownZone(name.to_owned()))?;
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        Ok(Self { name, zone })
    }

    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone's rules.
    #[must_use]
    pub const fn rules(&self) -> &TimeZone {
        &self.zone
    }

    /// Hour of the local week, 0 to 167; 0 is Monday 00:00 to 00:59. Daylight saving time is in it: the hour is the one a wall clock shows.
    #[must_use]
    pub fn hour_of_week(&self, at: WallMs) -> u8 {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let local = self.zone.to_datetime(at);
        let day = u8::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let hour = u8::try_from(local.hour()).unwrap_or(0);
        day * 24 + hour
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
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
