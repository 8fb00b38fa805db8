//! Processor and wall time of a step, and the table of them.

use segue::clock::{Clock, Stopwatch};
use serde_json::json;

/// Ticks of a second in `/proc`: the same on every Linux.
const TICKS: f64 = 100.0;

/// A step that is being measured.
pub(crate) struct Meter {
    name: &'static str,
    cpu: f64,
    watch: Stopwatch,
}

impl Meter {
    pub(crate) fn start(name: &'static str) -> Self {
        println!("{name} ...");
        Self { name, cpu: cpu_seconds(), watch: Clock::real().stopwatch() }
    }

    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.watch.elapsed_seconds()
    }

    /// Ends it after so many events; returns its seconds.
    pub(crate) fn end(self, events: usize, checks: &mut Checks) -> f64 {
        self.end_since(0.0, events, checks)
    }

    /// Likewise, where it stood still until `began`.
    pub(crate) fn end_since(self, began: f64, events: usize, checks: &mut Checks) -> f64 {
        let (cpu, seconds) = (cpu_seconds() - self.cpu, self.watch.elapsed_seconds() - began);
        let rate = per_second(events, seconds);
        println!("{}: {events} events in {seconds:.2} s, {cpu:.2} s of processor", self.name);
        checks.add(format!("{}: processor", self.name), cpu * 1e6 / count(events), "s per million events");
        checks.add(format!("{}: rate", self.name), rate, "events/s");
        seconds
    }
}

/// So many in a time, a second.
pub(crate) fn per_second(events: usize, seconds: f64) -> f64 {
    count(events) / seconds.max(1e-9)
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

/// Processor time of this process and its threads, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Checks(Vec<(String, f64, &'static str)>);

impl Checks {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        let name = name.into();
        println!("  {name}: {value:.2} {unit}");
        self.0.push((name, value, unit));
    }

    pub(crate) fn print(&self, as_json: bool) {
        println!();
        for (name, value, unit) in &self.0 {
            println!("{name:<72} {value:>14.2} {unit}");
        }
        if as_json {
            let check = |(name, value, unit): &(String, f64, &str)| json!({"name": name, "value": value, "unit": unit});
            let checks: Vec<_> = self.0.iter().map(check).collect();
            println!("{}", json!({"commit": commit(), "machine": machine(), "checks": checks}));
        }
    }
}

/// The commit that was measured; empty where there is no repository.
fn commit() -> String {
    let asked = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    asked.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Cores and their name.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{cores} cores, {}", name.trim_start_matches([' ', '\t', ':']))
}
