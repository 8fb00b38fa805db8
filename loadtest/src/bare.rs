//! The bare handlers that Segue is compared with: actix-web doing as much HTTP and JSON, and nothing else.
//!
//! `POST /v1/ad-breaks` parses the body into structs of the same shape and answers a fixed body; `GET /v1/t/{event}/{token}` answers 204.

use std::collections::BTreeMap;
use std::io::Write as _;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use serde::Deserialize;

/// A break's request, as players send it.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Body {
    request_id: String,
    listener: Listener,
    #[serde(rename = "break")]
    ad_break: Break,
    device: Option<Device>,
    geo: Option<Geo>,
    context: Option<Context>,
    privacy: Option<Privacy>,
    since_last_break_ms: Option<u64>,
    prefetch: Option<bool>,
    segments: Option<Vec<String>>,
    key_values: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Listener {
    id: Option<String>,
    session_id: Option<String>,
    age: Option<u8>,
    gender: Option<String>,
    language: Option<String>,
    premium: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Break {
    placement: String,
    max_duration_ms: u32,
    max_ads: u8,
    position: Option<String>,
    formats: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Device {
    platform: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    os: Option<String>,
    os_version: Option<String>,
    app_version: Option<String>,
    connection: Option<String>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Geo {
    country: Option<String>,
    region: Option<String>,
    city: Option<String>,
    postal_code: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    time_zone: Option<String>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Context {
    genres: Option<Vec<String>>,
    moods: Option<Vec<String>>,
    playlist: Option<String>,
    artists: Option<Vec<String>>,
    explicit: Option<bool>,
    content_categories: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "parsed for the cost of it")]
struct Privacy {
    consent: Option<String>,
    limited_ads: Option<bool>,
    child: Option<bool>,
}

/// Serves until it is ended; the first line of standard output says where.
pub(crate) fn serve(answer_bytes: usize) -> anyhow::Result<()> {
    let answer: &'static str = format!("{{\"ads\":\"{}\"}}", "x".repeat(answer_bytes.saturating_sub(10))).leak();
    let system = actix_web::rt::System::new();
    system.block_on(async move {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(answer))
                .service(web::resource("/v1/ad-breaks").route(web::post().to(post_break)))
                .service(web::resource("/v1/t/{event}/{token}").route(web::get().to(get_beacon)))
        });
        let server = server.bind(("127.0.0.1", 0)).context("a port")?;
        let address = server.addrs().first().copied().context("a port")?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "bare: listening on http://{address}").and_then(|()| out.flush()).context("standard output")?;
        drop(out);
        server.run().await.context("serving")
    })
}

async fn post_break(body: web::Bytes, answer: web::Data<&'static str>) -> HttpResponse {
    match serde_json::from_slice::<Body>(&body) {
        Ok(_) => HttpResponse::Ok().content_type("application/json").body(**answer),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

async fn get_beacon() -> HttpResponse {
    HttpResponse::NoContent().finish()
}
