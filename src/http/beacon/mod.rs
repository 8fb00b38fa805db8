//! Beacons: `GET|POST /v1/t/{event}/{token}`, many at once in `batch`, clicks that lead somewhere in `click`.
//!
//! The token is the right to report; no key is asked for. A beacon that was heard is answered 204, a second time too.

mod batch;
mod click;
#[cfg(test)]
mod fuzz;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) use batch::__path_post_batch;
pub use batch::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, BatchAnswer, BatchEntryBody, BatchResult};
pub(super) use click::__path_get_click;

use super::player::Player;
use super::problem::Problem;
use crate::roles::beacon::{Beacon, BeaconFailure, BeaconRefusal, Heard};
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
    let one = web::resource("/v1/t/{event}/{token}");
    config
        .service(one.route(web::get().to(get_beacon)).route(web::post().to(post_beacon)))
        .service(
            web::resource("/v1/t")
                .app_data(web::PayloadConfig::new(BATCH_BYTES_MAX))
                .route(web::post().to(batch::post_batch)),
        )
        .service(web::resource("/v1/c/{token}").route(web::get().to(click::get_click)));
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
    // A bad optional parameter costs what it would have said, not the beacon.
    let played_ms = query.and_then(|query| query.played_ms);
    hear(&request, (&path.0, &path.1), played_ms, &player).await?;
    Ok(HttpResponse::NoContent().finish())
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
    // A bad optional parameter costs what it would have said, not the beacon.
    let played_ms = query.and_then(|query| query.played_ms);
    hear(&request, (&path.0, &path.1), played_ms, &player).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Hears one beacon, and counts what is answered.
async fn hear(
    request: &HttpRequest,
    (event, token): (&str, &str),
    played_ms: Option<u32>,
    player: &Player,
) -> Result<Heard, Problem> {
    let sender = player.senders.sender(request);
    let beacon = Beacon { event, token, played_ms, occurred_at: None, sender, trace_id: None };
    let mut heard = player.beacons.hear(&[beacon]).await.map_err(|failure| not_kept(&failure, player))?;
    let heard = heard.pop().expect("one beacon, one answer");
    heard.inspect(|heard| count_heard(heard, player)).map_err(|refusal| {
        let (status, code) = judged(refusal);
        player.metrics.add_labelled(Metric::HttpRefused, &[code], 1);
        Problem::new(status, code, refusal.to_string())
    })
}

fn count_heard(heard: &Heard, player: &Player) {
    player.metrics.add_labelled(Metric::Beacons, &[heard.event().name(), "204"], 1);
}

/// Status and code of a beacon that is none of ours.
fn judged(refusal: BeaconRefusal) -> (StatusCode, &'static str) {
    match refusal {
        BeaconRefusal::UnknownEvent => (StatusCode::BAD_REQUEST, "unknown_event"),
        BeaconRefusal::Token(error) => match error {
            TokenError::Malformed => (StatusCode::BAD_REQUEST, "token_malformed"),
            TokenError::UnsupportedVersion => (StatusCode::BAD_REQUEST, "token_unsupported_version"),
            TokenError::UnknownKey => (StatusCode::FORBIDDEN, "token_unknown_key"),
            TokenError::Forged => (StatusCode::FORBIDDEN, "token_forged"),
        },
    }
}

/// Nothing was acknowledged. To send it again helps, unless it is more than the journal takes at once: then in parts.
fn not_kept(failure: &BeaconFailure, player: &Player) -> Problem {
    let (status, code) = match failure {
        BeaconFailure::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        BeaconFailure::NotKept(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_kept"),
        BeaconFailure::TooSlow(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_kept_in_time"),
    };
    player.metrics.add_labelled(Metric::HttpRefused, &[code], 1);
    Problem::new(status, code, failure.to_string())
}
