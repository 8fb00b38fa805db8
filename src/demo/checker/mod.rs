//! The independent checker: judges the server by what it answered and by its event log, and by nothing else.
//!
//! It shares no rule with the server: caps, separation, fit, targeting and money are computed anew, in the plainest way, from the catalogue
//! that was imported and from what the players saw ([`Evidence`]). Whatever it finds has a name. [`Rules::judge`] looks at an answer as it comes,
//! because only then the request is at hand; [`check`] looks at the whole when the demo is over:
//!
//! - *pods*: duration, number, competitors, advertisers and creatives of a pod; creatives of the break before; frequency caps.
//! - *log*: each acknowledged beacon is recorded, none more often than it was sent, none changed; every lease is granted once and
//!   settles what was heard of it.
//! - *totals*: what reports bill is what was billable by HTTP alone, by line item, in impressions and in money.

mod log;
mod pods;
mod rules;
#[cfg(test)]
mod tests;
mod totals;

use std::fmt;

pub use log::{LogError, LogSummary};
pub use rules::Rules;
pub use totals::{Billed, Reported};

use super::evidence::Evidence;

/// Most findings that are kept in words; the counts are of all.
const MAX_KEPT: usize = 200;

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which rule, in a stable word.
    pub rule: &'static str,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// Findings: the first in words, all counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The first ones.
    pub kept: Vec<Violation>,
    /// Broken frequency caps.
    pub caps: u64,
    /// Broken separation within a pod or from the break before.
    pub separation: u64,
    /// Everything else.
    pub others: u64,
}

impl Findings {
    /// One more.
    pub(super) fn add(&mut self, rule: &'static str, detail: impl FnOnce() -> String) {
        match rule {
            "cap" => self.caps += 1,
            "separation" => self.separation += 1,
            _ => self.others += 1,
        }
        if self.kept.len() < MAX_KEPT {
            self.kept.push(Violation { rule, detail: detail() });
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.caps + self.separation + self.others
    }
}

/// What the checker says.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub findings: Findings,
    /// Impressions that had to be billed.
    pub billable_impressions: u64,
    /// Impressions that the reports bill.
    pub billed_impressions: u64,
    /// Paid impressions that were heard and, for a reason, are not billed: as reported.
    pub unbilled_impressions: u64,
    /// Money that had to be billed, in micros.
    pub billable_micros: i64,
    /// Money that the reports bill, in micros.
    pub billed_micros: i64,
    /// Whether all the money is where it should be: what was billable is billed, to the micro, for every line item.
    pub balanced: bool,
    /// Impressions heard by tier, in the order of [`TIERS`](super::evidence::TIERS).
    pub heard_by_tier: [u64; 4],
}

/// Judges all that was seen.
#[must_use]
pub fn check(rules: &Rules, evidence: &Evidence, log: &LogSummary, reported: &Reported) -> Verdict {
    let mut findings = Findings::default();
    for broken in &evidence.broken {
        findings.add("answer", || broken.clone());
    }
    pods::check(rules, evidence, log, &mut findings);
    log::check(rules, evidence, log, &mut findings);
    let mut verdict = totals::check(evidence, log, reported, &mut findings);
    verdict.findings = findings;
    verdict
}
