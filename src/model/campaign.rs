//! Who buys and where it plays: network, app, placement, advertiser, campaign.

use super::ad_break::{AppKey, PlacementKey};
use super::caps::FrequencyCap;
use super::ids::{AdvertiserId, CampaignId, NetworkId};
use super::line_item::Budget;
use super::money::Micros;
use super::time::Zone;

/// Whether an entity may deliver. Archiving is final: an archived entity is kept for its history and never serves again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// May deliver.
    Active,
    /// Held back until it is made active again.
    Paused,
    /// Ended for good.
    Archived,
}

/// The streaming company: the tenant, with the rules that hold for all its breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// What people call it.
    pub name: String,
    /// ISO 4217 code of the one currency that all its money is in.
    pub currency: String,
    /// Lowest price of a paid impression, as CPM; a multiple of 1,000 micros.
    pub floor_cpm: Micros,
    /// Whether a creative made with an advertiser's key serves only after an operator approved it.
    pub approve_creatives: bool,
    /// Players that may ask for breaks.
    pub apps: Vec<App>,
    /// Places in the stream where breaks are.
    pub placements: Vec<Placement>,
}

/// A player application of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// Its key in requests, unique in the network.
    pub key: AppKey,
    /// What people call it.
    pub name: String,
}

/// A kind of ad break in the network's streams, with its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Its key in requests, unique in the network.
    pub key: PlacementKey,
    /// What people call it.
    pub name: String,
    /// Lowest price of a paid impression here, as CPM; the higher of this and the network's floor holds.
    pub floor_cpm: Micros,
    /// Longest pod in milliseconds, whatever the player asks for.
    pub max_duration_ms: u32,
    /// Most ads in a pod, whatever the player asks for.
    pub max_ads: u8,
    /// Least time from one break to the next of the same listener, in milliseconds; 0 for no cadence.
    pub cadence_ms: u32,
    /// How long after the decision an impression may still be billed, in milliseconds (a token's life).
    pub token_life_ms: u64,
    /// Whether an impression is billable at its start rather than after two audible seconds.
    pub impression_at_start: bool,
}

/// A buyer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertiser {
    /// Its id.
    pub id: AdvertiserId,
    /// The network it buys from.
    pub network_id: NetworkId,
    /// What people call it.
    pub name: String,
    /// Whether its line items may deliver.
    pub status: Status,
    /// Money that all its campaigns may spend together; none means no limit at this level.
    pub budget: Budget,
    /// The zone of its days and months.
    pub zone: Zone,
    /// Caps over everything it plays to one listener.
    pub caps: Vec<FrequencyCap>,
}

/// A set of line items with one purpose and one budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Campaign {
    /// Its id.
    pub id: CampaignId,
    /// Whose it is.
    pub advertiser_id: AdvertiserId,
    /// The network it runs in.
    pub network_id: NetworkId,
    /// What people call it.
    pub name: String,
    /// Whether its line items may deliver.
    pub status: Status,
    /// Money that all its line items may spend together; none means no limit at this level.
    pub budget: Budget,
    /// Caps over all its line items to one listener.
    pub caps: Vec<FrequencyCap>,
}

/// Whether a creative has been looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Approval {
    /// Not looked at yet: does not serve.
    Pending,
    /// May serve.
    Approved,
    /// Turned down: does not serve.
    Rejected,
}
