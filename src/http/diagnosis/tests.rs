//! Diagnoses over HTTP: what each key is told.

use std::path::Path;
use std::sync::Arc;

use actix_web::{App, test as http};
use serde_json::Value;

use super::*;
use crate::catalog::{CatalogPublisher, CatalogWriter};
use crate::decision::{Excluded, SampledBreak, Scratch, Seed, Spending, diagnosis_samples, survey};
use crate::http::reports;
use crate::http::reports::ReportsApi;
use crate::model::{AdBreakRequest, ListenerState, MonotonicMs, PlacementKey, Pseudonym, RequestId};
use crate::roles::campaign::CampaignWriter;
use crate::roles::campaign::samples::{LINE_ITEM, NETWORK, OTHER_LINE_ITEM, catalogue};
use crate::roles::decision::RecentBreaks;

/// Within the sample line item's flight.
const AT: Now = Now { wall: crate::model::WallMs(1_768_000_000_000), monotonic: MonotonicMs(10_000) };

type Secrets = std::collections::BTreeMap<&'static str, String>;

/// The sample catalogue, books and keys of the reports' tests, with breaks sampled of it.
fn make(dir: &Path, breaks: u32) -> (DiagnosisApi, CampaignWriter, Secrets) {
    let (ReportsApi { campaigns, ledger, metrics, .. }, writer, secrets) = reports::tests::make(dir);
    let snapshot = CatalogWriter::new().apply(1, catalogue());
    let (spending, recent) = (Spending::new(), RecentBreaks::default());
    let (none, mut scratch) = (Excluded::none(), Scratch::new());
    for number in 0..breaks {
        let request = AdBreakRequest {
            network_id: NETWORK,
            placement: PlacementKey::new("music").expect("a key"),
            request_id: RequestId::new(&number.to_string()).expect("an id"),
            ..diagnosis_samples::request()
        };
        let (request, nobody) = (Arc::new(request), ListenerState::new(Pseudonym([0; 16])));
        let (resolved, seed) = (snapshot.resolve(&request, AT), Seed::of(&request));
        let decision = survey(&snapshot, &resolved, &nobody, &spending, &none, AT, seed, &mut scratch);
        recent.note(SampledBreak::new(&request, &nobody, AT, 100, (&snapshot, decision)));
    }
    let (catalog, (clock, _)) = (Arc::new(CatalogPublisher::new(snapshot)), Clock::manual(AT));
    let sight = Sight { recent: Arc::new(recent), catalog, spending: Arc::new(spending) };
    (DiagnosisApi::new(campaigns, ledger, Some(sight), (clock, metrics)), writer, secrets)
}

/// Status and body of one answer.
async fn get(api: &DiagnosisApi, key: &str, path: &str) -> (u16, Value) {
    let app = http::init_service(App::new().configure(configure(api.clone()))).await;
    let request = http::TestRequest::get().uri(path).insert_header(("Authorization", format!("Bearer {key}")));
    let response = http::call_service(&app, request.to_request()).await;
    (response.status().as_u16(), http::read_body_json(response).await)
}

/// An import blocks, which no thread of the runtime may.
fn made(breaks: u32) -> (tempfile::TempDir, DiagnosisApi, CampaignWriter, Secrets) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_owned();
    let (api, writer, secrets) = std::thread::spawn(move || make(&path, breaks)).join().expect("made");
    (dir, api, writer, secrets)
}

#[actix_web::test]
async fn each_key_is_told_of_its_own() {
    let (_dir, api, _writer, secrets) = made(10);
    let absent = LineItemId::from_u128(999);
    for what in ["diagnosis", "matches"] {
        let cases = [
            ("operator", LINE_ITEM, 200),
            ("operator", OTHER_LINE_ITEM, 200),
            ("operator", absent, 404),
            ("viewer", LINE_ITEM, 200),
            ("advertiser", LINE_ITEM, 200),
            ("advertiser", OTHER_LINE_ITEM, 404),
            ("advertiser", absent, 404),
            ("app", LINE_ITEM, 403),
            ("app", absent, 403),
            ("foreign", LINE_ITEM, 404),
            ("nobody", LINE_ITEM, 401),
        ];
        for (who, id, status) in cases {
            let key = secrets.get(who).map_or("nonsense", String::as_str);
            let (got, body) = get(&api, key, &format!("/v1/line-items/{id}/{what}")).await;
            assert_eq!(got, status, "{who} {id} {what}: {body}");
        }
        let [foreign, absent] = [OTHER_LINE_ITEM, absent].map(|id| format!("/v1/line-items/{id}/{what}"));
        let key = &secrets["advertiser"];
        assert_eq!(get(&api, key, &foreign).await, get(&api, key, &absent).await, "foreign is as absent");
        assert_eq!(get(&api, key, &format!("/v1/line-items/nonsense/{what}")).await.0, 404);
    }
}

#[actix_web::test]
async fn the_answer_has_all_its_parts() {
    let (_dir, api, _writer, secrets) = made(10);
    let path = format!("/v1/line-items/{LINE_ITEM}/diagnosis");
    let (status, body) = get(&api, &secrets["advertiser"], &path).await;
    assert_eq!((status, body["verdict_reason"].as_str()), (200, Some("no_lease")), "{body}");
    assert_eq!(body["line_item_id"], LINE_ITEM.to_string());
    assert_eq!(body["causes"][0]["reason"], "no_lease");
    assert_eq!(body["causes"][0]["share_basis_points"], 10_000);
    assert_eq!((&body["sample"]["breaks"], &body["sample"]["stands_for_breaks"]), (&10.into(), &1_000.into()));
    assert_eq!((&body["sample"]["available"], &body["sample"]["money_as_of"]), (&true.into(), &"break".into()));
    assert_eq!(
        (&body["standing"]["flight"], &body["standing"]["line_item_status"]),
        (&"running".into(), &"active".into())
    );
    assert_eq!(body["standing"]["creatives"]["servable"], 1);
    assert_eq!(body["standing"]["spending"]["has_lease"], false);
    let budgets = body["standing"]["budgets"].as_array().expect("the books can be read");
    let own = budgets.iter().find(|budget| budget["level"] == "line_item").expect("it has a budget");
    assert_eq!((&own["settled_micros"], &own["open_leases_micros"]), (&30.into(), &5.into()));
    assert_eq!(own["available_micros"], 100_000_000 - 35);
    assert_eq!(body["delivery"]["last_hour"]["billed_impressions"], 0, "it was long ago");
}

#[actix_web::test]
async fn an_empty_sample_and_no_sample_are_said_as_such() {
    let (_dir, api, _writer, secrets) = made(0);
    let path = format!("/v1/line-items/{LINE_ITEM}/diagnosis");
    let (_, body) = get(&api, &secrets["operator"], &path).await;
    assert_eq!((&body["verdict_reason"], &body["sample"]["available"]), (&"no_traffic".into(), &true.into()), "{body}");
    assert_eq!((&body["sample"]["breaks"], body["sample"].get("from")), (&0.into(), None));
    let elsewhere = DiagnosisApi { sight: None, ..api };
    let (_, body) = get(&elsewhere, &secrets["operator"], &path).await;
    assert_eq!((&body["verdict_reason"], &body["sample"]["available"]), (&"no_sample".into(), &false.into()), "{body}");
    assert_eq!((body["standing"].get("spending"), body["standing"]["creatives"]["total"].as_u64()), (None, Some(1)));
}

#[actix_web::test]
async fn examples_are_as_many_as_asked_for() {
    let (_dir, api, _writer, secrets) = made(30);
    let key = &secrets["viewer"];
    for (query, status, examples) in [
        ("", 200, 20),
        ("?limit=3", 200, 3),
        ("?limit=0", 200, 0),
        ("?limit=21", 422, 0),
        ("?limit=x", 422, 0),
        ("?n=1", 422, 0),
    ] {
        let (got, body) = get(&api, key, &format!("/v1/line-items/{LINE_ITEM}/matches{query}")).await;
        assert_eq!(got, status, "{query}: {body}");
        assert_eq!(body["examples"].as_array().map_or(0, Vec::len), examples, "{query}");
        if status == 200 {
            assert_eq!((&body["share_basis_points"], &body["sampled_breaks"]), (&10_000.into(), &30.into()));
        }
    }
}
