//! Pacing: how often a line item serves where it is eligible, so that its spend follows its plan.
//!
//! [`Plan`] says what should be spent by when; [`Controller`] compares that with what was spent and with how many breaks come, and sets the
//! throttle. Observed arrivals are steered against a normalised plan, so no forecast of volume is needed. Pure: time is passed in.
//! Floats stay inside; plans are integer micros and a throttle is an integer threshold. Pacing can only hold delivery back: that no budget
//! is passed is the leases' business (`accounting`).

mod controller;
mod decaying;
mod plan;

pub use controller::{Controller, Observation, SLOW_START_MS, threshold};
pub use decaying::DecayingSum;
pub use plan::Plan;
