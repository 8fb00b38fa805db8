//! Checkpoints and the log: each is appended to `segue.ledger` once it is committed, so that the log and the store vouch for each other.
//!
//! First the commit, then the record: a log that names a checkpoint which the store lacks says that the store was set back or damaged, never that
//! the process died in between. The other way round is made good at the next start.

use std::collections::BTreeSet;

use super::{AccountingError, AccountingMachine};
use crate::accounting::checkpoint_digest;
use crate::event_log::{EventLog, NewRecord, ReadError, Record, Topic};
use crate::events::{self, Checkpoint, Envelope, Event, LedgerRecord};
use crate::journal;
use crate::model::{BootId, ServerId};
use crate::roles::records;

/// Records of one read.
const READ_RECORDS_MAX: usize = 8_192;
/// Bytes of one read.
const READ_BYTES_MAX: usize = 4 << 20;

/// Knows which checkpoints the log has.
#[derive(Debug)]
pub(super) struct Announcer {
    /// Digests of those that the log has; one an hour since the newest that the store had at the start.
    known: BTreeSet<[u8; 32]>,
    server_id: ServerId,
    boot_id: BootId,
}

impl Announcer {
    /// One that knows of none.
    pub(super) const fn new((server_id, boot_id): (ServerId, BootId)) -> Self {
        Self { known: BTreeSet::new(), server_id, boot_id }
    }

    /// Reads which checkpoints the log has that the store may lack, tells the machine, and returns the record of the store's newest if the log lacks that.
    ///
    /// # Errors
    /// [`AccountingError`] when the log can't be read.
    pub(super) fn catch_up(
        &mut self,
        log: &EventLog,
        machine: &mut AccountingMachine,
    ) -> Result<Vec<NewRecord>, AccountingError> {
        let newest = machine.checkpoint().copied();
        for checkpoint in checkpoints_in(log, newest.map_or(0, |newest| newest.cursor))? {
            self.known.insert(checkpoint_digest(&checkpoint));
            machine.expect_checkpoint(checkpoint.chain_records);
        }
        Ok(self.announce(newest.as_slice()))
    }

    /// The records of checkpoints that the log lacks. They are to be appended.
    pub(super) fn announce(&mut self, checkpoints: &[Checkpoint]) -> Vec<NewRecord> {
        let fresh = checkpoints.iter().filter(|checkpoint| self.known.insert(checkpoint_digest(checkpoint)));
        let ids = (self.server_id, self.boot_id);
        fresh.map(|checkpoint| records::encode(&envelope(checkpoint, ids))).collect()
    }
}

/// The event of a checkpoint. Its times are the log's, so that it is the same whenever it is made.
fn envelope(checkpoint: &Checkpoint, (server_id, boot_id): (ServerId, BootId)) -> Envelope {
    let body = Event::Ledger(Box::new(LedgerRecord::Checkpoint(*checkpoint)));
    let at = checkpoint.log_time;
    Envelope { event_id: body.id(), occurred_at: at, received_at: at, server_id, boot_id, trace_id: None, body }
}

/// The checkpoints that the log has from an offset on. What is damaged is passed over: audit names it.
fn checkpoints_in(log: &EventLog, from: u64) -> Result<Vec<Checkpoint>, AccountingError> {
    let mut found = Vec::new();
    // A log that was cut off behind the books is accounting's to find.
    let (mut next, end) = (from, log.durable_end(Topic::Ledger));
    while next < end {
        match log.read(Topic::Ledger, None, next, READ_RECORDS_MAX, READ_BYTES_MAX) {
            Ok(batch) => {
                found.extend(batch.records.iter().filter_map(checkpoint_of));
                next = batch.next_offset;
            }
            Err(ReadError::Journal(journal::ReadError::Damaged { resume_at, .. })) => next = resume_at,
            Err(error) => return Err(AccountingError::Read(error)),
        }
    }
    Ok(found)
}

fn checkpoint_of(record: &Record) -> Option<Checkpoint> {
    match events::decode(&record.payload).ok()?.body {
        Event::Ledger(record) => match *record {
            LedgerRecord::Checkpoint(checkpoint) => Some(checkpoint),
            LedgerRecord::Entry(_) => None,
        },
        Event::LeaseGranted(_)
        | Event::LeaseReturned(_)
        | Event::LeaseClosed(_)
        | Event::Reversal(_)
        | Event::Beacon(_)
        | Event::Decision(_)
        | Event::Catalog(_) => None,
    }
}
