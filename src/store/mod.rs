//! The stores: what outlives the process, apart from the journals.
//!
//! One embedded database in `<data>/store` holds them all, so that a commit that touches several keyspaces is one atomic batch. Each file
//! owns its keyspaces and nobody else writes them. A commit counts only after it is synced to disk.

mod catalog;
mod check;
mod copy;
pub mod cql;
mod identity;
mod keys;
mod ledger;
mod listener;

use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::background::started_to_give_way;
use crate::entropy::Entropy;
use crate::model::WallMs;

pub use catalog::{
    CatalogBackend, CatalogStore, Committed, CqlCatalog, EmbeddedCatalog, KeysSeen, Missed, OutboxRow, PENDING_BUCKETS,
    Pending, StoredCatalog, Waiting,
};
pub use check::{CheckedStore, Flaw, check_store};
pub use copy::StoreCopy;
pub use identity::{Identity, Secret, TokenKey};
pub use keys::{ApiKey, KeyRing, KeySecret};
#[cfg(test)]
pub(crate) use ledger::RawRow;
pub use ledger::{
    CqlLedger, CqlLedgerPart, DeliveryRange, EmbeddedLedger, LedgerReader, LedgerSettings, LedgerStore, LedgerTrouble,
    OwnsLedger, ReadsLedger, StatementFaults, rows as ledger_rows,
};
pub use listener::{
    CqlListeners, EmbeddedListeners, LateListeners, Listener, ListenerBackend, ListenerChange, ListenerCounts,
    ListenerStore, Listeners, ReserveError, StoredListener, TasteRow,
};

/// What went wrong with the store. All are the machine's fault, none is worth a retry in this process.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder can't be made or used.
    #[error("can't use {path} for the store")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database can't be opened; most often another process has it open.
    #[error("can't open the store in {path}; is another segue running on this data directory?")]
    Open {
        /// The database's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: fjall::Error,
    },
    /// A read failed.
    #[error("can't read {what} from the store")]
    Read {
        /// What was read.
        what: &'static str,
        /// Why.
        #[source]
        source: fjall::Error,
    },
    /// A commit is not durable: nothing of it may be acted on.
    #[error("can't commit {what} to the store")]
    Commit {
        /// What was written.
        what: &'static str,
        /// Why.
        #[source]
        source: fjall::Error,
    },
    /// The thread that writes has ended.
    #[error("the writer of {what} has ended")]
    WriterGone {
        /// What it wrote.
        what: &'static str,
    },
    /// The first network and the keys to it could not be made.
    #[error("the first network can't be made: the store takes neither it nor its keys")]
    FirstNetwork,
    /// CQL does not do what it was asked for.
    #[error(transparent)]
    Cql(#[from] cql::CqlTrouble),
    /// A part of the ledger in CQL can't be owned, or not be read at such length.
    #[error(transparent)]
    Ledger(#[from] LedgerTrouble),
    /// A row does not say what a row of its kind says: the disk or another version's hand.
    #[error("a damaged row in {keyspace}, key {key}: {reason}")]
    Damaged {
        /// The keyspace.
        keyspace: &'static str,
        /// The row's key in hexadecimal.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The open database and the server's identity in it.
#[derive(Clone)]
pub struct Store {
    database: Database,
    identity: Identity,
}

impl Store {
    /// Opens the database in `<dir>/store`, or makes it with a new server identity.
    ///
    /// # Errors
    /// [`StoreError`] when the folder or the database can't be used.
    pub fn open(dir: &Path, now: WallMs, entropy: &Entropy) -> Result<Self, StoreError> {
        let path = dir.join("store");
        std::fs::create_dir_all(&path).map_err(|source| StoreError::Folder { path: path.clone(), source })?;
        // Its own threads compact and flush.
        let opened = started_to_give_way(|| Database::builder(&path).open());
        let database = opened.map_err(|source| StoreError::Open { path, source })?;
        let identity = identity::load_or_create(&database, now, entropy)?;
        Ok(Self { database, identity })
    }

    /// Who this server is, and its secrets.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Replaces the key that seals tokens when it is `max_age_ms` old; the one before goes on opening what it sealed. For the start of a process:
    /// keys are not changed under those who use them.
    ///
    /// # Errors
    /// [`StoreError`] when the new key can't be made durable.
    pub fn rotate_token_key(&mut self, max_age_ms: i64, now: WallMs, entropy: &Entropy) -> Result<(), StoreError> {
        if let Some(rotated) = self.identity.rotated(max_age_ms, now, entropy) {
            identity::keep(&self.database, &rotated)?;
            self.identity = rotated;
        }
        Ok(())
    }

    /// Who this server is, with the secrets that it agreed on with others when it last reached their store; none where it never did.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be read.
    pub fn shared_identity(&self) -> Result<Option<Identity>, StoreError> {
        identity::shared(&self.database)
    }

    /// Keeps the secrets that this server shares with others.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be made durable.
    pub fn keep_shared_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        identity::keep_shared(&self.database, identity)
    }

    /// The catalogue, its history and the API keys.
    ///
    /// # Errors
    /// [`StoreError`] when its keyspaces can't be opened.
    pub fn catalog(&self) -> Result<EmbeddedCatalog, StoreError> {
        EmbeddedCatalog::open(self.database.clone())
    }

    /// The books.
    ///
    /// # Errors
    /// [`StoreError`] when its keyspaces can't be opened.
    pub fn ledger(&self) -> Result<EmbeddedLedger, StoreError> {
        EmbeddedLedger::open(self.database.clone())
    }

    /// The database, for the stores that live in it.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Opens a keyspace, or makes it.
pub(crate) fn keyspace(database: &Database, name: &'static str) -> Result<Keyspace, StoreError> {
    database.keyspace(name, KeyspaceCreateOptions::default).map_err(|source| StoreError::Read { what: name, source })
}

/// A row that can't be right.
pub(crate) fn damaged(keyspace: &'static str, key: &[u8], reason: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { keyspace, key: hex(key), reason: reason.to_string() }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
