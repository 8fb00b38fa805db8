//! Load at a rate, or at ever higher rates until the knee: the last at which the server answered in time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::players::{Go, Look, Phase, Rate, Told};
use crate::process;
use crate::server::{self, Server};
use crate::session::{self, Crowd};
use crate::stage::Workload;
use crate::traffic::as_float;
use segue_figures::{Check, Report};

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    crowd: Crowd,
    /// Breaks a second, at the beginning.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds at a rate.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Raise the rate by a fifth again and again until breaks take longer than --limit-ms: the knee is the last rate before.
    #[arg(long)]
    ramp: bool,
    /// Longest p99 of breaks.
    #[arg(long, default_value_t = 10.0)]
    limit_ms: f64,
    /// Longest p99 of beacons.
    #[arg(long, default_value_t = 25.0)]
    beacon_limit_ms: f64,
    /// Core of the server; any if not given.
    #[arg(long)]
    server_core: Option<usize>,
    /// Core of the generator; any if not given.
    #[arg(long)]
    generator_core: Option<usize>,
}

/// By how much a ramp rises from step to step.
const STEP: f64 = 1.2;
/// Most steps of a ramp: a hundred and fifty times the rate at its beginning.
const STEPS: u32 = 28;
/// Seconds in a row beyond the limit at which a ramp ends.
const BAD_SECONDS: u32 = 5;

/// Runs, and takes the figures into the report.
pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let stage = args.workload.stage()?;
    let server = Server::segue(&stage.segue, &stage.data_dir(), &args.workload.settings, args.server_core)?;
    if let Some(core) = args.generator_core {
        process::stay_on(core)?;
    }
    let phases = phases(args);
    let limit_us = args.limit_ms * 1_000.0;
    let bad = Rc::new(RefCell::new(0_u32));
    let ramp = args.ramp;
    let judge = move |look: &Look<'_>| {
        let mut bad = bad.borrow_mut();
        let is_bad = look.breaks.latency_us(0.99) > limit_us || look.breaks.errors > 0;
        *bad = if is_bad { *bad + 1 } else { 0 };
        if ramp && *bad >= BAD_SECONDS { Go::Stop } else { Go::On }
    };
    let seed = args.workload.seed;
    let session = session::play(&stage, &server, &args.crowd, phases.clone(), seed, judge, !args.ramp)?;
    println!("{}", head());
    let mut knee = None;
    for (index, (phase, told)) in phases.iter().zip(&session.told).enumerate() {
        if told.breaks.answered == 0 {
            break;
        }
        println!("{}", row(told, &session::cpu_of(&session.seconds, index), phase.length));
        if told.breaks.latency_us(0.99) <= limit_us && told.breaks.errors + told.beacons.errors == 0 {
            knee = Some(phase.rate);
        }
    }
    if let (true, Some(Rate::Breaks(rate))) = (args.ramp, knee) {
        println!("the knee is at {rate:.0} breaks a second");
    }
    let judged = if args.ramp { session.told.first() } else { session.told.last() };
    let told = judged.cloned().unwrap_or_default();
    report.take([
        Check::at_most("p99 of breaks", told.breaks.latency_us(0.99) / 1_000.0, args.limit_ms, "ms"),
        Check::at_most("p99 of beacons", told.beacons.latency_us(0.99) / 1_000.0, args.beacon_limit_ms, "ms"),
        Check::at_most("errors", as_float(errors(&told)), 0.0, "errors"),
    ]);
    server::ended(server.stop(), report);
    Ok(())
}

fn phases(args: &Args) -> Vec<Phase> {
    let length = Duration::from_secs(args.seconds);
    let steps = if args.ramp { STEPS } else { 1 };
    let rate = |step: u32| args.rate * STEP.powi(i32::try_from(step).unwrap_or(i32::MAX));
    (0..steps).map(|step| Phase { length, rate: Rate::Breaks(rate(step)) }).collect()
}

/// Errors of all kinds.
pub(crate) const fn errors(told: &Told) -> u64 {
    told.breaks.errors + told.beacons.errors + told.writes.errors
}

/// The head of the table of phases.
pub(crate) fn head() -> String {
    format!(
        "{:>8} {:>8} {:>9}  {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>7} {:>8} {:>8}  {:>6} {:>9}",
        "breaks/s",
        "ads/s",
        "events/s",
        "p50 ms",
        "p99 ms",
        "p99.9",
        "beac p50",
        "p99 ms",
        "p99.9",
        "errors",
        "lag p99",
        "write ms",
        "server",
        "generator"
    )
}

/// A phase in one line; the processor's time is that of server and generator in so many seconds.
pub(crate) fn row(told: &Told, (server, generator, seconds): &(f64, f64, f64), length: Duration) -> String {
    let rate = |count: u64| as_float(count) / length.as_secs_f64();
    let ms = |us: f64| us / 1_000.0;
    let (breaks, beacons) = (&told.breaks, &told.beacons);
    format!(
        "{:8.0} {:8.0} {:9.0}  {:8.2} {:8.2} {:8.2}  {:8.2} {:8.2} {:8.2}  {:7} {:8.2} {:8.2}  {:5.0}% {:8.0}%",
        rate(breaks.answered),
        rate(told.ads),
        rate(told.events),
        ms(breaks.latency_us(0.5)),
        ms(breaks.latency_us(0.99)),
        ms(breaks.latency_us(0.999)),
        ms(beacons.latency_us(0.5)),
        ms(beacons.latency_us(0.99)),
        ms(beacons.latency_us(0.999)),
        errors(told),
        ms(told.lag.latency_us(0.99)),
        ms(told.writes.latency_us(0.99)),
        server / seconds.max(1e-9) * 100.0,
        generator / seconds.max(1e-9) * 100.0,
    )
}
