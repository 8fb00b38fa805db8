//! The campaign role: writes the catalogue.
//!
//! [`CampaignRole::step`] judges one command against the catalogue as it is and the commands already accepted in the same group; it changes
//! nothing but the group. The [`writer`] makes a group durable, applies it to [`CatalogState`], publishes it to the change feed, and
//! only then answers. So nobody is ever shown a revision that a crash can take back.
//!
//! Invariants: the number of an entity's revisions counts up by one; an archived entity never changes again; every entity that is in
//! the catalogue passed [`rules::check`] against the catalogue of that moment.

mod bootstrap;
mod judgement;
mod refusal;
mod requester;
mod revise;
pub mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod shell;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Entity, EntityId, Revision};
use crate::model::{Approval, Now};
use crate::store::{ApiKey, Committed};
use judgement::check_key;
use revise::{archive, change, create, import, review};

pub use bootstrap::{
    APP_KEY_FILE, Bootstrap, BootstrapError, FIRST_APP, FIRST_PLACEMENT, OPERATOR_KEY_FILE, bootstrap,
};
pub use judgement::judge;
pub use refusal::{FAULTS_MAX, Fault, Faults, Refusal};
pub use requester::Requester;
pub use shell::{CampaignHandle, CampaignWriter, CatalogChange, Publish, start};
pub use state::{CatalogState, View};

/// Most entities of one kind in the catalogue. They are all held in memory: the largest, a line item, takes about a kilobyte.
pub const ENTITIES_PER_KIND_MAX: usize = 2_000_000;
/// Most API keys, revoked ones too.
pub const KEYS_MAX: usize = 100_000;

/// What somebody wants changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Make a new entity.
    Create {
        /// The whole entity, its id drawn by the caller.
        entity: Entity,
    },
    /// Replace an entity.
    Change {
        /// The whole entity as it is to be.
        entity: Entity,
        /// The revision that the caller saw; any other is refused.
        expected: u64,
    },
    /// End an entity for good.
    Archive {
        /// Which.
        id: EntityId,
        /// The revision that the caller saw.
        expected: u64,
    },
    /// Say whether a creative may serve.
    Review {
        /// Which; a creative.
        id: EntityId,
        /// The revision that the caller saw.
        expected: u64,
        /// The verdict.
        approval: Approval,
    },
    /// Put an API key on the ring.
    AddKey {
        /// The key; its secret was shown to nobody yet.
        key: ApiKey,
    },
    /// Take the power from an API key.
    RevokeKey {
        /// The key as it is on the ring.
        key: ApiKey,
    },
    /// Put many entities there at once, all or none. Existing ones are replaced.
    Import {
        /// The entities, in any order.
        entities: Vec<Entity>,
    },
}

/// What came of a command once it is durable.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The entity as it is now.
    Entity(Arc<Revision>),
    /// The key as it is now.
    Key(ApiKey),
    /// That many entities are there now.
    Imported(usize),
}

/// What a group of commands changed: one durable batch, one catalogue version.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Group {
    /// Every revision, in the order in which they were made.
    pub revisions: Vec<Arc<Revision>>,
    /// Every key that is new or changed.
    pub keys: Vec<ApiKey>,
    newest: BTreeMap<EntityId, Arc<Revision>>,
}

/// The state machine. Between groups it holds nothing.
#[derive(Debug, Default)]
pub struct CampaignRole {
    group: Group,
}

impl CampaignRole {
    /// A role with an empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a command and, when it is accepted, adds what it changes to the group.
    ///
    /// # Errors
    /// [`Refusal`]; the group is as it was.
    pub fn step(
        &mut self,
        committed: &CatalogState,
        command: Command,
        author: &Requester,
        now: Now,
    ) -> Result<Outcome, Refusal> {
        let view = View::new(committed, &self.group.newest);
        match command {
            Command::Create { entity } => {
                let revision = create(view, entity, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::Change { entity, expected } => {
                let revision = change(view, entity, expected, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::Archive { id, expected } => match archive(view, id, expected, author, now)? {
                Some(revision) => Ok(Outcome::Entity(self.accept(revision))),
                None => view.get(id).cloned().map(Outcome::Entity).ok_or(Refusal::NotFound),
            },
            Command::Review { id, expected, approval } => {
                let revision = review(view, id, expected, approval, author, now)?;
                Ok(Outcome::Entity(self.accept(revision)))
            }
            Command::AddKey { key } => {
                check_key(view, &key, author)?;
                self.group.keys.push(key.clone());
                Ok(Outcome::Key(key))
            }
            Command::RevokeKey { mut key } => {
                author.may_manage_keys()?;
                key.revoked_at.get_or_insert(now.wall);
                self.group.keys.push(key.clone());
                Ok(Outcome::Key(key))
            }
            Command::Import { entities } => {
                author.may_import()?;
                let revisions = import(view, entities, author, now)?;
                let count = revisions.len();
                for revision in revisions {
                    self.accept(revision);
                }
                Ok(Outcome::Imported(count))
            }
        }
    }

    /// Whether the group has nothing to commit.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.group.revisions.is_empty() && self.group.keys.is_empty()
    }

    /// Ends the group and gives what it changed.
    #[must_use]
    pub fn take(&mut self) -> Group {
        std::mem::take(&mut self.group)
    }

    fn accept(&mut self, revision: Revision) -> Arc<Revision> {
        let revision = Arc::new(revision);
        self.group.newest.insert(revision.entity.id(), Arc::clone(&revision));
        self.group.revisions.push(Arc::clone(&revision));
        revision
    }
}

impl Group {
    /// Leaves out what is not there.
    fn retain(&mut self, committed: &Committed) {
        let is_there = |id: &EntityId| !committed.missed.contains_key(id);
        self.revisions.retain(|revision| is_there(&revision.entity.id()));
        self.newest.retain(|id, _| is_there(id));
        self.keys.retain(|key| !committed.missed_keys.contains_key(&key.id));
    }

    /// The newest revision of each entity that changed, parents before children.
    pub fn newest(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.newest.values()
    }
}
