//! `/v1/uploads`: a file in parts, by the core of the tus protocol (1.0.0) with its extensions creation, expiration and termination.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HttpDate};
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::Pieces;
use super::take::{OwnerQuery, read_query};
use super::{AssetsApi, UploadDocument, authenticate, busy, field_problem, noted, owner_named};
use crate::assets::{Upload, UploadError, UploadId};
use crate::http::problem::Problem;
use crate::model::{ApiKeyId, Role};

/// The version of the protocol.
const TUS: &str = "1.0.0";
/// The type of a part.
const PART_TYPE: &str = "application/offset+octet-stream";
/// Longest value of `Upload-Metadata` that is looked at.
const METADATA_BYTES_MAX: usize = 4_096;

/// Begin to send a file in parts.
///
/// As tus 1.0.0 has it: `Upload-Length` says how many bytes there will be, `Upload-Metadata` may hold `filetype`. Then `PATCH` its path. An upload is
/// its key's own, and is forgotten a day later.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    tag = "assets",
    params(
        OwnerQuery,
        ("Upload-Length" = u64, Header, description = "The file's size in bytes."),
        ("Upload-Metadata" = Option<String>, Header, description = "`filetype` and its value in Base64."),
    ),
    responses(
        (status = 201, description = "It is begun.", body = UploadDocument,
         headers(("Location" = String, description = "Its path."), ("Upload-Expires" = String, description = "When it is forgotten."))),
        (status = 429, description = "The key has too many open.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_upload(
    api: Data<AssetsApi>,
    request: HttpRequest,
    query: Result<Query<OwnerQuery>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, create(&api, &request, query).await)
}

async fn create(
    api: &AssetsApi,
    request: &HttpRequest,
    query: Result<Query<OwnerQuery>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let actor = authenticate(api, request)?;
    expect_tus(request)?;
    let query = read_query(query)?;
    let owner = owner_named(api, &actor, query.advertiser_id.as_deref()).await?;
    let length = number(request, "Upload-Length")?;
    if length == 0 {
        return Err(field_problem("Upload-Length", "out_of_range", "a file has at least one byte"));
    }
    let media_type = media_type(request)?;
    let upload = api.uploader.create(actor.key_id, owner, length, media_type).await?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    headers(&mut response, &upload).insert_header((header::LOCATION, format!("/v1/uploads/{}", upload.id)));
    Ok(response.json(UploadDocument::from(&upload)))
}

/// How far an upload has come, in headers.
#[utoipa::path(
    head,
    path = "/v1/uploads/{id}",
    tag = "assets",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "`Upload-Offset` and `Upload-Length`."),
        (status = 404, description = "There is none, or it is another key's."),
    )
)]
pub(crate) async fn look_at_upload(
    api: Data<AssetsApi>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let looked = look(&api, &request, &id).await.map(|upload| headers(&mut HttpResponse::Ok(), &upload).finish());
    noted(&api.metrics, looked)
}

/// How far an upload has come, and what has become of it.
#[utoipa::path(
    get,
    path = "/v1/uploads/{id}",
    tag = "assets",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "It.", body = UploadDocument),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn read_upload(
    api: Data<AssetsApi>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let looked = look(&api, &request, &id).await;
    noted(
        &api.metrics,
        looked.map(|upload| headers(&mut HttpResponse::Ok(), &upload).json(UploadDocument::from(&upload))),
    )
}

async fn look(api: &AssetsApi, request: &HttpRequest, id: &str) -> Result<Upload, Problem> {
    let (key_id, id) = named(api, request, id)?;
    Ok(api.uploader.look(id, key_id).await?)
}

/// Send a part, or the rest.
///
/// The body is the bytes from `Upload-Offset` on. With the last byte the file is probed as by `POST /v1/assets`; `Location` is then the asset's path. What came
/// before a connection was lost is kept: `HEAD` tells where to go on.
#[utoipa::path(
    patch,
    path = "/v1/uploads/{id}",
    tag = "assets",
    params(
        ("id" = String, Path, description = "Its id."),
        ("Upload-Offset" = u64, Header, description = "Where the part begins: the upload's offset."),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream", description = "The bytes."),
    responses(
        (status = 204, description = "They are kept.",
         headers(("Upload-Offset" = u64, description = "The new offset."), ("Location" = String, description = "The asset's path, when it is all there."))),
        (status = 409, description = "The upload is at another offset.", body = Problem, content_type = "application/problem+json"),
        (status = 423, description = "Another request is writing.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn append_upload(
    api: Data<AssetsApi>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, append(&api, &request, &id, payload).await)
}

async fn append(api: &AssetsApi, request: &HttpRequest, id: &str, payload: Payload) -> Result<HttpResponse, Problem> {
    let (key_id, id) = named(api, request, id)?;
    expect_tus(request)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind != Some(PART_TYPE) {
        let detail = format!("a part is of the type {PART_TYPE}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_part", detail));
    }
    let offset = number(request, "Upload-Offset")?;
    let _slot = api.slots.try_acquire().map_err(|_| busy())?;
    let mut held = api.uploader.hold(id, key_id, offset).await?;
    let mut pieces = Pieces::new(payload);
    let came = loop {
        match pieces.next().await {
            Ok(Some(piece)) => api.uploader.add(&mut held, piece).await?,
            Ok(None) => break Ok(()),
            Err(problem) => break Err(problem),
        }
    };
    // What came before the connection broke is kept all the same.
    let taken = api.uploader.pause(&mut held).await?;
    came?;
    let mut response = HttpResponse::NoContent();
    headers(&mut response, &held.upload);
    if let Some((row, _)) = taken {
        response.insert_header((header::LOCATION, format!("/v1/assets/{}", row.id)));
    }
    Ok(response.finish())
}

/// Give an upload up.
#[utoipa::path(
    delete,
    path = "/v1/uploads/{id}",
    tag = "assets",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 204, description = "It is forgotten; what it has become stays."),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end_upload(
    api: Data<AssetsApi>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, end(&api, &request, &id).await)
}

async fn end(api: &AssetsApi, request: &HttpRequest, id: &str) -> Result<HttpResponse, Problem> {
    let (key_id, id) = named(api, request, id)?;
    api.uploader.end(id, key_id).await?;
    Ok(HttpResponse::NoContent().insert_header(("Tus-Resumable", TUS)).finish())
}

/// What the protocol asks a server about itself.
pub(super) async fn options(api: Data<AssetsApi>) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(("Tus-Resumable", TUS))
        .insert_header(("Tus-Version", TUS))
        .insert_header(("Tus-Extension", "creation,expiration,termination"))
        .insert_header(("Tus-Max-Size", api.store.limits().bytes_max.to_string()))
        .finish()
}

fn named(api: &AssetsApi, request: &HttpRequest, id: &str) -> Result<(ApiKeyId, UploadId), Problem> {
    let actor = authenticate(api, request)?;
    if !matches!(actor.role, Role::Operator | Role::Advertiser(_)) {
        return Err(Problem::forbidden("files are sent with an operator's or an advertiser's key"));
    }
    Ok((actor.key_id, id.parse().map_err(|()| UploadError::Absent)?))
}

fn headers<'r>(response: &'r mut HttpResponseBuilder, upload: &Upload) -> &'r mut HttpResponseBuilder {
    let seconds = u64::try_from(upload.expires_at.0.div_euclid(1_000)).unwrap_or(0);
    let expires = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    let expires = HttpDate::from(expires.unwrap_or(std::time::UNIX_EPOCH));
    response
        .insert_header(("Tus-Resumable", TUS))
        .insert_header(("Upload-Offset", upload.offset.to_string()))
        .insert_header(("Upload-Length", upload.length.to_string()))
        .insert_header(("Upload-Expires", expires.to_string()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
}

/// A client of the protocol says its version; others need not.
fn expect_tus(request: &HttpRequest) -> Result<(), Problem> {
    let version = request.headers().get("Tus-Resumable").map(|value| value.to_str().unwrap_or_default());
    if version.is_none_or(|version| version == TUS) {
        return Ok(());
    }
    let detail = format!("this server speaks tus {TUS}");
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, "tus_version", detail))
}

fn number(request: &HttpRequest, name: &'static str) -> Result<u64, Problem> {
    let text = request.headers().get(name).and_then(|value| value.to_str().ok());
    let plain = text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = plain.and_then(|text| text.parse().ok());
    number.ok_or_else(|| field_problem(name, "required", "this header holds a number of bytes"))
}

/// What the metadata says that the file is.
fn media_type(request: &HttpRequest) -> Result<String, Problem> {
    let malformed =
        || field_problem("Upload-Metadata", "malformed", "names, and their values in Base64, with commas between");
    let Some(value) = request.headers().get("Upload-Metadata") else { return Ok(String::new()) };
    let text = value.to_str().ok().filter(|text| text.len() <= METADATA_BYTES_MAX).ok_or_else(malformed)?;
    for pair in text.split(',') {
        let (name, encoded) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        if name == "filetype" {
            let bytes = STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
            return String::from_utf8(bytes).map_err(|_| malformed());
        }
    }
    Ok(String::new())
}
