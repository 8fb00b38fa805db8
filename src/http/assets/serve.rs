//! `GET` and `HEAD /a/{hash}.{ending}`: files to players, and to caches in front.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::FileBody;
use super::range::{Wanted, wanted};
use super::{FilesApi, busy, noted};
use crate::assets::SignError;
use crate::http::problem::Problem;
use crate::model::AssetFile;

/// The file never changes: its name is its hash.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// What makes a URL open.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Signed {
    /// When the URL stops to open, in Unix seconds.
    e: i64,
    /// Its signature.
    s: String,
}

/// Fetch a creative's file.
///
/// The URL is signed and comes with the answer to an ad break; the file never changes.
#[utoipa::path(
    get,
    path = "/a/{name}",
    tag = "player",
    params(
        ("name" = String, Path, description = "Hash and ending."),
        Signed,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = 200, description = "The file.", content_type = "application/octet-stream"),
        (status = 206, description = "The range.", content_type = "application/octet-stream"),
        (status = 304, description = "It is the one in `If-None-Match`."),
        (status = 403, description = "The signature is not right.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such file.", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The URL's time is over.", body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "The range lies beyond the end."),
    ),
    security(())
)]
pub(crate) async fn get_file(
    request: HttpRequest,
    name: Path<String>,
    signed: Result<Query<Signed>, actix_web::Error>,
    api: Data<FilesApi>,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, serve(&api, &request, &name, signed.ok(), Method::Get).await)
}

/// Look at a creative's file: as `GET`, without the bytes.
#[utoipa::path(
    head,
    path = "/a/{name}",
    tag = "player",
    params(("name" = String, Path, description = "Hash and ending."), Signed),
    responses(
        (status = 200, description = "The headers of the file."),
        (status = "4XX", description = "As for `GET`."),
    ),
    security(())
)]
pub(crate) async fn head_file(
    request: HttpRequest,
    name: Path<String>,
    signed: Result<Query<Signed>, actix_web::Error>,
    api: Data<FilesApi>,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, serve(&api, &request, &name, signed.ok(), Method::Head).await)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

async fn serve(
    api: &FilesApi,
    request: &HttpRequest,
    name: &str,
    signed: Option<Query<Signed>>,
    method: Method,
) -> Result<HttpResponse, Problem> {
    let file: AssetFile = name.parse().map_err(|_| no_such_file())?;
    let Query(Signed { e, s }) = signed.ok_or_else(forged)?;
    match api.signer.check(file, e, &s, api.clock.now().wall) {
        Ok(()) => {}
        Err(SignError::Forged) => return Err(forged()),
        Err(SignError::Expired) => {
            let detail = "the URL's time is over; the next ad break has a new one";
            return Err(Problem::new(StatusCode::GONE, "url_expired", detail));
        }
    }
    let place = Arc::clone(&api.slots).try_acquire_owned().map_err(|_| busy())?;
    let open = api.store.open_file(file).await?.ok_or_else(no_such_file)?;
    let etag = format!("\"{}\"", file.id);
    let header_text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_known = |tags: &str| {
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, etag.clone()))
        .insert_header((header::CACHE_CONTROL, FOR_EVER))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Players in browsers decode it themselves; whoever has the URL may have the bytes.
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if header_text(header::IF_NONE_MATCH).is_some_and(is_known) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    response.content_type(file.kind.media_type());
    // `If-Range` with another tag, or a date, asks for all of what is there now.
    let is_same = header_text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    // A range is defined for GET alone.
    let asked = header_text(header::RANGE).filter(|_| is_same && method == Method::Get);
    let (from, bytes) = match wanted(asked, open.bytes) {
        Wanted::All => (0, open.bytes),
        Wanted::Part { from, bytes } => {
            let range = format!("bytes {from}-{}/{}", from + bytes - 1, open.bytes);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((header::CONTENT_RANGE, range));
            (from, bytes)
        }
        Wanted::Beyond => {
            response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .insert_header((header::CONTENT_RANGE, format!("bytes */{}", open.bytes)))
                .insert_header((header::CACHE_CONTROL, "no-store"));
            return Ok(response.finish());
        }
    };
    // The server sends no body in answer to HEAD, but its length.
    Ok(response.body(FileBody::new(api.store.clone(), open, (from, bytes), place)))
}

fn no_such_file() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such file")
}

fn forged() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "bad_signature", "the URL is not one that was signed here")
}
