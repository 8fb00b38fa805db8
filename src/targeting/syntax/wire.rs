//! The JSON objects of targeting, as they stand on the wire.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// To whom a line item may play. All fields of one object must hold; of a list of values, any. `{}` is everybody.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"country": ["SE", "NO"], "age": [{"from": 18, "to": 34}], "not": {"genre": ["kids"]}}))]
pub struct TargetingBody {
    /// ISO 3166-1 alpha-2 codes, e.g. `SE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Vec<String>>,
    /// ISO 3166-2 codes, e.g. `SE-AB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Vec<String>>,
    /// Cities as `country/name`, e.g. `SE/Stockholm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<Vec<String>>,
    /// Postal codes as `country/code`, e.g. `SE/11122`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<Vec<String>>,
    /// Primary languages (BCP 47), e.g. `sv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Vec<String>>,
    /// `female`, `male`, `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<Vec<String>>,
    /// `ios`, `android`, `web`, `desktop`, `tv`, `speaker`, `car`, `console`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Vec<String>>,
    /// Kinds of device, e.g. `phone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<Vec<String>>,
    /// Operating systems, e.g. `android`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Vec<String>>,
    /// `wifi`, `cellular`, `wired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Vec<String>>,
    /// Genres of what plays around the break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genre: Option<Vec<String>>,
    /// Its moods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mood: Option<Vec<String>>,
    /// Playlists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playlist: Option<Vec<String>>,
    /// Artists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artist: Option<Vec<String>>,
    /// Content categories: IAB Content Taxonomy codes or the network's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_category: Option<Vec<String>>,
    /// Audience segments; at most 50,000 in one line item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Vec<String>>,
    /// `pre_roll`, `mid_roll`, `post_roll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_position: Option<Vec<String>>,
    /// Keys of player applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<Vec<String>>,
    /// Keys of placements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Vec<String>>,
    /// Genres that the listener has played much of, lately; known where the listener's consent and `segue.listening` say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taste_genre: Option<Vec<String>>,
    /// Moods, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taste_mood: Option<Vec<String>>,
    /// Ranges of age in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Vec<AgeRangeBody>>,
    /// Whether what plays around the break is explicit; `false` is "known to be clean".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit: Option<bool>,
    /// The player's own keys, each with its wanted values: `{"mood": ["calm", "focus"]}`. Every key named must have one of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value: Option<BTreeMap<String, Vec<String>>>,
    /// Versions of the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<Vec<VersionRangeBody>>,
    /// Versions of the player application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<Vec<VersionRangeBody>>,
    /// Hours of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daypart: Option<DaypartBody>,
    /// Circles on the ground.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Vec<CircleBody>>,
    /// Each of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub all: Option<Vec<Self>>,
    /// At least one of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub any: Option<Vec<Self>>,
    /// This doesn't hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub not: Option<Box<Self>>,
}

/// A range of age in years, both ends included; an absent end is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct AgeRangeBody {
    /// Youngest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u8>,
    /// Oldest, at most 120.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u8>,
}

/// A range of versions such as `12.1`; an absent end is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct VersionRangeBody {
    /// Lowest, included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// First that is too high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// Hours of the week by the wall clock of a time zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct DaypartBody {
    /// Whose wall clock; the listener's unless said otherwise.
    #[serde(default)]
    pub time_zone: TimeZoneOf,
    /// Hours, any of which will do.
    pub hours: Vec<HoursBody>,
}

/// Whose wall clock shows the hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeZoneOf {
    /// The listener's.
    #[default]
    Listener,
    /// That of the line item's flight.
    LineItem,
}

/// Some hours of some days: `{"days": ["mon", "tue"], "from": 6, "to": 10}` is 06:00 to 09:59.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct HoursBody {
    /// The days; every day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Day>>,
    /// First hour, 0 to 23.
    pub from: u8,
    /// First hour that is too late, 1 to 24.
    pub to: u8,
}

/// A day of the week.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// The days in order, from the first hour of the week on.
pub(super) const EVERY_DAY: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

/// A circle on the ground (WGS 84).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct CircleBody {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// Metres, 100 to 500,000.
    pub radius_m: u32,
}

/// Reads the type from a JSON object alone. A derived struct could also be read from an array, field by field, and `[]` would be everybody.
macro_rules! only_from_an_object {
    ($($body:ident),*) => {$(
        impl<'de> Deserialize<'de> for $body {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;

                impl<'de> Visitor<'de> for Object {
                    type Value = $body;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$body, A::Error> {
                        $body::deserialize(MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_map(Object)
            }
        }

        impl Serialize for $body {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $body::serialize(self, serializer)
            }
        }
    )*};
}
only_from_an_object!(TargetingBody, AgeRangeBody, VersionRangeBody, DaypartBody, HoursBody, CircleBody);
