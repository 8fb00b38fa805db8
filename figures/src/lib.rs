//! What was measured, beside what it may be: a table for people, checks for machines. Shared by all programs that measure.
//!
//! A check that is missed is said to be missed; a bound is never bent.

mod allocations;
mod times;

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use allocations::{Counting, allocations_in};
pub use times::{PASSES, Times, number, timed};

/// The commit that the program was built from; `unknown` outside a repository.
pub const COMMIT: &str = env!("SEGUE_COMMIT");

/// One figure and what it may be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What, of which catalogue or piece.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// What it may be.
    pub bound: f64,
    /// Of both.
    pub unit: String,
    /// Whether it holds.
    pub pass: bool,
}

impl Check {
    /// Holds where the value is at most the bound.
    pub fn at_most(name: impl Into<String>, value: f64, bound: f64, unit: &str) -> Self {
        Self { name: name.into(), value, bound, unit: unit.to_owned(), pass: value <= bound }
    }

    /// Holds where the value is at least the bound.
    pub fn at_least(name: impl Into<String>, value: f64, bound: f64, unit: &str) -> Self {
        Self { name: name.into(), value, bound, unit: unit.to_owned(), pass: value >= bound }
    }
}

/// All that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The commit.
    pub commit: String,
    /// The processor and its threads.
    pub machine: String,
    /// What must hold.
    pub checks: Vec<Check>,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// Of this machine, and nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { commit: COMMIT.to_owned(), machine: machine(threads), checks: Vec::new() }
    }

    /// One that was written before.
    ///
    /// # Errors
    /// When there is no such file, or it is none.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))
    }

    /// Takes checks in.
    pub fn take(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    /// The table of the checks.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut text = format!("{:<width$}  {:>12}  {:>12}  unit\n", "check", "value", "bound");
        for Check { name, value, bound, unit, pass } in &self.checks {
            let verdict = if *pass { "" } else { "  NOT PASSED" };
            let line = format!("{name:<width$}  {:>12}  {:>12}  {unit}{verdict}\n", figure(*value), figure(*bound));
            text.push_str(&line);
        }
        text
    }

    /// Prints the table, writes the file where one is asked for, and says whether everything holds.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn conclude(&self, json: Option<&Path>) -> anyhow::Result<bool> {
        println!("\n{} on {}\n{}", self.commit, self.machine, self.table());
        if let Some(file) = json {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).context("a folder for the checks")?;
            }
            let text = serde_json::to_string_pretty(self).context("writing the checks")?;
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(self.checks.iter().all(|check| check.pass))
    }
}

/// The processor by name, where the system tells it, and its threads.
fn machine(threads: usize) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split(": ").nth(1));
    format!("{} with {threads} threads", name.unwrap_or(std::env::consts::ARCH))
}

/// A number as people read it.
fn figure(value: f64) -> String {
    if value.abs() >= 1_000.0 || value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle of some values and their spread, lowest to highest. Zeros where there are none.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Half are below it.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Spread {
    /// Of these.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let half = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { f64::midpoint(at(half.saturating_sub(1)), at(half)) } else { at(half) };
        Self { median, lowest: at(0), highest: at(values.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} to {})", figure(self.median), figure(self.lowest), figure(self.highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bound_stands_in_the_table_and_fails() {
        let mut report = Report::new();
        report.take([Check::at_most("cheap", 30.0, 25.0, "us"), Check::at_least("quick", 0.61, 0.5, "ratio")]);
        let table = report.table();
        assert!(table.contains("cheap            30            25  us  NOT PASSED"), "{table}");
        assert!(table.contains("quick         0.610         0.500  ratio\n"), "{table}");
        assert!(!report.conclude(None).expect("printed"));
    }

    #[test]
    fn a_spread_has_its_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0]).to_string(), "1.500 (1 to 2)");
        assert_eq!(Spread::of([]).to_string(), "0 (0 to 0)");
    }
}
