//! The catalogue at one version.

use std::sync::Arc;

use super::dictionary::Dictionary;
use super::line::{LineEntry, LineSlot};
use super::part::Part;
use super::tables::Tables;
use crate::model::{
    Advertiser, AdvertiserId, Campaign, CampaignId, Creative, CreativeId, LineItemId, Network, NetworkId,
};

/// The catalogue at one version; immutable.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) version: u64,
    pub(super) tables: Tables,
    pub(super) dictionary: Arc<Dictionary>,
    /// Most line items, as of some earlier version, less those that changed since.
    pub(super) base: Part,
    /// Those of the line items that changed since that were folded together.
    pub(super) middle: Part,
    /// The line items that changed last.
    pub(super) delta: Part,
}

impl Snapshot {
    /// Nothing, at version 0.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalogue's version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The network of that id.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.tables.networks.get(&id).map(Arc::as_ref)
    }

    /// The advertiser of that id.
    #[must_use]
    pub fn advertiser(&self, id: AdvertiserId) -> Option<&Advertiser> {
        self.tables.advertisers.get(&id).map(Arc::as_ref)
    }

    /// The campaign of that id.
    #[must_use]
    pub fn campaign(&self, id: CampaignId) -> Option<&Campaign> {
        self.tables.campaigns.get(&id).map(Arc::as_ref)
    }

    /// The creative of that id.
    #[must_use]
    pub fn creative(&self, id: CreativeId) -> Option<&Creative> {
        self.tables.creatives.get(&id).map(Arc::as_ref)
    }

    /// The line item of that id, unless it is archived, its campaign or advertiser is, or one of them is missing.
    #[must_use]
    pub fn line_item(&self, id: LineItemId) -> Option<&LineEntry> {
        self.get(*self.tables.slots.get(&id)?)
    }

    /// The slot of the line item of that id, given at first sight and kept when it is archived.
    #[must_use]
    pub fn slot(&self, id: LineItemId) -> Option<LineSlot> {
        self.tables.slots.get(&id).copied()
    }

    /// The line item at a slot that may come from another snapshot; none if it may not serve in this one.
    #[must_use]
    pub fn get(&self, slot: LineSlot) -> Option<&LineEntry> {
        self.tables.lines.get(slot).map(Arc::as_ref)
    }

    /// The line item at a slot that this snapshot's scan yielded.
    ///
    /// # Panics
    /// When the slot is not of this snapshot: a caller's bug.
    #[must_use]
    pub fn line(&self, slot: LineSlot) -> &LineEntry {
        self.get(slot).expect("the slot was yielded by this snapshot")
    }

    /// Bytes that the indexes take: for benches and for operators.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        [&self.base, &self.middle, &self.delta].map(|part| part.index.bytes()).iter().sum()
    }

    /// The slots of all line items that may serve, in order. Reads none of them.
    pub fn slots(&self) -> impl Iterator<Item = LineSlot> {
        self.tables.lines.slots()
    }

    /// Every line item that may serve, in order of slot: for counting and for exhaustive explanation, not for decisions.
    pub fn lines(&self) -> impl Iterator<Item = &LineEntry> {
        self.tables.lines.iter().map(Arc::as_ref)
    }
}
