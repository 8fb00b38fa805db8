//! `segue serve`: the server, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use super::{ConfigOptions, Exit, Failure, print};
use crate::app::{self, cluster};
use crate::clock::Clock;
use crate::config::{Config, Roles};
use crate::entropy::Entropy;
use crate::telemetry;

/// Arguments of `segue serve`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// What this process does, for server.roles: all, or some of decision, beacon, campaign, accounting and profile as one of many servers.
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,
    /// For trials: a file with milliseconds by which this process's wall clock is wrong; looked at again and again.
    #[arg(long, hide = true, value_name = "FILE")]
    clock_error_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// How often the file with the clock's error is looked at.
const CLOCK_ERROR_EVERY: Duration = Duration::from_millis(100);
/// Farthest that a clock is made wrong, in milliseconds: a day.
const CLOCK_ERROR_MAX_MS: i64 = 86_400_000;

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load_with(args.roles.as_deref().map(|roles| ("server.roles", roles, "--roles")))?;
    telemetry::start_logging(&config.log).context("starting to log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let clock = match &args.clock_error_file {
        Some(file) => wrong_clock(file.clone())?,
        None => Clock::real_times(config.clock_acceleration),
    };
    runtime.block_on(async {
        match config.roles {
            Roles::All => {
                let running = app::start(&config, clock, &Entropy::real()).context("segue could not start")?;
                announce(running.address, &config)?;
                let why = running.until_stopped().await;
                tracing::info!(why, "segue stops");
                running.stop().await?;
            }
            Roles::Some(roles) => {
                let member =
                    cluster::start(&config, roles, clock, &Entropy::real()).await.context("segue could not start")?;
                announce(member.address, &config)?;
                let why = member.until_stopped().await;
                tracing::info!(why, "segue stops");
                member.stop().await?;
            }
        }
        Ok(Exit::Ok)
    })
}

/// A clock that is wrong by what the file says at the moment. What is no number, or not there, changes nothing.
fn wrong_clock(file: PathBuf) -> Result<Clock, Failure> {
    let by_ms = Arc::new(AtomicI64::new(0));
    let told = Arc::clone(&by_ms);
    let look = move || {
        let error = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i64>().ok());
        if let Some(error) = error {
            told.store(error.clamp(-CLOCK_ERROR_MAX_MS, CLOCK_ERROR_MAX_MS), Ordering::Relaxed);
        }
    };
    look();
    let forever = move || loop {
        std::thread::sleep(CLOCK_ERROR_EVERY);
        look();
    };
    std::thread::Builder::new().name("clock-error".to_owned()).spawn(forever).context("starting a thread")?;
    Ok(Clock::wrong(by_ms))
}

/// The first line of standard output is for whoever started the process: where it listens.
fn announce(address: SocketAddr, config: &Config) -> Result<(), Failure> {
    print(&format!("segue: listening on http://{address}\n"))?;
    tracing::info!(%address, data = %config.data_dir.display(), "segue serves");
    Ok(())
}
