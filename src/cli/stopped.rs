//! The data directory of a stopped server, for commands that read or change it from outside.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::event_log::money_dir;
use crate::journal::{RealDisk, SharedDisk};
use crate::model::{ServerId, WallMs};
use crate::store::{EmbeddedLedger, Store};

/// Held while a command works on a journal, so that no server can start on it.
pub(super) type JournalLock = Box<dyn Send + Sync>;

/// A stopped server's store.
pub(super) struct Stopped {
    /// The server whose directory it is.
    pub(super) server_id: ServerId,
    /// The books and the register.
    pub(super) ledger: EmbeddedLedger,
    /// When the command began.
    pub(super) now: WallMs,
    // Held so that the database stays open.
    _store: Store,
}

impl Stopped {
    /// Opens the store in a data directory.
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        if !data_dir.join("store").is_dir() {
            bail!("{} is not a data directory of segue: it has no store", data_dir.display());
        }
        let now = Clock::real().now().wall;
        let store = Store::open(data_dir, now, &Entropy::real()).context("opening the store")?;
        let ledger = store.ledger().context("opening the ledger")?;
        Ok(Self { server_id: store.identity().server_id, ledger, now, _store: store })
    }
}

/// Locks the money journal of a data directory, as a running server does.
pub(super) fn lock(data_dir: &Path) -> anyhow::Result<JournalLock> {
    let (disk, dir): (SharedDisk, _) = (Arc::new(RealDisk), money_dir(data_dir));
    if !dir.is_dir() {
        bail!("{} is not a data directory of segue: it has no money journal", data_dir.display());
    }
    disk.lock_dir(&dir).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => anyhow::anyhow!(
            "a server is running on {}: it holds the lock {}; stop it first",
            data_dir.display(),
            dir.join("LOCK").display()
        ),
        _ => anyhow::Error::new(error).context(format!("locking {}", dir.display())),
    })
}
