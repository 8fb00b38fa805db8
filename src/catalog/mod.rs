//! The catalogue: what is bought and where it may play, as a decision reads it.

mod entity;

pub use entity::{Entity, EntityId, EntityKind};
