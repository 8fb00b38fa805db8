//! Accounting over this server's own journal: one partition for all advertisers, one server, in one process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sealed::Announcer;
use super::shell::{
    AccountingError, AccountingWatch, FEED_MAX, Feed, Ground, READ_RECORDS_MAX, Read, Shell, ShellSettings, Status,
};
use super::{AccountingMachine, Message, ServerNews, ServerSays};
use crate::background;
use crate::catalog::Entity;
use crate::clock::Clock;
use crate::event_log::{EventLog, NewRecord, ReadError, Record, Topic};
use crate::events::EventError;
use crate::journal;
use crate::model::{BootId, Now, ServerId};
use crate::store::{LedgerStore, OwnsLedger as _};
use crate::telemetry::Metrics;

/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;
/// How long to wait for records when there are none; also how long a catalogue change may wait.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// Accounting, running. Dropping it stops it in good order.
#[derive(Debug)]
pub struct AccountingHandle {
    server: (ServerId, BootId),
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

    /// This server drains: it gets no more leases. Waits while the channel is full. Not for an async worker.
    pub fn drain(&self) {
        let (server_id, boot_id) = self.server;
        // A thread that has ended gives no leases either.
        let _ = self.feed.send(Feed::Server(ServerSays { server_id, boot_id, news: ServerNews::Draining }));
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
    let mut announcer = Announcer::new((server_id, boot_id));
    let unannounced = announcer.catch_up(&log, &mut machine)?;
    let ground = OwnJournal { log, send: Box::new(send) };
    let mut shell = Shell {
        machine,
        announcer,
        ground,
        store,
        faults: settings.faults,
        clock,
        metrics,
        inbox,
        status: Arc::clone(&status),
        counted_at: now.monotonic,
        server: (server_id, boot_id),
        settle_margin_ms: settings.settle_margin_ms,
        marked_at: None,
    };
    shell.begin(unannounced)?;
    let thread = std::thread::Builder::new()
        .name("accounting".to_owned())
        .spawn(move || {
            background::give_way();
            let _running = shell.status.ended.guard();
            shell.run()
        })
        .map_err(AccountingError::Thread)?;
    Ok(AccountingHandle { server: (server_id, boot_id), feed, status, thread: Some(thread) })
}

/// The journal of this server is the log.
struct OwnJournal {
    log: EventLog,
    send: Box<dyn Fn(Message) + Send>,
}

impl Ground for OwnJournal {
    fn read(&mut self, from: u64, _: Now) -> Result<Read, AccountingError> {
        // Before the read: what is appended while it runs is not counted as read.
        let end = self.log.durable_end(Topic::Events);
        match self.log.read(Topic::Events, None, from, READ_RECORDS_MAX, READ_BYTES_MAX) {
            Ok(batch) => Ok(Read { records: batch.records, next: batch.next_offset, end }),
            Err(ReadError::Journal(journal::ReadError::Damaged { damage, resume_at })) => {
                // What is lost can't be billed; what comes after can. Audit and health name the damage.
                tracing::error!(%damage, resume_at, "accounting passes over damaged records");
                Ok(Read { records: Vec::new(), next: resume_at, end })
            }
            Err(error) => Err(AccountingError::Read(error)),
        }
    }

    fn append(&mut self, records: Vec<NewRecord>, _: &[Message]) -> Result<(), AccountingError> {
        if records.is_empty() {
            return Ok(());
        }
        self.log.append_blocking(records).map_err(AccountingError::Append).map(drop)
    }

    fn flush(&mut self, _: u64, _: Now) -> Result<(), AccountingError> {
        Ok(())
    }

    fn tell(&mut self, messages: Vec<Message>) {
        messages.into_iter().for_each(&self.send);
    }

    fn put_aside(&mut self, record: &Record, source: EventError, _: Now) -> Result<(), AccountingError> {
        // It may be money, and there is nobody to look at it here: nothing is granted until a version runs that understands it.
        Err(AccountingError::Record { offset: record.offset, source })
    }

    fn wait(&mut self, cursor: u64) {
        // The end of what is there is a bound to wait beyond; records of other topics wake it too, which does no harm.
        let _ = self.log.wait_beyond(Topic::Events, cursor, IDLE_WAIT);
    }

    fn own_end(&self) -> Option<u64> {
        Some(self.log.durable_end(Topic::Events))
    }
}
