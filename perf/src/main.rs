//! `segue-perf`: the index, decisions and updates against what they are to be. `make perf` runs it with the peers and the load tests, and puts
//! all figures into one table.

mod curve;
mod decide;
mod hostile;
mod index;
mod stage;
mod updates;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use segue_figures::{Check, Counting, Report};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Parser, Debug)]
#[command(name = "segue-perf", about, version, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 every bound is kept, 1 one is missed, 2 wrong usage, 3 it could not be measured.
Figures are of one core. On a shared machine each is the least of some passes: what is more is another's."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Finding candidates: the best 16, the best 100, all; and bytes a line item.
    Index(Common),
    /// A whole decision: a break of 3 ads and 90 seconds, 200 past exposures, caps, throttles, leases, separation.
    Decide(Common),
    /// Bad catalogues and listeners: what they cost, and what others then wait.
    Hostile(hostile::Args),
    /// Decisions while a thousand line items a second change.
    Updates(updates::Args),
    /// How decisions grow with the catalogue, from a thousand line items to a million: a table and a plot.
    Curve(curve::Args),
    /// Puts the reports of several programs into one, prints its table and says what is missed.
    Merge(Merge),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Common {
    /// Line items, one run each.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    line_items: Vec<usize>,
    /// Listeners.
    #[arg(long, default_value_t = 2_000)]
    listeners: usize,
    /// Seed of the catalogue; the listeners have the one after it.
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Where to write the checks.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Merge {
    /// Reports that were written by --json.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// Where to write the whole.
    #[arg(long)]
    json: PathBuf,
}

fn main() -> ExitCode {
    match run(&CommandLine::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("segue-perf: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<bool> {
    let mut report = Report::new();
    match command {
        Command::Index(common) => {
            index::measure(common, &mut report);
            report.conclude(common.json.as_deref())
        }
        Command::Decide(common) => {
            decide::measure(common, &mut report);
            report.conclude(common.json.as_deref())
        }
        Command::Hostile(args) => {
            hostile::measure(args, &mut report);
            report.conclude(args.json.as_deref())
        }
        Command::Updates(args) => {
            updates::measure(args, &mut report)?;
            report.conclude(args.json.as_deref())
        }
        Command::Curve(args) => curve::measure(args).map(|()| true),
        Command::Merge(merge) => {
            for part in &merge.parts {
                // What could not be measured is not there: the others are still worth reading.
                match Report::read(part) {
                    Ok(read) => report.take(read.checks.into_iter().map(|check| named_by(part, check))),
                    Err(error) => eprintln!("segue-perf: {error:#}"),
                }
            }
            report.conclude(Some(&merge.json)).context("the whole report")
        }
    }
}

/// The check with its part's name before its own, where that does not say it: two sizes of one comparison are two parts.
fn named_by(part: &Path, check: Check) -> Check {
    let name = part.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if check.name.starts_with(&name) { check } else { Check { name: format!("{name}: {}", check.name), ..check } }
}

/// A count of line items as tables have it.
pub(crate) fn size_name(line_items: usize) -> String {
    match line_items {
        million if million.is_multiple_of(1_000_000) => format!("{}M", million / 1_000_000),
        thousand if thousand.is_multiple_of(1_000) => format!("{}k", thousand / 1_000),
        other => other.to_string(),
    }
}
