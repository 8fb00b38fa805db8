//! From an expression to JSON. What is written reads back as the same expression.

use std::collections::BTreeMap;

use super::wire::{
    AgeRangeBody, CircleBody, Day, DaypartBody, EVERY_DAY, HoursBody, TargetingBody, TimeZoneOf, VersionRangeBody,
};
use crate::targeting::expression::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, WeekHours,
};

/// The expression in its wire form: the shortest that reads back as the same.
#[must_use]
pub fn write(expression: &Expression) -> TargetingBody {
    let mut body = TargetingBody::default();
    match expression {
        // Conditions of different kinds in the order of reading go into one object.
        Expression::All(parts) if parts.len() != 1 && parts.is_sorted_by(|one, next| place(one) < place(next)) => {
            for part in parts {
                put(&mut body, part);
            }
        }
        _ => put(&mut body, expression),
    }
    body
}

/// Where the reader comes across a part in its object: by field, then by key.
fn place(part: &Expression) -> (u8, Option<Attribute>, &str) {
    match part {
        Expression::Is(Predicate::Has { attribute, .. }) => (0, Some(*attribute), ""),
        Expression::Is(Predicate::Age { .. }) => (1, None, ""),
        Expression::Is(Predicate::Explicit(_)) => (2, None, ""),
        Expression::Is(Predicate::KeyValue { key, .. }) => (3, None, key),
        Expression::Is(Predicate::Version { of: VersionOf::Os, .. }) => (4, None, ""),
        Expression::Is(Predicate::Version { of: VersionOf::App, .. }) => (5, None, ""),
        Expression::Is(Predicate::Daypart { .. }) => (6, None, ""),
        Expression::Is(Predicate::Within { .. }) => (7, None, ""),
        Expression::All(_) => (8, None, ""),
        Expression::Any(_) => (9, None, ""),
        Expression::Not(_) => (10, None, ""),
    }
}

/// Puts a part into a field of the object that is still free.
fn put(body: &mut TargetingBody, part: &Expression) {
    match part {
        Expression::All(parts) => body.all = Some(parts.iter().map(write).collect()),
        Expression::Any(parts) => body.any = Some(parts.iter().map(write).collect()),
        Expression::Not(part) => body.not = Some(Box::new(write(part))),
        Expression::Is(predicate) => put_predicate(body, predicate),
    }
}

fn put_predicate(body: &mut TargetingBody, predicate: &Predicate) {
    match predicate {
        Predicate::Has { attribute, any_of } => *field(body, *attribute) = Some(any_of.clone()),
        Predicate::Age { any_of } => {
            let range = |range: &AgeRange| AgeRangeBody { from: Some(range.from), to: Some(range.to) };
            body.age = Some(any_of.iter().map(range).collect());
        }
        Predicate::Explicit(wanted) => body.explicit = Some(*wanted),
        Predicate::KeyValue { key, any_of } => {
            body.key_value.get_or_insert_default().insert(key.clone(), any_of.clone());
        }
        Predicate::Daypart { zone, hours } => {
            let time_zone = match zone {
                DaypartZone::Listener => TimeZoneOf::Listener,
                DaypartZone::LineItem => TimeZoneOf::LineItem,
            };
            body.daypart = Some(DaypartBody { time_zone, hours: write_hours(*hours) });
        }
        Predicate::Within { any_of } => {
            let circle =
                |&Circle { latitude, longitude, radius_m }: &Circle| CircleBody { latitude, longitude, radius_m };
            body.within = Some(any_of.iter().map(circle).collect());
        }
        Predicate::Version { of, any_of } => {
            let text = |version: Option<Version>| version.map(|version| version.to_string());
            let ranges = any_of
                .iter()
                .map(|range| VersionRangeBody { at_least: text(range.at_least), below: text(range.below) })
                .collect();
            match of {
                VersionOf::Os => body.os_version = Some(ranges),
                VersionOf::App => body.app_version = Some(ranges),
            }
        }
    }
}

/// The field of a plain attribute.
fn field(body: &mut TargetingBody, attribute: Attribute) -> &mut Option<Vec<String>> {
    match attribute {
        Attribute::Country => &mut body.country,
        Attribute::Region => &mut body.region,
        Attribute::City => &mut body.city,
        Attribute::PostalCode => &mut body.postal_code,
        Attribute::Language => &mut body.language,
        Attribute::Gender => &mut body.gender,
        Attribute::Platform => &mut body.platform,
        Attribute::DeviceType => &mut body.device_type,
        Attribute::Os => &mut body.os,
        Attribute::Connection => &mut body.connection,
        Attribute::Genre => &mut body.genre,
        Attribute::Mood => &mut body.mood,
        Attribute::Playlist => &mut body.playlist,
        Attribute::Artist => &mut body.artist,
        Attribute::ContentCategory => &mut body.content_category,
        Attribute::Segment => &mut body.segment,
        Attribute::BreakPosition => &mut body.break_position,
        Attribute::App => &mut body.app,
        Attribute::Placement => &mut body.placement,
        Attribute::TasteGenre => &mut body.taste_genre,
        Attribute::TasteMood => &mut body.taste_mood,
    }
}

/// Hours as ranges, days with the same range together.
fn write_hours(hours: WeekHours) -> Vec<HoursBody> {
    let mut days_by_range: BTreeMap<(u8, u8), Vec<Day>> = BTreeMap::new();
    for (day, midnight) in EVERY_DAY.into_iter().zip((0..WeekHours::COUNT).step_by(24)) {
        let mut hour = 0;
        while hour < 24 {
            let length = (hour..24).take_while(|hour| hours.contains(midnight + hour)).count();
            let end = hour + u8::try_from(length).expect("at most 24 hours");
            if end > hour {
                days_by_range.entry((hour, end)).or_default().push(day);
            }
            hour = end + 1;
        }
    }
    days_by_range
        .into_iter()
        .map(|((from, to), days)| HoursBody { days: (days.len() < EVERY_DAY.len()).then_some(days), from, to })
        .collect()
}
