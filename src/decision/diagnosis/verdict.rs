//! The one sentence: the most important true cause.
//!
//! A fact that keeps the line item from delivering at all goes before everything that was sampled. Then, of breaks that its targeting matches, the most
//! frequent end: that ninety-nine in a hundred breaks are elsewhere is what targeting is for, and says nothing about why the hundredth was lost. Only where
//! no break matches, or those that match are won and are few, is targeting the cause.

use super::Tally;
use super::cause::{Cause, basis_points, percent};
use super::standing::Blocker;

/// Share of all breaks below which those that match are few, in basis points: half.
const FEW: u32 = 5_000;

/// The most important true cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Its stable name: a [`Blocker`]'s, a [`Cause`]'s, `no_traffic`, `no_break_due`, `no_sample`, `not_in_catalogue`, or
    /// `delivering`.
    pub reason: &'static str,
    /// The cause's predicate, if it has one.
    pub predicate: Option<String>,
    /// One sentence.
    pub words: String,
}

/// Why there is no tally.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unseen {
    /// This process decides no breaks.
    NoBreaks,
    /// The catalogue that it decides by does not have the line item.
    NotInCatalogue,
}

/// The verdict.
#[must_use]
pub fn verdict(blockers: &[Blocker], tally: Result<&Tally, Unseen>) -> Verdict {
    if let Some(first) = blockers.first() {
        let more = match blockers.len() - 1 {
            0 => String::new(),
            1 => " (and one other fact would keep it from delivering)".to_owned(),
            many => format!(" (and {many} other facts would keep it from delivering)"),
        };
        return plain(first.reason, format!("It does not deliver: {}{more}.", first.words));
    }
    match tally {
        Ok(tally) => of_sample(tally),
        Err(Unseen::NoBreaks) => {
            let words = "Nothing in its settings, creatives or budgets keeps it from delivering; this server decides no breaks, \
                so it can't say how it fares in them.";
            plain("no_sample", words)
        }
        Err(Unseen::NotInCatalogue) => {
            let words = "Nothing in its settings, creatives or budgets keeps it from delivering, but the catalogue that this \
                server decides by does not have it yet: ask again in a moment.";
            plain("not_in_catalogue", words)
        }
    }
}

fn of_sample(tally: &Tally) -> Verdict {
    if tally.samples == 0 && tally.breaks_not_due > 0 {
        let words = "Nothing keeps it from delivering, but no ads were due in any break sampled in the last hour: the \
            listeners pay, had had a break just before, or the placement is unknown.";
        return plain("no_break_due", words);
    }
    if tally.samples == 0 {
        let words = "Nothing keeps it from delivering, but no break of its network was sampled here in the last hour: there is \
            no traffic to deliver to.";
        return plain("no_traffic", words);
    }
    of_breaks(tally)
}

fn of_breaks(tally: &Tally) -> Verdict {
    let is_misfit = |cause: &&Cause| cause.reason == "not_matched";
    let misfit = tally.causes.iter().find(is_misfit);
    let matched = tally.breaks_matched;
    let Some(first) = tally.causes.iter().find(|cause| !is_misfit(cause)) else {
        let words = misfit.map_or("nothing is known", |cause| cause.words.as_str());
        let share = misfit.map_or(0, |cause| cause.breaks);
        let share = percent(share, tally.breaks);
        return of(misfit, format!("None of the breaks sampled matches its targeting: in {share} %, {words}."));
    };
    let of_matched = percent(first.breaks, matched);
    let of_all = percent(matched, tally.breaks);
    if first.reason != "chosen" {
        let words =
            format!("Its targeting matches {of_all} % of breaks, and in {of_matched} % of these {}.", first.words);
        return of(Some(first), words);
    }
    if basis_points(matched, tally.breaks) < FEW
        && let Some(misfit) = misfit
    {
        let share = percent(misfit.breaks, tally.breaks);
        let words = format!(
            "It is in the pod in {of_matched} % of the breaks that its targeting matches, but these are {of_all} % of all: in \
            {share} %, {}.",
            misfit.words
        );
        return of(Some(misfit), words);
    }
    plain(
        "delivering",
        format!("It delivers: it is in the pod in {of_matched} % of the breaks that its targeting matches."),
    )
}

fn plain(reason: &'static str, words: impl Into<String>) -> Verdict {
    Verdict { reason, predicate: None, words: words.into() }
}

fn of(cause: Option<&Cause>, words: String) -> Verdict {
    Verdict {
        reason: cause.map_or("not_matched", |cause| cause.reason),
        predicate: cause.and_then(|cause| cause.predicate.clone()),
        words,
    }
}
