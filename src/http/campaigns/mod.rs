//! The campaign API under `/v1`: networks, advertisers, campaigns, line items, creatives, keys.
//!
//! Handlers are thin: they find out who calls, read the body, and hand a command to the [campaign role](crate::roles::campaign), which
//! decides. Every kind of entity has the same operations; one macro declares their routes and their description at once, so that what
//! `/v1/openapi.json` says is what is served.

mod body;
mod convert;
mod document;
mod keys;
mod line_item;
mod lists;
mod openapi;
mod operations;
mod rendition;
mod strict;
#[cfg(test)]
mod tests;
pub mod wire;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};

use self::wire::{AdvertiserDocument, CampaignDocument, CreativeDocument, LineItemDocument, NetworkDocument};
use super::auth;
use super::problem::Problem;
use crate::assets::AssetStore;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{Actor, Approval};
use crate::roles::campaign::{CampaignHandle, Requester};
use crate::telemetry::{Metric, Metrics};

pub use body::BODY_BYTES_MAX;
pub use keys::{KeyDocument, NewKeyDocument};
pub use lists::{LIMIT_DEFAULT, LIMIT_MAX, Page, RevisionDocument, RevisionPage};
pub use openapi::{openapi, openapi_json};
pub(super) use operations::internal;

/// What the handlers need.
#[derive(Clone)]
pub struct CampaignApi {
    /// The campaign role.
    pub campaigns: CampaignHandle,
    /// Reads time, once a request.
    pub clock: Clock,
    /// Draws ids and keys.
    pub entropy: Entropy,
    /// Counts.
    pub metrics: Metrics,
    /// Creatives' files, where this server keeps some.
    pub assets: Option<AssetStore>,
}

/// Who calls.
struct Caller {
    actor: Actor,
    requester: Requester,
}

impl Caller {
    fn of(api: &CampaignApi, request: &HttpRequest) -> Result<Self, Problem> {
        let actor = auth::authenticate(request, &api.campaigns.keys())?;
        Ok(Self { requester: Requester::Key(actor.clone()), actor })
    }
}

/// Mounts the API. Paths that nobody else serves below `/v1` should end in [`no_such_path`].
pub fn configure(api: CampaignApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(api))
            .route("/v1/openapi.json", web::get().to(openapi::serve))
            .service(openapi::docs());
        networks::mount(config);
        advertisers::mount(config);
        campaigns::mount(config);
        line_items::mount(config);
        creatives::mount(config);
        config.service(
            web::resource("/v1/creatives/{id}/approve")
                .route(web::post().to(approve_creative))
                .default_service(web::to(no_such_method)),
        );
        config.service(
            web::resource("/v1/creatives/{id}/reject")
                .route(web::post().to(reject_creative))
                .default_service(web::to(no_such_method)),
        );
        keys::mount(config);
    }
}

/// The answer where there is no such path.
///
/// # Errors
/// Always: 404.
pub async fn no_such_path() -> Result<HttpResponse, Problem> {
    Err(Problem::new(StatusCode::NOT_FOUND, "no_such_path", "there is no such path"))
}

async fn no_such_method() -> Result<HttpResponse, Problem> {
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "this path does not take this method"))
}

/// Counts how a write ended, and passes it on.
fn counted(api: &CampaignApi, answer: Result<HttpResponse, Problem>) -> Result<HttpResponse, Problem> {
    let outcome = match &answer {
        Ok(_) => "accepted",
        Err(problem) => problem.code,
    };
    api.metrics.add_labelled(Metric::CatalogChanges, &[outcome], 1);
    answer
}

/// Counts a refused read, and passes it on.
fn noted(api: &CampaignApi, answer: Result<HttpResponse, Problem>) -> Result<HttpResponse, Problem> {
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

/// The routes of one kind of entity and their description.
macro_rules! entity_routes {
    (
        $module:ident, $document:ident, $one:literal, $many:literal, $word:literal, $path:literal,
        $parameters:tt, [$($operation:ident),*]
    ) => {
        pub(super) mod $module {
            #![doc = concat!("Routes of ", $many, ".")]

            use super::*;

            entity_routes!(@read $document, $one, $many, $word, $path, $parameters);
            $(entity_routes!(@$operation $document, $one, $many, $word, $path);)*

            pub(super) fn mount(config: &mut ServiceConfig) {
                let many = web::resource($path).route(web::get().to(list));
                $(entity_routes!(@mount_many $operation many);)*
                config.service(many.default_service(web::to(no_such_method)));
                let history = web::resource(concat!($path, "/{id}/revisions")).route(web::get().to(revisions));
                config.service(history.default_service(web::to(no_such_method)));
                let one = web::resource(concat!($path, "/{id}")).route(web::get().to(read));
                $(entity_routes!(@mount_one $operation one);)*
                config.service(one.default_service(web::to(no_such_method)));
            }
        }
    };
    (@mount_many create $resource:ident) => { let $resource = $resource.route(web::post().to(create)); };
    (@mount_many $other:ident $resource:ident) => {};
    (@mount_one change $resource:ident) => { let $resource = $resource.route(web::patch().to(change)); };
    (@mount_one archive $resource:ident) => { let $resource = $resource.route(web::delete().to(archive)); };
    (@mount_one $other:ident $resource:ident) => {};
    (@read $document:ident, $one:literal, $many:literal, $word:literal, $path:literal, ($($parameter:tt)*)) => {
        #[doc = concat!("Lists ", $many, ", oldest first.")]
        #[utoipa::path(
            get, path = $path, tag = $many, operation_id = concat!("list_", $word, "s"),
            params(
                ("limit" = Option<u32>, Query, description = "Most entities in the page, 1 to 500; 50 when absent."),
                ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
                $($parameter)*
            ),
            responses(
                (status = 200, description = "A page.", body = Page<$document>),
                (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn list(
            api: Data<CampaignApi>,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            noted(&api, operations::list::<$document>(&api, &request))
        }

        #[doc = concat!("Reads one ", $one, ".")]
        #[utoipa::path(
            get, path = concat!($path, "/{id}"), tag = $many, operation_id = concat!("read_", $word),
            params(("id" = String, Path, description = "Its id.")),
            responses(
                (status = 200, description = "It, with its revision as `ETag`.", body = $document,
                 headers(("ETag" = String, description = "Its revision."))),
                (status = 304, description = "It is still at the revision in `If-None-Match`."),
                (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn read(
            api: Data<CampaignApi>,
            request: HttpRequest,
            id: Path<String>,
        ) -> Result<HttpResponse, Problem> {
            noted(&api, operations::read::<$document>(&api, &request, &id).await)
        }

        #[doc = concat!("The audit log of one ", $one, ": every revision, newest first, with who made it.")]
        #[utoipa::path(
            get, path = concat!($path, "/{id}/revisions"), tag = $many, operation_id = concat!("list_", $word, "_revisions"),
            params(
                ("id" = String, Path, description = "Its id."),
                ("limit" = Option<u32>, Query, description = "Most revisions in the page, 1 to 500; 50 when absent."),
                ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
            ),
            responses(
                (status = 200, description = "A page.", body = RevisionPage),
                (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn revisions(
            api: Data<CampaignApi>,
            request: HttpRequest,
            id: Path<String>,
        ) -> Result<HttpResponse, Problem> {
            noted(&api, operations::history::<$document>(&api, &request, &id).await)
        }
    };
    (@create $document:ident, $one:literal, $many:literal, $word:literal, $path:literal) => {
        #[doc = concat!("Creates one ", $one, ".")]
        #[utoipa::path(
            post, path = $path, tag = $many, operation_id = concat!("create_", $word),
            request_body = $document,
            responses(
                (status = 201, description = "It, with its revision as `ETag`.", body = $document,
                 headers(("ETag" = String, description = "Its revision."), ("Location" = String, description = "Its path."))),
                (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn create(
            api: Data<CampaignApi>,
            request: HttpRequest,
            body: Payload,
        ) -> Result<HttpResponse, Problem> {
            counted(&api, operations::create::<$document>(&api, &request, body).await)
        }
    };
    (@change $document:ident, $one:literal, $many:literal, $word:literal, $path:literal) => {
        #[doc = concat!("Changes one ", $one, " by a merge patch (RFC 7396): what is sent replaces, `null` removes, lists are replaced whole.")]
        #[utoipa::path(
            patch, path = concat!($path, "/{id}"), tag = $many, operation_id = concat!("change_", $word),
            params(
                ("id" = String, Path, description = "Its id."),
                ("If-Match" = String, Header, description = "The `ETag` that was read."),
            ),
            request_body(content = $document, content_type = "application/merge-patch+json",
                description = "Any fields of the document."),
            responses(
                (status = 200, description = "It as it is now.", body = $document,
                 headers(("ETag" = String, description = "Its revision."))),
                (status = 412, description = "Somebody else changed it meanwhile.", body = Problem, content_type = "application/problem+json"),
                (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
                (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn change(
            api: Data<CampaignApi>,
            request: HttpRequest,
            id: Path<String>,
            body: Payload,
        ) -> Result<HttpResponse, Problem> {
            counted(&api, operations::change::<$document>(&api, &request, &id, body).await)
        }
    };
    (@archive $document:ident, $one:literal, $many:literal, $word:literal, $path:literal) => {
        #[doc = concat!("Archives one ", $one, ": it never delivers again. Its history stays.")]
        #[utoipa::path(
            delete, path = concat!($path, "/{id}"), tag = $many, operation_id = concat!("archive_", $word),
            params(
                ("id" = String, Path, description = "Its id."),
                ("If-Match" = String, Header, description = "The `ETag` that was read."),
            ),
            responses(
                (status = 200, description = "It as it is now.", body = $document,
                 headers(("ETag" = String, description = "Its revision."))),
                (status = 412, description = "Somebody else changed it meanwhile.", body = Problem, content_type = "application/problem+json"),
                (status = 428, description = "`If-Match` is missing.", body = Problem, content_type = "application/problem+json"),
                (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(in crate::http::campaigns) async fn archive(
            api: Data<CampaignApi>,
            request: HttpRequest,
            id: Path<String>,
            body: Payload,
        ) -> Result<HttpResponse, Problem> {
            counted(&api, operations::archive::<$document>(&api, &request, &id, body).await)
        }
    };
}

// A network is made at the first start: a process serves one.
entity_routes!(networks, NetworkDocument, "network", "networks", "network", "/v1/networks", (), [change]);
entity_routes!(
    advertisers, AdvertiserDocument, "advertiser", "advertisers", "advertiser", "/v1/advertisers",
    (("status" = Option<wire::StatusWord>, Query, description = "Only those with this status."),),
    [create, change, archive]
);
entity_routes!(
    campaigns, CampaignDocument, "campaign", "campaigns", "campaign", "/v1/campaigns",
    (("status" = Option<wire::StatusWord>, Query, description = "Only those with this status."),
     ("advertiser_id" = Option<String>, Query, description = "Only those of this advertiser."),),
    [create, change, archive]
);
entity_routes!(
    line_items, LineItemDocument, "line item", "line items", "line_item", "/v1/line-items",
    (("status" = Option<wire::StatusWord>, Query, description = "Only those with this status."),
     ("campaign_id" = Option<String>, Query, description = "Only those of this campaign."),
     ("advertiser_id" = Option<String>, Query, description = "Only those of this advertiser."),),
    [create, change, archive]
);
entity_routes!(
    creatives, CreativeDocument, "creative", "creatives", "creative", "/v1/creatives",
    (("status" = Option<wire::StatusWord>, Query, description = "Only those with this status."),
     ("advertiser_id" = Option<String>, Query, description = "Only those of this advertiser."),),
    [create, change, archive]
);

/// Lets a creative serve. For operators.
#[utoipa::path(
    post, path = "/v1/creatives/{id}/approve", tag = "creatives", operation_id = "approve_creative",
    params(
        ("id" = String, Path, description = "Its id."),
        ("If-Match" = String, Header, description = "The `ETag` that was looked at."),
    ),
    responses(
        (status = 200, description = "It as it is now.", body = CreativeDocument),
        (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn approve_creative(
    api: Data<CampaignApi>,
    request: HttpRequest,
    id: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let answer = operations::review::<CreativeDocument>(&api, &request, &id, body, Approval::Approved).await;
    counted(&api, answer)
}

/// Turns a creative down: it does not serve. For operators.
#[utoipa::path(
    post, path = "/v1/creatives/{id}/reject", tag = "creatives", operation_id = "reject_creative",
    params(
        ("id" = String, Path, description = "Its id."),
        ("If-Match" = String, Header, description = "The `ETag` that was looked at."),
    ),
    responses(
        (status = 200, description = "It as it is now.", body = CreativeDocument),
        (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn reject_creative(
    api: Data<CampaignApi>,
    request: HttpRequest,
    id: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    let answer = operations::review::<CreativeDocument>(&api, &request, &id, body, Approval::Rejected).await;
    counted(&api, answer)
}
