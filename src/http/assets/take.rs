//! `POST /v1/assets`: a file in one request; `GET /v1/assets/{id}`: what it is.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Pieces;
use super::{AssetDocument, AssetsApi, authenticate, busy, noted, owner_named};
use crate::assets::{AssetRow, Owner, Rejection, Warning, declared};
use crate::http::problem::Problem;
use crate::model::{AssetId, Role};

/// Whose a file will be.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerQuery {
    /// The advertiser, for an operator's key. With an advertiser's key it may be left out.
    pub(super) advertiser_id: Option<String>,
}

/// Send a creative's file: a sound, or an image.
///
/// The body is the file, its type in `Content-Type` (`application/octet-stream` leaves it to the bytes). Sound is decoded from the first frame to the last; what
/// is wrong with it is told. The same bytes again give the same id.
#[utoipa::path(
    post,
    path = "/v1/assets",
    tag = "assets",
    params(OwnerQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file."),
    responses(
        (status = 201, description = "It is kept.", body = AssetDocument,
         headers(("Location" = String, description = "Its path."))),
        (status = 413, description = "Too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Of a type that is not taken.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not taken: `code` says why.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_asset(
    api: Data<AssetsApi>,
    request: HttpRequest,
    query: Result<Query<OwnerQuery>, actix_web::Error>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, take(&api, &request, query, payload).await)
}

async fn take(
    api: &AssetsApi,
    request: &HttpRequest,
    query: Result<Query<OwnerQuery>, actix_web::Error>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let actor = authenticate(api, request)?;
    let query = read_query(query)?;
    let owner = owner_named(api, &actor, query.advertiser_id.as_deref()).await?;
    let header_text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let said = declared(header_text(header::CONTENT_TYPE).unwrap_or_default())?;
    let most = api.store.limits().bytes_max;
    let announced = header_text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > most) {
        return Err(Rejection { code: "too_large", message: format!("a file has at most {most} bytes") }.into());
    }
    let _slot = api.slots.try_acquire().map_err(|_| busy())?;
    let mut incoming = api.store.begin().await?;
    let mut pieces = Pieces::new(payload);
    while let Some(piece) = pieces.next().await? {
        api.store.add(&mut incoming, piece).await?;
    }
    let (row, warnings) = api.store.finish(incoming, owner, said).await?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((header::LOCATION, format!("/v1/assets/{}", row.id)));
    Ok(response.json(document(api, &row, warnings)))
}

/// What a file is. Operators and viewers see their network's, advertisers their own.
#[utoipa::path(
    get,
    path = "/v1/assets/{id}",
    tag = "assets",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "It.", body = AssetDocument),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn read_asset(
    api: Data<AssetsApi>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    noted(&api.metrics, read(&api, &request, &id).await)
}

async fn read(api: &AssetsApi, request: &HttpRequest, id: &str) -> Result<HttpResponse, Problem> {
    let actor = authenticate(api, request)?;
    let id: Option<AssetId> = id.parse().ok();
    let row = match (&actor.role, id) {
        (Role::App(_), _) => return Err(Problem::forbidden("an app's key asks for ad breaks only")),
        (_, None) => None,
        (Role::Advertiser(own), Some(id)) => {
            let owner = Owner { network_id: actor.network_id, advertiser_id: *own };
            api.store.row(owner, id).await?
        }
        (Role::Operator | Role::Viewer, Some(id)) => api.store.find(actor.network_id, id).await?,
    };
    let row = row.ok_or_else(Problem::not_found)?;
    // Judged anew: the limits may have changed since it was taken.
    let warnings = api.store.limits().judge(&row.facts).unwrap_or_else(|refusal| vec![refusal]);
    Ok(HttpResponse::Ok().json(document(api, &row, warnings)))
}

pub(super) fn document(api: &AssetsApi, row: &AssetRow, warnings: Vec<Warning>) -> AssetDocument {
    let now = api.clock.now().wall;
    AssetDocument::new(row, api.signer.url(row.file(), now, now), warnings)
}

pub(super) fn read_query(query: Result<Query<OwnerQuery>, actix_web::Error>) -> Result<OwnerQuery, Problem> {
    let query = query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "malformed_query", error.to_string()))?;
    Ok(query.into_inner())
}
