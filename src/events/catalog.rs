//! Revisions of the catalogue, and the encoding in which entities are stored.

use prost::Message;

use super::EventError;
use super::wire::{self, proto};
use crate::catalog::{Entity, Revision};

/// Deepest nesting of a targeting expression, in levels. Half of what Protobuf decoders accept, so that every reader can; the
/// syntax that expressions come in by has a lower limit.
pub const MAX_EXPRESSION_DEPTH: usize = 64;

/// One revision of one entity.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogRecord {
    /// The catalogue's version once this revision is in it. None where several servers write the catalogue: there the record's place in the log says it.
    pub version: Option<u64>,
    /// The revision, with the whole entity after it. The oldest records don't know the role of the key (it is empty).
    pub revision: Revision,
}

/// An entity as it is stored.
///
/// # Panics
/// When a line item's targeting is nested deeper than [`MAX_EXPRESSION_DEPTH`].
#[must_use]
pub fn encode_entity(entity: &Entity) -> Vec<u8> {
    wire::entity_to_wire(entity).encode_to_vec()
}

/// The entity that was stored.
///
/// # Errors
/// [`EventError`] when the bytes hold no whole entity.
pub fn decode_entity(bytes: &[u8]) -> Result<Entity, EventError> {
    wire::entity_from_wire(proto::Entity::decode(bytes).map_err(EventError::Protobuf)?)
}

/// A revision with its entity, as it is stored.
///
/// # Panics
/// When a line item's targeting is nested deeper than [`MAX_EXPRESSION_DEPTH`].
#[must_use]
pub fn encode_record(record: &CatalogRecord) -> Vec<u8> {
    wire::record_to_wire(record).encode_to_vec()
}

/// The revision that was stored.
///
/// # Errors
/// [`EventError`] when the bytes hold no whole record.
pub fn decode_record(bytes: &[u8]) -> Result<CatalogRecord, EventError> {
    wire::record_from_wire(proto::CatalogRecord::decode(bytes).map_err(EventError::Protobuf)?)
}
