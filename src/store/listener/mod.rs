//! Listeners: their state in memory, and its rows in a store behind it.
//!
//! A decision reads and changes a listener's state in memory, under that listener's own lock. What changed is handed to the store's writer, which puts it
//! there in batches. Nothing waits for that: soft caps may forget the last moments in a crash, and when the store falls behind a change is dropped and
//! counted. There are two stores ([`ListenerBackend`]): the embedded database of one server (`embedded`), and CQL, which servers share (`cql`). What
//! both are asked is [`ListenerStore`].
//!
//! Where servers share a store, a copy in memory is used until it is `cql.listener_max_age_ms` old, then read again and merged (`known`). If that fails or
//! is late, the copy is used as it is: soft caps fail open. A listener who comes to two servers by turns, as when one takes over from another, can
//! so exceed a soft cap by what one server decided within that age.
//!
//! What strict caps count is in a row of its own that [`Listeners::reserve`] writes, on a condition and durably, before the break is answered. Whoever
//! decides for a listener has the listener's [turn](Listener::turn) until it is answered, so that in one process no two decisions race, and two copies
//! of one request get one answer. Between processes the condition alone decides.
//!
//! A listener's profile is read with their rows; others write it: the profile role what they like, an operator the segments they are in.
//!
//! A session's state is kept in memory only: nobody who may not be known leaves a row.

mod backend;
mod cql;
mod embedded;
mod format;
mod known;
mod profile;
mod rows;
mod strict;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;

pub use self::backend::{LateListeners, ListenerBackend, ListenerChange, ListenerStore, ReserveError, StoredListener};
pub use self::cql::CqlListeners;
pub use self::embedded::EmbeddedListeners;
use self::known::Known;
pub use self::profile::TasteRow;
use super::StoreError;
use super::cql::CqlTrouble;
use crate::caps::strict::{Outcome, Reservation};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{ListenerKey, ListenerState, Pseudonym, WallMs};
use crate::patience::Seldom;

/// How often a listener is read who is forgotten meanwhile.
const READS_MAX: u32 = 4;

/// One listener in memory.
#[derive(Debug)]
pub struct Listener {
    key: ListenerKey,
    known: Mutex<Known>,
    /// Held by who decides for the listener, also while a conditional write is waited for. Fair: devices get their turns in order.
    turn: tokio::sync::Mutex<()>,
    /// Held by who reads them again, so that one does.
    reading: tokio::sync::Mutex<()>,
}

/// What became of changes and look-ups since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ListenerCounts {
    /// Look-ups answered from memory.
    pub hits: u64,
    /// Look-ups that had to read the store, or found nobody.
    pub misses: u64,
    /// Look-ups that read a copy again because it was old.
    pub renewals: u64,
    /// Those of them that could not, and used the copy as it was.
    pub renewals_failed: u64,
    /// Changes that were not written because the writer was behind, or could not.
    pub dropped: u64,
}

/// All listeners: the ones in use in memory, the others in the store.
#[derive(Debug)]
pub struct Listeners {
    cache: Cache<ListenerKey, Arc<Listener>>,
    store: ListenerBackend,
    entropy: Entropy,
    hits: AtomicU64,
    misses: AtomicU64,
    renewals: AtomicU64,
    renewals_failed: AtomicU64,
    /// Of this machine, for the log.
    clock: Clock,
    not_renewed: Seldom,
}

impl Listeners {
    /// Listeners over a store; `in_memory` of them are kept in memory at most.
    #[must_use]
    pub fn open(store: ListenerBackend, in_memory: usize, entropy: Entropy) -> Self {
        Self {
            cache: Cache::new(in_memory),
            store,
            entropy,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            renewals_failed: AtomicU64::new(0),
            clock: Clock::real(),
            not_renewed: Seldom::default(),
        }
    }

    /// The listener, if in memory and not too old. Never waits.
    #[must_use]
    pub fn cached(&self, key: ListenerKey, now: WallMs) -> Option<Arc<Listener>> {
        let found = self.cache.get(&key).filter(|listener| self.is_fresh(listener, now));
        // Relaxed, here and below: a count, ordered with nothing.
        if found.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// The listener, read from the store where not in memory; somebody new where nowhere. One whose copy is old is read again, and is the old copy where
    /// that fails or is late.
    ///
    /// # Errors
    /// [`StoreError`] when the rows can't be read, and never were.
    pub async fn load(&self, key: ListenerKey, now: WallMs) -> Result<Arc<Listener>, StoreError> {
        let mut is_new = false;
        let first = async {
            is_new = true;
            self.misses.fetch_add(1, Ordering::Relaxed);
            let listener = Arc::new(self.unread(key));
            if !key.is_session() {
                // Boxed, here and below: the driver's futures are large, and a hit needs none.
                Box::pin(self.read(&listener, now)).await?;
            }
            Ok::<_, StoreError>(listener)
        };
        let listener = self.cache.get_or_insert_async(&key, first).await?;
        if !is_new && !self.is_fresh(&listener, now) {
            self.renew(&listener, now).await?;
        }
        Ok(listener)
    }

    /// Reads a listener again, unless somebody else has meanwhile.
    async fn renew(&self, listener: &Listener, now: WallMs) -> Result<(), StoreError> {
        let timeout_ms = self.store.read_wait_ms();
        let renewal = async {
            let _reading = listener.reading.lock().await;
            if self.is_fresh(listener, now) {
                return Ok(());
            }
            self.renewals.fetch_add(1, Ordering::Relaxed);
            Box::pin(self.read(listener, now)).await
        };
        let renewed = tokio::time::timeout(Duration::from_millis(timeout_ms), renewal).await.unwrap_or_else(|_| {
            Err(CqlTrouble::Late { doing: "read a listener again", timeout_ms: timeout_ms.into() }.into())
        });
        let Err(error) = renewed else { return Ok(()) };
        if !listener.lock().put_off(now) {
            return Err(error);
        }
        self.renewals_failed.fetch_add(1, Ordering::Relaxed);
        if let Some(others) = self.not_renewed.happens(self.clock.now().monotonic) {
            tracing::warn!(%error, others, "a listener could not be read again; what is known of them is used");
        }
        Ok(())
    }

    /// Reads the listener, and merges what is stored with what is known.
    async fn read(&self, listener: &Listener, now: WallMs) -> Result<(), StoreError> {
        for _ in 0..READS_MAX {
            let mut begun = listener.lock().begin();
            let mut stored = self.store.load(listener.key, now).await?;
            if stored.state.is_none() {
                let candidate = begun.candidate.unwrap_or_else(|| self.pseudonym());
                let pseudonym = self.store.establish(listener.key, candidate).await?;
                if pseudonym == candidate {
                    stored.state = Some(ListenerState::new(pseudonym));
                    begun.is_stored = self.is_shared();
                } else {
                    // Another server met them first, and may have written more.
                    stored = self.store.load(listener.key, now).await?;
                }
            }
            // None again: forgotten between the two.
            let Some(mut state) = stored.state else { continue };
            state.profile = stored.profile;
            let taken = listener.lock().take_over(listener.key, begun, state, stored.strict, now);
            if let Ok(change) = taken {
                if let Some(change) = change.filter(|_| self.is_shared()) {
                    self.store.offer(change);
                }
                return Ok(());
            }
        }
        let reason = "they are forgotten again and again".to_owned();
        Err(CqlTrouble::Other { doing: "read a listener", reason }.into())
    }

    /// Writes the listener's strict row if it has the version that the reservation expects. When this says accepted, it is durable (INV-31). Who
    /// stops waiting does not know whether it was written.
    ///
    /// # Errors
    /// [`ReserveError`] when there is no verdict; then too nobody knows, unless it says so.
    pub async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        debug_assert!(!key.is_session(), "nothing of a session is kept");
        self.store.reserve(key, reservation).await
    }

    /// Runs `change` on the listener's state, alone, and hands what changed to the writer.
    pub fn with<R>(&self, listener: &Listener, change: impl FnOnce(&mut ListenerState) -> R) -> R {
        let mut known = listener.lock();
        let before = known.state.exposures.clone();
        let result = change(&mut known.state);
        if !listener.key.is_session()
            && let Some(change) = known.changed(listener.key, &before, self.is_shared())
        {
            self.store.offer(change);
        }
        result
    }

    /// Looks at the listener's state, alone, and changes nothing.
    pub fn look<R>(&self, listener: &Listener, look: impl FnOnce(&ListenerState) -> R) -> R {
        look(&listener.lock().state)
    }

    /// Forgets a listener: their rows are gone when this returns, and whoever comes with that key is somebody new, under a new pseudonym. Waits for
    /// whoever has the listener's turn. Another server's copy goes when it is read again, and nothing that is written of it until then is read.
    ///
    /// # Errors
    /// [`StoreError`] when the rows could not be deleted; the state in memory is forgotten all the same.
    pub async fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), StoreError> {
        let nobody = async { Ok::<_, StoreError>(Arc::new(self.unread(key))) };
        let listener = self.cache.get_or_insert_async(&key, nobody).await?;
        // Whoever is being answered now is answered first, so that nothing of the old state comes after this.
        let _turn = listener.turn.lock().await;
        // In this order: what is handed over from now on is of the new state, and all of the old one was before.
        listener.lock().forget(self.pseudonym());
        self.store.forget(key, now).await
    }

    /// Waits until everything handed over so far is durable.
    ///
    /// # Errors
    /// [`StoreError`] when the store refused.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }

    /// Drops rows of weeks that no window can see any more, where they don't go by themselves.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be dropped.
    pub async fn drop_old_weeks(&self, now: WallMs) -> Result<usize, StoreError> {
        self.store.drop_too_old(now).await
    }

    /// What became of changes and look-ups.
    #[must_use]
    pub fn counts(&self) -> ListenerCounts {
        ListenerCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            renewals: self.renewals.load(Ordering::Relaxed),
            renewals_failed: self.renewals_failed.load(Ordering::Relaxed),
            dropped: self.store.dropped(),
        }
    }

    fn is_shared(&self) -> bool {
        self.store.max_age_ms().is_some()
    }

    fn is_fresh(&self, listener: &Listener, now: WallMs) -> bool {
        let is_fresh = |max_age_ms| listener.key.is_session() || listener.lock().is_fresh(now, max_age_ms);
        self.store.max_age_ms().is_none_or(is_fresh)
    }

    fn unread(&self, key: ListenerKey) -> Listener {
        Listener {
            key,
            known: Mutex::new(Known::unread(self.pseudonym())),
            turn: tokio::sync::Mutex::new(()),
            reading: tokio::sync::Mutex::new(()),
        }
    }

    fn pseudonym(&self) -> Pseudonym {
        Pseudonym(self.entropy.bytes())
    }
}

impl Listener {
    /// Waits until nobody else decides for the listener, and keeps others out until the turn is dropped.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic under the lock leaves a state that is whole, if stale: changes are applied by pure functions that don't panic half way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
