//! The profile role's I/O: partitions of `segue.listening` in, tastes into the store, then the consumed position.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Effects, ProfileRole};
use crate::clock::Clock;
use crate::ending::Ending;
use crate::event_log::kafka::Trouble;
use crate::event_log::{
    LogError, LogMembership, LogOwner, LogReader, NewRecord, PartitionGroup, Position, SharedLog, Topic,
};
use crate::events::Play;
use crate::model::{ListenerKey, MonotonicMs};
use crate::patience::Reminder;
use crate::profile::Added;
use crate::store::{ListenerBackend, ListenerStore as _, StoreError};

/// The name under which profile servers share out the partitions.
const GROUP: &str = "profile";
/// Records of one read: as many listeners' rows at most are read and written before the next sign of life to the group.
const BATCH: usize = 256;
/// Listeners whose tastes are read and written at once.
const AT_ONCE: usize = 64;
/// How long all reads of a turn wait together when there was nothing before.
const IDLE_WAIT: Duration = Duration::from_millis(200);
/// Pause after a failure, before all is begun anew from the consumed positions.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two commits that say no more than how far was read, in milliseconds.
const COMMIT_EVERY_MS: u64 = 1_000;
/// How often a taste is read again because somebody else wrote it. More than two servers at once have a listener's plays only in a rebalance.
const ATTEMPTS: u32 = 8;

/// Why the role could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A taste was written by others again and again.
    #[error("a taste changed {ATTEMPTS} times while it was to be written")]
    Contended,
    /// A write's task ended early.
    #[error("a write was given up")]
    GivenUp,
    /// No thread started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
    /// A bug.
    #[error("the profile role ended in a panic")]
    Panicked,
}

/// What became of plays since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProfileCounts {
    /// They count.
    pub counted: u64,
    /// They counted before.
    pub repeated: u64,
    /// They were too old.
    pub too_old: u64,
    /// Their listeners allowed no profile.
    pub not_allowed: u64,
    /// They could not be understood, and are in `segue.dead-letter`.
    pub not_understood: u64,
}

#[derive(Default, Debug)]
struct Status {
    stop: AtomicBool,
    ended: Ending,
    counted: AtomicU64,
    repeated: AtomicU64,
    too_old: AtomicU64,
    not_allowed: AtomicU64,
    not_understood: AtomicU64,
    partitions: AtomicU64,
}

/// How the role is, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProfileWatch(Arc<Status>);

impl ProfileWatch {
    /// Whether it has ended, be it for an error or a bug.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.has_ended()
    }

    /// Partitions that this process works on.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        self.0.partitions.load(Ordering::Relaxed)
    }

    /// What became of plays.
    #[must_use]
    pub fn counts(&self) -> ProfileCounts {
        // Relaxed: counts, ordered with nothing.
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ProfileCounts {
            counted: of(&self.0.counted),
            repeated: of(&self.0.repeated),
            too_old: of(&self.0.too_old),
            not_allowed: of(&self.0.not_allowed),
            not_understood: of(&self.0.not_understood),
        }
    }
}

/// The profile role of this process, running. Dropping it hands its partitions on.
#[derive(Debug)]
pub struct ProfileHandle {
    watch: ProfileWatch,
    thread: Option<JoinHandle<()>>,
}

impl ProfileHandle {
    /// How it is, for whoever asks.
    #[must_use]
    pub fn watch(&self) -> ProfileWatch {
        self.watch.clone()
    }

    /// Notes how far it has consumed, hands the partitions on and ends.
    ///
    /// # Errors
    /// [`ProfileError::Panicked`], which is a bug.
    pub fn stop(mut self) -> Result<(), ProfileError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), ProfileError> {
        self.watch.0.stop.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(|_| ProfileError::Panicked))
    }
}

impl Drop for ProfileHandle {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(error = &error as &dyn std::error::Error, "the profile role stopped");
        }
    }
}

/// Starts the role over the log: joins the other profile servers, and works on what falls to this one. The store's calls run on `runtime`.
///
/// # Errors
/// [`ProfileError`] when the log can't be used or no thread started.
pub fn spawn_profile<L: SharedLog>(
    log: L,
    store: ListenerBackend,
    role: ProfileRole,
    runtime: tokio::runtime::Handle,
    clock: Clock,
) -> Result<ProfileHandle, ProfileError> {
    let membership = log.join(GROUP, Topic::Listening)?;
    let watch = ProfileWatch(Arc::default());
    let status = Arc::clone(&watch.0);
    let (owned, reminders) = (BTreeMap::new(), Reminders::default());
    let mut shell = Shell { log, store, role, runtime, clock, status, owned, was_idle: false, reminders };
    let thread = std::thread::Builder::new()
        .name("profile".to_owned())
        .spawn(move || {
            let status = Arc::clone(&shell.status);
            let _running = status.ended.guard();
            shell.run(membership);
        })
        .map_err(ProfileError::Thread)?;
    Ok(ProfileHandle { watch, thread: Some(thread) })
}

struct Shell<L: SharedLog> {
    log: L,
    store: ListenerBackend,
    role: ProfileRole,
    runtime: tokio::runtime::Handle,
    clock: Clock,
    status: Arc<Status>,
    owned: BTreeMap<u32, Owned<L>>,
    /// The turn before found nothing.
    was_idle: bool,
    reminders: Reminders,
}

/// When is told what can't be done for now.
#[derive(Default)]
struct Reminders {
    membership: Reminder,
    work: Reminder,
}

/// A partition that this process owns, until somebody else claims it.
struct Owned<L: SharedLog> {
    owner: L::Owner,
    reader: L::Reader,
    partition: u32,
    /// All before it is in the store.
    stored: u64,
    /// What was committed last, and when.
    committed: (u64, MonotonicMs),
}

impl<L: SharedLog> Owned<L> {
    fn claim(log: &L, partition: u32, at: MonotonicMs) -> Result<Self, LogError> {
        let group = PartitionGroup {
            name: format!("{GROUP}-{partition}"),
            topic: Topic::Listening,
            partitions: vec![partition],
        };
        let owner = log.claim(&group)?;
        let offset = owner.consumed().first().map_or(0, |position| position.offset);
        let reader = log.reader(Topic::Listening, &[Position { partition, offset }])?;
        Ok(Self { owner, reader, partition, stored: offset, committed: (offset, at) })
    }

    /// Notes how far was consumed, with letters about what could not be used.
    fn commit(&mut self, letters: Vec<NewRecord>, at: MonotonicMs) -> Result<(), LogError> {
        self.owner.commit(letters, &[Position { partition: self.partition, offset: self.stored }])?;
        self.committed = (self.stored, at);
        Ok(())
    }
}

impl<L: SharedLog> Shell<L> {
    fn run(&mut self, mut membership: L::Membership) {
        while !self.status.stop.load(Ordering::Acquire) {
            let now = self.clock.now().monotonic;
            let shared_out = match membership.partitions(Duration::ZERO) {
                Ok(mine) => self.reconcile(&mine),
                // What was shared out last stands: a claim, not the group, says whose a partition is.
                Err(error) => {
                    if self.reminders.membership.fails(&error.to_string(), now) {
                        tracing::warn!(%error, "the profile role can't share out partitions for now");
                    }
                    Ok(())
                }
            };
            self.status.partitions.store(self.owned.len() as u64, Ordering::Relaxed);
            match shared_out.and_then(|()| self.turn()) {
                Ok(()) => {
                    self.reminders.work.works();
                }
                // Nothing is lost by it: what is not noted as consumed comes again, and is known by its name.
                Err(error) => {
                    if self.reminders.work.fails(&error.to_string(), now) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(
                            error,
                            "profiles can't be made for now; it is tried again from where was last noted"
                        );
                    }
                    self.owned.clear();
                    std::thread::sleep(RETRY);
                }
            }
        }
        let now = self.clock.now().monotonic;
        for owned in self.owned.values_mut().filter(|owned| owned.stored != owned.committed.0) {
            // The next owner does again what could not be noted.
            if let Err(error) = owned.commit(Vec::new(), now) {
                tracing::warn!(%error, partition = owned.partition, "how far plays were consumed is not noted");
            }
        }
        let counts = ProfileWatch(Arc::clone(&self.status)).counts();
        tracing::info!(?counts, "the profile role ends");
    }

    /// Gives up the partitions that are not this process's any more, and claims those that are.
    fn reconcile(&mut self, mine: &BTreeSet<u32>) -> Result<(), ProfileError> {
        let now = self.clock.now().monotonic;
        let lost: Vec<u32> = self.owned.keys().copied().filter(|partition| !mine.contains(partition)).collect();
        for partition in lost {
            let given_up = self.owned.remove(&partition);
            if let Some(mut owned) = given_up.filter(|owned| owned.stored != owned.committed.0) {
                // Refused where the next owner was faster: it does that work again.
                let _ = owned.commit(Vec::new(), now);
            }
        }
        for &partition in mine {
            if !self.owned.contains_key(&partition) {
                let owned = Owned::claim(&self.log, partition, now)?;
                tracing::info!(partition, from = owned.stored, "profiles are made of a partition of segue.listening");
                self.owned.insert(partition, owned);
            }
        }
        Ok(())
    }

    /// One read of each partition, and what follows from it.
    fn turn(&mut self) -> Result<(), ProfileError> {
        let Some(count) = u32::try_from(self.owned.len()).ok().filter(|count| *count > 0) else {
            std::thread::park_timeout(IDLE_WAIT);
            return Ok(());
        };
        let wait = if self.was_idle { IDLE_WAIT / count } else { Duration::ZERO };
        self.was_idle = true;
        for owned in self.owned.values_mut() {
            let records = match owned.reader.read(BATCH, wait) {
                Err(LogError::Kafka(Trouble::NoOffset { reason, .. })) => {
                    // What is kept no longer was not consumed in a week: profiles do without it.
                    tracing::error!(partition = owned.partition, reason, "plays were removed before they were read");
                    let from = Position { partition: owned.partition, offset: 0 };
                    owned.reader = self.log.reader(Topic::Listening, &[from])?;
                    continue;
                }
                read => read?,
            };
            let now = self.clock.now();
            let mut letters = Vec::new();
            if let Some(last) = records.last() {
                self.was_idle = false;
                let Effects { plays, letters: found, not_allowed } = self.role.step(&records, now.wall);
                let not_understood = found.len() as u64;
                let added = self.runtime.block_on(store(&self.store, plays))?;
                count_up(&self.status, &added, not_allowed, not_understood);
                (owned.stored, letters) = (last.offset + 1, found);
            }
            let is_due = now.monotonic.since(owned.committed.1) >= COMMIT_EVERY_MS;
            if !letters.is_empty() || (is_due && owned.stored != owned.committed.0) {
                owned.commit(letters, now.monotonic)?;
            }
        }
        Ok(())
    }
}

fn count_up(status: &Status, added: &[Added], not_allowed: u64, not_understood: u64) {
    let of = |wanted| added.iter().filter(|one| **one == wanted).count() as u64;
    for (count, by) in [
        (&status.counted, of(Added::Counted)),
        (&status.repeated, of(Added::Repeated)),
        (&status.too_old, of(Added::TooOld)),
        (&status.not_allowed, not_allowed),
        (&status.not_understood, not_understood),
    ] {
        count.fetch_add(by, Ordering::Relaxed);
    }
}

/// Takes the plays into tastes, [`AT_ONCE`] listeners at a time; durable when this returns.
async fn store(store: &ListenerBackend, plays: BTreeMap<ListenerKey, Vec<Play>>) -> Result<Vec<Added>, ProfileError> {
    let (mut writing, mut added) = (JoinSet::new(), Vec::new());
    for (key, plays) in plays {
        if writing.len() == AT_ONCE {
            added.extend(one_of(&mut writing).await?);
        }
        writing.spawn(add(store.clone(), key, plays));
    }
    while !writing.is_empty() {
        added.extend(one_of(&mut writing).await?);
    }
    store.flush().await?;
    Ok(added)
}

type Writing = JoinSet<Result<Vec<Added>, ProfileError>>;

async fn one_of(writing: &mut Writing) -> Result<Vec<Added>, ProfileError> {
    let done = writing.join_next().await.unwrap_or(Ok(Ok(Vec::new())));
    done.unwrap_or(Err(ProfileError::GivenUp))
}

/// Takes a listener's plays into their taste.
async fn add(store: ListenerBackend, key: ListenerKey, plays: Vec<Play>) -> Result<Vec<Added>, ProfileError> {
    for _ in 0..ATTEMPTS {
        let row = match store.read_taste(key).await {
            Ok(row) => row,
            Err(error @ StoreError::Damaged { .. }) => {
                // One listener's trouble is not everybody's.
                tracing::error!(%error, "a listener's taste can't be read; their plays are left out");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let mut taste = row.taste.clone();
        let added: Vec<Added> = plays.iter().map(|play| taste.add(play)).collect();
        if taste == row.taste || store.replace_taste(key, row, taste).await? {
            return Ok(added);
        }
    }
    Err(ProfileError::Contended)
}
