//! Line items and listeners of the reference workload as plain numbers, before they become a catalogue.

use crate::workload::{Draws, Zipf};

pub(super) const COUNTRY: usize = 0;
pub(super) const REGION: usize = 1;
pub(super) const CITY: usize = 2;
pub(super) const AGE: usize = 3;
pub(super) const GENDER: usize = 4;
pub(super) const PLATFORM: usize = 5;
pub(super) const DEVICE: usize = 6;
pub(super) const CONTEXT: usize = 7;
pub(super) const SEGMENT: usize = 8;
pub(super) const HOUR: usize = 9;
pub(super) const LANGUAGE: usize = 10;
pub(super) const EXPLICIT: usize = 11;
pub(super) const ATTRIBUTES: usize = 12;

/// Relative probability that an attribute is chosen for a clause, in the order of the constants above.
const WEIGHTS: [f64; ATTRIBUTES] = [9.0, 1.5, 1.5, 4.0, 2.5, 2.5, 1.0, 3.0, 5.0, 1.2, 1.5, 1.0];

/// How narrow a line item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 1 to 6 clauses.
    Broad,
    /// 3 to 6 clauses, a positive one on the country among them.
    Selective,
}

/// Who listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerKind {
    /// Values as common as they are.
    Common,
    /// A rare country, device and language, few segments.
    Rare,
}

/// One condition: the listener has any of the values, or none of them when negated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clause {
    /// Position of the attribute, below 12.
    pub attribute: usize,
    /// Whether it is negated.
    pub negated: bool,
    /// Values, sorted.
    pub values: Vec<u32>,
}

/// A line item's targeting: every clause holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// At least one; at most one an attribute.
    pub clauses: Vec<Clause>,
}

/// A listener at a moment: the values of each attribute, sorted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// By attribute.
    pub values: [Vec<u32>; ATTRIBUTES],
}

impl Item {
    /// Whether it matches, the slow and plain way.
    #[must_use]
    pub fn matches(&self, listener: &Listener) -> bool {
        self.clauses.iter().all(|clause| {
            let hit = listener.values[clause.attribute].iter().any(|value| clause.values.binary_search(value).is_ok());
            hit != clause.negated
        })
    }
}

/// The distributions that items and listeners are drawn from.
#[derive(Clone, Debug)]
pub struct Source {
    countries: Zipf,
    regions: Zipf,
    devices: Zipf,
    contexts: Zipf,
    segments: Zipf,
    languages: Zipf,
    platforms: Zipf,
}

impl Default for Source {
    fn default() -> Self {
        Self::new()
    }
}

/// A country, a region in it, a city in that.
#[derive(Clone, Copy)]
struct Place {
    country: u32,
    region: u32,
    city: u32,
}

impl Source {
    /// The distributions; building their tables costs about a millisecond.
    #[must_use]
    pub fn new() -> Self {
        Self {
            countries: Zipf::new(200, 1.0),
            regions: Zipf::new(10, 0.7),
            devices: Zipf::new(500, 1.0),
            contexts: Zipf::new(1_500, 0.9),
            segments: Zipf::new(50_000, 0.7),
            languages: Zipf::new(80, 1.2),
            platforms: Zipf::new(8, 0.8),
        }
    }

    fn place(&self, draws: &mut Draws) -> Place {
        let country = self.countries.draw(draws);
        let region = country * 10 + self.regions.draw(draws);
        Place { country, region, city: region * 5 + draws.below(5) }
    }

    /// A line item's clauses.
    pub fn item(&self, kind: Kind, draws: &mut Draws) -> Item {
        let attributes = chosen_attributes(kind, draws);
        // The geographic clauses of one item agree with each other.
        let place = self.place(draws);
        let mut clauses = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            let never_negated =
                matches!(attribute, AGE | GENDER | EXPLICIT) || (kind == Kind::Selective && attribute == COUNTRY);
            let negated = !never_negated && draws.chance(0.10);
            let values = self.clause_values(attribute, negated, place, draws);
            if !values.is_empty() {
                clauses.push(Clause { attribute, negated, values });
            }
        }
        if clauses.is_empty() {
            clauses.push(Clause { attribute: COUNTRY, negated: false, values: vec![place.country] });
        }
        Item { clauses }
    }

    fn clause_values(&self, attribute: usize, negated: bool, place: Place, draws: &mut Draws) -> Vec<u32> {
        match attribute {
            COUNTRY => {
                let count = if draws.chance(0.7) { 1 } else { draws.between(2, 6) };
                let values = draws.distinct(count as usize, |draws| self.countries.draw(draws));
                agreeing(values, negated, place.country)
            }
            REGION => {
                let count = draws.between(1, 4);
                let first = place.country * 10;
                let values = draws.distinct(count as usize, |draws| first + self.regions.draw(draws));
                agreeing(values, negated, place.region)
            }
            CITY => {
                let count = draws.between(1, 5);
                let mut values = draws.distinct(count as usize, |draws| place.region * 5 + draws.below(5));
                if negated {
                    values.truncate(2);
                }
                values
            }
            AGE => {
                let from = draws.below(7);
                (from..(from + draws.between(1, 4)).min(8)).collect()
            }
            GENDER => vec![if draws.chance(0.9) { draws.below(2) } else { 2 }],
            PLATFORM => some(draws, 3, &self.platforms),
            DEVICE => some(draws, 10, &self.devices),
            CONTEXT => some(draws, 10, &self.contexts),
            SEGMENT => some(draws, 20, &self.segments),
            HOUR => hours(draws),
            LANGUAGE => some(draws, 2, &self.languages),
            EXPLICIT => vec![0],
            other => unreachable!("attribute {other} is below {ATTRIBUTES} by construction"),
        }
    }

    /// A listener at a moment.
    pub fn listener(&self, kind: ListenerKind, draws: &mut Draws) -> Listener {
        let rare = kind == ListenerKind::Rare;
        let mut place = self.place(draws);
        if rare {
            let country = draws.between(150, 199);
            let region = country * 10 + draws.below(10);
            place = Place { country, region, city: region * 5 + draws.below(5) };
        }
        let mut values: [Vec<u32>; ATTRIBUTES] = Default::default();
        values[COUNTRY] = vec![place.country];
        values[REGION] = vec![place.region];
        values[CITY] = vec![place.city];
        values[AGE] = vec![draws.below(8)];
        values[GENDER] = vec![if draws.chance(0.96) { draws.below(2) } else { 2 }];
        values[PLATFORM] = vec![self.platforms.draw(draws)];
        values[DEVICE] = vec![if rare { draws.between(300, 499) } else { self.devices.draw(draws) }];
        values[CONTEXT] = some(draws, 5, &self.contexts);
        let segments = if rare { 5 } else { draws.between(5, 60) };
        values[SEGMENT] = draws.distinct(segments as usize, |draws| self.segments.draw(draws));
        values[HOUR] = vec![draws.below(168)];
        values[LANGUAGE] = vec![if rare { draws.between(50, 79) } else { self.languages.draw(draws) }];
        values[EXPLICIT] = vec![u32::from(draws.chance(0.3))];
        Listener { values }
    }
}

/// Attributes of an item's clauses, in order.
fn chosen_attributes(kind: Kind, draws: &mut Draws) -> Vec<usize> {
    let count = match kind {
        Kind::Broad => draws.between(1, 6),
        Kind::Selective => draws.between(3, 6),
    };
    let mut left: Vec<usize> = (0..ATTRIBUTES).collect();
    let mut chosen = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let weights: Vec<f64> = left.iter().map(|&attribute| WEIGHTS[attribute]).collect();
        chosen.push(left.remove(draws.weighted(&weights)));
    }
    if kind == Kind::Selective && !chosen.contains(&COUNTRY) {
        chosen[0] = COUNTRY;
    }
    chosen.sort_unstable();
    chosen
}

/// One to `most` values of a distribution.
fn some(draws: &mut Draws, most: u32, zipf: &Zipf) -> Vec<u32> {
    let count = draws.between(1, most);
    draws.distinct(count as usize, |draws| zipf.draw(draws))
}

/// Makes values agree with the item's place: a positive clause has it, a negated one does not.
fn agreeing(mut values: Vec<u32>, negated: bool, own: u32) -> Vec<u32> {
    if negated {
        values.retain(|&value| value != own);
    } else if !values.contains(&own) {
        values[0] = own;
        values.sort_unstable();
        values.dedup();
    }
    values
}

/// The same 2 to 6 hours on 1 to 7 days in a row.
fn hours(draws: &mut Draws) -> Vec<u32> {
    let days = draws.between(1, 7);
    let first_hour = draws.below(20);
    let length = draws.between(2, 6);
    let first_day = draws.below(7);
    let mut values: Vec<u32> = (0..days)
        .flat_map(|day| (first_hour..(first_hour + length).min(24)).map(move |hour| (first_day + day) % 7 * 24 + hour))
        .collect();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matches among `items` × `listeners` of the kinds, in a million.
    fn match_rate(kind: Kind, items: usize, listener_kind: ListenerKind, listeners: usize, seed: u64) -> f64 {
        let source = Source::new();
        let mut draws = Draws::new(seed, 1);
        let items: Vec<Item> = (0..items).map(|_| source.item(kind, &mut draws)).collect();
        let mut draws = Draws::new(seed, 2);
        let mut hits = 0_u32;
        for _ in 0..listeners {
            let listener = source.listener(listener_kind, &mut draws);
            hits += u32::try_from(items.iter().filter(|item| item.matches(&listener)).count()).expect("few");
        }
        let pairs = f64::from(u32::try_from(items.len() * listeners).expect("few"));
        f64::from(hits) / pairs * 1e6
    }

    #[test]
    fn match_rates_are_those_of_the_reference() {
        for seed in [1, 42] {
            let broad = match_rate(Kind::Broad, 20_000, ListenerKind::Common, 400, seed);
            assert!((48_000.0..56_000.0).contains(&broad), "broad: {broad} in a million");
            let selective = match_rate(Kind::Selective, 20_000, ListenerKind::Common, 800, seed);
            assert!((1_500.0..2_200.0).contains(&selective), "selective: {selective} in a million");
            let rare = match_rate(Kind::Selective, 40_000, ListenerKind::Rare, 800, seed);
            assert!((30.0..60.0).contains(&rare), "rare: {rare} in a million");
            println!("seed {seed}: broad {broad:.0}, selective {selective:.0}, rare {rare:.1} in a million");
        }
    }
}
