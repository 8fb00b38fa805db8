//! The decision: which ads one listener hears in one break.

mod answer;
mod class;
mod decide;
mod diagnosis;
mod eligibility;
mod excluded;
mod explain;
mod mismatch;
mod preview;
mod price;
mod reason;
mod replay;
mod returns;
mod seed;
mod spending;
mod sponsorship;
mod suitability;
mod wording;

pub use answer::{Billing, ChosenAd, Decision, Degradation, HeldBack, NextBreak, NoBreakReason, SpendRead};
pub use decide::{MAX_CONSIDERED, Scratch, decide, survey};
pub use diagnosis::{
    Blocker, Cause, ENDS_MAX, Example, Level, LevelMoney, Matches, OutrankedBy, SampledBreak, Standing, Tally, Unseen,
    Verdict, blockers, matches, tally, verdict,
};
pub use excluded::{Excluded, StrictCaps};
pub use explain::{Explanation, Fate, MAX_FATES, Outcome, explain, summary};
pub use reason::{NoFillReason, ReasonCounts};
pub use replay::replay;
pub use returns::{LeaseDesk, LeaseOwner, OfferedLease};
pub use seed::Seed;
pub use spending::{Draw, DrawError, DrawnTotals, Gate, LeaseRest, LeaseTerms, LeaseView, SpendView, Spending};

#[cfg(test)]
pub(crate) use diagnosis::samples as diagnosis_samples;

#[cfg(test)]
mod tests;
