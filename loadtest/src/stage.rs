//! The data directories that servers start from: the reference catalogue as `segue workload` writes it, made once and copied for each run.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::breaks::Breaks;

/// What to load a server with.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Workload {
    /// The program; the one beside this one if not given.
    #[arg(long, env = "SEGUE_PROGRAM", value_name = "PATH")]
    segue: Option<PathBuf>,
    /// The reference profile: broad, selective, rare or midday.
    #[arg(long, default_value = "broad")]
    profile: String,
    /// Line items of the catalogue.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) line_items: u64,
    /// Listeners who ask in turn.
    #[arg(long, default_value_t = 40_000)]
    pub(crate) listeners: u64,
    /// Seed of catalogue and listeners.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for catalogues, which are kept, and for data directories of runs, which are not.
    #[arg(long, default_value = "target/loadtest", value_name = "DIR")]
    folder: PathBuf,
    /// A setting of the server, such as log.level=debug. May be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
}

/// What `segue workload store --json` tells.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stored {
    /// Players' key.
    pub(crate) app_key: String,
    /// The campaign API's key.
    pub(crate) operator_key: String,
}

/// A data directory for one run, and who asks.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The program.
    pub(crate) segue: PathBuf,
    /// The keys.
    pub(crate) stored: Stored,
    /// The requests.
    pub(crate) breaks: Breaks,
    /// Dropped, its folder is removed.
    folder: tempfile::TempDir,
}

impl Workload {
    /// A fresh data directory with the catalogue.
    pub(crate) fn stage(&self) -> anyhow::Result<Stage> {
        let segue = self.program()?;
        std::fs::create_dir_all(&self.folder).context("a folder for catalogues")?;
        let name = format!("{}-{}-{}", self.profile, self.line_items, self.seed);
        let (base, keys) = (self.folder.join(&name), self.folder.join(format!("{name}.json")));
        // The keys are written last: without them the catalogue is not whole.
        if !keys.exists() {
            self.make(&segue, &base, &keys)?;
        }
        let stored = std::fs::read_to_string(&keys).with_context(|| format!("reading {}", keys.display()))?;
        let stored: Stored = serde_json::from_str(&stored).context("understanding what was stored")?;
        let breaks = self.breaks(&segue, &stored)?;
        let folder =
            tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder).context("a folder for the run")?;
        let stage = Stage { segue, stored, breaks, folder };
        copy(&base, &stage.data_dir())?;
        Ok(stage)
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(program) = &self.segue {
            return Ok(program.clone());
        }
        let own = std::env::current_exe().context("finding this program")?;
        let beside = own.with_file_name("segue");
        if !beside.exists() {
            bail!("{} is not there: build it (cargo build --release), or name it with --segue", beside.display());
        }
        Ok(beside)
    }

    fn make(&self, segue: &Path, base: &Path, keys: &Path) -> anyhow::Result<()> {
        eprintln!("making the catalogue in {}", base.display());
        if base.exists() {
            std::fs::remove_dir_all(base).context("removing half a catalogue")?;
        }
        let output = self
            .drawn(segue, "store")
            .arg("--line-items")
            .arg(self.line_items.to_string())
            .arg("--data-dir")
            .arg(base)
            .arg("--json")
            .stderr(Stdio::inherit())
            .output()
            .context("running segue workload store")?;
        if !output.status.success() {
            bail!("segue workload store ended with {}", output.status);
        }
        std::fs::write(keys, output.stdout).with_context(|| format!("writing {}", keys.display()))
    }

    fn breaks(&self, segue: &Path, stored: &Stored) -> anyhow::Result<Breaks> {
        let mut command = self.drawn(segue, "breaks");
        command.arg("--listeners").arg(self.listeners.to_string()).stdout(Stdio::piped());
        let mut child = command.spawn().context("running segue workload breaks")?;
        let output = child.stdout.take().expect("it is piped");
        let breaks = Breaks::read(BufReader::new(output), &stored.app_key);
        let status = child.wait().context("waiting for segue workload breaks")?;
        if !status.success() {
            bail!("segue workload breaks ended with {status}");
        }
        breaks
    }

    fn drawn(&self, segue: &Path, what: &str) -> Command {
        let mut command = Command::new(segue);
        command.arg("workload").arg(what).arg("--profile").arg(&self.profile).arg("--seed").arg(self.seed.to_string());
        command.stdin(Stdio::null());
        command
    }
}

impl Stage {
    /// The run's own data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.context("reading a folder")?;
        let target = to.join(entry.file_name());
        if entry.file_type().context("reading a folder")?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}
