//! The whole decision, from a resolved request to the pod.

use segue::decision::{Decision, Degradation, Excluded, Scratch, decide, survey};
use segue::workload::reference::Profile;
use segue_figures::{Check, Report, Times, allocations_in, number, timed};

use crate::index::row;
use crate::stage::{Asked, Stage};
use crate::{Common, size_name};

/// Bounds of p50 and p99, in microseconds.
fn bounds(profile: Profile, line_items: usize) -> Option<(f64, f64)> {
    match (profile, line_items) {
        (Profile::Broad | Profile::Selective, 100_000) => Some((15.0, 50.0)),
        (Profile::Broad | Profile::Selective, 1_000_000) => Some((25.0, 80.0)),
        (Profile::Midday, 1_000_000) => Some((60.0, 250.0)),
        _ => None,
    }
}

/// Most breaks, in a hundred, that may say that their search was cut short; and the most that these may lose of their worth, in a hundred.
const TRUNCATED_MAX_PERCENT: f64 = 0.1;
const LOST_MAX_PERCENT: f64 = 0.1;

pub(crate) fn measure(common: &Common, report: &mut Report) {
    println!("{:34} {:>9} {:>9} {:>9}  microseconds", "decide", "p50", "p99", "longest");
    for &line_items in common.line_items.iter().filter(|&&line_items| line_items >= 100_000) {
        for profile in Profile::ALL {
            let name = format!("{}/{}", profile.name(), size_name(line_items));
            eprintln!("decide {name}: building");
            let stage = Stage::new(profile, line_items, common.listeners, common.seed);
            one(&name, profile, line_items, &stage, report);
        }
    }
}

fn one(name: &str, profile: Profile, line_items: usize, stage: &Stage, report: &mut Report) {
    let mut scratch = Scratch::new();
    let mut considered = 0;
    let whole = Times::least(&stage.breaks, |_, asked| {
        let ((), took) = timed(|| {
            let resolved = stage.snapshot.resolve(&asked.reference.request, asked.now);
            considered += decided(stage, asked, &resolved, &mut scratch).considered as usize;
        });
        took
    });
    row(&format!("{name} resolve and decide"), &whole, "");
    let resolved: Vec<_> =
        stage.breaks.iter().map(|asked| stage.snapshot.resolve(&asked.reference.request, asked.now)).collect();
    let times = Times::least(&stage.breaks, |place, asked| {
        timed(|| decided(stage, asked, &resolved[place], &mut scratch).ads.len()).1
    });
    let looked_at = number(considered) / number(stage.breaks.len() * 3);
    row(&format!("{name} decide"), &times, &format!("{looked_at:.1} looked at"));
    if let Some((p50, p99)) = bounds(profile, line_items) {
        report.take([
            Check::at_most(format!("decide {name} p50"), times.us(0.5), p50, "us"),
            Check::at_most(format!("decide {name} p99"), times.us(0.99), p99, "us"),
        ]);
    }
    let allocated = allocations_in(|| {
        for (asked, resolved) in stage.breaks.iter().zip(&resolved) {
            decided(stage, asked, resolved, &mut scratch);
        }
    });
    report.take([Check::at_most(
        format!("decide {name} heap allocations a break"),
        allocated_a_break(allocated, stage),
        0.0,
        "",
    )]);
    against_all(name, stage, &resolved, &mut scratch, report);
}

fn allocated_a_break(allocated: u64, stage: &Stage) -> f64 {
    number(usize::try_from(allocated).unwrap_or(usize::MAX)) / number(stage.breaks.len())
}

/// The decision of one break.
pub(crate) fn decided<'s>(
    stage: &Stage,
    asked: &Asked,
    resolved: &segue::catalog::ResolvedBreak,
    scratch: &'s mut Scratch,
) -> &'s Decision {
    let none = Excluded::none();
    decide(&stage.snapshot, resolved, &asked.listener, &stage.spending, &none, asked.now, asked.seed, scratch)
}

/// Each decision beside the one that looks at every line item that matches.
fn against_all(
    name: &str,
    stage: &Stage,
    resolved: &[segue::catalog::ResolvedBreak],
    scratch: &mut Scratch,
    report: &mut Report,
) {
    let (mut truncated, mut other, mut lost_percent) = (0, 0, 0.0);
    for (asked, resolved) in stage.breaks.iter().zip(resolved) {
        let quick = decided(stage, asked, resolved, scratch).clone();
        let none = Excluded::none();
        let all =
            survey(&stage.snapshot, resolved, &asked.listener, &stage.spending, &none, asked.now, asked.seed, scratch);
        if quick.degradation == Degradation::SearchLimited {
            truncated += 1;
            lost_percent += lost(&quick, all);
        } else if quick.ads != all.ads {
            other += 1;
        }
    }
    let breaks = number(stage.breaks.len());
    report.take([
        Check::at_most(format!("decide {name} other than by all line items"), number(other), 0.0, "breaks"),
        Check::at_most(
            format!("decide {name} truncated"),
            number(truncated) / breaks * 100.0,
            TRUNCATED_MAX_PERCENT,
            "%",
        ),
        Check::at_most(format!("decide {name} worth lost by it"), lost_percent / breaks, LOST_MAX_PERCENT, "%"),
    ]);
}

/// How much less one is worth than the other, in a hundred.
fn lost(quick: &Decision, all: &Decision) -> f64 {
    let worth = |decision: &Decision| decision.ads.iter().map(|ad| ad.worth.0).sum::<i64>();
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    let (quick, all) = (worth(quick) as f64, worth(all).max(1) as f64);
    (1.0 - quick / all).max(0.0) * 100.0
}
