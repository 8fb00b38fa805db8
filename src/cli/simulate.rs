//! `segue simulate`: the simulator's suites.

use std::io::Write as _;

use serde::Serialize;

use super::{Exit, Failure, print};
use crate::clock::Clock;
use crate::sim::sabotage::Sabotage;
use crate::sim::suite::{Check, Options, Report};
use crate::sim::world::Shape;

/// Time between two lines of progress, in microseconds.
const PROGRESS_US: u64 = 2_000_000;

/// Arguments of `segue simulate`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// What to run.
    #[arg(long, value_enum, default_value = "faults")]
    suite: Suite,
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Print one JSON object as the last line of standard output; words for people go to standard error.
    #[arg(long)]
    json: bool,
    /// Print every event of each run with faults to standard error.
    #[arg(long)]
    trace: bool,
    /// A deliberate bug, to see that the checks see it.
    #[arg(long, hide = true, value_parser = bug)]
    sabotage: Option<Sabotage>,
}

/// What can be run.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Suite {
    /// Everything fails in every way, and the books must be right all the same.
    Faults,
}

fn bug(name: &str) -> Result<Sabotage, String> {
    let names = || Sabotage::ALL.map(Sabotage::name).join(", ");
    Sabotage::named(name).ok_or_else(|| format!("expected one of {}", names()))
}

/// Runs the suite; exit status 1 when a check fails.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let Suite::Faults = args.suite;
    let options = Options {
        first_seed: args.first_seed,
        seeds: args.seeds,
        sabotage: args.sabotage.unwrap_or_default(),
        shape: Shape::default(),
        echo: args.trace.then_some(say_line as fn(&str)),
    };
    let watch = Clock::real().stopwatch();
    let mut said_us = 0;
    let report = Report::of(&options, |seed, report| {
        let now_us = watch.elapsed_us();
        if now_us - said_us >= PROGRESS_US || report.seeds == options.seeds {
            said_us = now_us;
            say(&format!(
                "seed {seed}: {} of {} done, {} failed, {} ms a seed\n",
                report.seeds,
                options.seeds,
                report.failed.len(),
                now_us / 1_000 / report.seeds
            ));
        }
    });
    if args.json {
        say(&report.text());
        let json = Json { commit: env!("SEGUE_COMMIT"), machine: machine(), checks: report.checks() };
        let line = serde_json::to_string(&json).map_err(anyhow::Error::new)?;
        print(&format!("{line}\n"))?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.passes() { Exit::Ok } else { Exit::Difference })
}

/// Words for people. Nobody is left to tell when standard error is closed.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn say_line(line: &str) {
    say(&format!("{line}\n"));
}

#[derive(Serialize)]
struct Json {
    commit: &'static str,
    machine: String,
    #[serde(serialize_with = "checks")]
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct JsonCheck<'a> {
    name: &'a str,
    value: u64,
    bound: u64,
    unit: &'a str,
    pass: bool,
}

fn checks<S: serde::Serializer>(checks: &[Check], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(checks.iter().map(|check| JsonCheck {
        name: &check.name,
        value: check.value,
        bound: check.bound,
        unit: check.unit,
        pass: check.pass,
    }))
}

/// The machine in words: its architecture and how many threads it runs at once.
fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} {}, {threads} threads", std::env::consts::OS, std::env::consts::ARCH)
}
