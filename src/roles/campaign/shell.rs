//! The shell of the campaign role: one thread that owns the right to write.
//!
//! It takes what commands are waiting (at most [`GROUP_MAX`]), judges them one after the other, makes what they change durable in one
//! synced batch, applies it to the shared state, hands it to the change feed, and then answers each. Readers share the state behind a
//! lock that the writer holds only to apply; they never wait for the disk.

use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::{CampaignRole, CatalogState, Command, Group, Outcome, Refusal, Requester};
use crate::catalog::{Entity, EntityId, Revision};
use crate::model::Now;
use crate::store::{CatalogStore, KeyRing, Secret, StoreError};

/// Commands that may wait for the writer. A full queue is some hundred milliseconds of work; beyond it the caller is told to come back.
const QUEUE_MAX: usize = 256;
/// Most commands made durable together. At a few milliseconds a sync this is more than ten thousand changes a second.
const GROUP_MAX: usize = 64;

/// What the change feed carries: the entities that changed, whole, parents before children, and the version that they make.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogChange {
    /// The catalogue version after the change.
    pub version: u64,
    /// The entities as they are now.
    pub entities: Vec<Entity>,
}

/// Where changes go once they are durable. Called on the writer's thread, in order of version; the answer to the client waits for it.
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

struct Shared {
    state: RwLock<CatalogState>,
    /// Read on every request of a player, changed a few times a year.
    keys: ArcSwap<KeyRing>,
    store: CatalogStore,
}

struct Waiting {
    command: Command,
    author: Requester,
    now: Now,
    answer: oneshot::Sender<Result<Outcome, Refusal>>,
}

/// Loads the catalogue, publishes all of it as one change, and starts the writer.
///
/// # Errors
/// [`StoreError`] when the catalogue can't be loaded.
///
/// # Panics
/// When the operating system gives no thread.
pub fn start(
    store: CatalogStore,
    key_secret: Secret,
    mut publish: Publish,
) -> Result<(CampaignHandle, CampaignWriter), StoreError> {
    let stored = store.load()?;
    let mut keys = KeyRing::new(key_secret);
    for key in stored.keys {
        keys.put(key);
    }
    let state = CatalogState::new(stored.version, stored.entities);
    let entities = state.entities().map(|revision| revision.entity.clone()).collect();
    publish(CatalogChange { version: state.version(), entities });
    let shared = Arc::new(Shared { state: RwLock::new(state), keys: ArcSwap::from_pointee(keys), store });
    let (commands, queue) = mpsc::channel(QUEUE_MAX);
    let writer = Writer { shared: Arc::clone(&shared), role: CampaignRole::new(), publish, broken: false };
    // A thread of its own: a synced commit blocks for milliseconds, which no worker of the HTTP server may.
    let thread = std::thread::Builder::new()
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
        self.commands.try_send(Waiting { command, author, now, answer }).map_err(|error| match error {
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
        self.commands.blocking_send(Waiting { command, author, now, answer }).map_err(|_| Refusal::Broken)?;
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

    /// The API keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.shared.keys.load_full()
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

struct Writer {
    shared: Arc<Shared>,
    role: CampaignRole,
    publish: Publish,
    broken: bool,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while !self.broken && queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            self.run_group(&mut group);
        }
        // Dropping the queue answers whoever still waits with `Broken`.
    }

    fn run_group(&mut self, waiting: &mut Vec<Waiting>) {
        let answers: Vec<_> = {
            let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
            waiting
                .drain(..)
                .map(|one| (one.answer, self.role.step(&state, one.command, &one.author, one.now)))
                .collect()
        };
        let failed = !self.role.is_idle() && self.commit().is_err();
        for (answer, outcome) in answers {
            let outcome = if failed && outcome.is_ok() { Err(Refusal::Broken) } else { outcome };
            // The client may have gone; what it asked for is done all the same.
            let _ = answer.send(outcome);
        }
    }

    /// Durable, then visible, then published.
    fn commit(&mut self) -> Result<(), StoreError> {
        let group = self.role.take();
        let version = self.next_version(&group);
        if let Err(error) = self.shared.store.commit(version, &group.revisions, &group.keys) {
            // After a failed sync nobody knows what is on disk. Only a restart, which reads it, may go on.
            tracing::error!(error = &error as &dyn std::error::Error, "the catalogue's store failed; no more changes");
            self.broken = true;
            return Err(error);
        }
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner).apply(version, &group);
        if !group.keys.is_empty() {
            let mut keys = KeyRing::clone(&self.shared.keys.load());
            group.keys.iter().for_each(|key| keys.put(key.clone()));
            self.shared.keys.store(Arc::new(keys));
        }
        let entities: Vec<_> = group.newest().map(|revision| revision.entity.clone()).collect();
        if !entities.is_empty() {
            (self.publish)(CatalogChange { version, entities });
        }
        Ok(())
    }

    fn next_version(&self, group: &Group) -> u64 {
        let version = self.shared.state.read().unwrap_or_else(PoisonError::into_inner).version();
        version + u64::from(!group.revisions.is_empty())
    }
}
