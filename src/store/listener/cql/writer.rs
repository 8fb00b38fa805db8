//! The task that writes listeners' rows into CQL: many changes at once, in no order but that of a listener's heads, which are stamped as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use scylla::policies::timestamp_generator::{MonotonicTimestampGenerator, TimestampGenerator as _};
use scylla::value::CqlTimestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::super::super::StoreError;
use super::super::super::cql::CqlTrouble;
use super::super::backend::{ListenerChange, QUEUE};
use super::super::format::{stored_owned_exposure, week_of};
use super::in_column;
use super::statements::{Said, Statements, stamp};
use crate::model::{Exposure, ExposureState, ListenerKey};

/// Changes that are being written at once. Each is a few statements; two thousand of them are what a connection takes without waiting.
const WRITES_MAX: usize = 256;

enum Job {
    Write(Box<ListenerChange>),
    /// Answered with the changes that could not be written since the last time.
    Settle(oneshot::Sender<u64>),
}

/// The handle of the task; when it is dropped the task ends with what was handed over.
pub(super) struct Writer {
    queue: Sender<Job>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(at: &Arc<Statements>) -> Self {
        let (queue, jobs) = channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let written = Written { at: Arc::clone(at), dropped: Arc::clone(&dropped), has_failed: AtomicBool::new(false) };
        // Ends when the queue does; whoever wants to know asks it to settle.
        at.session.runtime().spawn(run(Arc::new(written), jobs));
        Self { queue, dropped }
    }

    /// Hands a change over; drops and counts it when the task is behind.
    pub(super) fn offer(&self, change: ListenerChange) {
        if self.queue.try_send(Job::Write(Box::new(change))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all changes handed over before are written or could not be; how many could not since the last time.
    pub(super) async fn settle(&self) -> Result<u64, StoreError> {
        let gone = || StoreError::WriterGone { what: "listeners" };
        let (answer, answered) = oneshot::channel();
        self.queue.send(Job::Settle(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn run(written: Arc<Written>, mut jobs: Receiver<Job>) {
    let stamps = MonotonicTimestampGenerator::new();
    let mut writing = JoinSet::new();
    let mut told = 0;
    loop {
        tokio::select! {
            Some(job) = jobs.recv(), if writing.len() < WRITES_MAX => match job {
                Job::Write(change) => {
                    let stamp = stamps.next_timestamp();
                    writing.spawn(write(Arc::clone(&written), *change, stamp));
                }
                Job::Settle(answer) => {
                    while writing.join_next().await.is_some() {}
                    let dropped = written.dropped.load(Ordering::Relaxed);
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(dropped - std::mem::replace(&mut told, dropped));
                }
            },
            Some(_) = writing.join_next(), if !writing.is_empty() => {}
            else => break,
        }
    }
}

/// What the writes share.
struct Written {
    at: Arc<Statements>,
    dropped: Arc<AtomicU64>,
    /// Whether the last one failed: the first failure is logged, and the end of them.
    has_failed: AtomicBool,
}

async fn write(written: Arc<Written>, change: ListenerChange, head_stamp: i64) {
    let done = written.write(&change, head_stamp).await;
    // Relaxed: it only chooses what is logged.
    match done {
        Ok(()) => {
            change.receipt.written();
            if written.has_failed.swap(false, Ordering::Relaxed) {
                tracing::info!("listeners' rows are written again");
            }
        }
        Err(error) => {
            written.dropped.fetch_add(1, Ordering::Relaxed);
            if !written.has_failed.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "listeners' rows are not written; soft caps may forget");
            }
        }
    }
}

impl Written {
    async fn write(&self, change: &ListenerChange, head_stamp: i64) -> Result<(), CqlTrouble> {
        let (put, head) = tokio::join!(self.exposures(change), self.head(change, head_stamp));
        put.and(head)
    }

    async fn head(&self, change: &ListenerChange, stamp: i64) -> Result<(), CqlTrouble> {
        let Some(head) = &change.head else { return Ok(()) };
        let values = (stamp, head.as_slice(), change.key.0.as_slice());
        self.at.run("write a listener", &self.at.put_head, values).await.map(|_| ())
    }

    async fn exposures(&self, change: &ListenerChange) -> Result<(), CqlTrouble> {
        for exposure in &change.put {
            let said = match exposure.state {
                ExposureState::Reserved { .. } => Said::Reserved,
                ExposureState::Heard => Said::Heard,
            };
            let value = stored_owned_exposure(exposure, change.pseudonym);
            let impression = exposure.impression_id.to_bytes();
            let (listener, week, at) = place(change.key, exposure);
            let values = (listener, week, at, impression.as_slice(), value, stamp(exposure.at, said));
            self.at.run("write an exposure", &self.at.put, values).await?;
        }
        for (exposures, said) in [(&change.gone, Said::Gone), (&change.erased, Said::Erased)] {
            for exposure in exposures {
                let impression = exposure.impression_id.to_bytes();
                let (listener, week, at) = place(change.key, exposure);
                let values = (stamp(exposure.at, said), listener, week, at, impression.as_slice());
                self.at.run("delete an exposure", &self.at.delete, values).await?;
            }
        }
        Ok(())
    }
}

fn place(key: ListenerKey, exposure: &Exposure) -> (Vec<u8>, i32, CqlTimestamp) {
    (key.0.to_vec(), in_column(week_of(exposure.at)), CqlTimestamp(exposure.at.0))
}
