//! The decision: which ads one listener hears in one break.

mod answer;
mod excluded;
mod reason;
mod seed;
mod spending;

pub use answer::{Billing, ChosenAd, Decision, Degradation, NextBreak, NoBreakReason, SpendRead};
pub use excluded::Excluded;
pub use reason::{NoFillReason, ReasonCounts};
pub use seed::Seed;
pub use spending::{Draw, DrawError, DrawnTotals, LeaseRest, LeaseTerms, LeaseView, SpendView, Spending};
