//! What happened, as records that are kept: one envelope, one body.
//!
//! These are the domain's types; on the wire and on disk they are Protobuf (`schemas/segue/v1/`), converted at this module's edge by
//! [`encode`] and [`decode`]. An id of an event is derived from what it tells, never drawn, so the same happening recorded twice (a retry, a
//! crash, another server) has one id, and whoever reads drops the second.

mod beacon;
pub mod catalog;
#[cfg(test)]
mod comments;
#[cfg(test)]
mod compatibility;
pub mod dead_letter;
mod decision;
mod delivery;
mod envelope;
mod error;
mod lease;
mod ledger;
mod listening;
mod reversal;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod wire;

use prost::Message;

pub use beacon::BeaconRecord;
pub use catalog::CatalogRecord;
pub use dead_letter::{DeadLetter, DeadLetterReason};
pub use decision::{
    ChosenAdRecord, DecisionRecord, HeldBackRecord, LeaseReadRecord, ListenerView, RequestRecord, SpendReadRecord,
};
pub use delivery::{LineItemDelivery, Spend, WHOLE_PPM};
pub use envelope::{Envelope, Event, EventId, EventKey, Stream, TraceId};
pub use error::EventError;
pub use lease::{BudgetLevel, LeaseClosed, LeaseGranted, LeaseReturned, LevelLimit, LimitWindow};
pub use ledger::{Checkpoint, Delivered, EntryCause, LedgerAccount, LedgerEntry, LedgerRecord, Posting, TrialBalance};
pub use listening::{PLAY_WORDS_MAX, Play};
pub use reversal::Reversal;

/// Version of the schemas that this code writes. Readers go by fields, not by it; it says which writer a record came from.
pub const SCHEMA_VERSION: u32 = 1;

/// The event as it is kept.
///
/// # Panics
/// When a catalogue record's targeting is nested deeper than [`catalog::MAX_EXPRESSION_DEPTH`].
#[must_use]
pub fn encode(envelope: &Envelope) -> Vec<u8> {
    wire::encode_straight(envelope).unwrap_or_else(|| wire::envelope_to_wire(envelope).encode_to_vec())
}

/// A reversal by itself, as a row of the ledger keeps it.
#[must_use]
pub fn encode_reversal(reversal: &Reversal) -> Vec<u8> {
    wire::reversal_to_wire(reversal).encode_to_vec()
}

/// A reversal that was kept by itself.
///
/// # Errors
/// [`EventError`] names the field that can't be read.
pub fn decode_reversal(bytes: &[u8]) -> Result<Reversal, EventError> {
    wire::reversal_from_wire(wire::proto::Reversal::decode(bytes).map_err(EventError::Protobuf)?)
}

/// An entry of the ledger as its row holds it.
#[must_use]
pub fn encode_entry(entry: &LedgerEntry) -> Vec<u8> {
    wire::entry_to_wire(entry).encode_to_vec()
}

/// An entry of the ledger from its row.
///
/// # Errors
/// [`EventError`], naming the field.
pub fn decode_entry(bytes: &[u8]) -> Result<LedgerEntry, EventError> {
    wire::entry_from_wire(wire::proto::LedgerEntry::decode(bytes).map_err(EventError::Protobuf)?)
}

/// A checkpoint as its row holds it.
#[must_use]
pub fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    wire::checkpoint_to_wire(checkpoint).encode_to_vec()
}

/// A checkpoint from its row.
///
/// # Errors
/// [`EventError`], naming the field.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, EventError> {
    wire::checkpoint_from_wire(&wire::proto::Checkpoint::decode(bytes).map_err(EventError::Protobuf)?)
}

/// A dead letter as it is kept.
#[must_use]
pub fn encode_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    wire::dead_letter_to_wire(letter).encode_to_vec()
}

/// The dead letter that was kept.
///
/// # Errors
/// [`EventError`], naming the field.
pub fn decode_dead_letter(bytes: &[u8]) -> Result<DeadLetter, EventError> {
    wire::dead_letter_from_wire(wire::proto::DeadLetter::decode(bytes).map_err(EventError::Protobuf)?)
}

/// How a line item stands.
#[must_use]
pub fn encode_delivery(delivery: &LineItemDelivery) -> Vec<u8> {
    wire::delivery_to_wire(delivery).encode_to_vec()
}

/// How a line item stood when this was written.
///
/// # Errors
/// [`EventError`], naming the field.
pub fn decode_delivery(bytes: &[u8]) -> Result<LineItemDelivery, EventError> {
    wire::delivery_from_wire(&wire::proto::LineItemDelivery::decode(bytes).map_err(EventError::Protobuf)?)
}

/// A play as the streaming company's producers write it.
#[must_use]
pub fn encode_play(play: &Play) -> Vec<u8> {
    wire::play_to_wire(play).encode_to_vec()
}

/// A play that was told.
///
/// # Errors
/// [`EventError`], naming the field.
pub fn decode_play(bytes: &[u8]) -> Result<Play, EventError> {
    wire::play_from_wire(wire::proto::Play::decode(bytes).map_err(EventError::Protobuf)?)
}

/// The event that was kept.
///
/// # Errors
/// [`EventError`] when the bytes hold no event that this version can read whole; it names the field.
pub fn decode(bytes: &[u8]) -> Result<Envelope, EventError> {
    wire::envelope_from_wire(wire::proto::Envelope::decode(bytes).map_err(EventError::Protobuf)?)
}
