//! Disjunctive normal form: an expression as alternatives ([`Conjunction`]s), each a list of conditions that must all hold.
//!
//! `not` is pushed down to the predicates first. Within a conjunction there is, for each [`Field`], at most one negated clause; positive clauses
//! on a single-valued field are merged into one by intersection. On a multi-valued field they can't be: a listener with the genres *rock*
//! and *jazz* meets `rock` and `jazz` both. A conjunction that can never hold is left out, and an expression of which none is left is refused.

use std::sync::Arc;

use super::expression::{
    Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};

/// Most conjunctions of a line item. Each is a document of its own in the index.
pub const CONJUNCTIONS_MAX: usize = 64;
/// Most conditions of one conjunction.
pub const CONDITIONS_MAX: usize = 32;
/// Most conjunctions on the way to the normal form, before contradictions and repeats are taken out; bounds time and memory.
const CONJUNCTIONS_ON_THE_WAY_MAX: usize = 2_048;

/// Most version ranges that two checks are merged into; where it would be more, they stay two checks.
const RANGES_MERGED_MAX: usize = 64;

/// What a clause looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    /// A plain attribute.
    Plain(Attribute),
    /// Age in years.
    Age,
    /// Explicit or clean.
    Explicit,
    /// A key with a value; multi-valued.
    KeyValue,
    /// Hour of the week where the listener is.
    ListenerHour,
    /// Hour of the week in the zone of the line item's flight; always known.
    LineItemHour,
}

impl Field {
    /// Whether a listener can have several values.
    #[must_use]
    pub const fn is_multi_valued(self) -> bool {
        match self {
            Self::KeyValue => true,
            Self::Plain(attribute) => matches!(
                attribute,
                Attribute::Genre
                    | Attribute::Mood
                    | Attribute::Artist
                    | Attribute::ContentCategory
                    | Attribute::Segment
                    | Attribute::TasteGenre
                    | Attribute::TasteMood
            ),
            Self::Age | Self::Explicit | Self::ListenerHour | Self::LineItemHour => false,
        }
    }
}

/// A value of a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Term<'e> {
    /// Of a plain attribute.
    Text(&'e str),
    /// An age, an hour of the week, or whether explicit (0, 1).
    Number(u8),
    /// Of a key.
    Pair(&'e str, &'e str),
}

/// Sorted values without repeats.
pub type Terms<'e> = Arc<[Term<'e>]>;

/// One condition by values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clause<'e> {
    /// What it looks at.
    pub field: Field,
    /// Whether none of the values may be there, rather than one must.
    pub negated: bool,
    /// The values; never empty.
    pub terms: Terms<'e>,
}

/// One condition that is computed rather than looked up.
#[derive(Clone, PartialEq, Debug)]
pub struct Check<'e> {
    /// Whether it must not hold.
    pub negated: bool,
    /// What is computed.
    pub test: Test<'e>,
}

/// What is computed of a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Test<'e> {
    /// Whether the listener is in any of the circles.
    Within(&'e [Circle]),
    /// Whether the version is in any of the ranges.
    Version(VersionOf, Arc<[VersionRange]>),
}

/// Conditions that must all hold; none is always true.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Conjunction<'e> {
    /// By values, sorted.
    pub clauses: Vec<Clause<'e>>,
    /// Computed.
    pub checks: Vec<Check<'e>>,
}

/// Why an expression has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DnfError {
    /// No listener can ever meet it.
    #[error("can never hold")]
    NeverHolds,
    /// It has more alternatives than [`CONJUNCTIONS_MAX`].
    #[error("is more than {CONJUNCTIONS_MAX} alternatives when written out")]
    TooManyConjunctions,
    /// An alternative has more conditions than [`CONDITIONS_MAX`].
    #[error("has an alternative of more than {CONDITIONS_MAX} conditions when written out")]
    TooManyConditions,
}

/// The normal form of an expression.
///
/// # Errors
/// [`DnfError`] when it never holds or is over a limit.
pub fn normal_form(expression: &Expression) -> Result<Vec<Conjunction<'_>>, DnfError> {
    let drafts = alternatives(expression, false)?;
    if drafts.is_empty() {
        return Err(DnfError::NeverHolds);
    }
    let mut conjunctions: Vec<Conjunction<'_>> = Vec::new();
    for draft in drafts {
        let conjunction = draft.finish();
        if conjunction.clauses.len() + conjunction.checks.len() > CONDITIONS_MAX {
            return Err(DnfError::TooManyConditions);
        }
        if !conjunctions.contains(&conjunction) {
            conjunctions.push(conjunction);
        }
        if conjunctions.len() > CONJUNCTIONS_MAX {
            return Err(DnfError::TooManyConjunctions);
        }
    }
    Ok(conjunctions)
}

/// The drafts of which one must hold for the expression (or its negation) to hold; none if it never does.
fn alternatives(expression: &Expression, negated: bool) -> Result<Vec<Draft<'_>>, DnfError> {
    match expression {
        Expression::Not(part) => alternatives(part, !negated),
        Expression::Is(predicate) => Ok(Draft::of(predicate, negated).into_iter().collect()),
        Expression::All(parts) if !negated => every(parts, negated),
        Expression::Any(parts) if negated => every(parts, negated),
        Expression::All(parts) | Expression::Any(parts) => {
            let mut found = Vec::new();
            for part in parts {
                found.extend(alternatives(part, negated)?);
                if found.len() > CONJUNCTIONS_ON_THE_WAY_MAX {
                    return Err(DnfError::TooManyConjunctions);
                }
            }
            Ok(found)
        }
    }
}

/// The drafts of which one must hold for every part to hold.
fn every(parts: &[Expression], negated: bool) -> Result<Vec<Draft<'_>>, DnfError> {
    let mut found = vec![Draft::default()];
    for part in parts {
        let choices = alternatives(part, negated)?;
        if found.len() * choices.len() > CONJUNCTIONS_ON_THE_WAY_MAX {
            return Err(DnfError::TooManyConjunctions);
        }
        found = match <[Draft<'_>; 1]>::try_from(choices) {
            // Most parts leave no choice: nothing is copied.
            Ok([choice]) if found.len() == 1 => found.pop().and_then(|draft| draft.and(choice)).into_iter().collect(),
            Ok([choice]) => found.into_iter().filter_map(|draft| draft.and(choice.clone())).collect(),
            Err(choices) => {
                let pairs = found.iter().flat_map(|draft| choices.iter().map(move |choice| (draft, choice)));
                pairs.filter_map(|(draft, choice)| draft.clone().and(choice.clone())).collect()
            }
        };
    }
    Ok(found)
}

/// A conjunction in the making; it can hold, as far as its values tell.
#[derive(Clone, Default)]
struct Draft<'e> {
    /// Sorted by field; a handful.
    fields: Vec<(Field, Wanted<'e>)>,
    checks: Vec<Check<'e>>,
}

/// What a draft asks of one field.
#[derive(Clone, Default)]
struct Wanted<'e> {
    /// Of each of these sets, one value must be there; on a single-valued field at most one set. None of them has an excluded value.
    sets: Vec<Terms<'e>>,
    /// None of these may be there.
    excluded: Option<Terms<'e>>,
}

impl<'e> Draft<'e> {
    /// The predicate or its negation; none if it can never hold.
    fn of(predicate: &'e Predicate, negated: bool) -> Option<Self> {
        let (field, terms) = match predicate {
            Predicate::Within { any_of } => return Self::checked(Test::Within(any_of), negated, any_of.is_empty()),
            Predicate::Version { of, any_of } => {
                return Self::checked(Test::Version(*of, any_of.as_slice().into()), negated, any_of.is_empty());
            }
            Predicate::Has { attribute, any_of } => {
                (Field::Plain(*attribute), sorted(any_of.iter().map(|value| Term::Text(value))))
            }
            Predicate::KeyValue { key, any_of } => {
                (Field::KeyValue, sorted(any_of.iter().map(|value| Term::Pair(key, value))))
            }
            Predicate::Explicit(wanted) => (Field::Explicit, sorted([Term::Number(u8::from(*wanted))])),
            Predicate::Age { any_of } => {
                (Field::Age, sorted(any_of.iter().flat_map(|range| range.from..=range.to).map(Term::Number)))
            }
            Predicate::Daypart { zone: DaypartZone::Listener, hours } => (Field::ListenerHour, hours_terms(*hours)),
            Predicate::Daypart { zone: DaypartZone::LineItem, hours } => {
                // The hour is always known here, so "not in these" is "in the others".
                let hours = if negated {
                    (0..WeekHours::COUNT).filter(|&hour| !hours.contains(hour)).collect()
                } else {
                    *hours
                };
                return Self::wanting(Field::LineItemHour, hours_terms(hours), false);
            }
        };
        Self::wanting(field, terms, negated)
    }

    fn wanting(field: Field, terms: Terms<'e>, negated: bool) -> Option<Self> {
        let wanted = match (terms.is_empty(), negated) {
            (true, false) => return None,
            (true, true) => return Some(Self::default()),
            (false, false) => Wanted { sets: vec![terms], excluded: None },
            (false, true) => Wanted { sets: Vec::new(), excluded: Some(terms) },
        };
        Some(Self { fields: vec![(field, wanted)], checks: Vec::new() })
    }

    fn checked(test: Test<'e>, negated: bool, empty: bool) -> Option<Self> {
        match (empty, negated) {
            (true, false) => None,
            (true, true) => Some(Self::default()),
            (false, _) => Some(Self { fields: Vec::new(), checks: vec![Check { negated, test }] }),
        }
    }

    /// Both together; none if they contradict each other.
    fn and(mut self, other: Self) -> Option<Self> {
        for (field, wanted) in other.fields {
            match self.fields.binary_search_by_key(&field, |(known, _)| *known) {
                Err(place) => self.fields.insert(place, (field, wanted)),
                Ok(place) => self.fields[place].1 = self.fields[place].1.and(&wanted, field)?,
            }
        }
        for check in &other.checks {
            add_check(&mut self.checks, check)?;
        }
        Some(self)
    }

    fn finish(self) -> Conjunction<'e> {
        let mut clauses = Vec::new();
        for (field, wanted) in self.fields {
            // A known value among the wanted ones is none of the excluded ones: they were taken out.
            let exclusion_is_implied = !field.is_multi_valued() && !wanted.sets.is_empty();
            clauses.extend(wanted.sets.into_iter().map(|terms| Clause { field, negated: false, terms }));
            if let Some(terms) = wanted.excluded.filter(|_| !exclusion_is_implied) {
                clauses.push(Clause { field, negated: true, terms });
            }
        }
        clauses.sort();
        Conjunction { clauses, checks: self.checks }
    }
}

impl<'e> Wanted<'e> {
    /// Both together; none if they contradict each other.
    fn and(&self, other: &Self, field: Field) -> Option<Self> {
        let excluded = match (&self.excluded, &other.excluded) {
            (Some(left), Some(right)) => Some(sorted(left.iter().chain(right.iter()).copied())),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        let mut sets: Vec<Terms<'e>> = Vec::new();
        for set in self.sets.iter().chain(&other.sets) {
            let set = match &excluded {
                Some(excluded) if set.iter().any(|term| excluded.binary_search(term).is_ok()) => {
                    set.iter().filter(|term| excluded.binary_search(term).is_err()).copied().collect()
                }
                _ => Arc::clone(set),
            };
            if field.is_multi_valued() || sets.is_empty() {
                if !sets.contains(&set) {
                    sets.push(set);
                }
            } else {
                sets[0] = sets[0].iter().filter(|term| set.binary_search(term).is_ok()).copied().collect();
            }
        }
        sets.iter().all(|set| !set.is_empty()).then_some(Self { sets, excluded })
    }
}

/// Adds a check; none if it contradicts one that is there. Positive version ranges are intersected, so that they can be seen to.
fn add_check<'e>(checks: &mut Vec<Check<'e>>, check: &Check<'e>) -> Option<()> {
    if checks.contains(check) {
        return Some(());
    }
    if checks.contains(&Check { negated: !check.negated, test: check.test.clone() }) {
        return None;
    }
    if let Test::Version(of, ranges) = &check.test
        && !check.negated
    {
        for known in checks.iter_mut().filter(|known| !known.negated) {
            if let Test::Version(known_of, known_ranges) = &mut known.test
                && known_of == of
                && known_ranges.len() * ranges.len() <= RANGES_MERGED_MAX
            {
                *known_ranges = known_ranges
                    .iter()
                    .flat_map(|left| ranges.iter().filter_map(|right| intersection(*left, *right)))
                    .collect();
                return (!known_ranges.is_empty()).then_some(());
            }
        }
    }
    checks.push(check.clone());
    Some(())
}

fn intersection(left: VersionRange, right: VersionRange) -> Option<VersionRange> {
    let at_least: Option<Version> = left.at_least.max(right.at_least);
    let below = match (left.below, right.below) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    };
    let holds_something = match (at_least, below) {
        (Some(low), Some(high)) => low < high,
        (_, Some(high)) => high > Version([0; 4]),
        (_, None) => true,
    };
    holds_something.then_some(VersionRange { at_least, below })
}

fn hours_terms<'e>(hours: WeekHours) -> Terms<'e> {
    hours.iter().map(Term::Number).collect()
}

fn sorted<'e>(terms: impl IntoIterator<Item = Term<'e>>) -> Terms<'e> {
    let mut terms: Vec<Term<'e>> = terms.into_iter().collect();
    terms.sort_unstable();
    terms.dedup();
    terms.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(attribute: Attribute, values: &[&str]) -> Expression {
        Expression::Is(Predicate::Has { attribute, any_of: values.iter().map(|&value| value.to_owned()).collect() })
    }

    fn not(part: Expression) -> Expression {
        Expression::Not(Box::new(part))
    }

    fn version(at_least: Option<&str>, below: Option<&str>) -> Expression {
        let parse = |text: &str| Version::parse(text).expect("a version");
        let range = VersionRange { at_least: at_least.map(parse), below: below.map(parse) };
        Expression::Is(Predicate::Version { of: VersionOf::Os, any_of: vec![range] })
    }

    /// The normal form in short: alternatives with ` | ` between, conditions with ` & `.
    fn short(expression: &Expression) -> String {
        let clause = |clause: &Clause<'_>| {
            let terms: Vec<String> = clause
                .terms
                .iter()
                .map(|term| match term {
                    Term::Text(text) => (*text).to_owned(),
                    Term::Number(number) => number.to_string(),
                    Term::Pair(key, value) => format!("{key}={value}"),
                })
                .collect();
            format!("{}{}", if clause.negated { "!" } else { "" }, terms.join(","))
        };
        match normal_form(expression) {
            Ok(conjunctions) => conjunctions
                .iter()
                .map(|one| {
                    let checks =
                        one.checks.iter().map(|check| if check.negated { "!?".to_owned() } else { "?".to_owned() });
                    one.clauses.iter().map(clause).chain(checks).collect::<Vec<_>>().join(" & ")
                })
                .collect::<Vec<_>>()
                .join(" | "),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn normal_forms() {
        use Attribute::{Country, Genre};
        use Expression::{All, Any};
        let hours =
            |hours: &[u8], zone| Expression::Is(Predicate::Daypart { zone, hours: hours.iter().copied().collect() });
        for (expression, expected) in [
            (All(vec![]), ""),
            (Any(vec![]), "NeverHolds"),
            (not(All(vec![])), "NeverHolds"),
            (has(Country, &["se", "no", "se"]), "no,se"),
            (All(vec![has(Country, &["se", "no"]), has(Country, &["no", "fi"])]), "no"),
            (All(vec![has(Country, &["se"]), has(Country, &["fi"])]), "NeverHolds"),
            (All(vec![has(Country, &["se"]), not(has(Country, &["se"]))]), "NeverHolds"),
            (All(vec![not(has(Country, &["se"])), has(Country, &["se", "no"])]), "no"),
            (All(vec![not(has(Country, &["se"])), not(has(Country, &["no"]))]), "!no,se"),
            // Several values of a multi-valued field: two sets stay two, an excluded value leaves the wanted ones.
            (All(vec![has(Genre, &["rock"]), has(Genre, &["jazz"])]), "jazz & rock"),
            (All(vec![has(Genre, &["rock"]), has(Genre, &["rock"])]), "rock"),
            (All(vec![has(Genre, &["rock", "jazz"]), not(has(Genre, &["jazz"]))]), "rock & !jazz"),
            (All(vec![has(Genre, &["rock"]), not(has(Genre, &["rock", "jazz"]))]), "NeverHolds"),
            (not(Any(vec![has(Country, &["se"]), has(Genre, &["rock"])])), "!se & !rock"),
            (not(All(vec![has(Country, &["se"]), has(Genre, &["rock"])])), "!se | !rock"),
            (All(vec![Any(vec![has(Country, &["se"]), has(Country, &["no"])]), has(Genre, &["a"])]), "se & a | no & a"),
            (Any(vec![has(Country, &["se"]), has(Country, &["se"])]), "se"),
            (not(hours(&(1..168).collect::<Vec<_>>(), DaypartZone::LineItem)), "0"),
            (not(hours(&(0..168).collect::<Vec<_>>(), DaypartZone::LineItem)), "NeverHolds"),
            (All(vec![version(Some("12"), None), version(None, Some("14"))]), "?"),
            (All(vec![version(Some("14"), None), version(None, Some("12"))]), "NeverHolds"),
            (All(vec![version(Some("14"), None), not(version(Some("14"), None))]), "NeverHolds"),
        ] {
            assert_eq!(short(&expression), expected, "{expression:?}");
        }
    }

    #[test]
    fn limits_hold_before_memory_does() {
        let choice = |index: usize| {
            Expression::Any(vec![
                has(Attribute::Genre, &[&format!("a{index}")]),
                has(Attribute::Mood, &[&format!("b{index}")]),
            ])
        };
        let wide = |count: usize| Expression::All((0..count).map(choice).collect());
        assert!(normal_form(&wide(6)).is_ok());
        assert_eq!(normal_form(&wide(7)), Err(DnfError::TooManyConjunctions));
        assert_eq!(normal_form(&wide(64)), Err(DnfError::TooManyConjunctions));
        let long = |count: usize| {
            Expression::All((0..count).map(|index| has(Attribute::Genre, &[&format!("g{index}")])).collect())
        };
        assert!(normal_form(&long(CONDITIONS_MAX)).is_ok());
        assert_eq!(normal_form(&long(CONDITIONS_MAX + 1)), Err(DnfError::TooManyConditions));
    }
}
