//! Renditions ↔ JSON: a URL with its encoding, or a file that Segue keeps, which says itself what it is.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;

use super::CampaignApi;
use super::wire::RenditionBody;
use crate::assets::{AssetRow, AudioFacts, Owner, Shape, TakeError};
use crate::http::problem::Problem;
use crate::model::{AssetId, AudioFormat, FileKind, Rendition, RenditionSource};
use crate::roles::campaign::Faults;
use crate::roles::campaign::rules::RENDITIONS_MAX;

/// How far a creative's length may be from its file's, in milliseconds: players fill the gap, nobody hears it.
const DURATION_OFF_MS_MAX: u32 = 500;

/// The advertiser's files that a document names; those that are not there are left out.
#[derive(Debug, Default)]
pub(super) struct KnownAssets(BTreeMap<AssetId, AssetRow>);

impl KnownAssets {
    /// Looks the files up.
    pub(super) async fn of(api: &CampaignApi, owner: Owner, ids: Vec<AssetId>) -> Result<Self, Problem> {
        let mut known = BTreeMap::new();
        // More than a creative may have are refused anyway.
        for id in ids.into_iter().take(RENDITIONS_MAX) {
            let store = api.assets.as_ref().ok_or_else(not_kept)?;
            let row = store.row(owner, id).await.map_err(|error| unavailable(&error))?;
            known.extend(row.map(|row| (id, row)));
        }
        Ok(Self(known))
    }
}

fn not_kept() -> Problem {
    let detail = "this server keeps no files: its assets are not configured";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "assets_not_kept", detail)
}

fn unavailable(error: &TakeError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "assets can't be looked up");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "assets_unavailable", "assets can't be looked up; ask again")
}

/// The ids of the files that renditions name, as far as they can be read.
pub(super) fn asset_ids(bodies: &[RenditionBody]) -> Vec<AssetId> {
    bodies.iter().filter_map(|body| body.asset_id.as_deref()?.parse().ok()).collect()
}

/// A rendition as JSON.
pub(super) fn body(rendition: &Rendition) -> RenditionBody {
    let (url, asset_id) = match &rendition.source {
        RenditionSource::Url(url) => (Some(url.clone()), None),
        RenditionSource::Asset(file) => (None, Some(file.id.to_string())),
    };
    RenditionBody { format: Some(rendition.format.into()), bitrate_kbps: Some(rendition.bitrate_kbps), url, asset_id }
}

/// The renditions of a creative, and its length.
pub(super) fn read(
    bodies: &[RenditionBody],
    duration_ms: Option<u32>,
    known: &KnownAssets,
    faults: &mut Faults,
) -> (Vec<Rendition>, u32) {
    let mut probed = Vec::new();
    let read_one = |(index, body): (usize, &RenditionBody)| match (&body.url, &body.asset_id) {
        (None, Some(id)) => {
            let (rendition, facts) = of_asset(index, body, id, known, faults);
            probed.extend(facts.map(|facts| (index, facts.duration_ms)));
            rendition
        }
        (url, None) => of_url(index, body, url.as_deref(), faults),
        (Some(_), Some(_)) => {
            let message = "a rendition is a URL or an asset, not both";
            faults.add(format!("renditions[{index}].asset_id"), "not_with_url", message);
            of_url(index, body, body.url.as_deref(), faults)
        }
    };
    let renditions = bodies.iter().enumerate().map(read_one).collect();
    let Some(duration_ms) = duration_ms.or_else(|| probed.first().map(|(_, duration_ms)| *duration_ms)) else {
        faults.add("duration_ms", "required", "how long it is; it is known of assets only");
        return (renditions, 1);
    };
    for (index, probed_ms) in probed {
        if probed_ms.abs_diff(duration_ms) > DURATION_OFF_MS_MAX {
            let message = format!("the file is {probed_ms} ms long, the creative says {duration_ms}");
            faults.add(format!("renditions[{index}].asset_id"), "duration_differs", message);
        }
    }
    (renditions, duration_ms)
}

fn of_url(index: usize, body: &RenditionBody, url: Option<&str>, faults: &mut Faults) -> Rendition {
    let mut required = |is_there: bool, field: &str, message: &str| {
        if !is_there {
            faults.add(format!("renditions[{index}].{field}"), "required", message);
        }
    };
    required(url.is_some(), "url", "a rendition has a URL or an asset");
    required(body.format.is_some(), "format", "a URL does not say how its sound is encoded");
    required(body.bitrate_kbps.is_some(), "bitrate_kbps", "a URL does not say its bitrate");
    Rendition {
        format: body.format.map_or(AudioFormat::Mp3, AudioFormat::from),
        bitrate_kbps: body.bitrate_kbps.unwrap_or(1),
        source: url.map_or_else(|| placeholder().source, |url| RenditionSource::Url(url.to_owned())),
    }
}

fn of_asset(
    index: usize,
    body: &RenditionBody,
    id: &str,
    known: &KnownAssets,
    faults: &mut Faults,
) -> (Rendition, Option<AudioFacts>) {
    let path = |field: &str| format!("renditions[{index}].{field}");
    let nothing = (placeholder(), None);
    let Ok(id) = id.parse::<AssetId>() else {
        faults.add(path("asset_id"), "malformed", "an asset's id has 64 hexadecimal digits in lower case");
        return nothing;
    };
    let Some(row) = known.0.get(&id) else {
        faults.add(path("asset_id"), "unknown", "the advertiser has no such asset");
        return nothing;
    };
    let (format, Shape::Audio(facts)) = (format_of(row.facts.kind), row.facts.shape) else {
        faults.add(path("asset_id"), "not_audio", "the asset is an image");
        return nothing;
    };
    let Some(format) = format else {
        faults.add(path("asset_id"), "not_playable", "players name no FLAC: send MP3, Ogg Vorbis, AAC or WAV");
        return nothing;
    };
    if body.format.is_some_and(|said| AudioFormat::from(said) != format) {
        faults.add(path("format"), "differs", "the asset is encoded otherwise");
    }
    let probed = u16::try_from(facts.bitrate_kbps).unwrap_or(u16::MAX);
    let source = RenditionSource::Asset(row.file());
    (Rendition { format, bitrate_kbps: body.bitrate_kbps.unwrap_or(probed), source }, Some(facts))
}

/// What stands in for a rendition that was refused already, and gives no second fault.
fn placeholder() -> Rendition {
    Rendition {
        format: AudioFormat::Mp3,
        bitrate_kbps: 1,
        source: RenditionSource::Url("https://missing.invalid/".to_owned()),
    }
}

/// What players call it.
const fn format_of(kind: FileKind) -> Option<AudioFormat> {
    match kind {
        FileKind::Mp3 => Some(AudioFormat::Mp3),
        FileKind::Ogg => Some(AudioFormat::OggVorbis),
        FileKind::Aac | FileKind::M4a => Some(AudioFormat::Aac),
        FileKind::Wav => Some(AudioFormat::Wav),
        FileKind::Flac | FileKind::Png | FileKind::Jpeg => None,
    }
}
