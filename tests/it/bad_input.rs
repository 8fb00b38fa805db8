//! What players send that is no good: a precise answer each, counted, and nothing changed.

use std::path::Path;

use crate::harness::{Server, folder};

const MINIMAL: &str = r#"{"request_id":"r","listener":{"session_id":"s"},"break":{"placement":"music","max_duration_ms":60000,"max_ads":2}"#;

fn key_in(data: &Path, file: &str) -> String {
    let key = std::fs::read_to_string(data.join(file)).expect("the first start wrote the keys");
    format!("Bearer {}", key.trim())
}

/// One request that is no good, and what is answered.
struct Case {
    what: &'static str,
    method: &'static str,
    target: String,
    body: Vec<u8>,
    key: Key,
    status: u16,
    code: &'static str,
    path: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Key {
    None,
    App,
    Wrong,
}

fn ask(what: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str, path: &'static str) -> Case {
    let path = (!path.is_empty()).then_some(path);
    Case { what, method: "POST", target: "/v1/ad-breaks".into(), body: body.into(), key: Key::App, status, code, path }
}

fn beacon(what: &'static str, target: impl Into<String>, status: u16, code: &'static str) -> Case {
    Case { what, method: "GET", target: target.into(), body: Vec::new(), key: Key::None, status, code, path: None }
}

fn cases() -> Vec<Case> {
    let with = |more: &str| format!("{MINIMAL},{more}}}");
    let deep = format!(r#"{MINIMAL},"context":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let changed = |from: &str, to: &str| format!("{MINIMAL}}}").replace(from, to);
    let mut cases = vec![
        ask("no body", "", 400, "not_json", ""),
        ask("half an object", MINIMAL, 400, "not_json", ""),
        ask("invalid UTF-8", b"{\"request_id\":\"\xff\"}".to_vec(), 400, "not_json", ""),
        ask("deep nesting", deep, 400, "not_json", ""),
        ask("10 MB", vec![b' '; 10 << 20], 413, "too_large", ""),
        ask("an array", "[]", 422, "invalid", ""),
        ask("nothing required", "{}", 422, "invalid", "request_id"),
        ask("no listener's name", changed(r#"{"session_id":"s"}"#, "{}"), 422, "invalid", "listener"),
        ask("too many ads", changed(r#""max_ads":2"#, r#""max_ads":17"#), 422, "invalid", "break.max_ads"),
        ask("no ads", changed(r#""max_ads":2"#, r#""max_ads":0"#), 422, "invalid", "break.max_ads"),
        ask("a negative number", changed(r#""max_ads":2"#, r#""max_ads":-1"#), 422, "invalid", "break.max_ads"),
        ask("a number too large", changed("60000", "99999999999999999999"), 422, "invalid", "break.max_duration_ms"),
        ask("a float", changed("60000", "6e4"), 422, "invalid", "break.max_duration_ms"),
        ask("an empty request id", changed(r#""r""#, r#""""#), 422, "invalid", "request_id"),
        ask("a placement that is no key", changed("music", "a b"), 422, "invalid", "break.placement"),
        ask("explain without the right", with(r#""explain":true"#), 403, "forbidden", ""),
        Case { key: Key::None, ..ask("no key", with(r#""prefetch":false"#), 401, "unauthenticated", "") },
        Case { key: Key::Wrong, ..ask("a wrong key", with(r#""prefetch":false"#), 401, "unauthenticated", "") },
        beacon("no token", "/v1/t/impression/x", 400, "token_malformed"),
        beacon("a token too long", format!("/v1/t/impression/{}", "A".repeat(4_000)), 400, "token_malformed"),
        beacon("an unknown event", "/v1/t/explode/AAAA", 400, "unknown_event"),
    ];
    // A token with a header as ours and the rest made up: key 0 is the first key, key 9 was never one.
    let header = |key: char| format!("/v1/t/impression/AQAAA{key}{}", "A".repeat(300));
    cases.push(beacon("a forged token", header('A'), 403, "token_forged"));
    cases.push(beacon("a foreign token", header('k'), 403, "token_unknown_key"));
    cases
}

#[test]
fn each_bad_request_gets_a_precise_answer_and_changes_nothing() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let app_key = key_in(&data, "app.key");
    let metric = |name: &str| {
        let text = server.request("GET", "/metrics", &[], b"").body;
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let bytes_before = metric("segue_catalog_version");
    for case in cases() {
        let headers: Vec<(&str, &str)> = match case.key {
            Key::None => vec![],
            Key::App => vec![("Authorization", app_key.as_str())],
            Key::Wrong => vec![("Authorization", "Bearer segue_not_a_key")],
        };
        let answer = server.request(case.method, &case.target, &headers, &case.body);
        assert_eq!(answer.status, case.status, "{}: {}", case.what, answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", case.what);
        let problem = answer.json();
        assert_eq!(problem["code"], case.code, "{}: {problem}", case.what);
        if let Some(path) = case.path {
            assert_eq!(problem["errors"][0]["path"], path, "{}: {problem}", case.what);
            assert!(problem["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", case.what);
        }
    }
    assert_eq!(metric("segue_catalog_version"), bytes_before);
    assert!(metric("segue_http_requests_total{route=\"ad_breaks\",status=\"422\"}") >= 9, "refusals are counted");
    assert_eq!(metric("segue_accounting_applied_total"), 0, "no beacon was recorded");
    assert!(server.terminate().success());
}

#[test]
fn a_bad_optional_field_costs_a_warning_and_not_the_answer() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let app_key = key_in(&data, "app.key");
    let body = format!(
        r#"{MINIMAL},"geo":{{"country":"Sweden","latitude":200,"longitude":1}},"device":{{"platform":"toaster"}},
        "privacy":{{"consent":"granted"}},"frobnicate":1}}"#
    );
    let answer = server.request("POST", "/v1/ad-breaks", &[("Authorization", &app_key)], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let warned: Vec<&str> =
        answer["warnings"].as_array().expect("warnings").iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!(warned, ["frobnicate", "device.platform", "geo.country", "geo.latitude"]);
}
