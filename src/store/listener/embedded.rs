//! Listeners in the embedded database of one server: `rows`, written by one thread in batches, and `strict`, group-committed by another. The calls that
//! wait for the disk run on threads that may wait.

use std::sync::Arc;

use fjall::Database;

use super::super::StoreError;
use super::backend::{ListenerChange, ListenerStore, ReserveError, StoredListener};
use super::profile::{ProfileRows, TasteRow};
use super::rows::Rows;
use super::strict::StrictRows;
use super::writer::Writer;
use crate::caps::strict::{Outcome, Reservation};
use crate::model::{ListenerKey, Pseudonym, StrictRow, TimedSegment, WallMs};
use crate::profile::Taste;

/// The rows and the threads that write them. Clones are one store; the last one writes what is left and ends the threads.
#[derive(Clone, Debug)]
pub struct EmbeddedListeners(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rows: Rows,
    profiles: ProfileRows,
    writer: Writer,
    strict: StrictRows,
}

impl EmbeddedListeners {
    /// Opens the rows in the database and starts the threads.
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        let rows = Rows::open(database)?;
        let writer = Writer::start(rows.clone());
        let profiles = ProfileRows::open(database)?;
        Ok(Self(Arc::new(Inner { rows, profiles, writer, strict: StrictRows::open(database)? })))
    }

    /// Runs what waits for the disk.
    async fn wait<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or(Err(StoreError::WriterGone { what: "listeners" }))
    }
}

impl ListenerStore for EmbeddedListeners {
    async fn load(&self, key: ListenerKey, now: WallMs) -> Result<StoredListener, StoreError> {
        self.wait(move |inner| {
            let (state, strict) = (inner.rows.load(key, now)?, inner.strict.read(key)?);
            Ok(StoredListener { state, strict, profile: inner.profiles.load(key, now)? })
        })
        .await
    }

    async fn establish(&self, _key: ListenerKey, pseudonym: Pseudonym) -> Result<Pseudonym, StoreError> {
        // Nobody else could give another; it is written with the first change.
        Ok(pseudonym)
    }

    fn offer(&self, change: ListenerChange) {
        self.0.writer.offer(change);
    }

    async fn read_strict(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        self.wait(move |inner| inner.strict.read(key)).await
    }

    async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        self.0.strict.reserve(key, reservation).await
    }

    async fn forget(&self, key: ListenerKey, _now: WallMs) -> Result<(), StoreError> {
        self.wait(move |inner| {
            inner.strict.forget(key)?;
            // The writer syncs after it has deleted the rest.
            inner.profiles.forget(key)?;
            inner.writer.forget(key)
        })
        .await
    }

    async fn read_taste(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        self.wait(move |inner| inner.profiles.read(key)).await
    }

    async fn replace_taste(&self, key: ListenerKey, before: TasteRow, taste: Taste) -> Result<bool, StoreError> {
        self.wait(move |inner| inner.profiles.replace(key, &before, &taste)).await
    }

    async fn put_segment(&self, key: ListenerKey, segment: TimedSegment, _now: WallMs) -> Result<(), StoreError> {
        self.wait(move |inner| inner.profiles.put(key, &segment)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.wait(|inner| inner.writer.flush()).await
    }

    async fn drop_too_old(&self, now: WallMs) -> Result<usize, StoreError> {
        self.wait(move |inner| inner.rows.drop_old_weeks(now)).await
    }

    fn dropped(&self) -> u64 {
        self.0.writer.dropped()
    }

    fn max_age_ms(&self) -> Option<i64> {
        None
    }

    fn read_wait_ms(&self) -> u64 {
        0
    }
}
