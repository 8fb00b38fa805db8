//! One thing of the catalogue, whatever its kind: what the change feed carries and the store keeps.

use std::fmt;
use std::sync::Arc;

use crate::model::{
    Advertiser, AdvertiserId, Campaign, CampaignId, Creative, CreativeId, LineItem, LineItemId, Network, NetworkId,
    Status,
};

/// A whole entity as of one revision. A change is the whole entity, so that applying it twice is applying it once. It is never copied: the campaign
/// API, decisions and accounting share what there may be a million of.
#[derive(Clone, PartialEq, Debug)]
pub enum Entity {
    /// A network.
    Network(Arc<Network>),
    /// An advertiser.
    Advertiser(Arc<Advertiser>),
    /// A campaign.
    Campaign(Arc<Campaign>),
    /// A line item.
    LineItem(Arc<LineItem>),
    /// A creative.
    Creative(Arc<Creative>),
}

/// The kinds of entities, parents before children: in this order they can be applied one after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EntityKind {
    /// A network.
    Network,
    /// An advertiser.
    Advertiser,
    /// A campaign.
    Campaign,
    /// A creative; before line items, which name it.
    Creative,
    /// A line item.
    LineItem,
}

/// The id of an entity of any kind. Orders by kind, parents first, then by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityId {
    /// A network's.
    Network(NetworkId),
    /// An advertiser's.
    Advertiser(AdvertiserId),
    /// A campaign's.
    Campaign(CampaignId),
    /// A creative's.
    Creative(CreativeId),
    /// A line item's.
    LineItem(LineItemId),
}

impl Entity {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> EntityId {
        match self {
            Self::Network(network) => EntityId::Network(network.id),
            Self::Advertiser(advertiser) => EntityId::Advertiser(advertiser.id),
            Self::Campaign(campaign) => EntityId::Campaign(campaign.id),
            Self::LineItem(line_item) => EntityId::LineItem(line_item.id),
            Self::Creative(creative) => EntityId::Creative(creative.id),
        }
    }

    /// The network that it belongs to; a network belongs to itself.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        match self {
            Self::Network(network) => network.id,
            Self::Advertiser(advertiser) => advertiser.network_id,
            Self::Campaign(campaign) => campaign.network_id,
            Self::LineItem(line_item) => line_item.network_id,
            Self::Creative(creative) => creative.network_id,
        }
    }

    /// The advertiser that it belongs to; none for a network.
    #[must_use]
    pub fn advertiser_id(&self) -> Option<AdvertiserId> {
        match self {
            Self::Network(_) => None,
            Self::Advertiser(advertiser) => Some(advertiser.id),
            Self::Campaign(campaign) => Some(campaign.advertiser_id),
            Self::LineItem(line_item) => Some(line_item.advertiser_id),
            Self::Creative(creative) => Some(creative.advertiser_id),
        }
    }

    /// Whether it may deliver; a network always may.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Network(_) => Status::Active,
            Self::Advertiser(advertiser) => advertiser.status,
            Self::Campaign(campaign) => campaign.status,
            Self::LineItem(line_item) => line_item.status,
            Self::Creative(creative) => creative.status,
        }
    }
}

impl From<Network> for Entity {
    fn from(network: Network) -> Self {
        Self::Network(Arc::new(network))
    }
}

impl From<Advertiser> for Entity {
    fn from(advertiser: Advertiser) -> Self {
        Self::Advertiser(Arc::new(advertiser))
    }
}

impl From<Campaign> for Entity {
    fn from(campaign: Campaign) -> Self {
        Self::Campaign(Arc::new(campaign))
    }
}

impl From<LineItem> for Entity {
    fn from(line_item: LineItem) -> Self {
        Self::LineItem(Arc::new(line_item))
    }
}

impl From<Creative> for Entity {
    fn from(creative: Creative) -> Self {
        Self::Creative(Arc::new(creative))
    }
}

impl EntityKind {
    /// Every kind, parents before children.
    pub const ALL: [Self; 5] = [Self::Network, Self::Advertiser, Self::Campaign, Self::Creative, Self::LineItem];
}

impl EntityId {
    /// The lowest id of a kind: no entity has it, and every id of the kind is above it.
    #[must_use]
    pub const fn first_of(kind: EntityKind) -> Self {
        match kind {
            EntityKind::Network => Self::Network(NetworkId::from_u128(0)),
            EntityKind::Advertiser => Self::Advertiser(AdvertiserId::from_u128(0)),
            EntityKind::Campaign => Self::Campaign(CampaignId::from_u128(0)),
            EntityKind::Creative => Self::Creative(CreativeId::from_u128(0)),
            EntityKind::LineItem => Self::LineItem(LineItemId::from_u128(0)),
        }
    }

    /// The kind of thing that it names.
    #[must_use]
    pub const fn kind(self) -> EntityKind {
        match self {
            Self::Network(_) => EntityKind::Network,
            Self::Advertiser(_) => EntityKind::Advertiser,
            Self::Campaign(_) => EntityKind::Campaign,
            Self::Creative(_) => EntityKind::Creative,
            Self::LineItem(_) => EntityKind::LineItem,
        }
    }

    /// The id's sixteen bytes. Ids of different kinds never share them: they are random.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        match self {
            Self::Network(id) => id.to_bytes(),
            Self::Advertiser(id) => id.to_bytes(),
            Self::Campaign(id) => id.to_bytes(),
            Self::Creative(id) => id.to_bytes(),
            Self::LineItem(id) => id.to_bytes(),
        }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(id) => id.fmt(f),
            Self::Advertiser(id) => id.fmt(f),
            Self::Campaign(id) => id.fmt(f),
            Self::Creative(id) => id.fmt(f),
            Self::LineItem(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(id) => id.fmt(f),
            Self::Advertiser(id) => id.fmt(f),
            Self::Campaign(id) => id.fmt(f),
            Self::Creative(id) => id.fmt(f),
            Self::LineItem(id) => id.fmt(f),
        }
    }
}
