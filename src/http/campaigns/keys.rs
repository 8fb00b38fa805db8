//! API keys: make (the secret is shown once), list, read, revoke. For operators.
//!
//! A key never changes but for being revoked, which is final and the same however often it is done. So revoking takes no `If-Match`: whoever
//! has a leaked key to close should not have to read first.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::read_id;
use super::lists::Page;
use super::{Caller, CampaignApi, body, counted, no_such_method, noted, operations};
use crate::http::problem::Problem;
use crate::model::{AdvertiserId, ApiKeyId, AppKey, Role, WallMs};
use crate::roles::campaign::{Command, Faults, KEYS_MAX, Outcome, Refusal};
use crate::store::ApiKey;

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleWord {
    /// Everything in the network.
    Operator,
    /// Its own advertiser's entities; line items of the auction tier only.
    Advertiser,
    /// Reads everything, changes nothing.
    Viewer,
    /// Asks for ad breaks; nothing else.
    App,
}

/// A key to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub struct NewKeyDocument {
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// What it may do.
    pub role: RoleWord,
    /// Whose it is; exactly for the role `advertiser`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub advertiser_id: Option<String>,
    /// Key of the network's app; exactly for the role `app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyDocument {
    /// Its id.
    #[schema(format = Uuid)]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: RoleWord,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub advertiser_id: Option<String>,
    /// Key of the network's app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From when on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// The key itself, to be sent as `Authorization: Bearer <secret>`. Only in the answer that makes it: nobody can read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<&ApiKey> for KeyDocument {
    fn from(key: &ApiKey) -> Self {
        let (role, advertiser_id, app) = match &key.role {
            Role::Operator => (RoleWord::Operator, None, None),
            Role::Viewer => (RoleWord::Viewer, None, None),
            Role::Advertiser(id) => (RoleWord::Advertiser, Some(id.to_string()), None),
            Role::App(app) => (RoleWord::App, None, Some(app.as_str().to_owned())),
        };
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            role,
            advertiser_id,
            app,
            created_at: key.created_at.to_rfc3339(),
            revoked_at: key.revoked_at.map(WallMs::to_rfc3339),
            secret: None,
        }
    }
}

pub(super) fn mount(config: &mut ServiceConfig) {
    config.service(
        web::resource("/v1/keys")
            .route(web::get().to(list_keys))
            .route(web::post().to(create_key))
            .default_service(web::to(no_such_method)),
    );
    config.service(
        web::resource("/v1/keys/{id}")
            .route(web::get().to(read_key))
            .route(web::delete().to(revoke_key))
            .default_service(web::to(no_such_method)),
    );
}

/// Makes a key. The answer holds its secret, which is never shown again.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = NewKeyDocument,
    responses(
        (status = 201, description = "It, with its secret.", body = KeyDocument),
        (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_key(
    api: Data<CampaignApi>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    counted(&api, create(&api, &request, body).await)
}

/// Lists the network's keys, oldest first, revoked ones too.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    params(
        ("limit" = Option<u32>, Query, description = "Most keys in the page, 1 to 500; 50 when absent."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page.", body = Page<KeyDocument>),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_keys(api: Data<CampaignApi>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    noted(&api, list(&api, &request))
}

/// Reads one key, without its secret.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", operation_id = "read_key",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "It.", body = KeyDocument),
        (status = "4XX", description = "A problem.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read_key(
    api: Data<CampaignApi>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let answer = find(&api, &request, &id).map(|(_, key)| HttpResponse::Ok().json(KeyDocument::from(&key)));
    noted(&api, answer)
}

/// Revokes a key, for good. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "It as it is now.", body = KeyDocument),
        (status = "4XX", description = "A problem; nothing has changed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_key(
    api: Data<CampaignApi>,
    request: HttpRequest,
    id: Path<String>,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    counted(&api, revoke(&api, &request, &id, body).await)
}

async fn create(api: &CampaignApi, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    caller.requester.may_manage_keys()?;
    let bytes = body::read(request, payload).await?;
    let document: NewKeyDocument = body::parse(&bytes)?;
    let mut faults = Faults::new();
    let role = read_role(&document, &mut faults);
    faults.into_result()?;
    let keys = api.campaigns.keys();
    if keys.len() >= KEYS_MAX {
        return Err(Refusal::Full { what: "keys", limit: KEYS_MAX }.into());
    }
    let now = api.clock.now();
    let id = ApiKeyId::at(now.wall, api.entropy.bytes());
    let network_id = caller.actor.network_id;
    let (key, secret) = keys.make(id, network_id, document.name, role, api.entropy.bytes(), now.wall);
    let key = submit(api, Command::AddKey { key }, caller).await?;
    let answer = KeyDocument { secret: Some(secret.reveal().to_owned()), ..KeyDocument::from(&key) };
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((header::LOCATION, format!("/v1/keys/{}", key.id)));
    // No cache between here and the caller keeps a secret.
    Ok(response.insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

fn read_role(document: &NewKeyDocument, faults: &mut Faults) -> Role {
    if document.advertiser_id.is_some() && document.role != RoleWord::Advertiser {
        faults.add("advertiser_id", "wrong_role", "only an advertiser's key has an advertiser");
    }
    if document.app.is_some() && document.role != RoleWord::App {
        faults.add("app", "wrong_role", "only an app's key has an app");
    }
    match document.role {
        RoleWord::Operator => Role::Operator,
        RoleWord::Viewer => Role::Viewer,
        RoleWord::Advertiser => {
            if document.advertiser_id.is_none() {
                faults.add("advertiser_id", "required", "an advertiser's key says whose it is");
            }
            let id = document.advertiser_id.as_ref().and_then(|text| read_id("advertiser_id", text, faults));
            Role::Advertiser(id.unwrap_or(AdvertiserId::from_u128(0)))
        }
        RoleWord::App => match document.app.as_deref().map(AppKey::new) {
            Some(Some(app)) => Role::App(app),
            Some(None) => {
                faults.add("app", "malformed", "a key is 1 to 128 visible ASCII characters");
                Role::Viewer
            }
            None => {
                faults.add("app", "required", "an app's key says which app");
                Role::Viewer
            }
        },
    }
}

fn list(api: &CampaignApi, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    caller.requester.may_manage_keys()?;
    let query = super::lists::ListQuery::parse(request.query_string(), &[], false)?;
    let after: Option<ApiKeyId> = query.cursor_as()?;
    let keys = api.campaigns.keys();
    let mut later = keys
        .of_network(caller.actor.network_id)
        .into_iter()
        .filter(|key| after.is_none_or(|after| key.id > after))
        .peekable();
    let items: Vec<_> = later.by_ref().take(query.limit).map(KeyDocument::from).collect();
    let next_cursor = later.peek().and(items.last()).map(|last| last.id.clone());
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

fn find(api: &CampaignApi, request: &HttpRequest, id: &str) -> Result<(Caller, ApiKey), Problem> {
    let caller = Caller::of(api, request)?;
    caller.requester.may_manage_keys()?;
    let id: ApiKeyId = id.parse().map_err(|_| Problem::not_found())?;
    let keys = api.campaigns.keys();
    let key = keys.get(id).filter(|key| key.network_id == caller.actor.network_id).ok_or_else(Problem::not_found)?;
    Ok((caller, key.clone()))
}

async fn revoke(api: &CampaignApi, request: &HttpRequest, id: &str, payload: Payload) -> Result<HttpResponse, Problem> {
    let (caller, key) = find(api, request, id)?;
    body::expect_none(request, payload).await?;
    let key = submit(api, Command::RevokeKey { key }, caller).await?;
    Ok(HttpResponse::Ok().json(KeyDocument::from(&key)))
}

async fn submit(api: &CampaignApi, command: Command, caller: Caller) -> Result<ApiKey, Problem> {
    match api.campaigns.submit(command, caller.requester, api.clock.now()).await? {
        Outcome::Key(key) => Ok(key),
        Outcome::Entity(_) | Outcome::Imported(_) => {
            debug_assert!(false, "a command about a key answers with it");
            Err(operations::internal())
        }
    }
}
