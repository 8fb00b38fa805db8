//! The event log as a model of Kafka: partitions, a fence for the writer of each generation, and nothing lost that was taken.
//!
//! Delay, stalls, refusals, lost answers and duplicates are the way there and back, so they are the world's; here is what a broker
//! does with what arrives. One number counts all partitions' records, as it does in the embedded log; within a partition the order is that
//! of arrival.

use crate::accounting::{RecordDigest, record_digest};
use crate::event_log::{StoredRecord, partition};
use crate::events::{self, Envelope};
use crate::roles::accounting::LogRecord;

/// Partitions of `segue.events` in a run: few, so that advertisers share them.
pub const PARTITIONS: u32 = 4;

/// A record on its way to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// Its partition.
    pub partition: u32,
    /// The event, encoded.
    pub payload: Vec<u8>,
}

impl Parcel {
    /// An event as a record.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self { partition: partition(&envelope.body.key(), PARTITIONS), payload: events::encode(envelope) }
    }

    /// A record of a server's journal.
    #[must_use]
    pub fn of_journal(stored: &StoredRecord<'_>) -> Self {
        Self { partition: partition(stored.key, PARTITIONS), payload: stored.payload.to_vec() }
    }
}

/// A record that the log has.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// Its partition.
    pub partition: u32,
    /// Digest of its bytes.
    pub digest: RecordDigest,
    /// What it says.
    pub envelope: Envelope,
}

/// The writer's generation is over: another owner has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fenced;

/// The log.
#[derive(Default, Debug)]
pub struct LogModel {
    kept: Vec<Kept>,
    generation: u64,
}

impl LogModel {
    /// Takes records of a server's shipper.
    ///
    /// # Panics
    /// When a record can't be decoded: what a journal gives back is what was put in.
    pub fn append(&mut self, parcels: &[Parcel]) {
        for parcel in parcels {
            let envelope = events::decode(&parcel.payload).expect("only events are shipped");
            let digest = record_digest(&parcel.payload);
            self.kept.push(Kept { partition: parcel.partition, digest, envelope });
        }
    }

    /// Takes records of accounting, if its generation is the present one: all or nothing, as in a transaction.
    ///
    /// # Errors
    /// [`Fenced`] when another owner has begun.
    pub fn append_fenced(&mut self, generation: u64, parcels: &[Parcel]) -> Result<(), Fenced> {
        if generation != self.generation {
            return Err(Fenced);
        }
        self.append(parcels);
        Ok(())
    }

    /// A new owner begins: those before are fenced off. Returns its generation.
    pub const fn begin_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// The present owner's generation.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of records, of all partitions.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.kept.len() as u64
    }

    /// All records.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Up to `max` records from `from` on, and the offset to ask for next.
    #[must_use]
    pub fn read(&self, from: u64, max: usize) -> (Vec<LogRecord>, u64) {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.kept.len());
        let until = from.saturating_add(max).min(self.kept.len());
        let record = |(offset, kept): (usize, &Kept)| LogRecord {
            offset: (from + offset) as u64,
            digest: kept.digest,
            envelope: kept.envelope.clone(),
        };
        (self.kept[from..until].iter().enumerate().map(record).collect(), until as u64)
    }
}
