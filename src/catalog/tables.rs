//! The entities of a snapshot, by id and by slot.

use std::sync::Arc;

use super::line::LineEntry;
use super::shards::{Shards, SlotTable};
use crate::catalog::LineSlot;
use crate::model::{
    Advertiser, AdvertiserId, Campaign, CampaignId, Creative, CreativeId, LineItemId, Network, NetworkId,
};

/// Every entity; a clone shares all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) networks: Shards<NetworkId, Arc<Network>>,
    pub(super) advertisers: Shards<AdvertiserId, Arc<Advertiser>>,
    pub(super) campaigns: Shards<CampaignId, Arc<Campaign>>,
    pub(super) creatives: Shards<CreativeId, Arc<Creative>>,
    /// Every line item ever seen, archived ones too: a slot is never reused.
    pub(super) slots: Shards<LineItemId, LineSlot>,
    /// Those that may serve.
    pub(super) lines: SlotTable<LineEntry>,
}
