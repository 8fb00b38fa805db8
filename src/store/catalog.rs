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
use std::sync::Arc;

use fjall::{Database, Keyspace, PersistMode};
use prost::Message;

use super::keys::{ApiKey, StoredKey};
use super::{Flaw, StoreError, damaged, hex, keyspace};
use crate::catalog::{Action, Author, EntityId, Revision};
use crate::events::catalog::{decode_entity, encode_entity};
use crate::model::{ApiKeyId, WallMs};

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
        let mut entities = Vec::new();
        for row in self.current.iter() {
            let (id, row) = row.into_inner().map_err(read)?;
            entities.push(Arc::new(decode(CURRENT, &id, &row)?));
        }
        Ok(StoredCatalog { version, entities, keys })
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
        batch.commit().map_err(|source| StoreError::Commit { what: "the catalogue", source })
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

fn revision_key(id: EntityId, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&id.to_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A revision's row in the store. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
struct StoredRevision {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(sint64, tag = "2")]
    created_at_ms: i64,
    #[prost(sint64, tag = "3")]
    at_ms: i64,
    /// Empty for what Segue did by itself.
    #[prost(bytes = "vec", tag = "4")]
    key_id: Vec<u8>,
    /// Name of the key's role at that time.
    #[prost(string, tag = "5")]
    role: String,
    #[prost(string, tag = "6")]
    action: String,
    /// The entity as `segue.v1.Entity`.
    #[prost(bytes = "vec", tag = "7")]
    entity: Vec<u8>,
}

impl StoredRevision {
    fn from_revision(revision: &Revision) -> Self {
        let (key_id, role) = match &revision.author {
            Author::Segue => (Vec::new(), String::new()),
            Author::Key { id, role } => (id.to_bytes().to_vec(), role.clone()),
        };
        Self {
            number: revision.number,
            created_at_ms: revision.created_at.0,
            at_ms: revision.at.0,
            key_id,
            role,
            action: revision.action.name().to_owned(),
            entity: encode_entity(&revision.entity),
        }
    }
}

fn decode(keyspace: &'static str, key: &[u8], row: &[u8]) -> Result<Revision, StoreError> {
    let row = StoredRevision::decode(row).map_err(|error| damaged(keyspace, key, error))?;
    let author = match row.key_id.as_slice() {
        [] => Author::Segue,
        id => Author::Key {
            id: ApiKeyId::from_bytes(id.try_into().map_err(|_| damaged(keyspace, key, "a key's id has 16 bytes"))?),
            role: row.role,
        },
    };
    let action = Action::named(&row.action).ok_or_else(|| damaged(keyspace, key, "an action of no known name"))?;
    let entity = decode_entity(&row.entity).map_err(|error| damaged(keyspace, key, error))?;
    if entity.id().to_bytes() != key.get(..16).unwrap_or_default() {
        return Err(damaged(keyspace, key, "the row is of another entity"));
    }
    Ok(Revision {
        entity,
        number: row.number,
        created_at: WallMs(row.created_at_ms),
        at: WallMs(row.at_ms),
        author,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Entity;
    use crate::entropy::Entropy;
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

    #[test]
    fn rows_stay_readable() {
        let revision = revision(Entity::Network(samples::network(samples::NETWORK)), 7);
        let row = StoredRevision::from_revision(&revision).encode_to_vec();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/golden/v1/store/catalog_revision.bin");
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::create_dir_all(std::path::Path::new(path).parent().expect("a folder")).expect("made");
            std::fs::write(path, &row).expect("written");
        }
        let golden = std::fs::read(path).expect("the golden file; UPDATE_GOLDEN=1 writes it");
        let id = revision.entity.id().to_bytes();
        assert_eq!(decode(CURRENT, &id, &golden).expect("reads"), *revision);
        assert_eq!(row, golden);
        let wrong = decode(CURRENT, &[0; 16], &golden).expect_err("another entity's row");
        assert!(wrong.to_string().contains("00000000"), "{wrong}");
        for cut in 1..golden.len() {
            // A cut row is an error or, where the cut is between fields, not the entity that the key names; never a panic.
            let _ = decode(CURRENT, &id, &golden[..cut]);
        }
    }
}
