//! What does accounting's I/O around the machine: reads the log, turns the crank, appends, commits, tells the servers.
//!
//! One thread, blocking: the log, the store and the machine are used from nowhere else, so nothing is locked. What comes in (catalogue changes,
//! reports, servers' words) waits in a bounded channel. An error ends the thread: accounting that can't read or commit must not grant; whoever started
//! it says so and begins anew, from the last commit.
//!
//! Where the log is, and how what accounting makes gets into it, is a [`Ground`]: this server's own journal ([`super::embedded`]), or a partition of a
//! log that servers share ([`super::shared`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::sealed::Announcer;
use super::{
    AccountingMachine, Batch, Input, LogRecord, MachineSettings, Message, RoleEffects, ServerNews, ServerReport,
    ServerSays,
};
use crate::accounting::{Commit, Outcome, ServerEntry, record_digest};
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::ending::Ending;
use crate::event_log::{AppendError, LogError, NewRecord, ReadError, Record};
use crate::events::{self, Event, EventError};
use crate::journal::{FaultPoint, Faults};
use crate::model::{BootId, MonotonicMs, Now, ServerId, WallMs};
use crate::roles::records;
use crate::store::{LedgerStore, OwnsLedger as _, StoreError};
use crate::telemetry::{Metric, Metrics};

/// Records of one read: some milliseconds of work, so that a stop is noticed soon.
pub(super) const READ_RECORDS_MAX: usize = 8_192;
/// Changes and reports that may wait: some seconds of reports, or an import in chunks. When full, a sender of changes waits and a report is
/// left out (the next one says it all).
pub(super) const FEED_MAX: usize = 64;
/// Time between two marks of this server, in milliseconds.
const MARK_EVERY_MS: u64 = 1_000;
/// Time between two counts of open leases for the metrics, in milliseconds.
const GAUGE_MS: u64 = 5_000;

/// What accounting is told while it runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Feed {
    /// Entities as of their newest revision. At the start: the whole catalogue.
    CatalogChanged(Vec<Entity>),
    /// What a decision server did. It was [on its way](ServerReport::transit_ms) until `came`, and has waited here since.
    Report {
        /// The report.
        report: ServerReport,
        /// When it came, by this process's clock.
        came: MonotonicMs,
    },
    /// What a server says of itself.
    Server(ServerSays),
}

/// What the thread needs to know.
#[derive(Clone, Debug)]
pub struct ShellSettings {
    /// The machine's settings. The server named there is the one that this thread runs in.
    pub machine: MachineSettings,
    /// Longest time from a record's stamp to its place in the log, in milliseconds.
    pub settle_margin_ms: i64,
    /// Deaths on order, for the crash tests.
    pub faults: Faults,
}

/// Why accounting stopped. None of these is worth a retry without a new beginning from the last commit.
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
    /// The log that servers share refuses; another owner may have taken the partition.
    #[error("accounting can't use the shared event log")]
    Shared(#[from] LogError),
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

/// Records of the log, and how far they reach.
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    /// Where reading goes on.
    pub(super) next: u64,
    /// The end of the log when the read began, or some seconds before.
    pub(super) end: u64,
}

/// The log as accounting uses it.
pub(super) trait Ground: Send {
    /// The next records from `from` on.
    fn read(&mut self, from: u64, now: Now) -> Result<Read, AccountingError>;
    /// Puts records into the log, and messages where they travel through it: durable now, or with the next [`Ground::flush`].
    fn append(&mut self, records: Vec<NewRecord>, messages: &[Message]) -> Result<(), AccountingError>;
    /// Makes durable what was put into the log until now, together with the note that it was read up to `cursor`.
    fn flush(&mut self, cursor: u64, now: Now) -> Result<(), AccountingError>;
    /// Hands messages over that don't travel through the log.
    fn tell(&mut self, messages: Vec<Message>);
    /// A record that is whole can't be understood: is it put aside, or is that the end?
    fn put_aside(&mut self, record: &Record, error: EventError, now: Now) -> Result<(), AccountingError>;
    /// Waits for records at or behind `cursor`, for some milliseconds at most.
    fn wait(&mut self, cursor: u64);
    /// The end of the log that this very server writes, if it does: then it speaks for itself.
    fn own_end(&self) -> Option<u64>;
}

/// What is shared with whoever asks how it is.
#[derive(Default, Debug)]
pub(super) struct Status {
    pub(super) stop: AtomicBool,
    pub(super) replayed: AtomicBool,
    pub(super) ended: Ending,
    pub(super) cursor: AtomicU64,
    /// For whoever adds up what several owners have; they order nothing.
    pub(super) lag: AtomicU64,
    pub(super) open_leases: AtomicU64,
    /// The register as of a moment ago.
    servers: Mutex<Vec<ServerEntry>>,
}

/// How accounting is, for health checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccountingWatch(pub(super) Arc<Status>);

impl AccountingWatch {
    /// Whether the log was read to its end since the start: from then on leases are granted.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.0.replayed.load(Ordering::Acquire)
    }

    /// Whether the thread has ended, be it for an error or a bug.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.has_ended()
    }

    /// The register of servers, at most some seconds old, by id.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerEntry> {
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread's state.
pub(super) struct Shell<G> {
    pub(super) machine: AccountingMachine,
    pub(super) announcer: Announcer,
    pub(super) ground: G,
    pub(super) store: LedgerStore,
    pub(super) faults: Faults,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) inbox: Receiver<Feed>,
    pub(super) status: Arc<Status>,
    pub(super) counted_at: MonotonicMs,
    /// This server and its run.
    pub(super) server: (ServerId, BootId),
    pub(super) settle_margin_ms: i64,
    pub(super) marked_at: Option<MonotonicMs>,
}

impl<G: Ground> Shell<G> {
    /// Appends what the log lacks of what the books have.
    pub(super) fn begin(&mut self, unannounced: Vec<NewRecord>) -> Result<(), AccountingError> {
        self.ground.append(unannounced, &[])
    }

    /// Runs until it is stopped or can't go on.
    pub(super) fn run(mut self) -> Result<(), AccountingError> {
        let speaks = self.ground.own_end().is_some();
        if speaks {
            self.say(ServerNews::Registered)?;
        }
        loop {
            let stopping = self.status.stop.load(Ordering::Acquire);
            if stopping && !speaks {
                return self.commit_rest();
            }
            if !stopping {
                self.take_feed()?;
            }
            self.mark()?;
            let (read, at_end) = self.read()?;
            self.ground.flush(self.machine.cursor(), self.clock.now())?;
            if stopping && at_end {
                return self.close();
            }
            if at_end && read == 0 {
                self.ground.wait(self.machine.cursor());
            }
        }
    }

    fn take_feed(&mut self) -> Result<(), AccountingError> {
        loop {
            match self.inbox.try_recv() {
                Ok(Feed::CatalogChanged(entities)) => self.step(Input::CatalogChanged(entities))?,
                // Reports come every second: where one takes longer, the log would never be read between them.
                Ok(Feed::Report { report, came }) => return self.reported(report, came),
                Ok(Feed::Server(says)) => self.step(Input::Server(says))?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// A report waits a while before it is looked at, and the clocks that it tells of go on.
    fn reported(&mut self, mut report: ServerReport, came: MonotonicMs) -> Result<(), AccountingError> {
        let now = self.clock.now();
        // Each of four readings is cut to its millisecond.
        let waited_ms = now.monotonic.since(came).saturating_add(2);
        report.transit_ms = report.transit_ms.saturating_add(waited_ms);
        self.step_at(Input::ServerReport(report), now)
    }

    fn say(&mut self, news: ServerNews) -> Result<(), AccountingError> {
        let (server_id, boot_id) = self.server;
        self.step(Input::Server(ServerSays { server_id, boot_id, news }))
    }

    /// Marks how far this server's journal is complete, where that is the log.
    fn mark(&mut self) -> Result<(), AccountingError> {
        let Now { wall, monotonic } = self.clock.now();
        if self.marked_at.is_some_and(|at| monotonic.since(at) < MARK_EVERY_MS) {
            return Ok(());
        }
        // The clock before the end: what was received until then, less the margin, lies before the end.
        let Some(shipped_end) = self.ground.own_end() else { return Ok(()) };
        self.marked_at = Some(monotonic);
        self.say(ServerNews::Complete { until: wall.plus_ms(-self.settle_margin_ms), shipped_end })
    }

    /// This server has ended and all that it acknowledged is applied: its last mark, and the last commit with its checkpoint.
    fn close(&mut self) -> Result<(), AccountingError> {
        let (until, shipped_end) = (self.clock.now().wall, self.machine.cursor());
        self.say(ServerNews::Closed { until, shipped_end })?;
        let now = self.clock.now();
        let commit = self.machine.finish(now);
        commit.map_or(Ok(()), |commit| self.commit(&commit, now))
    }

    /// The last commit of an owner that hands its partition on. No checkpoint: the next owner seals it where the log says that it is due.
    fn commit_rest(&mut self) -> Result<(), AccountingError> {
        let now = self.clock.now();
        let commit = self.machine.rest(now);
        commit.map_or(Ok(()), |commit| self.commit(&commit, now))?;
        self.ground.flush(self.machine.cursor(), now)
    }

    /// Reads and applies the next records. Returns how many, and whether that was all.
    fn read(&mut self) -> Result<(usize, bool), AccountingError> {
        let Read { records, next, end } = self.ground.read(self.machine.cursor(), self.clock.now())?;
        let read = records.len();
        let records = self.understood(&records)?;
        let (servers, ages) = told_by_servers(&records, self.clock.now().wall);
        let made_here = records.len() as u64 - servers;
        // Also when nothing was read: the machine learns that it is at the end, and that time passes.
        self.step(Input::Records(Batch { records, next, end }))?;
        for (maker, count) in
            [("servers", servers), ("accounting", made_here)].into_iter().filter(|(_, count)| *count > 0)
        {
            self.metrics.add_labelled(Metric::AccountingRecords, &[maker], count);
        }
        for age in ages {
            self.metrics.observe_seconds(Metric::BeaconAge, age);
        }
        self.status.lag.store(end.saturating_sub(next), Ordering::Relaxed);
        if self.ground.own_end().is_some() {
            self.metrics.set(Metric::AccountingLag, end.saturating_sub(next));
        }
        Ok((read, next >= end))
    }

    /// What the records say. Those that can't be understood are put aside, where the log has a place for them.
    fn understood(&mut self, records: &[Record]) -> Result<Vec<LogRecord>, AccountingError> {
        let mut understood = Vec::with_capacity(records.len());
        for record in records {
            match events::decode(&record.payload) {
                Ok(envelope) => {
                    let digest = record_digest(&record.payload);
                    understood.push(LogRecord { offset: record.offset, digest, envelope });
                }
                Err(error) => {
                    self.ground.put_aside(record, error, self.clock.now())?;
                    self.metrics.add(Metric::DeadLetters, 1);
                }
            }
        }
        Ok(understood)
    }

    fn step(&mut self, input: Input) -> Result<(), AccountingError> {
        self.step_at(input, self.clock.now())
    }

    fn step_at(&mut self, input: Input, now: Now) -> Result<(), AccountingError> {
        let effects = self.machine.step(input, now);
        self.count(&effects);
        let mut records: Vec<_> = effects.append.iter().map(records::encode).collect();
        records.extend(effects.statements.iter().map(records::of_delivery));
        self.ground.append(records, &effects.messages)?;
        if let Some(commit) = &effects.commit {
            self.commit(commit, now)?;
        }
        self.ground.tell(effects.messages);
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
    fn commit(&mut self, commit: &Commit, now: Now) -> Result<(), AccountingError> {
        // What was made of the records before the cursor is in the log before the store says that they are done with.
        self.ground.flush(commit.cursor, now)?;
        self.faults.reach(FaultPoint::AccountingCommit);
        self.store.commit(commit).map_err(AccountingError::Store)?;
        self.faults.reach(FaultPoint::AccountingCommit);
        let announced = self.announcer.announce(&commit.sealed.checkpoints);
        if announced.is_empty() {
            return Ok(());
        }
        self.ground.append(announced, &[])
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
            let open = self.machine.open_leases() as u64;
            self.status.open_leases.store(open, Ordering::Relaxed);
            if self.ground.own_end().is_some() {
                self.metrics.set(Metric::LeasesOpen, open);
            }
        }
    }
}

/// How many of the records servers made, and how old its beacons are, in seconds.
fn told_by_servers(records: &[LogRecord], now: WallMs) -> (u64, Vec<f64>) {
    let (mut servers, mut ages) = (0, Vec::new());
    for LogRecord { envelope, .. } in records {
        match &envelope.body {
            Event::Beacon(_) => {
                // A server's clock may be ahead by a little.
                let age_ms = u64::try_from(now.since(envelope.received_at)).unwrap_or(0);
                ages.push(Duration::from_millis(age_ms).as_secs_f64());
                servers += 1;
            }
            Event::LeaseReturned(_) => servers += 1,
            Event::LeaseGranted(_)
            | Event::LeaseClosed(_)
            | Event::Reversal(_)
            | Event::Decision(_)
            | Event::Catalog(_)
            | Event::Ledger(_) => {}
        }
    }
    (servers, ages)
}
