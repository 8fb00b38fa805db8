//! The command line. One file a command: its arguments and a `run` that answers with an [`Exit`] or a [`Failure`].
//!
//! To add a command: a file with `Args` and `run(&Args) -> Result<Exit, Failure>`, a variant of [`Command`] whose docstring is its help, and
//! the line in [`dispatch`].

mod audit;
mod config;
mod ctl;
mod dead_letter;
mod demo;
mod invoice;
mod journal;
mod options;
mod schema;
mod segments;
mod serve;
mod servers;
mod simulate;
mod stopped;
mod topics;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;
#[cfg(test)]
pub(crate) use audit::audit_dir;
pub(crate) use options::{ApplyOptions, ConfigOptions};

/// What a newcomer reads first.
const ABOUT: &str = "Segue decides which audio ads play between two tracks, and counts what was heard.

Two ways to begin:
  segue demo     a made-up network with listeners, for as long as you like; nothing to set up
  segue serve    the server, on 127.0.0.1:8080, with its state in ./segue-data";

const AFTER: &str =
    "Exit status: 0 done, 1 a check found a difference, 2 wrong usage or configuration, 3 failed while running.
Settings: `segue config example` prints all of them with their defaults.";

#[derive(Parser, Debug)]
#[command(name = "segue", version, about = ABOUT, after_help = AFTER, subcommand_required = true, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Recount the event log and compare it with the books; exit status 1 on any difference. The server must be stopped.
    Audit(audit::Args),
    /// Print the invoice of an advertiser and month, or write it as a page to print. The server must be stopped.
    Invoice(invoice::Args),
    /// Run the server until it is told to stop.
    Serve(serve::Args),
    /// The register of servers: list them, or give one up that will not come back. The server must be stopped.
    Servers(servers::Args),
    /// Ship the money journal of a dead server into the log of a stopped one.
    Journal(journal::Args),
    /// The topics in Kafka: make those that are missing, and compare the others with what they should be.
    Topics(topics::Args),
    /// Records that could not be understood or applied: list them, or append them to their topics again.
    DeadLetter(dead_letter::Args),
    /// The tables in Cassandra or ScyllaDB: bring them to this program's version.
    Schema(schema::Args),
    /// Segments of listeners: import them, each until a moment.
    Segments(segments::Args),
    /// The campaign API from a terminal: list, change and diagnose what a running server has.
    Ctl(ctl::Args),
    /// Check, print or explain the configuration.
    Config(config::Args),
    /// Play a made-up network with listeners on a real server, and check its books.
    Demo(demo::Args),
    /// Run the system in one thread and virtual time with everything that can go wrong; exit status 1 when a check fails.
    Simulate(simulate::Args),
    /// The reference catalogue and its listeners, for tests under load.
    Workload(workload::Args),
}

/// How a command ended that could do its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done, and nothing is wrong.
    Ok,
    /// A check found a difference.
    Difference,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was asked for can't be done as asked; nothing was changed.
    #[error("{0:#}")]
    Refused(anyhow::Error),
    /// Something failed while running.
    #[error("{0:#}")]
    Running(#[from] anyhow::Error),
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Difference => 1,
        }
    }
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Refused(_) => 2,
            Self::Running(_) => 3,
        }
    }
}

/// Parses the command line, runs the command and says how it ended. Failures go to standard error.
#[must_use]
pub fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match dispatch(&command_line.command) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            // Nobody is left to tell when standard error is closed; the exit status says it.
            let _ = writeln!(std::io::stderr(), "segue: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Audit(args) => audit::run(args),
        Command::Invoice(args) => invoice::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Servers(args) => servers::run(args),
        Command::Journal(args) => journal::run(args),
        Command::Topics(args) => topics::run(args),
        Command::DeadLetter(args) => dead_letter::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Segments(args) => segments::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Config(args) => config::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Workload(args) => workload::run(args),
    }
}

/// Prints to standard output. A reader that went away early (`segue ... | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Running(anyhow::Error::new(error).context("writing to standard output")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn help_begins_with_what_it_is_and_how_to_begin() {
        let help = CommandLine::command().render_long_help().to_string();
        for text in ["Segue decides", "segue demo", "segue serve", "Exit status: 0 done, 1", "--version"] {
            assert!(help.contains(text), "{text} is not in\n{help}");
        }
    }
}
