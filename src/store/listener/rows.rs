//! The rows of listeners.
//!
//! | keyspace | key | value | life |
//! | --- | --- | --- | --- |
//! | `listeners` | listener key, 16 bytes | `StoredHead`: pseudonym, last break, open breaks | until forgotten |
//! | `exposures-W` | listener key, impression id: 37 bytes | `StoredExposure` | the keyspace of week `W` is dropped whole, 6 weeks on |
//! | `strict-caps` | listener key, 16 bytes | `StoredStrictRow`, see `strict` | until forgotten |
//!
//! `W` counts weeks of 7 × 24 hours since 1970. The database has no expiry of rows, so what ages is kept by week. Values are Protobuf messages;
//! fields are only ever added.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use prost::Message;

use super::super::{StoreError, damaged, keyspace};
use super::backend::ListenerChange;
use super::format::{StoredExposure, decode_head, exposure_of, stored_exposure, week_of, weeks_seen};
use crate::model::{Exposure, ListenerKey, ListenerState, WallMs};

const HEADS: &str = "listeners";
const EXPOSURES: &str = "exposures-";

/// The keyspaces of listeners. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rows {
    database: Database,
    heads: Keyspace,
}

impl Rows {
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(Self { database: database.clone(), heads: keyspace(database, HEADS)? })
    }

    /// The listener's state, if there is a row of them.
    pub(super) fn load(&self, key: ListenerKey, now: WallMs) -> Result<Option<ListenerState>, StoreError> {
        let read = |source| StoreError::Read { what: HEADS, source };
        let Some(value) = self.heads.get(key.0).map_err(read)? else { return Ok(None) };
        let mut state = decode_head(&value).ok_or_else(|| damaged(HEADS, &key.0, "not a listener's head"))?;
        for week in weeks_seen(now) {
            let Some(exposures) = self.week(week)? else { continue };
            for row in exposures.prefix(key.0) {
                let (name, value) = row.into_inner().map_err(read)?;
                let exposure = decode_exposure(&name, &value);
                state.exposures.push(exposure.ok_or_else(|| damaged(EXPOSURES, &name, "not an exposure"))?);
            }
        }
        state.exposures.sort_by_key(|exposure| exposure.at);
        let excess = state.exposures.len().saturating_sub(ListenerState::MAX_EXPOSURES);
        state.exposures.drain(..excess);
        Ok(Some(state))
    }

    /// Writes changes, in one batch that a crash of the process does not lose once this returned.
    pub(super) fn apply(&self, changes: &[ListenerChange]) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        // Nearly all of a batch are of one week: it is looked up by name once.
        let mut last: Option<(i64, Keyspace)> = None;
        for change in changes {
            if let Some(head) = &change.head {
                batch.insert(&self.heads, change.key.0, head.as_slice());
            }
            for exposure in &change.put {
                let of = week_of(exposure.at);
                let week = match &last {
                    Some((known, week)) if *known == of => week,
                    Some(_) | None => &last.insert((of, self.week_or_new(of)?)).1,
                };
                batch.insert(week, exposure_key(change.key, exposure), stored_exposure(exposure).encode_to_vec());
            }
            for exposure in &change.gone {
                if let Some(week) = self.week(week_of(exposure.at))? {
                    batch.remove(&week, exposure_key(change.key, exposure));
                }
            }
        }
        batch.commit().map_err(|source| StoreError::Commit { what: HEADS, source })
    }

    /// Deletes a listener, and syncs.
    pub(super) fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        batch.remove(&self.heads, key.0);
        for name in self.weeks() {
            let Some(week) = self.week(name)? else { continue };
            for row in week.prefix(key.0) {
                let name = row.key().map_err(|source| StoreError::Read { what: EXPOSURES, source })?;
                batch.remove(&week, name);
            }
        }
        batch.commit().map_err(|source| StoreError::Commit { what: HEADS, source })?;
        self.sync()
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(|source| StoreError::Commit { what: HEADS, source })
    }

    /// Drops the keyspaces of weeks that no window can see any more; how many.
    pub(super) fn drop_old_weeks(&self, now: WallMs) -> Result<usize, StoreError> {
        let oldest = *weeks_seen(now).start();
        let mut dropped = 0;
        for week in self.weeks().into_iter().filter(|&week| week < oldest) {
            if let Some(exposures) = self.week(week)? {
                let refused = |source| StoreError::Commit { what: EXPOSURES, source };
                self.database.delete_keyspace(exposures).map_err(refused)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    fn weeks(&self) -> Vec<i64> {
        let names = self.database.list_keyspace_names();
        names.iter().filter_map(|name| name.strip_prefix(EXPOSURES)?.parse().ok()).collect()
    }

    fn week(&self, week: i64) -> Result<Option<Keyspace>, StoreError> {
        let exists = self.database.keyspace_exists(&format!("{EXPOSURES}{week}"));
        if exists { self.week_or_new(week).map(Some) } else { Ok(None) }
    }

    fn week_or_new(&self, week: i64) -> Result<Keyspace, StoreError> {
        self.database
            .keyspace(&format!("{EXPOSURES}{week}"), KeyspaceCreateOptions::default)
            .map_err(|source| StoreError::Read { what: EXPOSURES, source })
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

fn exposure_key(key: ListenerKey, exposure: &Exposure) -> Vec<u8> {
    [key.0.as_slice(), exposure.impression_id.to_bytes().as_slice()].concat()
}

fn decode_exposure(name: &[u8], value: &[u8]) -> Option<Exposure> {
    exposure_of(name.get(16..)?, StoredExposure::decode(value).ok()?)
}
