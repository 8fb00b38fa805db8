//! The one writer of the catalogue: applies changes, makes snapshots.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::entity::Entity;
use super::levels::Levels;
#[cfg(test)]
use super::levels::Limits;
use super::line::{CategoryId, LineEntry, LineSlot};
use super::rank::Rank;
use super::rebuild::{RebuildJob, Rebuilt};
use super::snapshot::Snapshot;
use super::tables::Tables;
use crate::model::{AdvertiserId, Approval, CampaignId, Creative, CreativeId, LineItem, LineItemId, Status};

/// Applies changes in the order of the catalogue's versions. There is one in a process, on a thread of its own.
#[derive(Debug, Default)]
pub struct CatalogWriter {
    version: u64,
    tables: Tables,
    /// The newest form of every line item ever seen, by slot.
    line_items: Vec<Arc<LineItem>>,
    categories: HashMap<String, CategoryId>,
    by_advertiser: Dependents<AdvertiserId>,
    by_campaign: Dependents<CampaignId>,
    by_creative: Dependents<CreativeId>,
    levels: Levels,
}

/// Which line items must be looked at again when an entity changes.
type Dependents<Id> = HashMap<Id, BTreeSet<LineSlot>>;

impl CatalogWriter {
    /// An empty catalogue at version 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty catalogue at version 0, whose dictionary's hashes follow from a secret key: for line items that come from outside.
    #[must_use]
    pub fn keyed(key: u64) -> Self {
        Self { levels: Levels::keyed(key), ..Self::default() }
    }

    /// An empty catalogue that builds a new base at once when the delta would have more than `delta_max` line items.
    #[cfg(test)]
    pub(crate) fn with_delta_max(delta_max: usize) -> Self {
        let mut writer = Self::default();
        writer.levels.limits =
            Limits { delta_wanted: delta_max / 4, middle_wanted: delta_max / 2, bulk: delta_max, delta_max };
        writer
    }

    /// Applies a batch of changes and returns the catalogue as of `version`. Entities may come in any order, and a child before its
    /// parent: it serves once the parent is there. A line item that may never serve (its parents disagree on whose it is) is left out.
    pub fn apply(&mut self, version: u64, changes: Vec<Entity>) -> Arc<Snapshot> {
        let mut touched = BTreeSet::new();
        for change in changes {
            self.take(change, &mut touched);
        }
        let mut changed = Vec::new();
        for slot in touched {
            let entry = self.entry(slot).map(Arc::new);
            let is_indexed_alike = match (self.tables.lines.get(slot), &entry) {
                (Some(before), Some(after)) => is_indexed_alike(before, after),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !is_indexed_alike {
                changed.push(slot);
            }
            self.tables.lines.set(slot, entry);
        }
        self.levels.update(&changed, &self.tables.lines);
        self.version = version;
        self.snapshot()
    }

    /// The catalogue as it stands.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            version: self.version,
            tables: self.tables.clone(),
            dictionary: Arc::clone(&self.levels.dictionary),
            base: self.levels.base.clone(),
            middle: self.levels.middle.clone(),
            delta: self.levels.delta.clone(),
        })
    }

    /// Whether enough has changed that a part should be built again.
    #[must_use]
    pub fn wants_rebuild(&self) -> bool {
        self.levels.wants_rebuild()
    }

    /// Takes what is needed to build the part that should be, on another thread: [`RebuildJob::run`]. Meanwhile changes are applied as ever. A job
    /// begun later makes this one worthless.
    pub fn begin_rebuild(&mut self) -> RebuildJob {
        self.levels.begin_rebuild(&self.tables.lines)
    }

    /// Puts a part that was built meanwhile in place, and returns the catalogue, which holds what it held. None when the part is out of date.
    pub fn finish_rebuild(&mut self, rebuilt: Rebuilt) -> Option<Arc<Snapshot>> {
        self.levels.finish_rebuild(rebuilt).then(|| self.snapshot())
    }

    /// Builds a new base here and now.
    pub fn rebuild(&mut self) -> Arc<Snapshot> {
        let base = self.levels.begin_base(&self.tables.lines).run();
        self.finish_rebuild(base).expect("nothing changed since the job was begun")
    }

    /// Number of line items that may serve but whose targeting can't be indexed, and which no request therefore matches. The campaign API refuses
    /// such targeting, so this is 0 unless a catalogue came another way.
    #[must_use]
    pub fn unindexable(&self) -> usize {
        self.levels.unindexable.len()
    }

    /// Number of line items in the base (those taken out since included), in the middle and in the delta.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        self.levels.sizes()
    }

    /// Stores one entity and notes which line items it touches.
    fn take(&mut self, change: Entity, touched: &mut BTreeSet<LineSlot>) {
        match change {
            Entity::Network(network) => self.tables.networks.insert(network.id, network),
            Entity::Advertiser(advertiser) => {
                touched.extend(self.by_advertiser.get(&advertiser.id).into_iter().flatten());
                self.tables.advertisers.insert(advertiser.id, advertiser);
            }
            Entity::Campaign(campaign) => {
                touched.extend(self.by_campaign.get(&campaign.id).into_iter().flatten());
                self.tables.campaigns.insert(campaign.id, campaign);
            }
            Entity::Creative(creative) => {
                touched.extend(self.by_creative.get(&creative.id).into_iter().flatten());
                self.tables.creatives.insert(creative.id, creative);
            }
            Entity::LineItem(line_item) => {
                touched.insert(self.take_line_item(line_item));
            }
        }
    }

    fn take_line_item(&mut self, line_item: Arc<LineItem>) -> LineSlot {
        let slot = self.slot_of(line_item.id);
        if let Some(before) = self.line_items.get(slot.index()).cloned() {
            forget(&mut self.by_advertiser, &before.advertiser_id, slot);
            forget(&mut self.by_campaign, &before.campaign_id, slot);
            for choice in &before.creatives {
                forget(&mut self.by_creative, &choice.creative_id, slot);
            }
        }
        self.by_advertiser.entry(line_item.advertiser_id).or_default().insert(slot);
        self.by_campaign.entry(line_item.campaign_id).or_default().insert(slot);
        for choice in &line_item.creatives {
            self.by_creative.entry(choice.creative_id).or_default().insert(slot);
        }
        match self.line_items.get_mut(slot.index()) {
            Some(known) => *known = line_item,
            None => self.line_items.push(line_item),
        }
        slot
    }

    fn slot_of(&mut self, id: LineItemId) -> LineSlot {
        if let Some(&slot) = self.tables.slots.get(&id) {
            return slot;
        }
        let slot = LineSlot(u32::try_from(self.line_items.len()).expect("fewer than 2^32 line items fit in memory"));
        self.tables.slots.insert(id, slot);
        slot
    }

    /// The line item at the slot with its surroundings; none when it may not serve.
    fn entry(&mut self, slot: LineSlot) -> Option<LineEntry> {
        let line_item = Arc::clone(&self.line_items[slot.index()]);
        let campaign = Arc::clone(self.tables.campaigns.get(&line_item.campaign_id)?);
        let advertiser = Arc::clone(self.tables.advertisers.get(&line_item.advertiser_id)?);
        let of_one_house = campaign.advertiser_id == advertiser.id
            && campaign.network_id == line_item.network_id
            && advertiser.network_id == line_item.network_id;
        let archived = [line_item.status, campaign.status, advertiser.status].contains(&Status::Archived);
        if archived || !of_one_house {
            return None;
        }
        let category = line_item.category.as_deref().map(|word| self.category(word));
        let mut excluded_categories: Vec<CategoryId> =
            line_item.excluded_categories.iter().map(|word| self.category(word)).collect();
        excluded_categories.sort_unstable();
        excluded_categories.dedup();
        let caps = [&line_item.caps, &campaign.caps, &advertiser.caps].into_iter().flatten().copied().collect();
        Some(LineEntry {
            slot,
            creatives: self.servable_creatives(&line_item),
            rank: Rank::of(&line_item),
            category,
            excluded_categories: excluded_categories.into(),
            caps,
            line_item,
            campaign,
            advertiser,
        })
    }

    fn servable_creatives(&self, line_item: &LineItem) -> Box<[(Arc<Creative>, u8)]> {
        let known = line_item
            .creatives
            .iter()
            .filter_map(|choice| Some((Arc::clone(self.tables.creatives.get(&choice.creative_id)?), choice.weight)));
        known
            .filter(|(creative, _)| {
                creative.status == Status::Active
                    && creative.approval == Approval::Approved
                    && creative.advertiser_id == line_item.advertiser_id
            })
            .collect()
    }

    fn category(&mut self, word: &str) -> CategoryId {
        if let Some(&id) = self.categories.get(word) {
            return id;
        }
        let id = CategoryId(u32::try_from(self.categories.len()).expect("fewer than 2^32 categories fit in memory"));
        self.categories.insert(word.to_owned(), id);
        id
    }
}

/// Whether the index has the same to say of both.
fn is_indexed_alike(before: &LineEntry, after: &LineEntry) -> bool {
    let (old, new) = (&before.line_item, &after.line_item);
    before.rank == after.rank
        && old.network_id == new.network_id
        && old.targeting == new.targeting
        && old.flight.zone.name() == new.flight.zone.name()
}

fn forget<Id: Eq + Hash>(dependents: &mut Dependents<Id>, id: &Id, slot: LineSlot) {
    if let Some(slots) = dependents.get_mut(id) {
        slots.remove(&slot);
        if slots.is_empty() {
            dependents.remove(id);
        }
    }
}
