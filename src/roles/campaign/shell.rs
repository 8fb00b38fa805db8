//! The shell of the campaign role: one thread that owns the right to write.
//!
//! Readers share the state behind a lock that the writer holds only to apply what is durable; they never wait for the store.
//!
//! Where servers share the catalogue, what the others do comes by [`CampaignHandle::apply_feed`], within a second, and by [`CampaignHandle::refresh`] for the
//! entities that somebody is about to change or look at. Then nothing is published here: what is committed stands in the store's outbox, and every server
//! learns of it from the feed, this one too.

use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::writer::{Waiting, Writer};
use super::{CatalogState, Command, Outcome, Refusal, Requester};
use crate::catalog::{Entity, EntityId, Revision};
use crate::model::Now;
use crate::roles::api_keys::{LiveKeys, shared_secret};
use crate::store::{CatalogBackend, CatalogStore, KeyRing, Secret, StoreError};

/// Commands that may wait for the writer. A full queue is some hundred milliseconds of work; beyond it the caller is told to come back.
const QUEUE_MAX: usize = 256;

/// What the change feed carries: the entities that changed, whole, parents before children, and the version that they make.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogChange {
    /// The catalogue version after the change.
    pub version: u64,
    /// The entities as they are now.
    pub entities: Vec<Entity>,
}

/// Where changes go once they are durable. Called on the writer's thread, in order of version; the answer to the client waits for it. Never called where
/// servers share the catalogue.
pub type Publish = Box<dyn FnMut(CatalogChange) + Send>;

/// The campaign role as others hold it: reads now, writes through the queue. Cheap to clone.
#[derive(Clone)]
pub struct CampaignHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Waiting>,
}

/// The writer's thread. It ends when every [`CampaignHandle`] is dropped.
#[derive(Debug)]
pub struct CampaignWriter(JoinHandle<()>);

/// What the writer and all handles share.
pub(super) struct Shared {
    pub(super) state: RwLock<CatalogState>,
    pub(super) keys: LiveKeys,
    pub(super) store: CatalogBackend,
}

/// Loads the catalogue, publishes all of it as one change, and starts the writer. It waits for the store: where that is in CQL, not on a thread of the
/// asynchronous runtime.
///
/// # Errors
/// [`StoreError`] when the catalogue can't be loaded.
///
/// # Panics
/// When the operating system gives no thread.
pub fn start(
    store: impl Into<CatalogBackend>,
    key_secret: Secret,
    mut publish: Publish,
) -> Result<(CampaignHandle, CampaignWriter), StoreError> {
    let store = store.into();
    let stored = store.load()?;
    let mut keys = KeyRing::new(shared_secret(&store, key_secret)?);
    for key in stored.keys {
        keys.put(key);
    }
    let (version, mut revisions) = (stored.version, stored.entities);
    // Parents before children, as every change has them.
    revisions.sort_by_cached_key(|revision| revision.entity.id());
    let entities = (!store.is_shared()).then(|| revisions.iter().map(|revision| revision.entity.clone()).collect());
    // Two large structures of the same entities, neither of which asks the other: a start is as long as the longer of them takes.
    let state = thread::scope(|scope| {
        let state = scope.spawn(|| CatalogState::new(version, revisions));
        if let Some(entities) = entities {
            publish(CatalogChange { version, entities });
        }
        state.join().expect("the state is made without a panic")
    });
    let shared = Arc::new(Shared { state: RwLock::new(state), keys: LiveKeys::new(keys), store });
    let (commands, queue) = mpsc::channel(QUEUE_MAX);
    let writer = Writer::new(Arc::clone(&shared), publish);
    // A thread of its own: a synced commit blocks for milliseconds, which no worker of the HTTP server may.
    let thread = thread::Builder::new()
        .name("segue-campaign".to_owned())
        .spawn(move || writer.run(queue))
        .expect("the operating system gives a thread at start");
    Ok((CampaignHandle { shared, commands }, CampaignWriter(thread)))
}

impl CampaignHandle {
    /// Gives a command to the writer and waits until it is durable and published, or refused.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    pub async fn submit(&self, command: Command, author: Requester, now: Now) -> Result<Outcome, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(Waiting::new(command, author, now, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Broken,
        })?;
        answered.await.unwrap_or(Err(Refusal::Broken))
    }

    /// As [`submit`](Self::submit), for callers outside the asynchronous runtime; waits for room in the queue.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed.
    ///
    /// # Panics
    /// When called from within the runtime, which it would block.
    pub fn submit_blocking(&self, command: Command, author: Requester, now: Now) -> Result<Outcome, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.commands.blocking_send(Waiting::new(command, author, now, answer)).map_err(|_| Refusal::Broken)?;
        answered.blocking_recv().unwrap_or(Err(Refusal::Broken))
    }

    /// Puts many entities there at once, on Segue's own account: all of them or, when one breaks a rule, none.
    ///
    /// # Errors
    /// [`Refusal`], with paths such as `entities[12].name`.
    pub fn import(&self, entities: Vec<Entity>, now: Now) -> Result<Outcome, Refusal> {
        self.submit_blocking(Command::Import { entities }, Requester::Segue, now)
    }

    /// Looks at the durable catalogue. The writer waits as long: look, don't work.
    pub fn read<R>(&self, look: impl FnOnce(&CatalogState) -> R) -> R {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what the change feed says: what this server does not know yet. `version` is the feed's after it.
    pub fn apply_feed(&self, version: u64, revisions: &[Arc<Revision>]) {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner).take_in(version, revisions);
    }

    /// Where servers share the catalogue, looks up these entities in the store, so that what is about to be judged or shown is not what another server has
    /// changed a moment ago. Else it returns at once.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the store does not answer.
    pub async fn refresh(&self, ids: Vec<EntityId>) -> Result<(), Refusal> {
        if ids.is_empty() || !self.shared.store.is_shared() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        // The store may block: on a thread that may.
        let refreshed = tokio::task::spawn_blocking(move || shared.refresh(&ids)).await;
        refreshed.unwrap_or(Err(Refusal::Unavailable))
    }

    /// The API keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.shared.keys.load()
    }

    /// The API keys, as they go on changing.
    #[must_use]
    pub fn live_keys(&self) -> LiveKeys {
        self.shared.keys.clone()
    }

    /// Revisions of an entity, newest first; reads the disk.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    pub fn history(&self, id: EntityId, before: Option<u64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.shared.store.history(id, before, limit)
    }

    /// Whether the writer still takes commands. It stops for good when the store fails, and when it is told to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }
}

impl Shared {
    /// Takes the store's word for these entities. Blocks.
    pub(super) fn refresh(&self, ids: &[EntityId]) -> Result<(), Refusal> {
        match self.store.newest(ids) {
            Ok(newest) => {
                self.state.write().unwrap_or_else(PoisonError::into_inner).take_in(0, &newest);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the catalogue's store does not answer");
                Err(Refusal::Unavailable)
            }
        }
    }
}

impl std::fmt::Debug for CampaignHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CampaignHandle").field("version", &self.read(CatalogState::version)).finish_non_exhaustive()
    }
}

impl CampaignWriter {
    /// Waits until the writer has ended; drop the handles first.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the campaign writer ended in a panic");
        }
    }
}
