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

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace, PersistMode};
use prost::Message;

use super::loading::decode_all;
use super::rows::{StoredRevision, decode};
use super::{CatalogStore, Committed, KeysSeen, Missed, StoredCatalog, chains};
use crate::catalog::{EntityId, Revision};
use crate::store::keys::{ApiKey, StoredKey};
use crate::store::{Flaw, StoreError, damaged, hex, keyspace};

const CURRENT: &str = "catalog_current";
const REVISIONS: &str = "catalog_revisions";
const META: &str = "catalog_meta";
const KEYS: &str = "api_keys";
const VERSION: &[u8] = b"version";

/// The catalogue's keyspaces. One process has them open; commits go one after the other; anybody may read.
#[derive(Clone)]
pub struct EmbeddedCatalog {
    /// Held for the whole of a commit, which looks before it writes.
    writing: Arc<Mutex<()>>,
    database: Database,
    current: Keyspace,
    revisions: Keyspace,
    meta: Keyspace,
    keys: Keyspace,
}

impl EmbeddedCatalog {
    pub(in crate::store) fn open(database: Database) -> Result<Self, StoreError> {
        Ok(Self {
            writing: Arc::default(),
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
        let entities = decode_all(CURRENT, self.current.iter().map(|row| row.into_inner().map_err(read)))?;
        Ok(StoredCatalog { version, entities, keys })
    }

    /// Makes new revisions and keys durable, all or nothing. `revisions` are in the order in which they were made. Where one does not follow the newest of
    /// its entity, nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Commit`]: nothing may be acted on, and no later commit on this store can succeed.
    pub fn commit(&self, version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<Committed, StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missed = BTreeMap::new();
        for (id, chain) in chains(revisions) {
            let newest = self.newest_of(id)?;
            if newest.as_ref().map_or(0, |newest| newest.number) + 1 != chain[0].number {
                missed.insert(id, Missed::Stale(newest));
            }
        }
        if !missed.is_empty() {
            for revision in revisions {
                missed.entry(revision.entity.id()).or_insert(Missed::Untried);
            }
            let keys = keys.iter().map(|key| (key.id, Missed::Untried)).collect();
            return Ok(Committed { missed, missed_keys: keys });
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        if !revisions.is_empty() {
            batch.insert(&self.meta, VERSION, version.to_be_bytes());
        }
        for revision in revisions {
            let id = revision.entity.id();
            let row = StoredRevision::from_revision(revision).encode_to_vec();
            batch.insert(&self.revisions, revision_key(id, revision.number), row.as_slice());
            // Of two revisions of one entity the later insert holds.
            batch.insert(&self.current, id.to_bytes(), row);
        }
        for key in keys {
            batch.insert(&self.keys, key.id.to_bytes(), StoredKey::from_key(key).encode_to_vec());
        }
        batch.commit().map_err(|source| StoreError::Commit { what: "the catalogue", source })?;
        Ok(Committed::default())
    }

    fn newest_of(&self, id: EntityId) -> Result<Option<Arc<Revision>>, StoreError> {
        let row = self.current.get(id.to_bytes());
        let row = row.map_err(|source| StoreError::Read { what: "an entity", source })?;
        row.map(|row| decode(CURRENT, &id.to_bytes(), &row).map(Arc::new)).transpose()
    }

    /// The revisions of an entity before number `before` (all when absent), newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    pub fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        let read = |source| StoreError::Read { what: "the history of an entity", source };
        let (first, end) = (revision_key(id, 0), revision_key(id, before.unwrap_or(u64::MAX)));
        let mut revisions = Vec::new();
        for row in self.revisions.range(first..end).rev().take(limit) {
            let (key, row) = row.into_inner().map_err(read)?;
            revisions.push(decode(REVISIONS, &key, &row)?);
        }
        Ok(revisions)
    }

    /// What is now against all that ever was: every entity is as its last revision left it, its revisions are numbered from 1 without gaps, and there
    /// were no more commits than revisions. Reads every revision.
    ///
    /// # Errors
    /// [`StoreError`] when a row can't be read or is damaged.
    pub fn check(&self) -> Result<Vec<Flaw>, StoreError> {
        let read = |source| StoreError::Read { what: "the history of the catalogue", source };
        let flaw = |keyspace, id: &[u8], expected, found: String| {
            let place = format!("the store, keyspace {keyspace}, entity {}", hex(id));
            Flaw { place, expected, found }
        };
        let mut flaws = Vec::new();
        // Of each entity the number of its last revision and the digest of its row.
        let mut last: BTreeMap<Vec<u8>, (u64, blake3::Hash)> = BTreeMap::new();
        let mut count = 0;
        for row in self.revisions.iter() {
            let (key, row) = row.into_inner().map_err(read)?;
            let number = decode(REVISIONS, &key, &row)?.number;
            let id = &key[..16];
            if key.as_ref() != [id, &number.to_be_bytes()].concat() {
                return Err(damaged(REVISIONS, &key, "the row is of another revision"));
            }
            let before = last.insert(id.to_vec(), (number, blake3::hash(&row))).map_or(0, |(number, _)| number);
            if number != before + 1 {
                flaws.push(flaw(REVISIONS, id, "revisions without gaps", format!("{number} behind {before}")));
            }
            count += 1;
        }
        for row in self.current.iter() {
            let (id, row) = row.into_inner().map_err(read)?;
            let number = decode(CURRENT, &id, &row)?.number;
            match last.remove(id.as_ref()) {
                Some((_, digest)) if digest == blake3::hash(&row) => {}
                Some((last, _)) => {
                    let found = format!("revision {number}, and its last is {last}");
                    flaws.push(flaw(CURRENT, &id, "the last revision", found));
                }
                None => flaws.push(flaw(CURRENT, &id, "an entity with revisions", "one without".to_owned())),
            }
        }
        for id in last.keys() {
            flaws.push(flaw(CURRENT, id, "the last revision", "nothing, and it has revisions".to_owned()));
        }
        let version = self.load()?.version;
        if version > count || (version == 0) != (count == 0) {
            let found = format!("version {version} after {count} revisions");
            flaws.push(Flaw {
                place: "the store, keyspace catalog_meta".to_owned(),
                expected: "a version for each commit",
                found,
            });
        }
        Ok(flaws)
    }

    /// Writes all rows into tables, as a store of some size has them: for tests of what lies in files.
    #[cfg(test)]
    pub(crate) fn write_tables(&self) {
        for keyspace in [&self.current, &self.revisions, &self.meta, &self.keys] {
            keyspace.rotate_memtable_and_wait().expect("written");
        }
    }

    /// Sets an entity back to an earlier revision, as nobody may: for tests of what an audit finds.
    #[cfg(test)]
    pub(crate) fn set_back(&self, revision: &Revision) {
        let row = StoredRevision::from_revision(revision).encode_to_vec();
        self.current.insert(revision.entity.id().to_bytes(), row).expect("written");
    }
}

impl CatalogStore for EmbeddedCatalog {
    fn is_shared(&self) -> bool {
        false
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        Self::is_empty(self)
    }

    fn load(&self) -> Result<StoredCatalog, StoreError> {
        Self::load(self)
    }

    fn commit(&self, version: u64, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Result<Committed, StoreError> {
        Self::commit(self, version, revisions, keys)
    }

    fn newest(&self, ids: &[EntityId]) -> Result<Vec<Arc<Revision>>, StoreError> {
        ids.iter().filter_map(|id| self.newest_of(*id).transpose()).collect()
    }

    fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        Self::history(self, id, before, limit)
    }

    fn changed_keys(&self, _seen: &mut KeysSeen) -> Result<Vec<ApiKey>, StoreError> {
        // Whoever commits a key knows it.
        Ok(Vec::new())
    }

    fn agree(&self, _name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(value.to_vec())
    }
}

fn revision_key(id: EntityId, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&id.to_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Action, Author, Entity};
    use crate::entropy::Entropy;
    use crate::model::{ApiKeyId, WallMs};
    use crate::roles::campaign::samples;
    use crate::store::Store;

    fn revision(entity: Entity, number: u64) -> Arc<Revision> {
        let author = Author::Key { id: ApiKeyId::from_u128(9), role: "operator".into() };
        let at = WallMs(i64::try_from(number).expect("small"));
        Arc::new(Revision { entity, number, created_at: WallMs(1), at, author, action: Action::Changed })
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Store::open(dir.path(), WallMs(5), &Entropy::real()).expect("opens");
        let mut entities = samples::catalogue();
        entities.sort_by_key(Entity::id);
        let first: Vec<_> = entities.iter().map(|entity| revision(entity.clone(), 1)).collect();
        let identity = {
            let store = open();
            let catalog = store.catalog().expect("opens");
            assert!(catalog.is_empty().expect("reads"));
            catalog.commit(1, &first, &[]).expect("commits");
            catalog.commit(2, &[revision(entities[0].clone(), 2), revision(entities[0].clone(), 3)], &[]).expect("ok");
            store.identity().clone()
        };
        let store = open();
        assert_eq!(store.identity(), &identity, "a server keeps its identity");
        let catalog = store.catalog().expect("opens");
        assert!(!catalog.is_empty().expect("reads"));
        let mut stored = catalog.load().expect("loads");
        stored.entities.sort_by_key(|found| found.entity.id());
        let mut want = first.clone();
        want[0] = revision(entities[0].clone(), 3);
        assert_eq!((stored.version, stored.entities), (2, want));
        let numbers = |before, limit| -> Vec<u64> {
            let history = catalog.history(entities[0].id(), before, limit).expect("reads");
            history.iter().map(|revision| revision.number).collect()
        };
        assert_eq!((numbers(None, 9), numbers(None, 2), numbers(Some(2), 9)), (vec![3, 2, 1], vec![3, 2], vec![1]));
    }
}
