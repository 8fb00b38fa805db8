//! What the documents of all kinds have in common, so that one set of handlers serves them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rendition::KnownAssets;
use crate::catalog::{Entity, EntityId, EntityKind, Revision};
use crate::model::{Actor, AdvertiserId, AssetId, NetworkId, Role};
use crate::roles::campaign::{CatalogState, Faults};

/// A kind of entity as JSON.
pub(super) trait Document: Serialize + DeserializeOwned + 'static {
    /// The kind.
    const KIND: EntityKind;
    /// Where entities of the kind live.
    const PATH: &'static str;
    /// What lists of the kind can be filtered by: query parameter and the parent's kind.
    const PARENTS: &'static [(&'static str, EntityKind)];

    /// An entity of the kind as JSON; `None` when it is of another kind.
    fn of(revision: &Revision) -> Option<Self>;

    /// The fields that the server sets, as they stand in the document.
    fn read_only(&self) -> Vec<(&'static str, Option<String>)>;

    /// The entities that it names and is judged by, as far as their ids can be read.
    fn names(&self) -> Vec<EntityId> {
        Vec::new()
    }

    /// The files that it names, as far as their ids can be read.
    fn assets(&self) -> Vec<AssetId> {
        Vec::new()
    }

    /// Whose it says it is, for documents that name files.
    fn advertiser(&self) -> Option<AdvertiserId> {
        None
    }

    /// The entity that the document describes. Where a value can't be read, a fault is added and another stands in its place.
    fn entity(&self, context: &Context<'_>, faults: &mut Faults) -> Entity;
}

/// What a document does not say itself.
pub(super) struct Context<'a> {
    /// Its id; new or that of the entity being changed.
    pub(super) id: EntityId,
    /// The entity before the change.
    pub(super) before: Option<&'a Entity>,
    /// Who sent it.
    pub(super) actor: &'a Actor,
    /// The catalogue.
    pub(super) state: &'a CatalogState,
    /// The files that the document names.
    pub(super) assets: &'a KnownAssets,
}

impl Context<'_> {
    /// Entities are made in their maker's network, and stay there.
    pub(super) fn network_id(&self) -> NetworkId {
        self.before.map_or(self.actor.network_id, Entity::network_id)
    }

    /// The advertiser that the document names. With an advertiser's key it is that one unless said otherwise.
    pub(super) fn advertiser_id(&self, named: Option<&str>, faults: &mut Faults) -> AdvertiserId {
        match (named, &self.actor.role) {
            (Some(text), _) => read_id("advertiser_id", text, faults).unwrap_or(AdvertiserId::from_u128(0)),
            (None, Role::Advertiser(own)) => *own,
            (None, _) => {
                faults.add("advertiser_id", "required", "an operator says whose it is");
                AdvertiserId::from_u128(0)
            }
        }
    }
}

/// An id from its text.
pub(super) fn read_id<T: std::str::FromStr>(path: &str, text: &str, faults: &mut Faults) -> Option<T> {
    let id = text.parse().ok();
    if id.is_none() {
        faults.add(path, "malformed", "an id is a UUID such as 0190a2b4-7c1e-7000-8000-000000000001");
    }
    id
}
