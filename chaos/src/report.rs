//! What came of it: a table for people, checks for machines.

use std::path::Path;

use anyhow::Context as _;
use segue_figures::{COMMIT, Check};
use serde::Serialize;

use crate::faults::Kind;
use crate::history::Counts;
use crate::judge::Verdict;

/// What a piece is compared with: one as long in which nothing broke.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Twin {
    /// Of its breaks, those with a paid ad.
    pub(crate) paid_share: f64,
    /// The processor's time within which 99 of 100 of its decisions were made, in seconds, where that was looked at.
    pub(crate) decide_cpu_p99: Option<f64>,
}

/// One piece.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Its seed.
    pub(crate) seed: u64,
    /// What was broken, in this order.
    pub(crate) faults: Vec<Kind>,
    /// What could not be broken on this machine.
    pub(crate) not_here: Vec<Kind>,
    /// Breaks asked for, beacons acknowledged and so on.
    pub(crate) counts: Numbers,
    /// Of breaks asked for while things broke, those with a paid ad.
    pub(crate) paid_share: f64,
    /// The processor's time within which 99 of 100 decisions were made meanwhile, in seconds, where that was looked at.
    pub(crate) decide_cpu_p99: Option<f64>,
    /// The same of the twin.
    pub(crate) twin: Option<Twin>,
    /// Seconds from the last healing until all is as it was.
    pub(crate) recovery_s: f64,
    /// Real microseconds within which half and 99 in 100 of the breaks were answered.
    pub(crate) latency_us: (u32, u32),
    /// What the judge found.
    pub(crate) verdict: Verdict,
    /// Troubles that players had, and how often.
    pub(crate) troubles: std::collections::BTreeMap<String, u64>,
}

/// Numbers of players, as they are written.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Numbers {
    breaks: u64,
    answered: u64,
    paid: u64,
    empty: u64,
    failed: u64,
    beacons_sent: u64,
    beacons_acknowledged: u64,
    beacons_given_up: u64,
    beacons_replayed: u64,
    beacons_refused: u64,
}

impl From<Counts> for Numbers {
    fn from(counts: Counts) -> Self {
        Self {
            breaks: counts.asked,
            answered: counts.answered,
            paid: counts.paid,
            empty: counts.empty,
            failed: counts.failed,
            beacons_sent: counts.sent,
            beacons_acknowledged: counts.acknowledged,
            beacons_given_up: counts.given_up,
            beacons_replayed: counts.replayed,
            beacons_refused: counts.refused,
        }
    }
}

/// All pieces of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: &'static str,
    machine: String,
    /// What must hold.
    pub(crate) checks: Vec<Check>,
    rows: Vec<Row>,
}

impl Report {
    /// Of this machine, and nothing played yet.
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let machine = format!("{} with {threads} threads", std::env::consts::ARCH);
        Self { commit: COMMIT, machine, checks: Vec::new(), rows: Vec::new() }
    }

    /// Takes a piece: says it in words on standard output, and writes all so far.
    pub(crate) fn take(&mut self, row: Row, checks: Vec<Check>, file: &Path) -> anyhow::Result<()> {
        println!("{}", row.in_words());
        for check in checks.iter().filter(|check| !check.pass) {
            println!("  NOT PASSED  {}: {} {}, bound {}", check.name, check.value, check.unit, check.bound);
        }
        for (trouble, times) in &row.troubles {
            println!("  {times} x {trouble}");
        }
        for finding in &row.verdict.findings {
            println!("  found  {finding}");
        }
        self.checks.extend(checks);
        self.rows.push(row);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).context("a folder for the checks")?;
        }
        let json = serde_json::to_string_pretty(self).context("writing the checks")?;
        std::fs::write(file, json).with_context(|| format!("writing {}", file.display()))
    }

    /// Whether everything holds; says so.
    pub(crate) fn conclude(&self) -> bool {
        let failed = self.checks.iter().filter(|check| !check.pass).count();
        let passed = self.checks.len() - failed;
        // As other runners say it, so that .ci/run can add them up.
        println!(
            "test result: {}. {passed} passed; {failed} failed; 0 ignored; of a cluster",
            if failed == 0 { "ok" } else { "FAILED" }
        );
        failed == 0
    }
}

impl Row {
    fn in_words(&self) -> String {
        let verdict = &self.verdict;
        let twin = self.twin.map_or_else(String::new, |twin| format!(", twin {:.1} %", twin.paid_share * 100.0));
        let faults: Vec<String> = self.faults.iter().map(|kind| format!("{kind:?}")).collect();
        let not_here: Vec<String> = self.not_here.iter().map(|kind| format!("{kind:?}")).collect();
        format!(
            "{}: {}{}\n  breaks {} (paid {:.1} %{twin}, failed {}), p50 {:.1} ms, p99 {:.1} ms; beacons acknowledged {}, given up {}, replayed {}\n  \
             paid impressions acknowledged {}, in the log {}, billed {} for {} micros, unbilled {:?}, duplicates dropped {}\n  \
             lost {}, double {}, overspend {}, beyond budget {} of {} allowed, strict {}, soft {} ({} passed within bounds), leases closed {} wrong {}, \
             entries {} wrong {}, dead letters {}, recovery {:.1} s",
            self.name,
            if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") },
            if not_here.is_empty() { String::new() } else { format!("; not possible here: {}", not_here.join(", ")) },
            self.counts.breaks,
            self.paid_share * 100.0,
            self.counts.failed,
            f64::from(self.latency_us.0) / 1_000.0,
            f64::from(self.latency_us.1) / 1_000.0,
            self.counts.beacons_acknowledged,
            self.counts.beacons_given_up,
            self.counts.beacons_replayed,
            verdict.acknowledged,
            verdict.heard,
            verdict.billed,
            verdict.billed_micros,
            verdict.unbilled,
            verdict.duplicates,
            verdict.lost,
            verdict.double,
            verdict.overspend_micros,
            verdict.beyond_budget,
            verdict.beyond_budget_allowed,
            verdict.strict_violations,
            verdict.soft_violations,
            verdict.soft_passed,
            verdict.closed_leases,
            verdict.wrong_leases,
            verdict.entries,
            verdict.wrong_entries,
            verdict.dead_letters,
            self.recovery_s,
        )
    }
}
