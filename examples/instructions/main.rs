//! A guard against slow creep: how many instructions the hot steps take, compared with a committed baseline.
//!
//! Time on a shared machine tells a tenth at best; instructions repeat within a thousandth, so that three in a hundred more are seen in the change that
//! brought them. `scripts/instructions.sh` (`make instructions`) runs it, `UPDATE=1` writes the baseline anew.
//!
//! The program runs itself under valgrind's callgrind, which counts between the beginning and the end of [`steps::the_counted_step`] and leaves a
//! file each time. That is done here in a few lines rather than by a bench framework such as gungraun: its runner is a program that has to be built first,
//! of exactly the library's version (two minutes of a fresh machine's processor); it runs each bench in a process of its own, so that the catalogue would be
//! built under callgrind once for each; and its baselines lie in the target directory, where no commit has them.
//!
//! It is built with the profile of the tests, as that is what a check has at hand: release would cost minutes. Our own code is less optimised there, and
//! checks its asserts and overflows; what creeps in is seen all the same, and of what it costs in release the benches tell. Counts depend on the compiler
//! (which is pinned), the processor's architecture, and whether that has the usual instructions for AES and vectors; a baseline of another
//! architecture is not compared with, which the script says.

mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use segue_figures::{Check, Report};
use serde::{Deserialize, Serialize};

/// How far a count may be from its baseline, in per cent, up or down: what became cheaper belongs in the baseline too, or it may be lost again.
const MOVED_PERCENT_MAX: f64 = 3.0;

/// Counts the instructions of the hot steps and compares them with a baseline.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs the steps, and prints the name of each; what callgrind runs.
    Steps {
        /// An empty folder, for the journal.
        folder: PathBuf,
    },
    /// Counts and compares.
    Compare {
        /// The baseline.
        baseline: PathBuf,
        /// Writes the baseline instead.
        #[arg(long)]
        update: bool,
        /// Where the checks go, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

/// Instructions of one round of each step.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    architecture: String,
    instructions: BTreeMap<String, u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        What::Steps { folder } => {
            steps::run(&folder);
            Ok(ExitCode::SUCCESS)
        }
        What::Compare { baseline, update, json } => {
            let counted = Baseline { architecture: std::env::consts::ARCH.to_owned(), instructions: counts()? };
            if update {
                let text = serde_json::to_string_pretty(&counted).context("writing the baseline")?;
                std::fs::write(&baseline, text + "\n").with_context(|| format!("writing {}", baseline.display()))?;
            }
            compare(&read(&baseline)?, &counted, json.as_deref())
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Baseline> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
}

/// Runs the steps under callgrind; instructions of one round of each.
fn counts() -> anyhow::Result<BTreeMap<String, u64>> {
    let folder = tempfile::tempdir().context("a folder")?;
    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).context("a folder for the journal")?;
    eprintln!("counting under valgrind, some seconds");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet", "--compress-strings=no"]);
    // Its name as callgrind has it. No pattern: only a whole name ends in a file.
    let counted = std::any::type_name_of_val(&steps::the_counted_step);
    valgrind.args([format!("--toggle-collect={counted}"), format!("--dump-after={counted}")]);
    valgrind.arg(format!("--callgrind-out-file={}", folder.path().join("count").display()));
    valgrind.arg(std::env::current_exe().context("this program")?).arg("steps").arg(&journal);
    let output = valgrind.output().context("starting valgrind")?;
    ensure!(output.status.success(), "valgrind failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("names of steps")?;
    let mut counts = BTreeMap::new();
    for (part, line) in (1..).zip(names.lines()) {
        let (name, rounds) = line.rsplit_once(' ').context("a name and its rounds")?;
        // Written when the step ended; files are numbered in the order of steps.
        let file = folder.path().join(format!("count.{part}"));
        let total = total(&file).with_context(|| format!("counting {name}"))?;
        counts.insert(name.to_owned(), total / rounds.parse::<u64>().context("rounds")?);
    }
    ensure!(!counts.is_empty(), "no step was counted");
    Ok(counts)
}

/// All instructions in one of callgrind's files.
fn total(file: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let found = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    let Some(total) = found else { bail!("{} has no total", file.display()) };
    total.trim().parse().with_context(|| format!("{total:?} is no number"))
}

/// Says which step moved by how much, and whether all stayed.
fn compare(baseline: &Baseline, counted: &Baseline, json: Option<&Path>) -> anyhow::Result<ExitCode> {
    ensure!(baseline.architecture == counted.architecture, "the baseline is of {}", baseline.architecture);
    println!("{:16} {:>14} {:>14} {:>9}", "a round of", "baseline", "now", "moved");
    let mut report = Report::new();
    for (name, now) in &counted.instructions {
        let Some(before) = baseline.instructions.get(name) else { bail!("{name} has no baseline: UPDATE=1 writes it") };
        let moved = moved_percent(*before, *now);
        println!("{name:16} {before:14} {now:14} {moved:+8.2} %");
        report.take([Check::at_most(format!("instructions {name}: moved"), moved.abs(), MOVED_PERCENT_MAX, "%")]);
    }
    let lost = baseline.instructions.keys().find(|name| !counted.instructions.contains_key(*name));
    ensure!(lost.is_none(), "of the baseline, {lost:?} was not counted");
    let holds = report.conclude(json)?;
    if !holds {
        println!("where that is meant, `UPDATE=1 make instructions` writes the baseline anew");
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::cast_precision_loss, reason = "counts of instructions are far below 2^53")]
fn moved_percent(before: u64, now: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}
