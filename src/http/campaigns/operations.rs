//! What can be done with an entity, the same for every kind: create, read, change, archive, list, history.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::body;
use super::document::{Context, Document};
use super::lists::{ListQuery, Page, RevisionDocument, RevisionPage};
use super::rendition::KnownAssets;
use super::{Caller, CampaignApi};
use crate::assets::Owner;
use crate::catalog::{Entity, EntityId, EntityKind, Revision};
use crate::http::problem::Problem;
use crate::model::{Actor, AdvertiserId, Approval, CampaignId, CreativeId, LineItemId, NetworkId, Now, Role, Status};
use crate::roles::campaign::{CatalogState, Command, Faults, Outcome, Refusal, Requester, View, judge};

/// `POST` of a document.
pub(super) async fn create<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    caller.requester.may_write(D::KIND)?;
    let bytes = body::read(request, payload).await?;
    let document: D = body::parse(&bytes)?;
    let now = api.clock.now();
    let id = new_id(D::KIND, now, api.entropy.bytes());
    api.campaigns.refresh(document.names()).await?;
    let assets = known_assets(api, &caller.actor, &document).await?;
    let entity = api.campaigns.read(|state| {
        let context = Context { id, before: None, actor: &caller.actor, state, assets: &assets };
        judged(&document, None, &context)
    })?;
    let outcome = api.campaigns.submit(Command::Create { entity }, caller.requester, now).await?;
    let revision = entity_of(outcome)?;
    let mut response = answer::<D>(StatusCode::CREATED, &revision)?;
    let location = format!("{}/{}", D::PATH, revision.entity.id());
    if let Ok(location) = header::HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET` of one entity.
pub(super) async fn read<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    id: &str,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    let revision = match find_as_stored(api, &caller, D::KIND, id).await {
        // Better a second old than no answer.
        Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => find(api, &caller, D::KIND, id)?,
        found => found?,
    };
    let unchanged = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if unchanged.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag(revision.number))) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, etag(revision.number))).finish());
    }
    answer::<D>(StatusCode::OK, &revision)
}

/// `PATCH` of one entity.
pub(super) async fn change<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    id: &str,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    let before = find_as_stored(api, &caller, D::KIND, id).await?;
    caller.requester.may_write(D::KIND)?;
    let expected = expected(request.headers(), before.number)?;
    let bytes = body::read(request, payload).await?;
    let entity = changed::<D>(api, &caller.actor, &before, &bytes).await?;
    let command = Command::Change { entity, expected };
    let outcome = api.campaigns.submit(command, caller.requester, api.clock.now()).await?;
    answer::<D>(StatusCode::OK, &*entity_of(outcome)?)
}

/// `DELETE` of one entity: archives it.
pub(super) async fn archive<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    id: &str,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    let before = find_as_stored(api, &caller, D::KIND, id).await?;
    caller.requester.may_write(D::KIND)?;
    let expected = expected(request.headers(), before.number)?;
    body::expect_none(request, payload).await?;
    let command = Command::Archive { id: before.entity.id(), expected };
    let outcome = api.campaigns.submit(command, caller.requester, api.clock.now()).await?;
    answer::<D>(StatusCode::OK, &*entity_of(outcome)?)
}

/// `POST` to approve or reject a creative.
pub(super) async fn review<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    id: &str,
    payload: Payload,
    approval: Approval,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    let before = find_as_stored(api, &caller, D::KIND, id).await?;
    caller.requester.may_write(D::KIND)?;
    caller.requester.may_review()?;
    let expected = expected(request.headers(), before.number)?;
    body::expect_none(request, payload).await?;
    let command = Command::Review { id: before.entity.id(), expected, approval };
    let outcome = api.campaigns.submit(command, caller.requester, api.clock.now()).await?;
    answer::<D>(StatusCode::OK, &*entity_of(outcome)?)
}

/// `GET` of a list.
pub(super) fn list<D: Document>(api: &CampaignApi, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    caller.requester.may_read(D::KIND)?;
    let query = ListQuery::parse(request.query_string(), D::PARENTS, D::KIND != EntityKind::Network)?;
    query.check_cursor(D::KIND)?;
    let everything = match &caller.actor.role {
        Role::Advertiser(own) => EntityId::Advertiser(*own),
        Role::Operator | Role::Viewer | Role::App(_) => EntityId::Network(caller.actor.network_id),
    };
    let (found, next) = api.campaigns.read(|state| query.page(state, everything, D::KIND, &caller.requester));
    let items: Vec<D> = found.iter().filter_map(|revision| D::of(revision)).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: next }))
}

/// `GET` of an entity's history, newest first.
pub(super) async fn history<D: Document>(
    api: &CampaignApi,
    request: &HttpRequest,
    id: &str,
) -> Result<HttpResponse, Problem> {
    let caller = Caller::of(api, request)?;
    let id = find_as_stored(api, &caller, D::KIND, id).await?.entity.id();
    let query = ListQuery::parse(request.query_string(), &[], false)?;
    let (before, limit) = (query.before()?, query.limit);
    let campaigns = api.campaigns.clone();
    // One more than asked for: it is the oldest one's "before", and tells whether there are more.
    let revisions = actix_web::web::block(move || campaigns.history(id, before, limit + 1)).await;
    let revisions = match revisions {
        Ok(Ok(revisions)) => revisions,
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "history can't be read");
            return Err(internal());
        }
        Err(_) => return Err(internal()),
    };
    let next_cursor = (revisions.len() > limit).then(|| revisions[limit - 1].number.to_string());
    let document = |revision: &Revision| D::of(revision).and_then(|document| serde_json::to_value(document).ok());
    let items = revisions.iter().enumerate().take(limit).map(|(index, revision)| {
        RevisionDocument::new(revision, revisions.get(index + 1).and_then(document), document(revision))
    });
    Ok(HttpResponse::Ok().json(RevisionPage { items: items.collect(), next_cursor }))
}

/// The entity as it would be with the patch.
async fn changed<D: Document>(
    api: &CampaignApi,
    actor: &Actor,
    before: &Arc<Revision>,
    patch: &Bytes,
) -> Result<Entity, Problem> {
    let patch: super::strict::StrictValue = body::parse(patch)?;
    let patch = patch.0;
    if !patch.is_object() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "not_an_object", "a patch is a JSON object"));
    }
    let current = D::of(before).ok_or_else(Problem::not_found)?;
    let mut merged = serde_json::to_value(&current).unwrap_or(Value::Null);
    body::merge(&mut merged, patch);
    let document: D = body::parse_value(merged)?;
    let assets = known_assets(api, actor, &document).await?;
    api.campaigns.read(|state| {
        let context = Context { id: before.entity.id(), before: Some(&before.entity), actor, state, assets: &assets };
        judged(&document, Some(&current), &context)
    })
}

/// The files that a document names. An advertiser's key learns of its own alone, whatever the document says.
async fn known_assets<D: Document>(api: &CampaignApi, actor: &Actor, document: &D) -> Result<KnownAssets, Problem> {
    let own = match &actor.role {
        Role::Advertiser(own) => Some(*own),
        Role::Operator | Role::Viewer | Role::App(_) => document.advertiser(),
    };
    match own {
        Some(advertiser_id) => {
            let owner = Owner { network_id: actor.network_id, advertiser_id };
            KnownAssets::of(api, owner, document.assets()).await
        }
        None => Ok(KnownAssets::default()),
    }
}

/// The entity of a document, or everything that is wrong with it at once.
fn judged<D: Document>(document: &D, current: Option<&D>, context: &Context<'_>) -> Result<Entity, Problem> {
    let mut faults = Faults::new();
    let known = current.map(D::read_only).unwrap_or_default();
    for (index, (name, value)) in document.read_only().into_iter().enumerate() {
        let unchanged = known.get(index).is_some_and(|(_, known)| *known == value);
        if value.is_some() && !unchanged {
            faults.add(name, "read_only", "is set by the server");
        }
    }
    let entity = document.entity(context, &mut faults);
    if faults.is_empty() {
        // The writer judges it by the same rules, against the catalogue of that moment.
        return Ok(entity);
    }
    let mut further = Faults::new();
    let requester = Requester::Key(context.actor.clone());
    judge(View::of(context.state), context.before, &entity, &requester, &mut further);
    faults.take_new(further);
    faults.into_result().map_err(Problem::from)?;
    Ok(entity)
}

/// The entity that a path names, as it is in the store: another server may have changed it a moment ago.
async fn find_as_stored(
    api: &CampaignApi,
    caller: &Caller,
    kind: EntityKind,
    id: &str,
) -> Result<Arc<Revision>, Problem> {
    caller.requester.may_read(kind)?;
    let named = parse_id(kind, id).ok_or_else(Problem::not_found)?;
    api.campaigns.refresh(vec![named]).await?;
    find(api, caller, kind, id)
}

/// The entity that a path names, as the caller may see it. One that it may not see is answered like one that isn't there (INV-19).
fn find(api: &CampaignApi, caller: &Caller, kind: EntityKind, id: &str) -> Result<Arc<Revision>, Problem> {
    caller.requester.may_read(kind)?;
    let id = parse_id(kind, id).ok_or_else(Problem::not_found)?;
    let look = |state: &CatalogState| state.get(id).filter(|found| caller.requester.sees(&found.entity)).cloned();
    api.campaigns.read(look).ok_or_else(Problem::not_found)
}

pub(super) fn parse_id(kind: EntityKind, text: &str) -> Option<EntityId> {
    Some(match kind {
        EntityKind::Network => EntityId::Network(text.parse().ok()?),
        EntityKind::Advertiser => EntityId::Advertiser(text.parse().ok()?),
        EntityKind::Campaign => EntityId::Campaign(text.parse().ok()?),
        EntityKind::Creative => EntityId::Creative(text.parse().ok()?),
        EntityKind::LineItem => EntityId::LineItem(text.parse().ok()?),
    })
}

fn new_id(kind: EntityKind, now: Now, random: [u8; 10]) -> EntityId {
    match kind {
        EntityKind::Network => EntityId::Network(NetworkId::at(now.wall, random)),
        EntityKind::Advertiser => EntityId::Advertiser(AdvertiserId::at(now.wall, random)),
        EntityKind::Campaign => EntityId::Campaign(CampaignId::at(now.wall, random)),
        EntityKind::Creative => EntityId::Creative(CreativeId::at(now.wall, random)),
        EntityKind::LineItem => EntityId::LineItem(LineItemId::at(now.wall, random)),
    }
}

/// The revision that `If-Match` names, when it is the current one.
fn expected(headers: &HeaderMap, current: u64) -> Result<u64, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        let detail = "name the revision that you saw: If-Match: \"<revision>\", as in the ETag";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "if_match_required", detail));
    };
    let malformed =
        || Problem::new(StatusCode::BAD_REQUEST, "malformed_if_match", "If-Match names revisions such as \"3\"");
    let mut matches = false;
    for tag in value.to_str().map_err(|_| malformed())?.split(',') {
        // A weak tag is well formed and never equal to a strong one (RFC 9110, section 13.1.1).
        let tag = tag.trim();
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
        matches |= opaque == tag && inner.parse() == Ok(current);
    }
    if matches { Ok(current) } else { Err(Refusal::Stale { current }.into()) }
}

fn entity_of(outcome: Outcome) -> Result<Arc<Revision>, Problem> {
    match outcome {
        Outcome::Entity(revision) => Ok(revision),
        Outcome::Key(_) | Outcome::Imported(_) => {
            debug_assert!(false, "a command about an entity answers with it");
            Err(internal())
        }
    }
}

fn answer<D: Document>(status: StatusCode, revision: &Revision) -> Result<HttpResponse, Problem> {
    let document = D::of(revision).ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::build(status).insert_header((header::ETAG, etag(revision.number))).json(document))
}

pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

pub(in crate::http) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "something is wrong with the server, not with the request",
    )
}

/// The status of that wire name.
pub(super) fn status_named(name: &str) -> Option<Status> {
    match name {
        "active" => Some(Status::Active),
        "paused" => Some(Status::Paused),
        "archived" => Some(Status::Archived),
        _ => None,
    }
}
