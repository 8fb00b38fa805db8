//! `segue serve`: the server, until it is told to stop.

use std::net::SocketAddr;

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
    /// What this process does, for server.roles: all, or some of decision, beacon, campaign and accounting as one of many servers.
    #[arg(long, value_name = "ROLES")]
    roles: Option<String>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.config.load_with(args.roles.as_deref().map(|roles| ("server.roles", roles, "--roles")))?;
    telemetry::start_logging(&config.log).context("starting to log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let clock = Clock::real_times(config.clock_acceleration);
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

/// The first line of standard output is for whoever started the process: where it listens.
fn announce(address: SocketAddr, config: &Config) -> Result<(), Failure> {
    print(&format!("segue: listening on http://{address}\n"))?;
    tracing::info!(%address, data = %config.data_dir.display(), "segue serves");
    Ok(())
}
