//! What targeting could look at.

use super::proto;
use super::read::{Read, degrees, narrow, zone};
use crate::model::{Coordinates, Facts};

pub(super) fn to_wire(facts: &Facts) -> proto::Facts {
    proto::Facts {
        country: facts.country.clone(),
        region: facts.region.clone(),
        city: facts.city.clone(),
        postal_code: facts.postal_code.clone(),
        language: facts.language.clone(),
        age: facts.age.map(u32::from),
        gender: facts.gender.clone(),
        platform: facts.platform.clone(),
        device_type: facts.device_type.clone(),
        os: facts.os.clone(),
        os_version: facts.os_version.clone(),
        app_version: facts.app_version.clone(),
        connection: facts.connection.clone(),
        genres: facts.genres.clone(),
        moods: facts.moods.clone(),
        playlist: facts.playlist.clone(),
        artists: facts.artists.clone(),
        explicit: facts.explicit,
        content_categories: facts.content_categories.clone(),
        segments: facts.segments.clone(),
        key_values: facts
            .key_values
            .iter()
            .map(|(key, value)| proto::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        coordinates: facts
            .coordinates
            .map(|point| proto::Coordinates { latitude: point.latitude, longitude: point.longitude }),
        zone: facts.zone.as_ref().map(|zone| zone.name().to_owned()),
        taste_genres: facts.taste_genres.clone(),
        taste_moods: facts.taste_moods.clone(),
    }
}

pub(super) fn from_wire(wire: proto::Facts) -> Read<Facts> {
    Ok(Facts {
        country: wire.country,
        region: wire.region,
        city: wire.city,
        postal_code: wire.postal_code,
        language: wire.language,
        age: wire.age.map(|age| narrow("facts.age", age)).transpose()?,
        gender: wire.gender,
        platform: wire.platform,
        device_type: wire.device_type,
        os: wire.os,
        os_version: wire.os_version,
        app_version: wire.app_version,
        connection: wire.connection,
        genres: wire.genres,
        moods: wire.moods,
        playlist: wire.playlist,
        artists: wire.artists,
        explicit: wire.explicit,
        content_categories: wire.content_categories,
        segments: wire.segments,
        key_values: wire.key_values.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        coordinates: wire.coordinates.map(coordinates).transpose()?,
        zone: wire.zone.map(|name| zone("facts.zone", &name)).transpose()?,
        taste_genres: wire.taste_genres,
        taste_moods: wire.taste_moods,
    })
}

fn coordinates(wire: proto::Coordinates) -> Read<Coordinates> {
    Ok(Coordinates {
        latitude: degrees("facts.coordinates.latitude", wire.latitude, 90.0)?,
        longitude: degrees("facts.coordinates.longitude", wire.longitude, 180.0)?,
    })
}
