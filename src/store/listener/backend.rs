//! What is asked of a listeners' store, and the two that there are.

use std::future::Future;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fjall::Database;

use super::super::StoreError;
use super::super::cql::{CqlConnection, CqlSession, CqlTrouble};
use super::cql::CqlListeners;
use super::embedded::EmbeddedListeners;
use super::format;
use super::profile::TasteRow;
use crate::caps::strict::{Outcome, Reservation};
use crate::model::{Exposure, ListenerKey, ListenerState, Profile, Pseudonym, StrictRow, TimedSegment, WallMs};
use crate::profile::Taste;

/// Changes that may wait for a writer: some seconds of a busy server's breaks. Beyond it changes are dropped.
pub(super) const QUEUE: usize = 16_384;
/// Reservations that may wait: some group commits of a slow disk. At most 60 kB each, and a kilobyte as a rule.
pub(super) const RESERVATIONS: usize = 1_024;

/// Why a reservation has no verdict. Whether it was or will be written is not known, except where it says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReserveError {
    /// Too many wait already; it was not written.
    #[error("{RESERVATIONS} conditional writes wait already")]
    Busy,
    /// The store failed, or did not answer in time.
    #[error("the store failed during a conditional write")]
    Failed,
}

/// Where listeners' rows are. Several servers may work on one store, if it says so by [`Self::max_age_ms`].
pub trait ListenerStore: Send + Sync {
    /// The rows of a listener that windows can see at that time.
    fn load(&self, key: ListenerKey, now: WallMs) -> impl Future<Output = Result<StoredListener, StoreError>> + Send;

    /// Gives a listener of whom there is no head a pseudonym. Theirs from now on: this one, or the one that another server was first to give.
    fn establish(
        &self,
        key: ListenerKey,
        pseudonym: Pseudonym,
    ) -> impl Future<Output = Result<Pseudonym, StoreError>> + Send;

    /// Hands a change over to be written; drops and counts it when the writer is behind. Never waits.
    fn offer(&self, change: ListenerChange);

    /// The listener's strict row as the last accepted reservation left it; a row without version where there is none.
    fn read_strict(&self, key: ListenerKey) -> impl Future<Output = Result<StrictRow, StoreError>> + Send;

    /// Writes the listener's strict row if it has the version that the reservation expects. When this says accepted, it is durable (INV-31).
    fn reserve(
        &self,
        key: ListenerKey,
        reservation: Reservation,
    ) -> impl Future<Output = Result<Outcome, ReserveError>> + Send;

    /// The listener's taste as it is stored.
    fn read_taste(&self, key: ListenerKey) -> impl Future<Output = Result<TasteRow, StoreError>> + Send;

    /// Writes a taste if the one before is still stored; whether it was. [`Self::flush`] makes it durable. After an error nobody knows whether it was
    /// written: read it again.
    fn replace_taste(
        &self,
        key: ListenerKey,
        before: TasteRow,
        taste: Taste,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Puts a listener into a segment, or says anew until when. [`Self::flush`] makes it durable.
    fn put_segment(
        &self,
        key: ListenerKey,
        segment: TimedSegment,
        now: WallMs,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes all rows of a listener, also of changes handed over before; durable when this returns.
    fn forget(&self, key: ListenerKey, now: WallMs) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Waits until all changes handed over before are durable.
    fn flush(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Drops what no window can see any more, where that does not happen by itself; how many weeks.
    fn drop_too_old(&self, now: WallMs) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Changes that were not written: the writer was behind, or could not.
    fn dropped(&self) -> u64;

    /// How old a copy in memory may be before it is read again, in milliseconds; none where nobody else writes.
    fn max_age_ms(&self) -> Option<i64>;

    /// How long reading again is waited for, in milliseconds, before the copy is used as it is.
    fn read_wait_ms(&self) -> u64;
}

/// What is stored of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredListener {
    /// All but the strict row; none when nobody is stored by that key.
    pub state: Option<ListenerState>,
    /// The strict row: by itself, so that a listener whose other rows were lost keeps it.
    pub strict: StrictRow,
    /// What targeting may know: by itself, because it may be told of somebody who has not asked for a break yet.
    pub profile: Profile,
}

/// What changed of one listener.
#[derive(Debug)]
pub struct ListenerChange {
    pub(super) key: ListenerKey,
    pub(super) pseudonym: Pseudonym,
    /// The head row as it is now, if it changed.
    pub(super) head: Option<Vec<u8>>,
    /// Exposures that are new or changed.
    pub(super) put: Vec<Exposure>,
    /// Exposures that are gone.
    pub(super) gone: Vec<Exposure>,
    /// Exposures of a listener who was forgotten elsewhere: not even heard ones stay.
    pub(super) erased: Vec<Exposure>,
    pub(super) receipt: Receipt,
}

impl ListenerChange {
    /// The whole head of a state, and exposures that are new or changed, and gone.
    #[must_use]
    pub fn new(key: ListenerKey, state: &ListenerState, put: Vec<Exposure>, gone: Vec<Exposure>) -> Self {
        let head = Some(format::encode_head(state));
        Self { head, ..Self::of_exposures(key, state.pseudonym, put, gone) }
    }

    /// Exposures that are new or changed, and gone; the head is as it was.
    pub(super) fn of_exposures(
        key: ListenerKey,
        pseudonym: Pseudonym,
        put: Vec<Exposure>,
        gone: Vec<Exposure>,
    ) -> Self {
        Self { key, pseudonym, head: None, put, gone, erased: Vec::new(), receipt: Receipt::default() }
    }

    /// Whether there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_none() && self.put.is_empty() && self.gone.is_empty() && self.erased.is_empty()
    }
}

/// What became of a change.
#[derive(Clone, Default, Debug)]
pub(super) struct Fate(Arc<AtomicU8>);

const WAITS: u8 = 0;
const WRITTEN: u8 = 1;
const FAILED: u8 = 2;

impl Fate {
    // Acquire, with the release of whoever settled it: what was durable then is seen by a read that starts after this.
    pub(super) fn is_written(&self) -> bool {
        self.0.load(Ordering::Acquire) == WRITTEN
    }

    pub(super) fn is_failed(&self) -> bool {
        self.0.load(Ordering::Acquire) == FAILED
    }
}

/// Tells a change's fate: written when it says so, failed when it is dropped before.
#[derive(Default, Debug)]
pub(super) struct Receipt(Fate);

impl Receipt {
    pub(super) fn fate(&self) -> Fate {
        self.0.clone()
    }

    pub(super) fn written(self) {
        self.0.0.store(WRITTEN, Ordering::Release);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // Only from "waits": what was written stays so.
        let _ = self.0.0.compare_exchange(WAITS, FAILED, Ordering::Release, Ordering::Relaxed);
    }
}

/// The store of listeners that was chosen. Cheap to clone: clones are one store.
#[derive(Clone, Debug)]
pub enum ListenerBackend {
    /// In the embedded database of one server.
    Embedded(EmbeddedListeners),
    /// In CQL, shared by servers.
    Cql(CqlListeners),
    /// In CQL, which may not have been reached yet.
    Late(LateListeners),
}

/// Listeners in CQL for a server that starts while that is away. Until it is [reached](Self::reached) nobody can be read, and changes are dropped and
/// counted. Clones are one store.
#[derive(Clone, Debug)]
pub struct LateListeners {
    reached: Arc<OnceLock<CqlListeners>>,
    dropped: Arc<AtomicU64>,
    max_age_ms: i64,
    read_wait_ms: u64,
    hosts: String,
}

impl LateListeners {
    /// A store at this address that was not reached yet.
    #[must_use]
    pub fn new(connection: &CqlConnection) -> Self {
        Self {
            reached: Arc::default(),
            dropped: Arc::default(),
            max_age_ms: i64::try_from(connection.listener_max_age_ms).unwrap_or(i64::MAX),
            read_wait_ms: connection.read_timeout_ms,
            hosts: connection.hosts.join(","),
        }
    }

    /// It was reached: from now on it is used.
    ///
    /// # Errors
    /// [`StoreError::Cql`] when the statements can't be prepared.
    pub async fn reached(&self, session: &CqlSession) -> Result<(), StoreError> {
        let opened = CqlListeners::open(session).await?;
        // Reached twice: the first one stays.
        let _ = self.reached.set(opened);
        Ok(())
    }

    fn there(&self) -> Result<&CqlListeners, StoreError> {
        self.reached.get().ok_or_else(|| {
            let (hosts, reason) = (self.hosts.clone(), "not reached since the start".to_owned());
            CqlTrouble::Unreachable { hosts, reason }.into()
        })
    }
}

impl ListenerStore for LateListeners {
    async fn load(&self, key: ListenerKey, now: WallMs) -> Result<StoredListener, StoreError> {
        self.there()?.load(key, now).await
    }

    async fn establish(&self, key: ListenerKey, pseudonym: Pseudonym) -> Result<Pseudonym, StoreError> {
        self.there()?.establish(key, pseudonym).await
    }

    fn offer(&self, change: ListenerChange) {
        match self.reached.get() {
            Some(store) => store.offer(change),
            // A count, ordered with nothing.
            None => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    async fn read_strict(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        self.there()?.read_strict(key).await
    }

    async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        let Ok(store) = self.there() else { return Err(ReserveError::Failed) };
        store.reserve(key, reservation).await
    }

    async fn read_taste(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        self.there()?.read_taste(key).await
    }

    async fn replace_taste(&self, key: ListenerKey, before: TasteRow, taste: Taste) -> Result<bool, StoreError> {
        self.there()?.replace_taste(key, before, taste).await
    }

    async fn put_segment(&self, key: ListenerKey, segment: TimedSegment, now: WallMs) -> Result<(), StoreError> {
        self.there()?.put_segment(key, segment, now).await
    }

    async fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), StoreError> {
        self.there()?.forget(key, now).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let Some(store) = self.reached.get() else { return Ok(()) };
        store.flush().await
    }

    async fn drop_too_old(&self, now: WallMs) -> Result<usize, StoreError> {
        let Some(store) = self.reached.get() else { return Ok(0) };
        store.drop_too_old(now).await
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.reached.get().map_or(0, ListenerStore::dropped)
    }

    fn max_age_ms(&self) -> Option<i64> {
        Some(self.max_age_ms)
    }

    fn read_wait_ms(&self) -> u64 {
        self.read_wait_ms
    }
}

impl ListenerBackend {
    /// Opens the embedded rows and starts their writers.
    ///
    /// # Errors
    /// [`StoreError`] when the keyspaces can't be opened.
    pub fn embedded(database: &Database) -> Result<Self, StoreError> {
        EmbeddedListeners::open(database).map(Self::Embedded)
    }

    /// Prepares the statements in CQL and starts the writer, on the session's runtime.
    ///
    /// # Errors
    /// [`StoreError::Cql`].
    pub async fn cql(session: &CqlSession) -> Result<Self, StoreError> {
        CqlListeners::open(session).await.map(Self::Cql)
    }
}

macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Embedded($store) => $call,
            Self::Cql($store) => $call,
            Self::Late($store) => $call,
        }
    };
}

impl ListenerStore for ListenerBackend {
    async fn load(&self, key: ListenerKey, now: WallMs) -> Result<StoredListener, StoreError> {
        either!(self, store => store.load(key, now).await)
    }

    async fn establish(&self, key: ListenerKey, pseudonym: Pseudonym) -> Result<Pseudonym, StoreError> {
        either!(self, store => store.establish(key, pseudonym).await)
    }

    fn offer(&self, change: ListenerChange) {
        either!(self, store => store.offer(change));
    }

    async fn read_strict(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        either!(self, store => store.read_strict(key).await)
    }

    async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        either!(self, store => store.reserve(key, reservation).await)
    }

    async fn read_taste(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        either!(self, store => store.read_taste(key).await)
    }

    async fn replace_taste(&self, key: ListenerKey, before: TasteRow, taste: Taste) -> Result<bool, StoreError> {
        either!(self, store => store.replace_taste(key, before, taste).await)
    }

    async fn put_segment(&self, key: ListenerKey, segment: TimedSegment, now: WallMs) -> Result<(), StoreError> {
        either!(self, store => store.put_segment(key, segment, now).await)
    }

    async fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), StoreError> {
        either!(self, store => store.forget(key, now).await)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        either!(self, store => store.flush().await)
    }

    async fn drop_too_old(&self, now: WallMs) -> Result<usize, StoreError> {
        either!(self, store => store.drop_too_old(now).await)
    }

    fn dropped(&self) -> u64 {
        either!(self, store => store.dropped())
    }

    fn max_age_ms(&self) -> Option<i64> {
        either!(self, store => store.max_age_ms())
    }

    fn read_wait_ms(&self) -> u64 {
        either!(self, store => store.read_wait_ms())
    }
}
