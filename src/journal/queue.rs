//! The bounded queue in front of the journaller: many producers, one consumer that takes all there is up to a batch.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Done, Entry};

/// Most appends that wait. At 100,000 a second, two thirds of a second: a disk that stalls for longer is better answered with a refusal.
const JOBS_MAX: usize = 65_536;
/// Most bytes that wait, whatever their number: bounds the memory.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// One append that waits.
pub(super) struct Job {
    pub(super) entries: Vec<Entry>,
    /// Bytes that the entries take in a segment.
    pub(super) bytes: usize,
    pub(super) done: Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PushError {
    Full,
    Closed,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
    /// The consumer waits for a job, and was not woken for one yet: waking is a call into the kernel, which a busy consumer doesn't need.
    is_awaited: bool,
}

/// A mutex rather than a lock-free ring: the consumer empties it once a sync (a few hundred times a second), so a producer meets at most
/// other producers, each for a push.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // A push or a drain leaves the state whole; nothing in between can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the job, or gives it back.
    pub(super) fn push(&self, job: Job) -> Result<(), (Job, PushError)> {
        let state = self.state();
        if !state.closed && !state.has_room(&job) {
            return Err((job, PushError::Full));
        }
        self.put(state, job)
    }

    /// Queues the job when there is room for it; gives it back only if the queue is closed.
    pub(super) fn push_when_room(&self, job: Job) -> Result<(), (Job, PushError)> {
        let blocked = |state: &mut State| !state.closed && !state.has_room(&job);
        let state = self.emptied.wait_while(self.state(), blocked).unwrap_or_else(PoisonError::into_inner);
        self.put(state, job)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, job: Job) -> Result<(), (Job, PushError)> {
        if state.closed {
            return Err((job, PushError::Closed));
        }
        state.bytes += job.bytes;
        state.jobs.push_back(job);
        let wakes = std::mem::take(&mut state.is_awaited);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for a job, then takes all that are there up to `bytes_max`, but at least one. None when the queue is closed and empty.
    pub(super) fn take_batch(&self, bytes_max: usize) -> Option<Vec<Job>> {
        let waiting = |state: &mut State| {
            state.is_awaited = state.jobs.is_empty() && !state.closed;
            state.is_awaited
        };
        let mut state = self.filled.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let mut count = 0;
        for job in &state.jobs {
            if count > 0 && bytes + job.bytes > bytes_max {
                break;
            }
            bytes += job.bytes;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        state.bytes -= bytes;
        let batch = state.jobs.drain(..count).collect();
        drop(state);
        self.emptied.notify_all();
        Some(batch)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.state().bytes
    }

    /// Takes no more jobs.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Drops what is queued, so that whoever waits for it learns that nobody will write it.
    pub(super) fn discard(&self) {
        let jobs = {
            let mut state = self.state();
            state.bytes = 0;
            std::mem::take(&mut state.jobs)
        };
        drop(jobs);
    }
}

impl State {
    fn has_room(&self, job: &Job) -> bool {
        // A job that is larger than the bound by itself passes when nothing else waits.
        self.jobs.is_empty() || (self.jobs.len() < JOBS_MAX && self.bytes + job.bytes <= QUEUED_BYTES_MAX)
    }
}
