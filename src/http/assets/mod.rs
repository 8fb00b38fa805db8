//! Creatives' files: taken in at once (`POST /v1/assets`) or in parts (`/v1/uploads`), and served under signed URLs (`/a/...`).
//!
//! Bodies are streamed both ways: whatever a file's size, a request holds a few hundred kilobytes. The disk and the decoder are on threads
//! of the [store](crate::assets)'s own.

mod body;
mod range;
mod serve;
mod take;
#[cfg(test)]
mod tests;
mod uploads;
mod wire;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::Semaphore;

use super::auth;
use super::problem::{FieldError, Problem};
use crate::assets::{AssetStore, Owner, Rejection, TakeError, UploadError, Uploader, UrlSigner};
use crate::catalog::EntityId;
use crate::clock::Clock;
use crate::model::{Actor, AdvertiserId, Role};
use crate::roles::campaign::CampaignHandle;
use crate::telemetry::{Metric, Metrics};

pub(super) use serve::{__path_get_file, __path_head_file};
pub(super) use take::{__path_post_asset, __path_read_asset};
pub(super) use uploads::{
    __path_append_upload, __path_create_upload, __path_end_upload, __path_look_at_upload, __path_read_upload,
};
pub use wire::{AssetDocument, UploadDocument, WarningDocument};

/// Most bodies that are being taken in at once: each holds a buffer, and the disk is one.
const TAKES_AT_ONCE: usize = 32;
/// Most files that are being served at once: each holds an open file and a buffer.
const SERVES_AT_ONCE: usize = 2_048;

/// Takes files in.
#[derive(Clone)]
pub struct AssetsApi {
    /// Where they are kept.
    pub store: AssetStore,
    /// Takes those that come in parts.
    pub uploader: Uploader,
    /// Signs their URLs.
    pub signer: UrlSigner,
    /// Keys, and which advertisers there are.
    pub campaigns: CampaignHandle,
    /// Reads time, once a request.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    slots: Arc<Semaphore>,
}

impl AssetsApi {
    /// An API over that store.
    #[must_use]
    pub fn new(
        store: AssetStore,
        signer: UrlSigner,
        campaigns: CampaignHandle,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let (uploader, slots) = (Uploader::new(store.clone()), Arc::new(Semaphore::new(TAKES_AT_ONCE)));
        Self { store, uploader, signer, campaigns, clock, metrics, slots }
    }
}

/// Serves files.
#[derive(Clone)]
pub struct FilesApi {
    /// Where they are kept.
    pub store: AssetStore,
    /// Says which URLs are good.
    pub signer: UrlSigner,
    /// Reads time, once a request.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    slots: Arc<Semaphore>,
}

impl FilesApi {
    /// Serves that store's files.
    #[must_use]
    pub fn new(store: AssetStore, signer: UrlSigner, clock: Clock, metrics: Metrics) -> Self {
        Self { store, signer, clock, metrics, slots: Arc::new(Semaphore::new(SERVES_AT_ONCE)) }
    }
}

/// Mounts what takes files in.
pub fn configure(api: AssetsApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(api))
            .service(web::resource("/v1/assets").route(web::post().to(take::post_asset)))
            .service(web::resource("/v1/assets/{id}").route(web::get().to(take::read_asset)))
            .service(
                web::resource("/v1/uploads")
                    .route(web::post().to(uploads::create_upload))
                    .route(web::method(actix_web::http::Method::OPTIONS).to(uploads::options)),
            )
            .service(
                web::resource("/v1/uploads/{id}")
                    .route(web::head().to(uploads::look_at_upload))
                    .route(web::get().to(uploads::read_upload))
                    .route(web::patch().to(uploads::append_upload))
                    .route(web::delete().to(uploads::end_upload)),
            );
    }
}

/// Mounts what serves files.
pub fn configure_files(api: FilesApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(Data::new(api)).service(
            web::resource("/a/{name}").route(web::get().to(serve::get_file)).route(web::head().to(serve::head_file)),
        );
    }
}

/// Whose a file will be: the advertiser that an operator names, or that of the key.
async fn owner_named(api: &AssetsApi, actor: &Actor, named: Option<&str>) -> Result<Owner, Problem> {
    let network_id = actor.network_id;
    let unknown = || field_problem("advertiser_id", "unknown", "there is no such advertiser");
    let named = named.map(|text| text.parse::<AdvertiserId>().map_err(|_| unknown())).transpose()?;
    let advertiser_id = match (&actor.role, named) {
        (Role::Operator, Some(named)) => named,
        (Role::Operator, None) => {
            return Err(field_problem("advertiser_id", "required", "an operator says whose it is"));
        }
        (Role::Advertiser(own), named) if named.is_none_or(|named| named == *own) => *own,
        (Role::Advertiser(_), _) => return Err(unknown()),
        (Role::Viewer, _) => return Err(Problem::forbidden("a viewer's key changes nothing")),
        (Role::App(_), _) => return Err(Problem::forbidden("an app's key asks for ad breaks only")),
    };
    let id = EntityId::Advertiser(advertiser_id);
    api.campaigns.refresh(vec![id]).await?;
    let is_there = api.campaigns.read(|state| {
        let found = state.get(id);
        found.is_some_and(|revision| revision.entity.network_id() == network_id)
    });
    if is_there { Ok(Owner { network_id, advertiser_id }) } else { Err(unknown()) }
}

fn authenticate(api: &AssetsApi, request: &HttpRequest) -> Result<Actor, Problem> {
    auth::authenticate(request, &api.campaigns.keys())
}

fn field_problem(path: &str, code: &'static str, message: &str) -> Problem {
    Problem::invalid(vec![FieldError::new(path, code, message)])
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many files are on their way: try again in a second")
}

/// Counts a refusal, and passes it on.
fn noted(metrics: &Metrics, answer: Result<HttpResponse, Problem>) -> Result<HttpResponse, Problem> {
    if let Err(problem) = &answer {
        metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection.code {
            "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            "type_not_taken" | "svg_not_taken" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, rejection.code, rejection.message)
    }
}

impl From<TakeError> for Problem {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Rejected(rejection) => rejection.into(),
            TakeError::TooMany => Self::new(StatusCode::CONFLICT, "limit_reached", error.to_string()),
            TakeError::Busy(_) => busy(),
            TakeError::Trouble(trouble) => {
                tracing::error!(error = &trouble as &dyn std::error::Error, "the store of files does not work");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store of files does not work")
            }
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let message = error.to_string();
        match error {
            UploadError::Absent => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            UploadError::Elsewhere { .. } => Self::new(StatusCode::CONFLICT, "offset_differs", message),
            UploadError::Locked => Self::new(StatusCode::LOCKED, "locked", message),
            UploadError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", message),
            UploadError::Take(error) => error.into(),
        }
    }
}
