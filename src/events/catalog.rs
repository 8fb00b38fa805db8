//! Revisions of the catalogue, and the encoding in which entities are stored.

use prost::Message;

use super::EventError;
use super::wire::{self, proto};
use crate::catalog::Entity;
use crate::model::{ApiKeyId, WallMs};

/// Deepest nesting of a targeting expression, in levels. Half of what Protobuf decoders accept, so that every reader can; the
/// syntax that expressions come in by has a lower limit.
pub const MAX_EXPRESSION_DEPTH: usize = 64;

/// One revision of one entity.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogRecord {
    /// The catalogue's version once this revision is in it.
    pub version: u64,
    /// Where it comes from.
    pub revision: Revision,
    /// The entity after the change.
    pub entity: Entity,
}

/// Where a revision comes from: the audit log's line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Revision {
    /// Number of this entity's revision, from 1.
    pub number: u64,
    /// When it was committed.
    pub at: WallMs,
    /// The key that asked for it; none for what the server did by itself.
    pub actor: Option<ApiKeyId>,
    /// What was done.
    pub action: RevisionAction,
}

/// What a revision did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RevisionAction {
    /// The entity is new.
    Created,
    /// The entity was changed.
    Changed,
    /// The entity was archived.
    Archived,
}

impl RevisionAction {
    /// Its name in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Archived => "archived",
        }
    }
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
