//! Listeners: their state in memory, and its rows on disk behind it.
//!
//! A decision reads and changes a listener's state in memory, under that listener's own lock. What changed is handed to one writer thread that
//! puts it into the embedded database in batches. Nothing waits for that: soft caps may forget the last moments in a crash, and when the disk
//! falls behind a change is dropped and counted. The rows are described in `rows`.
//!
//! What strict caps count is in a row of its own that [`Listeners::reserve`] writes, on a condition and durably, before the break is answered
//! (`strict`). Whoever decides for a listener has the listener's [turn](Listener::turn) until it is answered, so that in one process no two decisions
//! race, and two copies of one request get one answer.
//!
//! A session's state is kept in memory only: nobody who may not be known leaves a row.

mod rows;
mod strict;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::Database;
use quick_cache::sync::Cache;

use self::rows::Rows;
pub use self::strict::ReserveError;
use self::strict::StrictRows;
use self::writer::{Change, Writer};
use super::StoreError;
use crate::caps;
use crate::caps::strict::{Outcome, Reservation};
use crate::entropy::Entropy;
use crate::model::{Exposure, ListenerKey, ListenerState, Pseudonym, WallMs};

/// One listener in memory.
#[derive(Debug)]
pub struct Listener {
    key: ListenerKey,
    state: Mutex<ListenerState>,
    /// Held by who decides for the listener, also while a conditional write is waited for. Fair: devices get their turns in order.
    turn: tokio::sync::Mutex<()>,
}

/// What became of changes and look-ups since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ListenerCounts {
    /// Look-ups answered from memory.
    pub hits: u64,
    /// Look-ups that had to read the disk, or found nobody.
    pub misses: u64,
    /// Changes that were not written because the writer was behind.
    pub dropped: u64,
}

/// All listeners: the ones in use in memory, the others on disk.
#[derive(Debug)]
pub struct Listeners {
    cache: Cache<ListenerKey, Arc<Listener>>,
    rows: Rows,
    writer: Writer,
    strict: StrictRows,
    entropy: Entropy,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Listeners {
    /// Opens the rows in the database and starts the writer; `in_memory` listeners are kept in memory at most.
    ///
    /// # Errors
    /// [`StoreError`] when the keyspaces can't be opened.
    pub fn open(database: &Database, in_memory: usize, entropy: Entropy) -> Result<Self, StoreError> {
        let rows = Rows::open(database)?;
        let writer = Writer::start(rows.clone());
        Ok(Self {
            cache: Cache::new(in_memory),
            rows,
            writer,
            strict: StrictRows::open(database)?,
            entropy,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// The listener, if in memory. Never waits.
    #[must_use]
    pub fn cached(&self, key: ListenerKey) -> Option<Arc<Listener>> {
        let found = self.cache.get(&key);
        // Relaxed: a count, ordered with nothing.
        if found.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// The listener, read from disk where not in memory; somebody new where nowhere. May wait for the disk: not for a request's thread.
    ///
    /// # Errors
    /// [`StoreError`] when the rows can't be read.
    pub fn load(&self, key: ListenerKey, now: WallMs) -> Result<Arc<Listener>, StoreError> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.cache.get_or_insert_with(&key, || {
            let stored = if key.is_session() { None } else { self.rows.load(key, now)? };
            let mut state = stored.unwrap_or_else(|| self.somebody_new());
            if !key.is_session() {
                // By itself: a listener whose other rows were lost keeps it.
                caps::strict::adopt(&mut state.strict, self.strict.read(key)?);
            }
            Ok(Arc::new(Listener { key, state: Mutex::new(state), turn: tokio::sync::Mutex::new(()) }))
        })
    }

    /// Writes the listener's strict row if it has the version that the reservation expects. When this says accepted, it is on disk (INV-31). Who
    /// stops waiting does not know whether it was written.
    ///
    /// # Errors
    /// [`ReserveError`] when there is no verdict; then too nobody knows, unless it says so.
    pub async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        debug_assert!(!key.is_session(), "nothing of a session is kept");
        self.strict.reserve(key, reservation).await
    }

    /// Runs `change` on the listener's state, alone, and hands what changed to the writer.
    pub fn with<R>(&self, listener: &Listener, change: impl FnOnce(&mut ListenerState) -> R) -> R {
        let mut state = listener.lock();
        let before = state.exposures.clone();
        let result = change(&mut state);
        if !listener.key.is_session() {
            self.writer.offer(changed(listener.key, &before, &state));
        }
        result
    }

    /// Forgets a listener: their rows are gone from disk when this returns, and whoever comes with that key is somebody new, under a new
    /// pseudonym. May wait for the disk, and for whoever has the listener's turn: not for an asynchronous thread.
    ///
    /// # Errors
    /// [`StoreError`] when the rows could not be deleted; the state in memory is forgotten all the same.
    pub fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), StoreError> {
        let listener = self.load(key, now)?;
        // Whoever is being answered now is answered first, so that nothing of the old state comes after this.
        let _turn = listener.turn.blocking_lock();
        // The lock is held until the rows are gone, so that no change of the old state can follow.
        let mut state = listener.lock();
        *state = self.somebody_new();
        self.strict.forget(key)?;
        self.writer.forget(key)
    }

    /// Waits until everything handed over so far is written and synced.
    ///
    /// # Errors
    /// [`StoreError`] when the disk refused.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.writer.flush()
    }

    /// Drops rows of weeks that no window can see any more.
    ///
    /// # Errors
    /// [`StoreError`] when a keyspace could not be dropped.
    pub fn drop_old_weeks(&self, now: WallMs) -> Result<usize, StoreError> {
        self.rows.drop_old_weeks(now)
    }

    /// What became of changes and look-ups.
    #[must_use]
    pub fn counts(&self) -> ListenerCounts {
        ListenerCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            dropped: self.writer.dropped(),
        }
    }

    fn somebody_new(&self) -> ListenerState {
        ListenerState::new(Pseudonym(self.entropy.bytes()))
    }
}

impl Listener {
    /// Waits until nobody else decides for the listener, and keeps others out until the turn is dropped.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn lock(&self) -> MutexGuard<'_, ListenerState> {
        // A panic under the lock leaves a state that is whole, if stale: changes are applied by pure functions that don't panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What differs between the exposures before and the state now.
fn changed(key: ListenerKey, before: &[Exposure], state: &ListenerState) -> Change {
    let put = state.exposures.iter().filter(|exposure| !before.contains(exposure)).copied().collect();
    let still = |old: &Exposure| state.exposures.iter().any(|new| new.impression_id == old.impression_id);
    let gone = before.iter().filter(|old| !still(old)).copied().collect();
    Change { key, head: rows::encode_head(state), put, gone }
}

#[cfg(test)]
mod tests;
