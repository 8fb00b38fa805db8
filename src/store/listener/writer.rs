//! The thread that writes listeners' rows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::StoreError;
use super::backend::{ListenerChange, QUEUE};
use super::rows::Rows;
use crate::background;
use crate::model::ListenerKey;

/// Most changes in one batch.
const BATCH: usize = 1_024;
/// After a batch of changes the writer rests for so long: the next batch is of all that came meanwhile, and those who hand over need not wake it. Nobody waits
/// for a change; who waits for a flush waits a moment longer.
const REST: Duration = Duration::from_millis(20);

type Answer = SyncSender<Result<(), StoreError>>;

enum Job {
    Write(Box<ListenerChange>),
    Forget(ListenerKey, Answer),
    Flush(Answer),
}

/// The handle of the writer thread; dropping it writes what is left and ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<SyncSender<Job>>,
    dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(rows: Rows) -> Self {
        let (queue, jobs) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("listeners".to_owned())
            .spawn(move || {
                background::give_way();
                run(&rows, &jobs, &counter);
            })
            .expect("the operating system gives a thread at the start");
        Self { queue: Some(queue), dropped, thread: Mutex::new(Some(thread)) }
    }

    /// Hands a change over; drops and counts it when the writer is behind.
    pub(super) fn offer(&self, change: ListenerChange) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Job::Write(Box::new(change)))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deletes a listener's rows, after all changes handed over before.
    pub(super) fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        self.ask(|answer| Job::Forget(key, answer))
    }

    /// Waits until all changes handed over before are written and synced.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.ask(Job::Flush)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Result<(), StoreError> {
        let (answer, answered) = sync_channel(1);
        let queue = self.queue.as_ref().ok_or(StoreError::WriterGone { what: "listeners" })?;
        queue.send(job(answer)).map_err(|_| StoreError::WriterGone { what: "listeners" })?;
        answered.recv().map_err(|_| StoreError::WriterGone { what: "listeners" })?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the writer has been printed by then; there is nobody left to tell.
        let _ = thread.map(JoinHandle::join);
    }
}

fn run(rows: &Rows, jobs: &Receiver<Job>, dropped: &AtomicU64) {
    let mut batch = Vec::new();
    while let Ok(first) = jobs.recv() {
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Write(change) => {
                    batch.push(*change);
                    next = if batch.len() < BATCH { jobs.try_recv().ok() } else { None };
                }
                Job::Forget(key, answer) => {
                    write(rows, &mut batch, dropped);
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(rows.forget(key));
                    next = None;
                }
                Job::Flush(answer) => {
                    write(rows, &mut batch, dropped);
                    let _ = answer.send(rows.sync());
                    next = None;
                }
            }
        }
        if !batch.is_empty() {
            write(rows, &mut batch, dropped);
            std::thread::sleep(REST);
        }
    }
}

/// Writes the batch; what the disk refuses is dropped and counted, since soft caps may forget.
fn write(rows: &Rows, batch: &mut Vec<ListenerChange>, dropped: &AtomicU64) {
    if batch.is_empty() {
        return;
    }
    match rows.apply(batch) {
        Ok(()) => batch.drain(..).for_each(|change| change.receipt.written()),
        Err(error) => {
            tracing::error!(%error, changes = batch.len(), "listeners' rows were not written");
            dropped.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            batch.clear();
        }
    }
}
