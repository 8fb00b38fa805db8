//! The rules: which roles each endpoint takes, and what it says of what a caller can't see.

use serde_json::{Value, json};

use super::world::{Caller, Subject};

/// What goes with a request beside its path.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// With its question mark.
    pub(super) query: String,
    /// The body's type, where it is neither JSON nor a patch.
    pub(super) content_type: Option<&'static str>,
    /// More headers.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn of(body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::default() }
    }
}

/// What a request is about.
pub(super) struct About<'a> {
    /// The id.
    pub(super) id: &'a str,
    /// A creative that can go with it.
    pub(super) creative: &'a str,
}

/// What holds of one endpoint.
pub(super) struct Rule {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The roles that it takes; none: it wants no key.
    pub(super) callers: &'static [Caller],
    /// What the id in its path, query or body names.
    pub(super) subject: Subject,
    /// The status where the caller sees that.
    pub(super) answer: u16,
    /// The status where not, or where there is no such thing.
    pub(super) unseen: u16,
    /// The rest of the request, given what it is about.
    pub(super) request: fn(&About<'_>) -> Request,
}

const OPERATOR: &[Caller] = &[Caller::Operator];
const NETWORK: &[Caller] = &[Caller::Viewer, Caller::Operator];
const READERS: &[Caller] = &[Caller::Viewer, Caller::Advertiser, Caller::Operator];
const WRITERS: &[Caller] = &[Caller::Advertiser, Caller::Operator];
const PLAYERS: &[Caller] = &[Caller::App, Caller::Operator];
const ANYBODY: &[Caller] = &[];

const fn rule(
    method: &'static str,
    path: &'static str,
    callers: &'static [Caller],
    subject: Subject,
    (answer, unseen): (u16, u16),
    request: fn(&About<'_>) -> Request,
) -> Rule {
    Rule { method, path, callers, subject, answer, unseen, request }
}

pub(super) const RULES: &[Rule] = &[
    rule("GET", "/healthz", ANYBODY, Subject::Nothing, (200, 200), plain),
    rule("GET", "/readyz", ANYBODY, Subject::Nothing, (200, 200), plain),
    rule("GET", "/metrics", ANYBODY, Subject::Nothing, (200, 200), plain),
    rule("POST", "/v1/ad-breaks", PLAYERS, Subject::Nothing, (200, 200), ad_break),
    rule("DELETE", "/v1/listeners/{id}", PLAYERS, Subject::Nothing, (204, 204), plain),
    rule("GET", "/v1/t/{event}/{token}", ANYBODY, Subject::Nothing, (400, 400), plain),
    rule("POST", "/v1/t/{event}/{token}", ANYBODY, Subject::Nothing, (400, 400), plain),
    rule("POST", "/v1/t", ANYBODY, Subject::Nothing, (207, 207), beacons),
    rule("GET", "/v1/c/{token}", ANYBODY, Subject::Nothing, (400, 400), plain),
    rule("GET", "/v1/networks", NETWORK, Subject::Nothing, (200, 200), plain),
    rule("GET", "/v1/networks/{id}", NETWORK, Subject::Network, (200, 404), plain),
    rule("PATCH", "/v1/networks/{id}", OPERATOR, Subject::Network, (200, 404), named),
    rule("GET", "/v1/networks/{id}/revisions", NETWORK, Subject::Network, (200, 404), plain),
    rule("GET", "/v1/advertisers", READERS, Subject::Nothing, (200, 200), plain),
    rule("POST", "/v1/advertisers", OPERATOR, Subject::Nothing, (201, 201), named),
    rule("GET", "/v1/advertisers/{id}", READERS, Subject::Advertiser, (200, 404), plain),
    rule("PATCH", "/v1/advertisers/{id}", OPERATOR, Subject::Advertiser, (200, 404), named),
    rule("DELETE", "/v1/advertisers/{id}", OPERATOR, Subject::Advertiser, (200, 404), plain),
    rule("GET", "/v1/advertisers/{id}/revisions", READERS, Subject::Advertiser, (200, 404), plain),
    rule("GET", "/v1/campaigns", READERS, Subject::Advertiser, (200, 200), by_advertiser),
    rule("POST", "/v1/campaigns", WRITERS, Subject::Advertiser, (201, 422), of_advertiser),
    rule("GET", "/v1/campaigns/{id}", READERS, Subject::Campaign, (200, 404), plain),
    rule("PATCH", "/v1/campaigns/{id}", WRITERS, Subject::Campaign, (200, 404), named),
    rule("DELETE", "/v1/campaigns/{id}", WRITERS, Subject::Campaign, (200, 404), plain),
    rule("GET", "/v1/campaigns/{id}/revisions", READERS, Subject::Campaign, (200, 404), plain),
    rule("GET", "/v1/line-items", READERS, Subject::Campaign, (200, 200), by_campaign),
    rule("POST", "/v1/line-items", WRITERS, Subject::Campaign, (201, 422), of_campaign),
    rule("GET", "/v1/line-items/{id}", READERS, Subject::LineItem, (200, 404), plain),
    rule("PATCH", "/v1/line-items/{id}", WRITERS, Subject::LineItem, (200, 404), named),
    rule("DELETE", "/v1/line-items/{id}", WRITERS, Subject::LineItem, (200, 404), plain),
    rule("GET", "/v1/line-items/{id}/revisions", READERS, Subject::LineItem, (200, 404), plain),
    rule("GET", "/v1/creatives", READERS, Subject::Advertiser, (200, 200), by_advertiser),
    rule("POST", "/v1/creatives", WRITERS, Subject::Advertiser, (201, 422), creative_of),
    rule("GET", "/v1/creatives/{id}", READERS, Subject::Creative, (200, 404), plain),
    rule("PATCH", "/v1/creatives/{id}", WRITERS, Subject::Creative, (200, 404), named),
    rule("DELETE", "/v1/creatives/{id}", WRITERS, Subject::Creative, (200, 404), plain),
    rule("POST", "/v1/creatives/{id}/approve", OPERATOR, Subject::Creative, (200, 404), plain),
    rule("POST", "/v1/creatives/{id}/reject", OPERATOR, Subject::Creative, (200, 404), plain),
    rule("GET", "/v1/creatives/{id}/revisions", READERS, Subject::Creative, (200, 404), plain),
    rule("GET", "/v1/keys", OPERATOR, Subject::Nothing, (200, 200), plain),
    rule("POST", "/v1/keys", OPERATOR, Subject::Advertiser, (201, 422), key_of),
    rule("GET", "/v1/keys/{id}", OPERATOR, Subject::Key, (200, 404), plain),
    rule("DELETE", "/v1/keys/{id}", OPERATOR, Subject::Key, (200, 404), plain),
    rule("POST", "/v1/assets", WRITERS, Subject::Advertiser, (201, 422), file_of),
    rule("GET", "/v1/assets/{id}", READERS, Subject::Asset, (200, 404), plain),
    rule("GET", "/a/{name}", ANYBODY, Subject::Nothing, (404, 404), plain),
    rule("HEAD", "/a/{name}", ANYBODY, Subject::Nothing, (404, 404), plain),
    rule("POST", "/v1/uploads", WRITERS, Subject::Advertiser, (201, 422), upload_of),
    rule("GET", "/v1/uploads/{id}", WRITERS, Subject::Upload, (200, 404), plain),
    rule("HEAD", "/v1/uploads/{id}", WRITERS, Subject::Upload, (200, 404), plain),
    rule("PATCH", "/v1/uploads/{id}", WRITERS, Subject::Upload, (204, 404), part),
    rule("DELETE", "/v1/uploads/{id}", WRITERS, Subject::Upload, (204, 404), tus),
    rule("GET", "/v1/line-items/{id}/diagnosis", READERS, Subject::LineItem, (200, 404), plain),
    rule("GET", "/v1/line-items/{id}/matches", READERS, Subject::LineItem, (200, 404), plain),
    rule("GET", "/v1/live", NETWORK, Subject::Nothing, (200, 200), plain),
    rule("GET", "/console/charts/delivery.svg", READERS, Subject::LineItem, (200, 404), by_line_item),
    rule("GET", "/console/charts/delivery.json", READERS, Subject::LineItem, (200, 404), by_line_item),
    rule("GET", "/v1/reports", READERS, Subject::LineItem, (200, 404), by_line_item),
    rule("GET", "/v1/invoices/{advertiser}/{month}", READERS, Subject::Advertiser, (200, 404), plain),
    rule("GET", "/v1/servers", OPERATOR, Subject::Nothing, (200, 200), plain),
    rule("POST", "/v1/invalid-traffic", OPERATOR, Subject::Nothing, (200, 200), verdict),
];

fn plain(_: &About<'_>) -> Request {
    Request::default()
}

fn named(_: &About<'_>) -> Request {
    Request::of(&json!({"name": "Another name"}))
}

fn by_advertiser(about: &About<'_>) -> Request {
    Request { query: format!("?advertiser_id={}", about.id), ..Request::default() }
}

fn by_campaign(about: &About<'_>) -> Request {
    Request { query: format!("?campaign_id={}", about.id), ..Request::default() }
}

fn by_line_item(about: &About<'_>) -> Request {
    Request { query: format!("?line_item_id={}", about.id), ..Request::default() }
}

fn of_advertiser(about: &About<'_>) -> Request {
    Request::of(&json!({"name": "New", "advertiser_id": about.id}))
}

fn of_campaign(about: &About<'_>) -> Request {
    Request::of(&line_item(about.id, about.creative))
}

fn creative_of(about: &About<'_>) -> Request {
    Request::of(&creative(about.id))
}

fn key_of(about: &About<'_>) -> Request {
    Request::of(&json!({"name": "New", "role": "advertiser", "advertiser_id": about.id}))
}

pub(super) fn file_of(about: &About<'_>) -> Request {
    let query = format!("?advertiser_id={}", about.id);
    Request { query, content_type: Some("audio/wav"), body: wav(330), ..Request::default() }
}

pub(super) fn upload_of(about: &About<'_>) -> Request {
    let headers =
        &[("Tus-Resumable", "1.0.0"), ("Upload-Length", "1000"), ("Upload-Metadata", "filetype YXVkaW8vd2F2")];
    Request { query: format!("?advertiser_id={}", about.id), headers, ..Request::default() }
}

fn tus(_: &About<'_>) -> Request {
    Request { headers: &[("Tus-Resumable", "1.0.0")], ..Request::default() }
}

fn part(_: &About<'_>) -> Request {
    let headers = &[("Tus-Resumable", "1.0.0"), ("Upload-Offset", "0")];
    let content_type = Some("application/offset+octet-stream");
    Request { headers, content_type, body: b"RIFF".to_vec(), ..Request::default() }
}

/// Five seconds of a tone, as WAV of 16 bits and one channel.
pub(super) fn wav(hertz: u32) -> Vec<u8> {
    const RATE: u32 = 8_000;
    let samples: Vec<u8> = (0..5 * RATE)
        .flat_map(|n| {
            // A triangle: it needs no sine.
            let phase = i64::from(n * hertz % RATE) * 4 - i64::from(RATE) * 2;
            i16::try_from(phase.abs() - i64::from(RATE)).expect("a sample").to_le_bytes()
        })
        .collect();
    let length = u32::try_from(samples.len()).expect("short");
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    for word in [1_u16, 1] {
        file.extend(word.to_le_bytes());
    }
    file.extend(RATE.to_le_bytes());
    file.extend((2 * RATE).to_le_bytes());
    for word in [2_u16, 16] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(samples);
    file
}

fn ad_break(_: &About<'_>) -> Request {
    Request::of(&json!({
        "request_id": "matrix",
        "listener": {"session_id": "matrix"},
        "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
    }))
}

fn beacons(_: &About<'_>) -> Request {
    Request::of(&json!([{"event": "impression", "token": "forged"}]))
}

fn verdict(_: &About<'_>) -> Request {
    Request::of(&json!({"impressions": ["00000000-0000-7000-8000-000000000001/1"]}))
}

/// A creative of an advertiser.
pub(super) fn creative(advertiser_id: &str) -> Value {
    let rendition = json!({"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example.com/a.mp3"});
    json!({"advertiser_id": advertiser_id, "name": "A creative", "duration_ms": 15_000, "renditions": [rendition]})
}

/// A line item of a campaign, with one creative.
pub(super) fn line_item(campaign_id: &str, creative_id: &str) -> Value {
    json!({
        "campaign_id": campaign_id,
        "name": "A line item",
        "flight": {"start": "2026-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z", "zone": "Europe/Stockholm"},
        "tier": "auction",
        "pricing": {"model": "cpm", "amount_micros": 8_000_000},
        "budget": {"lifetime_micros": 10_000_000},
        "pacing": {"mode": "as_fast_as_possible"},
        "creatives": [{"creative_id": creative_id, "weight": 1}],
    })
}
