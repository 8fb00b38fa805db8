//! The request that a player sends, from what it knows.

use crate::http::player::wire::{
    AdBreakRequestBody, BreakBody, ContextBody, DeviceBody, GeoBody, ListenerBody, PrivacyBody,
};
use crate::workload::Draws;
use crate::workload::world::{ConsentAnswer, Track, WorldListener};

/// What this request is about.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    /// Its id.
    pub(super) request_id: String,
    /// The session.
    pub(super) session: String,
    /// Where in the stream.
    pub(super) position: &'a str,
    /// Whether it is asked ahead of time.
    pub(super) prefetch: bool,
    /// Milliseconds since the last break, as the player knows it.
    pub(super) since_last_break_ms: Option<u64>,
}

/// The request of a listener's device after a track.
#[must_use]
pub(super) fn request(
    listener: &WorldListener,
    device: usize,
    track: &Track,
    placement: &str,
    wanted: Wanted<'_>,
    draws: &mut Draws,
) -> AdBreakRequestBody {
    let text = |text: &str| Some(text.to_owned());
    let home = listener.home;
    let device = &listener.devices[device];
    let consent = match listener.consent {
        ConsentAnswer::Granted => "granted",
        ConsentAnswer::NotRequired => "not_required",
        ConsentAnswer::Denied => "denied",
    };
    AdBreakRequestBody {
        request_id: wanted.request_id,
        listener: ListenerBody {
            id: Some(listener.id.clone()),
            session_id: Some(wanted.session),
            age: Some(listener.age),
            gender: text(listener.gender),
            language: text(listener.language),
            premium: Some(listener.premium),
        },
        ad_break: BreakBody {
            placement: placement.to_owned(),
            max_duration_ms: *draws.pick(&[60_000, 60_000, 75_000, 90_000, 45_000]),
            max_ads: *draws.pick(&[2, 3, 3]),
            position: text(wanted.position),
            formats: Some(["mp3", "ogg_vorbis", "aac"].map(str::to_owned).to_vec()),
            companion_sizes: None,
        },
        device: Some(DeviceBody {
            platform: text(device.platform),
            device_type: text(device.device_type),
            os: text(device.os),
            os_version: Some(device.os_version.clone()),
            app_version: Some(device.app_version.clone()),
            connection: text(device.connection),
        }),
        geo: Some(GeoBody {
            country: Some(home.country.to_uppercase()),
            region: Some(home.region.to_uppercase()),
            city: text(home.name),
            postal_code: Some(listener.postal_code.clone()),
            latitude: Some(listener.coordinates.0),
            longitude: Some(listener.coordinates.1),
            time_zone: text(home.zone),
        }),
        context: Some(ContextBody {
            genres: Some(vec![track.genre.to_owned()]),
            moods: Some(vec![track.mood.to_owned()]),
            playlist: text(track.playlist),
            artists: Some(vec![track.artist.clone()]),
            explicit: Some(track.explicit),
            content_categories: Some(vec![track.content_category.to_owned()]),
        }),
        privacy: Some(PrivacyBody { consent: text(consent), limited_ads: None, child: Some(listener.child) }),
        since_last_break_ms: wanted.since_last_break_ms,
        prefetch: wanted.prefetch.then_some(true),
        segments: Some(listener.segments.iter().map(|&segment| segment.to_owned()).collect()),
        key_values: Some(
            [("mode".to_owned(), vec![(*draws.pick(&["lean back", "lean in", "queue"])).to_owned()])].into(),
        ),
        explain: None,
        preview: None,
    }
}

/// Whom the server may take this listener for: the account where that is allowed, else only the session (the privacy floor).
#[must_use]
pub(super) fn identity(body: &AdBreakRequestBody) -> String {
    let privacy = body.privacy.clone().unwrap_or_default();
    let allowed = matches!(privacy.consent.as_deref(), Some("granted" | "not_required"))
        && privacy.child != Some(true)
        && privacy.limited_ads != Some(true);
    let name = if allowed { body.listener.id.as_ref() } else { body.listener.session_id.as_ref() };
    format!("{}:{}", if allowed { "account" } else { "session" }, name.map_or("", String::as_str))
}
