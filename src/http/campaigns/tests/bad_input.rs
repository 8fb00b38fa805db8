//! What is wrong is refused by its path, and nothing changes.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{Ask, World, creative, line_item};
use crate::roles::campaign::samples;

/// The good line item with one thing changed, by JSON pointer; `null` removes the field.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = line_item();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = document.pointer_mut(parent).expect("the parent is there");
    match parent {
        Value::Object(fields) if value.is_null() => drop(fields.remove(field)),
        Value::Object(fields) => drop(fields.insert(field.to_owned(), value)),
        _ => panic!("{pointer} is in no object"),
    }
    document
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn a_bad_line_item_is_refused_by_path() {
    let world = World::new();
    let operator = world.operator();
    let before = world.version();
    let cap = |max: u32, window: Value| json!([{"scope": "line_item", "max": max, "window": window}]);
    let hour = json!({"kind": "sliding", "duration_ms": 3_600_000});
    let strict = |scope: &str| json!([{"scope": scope, "max": 1, "window": hour, "strictness": "strict"}]);
    let many = |count: usize, one: Value| Value::Array(vec![one; count]);
    let other = samples::OTHER_CREATIVE.to_string();
    // What is sent, the path that is named, and the code.
    let cases = [
        (with("/name", json!("")), "name", "empty"),
        (with("/name", json!("x".repeat(201))), "name", "too_long"),
        (with("/name", json!("a\u{7}")), "name", "control_character"),
        (with("/name", json!(7)), "name", "wrong_type"),
        (with("/name", Value::Null), "name", "required"),
        (with("/colour", json!("red")), "colour", "unknown_field"),
        (with("/flight/colour", json!("red")), "flight.colour", "unknown_field"),
        (with("/revision", json!(1)), "revision", "read_only"),
        (with("/advertiser_id", json!(samples::ADVERTISER.to_string())), "advertiser_id", "read_only"),
        (with("/status", json!("archived")), "status", "archived_at_birth"),
        (with("/status", json!("gone")), "status", "unknown_value"),
        (with("/campaign_id", json!("1")), "campaign_id", "malformed"),
        (with("/campaign_id", json!(uuid::Uuid::nil().to_string())), "campaign_id", "not_found"),
        (with("/flight/end", json!("2026-03-01T00:00:00Z")), "flight.end", "before_start"),
        (with("/flight/end", json!("2025-03-01T00:00:00Z")), "flight.end", "before_start"),
        (with("/flight/end", json!("2036-03-31T00:00:00Z")), "flight.end", "too_long"),
        (with("/flight/end", json!("2126-03-31T00:00:00Z")), "flight.end", "out_of_range"),
        (with("/flight/start", json!("2026-02-30T00:00:00Z")), "flight.start", "malformed"),
        (with("/flight/start", json!("2026-03-01T00:00:00.000001Z")), "flight.start", "too_fine"),
        (with("/flight/zone", json!("Mars/Olympus")), "flight.zone", "unknown_zone"),
        (with("/tier", json!("platinum")), "tier", "unknown_value"),
        (with("/tier", json!("guaranteed")), "goal", "required"),
        (with("/tier", json!("sponsorship")), "share_of_voice", "required"),
        (with("/goal", json!({"impressions": 5})), "goal", "wrong_tier"),
        (with("/share_of_voice", json!({"basis_points": 5})), "share_of_voice", "wrong_tier"),
        (with("/pricing/amount_micros", json!(4_000_001)), "pricing.amount_micros", "price_not_whole_micros"),
        (with("/pricing/amount_micros", json!(-1000)), "pricing.amount_micros", "too_small"),
        (with("/pricing/amount_micros", json!(0)), "pricing.amount_micros", "too_small"),
        (with("/pricing/amount_micros", json!(999_000)), "pricing.amount_micros", "below_floor"),
        (with("/pricing/amount_micros", json!(1_000_000_001_000_i64)), "pricing.amount_micros", "too_large"),
        (with("/pricing/amount_micros", json!(4.5)), "pricing.amount_micros", "wrong_type"),
        (with("/pricing/amount_micros", json!(u64::MAX)), "pricing.amount_micros", "wrong_type"),
        (with("/pricing", json!({"model": "cpc", "amount_micros": 1})), "pricing.amount_micros", "below_floor"),
        (
            with("/pricing", json!({"model": "cpcl", "amount_micros": 4_000_001})),
            "pricing.amount_micros",
            "price_not_whole_micros",
        ),
        (with("/pricing/model", json!("flat")), "pricing.model", "wrong_tier"),
        (with("/budget/lifetime_micros", json!(0)), "budget.lifetime_micros", "too_small"),
        (with("/budget/lifetime_micros", json!(i64::MAX)), "budget.lifetime_micros", "too_large"),
        (with("/budget/daily_micros", json!(0)), "budget.daily_micros", "too_small"),
        (with("/budget", json!({"lifetime_micros": 5, "daily_micros": 6})), "budget.daily_micros", "above_lifetime"),
        (with("/pacing", json!({"mode": "front_loaded"})), "pacing.mode", "not_supported_yet"),
        (with("/pacing", json!({"mode": "even", "curve": [1]})), "pacing.curve", "wrong_mode"),
        (with("/companions", json!([{}])), "companions", "not_supported_yet"),
        (with("/targeting/country", json!(["SE", "Sweden"])), "targeting.country[1]", "bad_value"),
        (with("/targeting/planet", json!(["mars"])), "targeting.planet", "unknown_field"),
        (with("/caps", cap(0, hour.clone())), "caps[0].max", "too_small"),
        (with("/caps", cap(1, json!({"kind": "sliding"}))), "caps[0].window.duration_ms", "required"),
        (with("/caps", cap(1, json!({"kind": "pod", "duration_ms": 5}))), "caps[0].window.duration_ms", "not_with_pod"),
        (
            with("/caps", cap(1, json!({"kind": "sliding", "duration_ms": 999}))),
            "caps[0].window.duration_ms",
            "out_of_range",
        ),
        (with("/caps", cap(70_000, hour.clone())), "caps[0].max", "wrong_type"),
        (with("/caps", strict("advertiser")), "caps[0].scope", "too_wide_for_strict"),
        (with("/caps", strict("campaign")), "caps[0].scope", "too_wide_for_strict"),
        (with("/caps", strict("creative")), "caps[0].scope", "too_wide_for_strict"),
        (with("/caps", many(11, cap(1, hour)[0].clone())), "caps", "too_many"),
        (with("/category", json!(" ")), "category", "empty"),
        (with("/excluded_categories", many(101, json!("x"))), "excluded_categories", "too_many"),
        (with("/creatives", json!([])), "creatives", "too_few"),
        (with("/creatives", json!([{"creative_id": other}])), "creatives[0].creative_id", "not_found"),
        (
            with("/creatives", json!([{"creative_id": samples::CREATIVE.to_string(), "weight": 101}])),
            "creatives[0].weight",
            "out_of_range",
        ),
        (
            with("/trackers", json!([{"event": "impression", "url": "http://t.example/"}])),
            "trackers[0].url",
            "not_https",
        ),
        (
            with("/trackers", json!([{"event": "listen", "url": "https://t.example/"}])),
            "trackers[0].event",
            "unknown_value",
        ),
        (with("/trackers", many(12, json!({"event": "q1", "url": "https://t.example/"}))), "trackers", "too_many"),
    ];
    for (body, path, code) in &cases {
        let answer = world.post(&operator, "/v1/line-items", body);
        assert_eq!((answer.status, answer.problem().0), (422, "invalid"), "{path} {code}: {}", answer.json);
        assert!(answer.problem().1.contains(&(path, code)), "{path} {code}: {}", answer.json);
        assert_eq!(answer.content_type, "application/problem+json");
    }
    assert_eq!(world.version(), before, "what is refused changes nothing");
}

#[test]
fn all_faults_are_told_at_once() {
    let world = World::new();
    let mut body = line_item();
    body["name"] = json!("");
    body["flight"]["zone"] = json!("Mars/Olympus");
    body["pricing"]["amount_micros"] = json!(1_234_567);
    body["targeting"]["country"] = json!(["Sweden"]);
    body["caps"][0]["max"] = json!(0);
    body["trackers"][0]["url"] = json!("gopher://t.example/");
    let answer = world.post(&world.operator(), "/v1/line-items", &body);
    let (_, mut errors) = answer.problem();
    errors.sort_unstable();
    let want = [
        ("caps[0].max", "too_small"),
        ("flight.zone", "unknown_zone"),
        ("name", "empty"),
        ("pricing.amount_micros", "price_not_whole_micros"),
        ("targeting.country[0]", "bad_value"),
        ("trackers[0].url", "malformed"),
    ];
    assert_eq!(errors, want, "{}", answer.json);
}

#[test]
fn a_bad_body_is_refused_before_it_is_read_further() {
    let world = World::new();
    let operator = world.operator();
    let before = world.version();
    let deep = format!("{{\"targeting\":{}1{}}}", "[".repeat(200), "]".repeat(200)).into_bytes();
    let twice = br#"{"name":"a","name":"b"}"#.to_vec();
    let json = "application/json";
    let cases: [(&str, &str, Vec<u8>, u16, &str); 9] = [
        ("half an object", json, b"{\"name\":".to_vec(), 400, "malformed_json"),
        ("nothing", json, Vec::new(), 400, "malformed_json"),
        ("two objects", json, b"{}{}".to_vec(), 422, "invalid"),
        ("no UTF-8", json, b"{\"name\":\"\xff\"}".to_vec(), 400, "not_utf8"),
        ("deep nesting", json, deep, 422, "invalid"),
        ("a field twice", json, twice, 422, "invalid"),
        ("ten megabytes", json, vec![b' '; 10 << 20], 413, "body_too_large"),
        ("a form", "application/x-www-form-urlencoded", b"name=a".to_vec(), 415, "not_json"),
        ("no type", "", line_item().to_string().into_bytes(), 415, "not_json"),
    ];
    for (name, content_type, body, status, code) in cases {
        let path = "/v1/line-items";
        let ask = Ask { method: Method::POST, path, key: &operator, if_match: None, content_type, body };
        let answer = world.send(ask);
        assert_eq!((answer.status, answer.problem().0), (status, code), "{name}: {}", answer.json);
    }
    assert_eq!(world.version(), before);
    assert!(world.api.metrics.render().contains("segue_catalog_changes_total{outcome=\"body_too_large\"} 1"));
}

#[test]
fn bad_patches_change_nothing() {
    let world = World::new();
    let operator = world.operator();
    let path = format!("/v1/line-items/{}", samples::LINE_ITEM);
    let patch = |if_match: Option<&str>, body: &[u8]| {
        let if_match = if_match.map(str::to_owned);
        let content_type = "application/merge-patch+json";
        world.send(Ask {
            method: Method::PATCH,
            path: &path,
            key: &operator,
            if_match,
            content_type,
            body: body.to_vec(),
        })
    };
    let before = world.version();
    let cases: [(Option<&str>, &[u8], u16, &str); 11] = [
        (None, b"{}", 428, "if_match_required"),
        (Some("1"), b"{}", 400, "malformed_if_match"),
        (Some("*"), b"{}", 400, "malformed_if_match"),
        (Some("\"2\""), b"{}", 412, "stale"),
        (Some("W/\"1\""), b"{}", 412, "stale"),
        (Some("\"1\""), b"[]", 400, "not_an_object"),
        (Some("\"1\""), b"{\"name\":\"a\",\"name\":\"b\"}", 422, "invalid"),
        (Some("\"1\""), b"{\"name\":null}", 422, "invalid"),
        (Some("\"1\""), b"{\"id\":\"x\"}", 422, "invalid"),
        (Some("\"1\""), b"{\"campaign_id\":\"00000000-0000-0000-0000-000000000015\"}", 422, "invalid"),
        (Some("\"1\""), b"{\"targeting\":{\"not\":{\"country\":[]}}}", 422, "invalid"),
    ];
    for (if_match, body, status, code) in cases {
        let answer = patch(if_match, body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.problem().0), (status, code), "{if_match:?} {shown}: {}", answer.json);
    }
    assert_eq!(world.version(), before);
    assert_eq!(patch(Some("\"7\", \"1\""), b"{\"name\":\"b\"}").status, 200, "one of several revisions is it");
}

#[test]
fn bad_queries_paths_and_methods() {
    let world = World::new();
    let operator = world.operator();
    let get = |path: &str| {
        let answer = world.get(&operator, path);
        let (code, errors) = answer.problem();
        (
            answer.status,
            code.to_owned(),
            errors.first().map(|(path, code)| format!("{path} {code}")).unwrap_or_default(),
        )
    };
    let invalid = |field: &str| (422, "invalid".to_owned(), field.to_owned());
    assert_eq!(get("/v1/line-items?limit=0"), invalid("limit out_of_range"));
    assert_eq!(get("/v1/line-items?limit=501"), invalid("limit out_of_range"));
    assert_eq!(get("/v1/line-items?limit=1&limit=2"), invalid("limit duplicate_field"));
    assert_eq!(get("/v1/line-items?status=gone"), invalid("status unknown_value"));
    assert_eq!(get("/v1/line-items?colour=red"), invalid("colour unknown_field"));
    assert_eq!(get("/v1/line-items?campaign_id=7"), invalid("campaign_id malformed"));
    assert_eq!(get("/v1/line-items?cursor=7"), invalid("cursor malformed"));
    assert_eq!(get("/v1/networks?status=active"), invalid("status unknown_field"));
    assert_eq!(get("/v1/line-items/7").0, 404);
    assert_eq!(get("/v1/nothing"), (404, "no_such_path".to_owned(), String::new()));
    let answer = world.post(&operator, "/v1/networks", &json!({}));
    assert_eq!((answer.status, answer.problem().0), (405, "no_such_method"));
}

#[test]
fn bad_creatives_are_refused_by_path() {
    let world = World::new();
    let operator = world.operator();
    let cases = [
        ("duration_ms", json!(0), "duration_ms", "out_of_range"),
        ("duration_ms", json!(600_001), "duration_ms", "out_of_range"),
        ("renditions", json!([]), "renditions", "too_few"),
        ("click_url", json!("http://shop.example"), "click_url", "not_https"),
        ("approval", json!("approved"), "approval", "read_only"),
        ("companions", json!([1]), "companions", "not_supported_yet"),
        ("advertiser_id", json!(samples::CAMPAIGN.to_string()), "advertiser_id", "not_found"),
    ];
    for (field, value, path, code) in cases {
        let mut body = creative();
        body[field] = value;
        let answer = world.post(&operator, "/v1/creatives", &body);
        assert_eq!(answer.status, 422, "{field}: {}", answer.json);
        assert!(answer.problem().1.contains(&(path, code)), "{field}: {}", answer.json);
    }
}
