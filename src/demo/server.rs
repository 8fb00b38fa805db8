//! The server under demonstration: started and stopped as `segue serve` does, on loopback and an accelerated clock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::client::Client;
use super::first_app;
use crate::app::{self, Running};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::entropy::Entropy;
use crate::model::{AppKey, Network};
use crate::roles::campaign::{APP_KEY_FILE, OPERATOR_KEY_FILE};
use crate::workload::world::World;

/// How long a server may take until it is ready, in steps of [`READY_PAUSE`].
const READY_TRIES: u32 = 200;
const READY_PAUSE: Duration = Duration::from_millis(50);

/// The data folder of a demo.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder that was asked for, which must be empty, or a fresh one.
    ///
    /// # Errors
    /// When it can't be made, or has something in it: the books of the demo are checked from the first record on.
    pub(super) fn prepare(asked_for: Option<PathBuf>, seed: u64) -> anyhow::Result<Self> {
        let temporary = asked_for.is_none();
        let path =
            asked_for.unwrap_or_else(|| std::env::temp_dir().join(format!("segue-demo-{}-{seed}", std::process::id())));
        std::fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
        let mut entries = std::fs::read_dir(&path).with_context(|| format!("could not read {}", path.display()))?;
        if entries.next().is_some() {
            bail!("{} is not empty: the demo needs a fresh folder, so that its books can be checked", path.display());
        }
        Ok(Self { path, temporary })
    }

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless it was asked for.
    pub(super) fn finish(self) {
        if self.temporary {
            // What can't be removed from the temporary folder is the operating system's to clean.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A running server.
pub(super) struct Server {
    running: Running,
    clock: Clock,
    data_dir: PathBuf,
}

impl Server {
    /// Starts a server on a free port of the loopback interface, `speed` times faster than time, with its data in that folder.
    ///
    /// # Errors
    /// Whatever keeps it from starting or from being ready in ten seconds.
    pub(super) async fn start(data_dir: &Path, speed: u32) -> anyhow::Result<Self> {
        let clock = Clock::real_times(speed);
        let config = config(data_dir, speed)?;
        let running = app::start(&config, clock.clone(), &Entropy::real()).context("could not start the server")?;
        let server = Self { running, clock, data_dir: data_dir.to_owned() };
        server.until_ready().await?;
        Ok(server)
    }

    /// Its time.
    #[must_use]
    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The network that the first start made.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn network(&self) -> anyhow::Result<Network> {
        let network = self.running.campaigns.read(|state| {
            state.entities().find_map(|revision| match &revision.entity {
                Entity::Network(network) => Some(Network::clone(network)),
                _ => None,
            })
        });
        network.context("the server has no network")
    }

    /// Puts the world into its catalogue.
    ///
    /// # Errors
    /// When the catalogue refuses it.
    pub(super) async fn import(&self, world: World) -> anyhow::Result<()> {
        let campaigns = self.running.campaigns.clone();
        let now = self.clock.now();
        tokio::task::spawn_blocking(move || campaigns.import(world.into_entities(), now))
            .await
            .context("importing the catalogue")?
            .map_err(|refusal| anyhow::anyhow!("the catalogue refused the world: {refusal:?}"))?;
        Ok(())
    }

    /// A client with the keys that the first start wrote down.
    ///
    /// # Errors
    /// When a key can't be read.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let key = |file: &str| {
            let path = self.data_dir.join(file);
            let key = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
            anyhow::Ok(key.trim().to_owned())
        };
        let base = format!("http://{}", self.running.address);
        Ok(Client::new(base, key(APP_KEY_FILE)?, key(OPERATOR_KEY_FILE)?, self.clock.clone())?)
    }

    /// Where the operator's key is.
    #[must_use]
    pub(super) fn operator_key_file(&self) -> PathBuf {
        self.data_dir.join(OPERATOR_KEY_FILE)
    }

    /// The app of the players.
    ///
    /// # Errors
    /// When the network has none.
    pub(super) fn app(&self) -> anyhow::Result<AppKey> {
        first_app(&self.network()?)
    }

    /// Drains and ends it.
    ///
    /// # Errors
    /// The first thing that failed on the way.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await.context("the server did not end well")
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let url = format!("http://{}/readyz", self.running.address);
        let http = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
        for _ in 0..READY_TRIES {
            if http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
        bail!("the server did not get ready")
    }
}

/// A server's usual configuration, but for a free port, more sampling and a shorter window: a demo is short.
fn config(data_dir: &Path, speed: u32) -> anyhow::Result<Config> {
    let data_dir = data_dir.to_str().context("the data folder's name is not text")?;
    let acceleration = speed.to_string();
    let flags = [
        ("server.listen", "127.0.0.1:0"),
        ("data.dir", data_dir),
        ("decision.sample_one_in", "8"),
        // Ten virtual minutes, the life of the demo's tokens: players are judged while it runs, and stand the test.
        ("decision.heard_window_seconds", "600"),
        ("decision.heard_grace_seconds", "600"),
        ("clock.acceleration", &acceleration),
    ];
    let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned(), "the demo".to_owned())).to_vec();
    Ok(Config::load(&Sources { file: None, environment: Vec::new(), flags })?)
}
