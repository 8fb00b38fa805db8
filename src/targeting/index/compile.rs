//! The side of the line item: its normal form in numbers, sets of values by lane, and what is left to a check.

use std::sync::Arc;

use super::ValueId;
use super::query::{Lane, Query};
use crate::targeting::dnf::{Clause, Conjunction, Field, Term, Test};
use crate::targeting::expression::{Circle, VersionOf, VersionRange};
use crate::targeting::naive::in_circle;

/// A line item's targeting in numbers: it matches when any of its conjunctions does.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    pub(super) conjunctions: Vec<Compiled>,
}

/// A conjunction in numbers.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Compiled {
    /// Of each of these sets, a value must be there; at most one set a lane.
    pub(super) wanted: Vec<(Lane, Box<[ValueId]>)>,
    /// None of these may be there.
    pub(super) excluded: Vec<(Lane, Box<[ValueId]>)>,
    /// What is left to check.
    pub(super) residuals: Vec<Residual>,
}

/// A condition that is checked rather than looked up.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Residual {
    /// A value of the lane is in the set.
    Values { lane: Lane, negated: bool, set: Arc<[ValueId]> },
    /// The listener is in one of the circles.
    Within { negated: bool, circles: Box<[Circle]> },
    /// The version is in one of the ranges.
    Version { negated: bool, of: VersionOf, ranges: Box<[VersionRange]> },
}

impl Document {
    /// The document of a normal form, of a line item that runs in `network`. `number` gives a value's number.
    pub fn new(
        network: ValueId,
        conjunctions: &[Conjunction<'_>],
        mut number: impl FnMut(Field, Term<'_>) -> ValueId,
    ) -> Self {
        let conjunctions = conjunctions.iter().map(|conjunction| Compiled::new(network, conjunction, &mut number));
        Self { conjunctions: conjunctions.collect() }
    }

    /// Whether the query meets it, by its definition.
    #[must_use]
    pub fn matches(&self, query: &Query) -> bool {
        self.conjunctions.iter().any(|conjunction| {
            conjunction.wanted.iter().all(|(lane, set)| shares_a_value(query.values(*lane), set))
                && !conjunction.excluded.iter().any(|(lane, set)| shares_a_value(query.values(*lane), set))
                && conjunction.residuals.iter().all(|residual| residual.holds(query))
        })
    }
}

impl Compiled {
    fn new(
        network: ValueId,
        conjunction: &Conjunction<'_>,
        number: &mut impl FnMut(Field, Term<'_>) -> ValueId,
    ) -> Self {
        let mut compiled = Self { wanted: vec![(Lane::NETWORK, Box::from([network]))], ..Self::default() };
        let mut clauses: Vec<&Clause<'_>> = conjunction.clauses.iter().collect();
        // The smallest set of a lane is the lane's, as it says most.
        clauses.sort_by_key(|clause| clause.terms.len());
        for clause in clauses {
            let lane = Lane::of(clause.field);
            let mut set: Vec<ValueId> = clause.terms.iter().map(|term| number(clause.field, *term)).collect();
            set.sort_unstable();
            set.dedup();
            let is_taken = !clause.negated && compiled.wanted.iter().any(|(taken, _)| *taken == lane);
            if is_taken {
                compiled.residuals.push(Residual::Values { lane, negated: false, set: set.into() });
            } else if clause.negated {
                compiled.excluded.push((lane, set.into()));
            } else {
                compiled.wanted.push((lane, set.into()));
            }
        }
        for check in &conjunction.checks {
            let negated = check.negated;
            compiled.residuals.push(match &check.test {
                Test::Within(circles) => Residual::Within { negated, circles: (*circles).into() },
                Test::Version(of, ranges) => Residual::Version { negated, of: *of, ranges: ranges[..].into() },
            });
        }
        compiled
    }
}

impl Residual {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let held = match self {
            Self::Values { set, .. } => size_of_val(&**set),
            Self::Within { circles, .. } => size_of_val(&**circles),
            Self::Version { ranges, .. } => size_of_val(&**ranges),
        };
        size_of::<Self>() + held
    }

    /// Whether the query meets it; something unknown meets only a negation.
    pub(super) fn holds(&self, query: &Query) -> bool {
        match self {
            Self::Values { lane, negated, set } => shares_a_value(query.values(*lane), set) != *negated,
            Self::Within { negated, circles } => {
                query.coordinates.is_some_and(|at| circles.iter().any(|circle| in_circle(*circle, at))) != *negated
            }
            Self::Version { negated, of, ranges } => {
                let is_in = |version| ranges.iter().any(|range| range.contains(version));
                query.version(*of).is_some_and(is_in) != *negated
            }
        }
    }
}

/// Whether a value is in both; both are sorted, and one may be far longer.
fn shares_a_value(left: &[ValueId], right: &[ValueId]) -> bool {
    let (few, many) = if left.len() < right.len() { (left, right) } else { (right, left) };
    few.iter().any(|value| many.binary_search(value).is_ok())
}
