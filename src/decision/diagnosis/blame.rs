//! Which condition of a targeting keeps a break out, by the name that it has in the API. Says what is wanted, never what a listener is.

use super::super::mismatch::list;
use crate::model::{AdBreakRequest, ConsentScope, WallMs, Zone};
use crate::targeting::{Attribute, Expression, Predicate, VersionOf, naive};

/// Most alternatives whose wanted values are named.
const MAX_ALTERNATIVES: usize = 3;

/// The conditions in the way of one break. Equal for breaks that are kept out alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Blame {
    /// Names of the conditions, sorted: one, but for alternatives none of which holds.
    pub(super) subjects: Vec<&'static str>,
    /// Whether the break has what is not wanted, rather than not what is wanted.
    pub(super) is_excluded: bool,
    /// What is wanted, or not wanted, in words; empty where that is said by the name alone.
    pub(super) values: String,
}

/// What one break is to a targeting that it is outside of.
pub(super) struct Misfit {
    pub(super) blame: Blame,
    /// Whether it would match but for this.
    pub(super) is_sole: bool,
    /// Whether the request does not say what is asked for.
    pub(super) is_unknown: bool,
    /// Whether that is because the listener did not allow it.
    pub(super) lacks_consent: bool,
    /// What the request has instead, of attributes that say little of anybody.
    pub(super) seen: Option<String>,
}

#[derive(Clone, Copy)]
struct Scene<'a> {
    request: &'a AdBreakRequest,
    zone: &'a Zone,
    at: WallMs,
}

impl Scene<'_> {
    fn meets(self, expression: &Expression) -> bool {
        naive::matches(expression, self.request, self.zone, self.at)
    }
}

/// What is in the way of a break that is outside the targeting. Of several conditions the first in the targeting's order; `is_sole` says whether there are
/// others.
pub(super) fn misfit(targeting: &Expression, request: &AdBreakRequest, zone: &Zone, at: WallMs) -> Misfit {
    let scene = Scene { request, zone, at };
    let is_sole = match targeting {
        Expression::All(parts) => parts.iter().filter(|part| !scene.meets(part)).count() == 1,
        Expression::Any(_) | Expression::Not(_) | Expression::Is(_) => true,
    };
    let (blame, predicate) = absence(targeting, scene);
    let predicate = predicate.filter(|_| !blame.is_excluded);
    let is_unknown = predicate.is_some_and(|predicate| is_unknown(predicate, request));
    let lacks_consent =
        is_unknown && request.consent == ConsentScope::ContextOnly && predicate.is_some_and(is_personal);
    Misfit { is_sole, is_unknown, lacks_consent, seen: predicate.and_then(|one| seen(one, request)), blame }
}

/// What is in the way of an expression that does not hold, and the one predicate that it is, if it is one.
fn absence<'e>(expression: &'e Expression, scene: Scene<'_>) -> (Blame, Option<&'e Predicate>) {
    match expression {
        Expression::Is(predicate) => (of_predicate(predicate, false), Some(predicate)),
        Expression::All(parts) => {
            parts.iter().find(|part| !scene.meets(part)).map_or_else(nothing, |part| absence(part, scene))
        }
        Expression::Any(parts) if parts.len() == 1 => absence(&parts[0], scene),
        Expression::Any(parts) => {
            let blames: Vec<Blame> = parts.iter().map(|part| absence(part, scene).0).collect();
            let mut subjects: Vec<&'static str> = blames.iter().flat_map(|blame| blame.subjects.clone()).collect();
            subjects.sort_unstable();
            subjects.dedup();
            let values: Vec<&str> = blames.iter().map(|blame| blame.values.as_str()).collect();
            let values = values[..values.len().min(MAX_ALTERNATIVES)].join("; or ");
            (Blame { subjects, is_excluded: false, values }, None)
        }
        Expression::Not(part) => presence(part, scene),
    }
}

/// What of an unwanted expression holds.
fn presence<'e>(expression: &'e Expression, scene: Scene<'_>) -> (Blame, Option<&'e Predicate>) {
    match expression {
        Expression::Is(predicate) => (of_predicate(predicate, true), Some(predicate)),
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().find(|part| scene.meets(part)).map_or_else(nothing, |part| presence(part, scene))
        }
        Expression::Not(part) => absence(part, scene),
    }
}

/// No condition is to blame: nobody is wanted, or everybody is unwanted.
fn nothing<'e>() -> (Blame, Option<&'e Predicate>) {
    (Blame { subjects: Vec::new(), is_excluded: true, values: String::new() }, None)
}

fn of_predicate(predicate: &Predicate, is_excluded: bool) -> Blame {
    let texts = |values: &[String]| list(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let values = match predicate {
        Predicate::Has { any_of, .. } => texts(any_of),
        Predicate::KeyValue { key, any_of } => format!("{key} {}", texts(any_of)),
        Predicate::Age { any_of } => {
            let ranges: Vec<String> = any_of.iter().map(|range| format!("{} to {}", range.from, range.to)).collect();
            ranges.join(" or ")
        }
        Predicate::Explicit(wanted) => if *wanted { "explicit" } else { "clean" }.to_owned(),
        Predicate::Daypart { .. } | Predicate::Within { .. } | Predicate::Version { .. } => String::new(),
    };
    Blame { subjects: vec![subject(predicate)], is_excluded, values }
}

/// The name of the condition in a targeting object of the API.
const fn subject(predicate: &Predicate) -> &'static str {
    match predicate {
        Predicate::Has { attribute, .. } => name(*attribute),
        Predicate::Age { .. } => "age",
        Predicate::Explicit(_) => "explicit",
        Predicate::KeyValue { .. } => "key_value",
        Predicate::Daypart { .. } => "daypart",
        Predicate::Within { .. } => "within",
        Predicate::Version { of: VersionOf::Os, .. } => "os_version",
        Predicate::Version { of: VersionOf::App, .. } => "app_version",
    }
}

const fn name(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Country => "country",
        Attribute::Region => "region",
        Attribute::City => "city",
        Attribute::PostalCode => "postal_code",
        Attribute::Language => "language",
        Attribute::Gender => "gender",
        Attribute::Platform => "platform",
        Attribute::DeviceType => "device_type",
        Attribute::Os => "os",
        Attribute::Connection => "connection",
        Attribute::Genre => "genre",
        Attribute::Mood => "mood",
        Attribute::Playlist => "playlist",
        Attribute::Artist => "artist",
        Attribute::ContentCategory => "content_category",
        Attribute::Segment => "segment",
        Attribute::BreakPosition => "break_position",
        Attribute::App => "app",
        Attribute::Placement => "placement",
        Attribute::TasteGenre => "taste_genre",
        Attribute::TasteMood => "taste_mood",
    }
}

fn is_unknown(predicate: &Predicate, request: &AdBreakRequest) -> bool {
    let facts = &request.facts;
    match predicate {
        Predicate::Has { attribute, .. } => naive::values_of(*attribute, request).next().is_none(),
        Predicate::Age { .. } => facts.age.is_none(),
        Predicate::Explicit(_) => facts.explicit.is_none(),
        Predicate::KeyValue { key, .. } => facts.key_values.iter().all(|(own, _)| own != key),
        Predicate::Daypart { .. } => false,
        Predicate::Within { .. } => facts.coordinates.is_none(),
        Predicate::Version { of: VersionOf::Os, .. } => facts.os_version.is_none(),
        Predicate::Version { of: VersionOf::App, .. } => facts.app_version.is_none(),
    }
}

/// Whether it is known of a listener only where they allow it.
const fn is_personal(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Has { attribute, .. } => matches!(
            attribute,
            Attribute::PostalCode
                | Attribute::Gender
                | Attribute::Segment
                | Attribute::TasteGenre
                | Attribute::TasteMood
        ),
        Predicate::Age { .. } | Predicate::Within { .. } => true,
        Predicate::Explicit(_) | Predicate::KeyValue { .. } | Predicate::Daypart { .. } | Predicate::Version { .. } => {
            false
        }
    }
}

/// What the request has of an attribute that thousands share; nothing of one that could point at somebody.
fn seen(predicate: &Predicate, request: &AdBreakRequest) -> Option<String> {
    let Predicate::Has { attribute, .. } = predicate else { return None };
    match attribute {
        Attribute::Country
        | Attribute::Language
        | Attribute::Platform
        | Attribute::DeviceType
        | Attribute::Os
        | Attribute::Connection
        | Attribute::Genre
        | Attribute::BreakPosition
        | Attribute::App
        | Attribute::Placement => naive::values_of(*attribute, request).next().map(str::to_owned),
        Attribute::Region
        | Attribute::City
        | Attribute::PostalCode
        | Attribute::Gender
        | Attribute::Mood
        | Attribute::Playlist
        | Attribute::Artist
        | Attribute::ContentCategory
        | Attribute::Segment
        | Attribute::TasteGenre
        | Attribute::TasteMood => None,
    }
}
