//! The JSON of the campaign API.
//!
//! Money is whole micros of the network's currency, times are RFC 3339, words are snake case. One struct serves reading and writing:
//! fields marked read-only are set by the server; sending them back unchanged is fine, sending them changed is refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Approval, AudioFormat, CapScope, PriceModel, Status, Strictness, Tier};
use crate::targeting::syntax::TargetingBody;

/// A wire word for each value of a domain enumeration, and the way in both directions.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $domain:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant,)* }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant,)* }
            }
        }
    };
}

words! {
    /// Whether an entity may deliver.
    StatusWord of Status {
        /// May deliver.
        Active,
        /// Held back.
        Paused,
        /// Ended for good.
        Archived,
    }
}
words! {
    /// Whether a creative has been looked at.
    ApprovalWord of Approval {
        /// Not yet: does not serve.
        Pending,
        /// May serve.
        Approved,
        /// Does not serve.
        Rejected,
    }
}
words! {
    /// Priority, highest first.
    TierWord of Tier {
        /// A share of voice.
        Sponsorship,
        /// An impression goal.
        Guaranteed,
        /// The highest bid.
        Auction,
        /// The network's own; never billed.
        House,
    }
}
words! {
    /// What is paid for.
    PriceModelWord of PriceModel {
        /// 1,000 impressions.
        Cpm,
        /// 1,000 completed listens. Not supported yet.
        Cpcl,
        /// A click. Not supported yet.
        Cpc,
        /// The whole flight. Not supported yet.
        Flat,
    }
}
words! {
    /// What a cap counts together.
    CapScopeWord of CapScope {
        /// One creative of the line item.
        Creative,
        /// The line item.
        LineItem,
        /// The campaign.
        Campaign,
        /// The advertiser.
        Advertiser,
    }
}
words! {
    /// What a cap does when the listener's state can't be reached.
    StrictnessWord of Strictness {
        /// Serves from what is known.
        Soft,
        /// Does not serve. Not supported yet.
        Strict,
    }
}
words! {
    /// An audio encoding.
    AudioFormatWord of AudioFormat {
        /// MPEG layer III.
        Mp3,
        /// Ogg Vorbis.
        OggVorbis,
        /// AAC.
        Aac,
        /// PCM in WAV.
        Wav,
    }
}

/// How delivery spreads over the flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacingWord {
    /// Evenly.
    #[default]
    Even,
    /// As fast as possible.
    AsFastAsPossible,
    /// More at the start. Not supported yet.
    FrontLoaded,
    /// By a curve. Not supported yet.
    Curve,
}

/// How far back a cap looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowWord {
    /// The pod being filled; `duration_ms` is absent.
    Pod,
    /// The last `duration_ms` milliseconds.
    Sliding,
}

/// A network: the streaming company, with the rules that hold for all its breaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Network)]
pub struct NetworkDocument {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub id: Option<String>,
    /// Its revision, which is its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub revision: Option<u64>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub updated_at: Option<String>,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// ISO 4217 code of the one currency that all its money is in; never changes.
    pub currency: String,
    /// Lowest price of 1,000 paid impressions, in micros; a multiple of 1,000.
    pub floor_cpm_micros: i64,
    /// Whether a creative made with an advertiser's key serves only after an operator approved it.
    pub approve_creatives: bool,
    /// Players that may ask for breaks.
    pub apps: Vec<AppBody>,
    /// Places in the stream where breaks are.
    pub placements: Vec<PlacementBody>,
}

/// A player application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = App)]
pub struct AppBody {
    /// Its key in requests: 1 to 128 visible ASCII characters, unique in the network.
    pub key: String,
    /// What people call it.
    pub name: String,
}

/// A kind of ad break, with its rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Placement)]
pub struct PlacementBody {
    /// Its key in requests: 1 to 128 visible ASCII characters, unique in the network.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Lowest price of 1,000 paid impressions here; the higher of this and the network's holds.
    #[serde(default)]
    pub floor_cpm_micros: i64,
    /// Longest pod, whatever the player asks for.
    pub max_duration_ms: u32,
    /// Most ads in a pod, whatever the player asks for.
    pub max_ads: u8,
    /// Least time between two breaks of one listener; 0 for no cadence.
    #[serde(default)]
    pub cadence_ms: u32,
    /// How long after the decision an impression may still be billed.
    #[serde(default = "one_hour_ms")]
    pub token_life_ms: u64,
    /// Whether an impression is billable at its start rather than after two audible seconds.
    #[serde(default)]
    pub impression_at_start: bool,
}

/// A buyer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Advertiser)]
pub struct AdvertiserDocument {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub id: Option<String>,
    /// Its revision, which is its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub revision: Option<u64>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub updated_at: Option<String>,
    /// The network it buys from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub network_id: Option<String>,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// Whether its line items may deliver.
    #[serde(default = "active")]
    pub status: StatusWord,
    /// What all its campaigns may spend together.
    #[serde(default)]
    pub budget: BudgetBody,
    /// IANA time zone of its days and months.
    #[serde(default = "utc")]
    pub zone: String,
    /// Caps over everything it plays to one listener; at most 10.
    #[serde(default)]
    pub caps: Vec<CapBody>,
}

/// A set of line items with one purpose and one budget.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Campaign)]
pub struct CampaignDocument {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub id: Option<String>,
    /// Its revision, which is its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub revision: Option<u64>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub updated_at: Option<String>,
    /// The network it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub network_id: Option<String>,
    /// Whose it is; never changes. With an advertiser's key it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub advertiser_id: Option<String>,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// Whether its line items may deliver.
    #[serde(default = "active")]
    pub status: StatusWord,
    /// What all its line items may spend together.
    #[serde(default)]
    pub budget: BudgetBody,
    /// Caps over all its line items to one listener; at most 10.
    #[serde(default)]
    pub caps: Vec<CapBody>,
}

/// An audio ad.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Creative)]
pub struct CreativeDocument {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub id: Option<String>,
    /// Its revision, which is its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub revision: Option<u64>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub updated_at: Option<String>,
    /// The network it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub network_id: Option<String>,
    /// Whose it is; never changes. With an advertiser's key it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub advertiser_id: Option<String>,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// Whether it may deliver.
    #[serde(default = "active")]
    pub status: StatusWord,
    /// Whether it has been looked at; changed by approving and rejecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub approval: Option<ApprovalWord>,
    /// Length; 1 to 600,000. May be left out where a rendition is an asset: then it is that one's, which it may differ from by half a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// Whether it has explicit content.
    #[serde(default)]
    pub explicit: bool,
    /// The same sound in different encodings; 1 to 16.
    pub renditions: Vec<RenditionBody>,
    /// Where a click leads; https. Behind the host it may hold the macros `[CLICKID]`, `[TIMESTAMP]`, `[CACHEBUSTING]`, `[ADVERTISERID]`,
    /// `[CAMPAIGNID]`, `[LINEITEMID]`, `[CREATIVEID]`, `[PLACEMENT]` and `[COUNTRY]`; their values are percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_url: Option<String>,
    /// Images shown along. Not supported yet: leave it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub companions: Vec<serde_json::Value>,
}

/// One encoding of a creative: either an asset, or a URL with its encoding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rendition)]
pub struct RenditionBody {
    /// Encoding. May be left out for an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<AudioFormatWord>,
    /// Kilobits per second. May be left out for an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u16>,
    /// Where the player fetches it; https, or http on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// An asset of the same advertiser, as `POST /v1/assets` answers it: players get a signed URL of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<String>,
}

/// What was sold, to whom it may play, and at what price.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LineItem)]
pub struct LineItemDocument {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub id: Option<String>,
    /// Its revision, which is its `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub revision: Option<u64>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = DateTime)]
    pub updated_at: Option<String>,
    /// The network it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub network_id: Option<String>,
    /// The campaign's advertiser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only, format = Uuid)]
    pub advertiser_id: Option<String>,
    /// Its campaign; never changes.
    #[schema(format = Uuid)]
    pub campaign_id: String,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// Whether it may deliver.
    #[serde(default = "active")]
    pub status: StatusWord,
    /// When it may deliver.
    pub flight: FlightBody,
    /// Which line items it goes before.
    pub tier: TierWord,
    /// What an impression costs. May be left out for the house tier.
    #[serde(default)]
    pub pricing: PricingBody,
    /// The most it may spend.
    #[serde(default)]
    pub budget: BudgetBody,
    /// How much was promised; exactly for the guaranteed tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<GoalBody>,
    /// Its share of matching breaks; exactly for the sponsorship tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_voice: Option<ShareOfVoiceBody>,
    /// How it spreads its delivery over the flight.
    #[serde(default)]
    pub pacing: PacingBody,
    /// To whom it may play; `{}` is everybody.
    #[serde(default)]
    pub targeting: TargetingBody,
    /// How often one listener may hear it; at most 10.
    #[serde(default)]
    pub caps: Vec<CapBody>,
    /// What it advertises: two ads of one category never share a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Other categories that may not be in the same pod.
    #[serde(default)]
    pub excluded_categories: Vec<String>,
    /// What it does not want to be heard beside.
    #[serde(default)]
    pub avoid: AvoidBody,
    /// What it plays; 1 to 100 creatives of the same advertiser.
    pub creatives: Vec<CreativeChoiceBody>,
    /// Images shown along. Not supported yet: leave it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub companions: Vec<serde_json::Value>,
    /// Third parties told of its events by the player; at most 11.
    #[serde(default)]
    pub trackers: Vec<TrackerBody>,
}

/// When a line item may deliver: from `start` on, before `end`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Flight)]
pub struct FlightBody {
    /// First moment, RFC 3339, at most milliseconds.
    #[schema(format = DateTime)]
    pub start: String,
    /// First moment after; later than `start`, at most ten years.
    #[schema(format = DateTime)]
    pub end: String,
    /// IANA time zone of its days, and of its day parts where it targets by its own time.
    #[serde(default = "utc")]
    pub zone: String,
}

/// What is paid for, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pricing)]
pub struct PricingBody {
    /// What is paid for.
    pub model: PriceModelWord,
    /// For `cpm`: micros for 1,000 impressions, a multiple of 1,000. For the auction tier this is the bid.
    pub amount_micros: i64,
}

/// Limits of spend. What is absent does not limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Budget)]
pub struct BudgetBody {
    /// Over the whole life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_micros: Option<i64>,
    /// In one day. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_micros: Option<i64>,
}

/// How many impressions were promised; also the most that are delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Goal)]
pub struct GoalBody {
    /// Over the flight.
    pub impressions: u64,
    /// In one day. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_impressions: Option<u64>,
}

/// A share of breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShareOfVoice)]
pub struct ShareOfVoiceBody {
    /// Ten-thousandths, 1 to 10,000.
    pub basis_points: u16,
}

/// How delivery spreads over the flight.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pacing)]
pub struct PacingBody {
    /// How.
    pub mode: PacingWord,
    /// For `curve`: cumulative share in basis points at the end of each equal part of the flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<u16>,
}

/// A frequency cap: at most `max` impressions to one listener in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FrequencyCap)]
pub struct CapBody {
    /// What is counted together.
    pub scope: CapScopeWord,
    /// Most impressions in the window; at least 1.
    pub max: u16,
    /// The window.
    pub window: WindowBody,
    /// What holds when the listener's state can't be reached. `strict`: never exceeded, with any number of servers and devices; not served where that
    /// can't be made sure of in time, nor to sessions, of whom nothing is kept. A strict sliding cap counts no more than what it stands on: on a line item
    /// the scope is `line_item`, on a campaign `line_item` or `campaign`, on an advertiser any.
    #[serde(default = "soft")]
    pub strictness: StrictnessWord,
}

/// How far back a cap looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CapWindow)]
pub struct WindowBody {
    /// Which kind.
    pub kind: WindowWord,
    /// For `sliding`: 1,000 (a second) to 3,024,000,000 (35 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What a line item does not want to be heard beside.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Avoidance)]
pub struct AvoidBody {
    /// Explicit tracks.
    #[serde(default)]
    pub explicit: bool,
    /// Content categories of the track or playlist.
    #[serde(default)]
    pub content_categories: Vec<String>,
    /// Genres.
    #[serde(default)]
    pub genres: Vec<String>,
}

/// A creative of a line item and how often it is picked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreativeChoice)]
pub struct CreativeChoiceBody {
    /// The creative.
    #[schema(format = Uuid)]
    pub creative_id: String,
    /// Relative weight, 1 to 100; unequal weights are not supported yet.
    #[serde(default = "equal_weight")]
    pub weight: u8,
}

/// A third party's URL that the player calls at an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tracker)]
pub struct TrackerBody {
    /// When: an event's name as in beacons, e.g. `impression`, `q1`, `complete`.
    pub event: String,
    /// Where; https.
    pub url: String,
}

impl Default for PricingBody {
    /// Free, as the house tier is.
    fn default() -> Self {
        Self { model: PriceModelWord::Cpm, amount_micros: 0 }
    }
}

fn one_hour_ms() -> u64 {
    3_600_000
}

fn active() -> StatusWord {
    StatusWord::Active
}

fn utc() -> String {
    "UTC".to_owned()
}

fn soft() -> StrictnessWord {
    StrictnessWord::Soft
}

fn equal_weight() -> u8 {
    1
}
