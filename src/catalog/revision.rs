//! The history of an entity: who made which revision of it, when. All revisions together are the audit log.

use super::Entity;
use crate::model::{ApiKeyId, WallMs};

/// An entity as of one change, and the change's circumstances.
#[derive(Clone, PartialEq, Debug)]
pub struct Revision {
    /// The whole entity after the change.
    pub entity: Entity,
    /// Which revision of the entity it is, from 1. It is also the entity's `ETag`.
    pub number: u64,
    /// When the entity was created.
    pub created_at: WallMs,
    /// When this revision was made.
    pub at: WallMs,
    /// Who made it.
    pub author: Author,
    /// What was done.
    pub action: Action,
}

/// Who made a revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Author {
    /// Segue itself, at the first start.
    Segue,
    /// The holder of an API key.
    Key {
        /// The key.
        id: ApiKeyId,
        /// The name of its role at that time.
        role: String,
    },
}

/// What a revision did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Made the entity.
    Created,
    /// Changed some of it.
    Changed,
    /// Ended it for good.
    Archived,
    /// Let a creative serve.
    Approved,
    /// Turned a creative down.
    Rejected,
    /// Put it there as part of a bulk import.
    Imported,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Changed, Self::Archived, Self::Approved, Self::Rejected, Self::Imported];

    /// The name on the wire and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Archived => "archived",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Imported => "imported",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}
