//! Memory under load: whether it grows once caches are full.

use std::time::Duration;

use crate::players::{Go, Phase, Rate};
use crate::server::{self, Server};
use crate::session::{self, Crowd, Second};
use crate::stage::Workload;
use crate::traffic::as_float;
use segue_figures::{Check, Report};

/// Arguments of `memory`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    crowd: Crowd,
    /// Breaks a second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of load before it is looked at: caches and leases fill.
    #[arg(long, default_value_t = 600)]
    settle_seconds: u64,
    /// Seconds in which it must not grow.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Growth that can't be told from none, as a share of the memory: allocators breathe.
const NOISE: f64 = 0.01;

/// Loads, and takes the figures into the report.
pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let stage = args.workload.stage()?;
    let server = Server::segue(&stage.segue, &stage.data_dir(), &args.workload.settings, None)?;
    let phase = |seconds| Phase { length: Duration::from_secs(seconds), rate: Rate::Breaks(args.rate) };
    let phases = vec![phase(args.settle_seconds), phase(args.seconds)];
    let session = session::play(&stage, &server, &args.crowd, phases, args.workload.seed, |_| Go::On, false)?;
    let looked: Vec<Second> = session.seconds.iter().copied().filter(|second| second.phase == 1).collect();
    let points: Vec<(f64, f64)> = looked.iter().map(|second| (second.at, as_float(second.resident))).collect();
    let (slope, mean) =
        (slope(&points), points.iter().map(|(_, y)| y).sum::<f64>() / as_float(points.len() as u64).max(1.0));
    let growth = slope * as_float(args.seconds);
    println!(
        "after {} s of load {:.0} MB on average; growth fitted over {} s: {:.2} MB",
        args.settle_seconds,
        mean / f64::from(1 << 20),
        args.seconds,
        growth / f64::from(1 << 20)
    );
    report.take([
        Check::at_most("growth of memory under steady load", (growth / mean.max(1.0)).max(0.0), NOISE, "of it"),
        Check::at_most("errors", as_float(session.told.iter().map(crate::run::errors).sum()), 0.0, "errors"),
    ]);
    server::ended(server.stop(), report);
    Ok(())
}

/// The slope of the straight line through the points that is nearest to them.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = as_float(points.len() as u64).max(1.0);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_fitted() {
        let line: Vec<(f64, f64)> = (0..10).map(f64::from).map(|x| (x, 3.0 + 2.0 * x)).collect();
        assert!((slope(&line) - 2.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }
}
