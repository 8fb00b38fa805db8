//! Bad input, and what it does to others: the worst that a catalogue or a listener may be, each with a bound.
//!
//! A midday catalogue serves ordinary listeners. Into it comes, one case after the other, what somebody could send within the limits of the API; then the same
//! ordinary breaks are asked again. Of each case two figures are judged: what the bad thing's own breaks take (99 in 100 within [`OWN_US_MAX`]), where it
//! has any, and how many times as long the ordinary ones take as before (99 in 100 within [`OTHERS_TIMES_MAX`] times). A break is its request
//! resolved and decided; its time is the processor's of this thread, the least of three passes. `make hostile` runs it.

mod cases;
mod stage;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Value, json};

use cases::Case;
use stage::Stage;

/// Microseconds within which 99 in 100 breaks of a bad listener or catalogue are decided: twice what `decision::MAX_CONSIDERED` allows for.
const OWN_US_MAX: f64 = 2_000.0;
/// How many times as long others may take.
const OTHERS_TIMES_MAX: f64 = 2.0;

/// Measures what bad input does to others.
#[derive(Debug, Parser)]
struct Arguments {
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
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut checks = Vec::new();
    println!(
        "{:44} {:>12} {:>12} {:>12} {:>7}",
        "microseconds of 99 in 100 breaks", "its own", "others alone", "beside", "times"
    );
    for case in Case::ALL {
        eprintln!("{}: building", case.name());
        let before = Stage::ordinary(arguments.line_items, arguments.listeners, arguments.seed);
        let (stage, bad) = case.put_into(&before, arguments.bad, arguments.bad_line_items);
        // The two stand in memory together and take turns, so that the machine is as busy for one as for the other.
        let [alone, beside, own] = stage::in_turns(&before, &stage, &bad);
        let times = beside / alone.max(1e-3);
        let of_own = if bad.is_empty() { "-".to_owned() } else { format!("{own:.1}") };
        println!("{:44} {of_own:>12} {alone:12.1} {beside:12.1} {times:7.2}", case.name());
        if !bad.is_empty() {
            checks.push(check(&format!("hostile/{}: its own p99", case.name()), own, OWN_US_MAX, "us"));
        }
        checks.push(check(&format!("hostile/{}: others' p99", case.name()), times, OTHERS_TIMES_MAX, "times"));
    }
    let mut holds = true;
    for failed in checks.iter().filter(|check| check["pass"] == false) {
        println!("NOT PASSED  {}: {} {}, bound {}", failed["name"], failed["value"], failed["unit"], failed["bound"]);
        holds = false;
    }
    if let Some(file) = &arguments.json {
        let report = json!({"commit": commit(), "machine": machine(), "checks": checks});
        let text = serde_json::to_string_pretty(&report).context("writing the checks")?;
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(name: &str, value: f64, bound: f64, unit: &str) -> Value {
    json!({"name": name, "value": value, "bound": bound, "unit": unit, "pass": value <= bound})
}

/// The commit that was measured; empty where there is no repository.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "HEAD"]).output();
    asked.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Cores and their name.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{cores} cores, {}", name.trim_start_matches([' ', '\t', ':']))
}
