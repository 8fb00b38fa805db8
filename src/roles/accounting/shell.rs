//! The thread that does accounting's I/O: reads the log, turns the machine's crank, appends, commits, tells the decision server.
//!
//! One thread, blocking: the log, the store and the machine are used from nowhere else, so nothing is locked. What comes in (catalogue
//! changes, reports) waits in a bounded channel. An error ends the thread: accounting that can't read or commit must not grant, and whoever
//! started it sees [`AccountingHandle::has_ended`], says so in health and exits; the next start goes on from the last commit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sealed::Announcer;
use super::{
    AccountingMachine, Batch, Input, LogRecord, MachineSettings, Message, RoleEffects, ServerNews, ServerReport,
    ServerSays,
};
use crate::accounting::{Commit, Outcome, ServerEntry, record_digest};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::event_log::{AppendError, EventLog, ReadError, Record, Topic};
use crate::events::{self, EventError};
use crate::journal::{self, FaultPoint, Faults};
use crate::model::{BootId, MonotonicMs, Now, ServerId};
use crate::roles::records;
use crate::store::{LedgerStore, StoreError};
use crate::telemetry::{Metric, Metrics};

/// Records of one read: some milliseconds of work, so that a stop is noticed soon.
const READ_RECORDS_MAX: usize = 8_192;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;
/// How long to wait for records when there are none, in milliseconds; also how long a catalogue change may wait.
const IDLE_WAIT_MS: u64 = 20;
/// Changes and reports that may wait: some seconds of reports, or an import in chunks. When full, a sender of changes waits and a report is
/// left out (the next one says it all).
const FEED_MAX: usize = 64;
/// Time between two marks of this server, in milliseconds.
const MARK_EVERY_MS: u64 = 1_000;
/// Time between two counts of open leases for the metrics, in milliseconds.
const GAUGE_MS: u64 = 5_000;

/// What accounting is told while it runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Feed {
    /// Entities as of their newest revision. At the start: the whole catalogue.
    CatalogChanged(Vec<Entity>),
    /// What the decision server did.
    Report(ServerReport),
    /// This server is on its way out: it gets no more leases.
    Draining,
}

/// What the thread needs to know.
#[derive(Clone, Debug)]
pub struct ShellSettings {
    /// The machine's settings. The server named there is the one that this thread speaks for: it registers it, marks how far its journal is
    /// complete, and closes it.
    pub machine: MachineSettings,
    /// Longest time from a record's stamp to its place in the log, in milliseconds.
    pub settle_margin_ms: i64,
    /// Deaths on order, for the crash tests.
    pub faults: Faults,
}

/// Why accounting stopped. None of these is worth a retry in this process.
#[derive(Debug, thiserror::Error)]
pub enum AccountingError {
    /// The log can't be read.
    #[error("accounting can't read the event log")]
    Read(#[source] ReadError),
    /// A record is whole but not understood: it may be money, so it is not passed over.
    #[error("accounting can't understand record {offset} of the event log; was it written by a newer version?")]
    Record {
        /// Its offset.
        offset: u64,
        /// What is wrong with it.
        source: EventError,
    },
    /// Grants or closes can't be appended.
    #[error("accounting can't append to the event log")]
    Append(#[source] AppendError),
    /// The ledger can't be read or committed.
    #[error("accounting can't use its store")]
    Store(#[source] StoreError),
    /// The thread can't be started.
    #[error("accounting's thread can't be started")]
    Thread(#[source] std::io::Error),
    /// A bug: an invariant did not hold.
    #[error("accounting panicked; its state is as of the last commit")]
    Panicked,
}

/// What is shared with whoever asks how it is.
#[derive(Default, Debug)]
struct Status {
    stop: AtomicBool,
    replayed: AtomicBool,
    ended: AtomicBool,
    cursor: AtomicU64,
    /// The register as of a moment ago.
    servers: Mutex<Vec<ServerEntry>>,
}

/// How accounting is, for health checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccountingWatch(Arc<Status>);

impl AccountingWatch {
    /// Whether the log was read to its end since the start: from then on leases are granted.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.0.replayed.load(Ordering::Acquire)
    }

    /// Whether the thread has ended, be it for an error or a bug.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// The register of servers, at most some seconds old, by id.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerEntry> {
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Says that the thread has ended, also when it ends in a panic.
struct EndedWhenDropped(Arc<Status>);

impl Drop for EndedWhenDropped {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Accounting, running. Dropping it stops it in good order.
#[derive(Debug)]
pub struct AccountingHandle {
    feed: SyncSender<Feed>,
    status: Arc<Status>,
    thread: Option<JoinHandle<Result<(), AccountingError>>>,
}

impl AccountingHandle {
    /// Tells it of a change of the catalogue. Waits while the channel is full. Not for an async worker.
    pub fn catalog_changed(&self, entities: Vec<Entity>) {
        // A thread that has ended is seen by `has_ended`; the change itself is durable in the catalogue.
        let _ = self.feed.send(Feed::CatalogChanged(entities));
    }

    /// Hands over a report, or leaves it out when the channel is full: the next one says it all. Never blocks.
    pub fn report(&self, report: ServerReport) {
        match self.feed.try_send(Feed::Report(report)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// This server drains: it gets no more leases. Waits while the channel is full. Not for an async worker.
    pub fn drain(&self) {
        // A thread that has ended gives no leases either.
        let _ = self.feed.send(Feed::Draining);
    }

    /// How it is, for whoever asks.
    #[must_use]
    pub fn watch(&self) -> AccountingWatch {
        AccountingWatch(Arc::clone(&self.status))
    }

    /// A sender of changes and reports, for a thread of its own.
    #[must_use]
    pub fn feed(&self) -> SyncSender<Feed> {
        self.feed.clone()
    }

    /// Whether the log was read to its end since the start: from then on leases are granted.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.status.replayed.load(Ordering::Acquire)
    }

    /// Offset after the last record applied.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.status.cursor.load(Ordering::Acquire)
    }

    /// Whether the thread has ended, be it for an error. Ask [`AccountingHandle::stop`] which.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Applies the log to its end, commits, and ends the thread. Whoever appends to the log should have stopped before.
    ///
    /// # Errors
    /// [`AccountingError`]: why it had stopped by itself, or could not do that.
    pub fn stop(mut self) -> Result<(), AccountingError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), AccountingError> {
        self.status.stop.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(AccountingError::Panicked)))
    }
}

impl Drop for AccountingHandle {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(error = &error as &dyn std::error::Error, "accounting stopped");
        }
    }
}

/// Starts accounting on a thread of its own. `send` hands a message to the decision server; it must not block for long.
///
/// # Errors
/// [`AccountingError`] when the store can't be loaded or the thread not started.
pub fn spawn(
    log: EventLog,
    store: LedgerStore,
    settings: ShellSettings,
    clock: Clock,
    metrics: Metrics,
    send: impl Fn(Message) + Send + 'static,
) -> Result<AccountingHandle, AccountingError> {
    let state = store.load().map_err(AccountingError::Store)?;
    let status = Arc::new(Status::default());
    let (feed, inbox) = sync_channel(FEED_MAX);
    let now = clock.now();
    let (server_id, boot_id) = (settings.machine.server_id, settings.machine.boot_id);
    let mut machine = AccountingMachine::new(settings.machine, state, now);
    let announcer = Announcer::open(&log, &mut machine, (server_id, boot_id))?;
    let shell = Shell {
        machine,
        announcer,
        log,
        store,
        faults: settings.faults,
        clock,
        metrics,
        send: Box::new(send),
        inbox,
        status: Arc::clone(&status),
        counted_at: now.monotonic,
        server: (server_id, boot_id),
        settle_margin_ms: settings.settle_margin_ms,
        marked_at: None,
    };
    let thread = std::thread::Builder::new()
        .name("accounting".to_owned())
        .spawn(move || {
            let _ended = EndedWhenDropped(Arc::clone(&shell.status));
            shell.run()
        })
        .map_err(AccountingError::Thread)?;
    Ok(AccountingHandle { feed, status, thread: Some(thread) })
}

struct Shell {
    machine: AccountingMachine,
    announcer: Announcer,
    log: EventLog,
    store: LedgerStore,
    faults: Faults,
    clock: Clock,
    metrics: Metrics,
    send: Box<dyn Fn(Message) + Send>,
    inbox: Receiver<Feed>,
    status: Arc<Status>,
    counted_at: MonotonicMs,
    /// This server, for which it speaks, and its run.
    server: (ServerId, BootId),
    settle_margin_ms: i64,
    marked_at: Option<MonotonicMs>,
}

impl Shell {
    fn run(mut self) -> Result<(), AccountingError> {
        self.say(ServerNews::Registered)?;
        loop {
            let stopping = self.status.stop.load(Ordering::Acquire);
            if !stopping {
                self.take_feed()?;
            }
            self.mark()?;
            let (read, at_end) = self.read()?;
            if stopping && at_end {
                return self.close();
            }
            if at_end && read == 0 {
                // The end of what is there is a bound to wait beyond; records of other topics wake it too, which does no harm.
                let _ = self.log.wait_beyond(Topic::Events, self.machine.cursor(), Duration::from_millis(IDLE_WAIT_MS));
            }
        }
    }

    fn take_feed(&mut self) -> Result<(), AccountingError> {
        loop {
            match self.inbox.try_recv() {
                Ok(Feed::CatalogChanged(entities)) => self.step(Input::CatalogChanged(entities))?,
                Ok(Feed::Report(report)) => self.reported(report)?,
                Ok(Feed::Draining) => self.say(ServerNews::Draining)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// A report of this process: the clocks are the same, so how long it was on its way is known.
    fn reported(&mut self, mut report: ServerReport) -> Result<(), AccountingError> {
        let now = self.clock.now();
        // Each of four readings is cut to its millisecond.
        report.transit_ms = now.monotonic.since(report.at.monotonic).saturating_add(2);
        self.step_at(Input::ServerReport(report), now)
    }

    fn say(&mut self, news: ServerNews) -> Result<(), AccountingError> {
        let (server_id, boot_id) = self.server;
        self.step(Input::Server(ServerSays { server_id, boot_id, news }))
    }

    /// Marks how far this server's journal, which is the log, is complete.
    fn mark(&mut self) -> Result<(), AccountingError> {
        let Now { wall, monotonic } = self.clock.now();
        if self.marked_at.is_some_and(|at| monotonic.since(at) < MARK_EVERY_MS) {
            return Ok(());
        }
        self.marked_at = Some(monotonic);
        // The clock before the end: what was received until then, less the margin, lies before the end.
        let shipped_end = self.log.durable_end(Topic::Events);
        self.say(ServerNews::Complete { until: wall.plus_ms(-self.settle_margin_ms), shipped_end })
    }

    /// This server has ended and all that it acknowledged is applied: its last mark, and the last commit.
    fn close(&mut self) -> Result<(), AccountingError> {
        let (until, shipped_end) = (self.clock.now().wall, self.machine.cursor());
        self.say(ServerNews::Closed { until, shipped_end })?;
        self.commit_rest()
    }

    /// Reads and applies the next records. Returns how many, and whether that was all.
    fn read(&mut self) -> Result<(usize, bool), AccountingError> {
        // Before the read: what is appended while it runs is not counted as read.
        let end = self.log.durable_end(Topic::Events);
        let from = self.machine.cursor();
        let batch = match self.log.read(Topic::Events, None, from, READ_RECORDS_MAX, READ_BYTES_MAX) {
            Ok(batch) => batch,
            Err(ReadError::Journal(journal::ReadError::Damaged { damage, resume_at })) => {
                // What is lost can't be billed; what comes after can. Audit and health name the damage.
                tracing::error!(%damage, resume_at, "accounting passes over damaged records");
                self.step(Input::Records(Batch { records: Vec::new(), next: resume_at, end }))?;
                return Ok((0, resume_at >= end));
            }
            Err(error) => return Err(AccountingError::Read(error)),
        };
        let next = batch.next_offset;
        let records = batch.records.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        let read = records.len();
        // Also when nothing was read: the machine learns that it is at the end, and that time passes.
        self.step(Input::Records(Batch { records, next, end }))?;
        self.metrics.set(Metric::AccountingLag, end.saturating_sub(next));
        Ok((read, next >= end))
    }

    fn step(&mut self, input: Input) -> Result<(), AccountingError> {
        self.step_at(input, self.clock.now())
    }

    fn step_at(&mut self, input: Input, now: Now) -> Result<(), AccountingError> {
        let effects = self.machine.step(input, now);
        self.count(&effects);
        if !effects.append.is_empty() {
            let records = effects.append.iter().map(records::encode).collect();
            self.log.append_blocking(records).map_err(AccountingError::Append)?;
        }
        if let Some(commit) = &effects.commit {
            self.commit(commit)?;
        }
        effects.messages.into_iter().for_each(&self.send);
        self.status.cursor.store(self.machine.cursor(), Ordering::Release);
        self.status.replayed.store(self.machine.is_replayed(), Ordering::Release);
        self.show_servers();
        Ok(())
    }

    /// Shows the register to whoever asks; where it changed, which is seldom more than once a second.
    fn show_servers(&self) {
        let mut shown = self.status.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.iter().eq(self.machine.register().entries()) {
            *shown = self.machine.register().entries().cloned().collect();
        }
    }

    /// Two passes of the fault point a commit: before it (odd ones) and after it (even ones).
    fn commit(&mut self, commit: &Commit) -> Result<(), AccountingError> {
        self.faults.reach(FaultPoint::AccountingCommit);
        self.store.commit(commit).map_err(AccountingError::Store)?;
        self.faults.reach(FaultPoint::AccountingCommit);
        self.announcer.announce(&self.log, &commit.sealed.checkpoints)
    }

    fn commit_rest(&mut self) -> Result<(), AccountingError> {
        let now = self.clock.now();
        let commit = self.machine.finish(now);
        commit.map_or(Ok(()), |commit| self.commit(&commit))
    }

    fn count(&mut self, effects: &RoleEffects) {
        for outcome in &effects.outcomes {
            let event = match outcome {
                Outcome::Granted(_) => {
                    self.metrics.add(Metric::LeasesGranted, 1);
                    "granted"
                }
                Outcome::Returned(_) => "returned",
                Outcome::Closed(_) => "closed",
                Outcome::Reversed { .. } => "reversed",
                Outcome::Settled { price, .. } => {
                    self.metrics.add(Metric::SettledMicros, u64::try_from(price.0).unwrap_or(0));
                    "settled"
                }
                Outcome::Unbilled(reason) => {
                    self.metrics.add_labelled(Metric::Unbilled, &[reason.name()], 1);
                    "unbilled"
                }
                Outcome::Counted => "counted",
                Outcome::Repeated => "repeated",
                Outcome::Ignored(reason) => reason.name(),
            };
            self.metrics.add_labelled(Metric::AccountingApplied, &[event], 1);
        }
        for refusal in &effects.refused {
            self.metrics.add_labelled(Metric::ServersRefused, &[refusal.name()], 1);
        }
        let now = self.clock.now().monotonic;
        if now.since(self.counted_at) >= GAUGE_MS {
            self.counted_at = now;
            self.metrics.set(Metric::LeasesOpen, self.machine.open_leases() as u64);
        }
    }
}

fn decode(record: &Record) -> Result<LogRecord, AccountingError> {
    let envelope =
        events::decode(&record.payload).map_err(|source| AccountingError::Record { offset: record.offset, source })?;
    Ok(LogRecord { offset: record.offset, digest: record_digest(&record.payload), envelope })
}
