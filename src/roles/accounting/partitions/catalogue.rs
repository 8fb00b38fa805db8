//! The catalogue as the keeper holds it: whole, so that a new owner can be told all that is of its partition.

use std::collections::BTreeMap;

use crate::catalog::{Entity, EntityId};
use crate::event_log::{PartitionCounts, Topic};
use crate::model::{AdvertiserId, LineItemId};

/// All entities as of their newest revision.
#[derive(Debug)]
pub(super) struct Catalogue {
    counts: PartitionCounts,
    entities: BTreeMap<EntityId, Entity>,
}

impl Catalogue {
    pub(super) const fn new(counts: PartitionCounts) -> Self {
        Self { counts, entities: BTreeMap::new() }
    }

    /// Takes in a change.
    pub(super) fn take(&mut self, entities: &[Entity]) {
        self.entities.extend(entities.iter().map(|entity| (entity.id(), entity.clone())));
    }

    /// All that an owner of the partition has to know, parents before children.
    pub(super) fn of(&self, partition: u32) -> Vec<Entity> {
        self.entities.values().filter(|entity| self.concerns(entity, partition)).cloned().collect()
    }

    /// What of a change concerns the partition.
    pub(super) fn part(&self, entities: &[Entity], partition: u32) -> Vec<Entity> {
        entities.iter().filter(|entity| self.concerns(entity, partition)).cloned().collect()
    }

    /// The partition of a line item's money; none when it is not known.
    pub(super) fn partition(&self, id: LineItemId) -> Option<u32> {
        match self.entities.get(&EntityId::LineItem(id))? {
            Entity::LineItem(line) => Some(self.of_advertiser(line.advertiser_id)),
            Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
        }
    }

    /// A network is everybody's; what belongs to an advertiser is of the partition that the advertiser's events are in.
    fn concerns(&self, entity: &Entity, partition: u32) -> bool {
        entity.advertiser_id().is_none_or(|id| self.of_advertiser(id) == partition)
    }

    fn of_advertiser(&self, id: AdvertiserId) -> u32 {
        self.counts.partition(Topic::Events, &id.to_bytes())
    }
}
