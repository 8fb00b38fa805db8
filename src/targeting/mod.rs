//! Targeting: syntax → expression → conjunctions → index → candidates.

mod expression;
pub mod naive;
pub mod normal;

pub use expression::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange, WeekHours,
};
