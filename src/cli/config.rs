//! `segue config`: check, print and explain the configuration.

use clap::Subcommand;

use super::{ConfigOptions, Exit, Failure, print};
use crate::config::example;

/// Arguments of `segue config`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Say whether the configuration is valid; exit status 2 if it is not.
    Check(ConfigOptions),
    /// Print the configuration in force, from file, environment and flags.
    Print(ConfigOptions),
    /// Print the example file: every setting with its meaning, bounds and default.
    Example,
}

/// Runs `segue config`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.action {
        Action::Check(options) => {
            options.load()?;
            print("the configuration is valid\n")?;
        }
        Action::Print(options) => print(&format!("{:#?}\n", options.load()?))?,
        Action::Example => print(&example())?,
    }
    Ok(Exit::Ok)
}
