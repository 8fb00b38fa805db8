//! The oracle: whether targeting matches, read straight off its definition. Slow, and meant to be obviously right; the index must agree.

use super::expression::{Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf};
use crate::model::{AdBreakRequest, BreakPosition, Coordinates, WallMs, Zone};

/// Whether the expression holds for the request at `at`, for a line item whose flight is in `line_item_zone`.
///
/// A predicate over something unknown is false, and its negation true.
#[must_use]
pub fn matches(expression: &Expression, request: &AdBreakRequest, line_item_zone: &Zone, at: WallMs) -> bool {
    match expression {
        Expression::All(parts) => parts.iter().all(|part| matches(part, request, line_item_zone, at)),
        Expression::Any(parts) => parts.iter().any(|part| matches(part, request, line_item_zone, at)),
        Expression::Not(part) => !matches(part, request, line_item_zone, at),
        Expression::Is(predicate) => holds(predicate, request, line_item_zone, at),
    }
}

fn holds(predicate: &Predicate, request: &AdBreakRequest, line_item_zone: &Zone, at: WallMs) -> bool {
    let facts = &request.facts;
    match predicate {
        Predicate::Has { attribute, any_of } => {
            values_of(*attribute, request).any(|value| any_of.iter().any(|wanted| wanted == value))
        }
        Predicate::Age { any_of } => {
            facts.age.is_some_and(|age| any_of.iter().any(|range| (range.from..=range.to).contains(&age)))
        }
        Predicate::Explicit(wanted) => facts.explicit == Some(*wanted),
        Predicate::KeyValue { key, any_of } => facts.key_values.iter().any(|(k, v)| k == key && any_of.contains(v)),
        Predicate::Daypart { zone: DaypartZone::LineItem, hours } => hours.contains(line_item_zone.hour_of_week(at)),
        Predicate::Daypart { zone: DaypartZone::Listener, hours } => {
            facts.zone.as_ref().is_some_and(|zone| hours.contains(zone.hour_of_week(at)))
        }
        Predicate::Within { any_of } => facts.coordinates.is_some_and(|at| any_of.iter().any(|c| in_circle(*c, at))),
        Predicate::Version { of, any_of } => {
            version_of(*of, request).is_some_and(|version| any_of.iter().any(|range| range.contains(version)))
        }
    }
}

/// What the request says of an attribute; empty when unknown.
pub fn values_of(attribute: Attribute, request: &AdBreakRequest) -> impl Iterator<Item = &str> {
    let facts = &request.facts;
    let (one, many): (Option<&str>, &[String]) = match attribute {
        Attribute::Country => (facts.country.as_deref(), &[]),
        Attribute::Region => (facts.region.as_deref(), &[]),
        Attribute::City => (facts.city.as_deref(), &[]),
        Attribute::PostalCode => (facts.postal_code.as_deref(), &[]),
        Attribute::Language => (facts.language.as_deref(), &[]),
        Attribute::Gender => (facts.gender.as_deref(), &[]),
        Attribute::Platform => (facts.platform.as_deref(), &[]),
        Attribute::DeviceType => (facts.device_type.as_deref(), &[]),
        Attribute::Os => (facts.os.as_deref(), &[]),
        Attribute::Connection => (facts.connection.as_deref(), &[]),
        Attribute::Genre => (None, &facts.genres),
        Attribute::Mood => (None, &facts.moods),
        Attribute::Playlist => (facts.playlist.as_deref(), &[]),
        Attribute::Artist => (None, &facts.artists),
        Attribute::ContentCategory => (None, &facts.content_categories),
        Attribute::Segment => (None, &facts.segments),
        Attribute::BreakPosition => (Some(position_name(request.spec.position)), &[]),
        Attribute::App => (Some(request.app.as_str()), &[]),
        Attribute::Placement => (Some(request.placement.as_str()), &[]),
        Attribute::TasteGenre => (None, &facts.taste_genres),
        Attribute::TasteMood => (None, &facts.taste_moods),
    };
    one.into_iter().chain(many.iter().map(String::as_str))
}

/// The position as targeting and the wire spell it.
#[must_use]
pub const fn position_name(position: BreakPosition) -> &'static str {
    match position {
        BreakPosition::PreRoll => "pre_roll",
        BreakPosition::MidRoll => "mid_roll",
        BreakPosition::PostRoll => "post_roll",
    }
}

/// The version that the request names; unknown when it is absent or not dotted numbers.
pub(super) fn version_of(of: VersionOf, request: &AdBreakRequest) -> Option<Version> {
    match of {
        VersionOf::Os => request.facts.os_version.as_deref(),
        VersionOf::App => request.facts.app_version.as_deref(),
    }
    .and_then(Version::parse)
}

/// Mean radius of the Earth in metres (IUGG).
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Whether the point is in the circle, border included, by the haversine formula on a sphere (error below 0.6 %).
pub(super) fn in_circle(circle: Circle, at: Coordinates) -> bool {
    let (from, to) = (circle.latitude.to_radians(), at.latitude.to_radians());
    let half_latitude = ((to - from) / 2.0).sin();
    let half_longitude = ((at.longitude - circle.longitude).to_radians() / 2.0).sin();
    let chord = half_latitude * half_latitude + from.cos() * to.cos() * half_longitude * half_longitude;
    2.0 * EARTH_RADIUS_M * chord.clamp(0.0, 1.0).sqrt().asin() <= f64::from(circle.radius_m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_follow_the_ground() {
        let circle = |latitude, longitude, radius_m| Circle { latitude, longitude, radius_m };
        let at = |latitude, longitude| Coordinates { latitude, longitude };
        for (circle, place, is_in) in [
            // Stockholm to Oslo is 417 km.
            (circle(59.3293, 18.0686, 420_000), at(59.9139, 10.7522), true),
            (circle(59.3293, 18.0686, 410_000), at(59.9139, 10.7522), false),
            // Across the date line, over the pole, and the same place.
            (circle(0.0, 179.9, 23_000), at(0.0, -179.9), true),
            (circle(0.0, 179.9, 22_000), at(0.0, -179.9), false),
            (circle(89.9, 0.0, 23_000), at(89.9, 180.0), true),
            (circle(-90.0, 0.0, 100), at(-90.0, 123.0), true),
            (circle(51.5, -0.1, 100), at(51.5, -0.1), true),
            (circle(0.0, 0.0, 500_000), at(0.0, 180.0), false),
        ] {
            assert_eq!(in_circle(circle, place), is_in, "{circle:?} {place:?}");
        }
    }
}
