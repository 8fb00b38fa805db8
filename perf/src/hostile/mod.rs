//! Bad input, and what it does to others: the worst that a catalogue or a listener may be, each with a bound.
//!
//! A midday catalogue serves ordinary listeners. Into it comes, one case after the other, what somebody could send within the limits of the API; then the same
//! ordinary breaks are asked again. Of each case two figures are judged: what the bad thing's own breaks take (99 in 100 within [`OWN_US_MAX`]), where it
//! has any, and how many times as long the ordinary ones take as before (99 in 100 within [`OTHERS_TIMES_MAX`] times). A break is its request
//! resolved and decided; its time is the processor's of this thread, the least of three passes. `make hostile` runs it.

mod cases;
mod stage;

use std::path::PathBuf;

use segue_figures::{Check, Report};

use cases::Case;
use stage::Stage;

/// Microseconds within which 99 in 100 breaks of a bad listener or catalogue are decided: twice what `decision::MAX_CONSIDERED` allows for.
const OWN_US_MAX: f64 = 2_000.0;
/// How many times as long others may take.
const OTHERS_TIMES_MAX: f64 = 2.0;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Line items of the ordinary catalogue.
    #[arg(long, default_value_t = 10_000)]
    line_items: usize,
    /// Bad line items that come into it.
    #[arg(long, default_value_t = 1)]
    bad: u128,
    /// Line items of a bad catalogue.
    #[arg(long, default_value_t = 100_000)]
    bad_line_items: usize,
    /// Ordinary listeners.
    #[arg(long, default_value_t = 1_000)]
    listeners: usize,
    /// Of catalogue and listeners.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the checks go, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

pub(crate) fn measure(args: &Args, report: &mut Report) {
    println!(
        "{:44} {:>12} {:>12} {:>12} {:>7}",
        "microseconds of 99 in 100 breaks", "its own", "others alone", "beside", "times"
    );
    for case in Case::ALL {
        eprintln!("{}: building", case.name());
        let before = Stage::ordinary(args.line_items, args.listeners, args.seed);
        let (stage, bad) = case.put_into(&before, args.bad, args.bad_line_items);
        // The two stand in memory together and take turns, so that the machine is as busy for one as for the other.
        let [alone, beside, own] = stage::in_turns(&before, &stage, &bad);
        let times = beside / alone.max(1e-3);
        let of_own = if bad.is_empty() { "-".to_owned() } else { format!("{own:.1}") };
        println!("{:44} {of_own:>12} {alone:12.1} {beside:12.1} {times:7.2}", case.name());
        let own = (!bad.is_empty())
            .then(|| Check::at_most(format!("hostile {}: its own p99", case.name()), own, OWN_US_MAX, "us"));
        report.take(own);
        report.take([Check::at_most(
            format!("hostile {}: others' p99", case.name()),
            times,
            OTHERS_TIMES_MAX,
            "times",
        )]);
    }
}
