//! Segue's index beside other indexes of boolean expressions, on exactly the same catalogue and listeners: so far `a-tree`.
//!
//! A package of its own, and no default member: what it compares with costs more to build than Segue's own code, and nobody else needs it.

mod measure;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use measure::{Asked, Measured, measure};
use segue::workload::reference::{Profile, Shares};
use segue_figures::{Check, Report, Times};

/// How many times as long the other takes, at least, at the size at which it is judged.
const TIMES_MIN: f64 = 60.0;
/// The size at which it is judged.
const JUDGED: usize = 10_000;

/// Compares the index with a-tree.
#[derive(Debug, Parser)]
struct Arguments {
    /// Sizes of catalogues; a-tree takes long to build above the default.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 3_000, JUDGED])]
    line_items: Vec<usize>,
    /// Listeners; with fewer the match rate is too often off by chance.
    #[arg(long, default_value_t = 2_000)]
    listeners: usize,
    /// Of catalogue and listeners.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the checks go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut report = Report::new();
    for &line_items in &arguments.line_items {
        for profile in [Profile::Broad, Profile::Selective] {
            let asked = Asked { profile, line_items, listeners: arguments.listeners, seed: arguments.seed };
            let measured = measure(asked)?;
            print(asked, &measured);
            judge(asked, &measured, &mut report);
        }
    }
    let holds = report.conclude(arguments.json.as_deref())?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(asked: Asked, measured: &Measured) {
    println!("\n{}, {} line items, {} listeners", asked.profile.name(), asked.line_items, asked.listeners);
    println!("  {}", measured.shares.in_words());
    let (segue, tree) = measured.build_seconds;
    println!("  same answers for every listener; built in {segue:.2} s, a-tree {tree:.2} s");
    println!("  {:38} {:>10} {:>10}", "", "p50", "p99");
    let row = |name: &str, times: &Times| println!("  {name:38} {:10.1} {:10.1} us", times.us(0.5), times.us(0.99));
    row("segue: all that match", &measured.all);
    row("a-tree: all that match", &measured.tree_all);
    let times = |share| times_faster(measured, share);
    println!("  {:38} {:10.1} {:10.1} times", "all that match", times(0.5), times(0.99));
    row("beside it: segue, the best 16", &measured.best);
    row("beside it: segue, request to numbers", &measured.resolve);
    row("beside it: a-tree, request to event", &measured.tree_event);
}

/// Judged is the size that the bound was set for, and only where the catalogue is like the reference.
fn judge(asked: Asked, measured: &Measured, report: &mut Report) {
    if asked.line_items != JUDGED {
        return;
    }
    let name = format!("peers/{}/{}k", asked.profile.name(), JUDGED / 1_000);
    let off = measured.shares.off_percent();
    report.take([Check::at_most(format!("{name}: match rate off the stated"), off, Shares::TOLERANCE_PERCENT, "%")]);
    if measured.shares.count() {
        let times = times_faster(measured, 0.5);
        report.take([Check::at_least(format!("{name}/all: times a-tree p50"), times, TIMES_MIN, "times")]);
    }
}

/// How many times as long a-tree takes for all that match.
fn times_faster(measured: &Measured, share: f64) -> f64 {
    measured.tree_all.us(share) / measured.all.us(share).max(1e-3)
}
