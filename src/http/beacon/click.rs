//! Clicks that lead somewhere: `GET /v1/c/{token}`.
//!
//! The click is recorded as a beacon would be, and only then the listener is sent on. Where to stands in the catalogue, under the creative id
//! that the token seals; nothing else of the request is looked at (INV-34).

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};

use super::hear;
use crate::http::player::Player;
use crate::http::problem::Problem;
use crate::model::BeaconEvent;
use crate::roles::beacon::{NoDestination, destination};
use crate::telemetry::Metric;

/// Follow an ad's click.
///
/// The `click_url` of an ad leads here. The click is recorded, then the listener is sent to the creative's own URL. Where that leads nowhere (any
/// more), the click is recorded all the same.
#[utoipa::path(
    get,
    path = "/v1/c/{token}",
    tag = "player",
    params(("token" = String, Path, description = "The ad's sealed token.")),
    responses(
        (status = 302, description = "Recorded; on to the advertiser.", headers(("Location" = String, description = "The creative's click URL, its macros expanded."))),
        (status = 400, description = "Not a token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A token that was not sealed here.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Recorded; the creative leads nowhere.", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "Recorded; the creative was archived.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not on disk; try again.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_click(
    request: HttpRequest,
    token: web::Path<String>,
    player: web::Data<Player>,
) -> Result<HttpResponse, Problem> {
    let heard = hear(&request, (BeaconEvent::Click.name(), &token), None, &player).await?;
    let leads_to = {
        let snapshot = player.catalog.load();
        destination(snapshot.creative(heard.record.creative_id), &heard.record, heard.received_at)
    };
    let mut response = match leads_to {
        Ok(url) => HttpResponse::Found().insert_header((LOCATION, url)).finish(),
        Err(nowhere) => {
            player.metrics.add_labelled(Metric::HttpRefused, &[nowhere.name()], 1);
            Problem::new(status(nowhere), nowhere.name(), nowhere.to_string()).error_response()
        }
    };
    let headers = response.headers_mut();
    // A click is counted each time; and what page or app it came from, with its token, is not the advertiser's business.
    headers.insert(CACHE_CONTROL, "no-store".parse().expect("visible ASCII"));
    headers.insert(REFERRER_POLICY, "no-referrer".parse().expect("visible ASCII"));
    Ok(response)
}

const fn status(nowhere: NoDestination) -> StatusCode {
    match nowhere {
        NoDestination::Archived => StatusCode::GONE,
        NoDestination::UnknownCreative
        | NoDestination::NotApproved
        | NoDestination::NoClickUrl
        | NoDestination::Refused => StatusCode::NOT_FOUND,
    }
}
