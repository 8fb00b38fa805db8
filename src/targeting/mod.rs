//! Targeting: syntax → expression → conjunctions → index → candidates.

pub mod dnf;
mod expression;
pub mod naive;
pub mod normal;
pub mod syntax;

pub use expression::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};
