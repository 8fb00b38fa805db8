//! Strict rows: conditional writes, durable before they are answered.
//!
//! One thread writes them all, so that "has the row that version?" and the write are one step, and many of them share
//! one sync: it takes what has come meanwhile, judges each by the pure [`strict::judge`] (a row that an earlier one
//! of the group wrote counts as written), commits what was accepted as one batch with fdatasync, and only then
//! answers. A conflict's answer carries the row as it is: reading again costs nothing.
//!
//! Bounded: [`RESERVATIONS`] may wait; beyond it one is refused at once. A deadline is the asker's: who stops waiting drops
//! the answer's receiver, and what nobody waits for any more when its turn comes is not written. What fails may have
//! been written, and is answered so; the database takes nothing more after a write or sync that failed, so from then
//! on every reservation fails, and line items with strict caps are not served.
//!
//! What asks sees `read`, `reserve` and `forget`, no batch and no file: in CQL a table with `IF version = ?` takes its place.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, PersistMode};
use tokio::sync::oneshot;

use super::super::{StoreError, damaged, keyspace};
use super::backend::{RESERVATIONS, ReserveError};
use super::format::{decode_strict, encode_strict};
use crate::caps::strict::{self, Outcome, Reservation, Verdict};
use crate::model::{ListenerKey, StrictRow};

const KEYSPACE: &str = "strict-caps";
/// Most reservations in one group, so that the first is not kept waiting by those behind it.
const GROUP: usize = 256;

/// The rows. Cheap to clone.
#[derive(Clone)]
struct Rows {
    database: Database,
    rows: Keyspace,
}

type Answer = oneshot::Sender<Result<Outcome, ReserveError>>;

enum Job {
    Reserve(ListenerKey, Box<Reservation>, Answer),
    Forget(ListenerKey, SyncSender<Result<(), StoreError>>),
}

/// All strict rows, and the thread that writes them. Dropping it writes what waits and ends the thread.
pub(super) struct StrictRows {
    rows: Rows,
    queue: Option<SyncSender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl StrictRows {
    /// Opens the rows and starts the thread.
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        let rows = Rows { database: database.clone(), rows: keyspace(database, KEYSPACE)? };
        let (queue, jobs) = sync_channel(RESERVATIONS);
        let writer = rows.clone();
        let thread = std::thread::Builder::new()
            .name("strict-caps".to_owned())
            .spawn(move || run(&writer, &jobs))
            .expect("the operating system gives a thread at the start");
        Ok(Self { rows, queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// The listener's row; a row without version where there is none. May wait for the disk.
    pub(super) fn read(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        self.rows.read(key)
    }

    /// Writes the row if it has the version that the reservation expects. When this says accepted, it is on disk.
    pub(super) async fn reserve(&self, key: ListenerKey, reservation: Reservation) -> Result<Outcome, ReserveError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(ReserveError::Failed)?;
        queue.try_send(Job::Reserve(key, Box::new(reservation), answer)).map_err(|error| match error {
            TrySendError::Full(_) => ReserveError::Busy,
            TrySendError::Disconnected(_) => ReserveError::Failed,
        })?;
        answered.await.unwrap_or(Err(ReserveError::Failed))
    }

    /// Deletes the listener's row, after all reservations handed over before, and syncs. Waits for the disk.
    pub(super) fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        let gone = || StoreError::WriterGone { what: KEYSPACE };
        let (answer, answered) = sync_channel(1);
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Job::Forget(key, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for StrictRows {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the writer has been printed by then; there is nobody left to tell.
        let _ = thread.map(JoinHandle::join);
    }
}

impl std::fmt::Debug for StrictRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StrictRows").finish_non_exhaustive()
    }
}

impl Rows {
    fn read(&self, key: ListenerKey) -> Result<StrictRow, StoreError> {
        let value = self.rows.get(key.0).map_err(|source| StoreError::Read { what: KEYSPACE, source })?;
        let Some(value) = value else { return Ok(StrictRow::default()) };
        decode_strict(&value).ok_or_else(|| damaged(KEYSPACE, &key.0, "not a strict row"))
    }

    /// Writes rows in one batch that a crash of the machine does not lose once this returned.
    fn commit(&self, rows: &HashMap<ListenerKey, StrictRow>) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, row) in rows {
            batch.insert(&self.rows, key.0, encode_strict(row));
        }
        batch.commit().map_err(|source| StoreError::Commit { what: KEYSPACE, source })
    }

    fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.remove(&self.rows, key.0);
        batch.commit().map_err(|source| StoreError::Commit { what: KEYSPACE, source })
    }
}

/// Reservations that are written and answered together.
#[derive(Default)]
struct Group {
    /// The rows as accepted reservations of this group leave them.
    rows: HashMap<ListenerKey, StrictRow>,
    answers: Vec<(Answer, Outcome)>,
}

impl Group {
    /// Judges one more.
    fn add(&mut self, stored: &Rows, key: ListenerKey, reservation: Reservation, answer: Answer) {
        if answer.is_closed() {
            return;
        }
        let row = match self.rows.get(&key) {
            Some(row) => row.clone(),
            None => match stored.read(key) {
                Ok(row) => row,
                Err(error) => {
                    tracing::error!(%error, "a strict row can't be read");
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(Err(ReserveError::Failed));
                    return;
                }
            },
        };
        let outcome = match strict::judge(row.version, &reservation) {
            Verdict::Conflict => Outcome::Conflict(row),
            Verdict::Repeated => Outcome::Accepted,
            Verdict::Accept => {
                self.rows.insert(key, reservation.row);
                Outcome::Accepted
            }
        };
        self.answers.push((answer, outcome));
    }

    /// Makes what was accepted durable, then answers all: also a conflict, since the row that it tells of may be of this group.
    fn finish(self, stored: &Rows) {
        let written = if self.rows.is_empty() { Ok(()) } else { stored.commit(&self.rows) };
        if let Err(error) = &written {
            tracing::error!(%error, rows = self.rows.len(), "strict rows were not written");
        }
        for (answer, outcome) in self.answers {
            let _ = answer.send(written.as_ref().map(|()| outcome).map_err(|_| ReserveError::Failed));
        }
    }
}

fn run(rows: &Rows, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Reserve(key, reservation, answer) => group.add(rows, key, *reservation, answer),
                Job::Forget(key, answer) => {
                    std::mem::take(&mut group).finish(rows);
                    let _ = answer.send(rows.forget(key));
                }
            }
            next = if group.answers.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        group.finish(rows);
    }
}

#[cfg(test)]
mod tests;
