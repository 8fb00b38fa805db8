//! What came of it: checks for machines.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// One figure and what it may be.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: String,
    value: f64,
    bound: f64,
    unit: &'static str,
    pass: bool,
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: &'static str,
    machine: String,
    checks: Vec<Check>,
}

impl Report {
    /// Of this machine, and nothing measured yet.
    pub(crate) fn new() -> Self {
        Self { commit: env!("SEGUE_COMMIT"), machine: machine(), checks: Vec::new() }
    }

    /// Of this commit and machine.
    pub(crate) fn heading(&self) -> String {
        format!("commit {}, {}", self.commit, self.machine)
    }

    /// Holds where the value is at most the bound.
    pub(crate) fn at_most(&mut self, name: String, value: f64, bound: f64, unit: &'static str) {
        self.checks.push(Check { name, value, bound, unit, pass: value <= bound });
    }

    /// Holds where the value is at least the bound.
    pub(crate) fn at_least(&mut self, name: String, value: f64, bound: f64, unit: &'static str) {
        self.checks.push(Check { name, value, bound, unit, pass: value >= bound });
    }

    /// Says which hold, and whether all do.
    pub(crate) fn conclude(&self) -> bool {
        println!();
        for Check { name, value, bound, unit, pass } in &self.checks {
            println!("{:10}  {name:44} {value:9.2} {unit}, bound {bound}", if *pass { "passed" } else { "NOT PASSED" });
        }
        self.checks.iter().all(|check| check.pass)
    }

    /// Writes all so far.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self).context("writing the checks")?;
        std::fs::write(file, json).with_context(|| format!("writing {}", file.display()))
    }
}

/// Cores and their name.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{cores} cores, {}", name.trim_start_matches([' ', '\t', ':']))
}
