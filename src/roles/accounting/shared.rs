//! Accounting over a partition of a log that servers share: claimed, read, transformed, and what is made of it appended, in commits that hold all of it or
//! nothing (INV-46).
//!
//! Messages to servers travel through the log too, in the same commit as the consumed position: a lease is on its way exactly when its grant is consumed.
//! What is made waits for the end of a turn, so that a turn is one commit; it is in the log before the store has the rows that it came from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::shell::{AccountingError, Ground, READ_RECORDS_MAX, Read};
use super::{Message, MessageBody};
use crate::event_log::{
    COMMIT_RECORDS_MAX, LogError, LogOwner, LogReader, NewRecord, PartitionGroup, Position, Record, SharedLog, Topic,
    dead_letter,
};
use crate::events::EventError;
use crate::model::{BootId, MonotonicMs, Now, ServerId};
use crate::roles::fleet::{FromAccounting, encode_from_accounting};

/// How long a read waits for records when there are none; also how long a catalogue change may wait.
const READ_WAIT: Duration = Duration::from_millis(20);
/// Time between two commits that say no more than how far was read, in milliseconds.
const POSITION_EVERY_MS: u64 = 1_000;
/// Time between two questions where the partition ends, in milliseconds.
const END_EVERY_MS: u64 = 5_000;
/// Most notices in one message: some 600 kB where a message may have 1 MB.
const NOTICES_MAX: usize = 4_000;
/// How often a commit that was given up whole is tried again, before the partition is claimed anew.
const COMMIT_ATTEMPTS: u32 = 3;

/// The name under which the owners of a partition follow one another.
pub(super) fn group_of(partition: u32) -> PartitionGroup {
    PartitionGroup { name: format!("accounting-{partition}"), topic: Topic::Events, partitions: vec![partition] }
}

/// A partition that this process owns, until somebody else claims it.
pub(super) struct OwnedPartition<L: SharedLog> {
    owner: L::Owner,
    reader: L::Reader,
    partition: u32,
    /// This server, and the run of this process, for the messages.
    server_id: ServerId,
    accounting_id: BootId,
    /// What waits for the end of the turn.
    records: Vec<NewRecord>,
    messages: BTreeMap<(ServerId, BootId), Vec<MessageBody>>,
    committed: Option<(u64, MonotonicMs)>,
    /// Where the partition ended when it was last asked, and when that was.
    end: (u64, MonotonicMs),
}

impl<L: SharedLog> OwnedPartition<L> {
    /// Claims the partition: whoever owned it before commits nothing more. Reading begins at `from`, which is asked for once the claim stands.
    pub(super) fn claim(
        log: &L,
        partition: u32,
        (server_id, accounting_id): (ServerId, BootId),
        at: MonotonicMs,
        from: impl FnOnce() -> Result<u64, AccountingError>,
    ) -> Result<Self, AccountingError> {
        let owner = log.claim(&group_of(partition))?;
        let offset = from()?;
        let reader = log.reader(Topic::Events, &[Position { partition, offset }])?;
        let end = (reader.end(partition)?, at);
        Ok(Self {
            owner,
            reader,
            partition,
            server_id,
            accounting_id,
            records: Vec::new(),
            messages: BTreeMap::new(),
            committed: None,
            end,
        })
    }

    /// Turns what waits to be told into records.
    fn take_messages(&mut self, now: Now) {
        for ((server_id, boot_id), notices) in std::mem::take(&mut self.messages) {
            for piece in notices.chunks(NOTICES_MAX) {
                let message = FromAccounting {
                    accounting_id: self.accounting_id,
                    stamp: now.monotonic,
                    partition: self.partition,
                    server_id,
                    boot_id,
                    notices: piece.to_vec(),
                };
                let (key, payload) = (server_id.to_bytes().to_vec(), encode_from_accounting(&message));
                self.records.push(NewRecord { topic: Topic::Leases, key, payload });
            }
        }
    }

    /// One commit; again where the log says that nothing of it is there.
    fn commit(&mut self, records: &[NewRecord], consumed: &[Position]) -> Result<(), LogError> {
        let mut attempt = 1;
        loop {
            match self.owner.commit(records.to_vec(), consumed) {
                Err(LogError::Aborted(reason)) if attempt < COMMIT_ATTEMPTS => {
                    tracing::warn!(partition = self.partition, reason, "a commit was given up; it is tried again");
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

impl<L: SharedLog> Ground for OwnedPartition<L> {
    fn read(&mut self, from: u64, now: Now) -> Result<Read, AccountingError> {
        let records = self.reader.read(READ_RECORDS_MAX, READ_WAIT)?;
        let next = records.last().map_or(from, |last| last.offset + 1);
        if self.reader.is_at_end() {
            return Ok(Read { records, next, end: next });
        }
        // A busy partition is never seen to its end: then what was its end a while ago tells how far behind this is.
        if now.monotonic.since(self.end.1) >= END_EVERY_MS {
            self.end = (self.reader.end(self.partition)?, now.monotonic);
        }
        Ok(Read { records, next, end: self.end.0 })
    }

    fn append(&mut self, records: Vec<NewRecord>, messages: &[Message]) -> Result<(), AccountingError> {
        self.records.extend(records);
        for message in messages {
            self.messages.entry((message.server_id, message.boot_id)).or_default().push(message.body);
        }
        Ok(())
    }

    fn flush(&mut self, cursor: u64, now: Now) -> Result<(), AccountingError> {
        self.take_messages(now);
        let is_news =
            self.committed.is_none_or(|(at, when)| at != cursor && now.monotonic.since(when) >= POSITION_EVERY_MS);
        if self.records.is_empty() && !is_news {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        let mut pieces: Vec<&[NewRecord]> = records.chunks(COMMIT_RECORDS_MAX).collect();
        let last = pieces.pop().unwrap_or_default();
        // The position goes with the last piece: what is before it comes again with the same ids if this process dies in between.
        for piece in pieces {
            self.commit(piece, &[])?;
        }
        self.commit(last, &[Position { partition: self.partition, offset: cursor }])?;
        self.committed = Some((cursor, now.monotonic));
        Ok(())
    }

    fn tell(&mut self, _: Vec<Message>) {}

    fn put_aside(&mut self, record: &Record, error: EventError, now: Now) -> Result<(), AccountingError> {
        tracing::error!(
            partition = record.partition,
            offset = record.offset,
            %error,
            "a record can't be understood: it is put aside; see segue dead-letter"
        );
        self.records.push(dead_letter::record(record, &(&error).into(), now.wall, self.server_id));
        Ok(())
    }

    fn wait(&mut self, _: u64) {}

    fn own_end(&self) -> Option<u64> {
        None
    }
}
