//! The vocabulary: what the trade talks about, as plain values.
//!
//! Everything here is data with its own rules and nothing else: no serialisation (wire, journal and store have types of their own that
//! convert), no clock, no I/O. Times, ids and money are newtypes, so that a budget can't be added to a date.

mod actor;
mod ad_break;
mod asset;
mod campaign;
mod caps;
mod creative;
mod ids;
mod impression;
mod line_item;
mod listener;
mod money;
mod platform;
mod time;

pub use actor::{Actor, Role};
pub use ad_break::{
    AdBreakRequest, AppKey, BreakPosition, BreakSpec, ConsentScope, Coordinates, Facts, PlacementKey, Preview,
    RequestId, Subscription,
};
pub use asset::{AssetFile, AssetId, FileKind, NoAssetId};
pub use campaign::{Advertiser, App, Approval, Campaign, Network, Placement, Status};
pub use caps::{CapScope, CapWindow, FrequencyCap, Strictness};
pub use creative::{AudioFormat, Creative, Rendition, RenditionSource};
pub use ids::{
    AdvertiserId, ApiKeyId, BootId, CampaignId, CreativeId, DecisionId, IdError, LeaseId, LineItemId, NetworkId,
    ServerId,
};
pub use impression::{BeaconEvent, ImpressionId, InvalidTraffic};
pub use line_item::{
    Avoidance, Budget, CreativeChoice, Flight, Goal, LineItem, PacingMode, PriceModel, Pricing, ShareOfVoice, Tier,
    Tracker,
};
pub use listener::{
    Exposure, ExposureState, ListenerKey, ListenerState, OpenAd, OpenBreak, Profile, Pseudonym, StrictExposure,
    StrictRow, StrictVersion, TimedSegment,
};
pub use money::{MICROS_PER_UNIT, Micros, MoneyOverflow};
pub use platform::Platform;
pub use time::{Day, MonotonicMs, Now, UnknownZone, WallMs, Zone};
