//! The owner of one partition: a thread that claims it, loads its books and runs accounting's shell over it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use super::super::AccountingMachine;
use super::super::sealed::Announcer;
use super::super::shared::OwnedPartition;
use super::super::shell::{AccountingError, AccountingWatch, Feed, Shell, ShellSettings, Status};
use super::backlog::Backlog;
use crate::background;
use crate::clock::Clock;
use crate::event_log::{LogError, SharedLog};
use crate::model::{BootId, MonotonicMs};
use crate::patience::{Backoff, Reminder};
use crate::store::{LedgerStore, OwnsLedger as _};
use crate::telemetry::Metrics;

/// An owner at work.
pub(super) struct Owner {
    pub(super) backlog: Backlog,
    pub(super) begun_at: MonotonicMs,
    status: Arc<Status>,
    thread: JoinHandle<Result<(), AccountingError>>,
}

impl Owner {
    /// Asks it to commit what is applied and to end.
    pub(super) fn stop(&self) {
        self.status.stop.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    pub(super) fn watch(&self) -> AccountingWatch {
        AccountingWatch(Arc::clone(&self.status))
    }

    /// Waits for its end; why it ended where that was no order, and nobody else owns the partition.
    pub(super) fn join(self, partition: u32) -> Option<AccountingError> {
        match self.thread.join().unwrap_or(Err(AccountingError::Panicked)) {
            Ok(()) => None,
            Err(AccountingError::Shared(LogError::Fenced(_))) => {
                tracing::info!(partition, "another process owns the partition now");
                None
            }
            Err(error) => Some(error),
        }
    }
}

/// Shortest pause before a partition whose owner failed is begun anew, in milliseconds.
const RETRY_MS: u64 = 1_000;
/// Longest pause, in milliseconds: half of what a recovery may take once Kafka and CQL are back. Who lived for longer begins with the shortest.
const RETRY_MOST_MS: u64 = 15_000;

/// When a partition whose owner failed is begun anew.
pub(super) struct Retry {
    pause: Backoff,
    due: MonotonicMs,
    reminder: Reminder,
}

impl Default for Retry {
    fn default() -> Self {
        Self { pause: Backoff::new(RETRY_MS, RETRY_MOST_MS), due: MonotonicMs(0), reminder: Reminder::default() }
    }
}

impl Retry {
    /// An owner that began at `begun_at` has ended, for this reason if it was one: it is begun anew after a pause, which grows while owners fail soon.
    pub(super) fn ended(
        &mut self,
        partition: u32,
        begun_at: MonotonicMs,
        why: Option<&AccountingError>,
        now: MonotonicMs,
    ) {
        if now.since(begun_at) > RETRY_MOST_MS {
            self.pause.worked();
            self.reminder.works();
        }
        let pause_ms = self.pause.failed();
        self.due = MonotonicMs(now.0.saturating_add(pause_ms));
        let Some(error) = why else { return };
        let said = chain(error);
        if self.reminder.fails(&said, now) {
            tracing::error!(
                partition,
                error = said,
                pause_ms,
                "the owner of a partition stopped; it is begun anew from its last commit"
            );
        }
    }

    /// Whether the pause is over.
    pub(super) fn is_due(&self, now: MonotonicMs) -> bool {
        now >= self.due
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said.push_str(": ");
        said.push_str(&cause.to_string());
        source = cause.source();
    }
    said
}

/// All that an owner begins with.
pub(super) struct Beginning<L> {
    pub(super) log: L,
    pub(super) ledger: LedgerStore,
    pub(super) settings: ShellSettings,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) inbox: Receiver<Feed>,
    pub(super) status: Arc<Status>,
}

impl<L: SharedLog> Beginning<L> {
    /// Begins on a thread of its own; what the owner is to be told waits in `backlog`.
    pub(super) fn spawn(self, backlog: Backlog) -> Result<Owner, AccountingError> {
        let (status, begun_at) = (Arc::clone(&self.status), self.clock.now().monotonic);
        let thread = std::thread::Builder::new()
            .name(format!("accounting-{}", self.settings.machine.partition))
            .spawn(move || {
                background::give_way();
                self.run()
            })
            .map_err(AccountingError::Thread)?;
        Ok(Owner { backlog, begun_at, status, thread })
    }

    /// Claims the partition, loads its books as of the last commit, and runs until it is stopped or can't go on.
    fn run(self) -> Result<(), AccountingError> {
        let Self { log, ledger, settings, clock, metrics, inbox, status } = self;
        let now = clock.now();
        let server = (settings.machine.server_id, settings.machine.boot_id);
        let partition = settings.machine.partition;
        let mut machine = None;
        let ground = OwnedPartition::claim(&log, partition, server, now.monotonic, || {
            // After the claim: the owner before changes neither log nor books any more.
            let state = ledger.load().map_err(AccountingError::Store)?;
            let begun = machine.insert(AccountingMachine::new(settings.machine.clone(), state, now));
            Ok(begun.cursor())
        })?;
        let machine = machine.expect("a claim that stands has asked where to begin");
        tracing::info!(partition, cursor = machine.cursor(), "accounting owns a partition");
        let mut announcer = Announcer::new(server);
        // The store's newest may not be in the log: its owner may have died in between.
        let unannounced = announcer.announce(machine.checkpoint().copied().as_slice());
        let mut shell = Shell {
            ground,
            store: ledger,
            faults: settings.faults,
            counted_at: now.monotonic,
            settle_margin_ms: settings.settle_margin_ms,
            marked_at: None,
            announcer,
            machine,
            clock,
            metrics,
            inbox,
            status,
            server,
        };
        shell.begin(unannounced)?;
        shell.run()
    }
}

/// What no other owner's life has, in this process or another.
pub(super) fn namer(boot_id: BootId, partition: u32, life: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segue.lease.namer.v1");
    hasher.update(&boot_id.to_bytes());
    hasher.update(&partition.to_be_bytes());
    hasher.update(&life.to_be_bytes());
    let mut namer = [0; 16];
    namer.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    namer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_fails_again_and_again_is_begun_ever_more_rarely_and_one_that_lived_soon() {
        let (mut retry, mut now) = (Retry::default(), MonotonicMs(0));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let begun_at = now;
            now = MonotonicMs(now.0 + 10);
            retry.ended(3, begun_at, Some(&AccountingError::Panicked), now);
            pauses.push(retry.due.since(now));
            assert!(!retry.is_due(now));
            now = retry.due;
            assert!(retry.is_due(now));
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        let begun_at = now;
        now = MonotonicMs(now.0 + RETRY_MOST_MS + 1);
        retry.ended(3, begun_at, None, now);
        assert_eq!(retry.due.since(now), RETRY_MS);
    }
}
