//! Why a request is outside a line item's targeting, in words: the first condition that is in the way, with what is wanted and what is there.

use std::fmt::Write;

use crate::model::{AdBreakRequest, WallMs, Zone};
use crate::targeting::{Attribute, Expression, Predicate, VersionOf, naive};

/// Most values of a condition that are named.
const MAX_VALUES: usize = 5;

/// Most alternatives that are named where none holds.
const MAX_ALTERNATIVES: usize = 3;

/// The request and the moment that targeting is judged at.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) request: &'a AdBreakRequest,
    pub(super) line_item_zone: &'a Zone,
    pub(super) at: WallMs,
}

impl Circumstances<'_> {
    fn meet(&self, expression: &Expression) -> bool {
        naive::matches(expression, self.request, self.line_item_zone, self.at)
    }
}

/// What is in the way of an expression that does not hold. Every level of the expression adds at most a few words, and depth is limited where
/// targeting is accepted.
pub(super) fn mismatch(expression: &Expression, of: Circumstances<'_>) -> String {
    match expression {
        Expression::Is(predicate) => condition(predicate, of),
        Expression::All(parts) => parts
            .iter()
            .find(|part| !of.meet(part))
            .map_or_else(|| "a condition of all holds".to_owned(), |part| mismatch(part, of)),
        Expression::Any(parts) if parts.is_empty() => "no listener is wanted".to_owned(),
        Expression::Any(parts) => {
            let named: Vec<String> = parts.iter().take(MAX_ALTERNATIVES).map(|part| mismatch(part, of)).collect();
            let more = parts.len().saturating_sub(MAX_ALTERNATIVES);
            let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{}{rest}", named.join("; "))
        }
        Expression::Not(part) => format!("excluded: {}", presence(part, of)),
    }
}

/// What of an unwanted expression holds.
fn presence(expression: &Expression, of: Circumstances<'_>) -> String {
    match expression {
        Expression::Is(Predicate::Has { attribute, any_of }) => {
            let there = naive::values_of(*attribute, of.request);
            let unwanted: Vec<&str> = there.filter(|value| any_of.iter().any(|one| one == value)).collect();
            format!("{} is {}", name(*attribute), list(&unwanted))
        }
        Expression::Is(predicate) => format!("{} is as unwanted", subject(predicate)),
        Expression::Any(parts) | Expression::All(parts) => {
            parts.iter().find(|part| of.meet(part)).map_or_else(|| "everybody".to_owned(), |part| presence(part, of))
        }
        Expression::Not(part) => mismatch(part, of),
    }
}

fn condition(predicate: &Predicate, of: Circumstances<'_>) -> String {
    let facts = &of.request.facts;
    match predicate {
        Predicate::Has { attribute, any_of } => {
            let there: Vec<&str> = naive::values_of(*attribute, of.request).collect();
            let wanted: Vec<&str> = any_of.iter().map(String::as_str).collect();
            format!("{} is {}, wants {}", name(*attribute), list(&there), list(&wanted))
        }
        Predicate::Age { any_of } => {
            let age = facts.age.map_or_else(|| "unknown".to_owned(), |age| age.to_string());
            let ranges: Vec<String> = any_of.iter().map(|range| format!("{} to {}", range.from, range.to)).collect();
            format!("age is {age}, wants {}", ranges.join(" or "))
        }
        Predicate::Explicit(wanted) => {
            let word = |explicit| if explicit { "explicit" } else { "clean" };
            format!("the track is {}, wants {}", facts.explicit.map_or("of unknown content", word), word(*wanted))
        }
        Predicate::KeyValue { key, any_of } => {
            let there: Vec<&str> =
                facts.key_values.iter().filter(|(own, _)| own == key).map(|(_, value)| value.as_str()).collect();
            let wanted: Vec<&str> = any_of.iter().map(String::as_str).collect();
            format!("key {key} is {}, wants {}", list(&there), list(&wanted))
        }
        Predicate::Version { of: what, any_of: _ } => {
            let there = match what {
                VersionOf::Os => &facts.os_version,
                VersionOf::App => &facts.app_version,
            };
            format!("{} is {}, outside the versions wanted", subject(predicate), there.as_deref().unwrap_or("unknown"))
        }
        Predicate::Daypart { .. } | Predicate::Within { .. } => {
            format!("{} is outside what is wanted", subject(predicate))
        }
    }
}

fn subject(predicate: &Predicate) -> &'static str {
    match predicate {
        Predicate::Has { attribute, .. } => name(*attribute),
        Predicate::Age { .. } => "age",
        Predicate::Explicit(_) => "explicit content",
        Predicate::KeyValue { .. } => "a key",
        Predicate::Daypart { .. } => "the hour of the week",
        Predicate::Within { .. } => "where the listener is",
        Predicate::Version { of: VersionOf::Os, .. } => "the version of the operating system",
        Predicate::Version { of: VersionOf::App, .. } => "the version of the app",
    }
}

fn name(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Country => "country",
        Attribute::Region => "region",
        Attribute::City => "city",
        Attribute::PostalCode => "postal code",
        Attribute::Language => "language",
        Attribute::Gender => "gender",
        Attribute::Platform => "platform",
        Attribute::DeviceType => "device type",
        Attribute::Os => "operating system",
        Attribute::Connection => "connection",
        Attribute::Genre => "genre",
        Attribute::Mood => "mood",
        Attribute::Playlist => "playlist",
        Attribute::Artist => "artist",
        Attribute::ContentCategory => "content category",
        Attribute::Segment => "segment",
        Attribute::BreakPosition => "break position",
        Attribute::App => "app",
        Attribute::Placement => "placement",
        Attribute::TasteGenre => "genre of their taste",
        Attribute::TasteMood => "mood of their taste",
    }
}

/// Values with commas, the first few of many; `unknown` for none.
pub(super) fn list(values: &[&str]) -> String {
    if values.is_empty() {
        return "unknown".to_owned();
    }
    let mut words = values[..values.len().min(MAX_VALUES)].join(", ");
    if values.len() > MAX_VALUES {
        write!(words, " and {} more", values.len() - MAX_VALUES).expect("writing to a string never fails");
    }
    words
}
