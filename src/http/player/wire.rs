//! The player's JSON: what `POST /v1/ad-breaks` takes and answers.
//!
//! Only `request_id`, `listener` and `break` are required. Everything else is optional, and a bad or unknown optional field costs a warning,
//! never the ads (see `parse`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A request for the ads of one break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdBreakRequestBody {
    /// The player's id of this request, 1 to 128 visible ASCII characters. A repeat gets the same answer and draws nothing.
    pub request_id: String,
    /// Who listens.
    pub listener: ListenerBody,
    /// What is asked for.
    #[serde(rename = "break")]
    pub ad_break: BreakBody,
    /// What plays the ads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceBody>,
    /// Where the listener is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<GeoBody>,
    /// What plays around the break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextBody>,
    /// What the listener allowed. Absent: consent is taken not to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyBody>,
    /// Milliseconds since the listener's last break, as the player knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_last_break_ms: Option<u64>,
    /// Whether the break is asked ahead of time. At most two such breaks are open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<bool>,
    /// First-party audience segments of the listener; used with consent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<String>>,
    /// The player's own key-values about the context, never about the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_values: Option<BTreeMap<String, Vec<String>>>,
    /// With an operator's key: answer with each candidate's fate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// With an operator's key: play this, whatever targeting and budget say; never billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewBody>,
}

/// Who listens: an account's `id`, or an anonymous `session_id`, or both (the session then serves where the account may not be used).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerBody {
    /// The account's id as the player knows it, 1 to 256 characters. Kept nowhere: only a keyed hash of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// An anonymous session, 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Years, 0 to 120; used with consent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u8>,
    /// `female`, `male` or `other`; used with consent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// Language, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whether the listener pays not to hear ads: the answer is then "no break is due".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub premium: Option<bool>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakBody {
    /// The placement's key.
    pub placement: String,
    /// Longest pod in milliseconds, 1,000 to 600,000. The placement may allow less.
    pub max_duration_ms: u32,
    /// Most ads, 1 to 16. The placement may allow less.
    pub max_ads: u8,
    /// `pre_roll`, `mid_roll` (default) or `post_roll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Encodings that the player can play: `mp3`, `ogg_vorbis`, `aac`, `wav`. Absent or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<String>>,
    /// Companion sizes in pixels, width and height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion_sizes: Option<Vec<[u16; 2]>>,
}

/// What plays the ads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBody {
    /// `ios`, `android`, `web`, `desktop`, `tv`, `speaker`, `car`, `console`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// `phone`, `tablet`, `computer`, ...
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// Operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Its version: up to four dotted numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The app's version: up to four dotted numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// `wifi`, `cellular`, `wired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

/// Where the listener is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoBody {
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// ISO 3166-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// City, within the country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Postal code, within the country; used with consent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Degrees, -90 to 90; used with consent only, and only together with `longitude`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees, -180 to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// IANA name, such as `Europe/Stockholm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What plays around the break.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextBody {
    /// Genres, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genres: Option<Vec<String>>,
    /// Moods, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moods: Option<Vec<String>>,
    /// The playlist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playlist: Option<String>,
    /// Artists, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artists: Option<Vec<String>>,
    /// Whether it is explicit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit: Option<bool>,
    /// Content categories, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_categories: Option<Vec<String>>,
}

/// What the listener allowed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivacyBody {
    /// `granted`, `denied`, or `not_required` where no law asks for it. Absent or anything else counts as not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// Whether the listener asked for limited ads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_ads: Option<bool>,
    /// Whether the listener is a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<bool>,
}

/// What an operator wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBody {
    /// The line item.
    pub line_item_id: Uuid,
    /// One of its creatives; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creative_id: Option<Uuid>,
}

/// The ads of one break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdBreakAnswer {
    /// This answer's id.
    pub decision_id: Uuid,
    /// The request's id.
    pub request_id: String,
    /// The ads, in the order in which they play.
    pub ads: Vec<AdBody>,
    /// Why no break is due: `premium`, `cadence`, `too_many_prefetched`, ... Absent when one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_break: Option<String>,
    /// Why there are house ads only: `rarely_heard_app` or `rarely_heard_address`, where few of the paid ads that were answered to the app, or
    /// to the network that it asks from, were ever reported as heard. Absent as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<String>,
    /// Why line items were not picked: reason and how many were looked at and refused for it. The search stops as soon as nothing unseen can
    /// improve the pod, so these are the refusals on the way, not of the whole catalogue.
    pub no_fill_reasons: BTreeMap<String, u32>,
    /// When to ask again.
    pub next_break: NextBreakBody,
    /// How much of the full decision was made: 0 is all of it; 1, a better pod may exist; 2, line items with a strict cap were left out, because the
    /// listener's state could not be written in time; 3, nothing was known of the listener.
    pub degradation_tier: u8,
    /// Optional fields that were left out of account, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<WarningBody>,
    /// With `explain`: each candidate's fate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationBody>,
}

/// What became of every line item of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplanationBody {
    /// The decision in one sentence.
    pub summary: String,
    /// Line items looked at: all of the network.
    pub line_items: u32,
    /// How many fell for which reason.
    pub counts: BTreeMap<String, u32>,
    /// The pod, then those that came closest to it; at most 200.
    pub fates: Vec<FateBody>,
}

/// What became of one line item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FateBody {
    /// The line item.
    pub line_item_id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// Its place in the pod, from 1; absent when it is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Why it is not in the pod, by stable name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In words.
    pub words: String,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextBreakBody {
    /// Not before this many milliseconds from now.
    pub after_ms: u64,
}

/// One ad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdBody {
    /// Position in the pod, from 1.
    pub slot: u8,
    /// Its advertiser.
    pub advertiser_id: Uuid,
    /// Its advertiser's name.
    pub advertiser_name: String,
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Its line item.
    pub line_item_id: Uuid,
    /// Its creative.
    pub creative_id: Uuid,
    /// `sponsorship`, `guaranteed`, `auction` or `house`.
    pub tier: String,
    /// Length in milliseconds.
    pub duration_ms: u32,
    /// The sound, in the encodings that the player can play.
    pub renditions: Vec<RenditionBody>,
    /// Where a click leads: to Segue, which records it and sends the listener on to the creative's click URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_url: Option<String>,
    /// Segue's own beacons: put an event's name for `{event}` and call the URL.
    pub tracking_url: String,
    /// Third parties that the player tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trackers: Vec<TrackerBody>,
    /// After this time the ad must not be played: nothing heard later is billed. RFC 3339.
    pub expires_at: String,
    /// What an impression costs in micros; for operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_micros: Option<i64>,
}

/// One encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenditionBody {
    /// `mp3`, `ogg_vorbis`, `aac` or `wav`.
    pub format: String,
    /// Kilobits per second.
    pub bitrate_kbps: u16,
    /// Where to fetch it.
    pub url: String,
}

/// A third party that the player tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrackerBody {
    /// The event's name, as in Segue's own beacons.
    pub event: String,
    /// What to call.
    pub url: String,
}

/// An optional field that was left out of account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WarningBody {
    /// Where, e.g. `geo.latitude`.
    pub path: String,
    /// What, in a stable word, e.g. `out_of_range`.
    pub code: String,
    /// What, in words.
    pub message: String,
}
