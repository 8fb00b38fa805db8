//! The console: pages at `/console`, for people.
//!
//! Plain files, embedded in the program and served as they are: no build step, no other host. They hold no data and need no key; what they show they ask the
//! API for, with the key that was typed in, so numbers on a page are the API's. Charts alone are drawn here ([`charts`]). What a page may load is said by its
//! content security policy: scripts and styles from this server only; sound and companions from wherever creatives are.

mod assets;
pub mod charts;
pub mod plan;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

pub(super) use charts::{__path_get_delivery_chart, __path_get_delivery_points};

use self::assets::{ASSETS, Asset};
use super::campaigns::no_such_path;
use super::problem::Problem;

/// What a page of the console may load. Sound and companions are where the creative's makers put them; nothing else comes from elsewhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' blob: https:; media-src 'self' blob: https:; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Mounts the pages and the charts.
pub fn configure(config: &mut ServiceConfig) {
    charts::configure(config);
    config
        .service(web::resource("/console").route(web::get().to(to_index)))
        .service(web::resource("/console/{path:.*}").route(web::get().to(asset)).route(web::head().to(asset)));
}

/// Relative names in the page need the slash.
async fn to_index() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/console/")).finish()
}

async fn asset(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let wanted = if path.is_empty() { "index.html" } else { path.as_str() };
    match ASSETS.iter().find(|asset| asset.path == wanted) {
        Some(asset) => Ok(served(&request, asset)),
        None => no_such_path().await,
    }
}

fn served(request: &HttpRequest, asset: &Asset) -> HttpResponse {
    let etag = asset.etag();
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag));
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Asked for again each time, and answered 304: a new program's pages never mix with an old one's.
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, etag));
    for (name, value) in PROTECTION {
        response.insert_header((HeaderName::from_static(name), HeaderValue::from_static(value)));
    }
    if is_known { response.finish() } else { response.content_type(asset.content_type()).body(asset.bytes) }
}

/// What keeps a page from being misused.
const PROTECTION: [(&str, &str); 4] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

#[cfg(test)]
mod tests;
