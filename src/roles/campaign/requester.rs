//! On whose behalf a command is given, and what they may do at all. What they may put into an entity is judged with it (`judgement`).

use super::Refusal;
use crate::catalog::{Author, Entity, EntityKind};
use crate::model::{Actor, Role};

/// On whose behalf a command is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requester {
    /// Segue itself: the first start and the demonstration's import.
    Segue,
    /// The holder of a key.
    Key(Actor),
}

impl Requester {
    pub(super) fn author(&self) -> Author {
        match self {
            Self::Segue => Author::Segue,
            Self::Key(actor) => Author::Key { id: actor.key_id, role: actor.role.name().to_owned() },
        }
    }

    /// Whether the entity exists as far as this requester can know: a foreign one answers like an absent one.
    #[must_use]
    pub fn sees(&self, entity: &Entity) -> bool {
        match self {
            Self::Segue => true,
            Self::Key(actor) => {
                entity.network_id() == actor.network_id
                    && match &actor.role {
                        Role::Operator | Role::Viewer => true,
                        Role::Advertiser(own) => entity.advertiser_id() == Some(*own),
                        Role::App(_) => false,
                    }
            }
        }
    }

    /// Whether the requester may change entities of this kind at all.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_write(&self, kind: EntityKind) -> Result<(), Refusal> {
        let Self::Key(actor) = self else { return Ok(()) };
        match (&actor.role, kind) {
            (Role::Operator, _)
            | (Role::Advertiser(_), EntityKind::Campaign | EntityKind::Creative | EntityKind::LineItem) => Ok(()),
            (Role::Advertiser(_), EntityKind::Network | EntityKind::Advertiser) => {
                Err(Refusal::Forbidden("an advertiser's key changes campaigns, line items and creatives only"))
            }
            (Role::Viewer, _) => Err(Refusal::Forbidden("a viewer's key changes nothing")),
            (Role::App(_), _) => Err(Refusal::Forbidden("an app's key asks for ad breaks only")),
        }
    }

    /// Whether the requester may read entities of this kind at all.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_read(&self, kind: EntityKind) -> Result<(), Refusal> {
        let Self::Key(actor) = self else { return Ok(()) };
        match (&actor.role, kind) {
            (
                Role::Operator | Role::Viewer,
                EntityKind::Network
                | EntityKind::Advertiser
                | EntityKind::Campaign
                | EntityKind::Creative
                | EntityKind::LineItem,
            )
            | (
                Role::Advertiser(_),
                EntityKind::Advertiser | EntityKind::Campaign | EntityKind::Creative | EntityKind::LineItem,
            ) => Ok(()),
            (Role::Advertiser(_), EntityKind::Network) => {
                Err(Refusal::Forbidden("an advertiser's key does not read the network's settings"))
            }
            (Role::App(_), _) => Err(Refusal::Forbidden("an app's key asks for ad breaks only")),
        }
    }

    /// Whether the requester may make, see and revoke keys.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_manage_keys(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue | Self::Key(Actor { role: Role::Operator, .. }) => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("keys are managed with an operator's key")),
        }
    }

    /// Whether the requester may say whether a creative serves.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] with the reason.
    pub fn may_review(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue | Self::Key(Actor { role: Role::Operator, .. }) => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("creatives are reviewed with an operator's key")),
        }
    }

    pub(super) fn may_import(&self) -> Result<(), Refusal> {
        match self {
            Self::Segue => Ok(()),
            Self::Key(_) => Err(Refusal::Forbidden("there is no import through the API")),
        }
    }

    pub(super) fn is_advertiser(&self) -> bool {
        matches!(self, Self::Key(Actor { role: Role::Advertiser(_), .. }))
    }
}
