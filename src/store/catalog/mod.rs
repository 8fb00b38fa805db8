//! The catalogue where it lasts: every entity as it is now, every revision that ever was, the API keys.
//!
//! [`CatalogStore`] is what the campaign role asks of it, with one behaviour suite for both implementations (`tests/it/stores/`): [`EmbeddedCatalog`], of
//! one process, and [`CqlCatalog`], which any number of API servers share. In both, a revision is there only if it was made from the one before it
//! (INV-47): of several who change one entity at once, one succeeds and the others are told what is there now.

mod cql;
mod embedded;
mod loading;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ApiKey, StoreError};
use crate::catalog::{EntityId, Revision};
use crate::model::ApiKeyId;

pub use cql::{CqlCatalog, OutboxRow, PENDING_BUCKETS, Pending, Waiting};
pub use embedded::EmbeddedCatalog;

/// All that the campaign role needs to go on where it stopped.
#[derive(Debug, Default)]
pub struct StoredCatalog {
    /// The catalogue version: how many commits changed an entity. 0 where several servers write: there the change feed says it.
    pub version: u64,
    /// The newest revision of every entity, in no order that matters.
    pub entities: Vec<Arc<Revision>>,
    /// Every API key, revoked ones too.
    pub keys: Vec<ApiKey>,
}

/// What of a commit is not there; all else of it is, durably.
#[derive(Debug, Default)]
pub struct Committed {
    /// Entities of which no revision of the commit is there, and why.
    pub missed: BTreeMap<EntityId, Missed>,
    /// Keys that are not there as they were to be, and why.
    pub missed_keys: BTreeMap<ApiKeyId, Missed>,
}

/// Why something that was to be committed is not there.
#[derive(Debug)]
pub enum Missed {
    /// Somebody else was quicker: the entity as it is now.
    Stale(Option<Arc<Revision>>),
    /// Not tried, because of something else that was missed.
    Untried,
    /// No more fits: keys, or revisions that wait to be published.
    Full {
        /// Of what.
        what: &'static str,
        /// How many fit.
        limit: usize,
    },
    /// Larger than servers that share the catalogue can tell each other.
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
        /// The largest possible.
        limit: usize,
    },
    /// The store did not answer, and nothing of it was made.
    Unreachable(StoreError),
    /// The store did not answer: whether it was made is not known.
    Unknown(StoreError),
}

/// How far somebody has seen the keys: by part of them, how often it had changed.
pub type KeysSeen = BTreeMap<i32, i64>;

/// The catalogue's store. All of it may block its thread: none of it is for a thread of the HTTP server or of the asynchronous runtime.
pub trait CatalogStore: Clone + Send + Sync + 'static {
    /// Whether other servers write it too: then what was read may be out of date, and the version comes with the change feed.
    fn is_shared(&self) -> bool;

    /// Whether nothing was ever committed.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    fn is_empty(&self) -> Result<bool, StoreError>;

    /// Everything that is now.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    fn load(&self) -> Result<StoredCatalog, StoreError>;

    /// Makes revisions and keys durable. `revisions` are in the order in which they were made; those of one entity are there all or none, and only if the
    /// first follows the newest that is there. Embedded, the whole commit is there or nothing; shared, entities are committed for themselves, parents
    /// before children, and where one is missed those that come after its kind are not tried. `version` is the catalogue's afterwards.
    ///
    /// # Errors
    /// [`StoreError`]: nothing may be acted on, and the store is to be opened anew.
    fn commit(&self, version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<Committed, StoreError>;

    /// The newest revision of each of these entities that is there.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    fn newest(&self, ids: &[EntityId]) -> Result<Vec<Arc<Revision>>, StoreError>;

    /// The revisions of an entity before number `before` (all when absent), newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError>;

    /// The keys that others may have made or revoked since `seen`, which it brings up to date; some may be known already. With nothing seen: all.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be read.
    fn changed_keys(&self, seen: &mut KeysSeen) -> Result<Vec<ApiKey>, StoreError>;

    /// What all servers that share the store agree on under a name: what the first of them gave. Not shared: what is given.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    fn agree(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError>;
}

/// The catalogue's store as it is wired: one of the two.
#[derive(Clone)]
pub enum CatalogBackend {
    /// Of this process alone.
    Embedded(EmbeddedCatalog),
    /// Shared with other servers.
    Cql(CqlCatalog),
}

impl From<EmbeddedCatalog> for CatalogBackend {
    fn from(store: EmbeddedCatalog) -> Self {
        Self::Embedded(store)
    }
}

impl From<CqlCatalog> for CatalogBackend {
    fn from(store: CqlCatalog) -> Self {
        Self::Cql(store)
    }
}

macro_rules! either {
    ($backend:expr, $store:ident => $call:expr) => {
        match $backend {
            CatalogBackend::Embedded($store) => $call,
            CatalogBackend::Cql($store) => $call,
        }
    };
}

impl CatalogStore for CatalogBackend {
    fn is_shared(&self) -> bool {
        either!(self, store => CatalogStore::is_shared(store))
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        either!(self, store => CatalogStore::is_empty(store))
    }

    fn load(&self) -> Result<StoredCatalog, StoreError> {
        either!(self, store => CatalogStore::load(store))
    }

    fn commit(&self, version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<Committed, StoreError> {
        either!(self, store => CatalogStore::commit(store, version, revisions, keys))
    }

    fn newest(&self, ids: &[EntityId]) -> Result<Vec<Arc<Revision>>, StoreError> {
        either!(self, store => CatalogStore::newest(store, ids))
    }

    fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        either!(self, store => CatalogStore::history(store, id, before, limit))
    }

    fn changed_keys(&self, seen: &mut KeysSeen) -> Result<Vec<ApiKey>, StoreError> {
        either!(self, store => CatalogStore::changed_keys(store, seen))
    }

    fn agree(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        either!(self, store => CatalogStore::agree(store, name, value))
    }
}

/// The revisions of each entity, parents first.
fn chains(revisions: &[Arc<Revision>]) -> BTreeMap<EntityId, Vec<Arc<Revision>>> {
    let mut chains: BTreeMap<EntityId, Vec<Arc<Revision>>> = BTreeMap::new();
    for revision in revisions {
        chains.entry(revision.entity.id()).or_default().push(Arc::clone(revision));
    }
    chains
}
