//! Accounting on many machines: the partitions of `segue.events` that this process owns, each with a machine, a thread and books of its own.
//!
//! ```text
//! group of owners ──which partitions──▶ keeper ──catalogue, reports, words──▶ owner of partition 0, of 3, of 7 …
//!                                         ▲ segue.servers                         claim · load · read · commit
//! ```
//!
//! The group says who should own what; the claim sees to it that no two do. An owner that fails is begun anew from its last commit, after a pause, as long
//! as the partition is this process's. The keeper does no I/O but with the log, and holds what a new owner must be told: the catalogue, and each
//! server's last words.

mod backlog;
mod catalogue;
mod owner;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::backlog::Backlog;
use self::catalogue::Catalogue;
use self::owner::{Beginning, Owner, Retry, namer};
use super::shell::{AccountingError, AccountingWatch, FEED_MAX, Feed, ShellSettings, Status};
use super::{Extent, LineReport, ServerReport, ServerSays};
use crate::accounting::{ServerEntry, clock_ahead_ms};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::ending::Ending;
use crate::event_log::{LogError, LogMembership, LogReader, NewRecord, Position, SharedLog, Topic};
use crate::model::{BootId, MonotonicMs, Now, ServerId};
use crate::patience::Reminder;
use crate::roles::fleet::{FleetBoard, FromAccounting, FromServer, Word, decode_from_server, encode_from_accounting};
use crate::store::{LedgerStore, StoreError};
use crate::telemetry::{Metric, Metrics};

/// The name under which owners share out the partitions.
const GROUP: &str = "accounting";
/// How long one turn waits for words of servers.
const WORDS_WAIT: Duration = Duration::from_millis(20);
/// Words of one turn.
const WORDS_MAX: usize = 1_000;
/// Pause before the log is asked again what servers have said, at the start.
const CATCH_UP_RETRY: Duration = Duration::from_millis(500);
/// Time between two signs of life to servers, in milliseconds: what reports echo.
const SIGN_EVERY_MS: u64 = 500;
/// A server that said nothing for so long is not spoken to, in milliseconds.
const SILENT_MS: u64 = 60_000;
/// An owner that was told to end and has not after so long, in milliseconds, is not waited for: the next claim of its partition shuts it out.
const ENDING_MS: u64 = 15_000;
/// Catalogue changes that may wait: an import in chunks. When full, a sender waits.
const CHANGES_MAX: usize = 64;

/// Opens the books of a partition.
pub type OpenLedger = Box<dyn Fn(u32) -> Result<LedgerStore, StoreError> + Send>;

/// How accounting is, for health checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PartitionsWatch(Arc<Overview>);

#[derive(Default, Debug)]
struct Overview {
    stop: AtomicBool,
    ended: Ending,
    owned: Mutex<BTreeMap<u32, AccountingWatch>>,
}

impl PartitionsWatch {
    /// Whether the keeper has ended, be it for an error or a bug.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.has_ended()
    }

    /// The partitions that this process owns, and of how many the log was read to its end.
    #[must_use]
    pub fn owned(&self) -> (BTreeSet<u32>, usize) {
        let owned = self.owners();
        let replayed = owned.values().filter(|watch| watch.is_replayed()).count();
        (owned.keys().copied().collect(), replayed)
    }

    /// The servers as an owner in this process has them, at most some seconds old, by id: those of its least partition.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerEntry> {
        self.owners().values().next().map(AccountingWatch::servers).unwrap_or_default()
    }

    fn owners(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, AccountingWatch>> {
        self.0.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounting of this process, running. Dropping it hands its partitions on.
#[derive(Debug)]
pub struct PartitionsHandle {
    changes: SyncSender<Vec<Entity>>,
    watch: PartitionsWatch,
    thread: Option<JoinHandle<Result<(), AccountingError>>>,
}

impl PartitionsHandle {
    /// Who is to be told of changes of the catalogue: at the start all of it. A send waits while too many changes wait. Not for an async worker.
    #[must_use]
    pub fn changes(&self) -> SyncSender<Vec<Entity>> {
        self.changes.clone()
    }

    /// How it is, for whoever asks.
    #[must_use]
    pub fn watch(&self) -> PartitionsWatch {
        self.watch.clone()
    }

    /// Commits what is applied, hands the partitions on and ends.
    ///
    /// # Errors
    /// [`AccountingError`]: why it had stopped by itself.
    pub fn stop(mut self) -> Result<(), AccountingError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), AccountingError> {
        self.watch.0.stop.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(AccountingError::Panicked)))
    }
}

impl Drop for PartitionsHandle {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(error = &error as &dyn std::error::Error, "accounting stopped");
        }
    }
}

/// Starts accounting of this process over the log: joins the other owners, and owns what falls to it.
///
/// # Errors
/// [`AccountingError`] when the log can't be used or no thread started.
pub fn spawn_partitions<L: SharedLog>(
    log: L,
    ledgers: OpenLedger,
    settings: ShellSettings,
    clock: Clock,
    metrics: Metrics,
) -> Result<PartitionsHandle, AccountingError> {
    let every = (0..log.partition_counts().of(Topic::Servers)).map(|partition| Position { partition, offset: 0 });
    let words = log.reader(Topic::Servers, &every.collect::<Vec<_>>())?;
    let watch = PartitionsWatch(Arc::default());
    let (changes, inbox) = sync_channel(CHANGES_MAX);
    let catalogue = Catalogue::new(*log.partition_counts());
    let keeper = Keeper {
        log,
        words,
        ledgers,
        settings,
        clock,
        metrics,
        inbox,
        catalogue,
        board: FleetBoard::default(),
        owners: BTreeMap::new(),
        ending: Vec::new(),
        retries: BTreeMap::new(),
        reminders: Reminders::default(),
        signed_at: None,
        lives: 0,
        overview: Arc::clone(&watch.0),
    };
    let thread = std::thread::Builder::new()
        .name("accounting".to_owned())
        .spawn(move || {
            let _running = keeper.overview.ended.guard();
            keeper.run()
        })
        .map_err(AccountingError::Thread)?;
    Ok(PartitionsHandle { changes, watch, thread: Some(thread) })
}

struct Keeper<L: SharedLog> {
    log: L,
    words: L::Reader,
    ledgers: OpenLedger,
    settings: ShellSettings,
    clock: Clock,
    metrics: Metrics,
    inbox: Receiver<Vec<Entity>>,
    catalogue: Catalogue,
    board: FleetBoard,
    owners: BTreeMap<u32, Owner>,
    /// Owners that were told to end, each with its partition and when. They may be in the middle of a commit, and are not waited for: signs, words and the
    /// membership go on.
    ending: Vec<(u32, Owner, MonotonicMs)>,
    /// Partitions whose owners have ended by themselves.
    retries: BTreeMap<u32, Retry>,
    reminders: Reminders,
    signed_at: Option<MonotonicMs>,
    /// Owners begun so far.
    lives: u64,
    overview: Arc<Overview>,
}

/// Waits for the end of an owner that was told to end, and says what was wrong with it.
fn tell_end(partition: u32, owner: Owner) {
    if let Some(error) = owner.join(partition) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(partition, error, "the owner of a partition had stopped");
    }
}

/// When is told what can't be done for now.
#[derive(Default)]
struct Reminders {
    membership: Reminder,
    words: Reminder,
}

impl<L: SharedLog> Keeper<L> {
    fn run(mut self) -> Result<(), AccountingError> {
        self.catch_up();
        let mut membership = self.log.join(GROUP, Topic::Events)?;
        while self.goes_on() {
            match membership.partitions(Duration::ZERO) {
                Ok(mine) => self.reconcile(&mine)?,
                // The owners go on with what they have: a claim, not the group, says whose a partition is.
                Err(error) => {
                    if self.reminders.membership.fails(&error.to_string(), self.clock.now().monotonic) {
                        tracing::warn!(%error, "accounting can't share out partitions for now");
                    }
                }
            }
            self.take_changes();
            self.take_words();
            self.give_signs();
            for owner in self.owners.values_mut() {
                owner.backlog.pass_on();
            }
            self.show();
        }
        let owners = std::mem::take(&mut self.owners);
        for owner in owners.values() {
            owner.stop();
        }
        let ending = std::mem::take(&mut self.ending).into_iter().map(|(partition, owner, _)| (partition, owner));
        for (partition, owner) in owners.into_iter().chain(ending) {
            tell_end(partition, owner);
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !self.overview.stop.load(Ordering::Acquire)
    }

    /// Reads what servers have said until now, before it owns anything. An owner must hear of each server's newest run alone: word by word, of one that restarted
    /// again and again, it could take an old run for a new one. A log that doesn't answer is asked again, until it does.
    fn catch_up(&mut self) {
        let mut ends = BTreeMap::new();
        while self.goes_on() && ends.len() < self.words.positions().len() {
            let asked = self
                .words
                .positions()
                .into_iter()
                .map(|Position { partition, .. }| self.words.end(partition).map(|end| (partition, end)));
            match asked.collect() {
                Ok(all) => ends = all,
                Err(error) => {
                    let error: LogError = error;
                    if self.reminders.words.fails(&error.to_string(), self.clock.now().monotonic) {
                        tracing::warn!(%error, "accounting waits: it can't ask what servers have said");
                    }
                    std::thread::sleep(CATCH_UP_RETRY);
                }
            }
        }
        let is_behind = |at: &Position| ends.get(&at.partition).is_some_and(|end| at.offset < *end);
        while self.goes_on() && !self.words.is_at_end() && self.words.positions().iter().any(is_behind) {
            self.take_words();
        }
    }

    /// Ends the owners of partitions that are not this process's any more, and begins those that are, or are to be begun anew.
    fn reconcile(&mut self, mine: &BTreeSet<u32>) -> Result<(), AccountingError> {
        let now = self.clock.now().monotonic;
        let others: Vec<u32> = self.owners.keys().copied().filter(|partition| !mine.contains(partition)).collect();
        for partition in others {
            if let Some(owner) = self.owners.remove(&partition) {
                owner.stop();
                self.ending.push((partition, owner, now));
            }
        }
        for (partition, owner, _) in self.ending.extract_if(.., |(_, owner, _)| owner.has_ended()) {
            // What it could not commit the next owner does again.
            tell_end(partition, owner);
        }
        self.retries.retain(|partition, _| mine.contains(partition));
        let ended: Vec<u32> =
            self.owners.iter().filter(|(_, owner)| owner.has_ended()).map(|(&partition, _)| partition).collect();
        for partition in ended {
            if let Some(owner) = self.owners.remove(&partition) {
                self.metrics.add(Metric::AccountingRestarts, 1);
                let begun_at = owner.begun_at;
                let why = owner.join(partition);
                self.retries.entry(partition).or_default().ended(partition, begun_at, why.as_ref(), now);
            }
        }
        for &partition in mine {
            let is_due = self.retries.get(&partition).is_none_or(|retry| retry.is_due(now));
            let is_ending =
                |(of, _, since): &(u32, Owner, MonotonicMs)| *of == partition && now.since(*since) < ENDING_MS;
            if is_due && !self.ending.iter().any(is_ending) && !self.owners.contains_key(&partition) {
                let owner = self.begin(partition)?;
                self.owners.insert(partition, owner);
            }
        }
        Ok(())
    }

    fn begin(&mut self, partition: u32) -> Result<Owner, AccountingError> {
        let (feed, inbox) = sync_channel(FEED_MAX);
        let status = Arc::new(Status::default());
        let ledger = (self.ledgers)(partition).map_err(AccountingError::Store)?;
        let mut settings = self.settings.clone();
        settings.machine.partition = partition;
        settings.machine.states_delivery = true;
        settings.machine.namer = namer(settings.machine.boot_id, partition, self.lives);
        self.lives += 1;
        let beginning = Beginning {
            log: self.log.clone(),
            ledger,
            settings,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            inbox,
            status,
        };
        let mut owner = beginning.spawn(Backlog::new(feed))?;
        owner.backlog.change(self.catalogue.of(partition));
        owner.backlog.words(self.board.words(partition));
        Ok(owner)
    }

    fn take_changes(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(entities) => {
                    self.catalogue.take(&entities);
                    for (partition, owner) in &mut self.owners {
                        owner.backlog.change(self.catalogue.part(&entities, *partition));
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn take_words(&mut self) {
        let records = match self.words.read(WORDS_MAX, WORDS_WAIT) {
            Ok(records) => records,
            Err(error) => {
                if self.reminders.words.fails(&error.to_string(), self.clock.now().monotonic) {
                    tracing::warn!(%error, "accounting can't hear the servers for now");
                }
                return;
            }
        };
        if !records.is_empty() {
            self.reminders.words.works();
        }
        let came = self.clock.now();
        for record in records {
            match decode_from_server(&record.payload) {
                Ok(said) => self.hear(&said, came),
                // One word less; the server says the next in a second.
                Err(error) => tracing::warn!(%error, offset = record.offset, "a server's word can't be understood"),
            }
        }
    }

    fn hear(&mut self, said: &FromServer, Now { wall, monotonic: came }: Now) {
        self.board.note(said, came);
        let (server_id, boot_id) = (said.server_id, said.boot_id);
        let Word::Report { extent, lines } = &said.word else {
            for (partition, owner) in &mut self.owners {
                if let Some(news) = said.news(*partition) {
                    owner.backlog.words(vec![ServerSays { server_id, boot_id, news }]);
                }
            }
            return;
        };
        // How long a report was on its way is known once the server has heard of this process; before that its clocks say nothing.
        let Some(transit_ms) = said.transit_ms(self.settings.machine.boot_id, came) else { return };
        let skew_ms = clock_ahead_ms(said.at.wall, wall, transit_ms).unsigned_abs();
        self.metrics.observe_seconds(Metric::ServerClockSkew, Duration::from_millis(skew_ms).as_secs_f64());
        let mut by_partition: BTreeMap<u32, Vec<LineReport>> = BTreeMap::new();
        let mut extent = *extent;
        for line in lines {
            match self.catalogue.partition(line.line_item_id) {
                Some(partition) => by_partition.entry(partition).or_default().push(*line),
                // Whose it is will be known once the catalogue is here. Until then no report is all of what there is.
                None => extent = Extent::Changes,
            }
        }
        for (partition, owner) in &mut self.owners {
            // Nothing of it is here: all the same the server is there, and says what its clocks read.
            let lines = by_partition.remove(partition).unwrap_or_default();
            let report = ServerReport { server_id, boot_id, at: said.at, transit_ms, extent, lines };
            owner.backlog.report(Feed::Report { report, came });
        }
    }

    /// Tells every server that this process is there, and what its clock reads.
    fn give_signs(&mut self) {
        let now = self.clock.now().monotonic;
        if self.signed_at.is_some_and(|at| now.since(at) < SIGN_EVERY_MS) {
            return;
        }
        self.signed_at = Some(now);
        let Some(partition) = self.owners.keys().next().copied() else { return };
        let since = MonotonicMs(now.0.saturating_sub(SILENT_MS));
        for (server_id, boot_id) in self.board.alive(since) {
            self.log.hand_over(
                self.sign(partition, (server_id, boot_id), now),
                Box::new(|told| {
                    if let Err(error) = told {
                        tracing::debug!(%error, "a sign of life was lost; the next follows");
                    }
                }),
            );
        }
    }

    fn sign(&self, partition: u32, (server_id, boot_id): (ServerId, BootId), stamp: MonotonicMs) -> NewRecord {
        let accounting_id = self.settings.machine.boot_id;
        let message = FromAccounting { accounting_id, stamp, partition, server_id, boot_id, notices: Vec::new() };
        let (key, payload) = (server_id.to_bytes().to_vec(), encode_from_accounting(&message));
        NewRecord { topic: Topic::Leases, key, payload }
    }

    fn show(&self) {
        let watch = PartitionsWatch(Arc::clone(&self.overview));
        let mut shown = watch.owners();
        if !shown.keys().eq(self.owners.keys()) {
            *shown = self.owners.iter().map(|(at, owner)| (*at, owner.watch())).collect();
        }
        drop(shown);
        let sum = |of: fn(&Status) -> &AtomicU64| {
            self.owners.values().map(|owner| of(owner.status()).load(Ordering::Relaxed)).sum::<u64>()
        };
        self.metrics.set(Metric::AccountingPartitions, self.owners.len() as u64);
        self.metrics.set(Metric::AccountingLag, sum(|status| &status.lag));
        self.metrics.set(Metric::LeasesOpen, sum(|status| &status.open_leases));
    }
}
