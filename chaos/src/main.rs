//! `segue-chaos`: a whole cluster of Segue on one machine, with real brokers and a real Cassandra, played on, broken on purpose, and judged.
//!
//! In reading order: [`engines`] starts Kafka and Cassandra, [`proxy`] stands before them and can slow or cut what passes, [`cluster`] runs Segue's processes,
//! [`world`] fills the catalogue through the campaign API, [`players`] play and remember in [`history`] what they were acknowledged, [`faults`] breaks things by a
//! seed, [`judge`] compares what players saw with what stands in Kafka and CQL, [`mod@piece`] says what is played, [`show`] plays it, [`run`] brings it
//! from start to verdict, and [`report`] prints it.
//!
//! It shares no code with the server: it decodes the topics as any consumer does, from `schemas/`, and the tables by their own description.

#![allow(clippy::disallowed_methods, reason = "it plays on the machine's clock; nothing here is replayed")]

mod cluster;
mod distribution;
mod engines;
mod faults;
mod history;
mod judge;
mod piece;
mod players;
mod proxy;
mod report;
mod run;
mod show;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::piece::{Outage, Piece};
use crate::run::Stage;

/// Runs a whole cluster of Segue on one machine, breaks it on purpose, and judges what came of it.
///
/// Exit status: 0 when every check holds, 1 when one does not, 2 when it could not be run.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The program; the one beside this one if not given.
    #[arg(long, global = true, env = "SEGUE_PROGRAM")]
    segue: Option<PathBuf>,
    /// Folder with Kafka's jars.
    #[arg(long, global = true, env = "SEGUE_KAFKA_LIB")]
    kafka_lib: Option<PathBuf>,
    /// Folder with Cassandra's jars.
    #[arg(long, global = true, env = "SEGUE_CASSANDRA_LIB")]
    cassandra_lib: Option<PathBuf>,
    /// The project's folder, whose scripts start the engines.
    #[arg(long, global = true, env = "SEGUE_PROJECT", default_value = ".")]
    project: PathBuf,
    /// Where the checks are written, as JSON.
    #[arg(long, global = true, default_value = "target/chaos.json")]
    json: PathBuf,
    /// Keep all logs and data in this folder; without it they are removed.
    #[arg(long, global = true)]
    keep: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// A seeded schedule of faults against two servers of each role on three brokers, after a twin without faults.
    Faults {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        /// How many seeds, one after the other.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Ad breaks a second.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rate: u32,
        /// How many faults a seed.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=15))]
        faults: u32,
        /// No twin: paid delivery is not compared.
        #[arg(long)]
        no_twin: bool,
        /// How long recovery takes is shown and not judged: for a machine that does other things too.
        #[arg(long)]
        untimed: bool,
    },
    /// One engine stops for minutes while players go on, then comes back; after a twin as long in which nothing stops.
    Outage {
        /// Which.
        #[arg(long, value_enum)]
        of: Outage,
        /// For how long, in seconds.
        #[arg(long)]
        seconds: u64,
        /// Ad breaks a second.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rate: u32,
    },
    /// Two servers of each role with players, to look at; the books are checked at the end.
    Demo {
        /// Seconds; until Ctrl-C without it.
        #[arg(long)]
        seconds: Option<u64>,
        /// Ad breaks a second.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rate: u32,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("segue-chaos: no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(perform(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("segue-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the command, also when it is interrupted: whatever was started is ended.
async fn perform(arguments: Arguments) -> anyhow::Result<bool> {
    let brokers = if matches!(arguments.command, Command::Demo { .. }) { 1 } else { 3 };
    let mut stage = Stage::open(&arguments, brokers).await?;
    let pieces = pieces(&arguments.command);
    let verdict = tokio::select! {
        verdict = stage.play(pieces, &arguments.json) => verdict,
        () = run::told_to_stop(), if !matches!(arguments.command, Command::Demo { .. }) => Err(anyhow::anyhow!("interrupted")),
    };
    stage.close();
    verdict
}

fn pieces(command: &Command) -> Vec<Piece> {
    match *command {
        Command::Faults { first_seed, seeds, rate, faults, no_twin, untimed } => {
            let twin = (!no_twin).then(|| Piece::twin(rate, faults));
            let seeds = first_seed..first_seed.saturating_add(seeds);
            twin.into_iter().chain(seeds.map(|seed| Piece::faults(seed, rate, faults, !untimed))).collect()
        }
        Command::Outage { of, seconds, rate } => {
            vec![Piece::outage_twin(seconds, rate), Piece::outage(of, seconds, rate)]
        }
        Command::Demo { seconds, rate } => vec![Piece::demo(seconds, rate)],
    }
}
