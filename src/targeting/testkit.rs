//! Random expressions and requests for tests: few values for each attribute, some common and some rare, so that about half of all pairs match.

use super::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};
use crate::model::{
    AdBreakRequest, AppKey, BreakPosition, BreakSpec, ConsentScope, Coordinates, Facts, ListenerKey, NetworkId,
    PlacementKey, RequestId, Subscription, Zone,
};
use crate::targeting::dnf::{DnfError, normal_form};
use crate::workload::Draws;

/// Kinds of predicates: the plain attributes, then these.
pub(crate) const KINDS: usize = Attribute::ALL.len() + OTHER_KINDS.len();
const OTHER_KINDS: [&str; 8] =
    ["age", "explicit", "key_value", "listener_hour", "line_item_hour", "within", "os_version", "app_version"];
const ZONES: [&str; 4] = ["Europe/Stockholm", "America/New_York", "Asia/Kolkata", "UTC"];
/// Values of an attribute: the first few are common.
const VALUES: u32 = 40;
const COMMON: u32 = 3;

/// What an expression looks at: for each kind, and for the negation of each multi-valued kind.
#[derive(Clone, Default)]
pub(crate) struct Kinds {
    pub(crate) used: [bool; KINDS],
    pub(crate) negated_multi_valued: [bool; KINDS],
}

impl Kinds {
    pub(crate) fn of(expression: &Expression) -> Self {
        let mut kinds = Self::default();
        kinds.add(expression, false);
        kinds
    }

    fn add(&mut self, expression: &Expression, negated: bool) {
        match expression {
            Expression::All(parts) | Expression::Any(parts) => parts.iter().for_each(|part| self.add(part, negated)),
            Expression::Not(part) => self.add(part, !negated),
            Expression::Is(predicate) => {
                self.used[kind(predicate)] = true;
                self.negated_multi_valued[kind(predicate)] |= negated && is_multi_valued(kind(predicate));
            }
        }
    }
}

pub(crate) fn is_multi_valued(kind: usize) -> bool {
    matches!(kind_name(kind).as_str(), "Genre" | "Mood" | "Artist" | "ContentCategory" | "Segment" | "key_value")
}

pub(crate) fn kind_name(kind: usize) -> String {
    Attribute::ALL
        .get(kind)
        .map_or_else(|| OTHER_KINDS[kind - Attribute::ALL.len()].to_owned(), |attribute| format!("{attribute:?}"))
}

fn kind(predicate: &Predicate) -> usize {
    let other = |name| Attribute::ALL.len() + OTHER_KINDS.iter().position(|&one| one == name).expect("a kind");
    match predicate {
        Predicate::Has { attribute, .. } => {
            Attribute::ALL.iter().position(|one| one == attribute).expect("an attribute")
        }
        Predicate::Age { .. } => other("age"),
        Predicate::Explicit(_) => other("explicit"),
        Predicate::KeyValue { .. } => other("key_value"),
        Predicate::Daypart { zone: DaypartZone::Listener, .. } => other("listener_hour"),
        Predicate::Daypart { zone: DaypartZone::LineItem, .. } => other("line_item_hour"),
        Predicate::Within { .. } => other("within"),
        Predicate::Version { of: VersionOf::Os, .. } => other("os_version"),
        Predicate::Version { of: VersionOf::App, .. } => other("app_version"),
    }
}

/// An expression that has a normal form, or can never hold.
pub(crate) fn expression(draws: &mut Draws) -> Expression {
    loop {
        let expression = part(draws, 3);
        match normal_form(&expression) {
            Ok(_) | Err(DnfError::NeverHolds) => return expression,
            Err(DnfError::TooManyConjunctions | DnfError::TooManyConditions) => {}
        }
    }
}

fn part(draws: &mut Draws, depth: u32) -> Expression {
    // Now and then no parts at all: `all` of nothing always holds, `any` of nothing never does.
    let parts = |draws: &mut Draws, most| -> Vec<Expression> {
        let least = u32::from(draws.chance(0.95));
        (0..draws.between(least, most)).map(|_| part(draws, depth - 1)).collect()
    };
    match draws.below(if depth == 0 { 1 } else { 6 }) {
        0 => Expression::Is(predicate(draws)),
        1 | 2 => Expression::All(parts(draws, 3)),
        3 | 4 => Expression::Any(parts(draws, 4)),
        _ => Expression::Not(Box::new(part(draws, depth - 1))),
    }
}

fn value(draws: &mut Draws) -> String {
    let number = if draws.chance(0.85) { draws.below(COMMON) } else { draws.below(VALUES) };
    format!("v{number}")
}

fn text(attribute: Attribute, draws: &mut Draws) -> String {
    if attribute == Attribute::BreakPosition {
        return (*draws.pick(&["pre_roll", "mid_roll", "post_roll"])).to_owned();
    }
    value(draws)
}

fn hours(draws: &mut Draws) -> WeekHours {
    let share = draws.unit();
    (0..WeekHours::COUNT).filter(|_| draws.chance(share)).collect()
}

fn place(draws: &mut Draws) -> (f64, f64) {
    (59.0 + draws.unit(), 18.0 + draws.unit())
}

fn version(draws: &mut Draws) -> Version {
    Version([draws.below(4), draws.below(3), 0, 0])
}

fn predicate(draws: &mut Draws) -> Predicate {
    let kind = draws.index(KINDS);
    if let Some(&attribute) = Attribute::ALL.get(kind) {
        let mut any_of: Vec<String> = (0..draws.between(1, 3)).map(|_| text(attribute, draws)).collect();
        if attribute == Attribute::Segment && draws.chance(0.05) {
            any_of.extend((0..1_500).map(|number| format!("large{number}")));
        }
        return Predicate::Has { attribute, any_of };
    }
    match OTHER_KINDS[kind - Attribute::ALL.len()] {
        "age" => {
            let range = |draws: &mut Draws| {
                let from = u8::try_from(draws.between(10, 60)).expect("a byte");
                AgeRange { from, to: from + u8::try_from(draws.below(30)).expect("a byte") }
            };
            Predicate::Age { any_of: (0..draws.between(1, 2)).map(|_| range(draws)).collect() }
        }
        "explicit" => Predicate::Explicit(draws.chance(0.5)),
        "key_value" => {
            let any_of = (0..draws.between(1, 3)).map(|_| value(draws)).collect();
            Predicate::KeyValue { key: format!("k{}", draws.below(3)), any_of }
        }
        "listener_hour" => Predicate::Daypart { zone: DaypartZone::Listener, hours: hours(draws) },
        "line_item_hour" => Predicate::Daypart { zone: DaypartZone::LineItem, hours: hours(draws) },
        "within" => {
            let circle = |draws: &mut Draws| {
                let (latitude, longitude) = place(draws);
                Circle { latitude, longitude, radius_m: draws.between(100, 60_000) }
            };
            Predicate::Within { any_of: (0..draws.between(1, 2)).map(|_| circle(draws)).collect() }
        }
        name => {
            let of = if name == "os_version" { VersionOf::Os } else { VersionOf::App };
            let end = |draws: &mut Draws| draws.chance(0.7).then(|| version(draws));
            let any_of = (0..draws.between(1, 2)).map(|_| VersionRange { at_least: end(draws), below: end(draws) });
            Predicate::Version { of, any_of: any_of.collect() }
        }
    }
}

/// A zone of a few.
pub(crate) fn zone(draws: &mut Draws) -> Zone {
    Zone::named(ZONES[draws.index(ZONES.len())]).expect("a zone")
}

/// A request of that network; each fact is unknown to some.
pub(crate) fn request(network_id: NetworkId, draws: &mut Draws) -> AdBreakRequest {
    let position = *draws.pick(&[BreakPosition::PreRoll, BreakPosition::MidRoll, BreakPosition::PostRoll]);
    AdBreakRequest {
        network_id,
        request_id: RequestId::new("request").expect("a key"),
        listener_key: ListenerKey([0; 16]),
        app: AppKey::new(&value(draws)).expect("a key"),
        placement: PlacementKey::new(&value(draws)).expect("a key"),
        spec: BreakSpec {
            max_duration_ms: 60_000,
            max_ads: 3,
            position,
            formats: Vec::new(),
            companion_sizes: Vec::new(),
        },
        facts: facts(draws),
        consent: ConsentScope::Personal,
        child: false,
        subscription: Subscription::Free,
        since_last_break_ms: None,
        prefetch: false,
        preview: None,
    }
}

fn facts(draws: &mut Draws) -> Facts {
    fn known<T>(draws: &mut Draws, draw: impl FnOnce(&mut Draws) -> T) -> Option<T> {
        draws.chance(0.85).then(|| draw(draws))
    }
    let several = |draws: &mut Draws| -> Vec<String> { (0..draws.below(4)).map(|_| value(draws)).collect() };
    let mut segments = several(draws);
    if draws.chance(0.1) {
        segments.push(format!("large{}", draws.below(2_000)));
    }
    Facts {
        country: known(draws, value),
        region: known(draws, value),
        city: known(draws, value),
        postal_code: known(draws, value),
        language: known(draws, value),
        age: known(draws, |draws| u8::try_from(draws.between(5, 90)).expect("a byte")),
        gender: known(draws, value),
        platform: known(draws, value),
        device_type: known(draws, value),
        os: known(draws, value),
        os_version: known(draws, |draws| if draws.chance(0.1) { "beta".into() } else { version(draws).to_string() }),
        app_version: known(draws, |draws| version(draws).to_string()),
        connection: known(draws, value),
        genres: several(draws),
        moods: several(draws),
        playlist: known(draws, value),
        artists: several(draws),
        explicit: known(draws, |draws| draws.chance(0.5)),
        content_categories: several(draws),
        segments,
        key_values: (0..draws.below(4)).map(|_| (format!("k{}", draws.below(3)), value(draws))).collect(),
        coordinates: known(draws, |draws| {
            let (latitude, longitude) = place(draws);
            Coordinates { latitude, longitude }
        }),
        zone: known(draws, zone),
        taste_genres: several(draws),
        taste_moods: several(draws),
    }
}
