//! A request for an ad break, in the values of the wire: validated, normalised, not yet resolved to a snapshot's dense ids.

use super::creative::AudioFormat;
use super::ids::{CreativeId, LineItemId, NetworkId};
use super::listener::ListenerKey;
use super::time::Zone;

/// A key or id that a player chose: 1 to 128 visible ASCII characters.
macro_rules! wire_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(String);

        impl $name {
            /// Most characters.
            pub const MAX_LEN: usize = 128;

            /// The key, if the text can be one: 1 to 128 visible ASCII characters.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                let fits = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
                fits.then(|| Self(text.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

wire_key!(
    /// The player's id of one request; a repeat gets the same answer.
    RequestId
);
wire_key!(
    /// A player application's key.
    AppKey
);
wire_key!(
    /// A placement's key.
    PlacementKey
);

/// One request for an ad break.
#[derive(Clone, PartialEq, Debug)]
pub struct AdBreakRequest {
    /// The tenant, from the app's key.
    pub network_id: NetworkId,
    /// The player's id of the request.
    pub request_id: RequestId,
    /// Who listens; a session's key when nobody may be known.
    pub listener_key: ListenerKey,
    /// The player application.
    pub app: AppKey,
    /// The kind of break.
    pub placement: PlacementKey,
    /// What is asked for.
    pub spec: BreakSpec,
    /// What targeting can look at. Where consent is missing, what may not be used is already absent.
    pub facts: Facts,
    /// What the listener allowed.
    pub consent: ConsentScope,
    /// Whether the listener is a child: no profile, and only ads that suit.
    pub child: bool,
    /// Whether the listener pays not to hear ads.
    pub subscription: Subscription,
    /// Milliseconds since the listener's last break as the player knows it.
    pub since_last_break_ms: Option<u64>,
    /// Whether it is asked ahead of time.
    pub prefetch: bool,
    /// An operator's wish to hear one line item or creative; never billed.
    pub preview: Option<Preview>,
}

/// What an operator wants to hear, regardless of targeting and budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preview {
    /// The line item.
    pub line_item_id: LineItemId,
    /// One of its creatives; any when absent.
    pub creative_id: Option<CreativeId>,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakSpec {
    /// Longest pod in milliseconds.
    pub max_duration_ms: u32,
    /// Most ads, 1 to 16.
    pub max_ads: u8,
    /// Where in the stream.
    pub position: BreakPosition,
    /// Encodings that the player can play; empty means any.
    pub formats: Vec<AudioFormat>,
    /// Companion sizes in pixels that the player can show.
    pub companion_sizes: Vec<(u16, u16)>,
}

/// Where in the stream a break is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BreakPosition {
    /// Before the first track.
    PreRoll,
    /// Between tracks.
    MidRoll,
    /// After the last track.
    PostRoll,
}

/// What a listener allowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConsentScope {
    /// Profile, segments and lasting caps may be used.
    Personal,
    /// Only the context; caps live as long as the session.
    ContextOnly,
}

/// Whether the listener pays not to hear ads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subscription {
    /// Hears ads.
    Free,
    /// Does not.
    Premium,
}

/// What targeting can look at, as wire values: codes in lower case as validated at the edge. Absent means unknown: a positive predicate
/// over something unknown is false, and its negation true.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    /// ISO 3166-1 alpha-2, lower case.
    pub country: Option<String>,
    /// ISO 3166-2, lower case, e.g. `se-ab`.
    pub region: Option<String>,
    /// City as `country/name`, lower case, e.g. `se/stockholm`.
    pub city: Option<String>,
    /// Postal code as `country/code`, lower case, no spaces, e.g. `se/11122`.
    pub postal_code: Option<String>,
    /// BCP 47 primary language, lower case.
    pub language: Option<String>,
    /// Years.
    pub age: Option<u8>,
    /// `female`, `male`, `other`.
    pub gender: Option<String>,
    /// `ios`, `android`, `web`, `desktop`, `tv`, `speaker`, `car`, `console`.
    pub platform: Option<String>,
    /// `phone`, `tablet`, ...
    pub device_type: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Its version, dotted numbers.
    pub os_version: Option<String>,
    /// The app's version, dotted numbers.
    pub app_version: Option<String>,
    /// `wifi`, `cellular`, `wired`.
    pub connection: Option<String>,
    /// Genres of what plays around the break.
    pub genres: Vec<String>,
    /// Its moods.
    pub moods: Vec<String>,
    /// The playlist.
    pub playlist: Option<String>,
    /// The artists.
    pub artists: Vec<String>,
    /// Whether what plays around the break is explicit.
    pub explicit: Option<bool>,
    /// Content categories (IAB Content Taxonomy codes or the network's words).
    pub content_categories: Vec<String>,
    /// Audience segments of the listener.
    pub segments: Vec<String>,
    /// The player's own key-values.
    pub key_values: Vec<(String, String)>,
    /// Where the listener is.
    pub coordinates: Option<Coordinates>,
    /// The listener's time zone.
    pub zone: Option<Zone>,
    /// Genres that the listener has played much of, lately.
    pub taste_genres: Vec<String>,
    /// Moods, likewise.
    pub taste_moods: Vec<String>,
}

/// A point on Earth (WGS 84), degrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Coordinates {
    /// -90 to 90.
    pub latitude: f64,
    /// -180 to 180.
    pub longitude: f64,
}
