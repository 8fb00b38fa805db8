//! Targeting: syntax → expression → conjunctions → index → candidates.

pub mod dnf;
mod expression;
pub mod index;
pub mod naive;
pub mod normal;
pub mod syntax;
#[cfg(test)]
pub(crate) mod testkit;

pub use expression::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};
