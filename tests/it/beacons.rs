//! Beacons many at once, and clicks that lead somewhere, over HTTP.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::first_ad::{Operator, target_of};
use crate::harness::{Answer, Server, folder, segue, wait_until};

const BUDGET_MICROS: i64 = 10_000_000;
const CLICK_URL: &str = "https://shop.example/spring?from=[PLACEMENT]&at=[COUNTRY]";
/// The same, for an ad of the placement `music` whose listener's country is not known.
const LEADS_TO: &str = "https://shop.example/spring?from=music&at=";

/// The token of an ad.
fn token_of(ad: &Value) -> String {
    let target = target_of(ad, "x");
    target.strip_prefix("/v1/t/x/").expect("a beacon's path").to_owned()
}

/// A line item for everybody whose creative leads to `click_url`; answers with the ids of line item and creative.
fn advertise_with_click(operator: &Operator<'_>, click_url: Option<&str>) -> (String, String) {
    let advertiser = operator.create("/v1/advertisers", &json!({"name": "Brook Coffee", "zone": "Europe/Stockholm"}));
    let campaign = operator.create("/v1/campaigns", &json!({"advertiser_id": advertiser, "name": "Spring"}));
    let rendition = json!({"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example.com/brook.mp3"});
    let mut creative =
        json!({"advertiser_id": advertiser, "name": "Brook", "duration_ms": 15_000, "renditions": [rendition]});
    if let Some(click_url) = click_url {
        creative["click_url"] = click_url.into();
    }
    let creative = operator.create("/v1/creatives", &creative);
    let line_item = operator.create(
        "/v1/line-items",
        &json!({
            "campaign_id": campaign,
            "name": "Everybody",
            "flight": {"start": "2026-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z", "zone": "Europe/Stockholm"},
            "tier": "auction",
            "pricing": {"model": "cpm", "amount_micros": 8_000_000},
            "budget": {"lifetime_micros": BUDGET_MICROS},
            "pacing": {"mode": "as_fast_as_possible"},
            "creatives": [{"creative_id": creative, "weight": 1}],
        }),
    );
    (line_item, creative)
}

fn post_batch(server: &Server, body: &[u8]) -> Answer {
    server.request("POST", "/v1/t", &[("Content-Type", "application/json")], body)
}

/// The (status, code) of each result.
fn results(answer: &Answer) -> Vec<(i64, String)> {
    assert_eq!(answer.status, 207, "{}", answer.body);
    let json = answer.json();
    let results = json["results"].as_array().expect("results");
    let read = |(index, result): (usize, &Value)| {
        assert_eq!(result["index"], index);
        (result["status"].as_i64().expect("a status"), result["code"].as_str().unwrap_or_default().to_owned())
    };
    results.iter().enumerate().map(read).collect()
}

fn billed_impressions(operator: &Operator<'_>, line_item: &str) -> Value {
    let target = format!("/v1/reports?group_by=line_item&line_item_id={line_item}");
    let answer = operator.call("GET", &target, &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["rows"][0]["billed_impressions"].clone()
}

pub(crate) fn metric(server: &Server, name: &str) -> u64 {
    let text = server.request("GET", "/metrics", &[], b"").body;
    let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_batch_is_heard_entry_by_entry_outlives_a_kill_and_is_charged_once() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    let line_item = operator.advertise(BUDGET_MICROS);
    let token = token_of(&operator.hear_one());
    let made_up = |key: char| format!("AQAAA{key}{}", "A".repeat(300));
    let batch = json!([
        {"event": "start", "token": token},
        {"event": "impression", "token": token, "played_ms": 2_100},
        {"event": "impression", "token": token},
        {"event": "q1", "token": token},
        {"event": "impression", "token": "x"},
        {"event": "impression", "token": made_up('A')},
        {"event": "impression", "token": made_up('k')},
        {"event": "explode", "token": token},
        {"event": "q1", "token": token, "colour": "red"},
        {"event": "q1", "token": token, "occurred_at": "1999-12-31T23:59:59Z"},
        {"event": "q1"},
        null,
        {"event": "complete", "token": token},
    ]);
    let expected = [
        (204, ""),
        (204, ""),
        (204, ""),
        (204, ""),
        (400, "token_malformed"),
        (403, "token_forged"),
        (403, "token_unknown_key"),
        (400, "unknown_event"),
        (422, "invalid_entry"),
        (204, "occurred_at_ignored"),
        (422, "invalid_entry"),
        (422, "invalid_entry"),
        (204, ""),
    ];
    let expected: Vec<(i64, String)> = expected.iter().map(|(status, code)| (*status, (*code).to_owned())).collect();
    let answer = post_batch(&server, batch.to_string().as_bytes());
    assert_eq!(results(&answer), expected);
    assert_eq!(metric(&server, "segue_http_refused_total{reason=\"invalid_entry\"}"), 3);
    assert_eq!(metric(&server, "segue_beacons_total{event=\"impression\",answer=\"204\"}"), 2);

    // What was acknowledged is on disk (INV-1), and the same again changes nothing (INV-3).
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    wait_until("the impression is charged", || billed_impressions(&operator, &line_item) == 1);
    assert_eq!(results(&post_batch(&server, batch.to_string().as_bytes())), expected);
    assert_eq!(server.terminate().code(), Some(0));
    let audit = segue(folder.path(), &["audit", "--data-dir", "data"]);
    assert_eq!(audit.status.code(), Some(0), "{}", String::from_utf8_lossy(&audit.stderr));
    let server = Server::start(folder.path(), &[]);
    assert_eq!(billed_impressions(&Operator::of(&server, &data), &line_item), 1);
}

#[test]
fn what_is_no_batch_is_refused_precisely_and_nothing_of_it_is_kept() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    operator.advertise(BUDGET_MICROS);
    let token = token_of(&operator.hear_one());
    let entry = json!({"event": "start", "token": token}).to_string();
    let many = format!("[{}]", vec![entry.as_str(); 501].join(","));
    let large = format!("[{entry},\"{}\"]", "x".repeat(600_000));
    let check = |body: &[u8], status: u16, code: &str| {
        let answer = post_batch(&server, body);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    };
    check(b"", 400, "not_json");
    check(format!("[{entry}").as_bytes(), 400, "not_json");
    check(b"[\"\xff\"]", 400, "not_json");
    check("[".repeat(5_000).as_bytes(), 400, "not_json");
    check(entry.as_bytes(), 422, "invalid");
    check(many.as_bytes(), 422, "invalid");
    check(large.as_bytes(), 413, "too_large");
    assert_eq!(metric(&server, "segue_beacons_total"), 0);
    assert_eq!(metric(&server, "segue_http_refused_total{reason=\"not_json\"}"), 4);
    assert_eq!(server.request("GET", "/v1/t", &[], b"").status, 405);
    // As many as a batch takes, many of them the same.
    let full = format!("[{}]", vec![entry.as_str(); 500].join(","));
    assert!(results(&post_batch(&server, full.as_bytes())).iter().all(|(status, _)| *status == 204));
    assert_eq!(results(&post_batch(&server, b"[]")), []);
}

#[test]
fn a_batch_that_is_more_than_the_journal_takes_at_once_is_said_to_be() {
    let folder = folder();
    let server = Server::start(folder.path(), &["journal.segment_bytes=65536"]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    operator.advertise(BUDGET_MICROS);
    let mut entries = Vec::new();
    for number in 0..60 {
        let ad = operator.hear(&format!("many-{number}"));
        for event in ["start", "impression", "complete", "click", "error"] {
            entries.push(json!({"event": event, "token": token_of(&ad)}));
        }
    }
    let answer = post_batch(&server, Value::from(entries.clone()).to_string().as_bytes());
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")), "{}", answer.body);
    for part in entries.chunks(100) {
        let answer = post_batch(&server, Value::from(part).to_string().as_bytes());
        assert!(results(&answer).iter().all(|(status, _)| *status == 204));
    }
}

/// A click as a browser makes it.
fn click(server: &Server, target: &str, headers: &[(&str, &str)]) -> (u16, Option<String>, Answer) {
    let answer = server.request("GET", target, headers, b"");
    (answer.status, answer.header("location").map(str::to_owned), answer)
}

#[test]
fn a_click_is_recorded_and_leads_to_the_creatives_url_while_there_is_one() {
    let folder = folder();
    let server = Server::start(folder.path(), &["server.public_url=https://ads.example.com"]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    let (_, creative) = advertise_with_click(&operator, Some(CLICK_URL));
    let ad = operator.hear_one();
    let token = token_of(&ad);
    assert_eq!(ad["click_url"], format!("https://ads.example.com/v1/c/{token}"));
    let target = format!("/v1/c/{token}");
    let (status, location, answer) = click(&server, &target, &[]);
    assert_eq!((status, location.as_deref()), (302, Some(LEADS_TO)), "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(metric(&server, "segue_beacons_total{event=\"click\",answer=\"204\"}"), 1);

    // An archived creative leads nowhere; the click counts all the same.
    let creative = format!("/v1/creatives/{creative}");
    let line_items = operator.call("GET", "/v1/line-items", &Value::Null).json();
    let line_item = format!("/v1/line-items/{}", line_items["items"][0]["id"].as_str().expect("an id"));
    for entity in [line_item, creative] {
        let answer = operator.archive(&entity);
        assert!((200..300).contains(&answer.status), "{entity}: {}", answer.body);
    }
    let (status, location, answer) = click(&server, &target, &[]);
    assert_eq!((status, location, answer.json()["code"].as_str()), (410, None, Some("creative_archived")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(metric(&server, "segue_beacons_total{event=\"click\",answer=\"204\"}"), 2);

    // Tokens that are none.
    for (token, status, code) in
        [("x", 400, "token_malformed"), (&format!("AQAAAA{}", "A".repeat(300)), 403, "token_forged")]
    {
        let (answered, location, answer) = click(&server, &format!("/v1/c/{token}"), &[]);
        assert_eq!((answered, location, answer.json()["code"].as_str()), (status, None, Some(code)), "{token}");
    }
    assert_eq!(server.request("POST", &target, &[], b"").status, 405);
}

#[test]
fn a_click_on_an_ad_that_leads_nowhere_is_recorded() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    advertise_with_click(&operator, None);
    let ad = operator.hear_one();
    assert_eq!(ad["click_url"], Value::Null);
    let (status, location, answer) = click(&server, &format!("/v1/c/{}", token_of(&ad)), &[]);
    assert_eq!((status, location, answer.json()["code"].as_str()), (404, None, Some("no_click_url")));
    assert_eq!(metric(&server, "segue_beacons_total{event=\"click\",answer=\"204\"}"), 1);
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let _ = if byte.is_ascii_alphanumeric() {
            write!(encoded, "{}", char::from(byte))
        } else {
            write!(encoded, "%{byte:02X}")
        };
    }
    encoded
}

/// Where an attacker would have listeners sent, in the ways that redirects have been fooled by.
fn elsewhere() -> Vec<String> {
    let mut targets: Vec<String> = [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "////evil.example//",
        "\\\\evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:\\\\evil.example",
        "https://shop.example@evil.example/",
        "https://shop.example.evil.example/",
        "https://evil.example#shop.example",
        "https://evil.example?shop.example",
        "https://evil.example\\@shop.example",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "\r\nLocation: https://evil.example/",
        "x\r\n\r\n<html>",
        "\thttps://evil.example/",
        " https://evil.example/",
        "\u{3002}evil.example",
        "https://[::ffff:192.0.2.1]/",
    ]
    .map(str::to_owned)
    .to_vec();
    // Encoded once more, for whoever decodes twice.
    targets.extend(targets.clone().iter().map(|target| percent_encoded(target)));
    targets
}

/// INV-34: an open-redirect corpus of more than 300 requests, of which none leads anywhere but to the creative's own URL.
#[test]
fn nothing_in_a_request_chooses_where_a_click_leads() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    advertise_with_click(&operator, Some(CLICK_URL));
    let token = token_of(&operator.hear_one());
    let mut tried = 0;
    let parameters = ["url", "next", "redirect_uri", "r", "click_url", "PLACEMENT"];
    for target in elsewhere() {
        let encoded = percent_encoded(&target);
        for parameter in parameters {
            let (status, location, answer) = click(&server, &format!("/v1/c/{token}?{parameter}={encoded}"), &[]);
            assert_eq!((status, location.as_deref()), (302, Some(LEADS_TO)), "{parameter}={target:?}: {}", answer.body);
            tried += 1;
        }
        for path in [format!("/v1/c/{encoded}"), format!("/v1/c/{token}{encoded}"), format!("/v1/c/{token}/{encoded}")]
        {
            let (status, location, _) = click(&server, &path, &[]);
            assert!((400..500).contains(&status) && location.is_none(), "{path}: {status} {location:?}");
            tried += 1;
        }
    }
    for header in
        ["X-Forwarded-Host", "X-Original-URL", "X-Rewrite-URL", "Referer", "Origin", "Forwarded", "X-Forwarded-Prefix"]
    {
        let (status, location, _) = click(&server, &format!("/v1/c/{token}"), &[(header, "https://evil.example/")]);
        assert_eq!((status, location.as_deref()), (302, Some(LEADS_TO)), "{header}");
        tried += 1;
    }
    assert!(tried >= 300, "{tried}");
}

/// What the catalogue takes as a click URL never leads elsewhere than it reads.
#[test]
fn a_click_url_that_could_be_read_in_two_ways_is_refused_at_the_api() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    let advertiser = operator.create("/v1/advertisers", &json!({"name": "Brook Coffee", "zone": "UTC"}));
    let rendition = json!({"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example.com/brook.mp3"});
    for target in elsewhere() {
        let plain = ["https://evil.example/", "https://shop.example.evil.example/", "https://[::ffff:192.0.2.1]/"];
        let other_part = target.starts_with("https://evil.example#") || target.starts_with("https://evil.example?");
        if plain.contains(&target.as_str()) || other_part {
            continue;
        }
        let creative = json!({
            "advertiser_id": advertiser, "name": "Brook", "duration_ms": 15_000, "renditions": [rendition], "click_url": target,
        });
        let answer = operator.call("POST", "/v1/creatives", &creative);
        assert_eq!(answer.status, 422, "{target:?}: {}", answer.body);
        assert_eq!(answer.json()["errors"][0]["path"], "click_url", "{target:?}");
    }
}

/// The app's key as a header.
pub(crate) fn app_key(data: &Path) -> String {
    let key = std::fs::read_to_string(data.join("app.key")).expect("the first start wrote the app's key");
    format!("Bearer {}", key.trim())
}
