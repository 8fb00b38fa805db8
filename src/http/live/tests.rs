//! What happens now, over HTTP: who sees it, and that it is what was counted.

use actix_web::{App, test as http};

use super::*;
use crate::http::reports::tests::make;

#[actix_web::test]
async fn operators_and_viewers_see_what_was_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    // An import blocks, which no thread of the runtime may.
    let path = dir.path().to_owned();
    let (reports, _writer, secrets) = std::thread::spawn(move || make(&path)).join().expect("made");
    let metrics = Metrics::new();
    let api = LiveApi::new(reports.campaigns, metrics.clone(), reports.clock);
    let app = http::init_service(App::new().configure(configure(api))).await;
    metrics.add_labelled(Metric::Breaks, &["filled"], 3);
    metrics.add_labelled(Metric::Breaks, &["empty"], 1);
    metrics.add_labelled(Metric::NoFill, &["capped"], 9);
    metrics.add(Metric::SettledMicros, 12_345);
    for _ in 0..4 {
        metrics.observe_seconds_labelled(Metric::HttpSeconds, &["ad_breaks"], 0.002);
    }
    let cases =
        [("operator", 200), ("viewer", 200), ("foreign", 200), ("advertiser", 403), ("app", 403), ("nobody", 401)];
    for (who, status) in cases {
        let key = secrets.get(who).map_or("nonsense", String::as_str);
        let request =
            http::TestRequest::get().uri("/v1/live").insert_header(("Authorization", format!("Bearer {key}")));
        let response = http::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{who}");
        if status != 200 {
            continue;
        }
        let said: serde_json::Value = http::read_body_json(response).await;
        let total = &said["total"];
        assert_eq!((total["breaks"].as_u64(), total["no_fill"]["capped"].as_u64()), (Some(4), Some(9)), "{said}");
        assert_eq!(total["breaks_by_outcome"], serde_json::json!({"filled": 3, "empty": 1}));
        assert_eq!((total["settled_micros"].as_u64(), total["answer"]["count"].as_u64()), (Some(12_345), Some(4)));
        assert!((1_000..=2_500).contains(&total["answer"]["p99_us"].as_u64().expect("some")), "{said}");
        assert!(total["decision"].get("p50_us").is_none(), "no decision was measured: {said}");
        assert_eq!(said["clock_speed"].as_u64(), Some(1));
        let (plan, due) = (said["today"]["plan_micros"].as_i64(), said["today"]["due_micros"].as_i64());
        assert!(due <= plan, "{said}");
    }
}

#[test]
fn the_last_seconds_are_what_came_between_two_readings() {
    let metrics = Metrics::new();
    metrics.add_labelled(Metric::Breaks, &["filled"], 3);
    let then = metrics.read(READ);
    metrics.add_labelled(Metric::Breaks, &["filled"], 2);
    metrics.add_labelled(Metric::Breaks, &["cadence"], 1);
    let span = SpanDocument::of(2_000, &metrics.read(READ), &then);
    assert_eq!((span.ms, span.breaks), (2_000, 3));
    assert_eq!(span.breaks_by_outcome, BTreeMap::from([("filled".to_owned(), 2), ("cadence".to_owned(), 1)]));
}

#[test]
fn readings_are_forgotten_after_a_while() {
    let mut recent = Recent::default();
    for second in 0..100_u64 {
        recent.take((second * READING_EVERY_US, Arc::default()));
        assert!(recent.readings.len() <= READINGS_MAX);
    }
    assert_eq!(recent.readings.front().map(|(at, _)| *at), Some(88 * READING_EVERY_US));
    recent.take((1_000 * READING_EVERY_US, Arc::default()));
    assert_eq!(recent.readings.len(), 1, "nothing of before a long pause");
}
