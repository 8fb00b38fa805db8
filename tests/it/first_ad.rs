//! One ad break from end to end, over HTTP only: an advertiser is created, a listener hears its ad, the impression is charged, the report
//! shows it, and audit finds every balance equal to the log.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Answer, Server, folder, segue, wait_until};

const BID_CPM_MICROS: i64 = 8_000_000;
const BUDGET_MICROS: i64 = 10_000_000;

/// Whoever holds the operator's key of a server.
pub(crate) struct Operator<'s> {
    /// The server.
    pub(crate) server: &'s Server,
    authorization: String,
}

impl<'s> Operator<'s> {
    /// The operator of a server whose data is there.
    pub(crate) fn of(server: &'s Server, data: &Path) -> Self {
        let key = std::fs::read_to_string(data.join("operator.key")).expect("the first start wrote the operator's key");
        Self { server, authorization: format!("Bearer {}", key.trim()) }
    }

    /// One call; panics when there is no answer.
    pub(crate) fn call(&self, method: &str, target: &str, body: &Value) -> Answer {
        self.try_call(method, target, body).unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// One call; nothing when the server is gone.
    pub(crate) fn try_call(&self, method: &str, target: &str, body: &Value) -> Option<Answer> {
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        self.server.try_request(method, target, &headers, body.to_string().as_bytes())
    }

    /// Creates an entity and answers with its id.
    pub(crate) fn create(&self, target: &str, body: &Value) -> String {
        let answer = self.call("POST", target, body);
        assert_eq!(answer.status, 201, "POST {target}: {}", answer.body);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// An advertiser with one line item for everybody and this lifetime budget; answers with the line item's id.
    pub(crate) fn advertise(&self, budget_micros: i64) -> String {
        self.advertise_capped(budget_micros, 1, &json!([]))
    }

    /// The same, with so many creatives and these caps.
    pub(crate) fn advertise_capped(&self, budget_micros: i64, creatives: usize, caps: &Value) -> String {
        let advertiser = self.create("/v1/advertisers", &json!({"name": "Brook Coffee", "zone": "Europe/Stockholm"}));
        let campaign = self.create("/v1/campaigns", &json!({"advertiser_id": advertiser, "name": "Spring"}));
        let rendition = json!({"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example.com/brook.mp3"});
        let creative = json!({
            "advertiser_id": advertiser, "name": "Brook, 15 s", "duration_ms": 15_000, "renditions": [rendition],
        });
        let creatives: Vec<Value> = (0..creatives)
            .map(|_| json!({"creative_id": self.create("/v1/creatives", &creative), "weight": 1}))
            .collect();
        self.create(
            "/v1/line-items",
            &json!({
                "campaign_id": campaign,
                "name": "Everybody",
                "flight": {"start": "2026-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z", "zone": "Europe/Stockholm"},
                "tier": "auction",
                "pricing": {"model": "cpm", "amount_micros": BID_CPM_MICROS},
                "budget": {"lifetime_micros": budget_micros},
                "pacing": {"mode": "as_fast_as_possible"},
                "caps": caps,
                "creatives": creatives,
            }),
        )
    }

    /// Asks for breaks, each a new request of a new session, until one has an ad.
    pub(crate) fn hear_one(&self) -> Value {
        let mut heard = None;
        let mut request = 0;
        wait_until("a break has an ad", || {
            request += 1;
            let body = json!({
                "request_id": format!("request-{request}"),
                "listener": {"session_id": format!("session-{request}")},
                "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
            });
            let answer = self.call("POST", "/v1/ad-breaks", &body);
            assert_eq!(answer.status, 200, "{}", answer.body);
            heard = answer.json()["ads"].get(0).cloned();
            if heard.is_some() {
                let repeat = self.call("POST", "/v1/ad-breaks", &body);
                assert_eq!(repeat.json(), answer.json(), "a repeat gets the same answer (INV-16)");
            }
            heard.is_some()
        });
        heard.expect("waited for it")
    }

    /// The one ad of a break of a new session.
    pub(crate) fn hear(&self, name: &str) -> Value {
        let mut heard = None;
        let mut request = 0;
        wait_until("a break has an ad", || {
            request += 1;
            let body = json!({
                "request_id": format!("{name}-{request}"),
                "listener": {"session_id": format!("{name}-{request}")},
                "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
            });
            let answer = self.call("POST", "/v1/ad-breaks", &body);
            assert_eq!(answer.status, 200, "{}", answer.body);
            heard = answer.json()["ads"].get(0).cloned();
            heard.is_some()
        });
        heard.expect("waited for it")
    }

    /// Archives an entity, as it is now.
    pub(crate) fn archive(&self, target: &str) -> Answer {
        let read = self.call("GET", target, &Value::Null);
        let etag = read.header("etag").expect("an ETag");
        let headers = [("Authorization", self.authorization.as_str()), ("If-Match", etag)];
        self.server.request("DELETE", target, &headers, b"")
    }

    /// Changes an entity that was seen with that `ETag`.
    pub(crate) fn patch(&self, target: &str, etag: &str, change: &Value) -> Answer {
        let headers =
            [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json"), ("If-Match", etag)];
        self.server.request("PATCH", target, &headers, change.to_string().as_bytes())
    }

    /// Reports an event of an ad.
    pub(crate) fn beacon(&self, ad: &Value, event: &str) -> u16 {
        self.server.request("GET", &target_of(ad, event), &[], b"").status
    }
}

/// Path of an ad's beacon. The ports of a server's lives differ, the path holds.
pub(crate) fn target_of(ad: &Value, event: &str) -> String {
    let url = ad["tracking_url"].as_str().expect("a tracking URL").replace("{event}", event);
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|slash| rest[slash..].to_owned()));
    path.unwrap_or_else(|| panic!("no URL: {url}"))
}

#[test]
fn an_ad_is_decided_heard_charged_reported_and_audited() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &data);
    let line_item = operator.advertise(BUDGET_MICROS);
    let ad = operator.hear_one();
    assert_eq!(ad["line_item_id"], line_item.as_str());
    for event in ["start", "impression", "impression", "q1", "complete"] {
        assert_eq!(operator.beacon(&ad, event), 204, "{event}");
    }
    let price = ad["price_micros"].as_i64().expect("operators see the price");
    assert!((1..=BID_CPM_MICROS / 1_000).contains(&price), "{price}");

    let target = format!("/v1/reports?group_by=line_item&line_item_id={line_item}");
    let mut report = Value::Null;
    wait_until("the report shows the impression", || {
        let answer = operator.call("GET", &target, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        report = answer.json();
        report["rows"][0]["billed_impressions"] == 1
    });
    let row = &report["rows"][0];
    assert_eq!(
        (&row["impressions"], &row["billed_micros"]),
        (&json!(1), &json!(price)),
        "heard twice, charged once: {row}"
    );

    assert_eq!(server.terminate().code(), Some(0));
    let audit = segue(folder.path(), &["audit", "--data-dir", "data"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&audit.stdout), String::from_utf8_lossy(&audit.stderr));
    assert_eq!(audit.status.code(), Some(0), "{stdout}{stderr}");
}

#[test]
fn a_change_is_in_the_next_break() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let operator = Operator::of(&server, &folder.path().join("data"));
    let line_item = operator.advertise(BUDGET_MICROS);
    operator.hear_one();
    let target = format!("/v1/line-items/{line_item}");
    let before = operator.call("GET", &target, &Value::Null);
    let etag = before.header("etag").expect("an ETag").to_owned();
    let change = br#"{"status": "paused"}"#;
    let headers =
        [("Authorization", operator.authorization.as_str()), ("Content-Type", "application/json"), ("If-Match", &etag)];
    let changed = server.request("PATCH", &target, &headers, change);
    assert_eq!(changed.status, 200, "{}", changed.body);
    let body = json!({
        "request_id": "after",
        "listener": {"session_id": "after"},
        "break": {"placement": "music", "max_duration_ms": 60_000, "max_ads": 1},
    });
    let answer = operator.call("POST", "/v1/ad-breaks", &body).json();
    assert_eq!(answer["ads"], json!([]), "{answer}");
    // A second writer that saw the old revision is told so, and changes nothing.
    assert_eq!(server.request("PATCH", &target, &headers, change).status, 412);
}
