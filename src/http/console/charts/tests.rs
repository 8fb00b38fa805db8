//! Charts over HTTP: what each key sees, and that the points are the report's.

use actix_web::{App, test as http};

use super::*;
use crate::http::reports::tests::make;
use crate::roles::campaign::samples::{LINE_ITEM, OTHER_LINE_ITEM};

#[test]
fn queries_are_read_or_refused_by_field() {
    let query = |line: &str, hours: &str, theme: &str| ChartQuery {
        line_item_id: (!line.is_empty()).then(|| line.to_owned()),
        hours: (!hours.is_empty()).then(|| hours.to_owned()),
        theme: (!theme.is_empty()).then(|| theme.to_owned()),
    };
    let asked = parse(&ChartQuery::default()).expect("all have defaults");
    assert_eq!(asked, Asked { line_item_id: None, hours: HOURS_DEFAULT, theme: Theme::Light });
    let cases = [
        (query("x", "", ""), vec!["line_item_id"]),
        (query("", "0", ""), vec!["hours"]),
        (query("", "337", "pink"), vec!["hours", "theme"]),
        (query("", "many", ""), vec!["hours"]),
    ];
    for (query, paths) in cases {
        let problem = parse(&query).expect_err("wrong");
        assert_eq!(problem.errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), paths, "{query:?}");
    }
}

#[actix_web::test]
async fn each_key_sees_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    // An import blocks, which no thread of the runtime may.
    let path = dir.path().to_owned();
    let (api, _writer, secrets) = std::thread::spawn(move || make(&path)).join().expect("made");
    let app = http::init_service(App::new().app_data(Data::new(api)).configure(configure)).await;
    let own = format!("?line_item_id={LINE_ITEM}&hours=2");
    let other = format!("?line_item_id={OTHER_LINE_ITEM}");
    let cases = [
        ("operator", "", 200, Some(100)),
        ("viewer", "?theme=dark", 200, Some(100)),
        ("advertiser", "", 200, Some(30)),
        ("advertiser", own.as_str(), 200, None),
        ("advertiser", other.as_str(), 404, None),
        ("foreign", own.as_str(), 404, None),
        ("foreign", "", 200, Some(0)),
        ("app", "", 403, None),
        ("nobody", "", 401, None),
        ("operator", "?hours=1000", 422, None),
        ("operator", "?hour=1", 422, None),
    ];
    for (who, query, status, delivered) in cases {
        let key = format!("Bearer {}", secrets.get(who).map_or("nonsense", String::as_str));
        let ask = |form: &str| {
            let uri = format!("/console/charts/delivery.{form}{query}");
            http::TestRequest::get().uri(&uri).insert_header(("Authorization", key.clone())).to_request()
        };
        let (points, picture) =
            (http::call_service(&app, ask("json")).await, http::call_service(&app, ask("svg")).await);
        assert_eq!((points.status().as_u16(), picture.status().as_u16()), (status, status), "{who} {query}");
        if status != 200 {
            continue;
        }
        let points: serde_json::Value = http::read_body_json(points).await;
        let hours = points["points"].as_array().expect("points");
        assert_eq!(hours.len(), if query.contains("hours=2") { 2 } else { usize::from(HOURS_DEFAULT) });
        if let Some(delivered) = delivered {
            let sum: i64 = hours.iter().map(|point| point["delivered"].as_i64().expect("a count")).sum();
            assert_eq!((points["unit"].as_str(), sum), (Some("micros"), delivered), "{who} {query}");
        }
        let picture = http::read_body(picture).await;
        assert!(picture.starts_with(b"<svg ") && picture.ends_with(b"</svg>\n"), "{who} {query}");
    }
}

#[test]
fn nothing_delivered_is_drawn_too() {
    for count in [0_usize, 1, 336] {
        let point = |planned| DeliveryPoint { hour: "2026-01-31T12:00:00.000Z".to_owned(), delivered: 0, planned };
        for planned in [None, Some(0), Some(i64::MAX)] {
            let points = DeliveryPoints { unit: "impressions", currency: None, points: vec![point(planned); count] };
            draw::delivery(&points, Theme::Dark).expect("drawn");
        }
    }
}
