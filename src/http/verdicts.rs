//! Verdicts on traffic: `POST /v1/invalid-traffic`. An operator names impressions, or a listener's pseudonym and a time; what was charged for them is
//! taken back by new entries of the ledger. To say it again changes nothing.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth;
use super::problem::{FieldError, Problem};
use crate::accounting::verdict::{Claim, VERDICT_IMPRESSIONS_MAX};
use crate::catalog::{Entity, EntityId};
use crate::clock::Clock;
use crate::model::{Day, ImpressionId, InvalidTraffic, Pseudonym, Role, WallMs};
use crate::roles::campaign::CampaignHandle;
use crate::roles::verdicts::{Judged, VerdictError, Verdicts};
use crate::telemetry::{Metric, Metrics};

/// Longest time of a claim about a listener, in milliseconds: a day of the log is read in seconds.
const CLAIM_SPAN_MS_MAX: i64 = 86_400_000;

/// What the handler needs.
#[derive(Clone)]
pub struct VerdictsApi {
    /// Keys, and advertisers' zones.
    pub campaigns: CampaignHandle,
    /// Searches and appends.
    pub verdicts: Verdicts,
    /// Reads time, once a request.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
}

/// A verdict: either `impressions`, or `pseudonym` with `from` and `to`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = InvalidTrafficVerdict)]
#[serde(deny_unknown_fields)]
pub struct VerdictDocument {
    /// Names of impressions as events have them: a lease's id, a slash, and a number. 1 to 1,000.
    #[serde(default)]
    pub impressions: Option<Vec<String>>,
    /// A listener's pseudonym as events have it: 32 hexadecimal digits.
    #[serde(default)]
    pub pseudonym: Option<String>,
    /// First moment of the decisions that it is about, RFC 3339.
    #[serde(default)]
    pub from: Option<String>,
    /// First moment after, RFC 3339; at most a day after `from`.
    #[serde(default)]
    pub to: Option<String>,
    /// `robot`, `data_centre`, `impossible_activity`, `listener_rate`, `address_rate` or `reported` (the default).
    #[serde(default)]
    pub reason: Option<String>,
}

/// What becomes of each impression.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvalidTrafficAnswer)]
pub struct VerdictAnswer {
    /// How many charges are taken back.
    pub reversed: usize,
    /// What is taken back, in micros.
    pub reversed_micros: i64,
    /// Each impression.
    pub impressions: Vec<JudgedDocument>,
}

/// What becomes of an impression.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvalidTrafficJudged)]
pub struct JudgedDocument {
    /// Its name.
    pub impression: String,
    /// `reversed`, or why not: `unknown`, `not_charged`, `already_reversed`, `too_old`.
    pub outcome: &'static str,
    /// What had been charged, where it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_micros: Option<i64>,
}

/// Mounts the route.
pub fn configure(api: VerdictsApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(api))
            .service(web::resource("/v1/invalid-traffic").route(web::post().to(post_verdict)));
    }
}

/// Takes back what was charged for invalid traffic, within seven days of the decision.
///
/// For operators. The reversals are on disk when this is answered, and in the books a moment later.
#[utoipa::path(
    post,
    path = "/v1/invalid-traffic",
    tag = "reports",
    request_body = VerdictDocument,
    responses(
        (status = 200, description = "What becomes of each impression.", body = VerdictAnswer),
        (status = 400, description = "Not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an operator's key.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is wrong, or it is about too much.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another verdict is being judged, or the log can't be used.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_verdict(
    request: HttpRequest,
    body: Bytes,
    api: Data<VerdictsApi>,
) -> Result<HttpResponse, Problem> {
    let answer = answer(&request, &body, &api).await;
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

async fn answer(request: &HttpRequest, body: &[u8], api: &VerdictsApi) -> Result<HttpResponse, Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if actor.role != Role::Operator {
        return Err(Problem::forbidden("verdicts are an operator's"));
    }
    let document: VerdictDocument = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(vec![FieldError::new("", "invalid", error.to_string())]),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            Problem::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
        }
    })?;
    let (claim, reason) = read(&document).map_err(Problem::invalid)?;
    let (api, now) = (api.clone(), api.clock.now().wall);
    // The search reads the log and blocks.
    let judged = web::block(move || {
        let today = |id| {
            api.campaigns.read(|state| match state.get(EntityId::Advertiser(id)).map(|it| &it.entity) {
                Some(Entity::Advertiser(advertiser)) => advertiser.zone.day(now),
                Some(Entity::Network(_) | Entity::Campaign(_) | Entity::LineItem(_) | Entity::Creative(_)) | None => {
                    Day::utc_of(now)
                }
            })
        };
        api.verdicts.say(claim, actor.network_id, reason, now, today)
    });
    let judged = judged.await.map_err(|_| unavailable())?.map_err(problem)?;
    Ok(HttpResponse::Ok().json(told(&judged)))
}

fn unavailable() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the log can't be used now; try again")
}

fn problem(error: VerdictError) -> Problem {
    match error {
        VerdictError::Busy => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "another verdict is being judged: try again in a moment",
        ),
        VerdictError::TooMany => Problem::invalid(vec![FieldError::new(
            "to",
            "too_many",
            format!("more than {VERDICT_IMPRESSIONS_MAX} impressions: name a shorter time"),
        )]),
        VerdictError::TooLong => Problem::invalid(vec![FieldError::new(
            "",
            "too_much",
            "the log has too many records since then: name a shorter time, or younger impressions",
        )]),
        error @ (VerdictError::Read(_)
        | VerdictError::Store(_)
        | VerdictError::Append(_)
        | VerdictError::Shared(_)
        | VerdictError::Silent) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a verdict can't be judged");
            unavailable()
        }
    }
}

/// The claim and the reason, or every field that is wrong.
fn read(document: &VerdictDocument) -> Result<(Claim, InvalidTraffic), Vec<FieldError>> {
    let mut errors = Vec::new();
    let reason = document.reason.as_deref().map_or(Some(InvalidTraffic::Reported), InvalidTraffic::named);
    if reason.is_none() {
        errors.push(FieldError::new("reason", "unknown", "expected the name of a kind of invalid traffic"));
    }
    let claim = match (&document.impressions, &document.pseudonym) {
        (Some(names), None) if document.from.is_none() && document.to.is_none() => impressions(names, &mut errors),
        (None, Some(pseudonym)) => listener(pseudonym, document, &mut errors),
        _ => {
            let message = "expected impressions, or a pseudonym with from and to";
            errors.push(FieldError::new("", "one_of", message));
            None
        }
    };
    match (claim, reason) {
        (Some(claim), Some(reason)) if errors.is_empty() => Ok((claim, reason)),
        _ => Err(errors),
    }
}

fn impressions(names: &[String], errors: &mut Vec<FieldError>) -> Option<Claim> {
    if names.is_empty() || names.len() > VERDICT_IMPRESSIONS_MAX {
        let message = format!("expected 1 to {VERDICT_IMPRESSIONS_MAX} impressions");
        errors.push(FieldError::new("impressions", "count", message));
        return None;
    }
    let mut ids = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        match impression(name) {
            Some(id) => drop(ids.insert(id)),
            None => errors.push(FieldError::new(
                format!("impressions[{place}]"),
                "not_an_impression",
                "expected a lease's id, a slash and a number",
            )),
        }
    }
    Some(Claim::Impressions(ids))
}

/// An impression's name, as it prints.
fn impression(name: &str) -> Option<ImpressionId> {
    let id = match (name.split_once('/'), name.split_once('#')) {
        (Some((lease, ordinal)), None) => {
            ImpressionId::Leased { lease_id: lease.parse().ok()?, ordinal: ordinal.parse().ok()? }
        }
        (None, Some((decision, slot))) => {
            ImpressionId::Unleased { decision_id: decision.parse().ok()?, slot: slot.parse().ok()? }
        }
        _ => return None,
    };
    // One thing, one spelling: no plus sign, no leading zero.
    (id.to_string() == name).then_some(id)
}

fn listener(pseudonym: &str, document: &VerdictDocument, errors: &mut Vec<FieldError>) -> Option<Claim> {
    let bytes = hex16(pseudonym);
    if bytes.is_none() {
        errors.push(FieldError::new("pseudonym", "not_a_pseudonym", "expected 32 hexadecimal digits"));
    }
    let mut time = |path: &str, text: Option<&String>| {
        let at = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if at.is_none() {
            errors.push(FieldError::new(path, "not_a_time", "expected RFC 3339, such as 2026-01-31T12:00:00Z"));
        }
        at.map(|at| WallMs(at.as_millisecond()))
    };
    let (from, to) = (time("from", document.from.as_ref())?, time("to", document.to.as_ref())?);
    if from >= to || to.since(from) > CLAIM_SPAN_MS_MAX {
        errors.push(FieldError::new("to", "span", "expected a time after from, and at most a day after it"));
    }
    Some(Claim::Listener { pseudonym: Pseudonym(bytes?), from, to })
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

fn told(judged: &Judged) -> VerdictAnswer {
    let taken_back = || judged.values().filter_map(|verdict| verdict.as_ref().ok());
    VerdictAnswer {
        reversed: taken_back().count(),
        // A sum for people: the entries are what counts.
        reversed_micros: taken_back().fold(0, |sum: i64, reversal| sum.saturating_add(reversal.price.0)),
        impressions: judged
            .iter()
            .map(|(id, verdict)| JudgedDocument {
                impression: id.to_string(),
                outcome: verdict.as_ref().map_or_else(|refusal| refusal.name(), |_| "reversed"),
                price_micros: verdict.as_ref().ok().map(|reversal| reversal.price.0),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
