//! The options that every command with a configuration takes.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Sources};

/// Read where `--config` is not given.
const FILE_VARIABLE: &str = "SEGUE_CONFIG";

/// Read where neither is given, if it exists.
const FILE_DEFAULT: &str = "segue.toml";

/// Options that change the configuration.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigOptions {
    /// Configuration file [default: `SEGUE_CONFIG`, else ./segue.toml if there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, for server.listen.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Folder of all state, for data.dir.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Any setting, such as --set log.level=debug. May be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
}

/// Options of commands that bring what is outside to what it should be.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ApplyOptions {
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigOptions,
}

impl ConfigOptions {
    /// The configuration that file, environment and these options make.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(None)
    }

    /// As [`Self::load`], with a setting that an option of the command's own has given: its name, its value and the option.
    pub(crate) fn load_with(&self, more: Option<(&str, &str, &str)>) -> Result<Config, ConfigError> {
        let mut flags = self.flags();
        flags.extend(more.map(|(name, value, flag)| (name.to_owned(), value.to_owned(), flag.to_owned())));
        Config::load(&Sources { file: self.file(), environment: environment(), flags })
    }

    fn file(&self) -> Option<PathBuf> {
        let named = self.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
        named.or_else(|| Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.exists()))
    }

    fn flags(&self) -> Vec<(String, String, String)> {
        let mut flags = Vec::new();
        for (name, value) in &self.settings {
            flags.push((name.clone(), value.clone(), "--set".to_owned()));
        }
        for (name, value, flag) in
            [("server.listen", &self.listen, "--listen"), ("data.dir", &self.data_dir, "--data-dir")]
        {
            if let Some(value) = value {
                flags.push((name.to_owned(), value.clone(), flag.to_owned()));
            }
        }
        flags
    }
}

/// The environment, less what is not text: no setting of ours is called that.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as log.level=debug".to_owned()),
    }
}
