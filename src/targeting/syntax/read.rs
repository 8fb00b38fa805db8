//! From JSON to an expression, with every fault named by path.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::attributes::{expected, texts};
use super::wire::{
    AgeRangeBody, CircleBody, DaypartBody, EVERY_DAY, HoursBody, TargetingBody, TimeZoneOf, VersionRangeBody,
};
use crate::targeting::dnf::{DnfError, normal_form};
use crate::targeting::expression::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange,
};
use crate::targeting::normal;

/// Most values of one condition: a list of postal codes of a country's cities fits. Segments have a limit of their own.
pub const VALUES_MAX: usize = 5_000;
/// Most audience segments named in one line item, over all its conditions.
pub const SEGMENTS_MAX: usize = 50_000;
/// Most circles of one condition; each is computed for each listener that meets the rest.
pub const CIRCLES_MAX: usize = 100;
/// Most ranges (ages, versions, hours) of one condition.
pub const RANGES_MAX: usize = 64;
/// Most objects in one `all` or `any`, and most keys in one `key_value`.
pub const PARTS_MAX: usize = 256;
/// Deepest nesting of `all`, `any` and `not`.
pub const DEPTH_MAX: usize = 16;
/// Most faults reported at once.
pub const ERRORS_MAX: usize = 32;
/// Oldest age in years.
pub const AGE_MAX: u8 = 120;
/// Smallest radius in metres: coordinates are no more exact than that.
pub const RADIUS_MIN_M: u32 = 100;
/// Largest radius in metres.
pub const RADIUS_MAX_M: u32 = 500_000;

/// What is wrong with one field of targeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SyntaxError {
    /// Where, from the targeting object on, e.g. `all[1].not.genre[0]`; empty for the whole object.
    pub path: String,
    /// A stable word: `unknown_field`, `missing`, `wrong_type`, `bad_value`, `out_of_range`, `empty`, `too_many`, `too_deep`, `contradiction`, `not_json`.
    pub code: &'static str,
    /// What is wrong and what would be right, in words.
    pub message: String,
}

/// Reads targeting from the text of a JSON object.
///
/// # Errors
/// What is wrong, at most [`ERRORS_MAX`] faults.
pub fn parse_json(text: &[u8]) -> Result<Expression, Vec<SyntaxError>> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let body: TargetingBody = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // A path of no segments prints as a dot; in broken JSON no place has a name.
        let path = Some(error.path().to_string()).filter(|path| path != "." && error.inner().is_data());
        vec![of_serde(&path.unwrap_or_default(), error.inner())]
    })?;
    json.end().map_err(|error| vec![of_serde("", &error)])?;
    parse(&body)
}

fn of_serde(path: &str, error: &serde_json::Error) -> SyntaxError {
    let message = error.to_string();
    let code = match error.classify() {
        serde_json::error::Category::Data if message.starts_with("missing field") => "missing",
        serde_json::error::Category::Data if message.starts_with("unknown field") => "unknown_field",
        serde_json::error::Category::Data if message.starts_with("unknown variant") => "bad_value",
        serde_json::error::Category::Data if message.starts_with("invalid value") => "out_of_range",
        serde_json::error::Category::Data => "wrong_type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            "not_json"
        }
    };
    SyntaxError { path: path.to_owned(), code, message }
}

/// Reads targeting from its wire form: brings values to their normal form, checks limits, and that it can hold for somebody.
///
/// # Errors
/// What is wrong, at most [`ERRORS_MAX`] faults.
pub fn parse(body: &TargetingBody) -> Result<Expression, Vec<SyntaxError>> {
    let mut reader = Reader::default();
    let expression = reader.object(body, Sense::Required);
    if reader.segments > SEGMENTS_MAX {
        reader.fault("too_many", &format!("names {} segments; at most {SEGMENTS_MAX} fit", reader.segments));
    }
    if reader.errors.is_empty() { Ok(expression) } else { Err(reader.errors) }
}

/// Whether a part must be able to hold. Under a `not` it need not: only the whole `not` must.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    Required,
    Negated,
}

/// Walks the objects; knows where it is.
#[derive(Default)]
struct Reader {
    path: String,
    depth: usize,
    segments: usize,
    errors: Vec<SyntaxError>,
}

impl Reader {
    fn fault(&mut self, code: &'static str, message: &str) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(SyntaxError { path: self.path.clone(), code, message: message.to_owned() });
        }
    }

    /// Does something at a field of the object where it is.
    fn field<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = read(self);
        self.path.truncate(before);
        result
    }

    /// Reads each element of the list where it is; a list too short or too long is a fault.
    fn each<I, T>(&mut self, most: usize, list: &[I], mut read: impl FnMut(&mut Self, &I) -> Option<T>) -> Vec<T> {
        if list.is_empty() {
            self.fault("empty", "is empty, so it could never hold; leave the field out or name at least one value");
        }
        if list.len() > most {
            self.fault("too_many", &format!("has {} elements; at most {most} fit", list.len()));
            return Vec::new();
        }
        let mut found = Vec::with_capacity(list.len());
        for (index, element) in list.iter().enumerate() {
            let before = self.path.len();
            write!(self.path, "[{index}]").expect("writing to a String never fails");
            found.extend(read(self, element));
            self.path.truncate(before);
        }
        found
    }

    /// Reads the object where it is. After a fault the expression is worth nothing.
    fn object(&mut self, body: &TargetingBody, sense: Sense) -> Expression {
        self.depth += 1;
        let faults_before = self.errors.len();
        let expression = if self.depth > DEPTH_MAX {
            self.fault("too_deep", &format!("nests deeper than {DEPTH_MAX} levels"));
            Expression::everybody()
        } else {
            let mut parts = self.predicates(body);
            self.combinations(body, sense, &mut parts);
            match <[Expression; 1]>::try_from(parts) {
                Ok([only]) => only,
                Err(parts) => Expression::All(parts),
            }
        };
        self.depth -= 1;
        // The innermost place that can't hold is the one to name, so outer ones are looked at only if what is inside is sound.
        if self.errors.len() == faults_before {
            self.judge(&expression, sense);
        }
        expression
    }

    fn judge(&mut self, expression: &Expression, sense: Sense) {
        match (normal_form(expression), sense) {
            (Ok(_), _) | (Err(_), Sense::Negated) => {}
            (Err(DnfError::NeverHolds), Sense::Required) => {
                self.fault("contradiction", "can never hold: its conditions contradict each other");
            }
            (Err(error @ (DnfError::TooManyConjunctions | DnfError::TooManyConditions)), Sense::Required) => {
                self.fault("too_many", &error.to_string());
            }
        }
    }

    fn combinations(&mut self, body: &TargetingBody, sense: Sense, parts: &mut Vec<Expression>) {
        if let Some(all) = &body.all {
            let found = self.field("all", |here| {
                if all.is_empty() {
                    Vec::new()
                } else {
                    here.each(PARTS_MAX, all, |here, part| Some(here.object(part, sense)))
                }
            });
            parts.push(Expression::All(found));
        }
        if let Some(any) = &body.any {
            let found =
                self.field("any", |here| here.each(PARTS_MAX, any, |here, part| Some(here.object(part, sense))));
            parts.push(Expression::Any(found));
        }
        if let Some(not) = &body.not {
            let found = self.field("not", |here| {
                let faults_before = here.errors.len();
                let negation = Expression::Not(Box::new(here.object(not, Sense::Negated)));
                if here.errors.len() == faults_before {
                    here.judge(&negation, sense);
                }
                negation
            });
            parts.push(found);
        }
    }

    fn predicates(&mut self, body: &TargetingBody) -> Vec<Expression> {
        let mut found = Vec::new();
        for (attribute, name, values) in texts(body) {
            if let Some(values) = values {
                let any_of = self.field(name, |here| here.values(attribute, values));
                found.push(Predicate::Has { attribute, any_of });
            }
        }
        if let Some(ages) = &body.age {
            let any_of = self.field("age", |here| here.each(RANGES_MAX, ages, |here, range| here.age(*range)));
            found.push(Predicate::Age { any_of });
        }
        found.extend(body.explicit.map(Predicate::Explicit));
        if let Some(pairs) = &body.key_value {
            self.field("key_value", |here| here.key_values(pairs, &mut found));
        }
        for (of, name, ranges) in
            [(VersionOf::Os, "os_version", &body.os_version), (VersionOf::App, "app_version", &body.app_version)]
        {
            if let Some(ranges) = ranges {
                let any_of = self.field(name, |here| here.each(RANGES_MAX, ranges, Self::versions));
                found.push(Predicate::Version { of, any_of });
            }
        }
        if let Some(daypart) = &body.daypart {
            found.push(self.field("daypart", |here| here.daypart(daypart)));
        }
        if let Some(circles) = &body.within {
            let any_of = self.field("within", |here| here.each(CIRCLES_MAX, circles, |here, one| here.circle(*one)));
            found.push(Predicate::Within { any_of });
        }
        found.into_iter().map(Expression::Is).collect()
    }

    fn values(&mut self, attribute: Attribute, values: &[String]) -> Vec<String> {
        let most = if attribute == Attribute::Segment { SEGMENTS_MAX } else { VALUES_MAX };
        let mut found = self.each(most, values, |here, text| {
            let value = normal::value(attribute, text);
            if value.is_none() {
                here.fault("bad_value", &format!("{text:.40?} is not a value here; expected {}", expected(attribute)));
            }
            value
        });
        found.sort_unstable();
        found.dedup();
        if attribute == Attribute::Segment {
            self.segments += found.len();
        }
        found
    }

    fn key_values(&mut self, pairs: &BTreeMap<String, Vec<String>>, found: &mut Vec<Predicate>) {
        if pairs.is_empty() {
            self.fault("empty", "is empty; leave the field out or name at least one key");
        }
        if pairs.len() > PARTS_MAX {
            self.fault("too_many", &format!("has {} keys; at most {PARTS_MAX} fit", pairs.len()));
            return;
        }
        for (key, values) in pairs {
            self.field(key, |here| {
                let normal_key = normal::word(key).unwrap_or_default();
                if normal_key.is_empty() {
                    here.fault("bad_value", "is not a key: expected 1 to 128 characters");
                }
                let mut any_of = here.each(VALUES_MAX, values, |here, text| {
                    let value = normal::word(text);
                    if value.is_none() {
                        here.fault("bad_value", "expected 1 to 128 characters, none of them control characters");
                    }
                    value
                });
                any_of.sort_unstable();
                any_of.dedup();
                found.push(Predicate::KeyValue { key: normal_key, any_of });
            });
        }
    }

    fn age(&mut self, range: AgeRangeBody) -> Option<AgeRange> {
        let (from, to) = (range.from.unwrap_or(0), range.to.unwrap_or(AGE_MAX));
        if range.from.is_none() && range.to.is_none() {
            self.fault("missing", "expected from, to or both");
        } else if from > AGE_MAX || to > AGE_MAX {
            self.fault("out_of_range", &format!("ages go from 0 to {AGE_MAX}"));
        } else if from > to {
            self.fault("out_of_range", "from is above to");
        } else {
            return Some(AgeRange { from, to });
        }
        None
    }

    fn versions(&mut self, range: &VersionRangeBody) -> Option<VersionRange> {
        if range.at_least.is_none() && range.below.is_none() {
            self.fault("missing", "expected at_least, below or both");
            return None;
        }
        let at_least = self.version("at_least", range.at_least.as_deref());
        let below = self.version("below", range.below.as_deref());
        let range = VersionRange { at_least: at_least?, below: below? };
        let lowest = range.at_least.unwrap_or(Version([0; 4]));
        if range.below.is_some_and(|below| below <= lowest) {
            self.fault("out_of_range", "no version is in the range: below is not above at_least");
            return None;
        }
        Some(range)
    }

    /// The version of an end of a range: none after a fault, `Some(None)` for an open end.
    #[expect(clippy::option_option, reason = "a fault and an open end are two things, and both end here")]
    fn version(&mut self, name: &str, text: Option<&str>) -> Option<Option<Version>> {
        let Some(text) = text else { return Some(None) };
        let version = Version::parse(text.trim());
        if version.is_none() {
            self.field(name, |here| here.fault("bad_value", "expected a version of 1 to 4 numbers, such as 12.1"));
        }
        version.map(Some)
    }

    fn daypart(&mut self, body: &DaypartBody) -> Predicate {
        let zone = match body.time_zone {
            TimeZoneOf::Listener => DaypartZone::Listener,
            TimeZoneOf::LineItem => DaypartZone::LineItem,
        };
        let ranges = self.field("hours", |here| here.each(RANGES_MAX, &body.hours, Self::hours));
        Predicate::Daypart { zone, hours: ranges.into_iter().flatten().collect() }
    }

    /// Hours of the week of one range.
    fn hours(&mut self, range: &HoursBody) -> Option<Vec<u8>> {
        if range.days.as_ref().is_some_and(Vec::is_empty) {
            self.field("days", |here| here.fault("empty", "is empty; leave the field out for every day"));
            return None;
        }
        if range.from > 23 || range.to > 24 {
            self.fault("out_of_range", "from goes from 0 to 23 and to from 1 to 24");
            return None;
        }
        if range.from >= range.to {
            self.fault(
                "out_of_range",
                "to is not after from; a range over midnight is two, such as 22 to 24 and 0 to 2",
            );
            return None;
        }
        let days = range.days.as_deref().unwrap_or(&EVERY_DAY);
        Some(days.iter().flat_map(|&day| (range.from..range.to).map(move |hour| day as u8 * 24 + hour)).collect())
    }

    fn circle(&mut self, circle: CircleBody) -> Option<Circle> {
        let faults_before = self.errors.len();
        if !(-90.0..=90.0).contains(&circle.latitude) {
            self.field("latitude", |here| here.fault("out_of_range", "latitudes go from -90 to 90"));
        }
        if !(-180.0..=180.0).contains(&circle.longitude) {
            self.field("longitude", |here| here.fault("out_of_range", "longitudes go from -180 to 180"));
        }
        if !(RADIUS_MIN_M..=RADIUS_MAX_M).contains(&circle.radius_m) {
            let message = format!("a radius goes from {RADIUS_MIN_M} to {RADIUS_MAX_M} metres");
            self.field("radius_m", |here| here.fault("out_of_range", &message));
        }
        let CircleBody { latitude, longitude, radius_m } = circle;
        (self.errors.len() == faults_before).then_some(Circle { latitude, longitude, radius_m })
    }
}
