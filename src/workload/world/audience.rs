//! Whom line items of the world want to reach.

use super::places::{CITIES, City, city_key};
use super::words::{ARTIST_FIRST, ARTIST_SECOND, CONTENT_CATEGORIES, GENRES, MOODS, PLAYLISTS, SEGMENTS};
use crate::targeting::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};
use crate::workload::Draws;

/// Targeting with a few words that say what it is.
pub(super) struct Audience {
    pub(super) expression: Expression,
    pub(super) label: String,
}

/// Everybody.
pub(super) fn everybody() -> Audience {
    Audience { expression: Expression::everybody(), label: "everywhere".to_owned() }
}

/// Listeners of one genre in one country: what a sponsor takes a share of.
pub(super) fn genre_in_country(country: &str, genre: &str) -> Audience {
    let expression = Expression::All(vec![
        has(Attribute::Country, vec![country.to_owned()]),
        has(Attribute::Genre, vec![genre.to_owned()]),
    ]);
    Audience { expression, label: format!("{genre} in {}", country.to_uppercase()) }
}

/// An audience of one place and up to three more conditions.
pub(super) fn drawn(draws: &mut Draws) -> Audience {
    let mut parts = Vec::new();
    let mut labels = Vec::new();
    let (place, label) = place(draws);
    parts.extend(place);
    labels.push(label);
    // Different kinds, so that no two contradict each other.
    let mut kinds = Vec::new();
    for _ in 0..draws.weighted(&[0.30, 0.40, 0.20, 0.10]) {
        let kind = draws.weighted(&CONDITION_WEIGHTS);
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let (part, label) = condition(kind, draws);
        parts.push(part);
        labels.push(label);
    }
    if draws.chance(0.12) && !kinds.contains(&GENRE_CONDITION) {
        let genre = *draws.pick(&GENRES);
        parts.push(Expression::Not(Box::new(has(Attribute::Genre, vec![genre.to_owned()]))));
        labels.push(format!("not {genre}"));
    }
    // One in twenty takes a second, quite different audience as well.
    let expression = if draws.chance(0.05) {
        let kind = draws.weighted(&CONDITION_WEIGHTS);
        let (other, label) = condition(kind, draws);
        labels.push(format!("or {label}"));
        let second = Expression::All(vec![has(Attribute::Country, vec![some_city(draws).country.to_owned()]), other]);
        Expression::Any(vec![Expression::All(parts), second])
    } else {
        Expression::All(parts)
    };
    Audience { expression, label: labels.join(", ") }
}

/// A city, large ones more often.
pub(super) fn some_city(draws: &mut Draws) -> &'static City {
    let weights: Vec<f64> = CITIES.iter().map(|city| city.weight).collect();
    &CITIES[draws.weighted(&weights)]
}

/// An artist's name, in lower case as targeting compares it.
pub(super) fn some_artist(draws: &mut Draws) -> String {
    format!("{} {}", draws.pick(&ARTIST_FIRST), draws.pick(&ARTIST_SECOND)).to_lowercase()
}

fn has(attribute: Attribute, any_of: Vec<String>) -> Expression {
    Expression::Is(Predicate::Has { attribute, any_of })
}

/// Up to `most` different words of the list, sorted.
fn some_words(draws: &mut Draws, words: &[&str], most: u32) -> Vec<String> {
    let count = draws.between(1, most);
    let last = u32::try_from(words.len()).expect("short lists");
    draws
        .distinct(count as usize, |draws| draws.below(last))
        .into_iter()
        .map(|word| words[word as usize].to_owned())
        .collect()
}

/// Where: everywhere, countries, regions, cities, or around a city.
fn place(draws: &mut Draws) -> (Option<Expression>, String) {
    let city = some_city(draws);
    match draws.weighted(&[0.18, 0.52, 0.08, 0.14, 0.08]) {
        0 => (None, "everywhere".to_owned()),
        1 => {
            let mut countries: Vec<String> =
                (0..draws.between(1, 4)).map(|_| some_city(draws).country.to_owned()).collect();
            countries.push(city.country.to_owned());
            countries.sort_unstable();
            countries.dedup();
            let label = countries.join("/").to_uppercase();
            (Some(has(Attribute::Country, countries)), label)
        }
        2 => (Some(has(Attribute::Region, vec![city.region.to_owned()])), city.region.to_uppercase()),
        3 => {
            let other = some_city(draws);
            let mut cities = vec![city_key(city), city_key(other)];
            cities.sort_unstable();
            cities.dedup();
            (Some(has(Attribute::City, cities)), format!("{} and {}", city.name, other.name))
        }
        _ => {
            let radius_m = draws.between(5, 60) * 1_000;
            let circle = Circle { latitude: city.latitude, longitude: city.longitude, radius_m };
            let within = Expression::Is(Predicate::Within { any_of: vec![circle] });
            (Some(within), format!("{} km around {}", radius_m / 1_000, city.name))
        }
    }
}

/// How often each kind of condition is asked for.
const CONDITION_WEIGHTS: [f64; 16] =
    [0.18, 0.07, 0.07, 0.14, 0.08, 0.05, 0.03, 0.05, 0.03, 0.08, 0.05, 0.03, 0.03, 0.12, 0.04, 0.08];
/// The kind that names genres.
const GENRE_CONDITION: usize = 3;

/// One condition of that kind, besides the place.
fn condition(kind: usize, draws: &mut Draws) -> (Expression, String) {
    match kind {
        0 => age(draws),
        1 => words(Attribute::Gender, some_words(draws, &["female", "male"], 1)),
        2 => words(Attribute::Language, some_words(draws, &["en", "de", "fr", "es", "sv", "pt"], 3)),
        GENRE_CONDITION => words(Attribute::Genre, some_words(draws, &GENRES, 6)),
        4 => words(Attribute::Mood, some_words(draws, &MOODS, 4)),
        5 => words(Attribute::Playlist, some_words(draws, &PLAYLISTS, 8)),
        6 => {
            let mut artists: Vec<String> = (0..draws.between(4, 12)).map(|_| some_artist(draws)).collect();
            artists.sort_unstable();
            artists.dedup();
            let label = format!("fans of {} artists", artists.len());
            (has(Attribute::Artist, artists), label)
        }
        7 => (Expression::Is(Predicate::Explicit(false)), "clean music".to_owned()),
        8 => words(Attribute::ContentCategory, some_words(draws, &CONTENT_CATEGORIES, 3)),
        9 => words(Attribute::Platform, some_words(draws, &["ios", "android", "web", "desktop", "speaker"], 3)),
        10 => words(Attribute::DeviceType, some_words(draws, &["phone", "tablet", "computer", "speaker"], 2)),
        11 => words(Attribute::Connection, some_words(draws, &["wifi", "cellular"], 1)),
        12 => version(draws),
        13 => words(Attribute::Segment, some_words(draws, &SEGMENTS, 5)),
        14 => {
            let any_of = some_words(draws, &["lean back", "lean in", "queue"], 2);
            let label = format!("mode {}", any_of.join("/"));
            (Expression::Is(Predicate::KeyValue { key: "mode".to_owned(), any_of }), label)
        }
        _ => daypart(draws),
    }
}

fn words(attribute: Attribute, any_of: Vec<String>) -> (Expression, String) {
    let label = any_of.join("/");
    (has(attribute, any_of), label)
}

fn age(draws: &mut Draws) -> (Expression, String) {
    let (from, to) = *draws.pick(&[(18, 24), (18, 34), (25, 34), (25, 44), (25, 54), (35, 54), (45, 64), (55, 120)]);
    (Expression::Is(Predicate::Age { any_of: vec![AgeRange { from, to }] }), format!("{from} to {to}"))
}

fn version(draws: &mut Draws) -> (Expression, String) {
    let (of, number, name) =
        *draws.pick(&[(VersionOf::App, 8, "app"), (VersionOf::App, 9, "app"), (VersionOf::Os, 16, "system")]);
    let range = VersionRange { at_least: Some(Version([number, 0, 0, 0])), below: None };
    (Expression::Is(Predicate::Version { of, any_of: vec![range] }), format!("{name} from {number}"))
}

fn daypart(draws: &mut Draws) -> (Expression, String) {
    let zone = if draws.chance(0.8) { DaypartZone::Listener } else { DaypartZone::LineItem };
    let (name, from, to) =
        *draws.pick(&[("mornings", 6_u8, 11_u8), ("daytime", 9, 18), ("evenings", 17, 23), ("waking hours", 7, 23)]);
    let hours: WeekHours = (0..7_u8).flat_map(|day| (from..to).map(move |hour| day * 24 + hour)).collect();
    (Expression::Is(Predicate::Daypart { zone, hours }), name.to_owned())
}
