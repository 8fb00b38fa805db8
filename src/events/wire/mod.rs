//! Domain events ↔ Protobuf. Total one way, checked the other: a record that lacks what a reader needs, or says something impossible, is an
//! [`EventError`](super::EventError) that names the field. Fields of newer writers are skipped.

mod beacon;
mod catalog;
mod codes;
mod dead_letter;
mod decision;
mod delivery;
mod envelope;
mod expression;
mod facts;
mod lease;
mod ledger;
mod line_item;
mod listening;
mod read;
mod reversal;
mod straight;
mod writer;

pub(super) use catalog::{entity_from_wire, entity_to_wire, record_from_wire, record_to_wire};
pub(super) use dead_letter::{from_wire as dead_letter_from_wire, to_wire as dead_letter_to_wire};
pub(super) use delivery::{from_wire as delivery_from_wire, to_wire as delivery_to_wire};
pub(super) use envelope::{envelope_from_wire, envelope_to_wire};
pub(super) use ledger::{checkpoint_from_wire, checkpoint_to_wire, entry_from_wire, entry_to_wire};
pub(super) use listening::{from_wire as play_from_wire, to_wire as play_to_wire};
pub(super) use reversal::{from_wire as reversal_from_wire, to_wire as reversal_to_wire};
pub(super) use straight::encode as encode_straight;

/// What prost-build made of `schemas/segue/v1`; the schemas hold the documentation.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated code")]
pub(super) mod proto {
    include!(concat!(env!("OUT_DIR"), "/segue.v1.rs"));
}
