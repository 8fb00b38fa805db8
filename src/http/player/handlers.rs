//! `POST /v1/ad-breaks` and `DELETE /v1/listeners/{id}`.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::convert::{self, Asker};
use super::parse::{self, ParseError};
use super::render::{self, Audience};
use super::wire::{AdBreakAnswer, AdBreakRequestBody, WarningBody};
use crate::assets::UrlSigner;
use crate::catalog::CatalogPublisher;
use crate::clock::Clock;
use crate::http::auth;
use crate::http::client::Senders;
use crate::http::problem::{FieldError, Problem, unread};
use crate::impressions::invalid::SenderRules;
use crate::impressions::{ListenerSecret, ListenerSubject, TruncatedIp};
use crate::model::{Actor, AppKey, Role};
use crate::roles::api_keys::LiveKeys;
use crate::roles::beacon::BeaconShell;
use crate::roles::decision::{AnsweredBreak, Asking, DecisionShell, Explain, Origin};
use crate::roles::listeners::ListenerAccess;
use crate::telemetry::{Metric, Metrics};

/// The app as which operators ask who try things out.
pub const OPERATOR_APP: &str = "operator";

/// What the player's side is made of.
#[derive(Debug)]
pub struct Player {
    /// Answers breaks.
    pub decisions: DecisionShell,
    /// Hears beacons.
    pub beacons: BeaconShell,
    /// Tells who sent a request.
    pub senders: Senders,
    /// Tells which senders are no listeners.
    pub sender_rules: Arc<SenderRules>,
    /// Where clicks lead.
    pub catalog: Arc<CatalogPublisher>,
    /// The listeners, to forget one.
    pub listeners: ListenerAccess,
    /// Makes keys of raw listener ids.
    pub listener_secret: ListenerSecret,
    /// Whose keys open what.
    pub api_keys: LiveKeys,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// The beginning of tracking URLs, without a slash at its end.
    pub public_url: String,
    /// Signs URLs of files that Segue keeps.
    pub signer: UrlSigner,
}

/// Mounts the player's side.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/v1/ad-breaks").route(web::post().to(post_ad_break)))
        .service(web::resource("/v1/listeners/{id}").route(web::delete().to(delete_listener)));
}

/// Ask for the ads of one break.
///
/// Only `request_id`, `listener` and `break` are required. A bad or unknown optional field costs a warning, never the ads. A listener never gets an
/// error where an empty pod will do.
#[utoipa::path(
    post,
    path = "/v1/ad-breaks",
    tag = "player",
    request_body = AdBreakRequestBody,
    responses(
        (status = 200, description = "The ads, or why there are none.", body = AdBreakAnswer),
        (status = 400, description = "Not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid key.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key may not ask for this.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A required field does not fit.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(crate) async fn post_ad_break(
    http: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    let actor = auth::authenticate_player(&http, &player.api_keys.load())?;
    let body = body.map_err(|error| unread(&error))?;
    let (body, mut warnings) = parse::parse(&body).map_err(not_parsed)?;
    let explain = operators_only(&actor, &body)?;
    let asker = Asker { network_id: actor.network_id, app: app_of(&actor) };
    let key = |network_id, subject: ListenerSubject<'_>| player.listener_secret.key(network_id, subject);
    let request = convert::to_request(body, asker, key, &mut warnings)
        .map_err(|error| Problem::invalid(vec![field_error(error.path, error.code, &error.message)]))?;
    count_warnings(&player.metrics, &warnings);
    let sees_prices = actor.role == Role::Operator;
    let sender = player.senders.sender(&http);
    let origin = if sees_prices { Origin::Operator } else { Origin::Player(sender.address.map(TruncatedIp::of)) };
    let (request_id, formats) = (request.request_id.clone(), request.spec.formats.clone());
    let render = |answered: &AnsweredBreak| {
        let public_url = player.public_url.as_str();
        let (signer, now) = (&player.signer, player.clock.now().wall);
        let audience = Audience { request_id: &request_id, formats: &formats, public_url, sees_prices, signer, now };
        let answer = render::answer(answered, audience, warnings.clone());
        serde_json::to_vec(&answer).expect("an answer is a plain JSON value")
    };
    let asking = Asking { explain, trace_id: None, origin, invalid: player.sender_rules.judge(sender) };
    let answer = player.decisions.answer(request, asking, &render).await;
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

/// Forget a listener.
///
/// Their state is deleted, and with it the pseudonym that their events are under: from then on those are nobody's. Answered 204 whether or not
/// anything was known.
#[utoipa::path(
    delete,
    path = "/v1/listeners/{id}",
    tag = "player",
    params(("id" = String, Path, description = "The listener's id as the player knows it.")),
    responses(
        (status = 204, description = "Forgotten."),
        (status = 401, description = "No valid key.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key may not do this.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a listener's id.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not deleted; ask again.", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(crate) async fn delete_listener(
    http: HttpRequest,
    id: web::Path<String>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    let actor = auth::authenticate_player(&http, &player.api_keys.load())?;
    if !(1..=convert::LISTENER_ID_MAX_LEN).contains(&id.len()) {
        return Err(Problem::invalid(vec![field_error("id", "wrong_length", "expected 1 to 256 bytes")]));
    }
    let key = player.listener_secret.key(actor.network_id, ListenerSubject::Listener(&id));
    player.listeners.forget(key, player.clock.now().wall).await.map_err(|error| {
        tracing::error!(%error, "a listener could not be forgotten");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_deleted",
            "the listener's rows could not be deleted; ask again",
        )
    })?;
    Ok(HttpResponse::NoContent().finish())
}

/// Explaining and previewing are for operators.
fn operators_only(actor: &Actor, body: &AdBreakRequestBody) -> Result<Explain, Problem> {
    let explain = body.explain == Some(true);
    let is_operator = actor.role == Role::Operator;
    match (explain, body.preview.is_some()) {
        (true, _) if !is_operator => Err(Problem::forbidden("explain needs an operator's key")),
        (_, true) if !is_operator => Err(Problem::forbidden("preview needs an operator's key")),
        (true, _) => Ok(Explain::Yes),
        (false, _) => Ok(Explain::No),
    }
}

/// The app that asks. An operator who tries things out asks as [`OPERATOR_APP`].
fn app_of(actor: &Actor) -> AppKey {
    match &actor.role {
        Role::App(app) => app.clone(),
        Role::Operator | Role::Advertiser(_) | Role::Viewer => {
            AppKey::new(OPERATOR_APP).expect("a plain word is a key")
        }
    }
}

fn not_parsed(error: ParseError) -> Problem {
    match error {
        ParseError::NotJson(message) => Problem::new(StatusCode::BAD_REQUEST, "not_json", message),
        ParseError::Field { path, code, message } => Problem::invalid(vec![field_error(&path, code, &message)]),
    }
}

fn field_error(path: &str, code: &str, message: &str) -> FieldError {
    FieldError { path: path.to_owned(), code: code.to_owned(), message: message.to_owned() }
}

fn count_warnings(metrics: &Metrics, warnings: &[WarningBody]) {
    for warning in warnings {
        metrics.add_labelled(Metric::InputWarnings, &[parse::known_code(&warning.code)], 1);
    }
}
