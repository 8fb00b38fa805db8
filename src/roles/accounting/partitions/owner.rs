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
use crate::clock::Clock;
use crate::event_log::{LogError, SharedLog};
use crate::model::{BootId, MonotonicMs};
use crate::store::{LedgerStore, OwnsLedger as _};
use crate::telemetry::Metrics;

/// An owner at work, or the pause before it is begun anew.
pub(super) struct Owner {
    pub(super) backlog: Backlog,
    /// When it failed.
    pub(super) failed_at: Option<MonotonicMs>,
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

    /// Waits for its end, and says why it ended where that was no order.
    pub(super) fn join(self, partition: u32) {
        match self.thread.join().unwrap_or(Err(AccountingError::Panicked)) {
            Ok(()) => {}
            Err(AccountingError::Shared(LogError::Fenced(_))) => {
                tracing::info!(partition, "another process owns the partition now");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    partition,
                    error,
                    "the owner of a partition stopped; it is begun anew from its last commit"
                );
            }
        }
    }
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
        let status = Arc::clone(&self.status);
        let thread = std::thread::Builder::new()
            .name(format!("accounting-{}", self.settings.machine.partition))
            .spawn(move || self.run())
            .map_err(AccountingError::Thread)?;
        Ok(Owner { backlog, failed_at: None, status, thread })
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
