//! The description of the API (OpenAPI 3.1), made from the handlers and wire structs that serve it.

use std::sync::OnceLock;

use actix_web::HttpResponse;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_swagger_ui::SwaggerUi;

use super::keys::{__path_create_key, __path_list_keys, __path_read_key, __path_revoke_key};
use super::{advertisers, campaigns, creatives, line_items, networks};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Segue",
        description = "Real-time audio ad decisions: campaigns are managed here. Money is in whole micros of the network's currency. \
            Every entity has a revision, sent as `ETag`; every change names the one it is based on in `If-Match`.",
    ),
    security(("key" = [])),
    paths(
        networks::list, networks::read, networks::change, networks::revisions,
        advertisers::list, advertisers::create, advertisers::read, advertisers::change, advertisers::archive,
        advertisers::revisions,
        campaigns::list, campaigns::create, campaigns::read, campaigns::change, campaigns::archive,
        campaigns::revisions,
        line_items::list, line_items::create, line_items::read, line_items::change, line_items::archive,
        line_items::revisions,
        creatives::list, creatives::create, creatives::read, creatives::change, creatives::archive,
        creatives::revisions, super::approve_creative, super::reject_creative,
        create_key, list_keys, read_key, revoke_key,
    )
)]
struct Description;

/// The description of the campaign API. Other parts of the HTTP interface merge theirs into it (`OpenApi::merge`).
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut description = Description::openapi();
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    description.components.get_or_insert_default().add_security_scheme("key", key);
    description
}

/// A description as the text that is served and kept as golden file.
///
/// # Panics
/// Never: a description is strings, numbers, lists and objects.
#[must_use]
pub fn openapi_json(description: &utoipa::openapi::OpenApi) -> String {
    let mut text = description.to_pretty_json().expect("a description serialises");
    text.push('\n');
    text
}

/// Where people read the description, and try it out.
pub(super) const DOCS_PATH: &str = "/docs";

/// A page of the description at [`DOCS_PATH`], served from the program itself: it asks no other host for anything.
pub(super) fn docs() -> SwaggerUi {
    let config =
        utoipa_swagger_ui::Config::from("/v1/openapi.json").try_it_out_enabled(true).persist_authorization(false);
    SwaggerUi::new(format!("{DOCS_PATH}/{{_:.*}}")).config(config)
}

/// Serves the description.
pub(super) async fn serve() -> HttpResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi_json(&crate::http::openapi()));
    HttpResponse::Ok().content_type("application/json").body(text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
        let text = openapi_json(&crate::http::openapi());
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(path, &text).expect("written");
        }
        let golden = std::fs::read_to_string(path).expect("the golden file; UPDATE_GOLDEN=1 writes it");
        assert!(
            text == golden,
            "the API differs from schemas/openapi.json; UPDATE_GOLDEN=1 rewrites it, then read the diff"
        );
    }
}
