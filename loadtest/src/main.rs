//! `segue-loadtest`: puts load on a Segue server on this machine, beside a bare HTTP handler, and measures.
//!
//! In reading order: [`stage`] makes data directories with the reference catalogue, [`server`] runs Segue and the [`bare`] handler, [`breaks`] and [`traffic`]
//! say what is sent, [`engine`] sends it and reads the answers with [`answer`], [`process`] and [`disk`] measure what lies beside. [`compare`] floods two servers
//! in turn; [`players`] play by a [`schedule`] in a [`session`], of which [`run`], [`memory`] and [`spotify`] are made; [`start`] starts. `segue_figures` prints
//! what came of it.
//!
//! It shares no code with the server: it knows the program and its HTTP API.

#![allow(clippy::disallowed_methods, reason = "it measures on the machine's clock; nothing here is replayed")]

mod answer;
mod bare;
mod breaks;
mod compare;
mod disk;
mod engine;
mod memory;
mod players;
mod process;
mod run;
mod schedule;
mod server;
mod session;
mod simple;
mod spotify;
mod stage;
mod start;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use segue_figures::Report;

/// Puts load on a Segue server on this machine and measures what it costs.
///
/// Exit status: 0 when every bound is kept, 1 when one is not, 2 when it could not be measured.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where the checks are written, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve the bare handlers on a free port, until it is ended.
    Bare {
        /// Bytes of the answer to a break.
        #[arg(long, default_value_t = 2_500)]
        answer_bytes: usize,
    },
    /// Segue and the bare handlers in turn, A B A B: CPU a request, requests/s and latency of breaks and beacons.
    Compare(compare::Args),
    /// Players at a rate, or at ever higher ones until the knee.
    Run(run::Args),
    /// From a stored catalogue to ready, and memory a line item.
    Start(start::Args),
    /// Whether memory grows under steady load.
    Memory(memory::Args),
    /// 3,900 impressions a second with all their reports for ten minutes, then twice as many for one, then an audit.
    #[command(name = "spotify-2016")]
    Spotify2016(spotify::Args),
}

fn main() -> ExitCode {
    match perform(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("segue-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(arguments: &Arguments) -> anyhow::Result<bool> {
    if !matches!(arguments.command, Command::Bare { .. }) {
        server::end_when_told()?;
    }
    let mut report = Report::new();
    match &arguments.command {
        Command::Bare { answer_bytes } => return bare::serve(*answer_bytes).map(|()| true),
        Command::Compare(args) => compare::run(args, &mut report)?,
        Command::Run(args) => run::run(args, &mut report)?,
        Command::Start(args) => start::run(args, &mut report)?,
        Command::Memory(args) => memory::run(args, &mut report)?,
        Command::Spotify2016(args) => spotify::run(args, &mut report)?,
    }
    report.conclude(arguments.json.as_deref())
}
