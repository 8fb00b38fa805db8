//! The plain attributes of a targeting object: where each stands, and what its values look like.

use super::wire::TargetingBody;
use crate::targeting::expression::Attribute;

/// The plain attributes of an object, in the order in which their conditions stand in the expression.
pub(super) fn texts(body: &TargetingBody) -> [(Attribute, &'static str, Option<&Vec<String>>); 21] {
    [
        (Attribute::Country, "country", body.country.as_ref()),
        (Attribute::Region, "region", body.region.as_ref()),
        (Attribute::City, "city", body.city.as_ref()),
        (Attribute::PostalCode, "postal_code", body.postal_code.as_ref()),
        (Attribute::Language, "language", body.language.as_ref()),
        (Attribute::Gender, "gender", body.gender.as_ref()),
        (Attribute::Platform, "platform", body.platform.as_ref()),
        (Attribute::DeviceType, "device_type", body.device_type.as_ref()),
        (Attribute::Os, "os", body.os.as_ref()),
        (Attribute::Connection, "connection", body.connection.as_ref()),
        (Attribute::Genre, "genre", body.genre.as_ref()),
        (Attribute::Mood, "mood", body.mood.as_ref()),
        (Attribute::Playlist, "playlist", body.playlist.as_ref()),
        (Attribute::Artist, "artist", body.artist.as_ref()),
        (Attribute::ContentCategory, "content_category", body.content_category.as_ref()),
        (Attribute::Segment, "segment", body.segment.as_ref()),
        (Attribute::BreakPosition, "break_position", body.break_position.as_ref()),
        (Attribute::App, "app", body.app.as_ref()),
        (Attribute::Placement, "placement", body.placement.as_ref()),
        (Attribute::TasteGenre, "taste_genre", body.taste_genre.as_ref()),
        (Attribute::TasteMood, "taste_mood", body.taste_mood.as_ref()),
    ]
}

/// What a value of the attribute looks like, in words.
pub(super) const fn expected(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Country => "an ISO 3166-1 code such as SE",
        Attribute::Region => "an ISO 3166-2 code such as SE-AB",
        Attribute::City => "country/name such as SE/Stockholm",
        Attribute::PostalCode => "country/code such as SE/11122",
        Attribute::Language => "a language such as sv",
        Attribute::Gender => "female, male or other",
        Attribute::Platform => "ios, android, web, desktop, tv, speaker, car or console",
        Attribute::Connection => "wifi, cellular or wired",
        Attribute::BreakPosition => "pre_roll, mid_roll or post_roll",
        Attribute::App | Attribute::Placement => "a key of 1 to 128 visible ASCII characters",
        Attribute::DeviceType
        | Attribute::Os
        | Attribute::Genre
        | Attribute::Mood
        | Attribute::Playlist
        | Attribute::Artist
        | Attribute::ContentCategory
        | Attribute::Segment
        | Attribute::TasteGenre
        | Attribute::TasteMood => "1 to 128 characters, none of them control characters",
    }
}
