//! A player's request as the domain sees it: checked, normalised, and with everything taken out that the listener did not allow.
//!
//! The privacy floor is enforced here, before anything else sees the request: a child flag, limited ads, or consent that
//! is absent or not understood leaves the context only, and a listener who lives as long as the session.

use super::wire::{AdBreakRequestBody, BreakBody, ContextBody, DeviceBody, GeoBody, WarningBody};
use crate::impressions::ListenerSubject;
use crate::model::{
    AdBreakRequest, AppKey, AudioFormat, BreakPosition, BreakSpec, ConsentScope, Coordinates, Facts, LineItemId,
    ListenerKey, NetworkId, PlacementKey, Preview, RequestId, Subscription, Zone,
};
use crate::targeting::normal;

/// Longest listener or session id in bytes.
pub const LISTENER_ID_MAX_LEN: usize = 256;
/// Shortest break that can be asked for, in milliseconds.
pub const BREAK_MIN_MS: u32 = 1_000;
/// Longest break that can be asked for, in milliseconds.
pub const BREAK_MAX_MS: u32 = 600_000;
/// Most ads that can be asked for.
pub const BREAK_MAX_ADS: u8 = 16;
/// Oldest age in years.
pub const AGE_MAX: u8 = 120;
/// Most values of a list in the context (genres, moods, artists, categories).
pub const CONTEXT_MAX_VALUES: usize = 32;
/// Most segments of a listener.
pub const SEGMENTS_MAX: usize = 1_000;
/// Most key-value pairs.
pub const KEY_VALUES_MAX: usize = 64;

/// Who asks: from the app's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The tenant.
    pub network_id: NetworkId,
    /// The player application.
    pub app: AppKey,
}

/// A required field that does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Where.
    pub path: &'static str,
    /// A stable word.
    pub code: &'static str,
    /// What is wrong, in words.
    pub message: String,
}

/// The request in the domain's terms; optional fields that do not fit are added to `warnings`.
///
/// # Errors
/// [`FieldError`] for a required field that does not fit.
pub fn to_request(
    body: AdBreakRequestBody,
    asker: Asker,
    listener_key: impl Fn(NetworkId, ListenerSubject<'_>) -> ListenerKey,
    warnings: &mut Vec<WarningBody>,
) -> Result<AdBreakRequest, FieldError> {
    let request_id = RequestId::new(&body.request_id)
        .ok_or_else(|| refused("request_id", "malformed", "expected 1 to 128 visible ASCII characters"))?;
    let (placement, spec) = to_spec(body.ad_break, warnings)?;

    let privacy = body.privacy.unwrap_or_default();
    let child = privacy.child.unwrap_or(false);
    let consent = consent_of(privacy.consent.as_deref(), privacy.limited_ads.unwrap_or(false) || child, warnings);

    let name = match (consent, body.listener.id.as_deref(), body.listener.session_id.as_deref()) {
        (_, None, None) => return Err(refused("listener", "missing", "expected an id or a session_id")),
        (ConsentScope::Personal, Some(id), _) => ListenerSubject::Listener(id),
        (ConsentScope::ContextOnly, Some(_), None) => ListenerSubject::Session(request_id.as_str()),
        (_, _, Some(session)) => ListenerSubject::Session(session),
    };
    let (ListenerSubject::Listener(text) | ListenerSubject::Session(text)) = name;
    if !(1..=LISTENER_ID_MAX_LEN).contains(&text.len()) {
        let path = if matches!(name, ListenerSubject::Listener(_)) { "listener.id" } else { "listener.session_id" };
        return Err(refused(path, "wrong_length", "expected 1 to 256 bytes"));
    }
    let listener_key = listener_key(asker.network_id, name);

    let mut facts = Facts::default();
    let mut check = Checker { warnings };
    facts.language = check.one("listener.language", body.listener.language, normal::language);
    check.device(&mut facts, body.device.unwrap_or_default());
    check.geo(&mut facts, body.geo.unwrap_or_default(), consent);
    check.context(&mut facts, body.context.unwrap_or_default());
    facts.key_values = check.key_values(body.key_values.unwrap_or_default());
    if consent == ConsentScope::Personal {
        facts.age = check.age(body.listener.age);
        facts.gender = check.one("listener.gender", body.listener.gender, normal::gender);
        facts.segments = check.many("segments", &body.segments.unwrap_or_default(), SEGMENTS_MAX);
    }
    Ok(AdBreakRequest {
        network_id: asker.network_id,
        request_id,
        listener_key,
        app: asker.app,
        placement,
        spec,
        facts,
        consent,
        child,
        subscription: if body.listener.premium == Some(true) { Subscription::Premium } else { Subscription::Free },
        since_last_break_ms: body.since_last_break_ms,
        prefetch: body.prefetch.unwrap_or(false),
        preview: body.preview.map(|preview| Preview {
            line_item_id: LineItemId::from_uuid(preview.line_item_id),
            creative_id: preview.creative_id.map(crate::model::CreativeId::from_uuid),
        }),
    })
}

fn refused(path: &'static str, code: &'static str, message: &str) -> FieldError {
    FieldError { path, code, message: message.to_owned() }
}

/// What may be used: everything only where consent was given or no law asks for it, and nothing forbids it.
fn consent_of(consent: Option<&str>, restricted: bool, warnings: &mut Vec<WarningBody>) -> ConsentScope {
    match consent {
        Some("granted" | "not_required") if !restricted => ConsentScope::Personal,
        Some("granted" | "not_required" | "denied") | None => ConsentScope::ContextOnly,
        Some(_) => {
            let message = "not understood, so taken as not given; expected granted, denied or not_required";
            warnings.push(warning("privacy.consent", "unknown_value", message));
            ConsentScope::ContextOnly
        }
    }
}

fn to_spec(body: BreakBody, warnings: &mut Vec<WarningBody>) -> Result<(PlacementKey, BreakSpec), FieldError> {
    let placement = PlacementKey::new(&body.placement)
        .ok_or_else(|| refused("break.placement", "malformed", "expected 1 to 128 visible ASCII characters"))?;
    if !(BREAK_MIN_MS..=BREAK_MAX_MS).contains(&body.max_duration_ms) {
        return Err(refused("break.max_duration_ms", "out_of_range", "expected 1000 to 600000"));
    }
    if !(1..=BREAK_MAX_ADS).contains(&body.max_ads) {
        return Err(refused("break.max_ads", "out_of_range", "expected 1 to 16"));
    }
    let position = match body.position.as_deref() {
        Some("pre_roll") => BreakPosition::PreRoll,
        Some("post_roll") => BreakPosition::PostRoll,
        Some("mid_roll") | None => BreakPosition::MidRoll,
        Some(_) => {
            let message = "taken as mid_roll; expected pre_roll, mid_roll or post_roll";
            warnings.push(warning("break.position", "unknown_value", message));
            BreakPosition::MidRoll
        }
    };
    let mut formats = Vec::new();
    for (index, name) in body.formats.unwrap_or_default().iter().enumerate() {
        match format_named(name) {
            Some(format) if !formats.contains(&format) => formats.push(format),
            Some(_) => {}
            None => warnings.push(warning(
                &format!("break.formats[{index}]"),
                "unknown_value",
                "left out; expected mp3, ogg_vorbis, aac or wav",
            )),
        }
    }
    let sizes = body.companion_sizes.unwrap_or_default();
    let companion_sizes = sizes.into_iter().take(CONTEXT_MAX_VALUES).map(|[width, height]| (width, height)).collect();
    let spec =
        BreakSpec { max_duration_ms: body.max_duration_ms, max_ads: body.max_ads, position, formats, companion_sizes };
    Ok((placement, spec))
}

/// The encoding of that name.
#[must_use]
pub fn format_named(name: &str) -> Option<AudioFormat> {
    [AudioFormat::Mp3, AudioFormat::OggVorbis, AudioFormat::Aac, AudioFormat::Wav]
        .into_iter()
        .find(|&format| format_name(format) == name)
}

/// An encoding's name on the wire.
#[must_use]
pub const fn format_name(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::Mp3 => "mp3",
        AudioFormat::OggVorbis => "ogg_vorbis",
        AudioFormat::Aac => "aac",
        AudioFormat::Wav => "wav",
    }
}

fn warning(path: &str, code: &str, message: &str) -> WarningBody {
    WarningBody { path: path.to_owned(), code: code.to_owned(), message: message.to_owned() }
}

/// Checks optional fields, and warns of what it leaves out.
struct Checker<'w> {
    warnings: &'w mut Vec<WarningBody>,
}

impl Checker<'_> {
    fn warn(&mut self, path: &str, code: &str, message: &str) {
        self.warnings.push(warning(path, code, message));
    }

    fn one(&mut self, path: &str, text: Option<String>, normal: fn(&str) -> Option<String>) -> Option<String> {
        let text = text?;
        let value = normal(&text);
        if value.is_none() {
            self.warn(path, "unknown_value", "left out: not a value of this field");
        }
        value
    }

    fn many(&mut self, path: &str, texts: &[String], most: usize) -> Vec<String> {
        if texts.len() > most {
            self.warn(path, "too_many", &format!("only the first {most} are used"));
        }
        let mut values = Vec::with_capacity(texts.len().min(most));
        for (index, text) in texts.iter().take(most).enumerate() {
            match normal::word(text) {
                Some(value) => values.push(value),
                None => {
                    self.warn(&format!("{path}[{index}]"), "unknown_value", "left out: expected 1 to 128 characters");
                }
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }

    fn age(&mut self, age: Option<u8>) -> Option<u8> {
        if age.is_some_and(|years| years > AGE_MAX) {
            self.warn("listener.age", "out_of_range", "left out: expected 0 to 120 years");
            return None;
        }
        age
    }

    fn device(&mut self, facts: &mut Facts, device: DeviceBody) {
        facts.platform = self.one("device.platform", device.platform, normal::platform);
        facts.device_type = self.one("device.type", device.device_type, normal::word);
        facts.os = self.one("device.os", device.os, normal::word);
        facts.os_version = self.one("device.os_version", device.os_version, normal::version);
        facts.app_version = self.one("device.app_version", device.app_version, normal::version);
        facts.connection = self.one("device.connection", device.connection, normal::connection);
    }

    fn geo(&mut self, facts: &mut Facts, geo: GeoBody, consent: ConsentScope) {
        facts.country = self.one("geo.country", geo.country, normal::country);
        facts.region = self.one("geo.region", geo.region, normal::region);
        let in_country = |text: String| facts.country.as_ref().map(|country| format!("{country}/{text}"));
        facts.city = self.one("geo.city", geo.city.and_then(in_country), normal::city);
        if let Some(name) = geo.time_zone {
            facts.zone = Zone::named(&name).ok();
            if facts.zone.is_none() {
                self.warn("geo.time_zone", "unknown_value", "left out: expected an IANA name such as Europe/Stockholm");
            }
        }
        if consent == ConsentScope::Personal {
            facts.postal_code = self.one("geo.postal_code", geo.postal_code.and_then(in_country), normal::postal_code);
            facts.coordinates = self.coordinates(geo.latitude, geo.longitude);
        }
    }

    fn coordinates(&mut self, latitude: Option<f64>, longitude: Option<f64>) -> Option<Coordinates> {
        match (latitude, longitude) {
            (None, None) => None,
            (Some(latitude), Some(longitude)) => {
                let fits = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
                if !fits {
                    self.warn("geo.latitude", "out_of_range", "left out: expected -90 to 90 and -180 to 180 degrees");
                }
                fits.then_some(Coordinates { latitude, longitude })
            }
            _ => {
                self.warn("geo.latitude", "incomplete", "left out: latitude and longitude go together");
                None
            }
        }
    }

    fn context(&mut self, facts: &mut Facts, context: ContextBody) {
        facts.genres = self.many("context.genres", &context.genres.unwrap_or_default(), CONTEXT_MAX_VALUES);
        facts.moods = self.many("context.moods", &context.moods.unwrap_or_default(), CONTEXT_MAX_VALUES);
        facts.playlist = self.one("context.playlist", context.playlist, normal::word);
        facts.artists = self.many("context.artists", &context.artists.unwrap_or_default(), CONTEXT_MAX_VALUES);
        facts.explicit = context.explicit;
        let categories = context.content_categories.unwrap_or_default();
        facts.content_categories = self.many("context.content_categories", &categories, CONTEXT_MAX_VALUES);
    }

    fn key_values(&mut self, pairs: std::collections::BTreeMap<String, Vec<String>>) -> Vec<(String, String)> {
        let mut key_values = Vec::new();
        for (key, values) in pairs {
            let Some(name) = normal::word(&key) else {
                self.warn("key_values", "unknown_value", "a key was left out: expected 1 to 128 characters");
                continue;
            };
            for value in self.many(&format!("key_values.{name}"), &values, CONTEXT_MAX_VALUES) {
                key_values.push((name.clone(), value));
            }
        }
        if key_values.len() > KEY_VALUES_MAX {
            self.warn("key_values", "too_many", "only the first 64 pairs are used");
            key_values.truncate(KEY_VALUES_MAX);
        }
        key_values
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// Converts the JSON; a listener's key is its name's kind and first byte.
    fn convert(json: &str) -> Result<(AdBreakRequest, Vec<String>), FieldError> {
        let (body, mut warnings) = parse(json.as_bytes()).expect("parses");
        let asker = Asker { network_id: NetworkId::from_u128(1), app: AppKey::new("app").expect("a key") };
        let key = |_, name: ListenerSubject<'_>| {
            let (kind, text) = match name {
                ListenerSubject::Listener(text) => (1, text),
                ListenerSubject::Session(text) => (2, text),
            };
            let mut bytes = [0; 16];
            bytes[0] = kind;
            bytes[1] = text.as_bytes()[0];
            ListenerKey(bytes)
        };
        let request = to_request(body, asker, key, &mut warnings)?;
        Ok((request, warnings.into_iter().map(|warning| warning.path).collect()))
    }

    fn body(privacy: &str, rest: &str) -> String {
        format!(
            r#"{{"request_id":"r1","listener":{{"id":"account","session_id":"session","age":33,"gender":"Female"}},
            "break":{{"placement":"music","max_duration_ms":60000,"max_ads":2,"formats":["mp3","midi"]}},
            "geo":{{"country":"SE","city":"Stockholm","postal_code":"111 22","latitude":59.3,"longitude":18.1}},
            "segments":["Runners"],"privacy":{privacy}{rest}}}"#
        )
    }

    #[test]
    fn with_consent_the_whole_request_counts() {
        let (request, warnings) = convert(&body(r#"{"consent":"granted"}"#, "")).expect("fits");
        assert_eq!(request.consent, ConsentScope::Personal);
        assert_eq!(request.listener_key.0[..2], [1, b'a']);
        assert_eq!(request.facts.segments, ["runners"]);
        assert_eq!(request.facts.city.as_deref(), Some("se/stockholm"));
        assert_eq!(request.facts.postal_code.as_deref(), Some("se/11122"));
        assert_eq!((request.facts.age, request.facts.gender.as_deref()), (Some(33), Some("female")));
        assert_eq!(request.spec.formats, [AudioFormat::Mp3]);
        assert_eq!(warnings, ["break.formats[1]"]);
    }

    #[test]
    fn without_consent_only_the_context_is_left() {
        for privacy in [
            "null",
            r#"{"consent":"denied"}"#,
            r#"{"consent":"maybe"}"#,
            r#"{"consent":"granted","limited_ads":true}"#,
            r#"{"consent":"granted","child":true}"#,
        ] {
            let (request, _) = convert(&body(privacy, "")).expect("fits");
            assert_eq!(request.consent, ConsentScope::ContextOnly, "{privacy}");
            assert_eq!(request.listener_key.0[..2], [2, b's'], "{privacy}");
            let facts = &request.facts;
            assert!(facts.segments.is_empty() && facts.age.is_none() && facts.gender.is_none(), "{privacy}");
            assert!(facts.coordinates.is_none() && facts.postal_code.is_none(), "{privacy}");
            assert_eq!(facts.country.as_deref(), Some("se"), "{privacy}");
        }
    }

    #[test]
    fn required_fields_are_refused_by_path() {
        let listener = r#""listener":{"session_id":"s"}"#;
        let spec = r#""break":{"placement":"m","max_duration_ms":1000,"max_ads":1}"#;
        for (json, path) in [
            (format!(r#"{{"request_id":"","{}"#, &format!("{listener},{spec}}}")[1..]), "request_id"),
            (format!(r#"{{"request_id":"r","listener":{{}},{spec}}}"#), "listener"),
            (format!(r#"{{"request_id":"r","listener":{{"session_id":""}},{spec}}}"#), "listener.session_id"),
            (
                format!(
                    r#"{{"request_id":"r",{listener},"break":{{"placement":"m","max_duration_ms":999,"max_ads":1}}}}"#
                ),
                "break.max_duration_ms",
            ),
            (
                format!(
                    r#"{{"request_id":"r",{listener},"break":{{"placement":"m","max_duration_ms":1000,"max_ads":17}}}}"#
                ),
                "break.max_ads",
            ),
            (
                format!(
                    r#"{{"request_id":"r",{listener},"break":{{"placement":"","max_duration_ms":1000,"max_ads":1}}}}"#
                ),
                "break.placement",
            ),
        ] {
            assert_eq!(convert(&json).expect_err("does not fit").path, path, "{json}");
        }
    }

    #[test]
    fn out_of_range_optional_fields_are_left_out_with_a_warning() {
        let rest = r#","context":{"genres":["Jazz","jazz",""]},"key_values":{"Mood":["Calm"]}"#;
        let json = body(r#"{"consent":"not_required"}"#, rest).replace("59.3", "95").replace("33", "130");
        let (request, warnings) = convert(&json).expect("fits");
        assert_eq!(request.facts.genres, ["jazz"]);
        assert_eq!(request.facts.key_values, [("mood".to_owned(), "calm".to_owned())]);
        for path in ["geo.latitude", "listener.age", "context.genres[2]"] {
            assert!(warnings.iter().any(|found| found == path), "{path} in {warnings:?}");
        }
    }
}
