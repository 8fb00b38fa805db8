//! One picture of it all: the ad volume of a music service with ten billion impressions a month, about 3,900 a second, on this machine, generator included.
//!
//! Breaks for so many impressions a second with all their reports, for ten minutes; then twice as many for a minute; then the server is stopped and its books
//! are audited.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::players::{Go, Phase, Rate, Told};
use crate::run::{errors, head, row};
use crate::server::{self, Server};
use crate::session::{self, Crowd};
use crate::stage::{Stage, Workload};
use crate::traffic::as_float;
use segue_figures::{Check, Report};

/// Impressions a second: ten billion in a month of thirty days, and a little more.
const IMPRESSIONS: f64 = 3_900.0;
/// Longest p99 of breaks and of beacons, in milliseconds.
const BREAK_MS: f64 = 10.0;
const BEACON_MS: f64 = 25.0;
/// Of what is asked for, how much must be answered for the rate to count as kept: arrivals are random.
const KEPT: f64 = 0.98;

/// Arguments of `spotify-2016`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    crowd: Crowd,
    /// Seconds at the average rate.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Seconds at twice the rate.
    #[arg(long, default_value_t = 60)]
    double_seconds: u64,
    /// How much of it, in percent: where the machine can't do all.
    #[arg(long, default_value_t = 100.0)]
    percent: f64,
    /// Seconds at a quarter of the rate before: listeners become known.
    #[arg(long, default_value_t = 10)]
    warm_seconds: u64,
}

/// Plays it, and takes the figures into the report.
pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let stage = args.workload.stage()?;
    let server = Server::segue(&stage.segue, &stage.data_dir(), &args.workload.settings, None)?;
    let rate = IMPRESSIONS * args.percent / 100.0;
    let phase = |seconds, rate| Phase { length: Duration::from_secs(seconds), rate: Rate::Impressions(rate) };
    let phases =
        vec![phase(args.warm_seconds, rate / 4.0), phase(args.seconds, rate), phase(args.double_seconds, rate * 2.0)];
    let seed = args.workload.seed;
    let session = session::play(&stage, &server, &args.crowd, phases.clone(), seed, |_| Go::On, true)?;
    println!("{}", head());
    for (index, (phase, told)) in phases.iter().zip(&session.told).enumerate() {
        println!("{}", row(told, &session::cpu_of(&session.seconds, index), phase.length));
    }
    if let Some(told) = session.told.get(1) {
        say_cores(told, session::cpu_of(&session.seconds, 1), args.seconds);
        report.take(checks("average", told, rate * as_float(args.seconds)));
    }
    if let Some(told) = session.told.get(2).filter(|_| args.double_seconds > 0) {
        report.take(checks("twice", told, rate * 2.0 * as_float(args.double_seconds)));
    }
    if let Some(took) = server::ended(server.stop(), report) {
        eprintln!("the server stopped in {:.1} s; auditing", took.as_secs_f64());
    }
    report.take([audit(&stage)?]);
    Ok(())
}

fn checks(name: &str, told: &Told, impressions: f64) -> [Check; 4] {
    [
        Check::at_least(
            format!("{name}: impressions answered of those due"),
            as_float(told.ads) / impressions,
            KEPT,
            "ratio",
        ),
        Check::at_most(format!("{name}: p99 of breaks"), told.breaks.latency_us(0.99) / 1_000.0, BREAK_MS, "ms"),
        Check::at_most(format!("{name}: p99 of beacons"), told.beacons.latency_us(0.99) / 1_000.0, BEACON_MS, "ms"),
        Check::at_most(format!("{name}: errors"), as_float(errors(told)), 0.0, "errors"),
    ]
}

/// What an impression costs on both sides, and what a core of each would do.
fn say_cores(told: &Told, (server, generator, seconds): (f64, f64, f64), length: u64) {
    let impressions = as_float(told.ads) / as_float(length.max(1)) * seconds;
    let (server_us, generator_us) = (server * 1e6 / impressions.max(1.0), generator * 1e6 / impressions.max(1.0));
    println!(
        "an impression with its part of a break and all its reports costs the server {server_us:.0} CPU-us and the generator {generator_us:.0}: a core of \
         servers does {:.0} impressions/s, a core of generators {:.0}",
        1e6 / server_us.max(1e-9),
        1e6 / generator_us.max(1e-9),
    );
}

/// Whether the stopped server's books balance: 0 differences.
fn audit(stage: &Stage) -> anyhow::Result<Check> {
    let output = Command::new(&stage.segue)
        .args(["audit", "--json", "--data-dir"])
        .arg(stage.data_dir())
        .output()
        .context("running segue audit")?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("segue audit ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    println!(
        "audit: {} records, {} impressions billed, {} unbilled, {} not applied",
        number("records"),
        number("billed_impressions"),
        number("unbilled_impressions"),
        number("unapplied_records")
    );
    let differences = report["difference_count"].as_f64().context("a report counts its differences")?;
    let differences = if report["balanced"] == Value::Bool(true) { differences } else { differences.max(1.0) };
    Ok(Check::at_most("differences found by the audit", differences, 0.0, "differences"))
}
