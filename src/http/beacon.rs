//! Beacons: `GET|POST /v1/t/{event}/{token}`.
//!
//! The token is the right to report; no key is asked for. A beacon that was heard is answered 204, a second time too.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::network_of;
use super::player::Player;
use super::problem::Problem;
use crate::roles::beacon::{Beacon, BeaconFailure, BeaconRefusal};
use crate::telemetry::Metric;
use crate::tokens::TokenError;

/// What a player may add to a beacon.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BeaconQuery {
    /// How far into the ad the player was, in milliseconds.
    pub played_ms: Option<u32>,
}

/// Mounts the beacons.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/t/{event}/{token}").route(web::get().to(get_beacon)).route(web::post().to(post_beacon)),
    );
}

/// Report what became of an ad.
///
/// Put the event's name for `{event}` in the ad's `tracking_url`: `start`, `impression` (two audible seconds), `q1`, `mid`, `q3`, `complete`,
/// `skip`, `mute`, `unmute`, `click`, `error`, `void` or `not-used`. Send it again until it is answered 204; repeats do no harm.
#[utoipa::path(
    get,
    path = "/v1/t/{event}/{token}",
    tag = "player",
    params(
        ("event" = String, Path, description = "What happened."),
        ("token" = String, Path, description = "The ad's sealed token."),
        BeaconQuery
    ),
    responses(
        (status = 204, description = "Kept."),
        (status = 400, description = "Not a token, or not an event.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A token that was not sealed here.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not on disk; send it again.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_beacon(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    query: Option<web::Query<BeaconQuery>>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    hear(&request, &path, query, &player).await
}

/// Report what became of an ad, as a POST.
///
/// The same as GET, for players that prefer it. A body is not read.
#[utoipa::path(
    post,
    path = "/v1/t/{event}/{token}",
    tag = "player",
    params(
        ("event" = String, Path, description = "What happened."),
        ("token" = String, Path, description = "The ad's sealed token."),
        BeaconQuery
    ),
    responses(
        (status = 204, description = "Kept."),
        (status = 400, description = "Not a token, or not an event.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A token that was not sealed here.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not on disk; send it again.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_beacon(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    query: Option<web::Query<BeaconQuery>>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    hear(&request, &path, query, &player).await
}

async fn hear(
    request: &HttpRequest,
    (event, token): &(String, String),
    query: Option<web::Query<BeaconQuery>>,
    player: &Player,
) -> Result<HttpResponse, Problem> {
    // A bad optional parameter costs what it would have said, not the beacon.
    let played_ms = query.and_then(|query| query.played_ms);
    let truncated_ip = network_of(request);
    let heard = player.beacons.hear(Beacon { event, token, played_ms, truncated_ip, trace_id: None }).await;
    match heard {
        Ok(event) => {
            player.metrics.add_labelled(Metric::Beacons, &[event.name(), "204"], 1);
            Ok(HttpResponse::NoContent().finish())
        }
        Err(failure) => {
            let (status, code) = judged(&failure);
            player.metrics.add_labelled(Metric::HttpRefused, &[code], 1);
            Err(Problem::new(status, code, failure.to_string()))
        }
    }
}

/// Status and code of a beacon that was not heard.
fn judged(failure: &BeaconFailure) -> (StatusCode, &'static str) {
    match failure {
        BeaconFailure::Refused(BeaconRefusal::UnknownEvent) => (StatusCode::BAD_REQUEST, "unknown_event"),
        BeaconFailure::Refused(BeaconRefusal::Token(error)) => match error {
            TokenError::Malformed => (StatusCode::BAD_REQUEST, "token_malformed"),
            TokenError::UnsupportedVersion => (StatusCode::BAD_REQUEST, "token_unsupported_version"),
            TokenError::UnknownKey => (StatusCode::FORBIDDEN, "token_unknown_key"),
            TokenError::Forged => (StatusCode::FORBIDDEN, "token_forged"),
        },
        BeaconFailure::NotKept(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_kept"),
        BeaconFailure::TooSlow(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_kept_in_time"),
    }
}
