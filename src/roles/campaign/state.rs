//! The catalogue in memory as the campaign API sees it: everything that is durable, by id and by parent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Group;
use crate::catalog::{Entity, EntityId, EntityKind, Revision};
use crate::model::{Advertiser, Campaign, Creative, Network, NetworkId};

/// The durable catalogue. Only what was committed changes it: here, or by another server.
#[derive(Debug, Default)]
pub struct CatalogState {
    version: u64,
    entities: BTreeMap<EntityId, Arc<Revision>>,
    /// (parent, child) for each ancestor that a list can be filtered by.
    children: BTreeSet<(EntityId, EntityId)>,
    counts: BTreeMap<EntityKind, usize>,
}

impl CatalogState {
    /// The catalogue of these revisions, in any order; of several of one entity the newest counts. Made whole, not one by one: trees that are built of what is
    /// sorted are full, and take half the memory.
    #[must_use]
    pub fn new(version: u64, mut revisions: Vec<Arc<Revision>>) -> Self {
        revisions.sort_by_cached_key(|revision| (revision.entity.id(), revision.number));
        // Of equal keys the last holds.
        let entities: BTreeMap<EntityId, Arc<Revision>> =
            revisions.into_iter().map(|revision| (revision.entity.id(), revision)).collect();
        let pairs = |(id, revision): (&EntityId, &Arc<Revision>)| {
            let id = *id;
            ancestors(&revision.entity).into_iter().flatten().map(move |parent| (parent, id))
        };
        let children = entities.iter().flat_map(pairs).collect();
        let mut counts = BTreeMap::new();
        for id in entities.keys() {
            *counts.entry(id.kind()).or_default() += 1;
        }
        Self { version, entities, children, counts }
    }

    /// The catalogue version: 0 when empty. Of one process alone, one more with every commit that changes an entity; where servers share the catalogue, the
    /// offset behind the last record that was taken from the change feed. It only grows.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The newest revision of an entity.
    #[must_use]
    pub fn get(&self, id: EntityId) -> Option<&Arc<Revision>> {
        self.entities.get(&id)
    }

    /// How many entities of a kind there are, archived ones too.
    #[must_use]
    pub fn count(&self, kind: EntityKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Every entity, parents before children.
    pub fn entities(&self) -> impl Iterator<Item = &Arc<Revision>> {
        self.entities.values()
    }

    /// The entities of a kind under a parent, oldest first, those after `after` only.
    pub fn children(
        &self,
        parent: EntityId,
        kind: EntityKind,
        after: Option<EntityId>,
    ) -> impl Iterator<Item = &Arc<Revision>> {
        let from = after.filter(|after| after.kind() == kind).map_or_else(
            || Bound::Included((parent, EntityId::first_of(kind))),
            |after| Bound::Excluded((parent, after)),
        );
        self.children
            .range((from, Bound::Unbounded))
            .take_while(move |(of, child)| *of == parent && child.kind() == kind)
            .filter_map(|(_, child)| self.entities.get(child))
    }

    /// Takes in a committed group.
    pub fn apply(&mut self, version: u64, group: &Group) {
        self.take_in(version, group.newest());
    }

    /// Takes in revisions from wherever they come, the change feed or the store: those that are newer than what is known. So it doesn't matter in what order
    /// they come, nor how often. The version never goes back.
    pub fn take_in<'r>(&mut self, version: u64, revisions: impl IntoIterator<Item = &'r Arc<Revision>>) {
        self.version = self.version.max(version);
        for revision in revisions {
            self.put(Arc::clone(revision));
        }
    }

    fn put(&mut self, revision: Arc<Revision>) {
        let id = revision.entity.id();
        if self.entities.get(&id).is_some_and(|known| known.number >= revision.number) {
            return;
        }
        // Parents never change, so an entity that is known needs no new rows.
        if !self.entities.contains_key(&id) {
            *self.counts.entry(id.kind()).or_default() += 1;
            for parent in ancestors(&revision.entity).into_iter().flatten() {
                self.children.insert((parent, id));
            }
        }
        self.entities.insert(id, revision);
    }
}

/// All that a list of this entity's kind can be filtered by. A network is its own, so that networks can be listed too.
fn ancestors(entity: &Entity) -> [Option<EntityId>; 3] {
    let campaign = match entity {
        Entity::LineItem(line_item) => Some(EntityId::Campaign(line_item.campaign_id)),
        Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
    };
    [Some(EntityId::Network(entity.network_id())), entity.advertiser_id().map(EntityId::Advertiser), campaign]
}

/// The catalogue as a command sees it: what is durable, and over it what was accepted in the same group.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    committed: &'a CatalogState,
    pending: Option<&'a BTreeMap<EntityId, Arc<Revision>>>,
    staged: Option<&'a BTreeMap<EntityId, Arc<Revision>>>,
}

/// A view that a bulk import builds up as it goes.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    base: View<'a>,
    staged: BTreeMap<EntityId, Arc<Revision>>,
}

impl<'a> View<'a> {
    /// The catalogue with a group's changes over it.
    #[must_use]
    pub const fn new(committed: &'a CatalogState, pending: &'a BTreeMap<EntityId, Arc<Revision>>) -> Self {
        Self { committed, pending: Some(pending), staged: None }
    }

    /// The catalogue as it is.
    #[must_use]
    pub const fn of(committed: &'a CatalogState) -> Self {
        Self { committed, pending: None, staged: None }
    }

    /// The newest revision of an entity.
    #[must_use]
    pub fn get(self, id: EntityId) -> Option<&'a Arc<Revision>> {
        self.staged
            .and_then(|staged| staged.get(&id))
            .or_else(|| self.pending.and_then(|pending| pending.get(&id)))
            .or_else(|| self.committed.get(id))
    }

    /// How many entities of a kind there are.
    #[must_use]
    pub fn count(self, kind: EntityKind) -> usize {
        let new = |changes: &BTreeMap<EntityId, Arc<Revision>>| {
            changes.keys().filter(|id| id.kind() == kind && self.committed.get(**id).is_none()).count()
        };
        self.committed.count(kind) + self.pending.map_or(0, new) + self.staged.map_or(0, new)
    }

    /// A network.
    #[must_use]
    pub fn network(self, id: NetworkId) -> Option<&'a Network> {
        match &self.get(EntityId::Network(id))?.entity {
            Entity::Network(network) => Some(network),
            _ => None,
        }
    }

    /// An advertiser.
    #[must_use]
    pub fn advertiser(self, id: crate::model::AdvertiserId) -> Option<&'a Advertiser> {
        match &self.get(EntityId::Advertiser(id))?.entity {
            Entity::Advertiser(advertiser) => Some(advertiser),
            _ => None,
        }
    }

    /// A campaign.
    #[must_use]
    pub fn campaign(self, id: crate::model::CampaignId) -> Option<&'a Campaign> {
        match &self.get(EntityId::Campaign(id))?.entity {
            Entity::Campaign(campaign) => Some(campaign),
            _ => None,
        }
    }

    /// A creative.
    #[must_use]
    pub fn creative(self, id: crate::model::CreativeId) -> Option<&'a Creative> {
        match &self.get(EntityId::Creative(id))?.entity {
            Entity::Creative(creative) => Some(creative),
            _ => None,
        }
    }

    pub(super) const fn staged(self) -> Staged<'a> {
        Staged { base: self, staged: BTreeMap::new() }
    }
}

impl Staged<'_> {
    pub(super) fn view(&self) -> View<'_> {
        View { staged: Some(&self.staged), ..self.base }
    }

    pub(super) fn insert(&mut self, revision: Arc<Revision>) {
        self.staged.insert(revision.entity.id(), revision);
    }
}
