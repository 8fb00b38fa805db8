//! The decision: which ads one listener hears in one break.

mod answer;
mod decide;
mod eligibility;
mod excluded;
mod preview;
mod price;
mod reason;
mod seed;
mod spending;
mod sponsorship;
mod suitability;

pub use answer::{Billing, ChosenAd, Decision, Degradation, NextBreak, NoBreakReason, SpendRead};
pub use decide::{MAX_CONSIDERED, Scratch, decide, survey};
pub use excluded::Excluded;
pub use reason::{NoFillReason, ReasonCounts};
pub use seed::Seed;
pub use spending::{Draw, DrawError, DrawnTotals, LeaseRest, LeaseTerms, LeaseView, SpendView, Spending};

#[cfg(test)]
mod tests;
