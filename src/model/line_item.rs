//! A line item: what was sold, to whom it may play, and at what price.

use super::campaign::Status;
use super::caps::FrequencyCap;
use super::ids::{AdvertiserId, CampaignId, CreativeId, LineItemId, NetworkId};
use super::impression::BeaconEvent;
use super::money::Micros;
use super::time::{WallMs, Zone};
use crate::targeting::Expression;

/// What was sold.
#[derive(Clone, PartialEq, Debug)]
pub struct LineItem {
    /// Its id.
    pub id: LineItemId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The campaign's advertiser.
    pub advertiser_id: AdvertiserId,
    /// The network it runs in.
    pub network_id: NetworkId,
    /// What people call it.
    pub name: String,
    /// Whether it may deliver.
    pub status: Status,
    /// When it may deliver.
    pub flight: Flight,
    /// Which line items it goes before.
    pub tier: Tier,
    /// What an impression costs.
    pub pricing: Pricing,
    /// The most it may spend; none at this level means that only the levels above limit it.
    pub budget: Budget,
    /// How much was promised; present exactly for [`Tier::Guaranteed`].
    pub goal: Option<Goal>,
    /// Its share of matching breaks; present exactly for [`Tier::Sponsorship`].
    pub share_of_voice: Option<ShareOfVoice>,
    /// How it spreads its delivery over the flight.
    pub pacing: PacingMode,
    /// To whom it may play.
    pub targeting: Expression,
    /// How often one listener may hear it.
    pub caps: Vec<FrequencyCap>,
    /// What it advertises (an IAB Ad Product code or a word of the network's): two ads of one category never share a pod.
    pub category: Option<String>,
    /// Other categories that may not be in the same pod.
    pub excluded_categories: Vec<String>,
    /// What it does not want to be heard beside.
    pub avoid: Avoidance,
    /// What it plays; at least one.
    pub creatives: Vec<CreativeChoice>,
    /// Third parties told of its events by the player.
    pub trackers: Vec<Tracker>,
}

/// When a line item may deliver: `start <= now < end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flight {
    /// First moment.
    pub start: WallMs,
    /// First moment after; later than `start`.
    pub end: WallMs,
    /// The zone of its days, and of its day parts where it targets by its own time.
    pub zone: Zone,
}

/// Priority, highest first. A higher tier is served before a lower one, whatever the price.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tier {
    /// A share of voice.
    Sponsorship,
    /// An impression goal.
    Guaranteed,
    /// The highest bid.
    Auction,
    /// The network's own; never billed.
    House,
}

/// What is paid for, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pricing {
    /// What is paid for.
    pub model: PriceModel,
    /// CPM: micros for 1,000 impressions, a multiple of 1,000. CPCL: micros for 1,000 completed listens, a multiple of 1,000.
    /// CPC: micros a click. Flat: micros for the flight. For auction line items this is the bid.
    pub amount: Micros,
}

/// What is paid for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PriceModel {
    /// 1,000 impressions.
    Cpm,
    /// 1,000 completed listens.
    Cpcl,
    /// A click.
    Cpc,
    /// The whole flight.
    Flat,
}

/// Limits of spend. A budget of none means no limit at this level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// Over the whole life.
    pub lifetime: Option<Micros>,
    /// In one day of the zone that holds.
    pub daily: Option<Micros>,
}

/// How many impressions were promised; also the most that are delivered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Goal {
    /// Over the flight; at least 1.
    pub impressions: u64,
    /// At most this many in one day of the flight's zone.
    pub daily_impressions: Option<u64>,
}

/// A share of breaks in basis points, 1 to 10,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShareOfVoice {
    /// Ten-thousandths.
    pub basis_points: u16,
}

/// How delivery spreads over the flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PacingMode {
    /// Evenly.
    Even,
    /// As fast as possible.
    AsFastAsPossible,
    /// More at the start.
    FrontLoaded,
    /// By a curve: cumulative share of delivery, in basis points, at the end of each equal part of the flight.
    Curve(Vec<u16>),
}

/// What a line item does not want to be heard beside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Avoidance {
    /// Explicit tracks.
    pub explicit: bool,
    /// Content categories of the track or playlist.
    pub content_categories: Vec<String>,
    /// Genres.
    pub genres: Vec<String>,
}

/// A creative of a line item and how often it is picked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CreativeChoice {
    /// The creative.
    pub creative_id: CreativeId,
    /// Relative weight, 1 to 100.
    pub weight: u8,
}

/// A third party's URL that the player calls at an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracker {
    /// When.
    pub event: BeaconEvent,
    /// Where; https.
    pub url: String,
}

impl Pricing {
    /// Micros that one impression costs, when impressions are what is paid for.
    #[must_use]
    pub fn per_impression(self) -> Option<Micros> {
        match self.model {
            PriceModel::Cpm | PriceModel::Cpcl => Some(Micros(self.amount.0 / 1_000)),
            PriceModel::Cpc | PriceModel::Flat => None,
        }
    }
}

impl Flight {
    /// Whether it delivers at `at`.
    #[must_use]
    pub fn contains(&self, at: WallMs) -> bool {
        self.start <= at && at < self.end
    }
}
