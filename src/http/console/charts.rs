//! Delivery by hour beside its plan, as points and as a picture: `GET /console/charts/delivery.json` and `.svg`.
//!
//! The points are the report's by hour and the plan's of [`plan`]. The picture is for eyes; the page puts the points beside it as a table.

use actix_web::web::{Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::plan::{self, Unit};
use crate::catalog::{Entity, EntityId};
use crate::http::problem::{FieldError, Problem};
use crate::http::reports::{self, ReportsApi};
use crate::http::{auth, campaigns};
use crate::model::{Actor, LineItemId, Role, WallMs};
use crate::store::DeliveryRange;
use crate::telemetry::Metric;

mod draw;

/// An hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// Hours shown when it is not said.
const HOURS_DEFAULT: u16 = 24;
/// Most hours shown: two weeks; more bars than that can't be told apart.
const HOURS_MAX: u16 = 336;

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ChartQuery {
    /// One line item; the whole network, in money, when absent.
    pub line_item_id: Option<String>,
    /// How many hours, up to the one that is on now: 1 to 336, 24 when absent.
    pub hours: Option<String>,
    /// For the picture: `light` (the default) or `dark`.
    pub theme: Option<String>,
}

/// Colours of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Theme {
    Light,
    Dark,
}

/// Delivery by hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryPoints {
    /// What is counted: `impressions` (billed; of the house tier those heard) or `micros` (billed).
    pub unit: &'static str,
    /// ISO 4217 code of the money, where the unit is micros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Hours without a gap, oldest first. The last one is not over yet.
    pub points: Vec<DeliveryPoint>,
}

/// An hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryPoint {
    /// Its start, RFC 3339.
    pub hour: String,
    /// Delivered in it; hours are those of the decision.
    pub delivered: i64,
    /// What the plan asks for in it; absent without a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<i64>,
}

/// Mounts the charts.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(web::resource("/console/charts/delivery.json").route(web::get().to(get_delivery_points)))
        .service(web::resource("/console/charts/delivery.svg").route(web::get().to(get_delivery_chart)));
}

/// Delivery by hour beside its plan, as points.
///
/// For operators and viewers: the network. For advertisers: their own.
#[utoipa::path(
    get,
    path = "/console/charts/delivery.json",
    tag = "reports",
    params(ChartQuery),
    responses(
        (status = 200, description = "The points.", body = DeliveryPoints),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such line item.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_delivery_points(
    request: HttpRequest,
    query: Result<Query<ChartQuery>, actix_web::Error>,
    api: Data<ReportsApi>,
) -> Result<HttpResponse, Problem> {
    let (points, _) = counted(&api, points(&request, query, &api).await)?;
    Ok(HttpResponse::Ok().json(points))
}

/// Delivery by hour beside its plan, as a picture.
///
/// For operators and viewers: the network. For advertisers: their own.
#[utoipa::path(
    get,
    path = "/console/charts/delivery.svg",
    tag = "reports",
    params(ChartQuery),
    responses(
        (status = 200, description = "The picture.", body = String, content_type = "image/svg+xml"),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such line item.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_delivery_chart(
    request: HttpRequest,
    query: Result<Query<ChartQuery>, actix_web::Error>,
    api: Data<ReportsApi>,
) -> Result<HttpResponse, Problem> {
    let (points, theme) = counted(&api, points(&request, query, &api).await)?;
    let svg = draw::delivery(&points, theme).map_err(|reason| {
        tracing::error!(reason, "a chart can't be drawn");
        campaigns::internal()
    })?;
    Ok(HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(svg))
}

fn counted<T>(api: &ReportsApi, answer: Result<T, Problem>) -> Result<T, Problem> {
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

/// What to show, from `from` on and before `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    line_item_id: Option<LineItemId>,
    hours: u16,
    theme: Theme,
}

fn parse(query: &ChartQuery) -> Result<Asked, Problem> {
    let mut errors = Vec::new();
    let line_item_id = query.line_item_id.as_deref().map(str::parse::<LineItemId>).transpose();
    let line_item_id = line_item_id.unwrap_or_else(|error| {
        errors.push(FieldError::new("line_item_id", "not_an_id", error.to_string()));
        None
    });
    let hours = query.hours.as_deref().map_or(Some(HOURS_DEFAULT), |text| text.parse().ok());
    let hours = hours.filter(|hours| (1..=HOURS_MAX).contains(hours)).unwrap_or_else(|| {
        errors.push(FieldError::new("hours", "out_of_range", format!("1 to {HOURS_MAX}")));
        HOURS_DEFAULT
    });
    let theme = match query.theme.as_deref() {
        None | Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        Some(_) => {
            errors.push(FieldError::new("theme", "unknown_value", "light or dark"));
            Theme::Light
        }
    };
    if errors.is_empty() { Ok(Asked { line_item_id, hours, theme }) } else { Err(Problem::invalid(errors)) }
}

async fn points(
    request: &HttpRequest,
    query: Result<Query<ChartQuery>, actix_web::Error>,
    api: &ReportsApi,
) -> Result<(DeliveryPoints, Theme), Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if matches!(actor.role, Role::App(_)) {
        return Err(Problem::forbidden("charts are not for an app's key"));
    }
    let query = query.map_err(|error| Problem::invalid(vec![FieldError::new("", "invalid", error.to_string())]))?;
    let asked = parse(&query)?;
    let now = api.clock.now().wall;
    let api = api.clone();
    // Reads of the store block.
    let points = web::block(move || read(&api, &actor, asked, now)).await.map_err(|_| reports::unavailable())??;
    Ok((points, asked.theme))
}

fn read(api: &ReportsApi, actor: &Actor, asked: Asked, now: WallMs) -> Result<DeliveryPoints, Problem> {
    let last = now.hour_start();
    let hours = (0..i64::from(asked.hours)).rev().map(|back| last.plus_ms(-back * HOUR_MS));
    let hours: Vec<(WallMs, WallMs)> = hours.map(|hour| (hour, hour.plus_ms(HOUR_MS))).collect();
    let (unit, planned) = match asked.line_item_id {
        Some(id) => planned_of_line_item(api, actor, id, &hours)?,
        None => planned_of_network(api, actor, &hours),
    };
    let from = hours.first().map_or(last, |(from, _)| *from);
    let range = DeliveryRange { line_item_id: asked.line_item_id, from, to: last.plus_ms(HOUR_MS) };
    let delivered = reports::by_hour(api, actor, range)?;
    let point = |(&(hour, _), planned): (&(WallMs, WallMs), Option<i64>)| {
        let totals = delivered.get(&hour);
        let delivered = totals.map_or(0, |totals| match unit {
            Counted::Impressions => totals.billed,
            Counted::Heard => totals.impressions,
            Counted::Micros => totals.billed_micros.0,
        });
        DeliveryPoint { hour: hour.to_rfc3339(), delivered, planned }
    };
    let is_money = unit == Counted::Micros;
    let currency = if is_money { currency(api, actor) } else { None };
    let unit = if is_money { "micros" } else { "impressions" };
    let points = hours.iter().zip(planned).map(point);
    Ok(DeliveryPoints { unit, currency, points: points.collect() })
}

/// The one currency of the actor's network.
fn currency(api: &ReportsApi, actor: &Actor) -> Option<String> {
    api.campaigns.read(|state| match &state.get(EntityId::Network(actor.network_id))?.entity {
        Entity::Network(network) => Some(network.currency.clone()),
        Entity::Advertiser(_) | Entity::Campaign(_) | Entity::LineItem(_) | Entity::Creative(_) => None,
    })
}

/// What is counted as delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    /// Billed impressions.
    Impressions,
    /// Impressions heard: of the house tier, of which nothing is billed.
    Heard,
    /// Billed micros.
    Micros,
}

fn planned_of_line_item(
    api: &ReportsApi,
    actor: &Actor,
    id: LineItemId,
    hours: &[(WallMs, WallMs)],
) -> Result<(Counted, Vec<Option<i64>>), Problem> {
    if !reports::is_visible(api, actor, EntityId::LineItem(id)) {
        return Err(Problem::not_found());
    }
    let found = api.campaigns.read(|state| match &state.get(EntityId::LineItem(id))?.entity {
        Entity::LineItem(line) => Some((plan::of_line_item(line), line.tier)),
        Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
    });
    let ((unit, plan), tier) = found.ok_or_else(Problem::not_found)?;
    let counted = match unit {
        Unit::Impressions if tier == crate::model::Tier::House => Counted::Heard,
        Unit::Impressions => Counted::Impressions,
        Unit::Micros => Counted::Micros,
    };
    let planned = |&(from, to): &(WallMs, WallMs)| plan.map(|plan| plan::between(&plan, from, to));
    Ok((counted, hours.iter().map(planned).collect()))
}

/// The plan of a whole network is for those who see all of it.
fn planned_of_network(api: &ReportsApi, actor: &Actor, hours: &[(WallMs, WallMs)]) -> (Counted, Vec<Option<i64>>) {
    let planned = match actor.role {
        Role::Operator | Role::Viewer => {
            let (sums, _) = plan::of_network(&api.campaigns, actor.network_id, hours);
            sums.into_iter().map(Some).collect()
        }
        Role::Advertiser(_) | Role::App(_) => vec![None; hours.len()],
    };
    (Counted::Micros, planned)
}

#[cfg(test)]
mod tests;
