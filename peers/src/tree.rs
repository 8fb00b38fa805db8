//! The reference catalogue as a tree of `a-tree`, and its listeners as that tree's events.
//!
//! Each fact is said in the way that is cheapest there: an hour, an age as a whole number, what has one value as a string, what has several as a list,
//! a negation by the operator that has it built in. An age class is its middle year, as that is the age of every reference listener of the class.

use a_tree::{ATree, AttributeDefinition, Event};
use anyhow::{Context as _, bail, ensure};
use segue::model::LineItem;
use segue::targeting::{Attribute, DaypartZone, Expression, Predicate};
use segue::workload::reference::ReferenceBreak;

/// Attributes that reference line items ask for and that have one value.
const SINGLE: [(Attribute, &str); 7] = [
    (Attribute::Country, "country"),
    (Attribute::Region, "region"),
    (Attribute::City, "city"),
    (Attribute::Language, "language"),
    (Attribute::Gender, "gender"),
    (Attribute::Platform, "platform"),
    (Attribute::DeviceType, "device"),
];
/// Those with several.
const LISTS: [(Attribute, &str); 2] = [(Attribute::Genre, "genres"), (Attribute::Segment, "segments")];

/// All line items in one tree; what is found is the position in the list.
pub(crate) struct Tree(ATree<u32>);

impl Tree {
    /// Builds it.
    pub(crate) fn build(line_items: &[LineItem]) -> anyhow::Result<Self> {
        let strings = SINGLE.iter().map(|(_, name)| AttributeDefinition::string(name));
        let lists = LISTS.iter().map(|(_, name)| AttributeDefinition::string_list(name));
        let others = [
            AttributeDefinition::integer("age"),
            AttributeDefinition::integer("hour"),
            AttributeDefinition::boolean("explicit"),
        ];
        let definitions: Vec<AttributeDefinition> = strings.chain(lists).chain(others).collect();
        // Its errors borrow what they are about: they leave as text.
        let mut tree = ATree::new(&definitions).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        for (position, line_item) in (0..).zip(line_items) {
            let text = text(&line_item.targeting)?;
            tree.insert(&position, &text).map_err(|error| anyhow::anyhow!("{text}: {error:?}"))?;
        }
        Ok(Self(tree))
    }

    /// The listener as an event.
    pub(crate) fn event(&self, one: &ReferenceBreak) -> anyhow::Result<Event> {
        let facts = &one.request.facts;
        let mut event = self.0.make_event();
        let single = [
            &facts.country,
            &facts.region,
            &facts.city,
            &facts.language,
            &facts.gender,
            &facts.platform,
            &facts.device_type,
        ];
        for ((_, name), value) in SINGLE.iter().zip(single) {
            event.with_string(name, value.as_deref().context("reference listeners have every fact")?)?;
        }
        for ((_, name), values) in LISTS.iter().zip([&facts.genres, &facts.segments]) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            event.with_string_list(name, &values)?;
        }
        let zone = facts.zone.as_ref().context("a zone")?;
        event.with_integer("age", i64::from(facts.age.context("an age")?))?;
        event.with_integer("hour", i64::from(zone.hour_of_week(one.at)))?;
        event.with_boolean("explicit", facts.explicit.context("explicit or clean")?)?;
        Ok(event.build()?)
    }

    /// Writes out the positions of all line items that match.
    pub(crate) fn search(&self, event: &Event, found: &mut Vec<u32>) {
        let report = self.0.search(event).expect("the event is of this tree");
        found.clear();
        found.extend(report.matches().iter().map(|position| **position));
    }
}

/// The expression in the tree's language.
fn text(expression: &Expression) -> anyhow::Result<String> {
    let Expression::All(parts) = expression else { bail!("reference line items are conjunctions: {expression:?}") };
    let clauses: Vec<String> = parts.iter().map(clause).collect::<Result<_, _>>()?;
    ensure!(!clauses.is_empty(), "reference line items have a clause at least");
    Ok(clauses.join(" and "))
}

fn clause(part: &Expression) -> anyhow::Result<String> {
    let (predicate, is_negated) = match part {
        Expression::Is(predicate) => (predicate, false),
        Expression::Not(inner) => match &**inner {
            Expression::Is(predicate) => (predicate, true),
            other => bail!("reference line items negate predicates alone: {other:?}"),
        },
        other => bail!("reference clauses are predicates: {other:?}"),
    };
    let of_one = if is_negated { "not in" } else { "in" };
    let of_many = if is_negated { "none of" } else { "one of" };
    Ok(match predicate {
        Predicate::Has { attribute, any_of } => {
            let (name, operator) = match (named(&SINGLE, *attribute), named(&LISTS, *attribute)) {
                (Some(name), _) => (name, of_one),
                (None, Some(name)) => (name, of_many),
                (None, None) => bail!("reference line items don't ask for {attribute:?}"),
            };
            format!("{name} {operator} {any_of:?}")
        }
        Predicate::Age { any_of } => {
            let years: Vec<u8> = any_of.iter().map(|range| u8::midpoint(range.from, range.to)).collect();
            format!("age {of_one} {years:?}")
        }
        Predicate::Daypart { zone: DaypartZone::Listener, hours } => {
            let hours: Vec<u8> = hours.iter().collect();
            format!("hour {of_one} {hours:?}")
        }
        Predicate::Explicit(asked) => if *asked == is_negated { "not explicit" } else { "explicit" }.to_owned(),
        other => bail!("reference line items don't ask for {other:?}"),
    })
}

fn named(names: &[(Attribute, &'static str)], attribute: Attribute) -> Option<&'static str> {
    names.iter().find(|(one, _)| *one == attribute).map(|(_, name)| *name)
}
