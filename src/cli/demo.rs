//! `segue demo`: a made-up network with listeners, on a real server.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Exit, Failure, print};
use crate::clock::ACCELERATION_MAX;
use crate::demo::{self, Forgery, LISTENERS_MAX, Options};

/// Arguments of `segue demo`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Real seconds to play; until Ctrl-C if not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Seed of the network, its people and all they do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Empty folder for the server's data, kept afterwards; a fresh one that is removed if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object as the last line of standard output; words for people go to standard error.
    #[arg(long)]
    json: bool,
    /// How many people listen.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=LISTENERS_MAX as u64))]
    listeners: u64,
    /// Virtual seconds in a real one.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=i64::from(ACCELERATION_MAX)))]
    speed: u32,
    /// For tests: forge the stopped server's log in this way before it is checked; the checker must find it, and the exit status be 1.
    #[arg(long, hide = true, value_enum)]
    forge: Option<Forgery>,
}

/// Plays until the time is over or Ctrl-C, and checks the books.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let options = Options {
        seconds: args.seconds,
        seed: args.seed,
        data_dir: args.data_dir.clone(),
        json: args.json,
        listeners: usize::try_from(args.listeners).context("the number of listeners")?,
        speed: args.speed,
        forge: args.forge,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let summary = runtime.block_on(demo::run(&options))?;
    if args.json {
        let line = serde_json::to_string(&summary).context("writing the summary as JSON")?;
        print(&format!("{line}\n"))?;
    }
    Ok(if summary.is_right() { Exit::Ok } else { Exit::Difference })
}
