//! Verdicts over HTTP: who may say them, what is refused by field, and what is taken back once.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{App, test as http};
use serde_json::{Value, json};

use super::*;
use crate::accounting::Commit;
use crate::accounting::testing::{at, beacon, lease, settled_lease, with};
use crate::event_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Topic};
use crate::events::{self, Event};
use crate::http::reports::tests::make;
use crate::journal::{Drive, Identity, RealDisk, SharedDisk};
use crate::model::{BeaconEvent, BootId, ServerId};
use crate::roles::campaign::CampaignWriter;
use crate::roles::campaign::samples::{ADVERTISER, NETWORK, OTHER_NETWORK};
use crate::roles::records;
use crate::roles::verdicts::OwnLog;
use crate::store::LedgerReader;

/// The moment of the reports' world.
const NOW: WallMs = WallMs(1_750_000_001_000);

fn heard(ordinal: u32) -> crate::events::Envelope {
    let heard = with(beacon(1, ordinal, 0, BeaconEvent::Impression), |record| {
        (record.network_id, record.advertiser_id) = (NETWORK, ADVERTISER);
        record.decided_at = NOW.plus_ms(-60_000);
    });
    at(heard, NOW.plus_ms(-30_000))
}

struct World {
    api: VerdictsApi,
    log: EventLog,
    secrets: BTreeMap<&'static str, String>,
    // Ends with the world.
    _writer: CampaignWriter,
}

/// A log in which impressions 0 to 3 were heard, and books in which the first two were charged.
fn world(dir: &std::path::Path) -> World {
    let (reports, writer, secrets) = make(dir);
    let disk: SharedDisk = Arc::new(RealDisk);
    let ids = Identity { server: ServerId::from_u128(7), boot: BootId::from_u128(8) };
    let config = EmbeddedLogConfig { drive: Drive::Inline, ..EmbeddedLogConfig::new(dir, ids) };
    let log = EventLog::Embedded(Arc::new(EmbeddedLog::open(&config, &disk, || NOW).expect("opens")));
    let foreign = with(heard(3), |record| record.network_id = OTHER_NETWORK);
    let said: Vec<_> = [heard(0), heard(1), heard(2), foreign].iter().map(records::encode).collect();
    log.append_blocking(said).expect("appended");
    let leases = vec![(ADVERTISER, settled_lease(1, 2))];
    let LedgerReader::Embedded(books) = &reports.ledger else { panic!("an embedded one") };
    books.commit(&Commit { cursor: 4, leases, ..Commit::default() }).expect("commits");
    let verdicts = Verdicts::new(OwnLog(log.clone()), reports.ledger, ids.server, ids.boot);
    let api = VerdictsApi { campaigns: reports.campaigns, verdicts, clock: reports.clock, metrics: reports.metrics };
    World { api, log, secrets, _writer: writer }
}

/// Posts a body with somebody's key; status and answer.
macro_rules! post {
    ($app:expr, $secrets:expr, $who:expr, $body:expr) => {{
        let key = $secrets.get($who).map_or("nonsense", String::as_str);
        let request = http::TestRequest::post()
            .uri("/v1/invalid-traffic")
            .insert_header(("Authorization", format!("Bearer {key}")))
            .set_payload($body.to_string());
        let response = http::call_service(&$app, request.to_request()).await;
        let status = response.status().as_u16();
        let answer: Value = http::read_body_json(response).await;
        (status, answer)
    }};
}

#[actix_web::test]
async fn an_operator_takes_back_what_was_charged() {
    let dir = tempfile::tempdir().expect("a directory");
    // An import blocks, which no thread of the runtime may.
    let path = dir.path().to_owned();
    let World { api, log, secrets, _writer } = std::thread::spawn(move || world(&path)).join().expect("made");
    let app = http::init_service(App::new().configure(configure(api))).await;
    let name = |ordinal| format!("{}/{ordinal}", lease(1));
    let listener = |from: &str, to: &str| json!({"pseudonym": "0".repeat(32), "from": from, "to": to});
    let many: Vec<_> = (0..1_001).map(name).collect();
    let cases = [
        ("nobody", json!({"impressions": [name(0)]}), 401, ""),
        ("viewer", json!({"impressions": [name(0)]}), 403, ""),
        ("advertiser", json!({"impressions": [name(0)]}), 403, ""),
        ("operator", json!({"impressions": []}), 422, "impressions"),
        ("operator", json!({"impressions": many}), 422, "impressions"),
        ("operator", json!({"impressions": [name(0), "x"]}), 422, "impressions[1]"),
        ("operator", json!({"impressions": [format!("{}/+1", lease(1))]}), 422, "impressions[0]"),
        ("operator", json!({"impressions": [name(0)], "reason": "bored"}), 422, "reason"),
        ("operator", json!({"impressions": [name(0)], "from": "2025-01-01T00:00:00Z"}), 422, ""),
        ("operator", json!({}), 422, ""),
        (
            "operator",
            json!({"pseudonym": "xyz", "from": "2025-06-15T00:00:00Z", "to": "2025-06-16T00:00:00Z"}),
            422,
            "pseudonym",
        ),
        ("operator", listener("2025-06-15T00:00:00Z", "2025-06-17T00:00:00Z"), 422, "to"),
        ("operator", listener("yesterday", "2025-06-17T00:00:00Z"), 422, "from"),
        ("operator", json!({"impression": "x"}), 422, ""),
    ];
    for (who, body, status, path) in cases {
        let (found, answer) = post!(app, secrets, who, body);
        assert_eq!(found, status, "{who} {body}: {answer}");
        if status == 422 {
            assert_eq!(answer["errors"][0]["path"], path, "{body}: {answer}");
        }
    }
    let body = json!({"impressions": [name(0), name(2), name(3), name(9)], "reason": "robot"});
    let (status, answer) = post!(app, secrets, "operator", body);
    assert_eq!((status, &answer["reversed"], &answer["reversed_micros"]), (200, &json!(1), &json!(10)), "{answer}");
    let outcomes: Vec<_> = answer["impressions"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["reversed", "not_charged", "unknown", "unknown"], "{answer}");
    let (_, answer) = post!(app, secrets, "operator", listener("2025-06-15T00:00:00Z", "2025-06-15T23:00:00Z"));
    let outcomes: Vec<_> = answer["impressions"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["reversed", "reversed", "not_charged", "unknown"], "{answer}");
    let (_, answer) = post!(app, secrets, "foreign", json!({"impressions": [name(0)]}));
    assert_eq!(answer["impressions"][0]["outcome"], "unknown", "INV-19: {answer}");
    let batch = log.read(Topic::Events, None, 4, 100, 1 << 20).expect("reads");
    let reversals: Vec<_> =
        batch.records.iter().map(|record| events::decode(&record.payload).expect("an event")).collect();
    assert_eq!(reversals.len(), 3, "the same one twice: accounting applies the first");
    for reversal in &reversals {
        let Event::Reversal(it) = &reversal.body else { panic!("a reversal: {reversal:?}") };
        // 17:06 in Stockholm.
        assert_eq!((it.price.0, it.advertiser_day.to_string().as_str()), (10, "2025-06-15"));
    }
    assert_eq!(reversals[0].event_id, reversals[1].event_id);
}
