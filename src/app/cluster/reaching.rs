//! Reaching what servers share, Kafka and CQL, where either may be away when a server starts.
//!
//! A server's first start in a data directory needs both: it waits for them for `server.start_wait_seconds`, then it fails with one line that says what to do.
//! One that was of this network before starts without Kafka, whatever its roles: journals take what it hears, and what needs Kafka tries again until it
//! answers ([`KafkaPresence`]). Without CQL the decision and beacon roles alone start ([`LateCql`]), with the secrets kept from before; the other roles wait.
//! Whatever somebody has to mend (a refused login, missing topics, an old schema) ends every start at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::super::system::{joined, spawn};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::event_log::kafka::{KafkaLog, Trouble};
use crate::patience::{Backoff, Reminder};
use crate::roles::api_keys::{KeyWatch, LiveKeys, agreed_secret, shared_secret};
use crate::roles::health::Look;
use crate::store::cql::{CqlConnection, CqlSession, CqlTrouble};
use crate::store::{CatalogStore as _, CqlCatalog, Identity, KeysSeen, LateListeners, StoreError, TokenKey};
use crate::telemetry::{Metric, Metrics};

/// Shortest and longest pause before what is away is tried again, in milliseconds: it is used within seconds of its return.
const AGAIN_MS: (u64, u64) = (500, 5_000);
/// Time between two looks whether a broker answers, once one has.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a pause is broken off to see whether it is to end.
const STEP: Duration = Duration::from_millis(100);

/// CQL as every role needs it.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) session: CqlSession,
    pub(super) catalog: CqlCatalog,
    /// This server's id, with the secrets that all share.
    pub(super) identity: Identity,
}

/// Reaches CQL. Tries again for `wait_ms` while it is away; what waiting doesn't mend is told at once.
pub(super) async fn reach_cql(
    connection: &CqlConnection,
    own: &Identity,
    wait_ms: u64,
    (clock, entropy): (&Clock, &Entropy),
) -> Result<Reached, StoreError> {
    let begun = clock.now().monotonic;
    let (mut pause, mut reminder) = (Backoff::new(AGAIN_MS.0, AGAIN_MS.1), Reminder::default());
    loop {
        let error = match reach_once(connection, own, entropy).await {
            Ok(reached) => return Ok(reached),
            Err(error) => error,
        };
        let now = clock.now().monotonic;
        if !may_pass(&error) || now.since(begun) >= wait_ms {
            return Err(error);
        }
        if reminder.fails(&error.to_string(), now) {
            tracing::warn!("this server waits for CQL: {error}");
        }
        tokio::time::sleep(Duration::from_millis(pause.failed())).await;
    }
}

async fn reach_once(connection: &CqlConnection, own: &Identity, entropy: &Entropy) -> Result<Reached, StoreError> {
    let session = CqlSession::open(connection).await?;
    let catalog = CqlCatalog::open(session.clone(), entropy.clone()).await?;
    let (own, asked) = (own.clone(), catalog.clone());
    // It waits for CQL: not on a thread of the runtime.
    let identity = tokio::task::spawn_blocking(move || shared_identity(&own, &asked)).await;
    let identity = identity.unwrap_or(Err(StoreError::WriterGone { what: "the secrets that servers share" }))?;
    Ok(Reached { session, catalog, identity })
}

/// This server's id, and the secrets of the first that came: a token that one sealed every other opens.
fn shared_identity(own: &Identity, catalog: &CqlCatalog) -> Result<Identity, StoreError> {
    Ok(Identity {
        api_key_secret: shared_secret(catalog, own.api_key_secret)?,
        listener_secret: agreed_secret(catalog, "listener_secret", own.listener_secret)?,
        token_key: TokenKey { id: 0, secret: agreed_secret(catalog, "token_key", own.token_key.secret)? },
        previous_token_key: None,
        ..own.clone()
    })
}

/// Whether CQL may come back by itself.
pub(super) const fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Cql(trouble) if trouble.may_pass())
}

/// What is wrong with something that was not reached yet; nothing once it was.
#[derive(Clone, Default, Debug)]
struct Wrong(Arc<Mutex<Option<String>>>);

impl Wrong {
    fn set(&self, wrong: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
    }

    fn look(&self) -> Look {
        let wrong = self.clone();
        Box::new(move || wrong.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err))
    }
}

/// CQL for a decision and beacon server that started without it: reached as soon as it is back.
#[derive(Debug)]
pub(super) struct LateCql {
    wrong: Wrong,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl LateCql {
    /// Begins to try, on this runtime; `why` it could not be reached until now.
    pub(super) fn start(
        connection: CqlConnection,
        why: &StoreError,
        (own, identity): (Identity, Identity),
        (keys, listeners): (LiveKeys, LateListeners),
        (clock, entropy): (Clock, Entropy),
    ) -> Self {
        tracing::warn!("this server starts without CQL, hears beacons and is not ready: {why}");
        let wrong = Wrong::default();
        wrong.set(Some(why.to_string()));
        let (stop, mut stopped) = oneshot::channel();
        let told = wrong.clone();
        let task = tokio::spawn(async move {
            let (mut pause, mut reminder) = (Backoff::new(AGAIN_MS.0, AGAIN_MS.1), Reminder::default());
            let watch = loop {
                let error = tokio::select! {
                    _ = &mut stopped => return,
                    tried = use_cql(&connection, (&own, &identity), (&keys, &listeners), &entropy) => match tried {
                        Ok(watch) => break watch,
                        Err(error) => error.to_string(),
                    },
                };
                if reminder.fails(&error, clock.now().monotonic) {
                    tracing::warn!("this server is not ready without CQL: {error}");
                }
                told.set(Some(error));
                tokio::select! {
                    _ = &mut stopped => return,
                    () = tokio::time::sleep(Duration::from_millis(pause.failed())) => {}
                }
            };
            tracing::info!("CQL is reached");
            told.set(None);
            // Nobody says it: the server is gone.
            let _ = stopped.await;
            let _ = tokio::task::spawn_blocking(move || drop(watch)).await;
        });
        Self { wrong, stop, task }
    }

    /// What is wrong, until it is reached.
    pub(super) fn look(&self) -> Look {
        self.wrong.look()
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        if self.task.await.is_err() {
            tracing::error!("the task that reaches CQL ended in a panic");
        }
    }
}

async fn use_cql(
    connection: &CqlConnection,
    (own, kept): (&Identity, &Identity),
    (keys, listeners): (&LiveKeys, &LateListeners),
    entropy: &Entropy,
) -> Result<KeyWatch, StoreError> {
    let Reached { session, catalog, identity } = reach_once(connection, own, entropy).await?;
    if identity != *kept {
        let reason = format!("keyspace {} has other secrets than this data.dir", connection.keyspace);
        let doing = "join the network of before; correct cql.hosts and cql.keyspace, or start the server anew";
        return Err(CqlTrouble::Other { doing, reason }.into());
    }
    listeners.reached(&session).await?;
    let keys = keys.clone();
    let watching = tokio::task::spawn_blocking(move || {
        keys.put(catalog.changed_keys(&mut KeysSeen::new())?);
        Ok(KeyWatch::start(catalog, keys))
    });
    watching.await.unwrap_or(Err(StoreError::WriterGone { what: "API keys" }))
}

/// Whether Kafka is there: a thread that looks, says when it goes and comes, and checks the topics where the start could not.
#[derive(Debug)]
pub(super) struct KafkaPresence {
    /// What keeps the topics from being checked, until they were.
    unchecked: Wrong,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Checks the topics. Tries again for `wait_ms` while the brokers are away, and gives what was wrong last; what waiting doesn't mend is an error.
pub(super) fn reach_kafka(kafka: &KafkaLog, wait_ms: u64, clock: &Clock) -> Result<Option<Trouble>, Trouble> {
    let begun = clock.now().monotonic;
    let (mut pause, mut reminder) = (Backoff::new(AGAIN_MS.0, AGAIN_MS.1), Reminder::default());
    loop {
        let trouble = match kafka.check() {
            Ok(()) => return Ok(None),
            Err(trouble) if !trouble.may_pass() => return Err(trouble),
            Err(trouble) => trouble,
        };
        let now = clock.now().monotonic;
        if now.since(begun) >= wait_ms {
            return Ok(Some(trouble));
        }
        if reminder.fails(&trouble.to_string(), now) {
            tracing::warn!("this server waits for Kafka: {trouble}");
        }
        std::thread::sleep(Duration::from_millis(pause.failed()));
    }
}

impl KafkaPresence {
    /// Begins to look. `away`: what the start found instead of topics as they should be.
    pub(super) fn start(
        kafka: KafkaLog,
        away: Option<&Trouble>,
        (clock, metrics): (Clock, Metrics),
    ) -> anyhow::Result<Self> {
        let unchecked = Wrong::default();
        unchecked.set(away.map(ToString::to_string));
        metrics.set(Metric::KafkaReachable, u64::from(away.is_none()));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped, mut is_checked) = (unchecked.clone(), Arc::clone(&stop), away.is_none());
        let mut reminder = Reminder::default();
        if let Some(away) = away {
            reminder.fails(&away.to_string(), clock.now().monotonic);
            tracing::warn!(
                "this server starts without Kafka, keeps what it hears in its journal and is not ready: {away}"
            );
        }
        let thread = spawn("kafka-presence", move || {
            let mut pause = Backoff::new(AGAIN_MS.0, AGAIN_MS.1);
            let rest = |for_so_long: Duration| {
                let steps = for_so_long.as_millis() / STEP.as_millis();
                (0..steps).any(|_| {
                    std::thread::sleep(STEP);
                    stopped.load(Ordering::Acquire)
                })
            };
            while !stopped.load(Ordering::Acquire) {
                let found = if is_checked { kafka.look() } else { kafka.check() };
                metrics.set(Metric::KafkaReachable, u64::from(found.is_ok()));
                let for_so_long = match found {
                    Ok(()) => {
                        if reminder.works() {
                            tracing::info!("Kafka answers again");
                        }
                        is_checked = true;
                        told.set(None);
                        pause.worked();
                        LOOK_EVERY
                    }
                    Err(trouble) => {
                        if reminder.fails(&trouble.to_string(), clock.now().monotonic) {
                            tracing::warn!(
                                "Kafka can't be used; what this server hears waits in its journal: {trouble}"
                            );
                        }
                        if !is_checked {
                            told.set(Some(trouble.to_string()));
                        }
                        Duration::from_millis(pause.failed())
                    }
                };
                if rest(for_so_long) {
                    return;
                }
            }
        })?;
        Ok(Self { unchecked, stop, thread })
    }

    /// What is wrong, until the topics were checked. Later a server without Kafka goes on with what it has.
    pub(super) fn look(&self) -> Look {
        self.unchecked.look()
    }

    /// Ends it. It may be in the middle of a look, for the connection's timeout at most.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        joined(self.thread).context("looking for Kafka")
    }

    /// Tells it to end, without waiting.
    pub(super) fn ending(&self) {
        self.stop.store(true, Ordering::Release);
    }
}
