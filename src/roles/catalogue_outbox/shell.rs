//! The task that does the publisher's I/O: it looks into the store, hands over to the event log, and takes out of the outbox what the log has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::{Effect, IN_HAND_MAX, LOOK_EVERY_MS, Name, Outbox};
use crate::clock::Clock;
use crate::event_log::{LogError, NewRecord, SharedLog, Topic};
use crate::events::{self, CatalogRecord, Envelope, Event};
use crate::model::{BootId, ServerId};
use crate::store::{CqlCatalog, OutboxRow, PENDING_BUCKETS, Pending, StoreError, Waiting};
use crate::telemetry::{Metric, Metrics};

/// Commits that may wait for the publisher. When full it finds them by its next looks.
const COMMITS_MAX: usize = 1_024;
/// Entities looked at, or taken out of the outbox, at once.
const AT_ONCE: usize = 16;
/// Time until what the log had no room for is handed over again.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// How long a stop waits for what is in hand; the rest is for the next start, or for another server.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Who publishes.
#[derive(Clone, Copy, Debug)]
pub struct PublisherSettings {
    /// This server.
    pub server_id: ServerId,
    /// This run of it.
    pub boot_id: BootId,
    /// Time between two looks for what others left: [`LOOK_EVERY_MS`] but in tests.
    pub look_every_ms: u64,
}

impl PublisherSettings {
    /// A server's settings.
    #[must_use]
    pub const fn new(server_id: ServerId, boot_id: BootId) -> Self {
        Self { server_id, boot_id, look_every_ms: LOOK_EVERY_MS }
    }
}

/// The running publisher.
#[derive(Debug)]
pub struct Publisher {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts the publisher on this runtime, and gives the store that tells it of each commit: whoever commits is to use that one.
#[must_use]
pub fn start<L: SharedLog>(
    store: CqlCatalog,
    log: L,
    settings: PublisherSettings,
    (clock, metrics): (Clock, Metrics),
) -> (CqlCatalog, Publisher) {
    let (tell, commits) = mpsc::channel(COMMITS_MAX);
    let (stop, stopped) = oneshot::channel();
    // As many as can be in hand: telling never finds it full.
    let (acknowledge, acknowledged) = mpsc::channel(IN_HAND_MAX);
    let running = Running {
        store: store.clone(),
        log,
        settings,
        clock,
        metrics,
        outbox: Outbox::new(),
        acknowledge,
        work: JoinSet::new(),
        room: Arc::new(Semaphore::new(AT_ONCE)),
        to_find: VecDeque::new(),
        is_looking: false,
        is_failing: false,
    };
    let task = tokio::spawn(running.run(commits, acknowledged, stopped));
    (store.telling(tell), Publisher { stop, task })
}

impl Publisher {
    /// Publishes what is in hand, for some seconds at most, and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        if self.task.await.is_err() {
            tracing::error!("the catalogue's publisher ended in a panic");
        }
    }
}

type Acknowledged = (Name, Result<(), LogError>);

/// What comes of work that waits for the store.
enum Done {
    /// The words that stand.
    Words(Result<BTreeSet<Pending>, StoreError>),
    Found(Pending, Result<Waiting, StoreError>),
    Removed(Result<(), StoreError>),
}

struct Running<L> {
    store: CqlCatalog,
    log: L,
    settings: PublisherSettings,
    clock: Clock,
    metrics: Metrics,
    outbox: Outbox,
    acknowledge: mpsc::Sender<Acknowledged>,
    work: JoinSet<Done>,
    /// Bounds what is taken out at once.
    room: Arc<Semaphore>,
    /// What is to be looked at, of the last look.
    to_find: VecDeque<Pending>,
    is_looking: bool,
    is_failing: bool,
}

impl<L: SharedLog> Running<L> {
    async fn run(
        mut self,
        mut commits: mpsc::Receiver<Vec<OutboxRow>>,
        mut acknowledged: mpsc::Receiver<Acknowledged>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut look = tokio::time::interval(Duration::from_millis(self.settings.look_every_ms));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry = tokio::time::interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_told = true;
        loop {
            tokio::select! {
                rows = commits.recv(), if is_told => match rows {
                    Some(rows) => {
                        let effects = self.outbox.committed(rows);
                        self.perform(effects);
                    }
                    // Every store that tells is gone: what others leave is published all the same.
                    None => is_told = false,
                },
                Some(told) = acknowledged.recv() => self.acknowledged(told),
                Some(done) = self.work.join_next() => self.done(done),
                _ = look.tick() => self.look(),
                _ = retry.tick() => {
                    let effects = self.outbox.retry();
                    self.perform(effects);
                }
                _ = &mut stopped => break,
            }
        }
        let finish = async {
            while let Ok(rows) = commits.try_recv() {
                let effects = self.outbox.committed(rows);
                self.perform(effects);
            }
            while self.outbox.in_hand() > 0 || !self.work.is_empty() {
                tokio::select! {
                    Some(told) = acknowledged.recv() => self.acknowledged(told),
                    Some(done) = self.work.join_next() => self.done(done),
                    _ = retry.tick() => {
                        let effects = self.outbox.retry();
                        self.perform(effects);
                    }
                }
            }
        };
        if tokio::time::timeout(STOP_WAIT, finish).await.is_err() {
            tracing::warn!("the catalogue's publisher stops with revisions in hand: the next start publishes them");
        }
    }

    fn look(&mut self) {
        let age_ms = self.outbox.oldest().map_or(0, |oldest| self.clock.now().wall.since(oldest));
        self.metrics.set(Metric::OutboxOldest, u64::try_from(age_ms).unwrap_or(0));
        // A look that takes longer than the pause is not overtaken by the next.
        if self.is_looking || !self.to_find.is_empty() {
            return;
        }
        self.is_looking = true;
        let store = self.store.clone();
        self.work.spawn(async move {
            let mut words = BTreeSet::new();
            for bucket in 0..PENDING_BUCKETS {
                match store.pending(bucket).await {
                    Ok(found) => words.extend(found),
                    Err(error) => return Done::Words(Err(error)),
                }
            }
            Done::Words(Ok(words))
        });
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let Ok(done) = done else {
            tracing::error!("a task of the catalogue's publisher ended in a panic");
            self.is_looking = false;
            return;
        };
        match done {
            Done::Words(Ok(words)) => {
                self.is_looking = false;
                self.is_failing = false;
                self.metrics.set(Metric::OutboxWaiting, words.len() as u64);
                self.to_find.extend(self.outbox.looked(words));
                for _ in 0..AT_ONCE {
                    self.find_next();
                }
            }
            Done::Found(word, found) => {
                match found {
                    Ok(waiting) => {
                        let effects = self.outbox.found(word, waiting);
                        self.perform(effects);
                    }
                    Err(error) => self.failed(&error),
                }
                self.find_next();
            }
            Done::Removed(Ok(())) => {}
            Done::Words(Err(error)) => {
                self.is_looking = false;
                self.failed(&error);
            }
            Done::Removed(Err(error)) => self.failed(&error),
        }
    }

    /// Looks at the next entity that was left.
    fn find_next(&mut self) {
        let Some(word) = self.to_find.pop_front() else { return };
        let store = self.store.clone();
        self.work.spawn(async move { Done::Found(word, store.outbox(word.entity).await) });
    }

    fn failed(&mut self, error: &StoreError) {
        // Said once an outage.
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(error = error as &dyn std::error::Error, "the catalogue's outbox can't be read or written");
        }
    }

    fn acknowledged(&mut self, (name, told): Acknowledged) {
        match told {
            Ok(()) => {
                self.metrics.add(Metric::OutboxPublished, 1);
                let effects = self.outbox.acknowledged(name);
                self.perform(effects);
            }
            Err(LogError::Full) => {
                self.metrics.add_labelled(Metric::OutboxRetries, &["full"], 1);
                self.outbox.refused(name);
            }
            Err(error) => {
                self.metrics.add_labelled(Metric::OutboxRetries, &["refused"], 1);
                tracing::error!(error = &error as &dyn std::error::Error, ?name, "a revision can't be published now");
                self.outbox.gave_up(name);
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::HandOver(row) => {
                    let (name, tell) = (Name::of(&row.revision), self.acknowledge.clone());
                    let done = move |told: Result<_, LogError>| {
                        // Never full: each revision in hand is told of once. Closed: the publisher has ended.
                        let _ = tell.try_send((name, told.map(|_| ())));
                    };
                    self.log.hand_over(record(&row, self.settings), Box::new(done));
                }
                Effect::Remove { rows, word } => {
                    let (store, room) = (self.store.clone(), Arc::clone(&self.room));
                    self.work.spawn(async move {
                        let _room = room.acquire_owned().await;
                        let removed = store.published(&rows).await;
                        Done::Removed(match (removed, word) {
                            (Ok(()), Some(word)) => store.forget(word).await,
                            (removed, _) => removed,
                        })
                    });
                }
                Effect::Forget(word) => {
                    let (store, room) = (self.store.clone(), Arc::clone(&self.room));
                    self.work.spawn(async move {
                        let _room = room.acquire_owned().await;
                        Done::Removed(store.forget(word).await)
                    });
                }
            }
        }
    }
}

/// A revision as the event log holds it. Its id is derived, so that it is the same whoever publishes it.
fn record(row: &OutboxRow, settings: PublisherSettings) -> NewRecord {
    let revision = (*row.revision).clone();
    let at = revision.at;
    let body = Event::Catalog(Box::new(CatalogRecord { version: None, revision }));
    let key = body.key().to_vec();
    let envelope = Envelope {
        event_id: body.id(),
        occurred_at: at,
        received_at: at,
        server_id: settings.server_id,
        boot_id: settings.boot_id,
        trace_id: None,
        body,
    };
    NewRecord { topic: Topic::Catalog, key, payload: events::encode(&envelope) }
}
