//! Reports over HTTP: what each key sees.

use std::path::Path;

use actix_web::{App, test as http};

use super::*;
use crate::accounting::{Chain, Commit};
use crate::entropy::Entropy;
use crate::model::{ApiKeyId, AppKey, MonotonicMs, NetworkId, Now};
use crate::roles::campaign::samples::{
    ADVERTISER, CAMPAIGN, LINE_ITEM, NETWORK, OTHER_ADVERTISER, OTHER_LINE_ITEM, OTHER_NETWORK, catalogue,
};
use crate::roles::campaign::{self, CampaignWriter};
use crate::store::{KeyRing, Store};

const AT: WallMs = WallMs(1_750_000_000_000);

#[test]
fn queries_are_read_or_refused_by_field() {
    let now = WallMs(1_750_003_000_000);
    let query = |from: &str, to: &str, line: &str, group: &str| ReportQuery {
        from: (!from.is_empty()).then(|| from.to_owned()),
        to: (!to.is_empty()).then(|| to.to_owned()),
        line_item_id: (!line.is_empty()).then(|| line.to_owned()),
        group_by: (!group.is_empty()).then(|| group.to_owned()),
    };
    let (range, group_by) = parse(&ReportQuery::default(), now).expect("all have defaults");
    assert_eq!((range.to, range.from, range.line_item_id), (now, now.plus_ms(-86_400_000).hour_start(), None));
    assert_eq!(group_by, GroupBy::LineItemHour);
    let cases = [
        (query("yesterday", "", "", ""), vec!["from"]),
        (query("", "2026-13-01T00:00:00Z", "", ""), vec!["to"]),
        (query("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "", ""), vec!["to"]),
        (query("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "", ""), vec!["from"]),
        (query("", "", "x", "minute"), vec!["line_item_id", "group_by"]),
    ];
    for (query, paths) in cases {
        let problem = parse(&query, now).expect_err("wrong");
        assert_eq!(problem.errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), paths, "{query:?}");
    }
}

/// The sample catalogue with a little delivered for both advertisers, and a key of each role.
pub(in crate::http) fn make(dir: &Path) -> (ReportsApi, CampaignWriter, BTreeMap<&'static str, String>) {
    let store = Store::open(dir, AT, &Entropy::seeded(1)).expect("opens");
    let secret = store.identity().api_key_secret;
    let ring = KeyRing::new(secret);
    let roles: [(&str, NetworkId, Role); 5] = [
        ("operator", NETWORK, Role::Operator),
        ("viewer", NETWORK, Role::Viewer),
        ("advertiser", NETWORK, Role::Advertiser(ADVERTISER)),
        ("app", NETWORK, Role::App(AppKey::new("player").expect("a key"))),
        ("foreign", OTHER_NETWORK, Role::Operator),
    ];
    let (mut keys, mut secrets) = (Vec::new(), BTreeMap::new());
    for (number, (name, network_id, role)) in (1..).zip(roles) {
        let id = ApiKeyId::from_u128(number);
        let (key, secret) =
            ring.make(id, network_id, name.to_owned(), role, [u8::try_from(number).expect("small"); 32], AT);
        keys.push(key);
        secrets.insert(name, secret.reveal().to_owned());
    }
    let catalog = store.catalog().expect("opens");
    catalog.commit(0, &[], &keys).expect("commits");
    let (campaigns, writer) = campaign::start(catalog, secret, Box::new(|_| {})).expect("starts");
    let now = Now { wall: AT, monotonic: MonotonicMs(0) };
    campaigns.import(catalogue(), now).expect("keeps all rules");
    let ledger = store.ledger().expect("opens");
    let totals = |billed: i64| DeliveryTotals {
        impressions: billed,
        billed,
        billed_micros: Micros(billed * 10),
        ..DeliveryTotals::default()
    };
    let key = |line_item_id| DeliveryKey { line_item_id, hour: AT.hour_start() };
    let settled = |micros| {
        Some(Balance { settled: Micros(micros), settled_count: 1, open: Micros(5), open_count: 1, budget: None })
    };
    ledger
        .commit(&Commit {
            cursor: 1,
            log_time: AT,
            chain: Chain::default(),
            seals: Vec::new(),
            balances: vec![
                (ADVERTISER, LevelId::Advertiser(ADVERTISER), settled(30)),
                (ADVERTISER, LevelId::Campaign(CAMPAIGN), settled(30)),
                (ADVERTISER, LevelId::LineItem(LINE_ITEM), settled(30)),
                (OTHER_ADVERTISER, LevelId::Advertiser(OTHER_ADVERTISER), settled(70)),
            ],
            leases: Vec::new(),
            past: Vec::new(),
            reversals: Vec::new(),
            loose: Vec::new(),
            delivery: BTreeMap::from([(key(LINE_ITEM), totals(3)), (key(OTHER_LINE_ITEM), totals(7))]),
            ..Commit::default()
        })
        .expect("commits");
    let (clock, _) = Clock::manual(Now { wall: AT.plus_ms(1_000), monotonic: MonotonicMs(0) });
    (ReportsApi { campaigns, ledger: ledger.into(), clock, metrics: Metrics::new() }, writer, secrets)
}

#[actix_web::test]
async fn each_key_sees_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    // An import blocks, which no thread of the runtime may.
    let path = dir.path().to_owned();
    let (api, _writer, secrets) = std::thread::spawn(move || make(&path)).join().expect("made");
    let app = http::init_service(App::new().configure(configure(api))).await;
    let other = format!("/v1/reports?line_item_id={OTHER_LINE_ITEM}");
    let own = format!("/v1/reports?line_item_id={LINE_ITEM}");
    let absent = format!("/v1/reports?line_item_id={}", LineItemId::from_u128(999));
    let cases = [
        ("operator", "/v1/reports", 200, 10, 4),
        ("operator", "/v1/reports?group_by=total", 200, 10, 4),
        ("viewer", "/v1/reports?group_by=hour", 200, 10, 4),
        ("advertiser", "/v1/reports", 200, 3, 3),
        ("advertiser", own.as_str(), 200, 3, 3),
        ("advertiser", other.as_str(), 404, 0, 0),
        ("operator", absent.as_str(), 404, 0, 0),
        ("foreign", "/v1/reports", 200, 0, 0),
        ("foreign", own.as_str(), 404, 0, 0),
        ("app", "/v1/reports", 403, 0, 0),
        ("nobody", "/v1/reports", 401, 0, 0),
        ("operator", "/v1/reports?group=hour", 422, 0, 0),
        ("operator", "/v1/reports?from=now", 422, 0, 0),
        ("operator", "/v1/reports?to=2020-01-01T00:00:00Z", 200, 0, 4),
    ];
    for (who, path, status, billed, balances) in cases {
        let key = secrets.get(who).map_or("nonsense", String::as_str);
        let request = http::TestRequest::get().uri(path).insert_header(("Authorization", format!("Bearer {key}")));
        let response = http::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{who} {path}");
        if status == 200 {
            let body: serde_json::Value = http::read_body_json(response).await;
            let rows = body["rows"].as_array().expect("rows");
            let sum: i64 = rows.iter().map(|row| row["billed_impressions"].as_i64().expect("a count")).sum();
            assert_eq!(sum, billed, "{who} {path}: {body}");
            assert_eq!(body["balances"].as_array().expect("balances").len(), balances, "{who} {path}: {body}");
        }
    }
}
