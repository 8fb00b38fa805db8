//! Invoices over HTTP: who sees which, as JSON and as a page; and their golden sample.

use actix_web::{App, test as http};

use super::*;
use crate::accounting::testing::settled_lease;
use crate::accounting::{Commit, Lease, Sealed, Sums, UnbilledReason, ledger};
use crate::events::{Checkpoint, Reversal, samples};
use crate::http::reports::tests::make as make_api;
use crate::model::{Day, Micros, PriceModel, WallMs};
use crate::roles::campaign::samples::{ADVERTISER, CAMPAIGN, LINE_ITEM, NETWORK, OTHER_ADVERTISER};
use crate::store::LedgerReader;

/// Noon of 10 June 2025, and a day of July, after everything.
const JUNE: Day = Day(20_249);
const LATER: WallMs = WallMs(1_752_000_000_000);

fn lease(n: u128, model: PriceModel, charged: u32, micros: i64) -> Lease {
    let mut lease = settled_lease(n, charged);
    lease.grant.network_id = NETWORK;
    (lease.grant.campaign_id, lease.grant.line_item_id) = (CAMPAIGN, LINE_ITEM);
    (lease.grant.advertiser_day, lease.grant.line_item_day) = (JUNE, JUNE);
    (lease.grant.price_model, lease.grant.amount) = (model, Micros(micros));
    lease.settled_micros = Micros(micros);
    lease.grant.max_ordinals = 1_000;
    if model == PriceModel::Cpc {
        lease.delivered = lease.settled.clone();
    }
    lease.closed_at = Some(WallMs(1_750_010_000_000));
    lease
}

/// Leases of every price model, a reversal, and the checkpoint that sealed them.
fn fill(api: &ReportsApi) {
    let mut leases = vec![
        lease(1, PriceModel::Cpm, 900, 4_500_000),
        lease(2, PriceModel::Cpcl, 50, 1_000_000),
        lease(3, PriceModel::Cpc, 3, 750_001),
        lease(4, PriceModel::Flat, 10, 123_000_000),
    ];
    leases[0].unbilled.insert(990, UnbilledReason::Late);
    leases[0].unbilled.insert(991, UnbilledReason::Robot);
    let posted = |(place, lease): (u64, _)| ledger::settlement(place + 1, ADVERTISER, lease, WallMs(1_750_010_000_000));
    let mut entries: Vec<_> = (0..).zip(&leases).filter_map(posted).collect();
    let reversal = Reversal {
        network_id: NETWORK,
        advertiser_id: ADVERTISER,
        campaign_id: CAMPAIGN,
        line_item_id: LINE_ITEM,
        price: Micros(5_000),
        advertiser_day: Day(JUNE.0 + 1),
        ..samples::reversal()
    };
    entries.extend(ledger::reversal(5, &reversal));
    let mut sums = Sums::default();
    for entry in &entries {
        ledger::post(&mut sums.trial, entry);
    }
    let checkpoint = Checkpoint { number: 1, log_time: LATER, trial: sums.trial, ..samples::checkpoint() };
    let commit = Commit {
        cursor: 2,
        log_time: LATER,
        leases: leases.into_iter().map(|lease| (ADVERTISER, lease)).collect(),
        sums,
        sealed: Sealed { entries, checkpoints: vec![checkpoint] },
        ..Commit::default()
    };
    let LedgerReader::Embedded(books) = &api.ledger else { panic!("an embedded one") };
    books.commit(&commit).expect("commits");
}

#[actix_web::test]
async fn each_key_sees_its_own_invoices() {
    let dir = tempfile::tempdir().expect("a directory");
    // An import blocks, which no thread of the runtime may.
    let path = dir.path().to_owned();
    let (api, _writer, secrets) = std::thread::spawn(move || make_api(&path)).join().expect("made");
    fill(&api);
    let app = http::init_service(App::new().configure(configure(api))).await;
    let (own, other) = (format!("{ADVERTISER}/2025-06"), format!("{OTHER_ADVERTISER}/2025-06"));
    let cases = [
        ("operator", own.as_str(), 200),
        ("viewer", &own, 200),
        ("advertiser", &own, 200),
        ("operator", &other, 200),
        ("advertiser", &other, 404),
        ("foreign", &own, 404),
        ("operator", &format!("{}/2025-06", AdvertiserId::from_u128(999)), 404),
        ("operator", "nobody/2025-06", 404),
        ("app", &own, 403),
        ("nobody", &own, 401),
        ("operator", &format!("{ADVERTISER}/2025-6"), 422),
    ];
    for (who, path, status) in cases {
        let key = secrets.get(who).map_or("nonsense", String::as_str);
        for accept in ["application/json", "text/html,application/xhtml+xml", "*/*"] {
            let request = http::TestRequest::get()
                .uri(&format!("/v1/invoices/{path}"))
                .insert_header(("Authorization", format!("Bearer {key}")))
                .insert_header(("Accept", accept));
            let response = http::call_service(&app, request.to_request()).await;
            assert_eq!(response.status().as_u16(), status, "{who} {path}");
            let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("");
            let is_page = kind.starts_with("text/html");
            assert_eq!(is_page, status == 200 && accept.starts_with("text/html"), "{who} {path}: {kind}");
            if is_page && path == own {
                let page = String::from_utf8(http::read_body(response).await.to_vec()).expect("text");
                for part in ["EUR 129.245001", "A line item", "5.00<", "−0.005", "Final", "Sealed by checkpoint 1"] {
                    assert!(page.contains(part), "{part} is not in {page}");
                }
                // Nothing of it is anywhere else.
                for part in ["http:", "https:", "src=", "url(", "@import", "<script"] {
                    assert!(!page.contains(part), "{part} is in {page}");
                }
            }
        }
    }
    let key = secrets.get("advertiser").expect("a key");
    let request = http::TestRequest::get()
        .uri(&format!("/v1/invoices/{own}"))
        .insert_header(("Authorization", format!("Bearer {key}")));
    let body: serde_json::Value = http::call_and_read_body_json(&app, request.to_request()).await;
    let text = serde_json::to_string_pretty(&body).expect("JSON") + "\n";
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/invoice.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).expect("writable");
    }
    assert_eq!(std::fs::read_to_string(&golden).expect("the golden file"), text);
}
