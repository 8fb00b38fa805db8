//! Reports: `GET /v1/reports`, delivery by line item and hour, and balances by level.
//!
//! Read from the ledger as of accounting's last commit, a fraction of a second ago. Operators and viewers see their network, advertisers
//! their own; what is not theirs is as if it were not there.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth;
use super::problem::{FieldError, Problem};
use crate::accounting::{Balance, DeliveryKey, DeliveryTotals, LevelId};
use crate::catalog::{Entity, EntityId};
use crate::clock::Clock;
use crate::model::{Actor, AdvertiserId, LineItemId, Micros, Role, WallMs};
use crate::roles::campaign::CampaignHandle;
use crate::store::{DeliveryRange, LedgerReader, ReadsLedger as _};
use crate::telemetry::{Metric, Metrics};

/// Most rows of a report; beyond, it says that it is cut and a shorter time or one line item is to be asked for.
pub const REPORT_ROWS_MAX: usize = 10_000;
/// Longest time that a report covers, in milliseconds: 92 days.
pub const REPORT_SPAN_MS_MAX: i64 = 92 * 86_400_000;
/// Time that a report covers when it is not said: a day.
const REPORT_SPAN_MS_DEFAULT: i64 = 86_400_000;

/// What the handler needs.
#[derive(Clone)]
pub struct ReportsApi {
    /// Keys, and whose a line item is.
    pub campaigns: CampaignHandle,
    /// The books.
    pub ledger: LedgerReader,
    /// Reads time, once a request.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
}

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// First moment, RFC 3339; counts from the start of its hour. A day before `to` when absent.
    pub from: Option<String>,
    /// First moment after, RFC 3339; its hour is in the report if it has begun. Now when absent.
    pub to: Option<String>,
    /// One line item; all of them when absent.
    pub line_item_id: Option<String>,
    /// `line_item_hour` (the default), `line_item`, `hour` or `total`.
    pub group_by: Option<String>,
}

/// What a row of the report stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GroupBy {
    LineItemHour,
    LineItem,
    Hour,
    Total,
}

/// Delivery and balances.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportDocument {
    /// First hour, RFC 3339.
    pub from: String,
    /// First moment after, RFC 3339.
    pub to: String,
    /// Delivery. Hours are those of the decision.
    pub rows: Vec<ReportRow>,
    /// Whether there would be more rows.
    pub is_cut: bool,
    /// Balances by level, as they are now.
    pub balances: Vec<BalanceRow>,
}

/// Delivery of a line item, an hour, both or all.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportRow {
    /// The line item, where rows are by line item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_item_id: Option<String>,
    /// Start of the hour, RFC 3339, where rows are by hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    /// Ads that started.
    pub starts: i64,
    /// Ads that were heard, billed or not.
    pub impressions: i64,
    /// Ads played to the end.
    pub completes: i64,
    /// Ads clicked.
    pub clicks: i64,
    /// Ads given up before they were played.
    pub voids: i64,
    /// Impressions billed.
    pub billed_impressions: i64,
    /// What was billed, in micros.
    pub billed_micros: i64,
    /// Impressions heard and not billed, by reason.
    pub unbilled: BTreeMap<String, i64>,
}

/// The money of a level.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceRow {
    /// `advertiser`, `campaign` or `line_item`.
    pub level: String,
    /// Its id.
    pub id: String,
    /// The day in its zone (ISO 8601) of which the row is; absent where it is of the whole life. There are rows of days where there is a daily budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Lifetime or daily budget in micros; absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_micros: Option<i64>,
    /// Billed, in micros.
    pub settled_micros: i64,
    /// Impressions billed.
    pub settled_impressions: u64,
    /// Held by open leases, in micros: counts as spent until they are closed.
    pub open_leases_micros: i64,
    /// Budget less billed less held; absent without a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_micros: Option<i64>,
}

/// Mounts the reports.
pub fn configure(api: ReportsApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(Data::new(api)).service(web::resource("/v1/reports").route(web::get().to(get_report)));
    }
}

/// Delivery by line item and hour, and balances by level.
///
/// For operators and viewers: the network. For advertisers: their own.
#[utoipa::path(
    get,
    path = "/v1/reports",
    tag = "reports",
    params(ReportQuery),
    responses(
        (status = 200, description = "The report.", body = ReportDocument),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such line item.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_report(
    request: HttpRequest,
    query: Result<Query<ReportQuery>, actix_web::Error>,
    api: Data<ReportsApi>,
) -> Result<HttpResponse, Problem> {
    let answer = report(&request, query, &api).await;
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

async fn report(
    request: &HttpRequest,
    query: Result<Query<ReportQuery>, actix_web::Error>,
    api: &ReportsApi,
) -> Result<HttpResponse, Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if matches!(actor.role, Role::App(_)) {
        return Err(Problem::forbidden("reports are not for an app's key"));
    }
    let query = query.map_err(|error| Problem::invalid(vec![FieldError::new("", "invalid", error.to_string())]))?;
    let (range, group_by) = parse(&query, api.clock.now().wall)?;
    if let Some(id) = range.line_item_id
        && !is_visible(api, &actor, EntityId::LineItem(id))
    {
        return Err(Problem::not_found());
    }
    let api = api.clone();
    // Reads of the store block.
    web::block(move || read(&api, &actor, range, group_by))
        .await
        .map_err(|_| unavailable())?
        .map(|document| HttpResponse::Ok().json(document))
}

pub(super) fn unavailable() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the books can't be read now; try again")
}

fn parse(query: &ReportQuery, now: WallMs) -> Result<(DeliveryRange, GroupBy), Problem> {
    let mut errors = Vec::new();
    let mut time = |path: &str, text: Option<&str>| {
        let parsed = text.map(|text| text.parse::<jiff::Timestamp>().map(|at| WallMs(at.as_millisecond())));
        parsed.transpose().unwrap_or_else(|_| {
            errors.push(FieldError::new(path, "not_a_time", "expected RFC 3339, such as 2026-01-31T12:00:00Z"));
            None
        })
    };
    let to = time("to", query.to.as_deref()).unwrap_or(now);
    let from = time("from", query.from.as_deref()).unwrap_or(to.plus_ms(-REPORT_SPAN_MS_DEFAULT)).hour_start();
    let line_item_id =
        query.line_item_id.as_deref().map(str::parse::<LineItemId>).transpose().unwrap_or_else(|error| {
            errors.push(FieldError::new("line_item_id", "not_an_id", error.to_string()));
            None
        });
    let group_by = match query.group_by.as_deref() {
        None | Some("line_item_hour") => GroupBy::LineItemHour,
        Some("line_item") => GroupBy::LineItem,
        Some("hour") => GroupBy::Hour,
        Some("total") => GroupBy::Total,
        Some(_) => {
            errors.push(FieldError::new("group_by", "unknown", "expected line_item_hour, line_item, hour or total"));
            GroupBy::Total
        }
    };
    if from >= to {
        errors.push(FieldError::new("to", "not_after_from", "must be after from"));
    } else if to.since(from) > REPORT_SPAN_MS_MAX {
        errors.push(FieldError::new("from", "too_long", "a report covers at most 92 days"));
    }
    if errors.is_empty() {
        Ok((DeliveryRange { line_item_id, from, to }, group_by))
    } else {
        Err(Problem::invalid(errors))
    }
}

/// Whether the entity is one of the actor's network, and of its advertiser where the key is an advertiser's. Archived ones are.
pub(super) fn is_visible(api: &ReportsApi, actor: &Actor, id: EntityId) -> bool {
    api.campaigns.read(|state| {
        let owner = state.get(id).and_then(|revision| match &revision.entity {
            Entity::Advertiser(advertiser) => Some((advertiser.network_id, advertiser.id)),
            Entity::Campaign(campaign) => Some((campaign.network_id, campaign.advertiser_id)),
            Entity::LineItem(line) => Some((line.network_id, line.advertiser_id)),
            Entity::Network(_) | Entity::Creative(_) => None,
        });
        owner.is_some_and(|(network_id, advertiser_id)| {
            network_id == actor.network_id
                && match &actor.role {
                    Role::Operator | Role::Viewer => true,
                    Role::Advertiser(own) => *own == advertiser_id,
                    Role::App(_) => false,
                }
        })
    })
}

fn read(api: &ReportsApi, actor: &Actor, range: DeliveryRange, group_by: GroupBy) -> Result<ReportDocument, Problem> {
    let groups = grouped(api, actor, range, group_by)?;
    let is_cut = groups.len() > REPORT_ROWS_MAX;
    let rows =
        groups.into_iter().take(REPORT_ROWS_MAX).map(|((line_item_id, hour), totals)| row(line_item_id, hour, &totals));
    Ok(ReportDocument {
        from: range.from.to_rfc3339(),
        to: range.to.to_rfc3339(),
        rows: rows.collect(),
        is_cut,
        balances: balances(api, actor, range.line_item_id).map_err(|error| unreadable(&error))?,
    })
}

/// Delivery by hour as the report with `group_by=hour` has it. Blocks its thread.
///
/// # Errors
/// A [`Problem`] where the books can't be read.
pub(super) fn by_hour(
    api: &ReportsApi,
    actor: &Actor,
    range: DeliveryRange,
) -> Result<BTreeMap<WallMs, DeliveryTotals>, Problem> {
    let groups = grouped(api, actor, range, GroupBy::Hour)?;
    Ok(groups.into_iter().filter_map(|((_, hour), totals)| Some((hour?, totals))).collect())
}

fn unreadable(error: &crate::store::StoreError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a report can't read the ledger");
    unavailable()
}

type Groups = BTreeMap<(Option<LineItemId>, Option<WallMs>), DeliveryTotals>;

fn grouped(api: &ReportsApi, actor: &Actor, range: DeliveryRange, group_by: GroupBy) -> Result<Groups, Problem> {
    let found = api.ledger.delivery(range, usize::MAX).map_err(|error| unreadable(&error))?;
    let mut visible = BTreeMap::new();
    let mut groups = Groups::new();
    for (DeliveryKey { line_item_id, hour }, totals) in found {
        let shown =
            *visible.entry(line_item_id).or_insert_with(|| is_visible(api, actor, EntityId::LineItem(line_item_id)));
        if !shown {
            continue;
        }
        let group = match group_by {
            GroupBy::LineItemHour => (Some(line_item_id), Some(hour)),
            GroupBy::LineItem => (Some(line_item_id), None),
            GroupBy::Hour => (None, Some(hour)),
            GroupBy::Total => (None, None),
        };
        groups.entry(group).or_default().add(&totals);
    }
    Ok(groups)
}

fn row(line_item_id: Option<LineItemId>, hour: Option<WallMs>, totals: &DeliveryTotals) -> ReportRow {
    ReportRow {
        line_item_id: line_item_id.map(|id| id.to_string()),
        hour: hour.map(WallMs::to_rfc3339),
        starts: totals.starts,
        impressions: totals.impressions,
        completes: totals.completes,
        clicks: totals.clicks,
        voids: totals.voids,
        billed_impressions: totals.billed,
        billed_micros: totals.billed_micros.0,
        unbilled: totals.unbilled.iter().map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
    }
}

/// The balances that the actor may see: of one line item and the levels above it, or of all.
fn balances(
    api: &ReportsApi,
    actor: &Actor,
    line_item_id: Option<LineItemId>,
) -> Result<Vec<BalanceRow>, crate::store::StoreError> {
    let line = line_item_id.and_then(|id| {
        api.campaigns.read(|state| match state.get(EntityId::LineItem(id)).map(|revision| &revision.entity) {
            Some(Entity::LineItem(line)) => Some((line.id, line.campaign_id, line.advertiser_id)),
            Some(Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_)) | None => None,
        })
    });
    let own: Option<AdvertiserId> = match (&actor.role, line) {
        (_, Some((_, _, advertiser_id))) => Some(advertiser_id),
        (Role::Advertiser(own), None) => Some(*own),
        (Role::Operator | Role::Viewer | Role::App(_), None) => None,
    };
    let rows = own.map_or_else(|| api.ledger.balances(), |id| api.ledger.balances_of(id))?;
    let asked = |level: LevelId| {
        line.is_none_or(|(line_item_id, campaign_id, advertiser_id)| match level {
            LevelId::Advertiser(id) | LevelId::AdvertiserDay(id, _) => id == advertiser_id,
            LevelId::Campaign(id) | LevelId::CampaignDay(id, _) => id == campaign_id,
            LevelId::LineItem(id) | LevelId::LineItemDay(id, _) => id == line_item_id,
        })
    };
    let shown = rows.into_iter().filter(|(_, level, _)| asked(*level) && is_visible(api, actor, entity_of(*level)));
    Ok(shown.filter_map(|(_, level, balance)| balance_row(api, level, balance)).take(REPORT_ROWS_MAX).collect())
}

fn entity_of(level: LevelId) -> EntityId {
    match level {
        LevelId::Advertiser(id) | LevelId::AdvertiserDay(id, _) => EntityId::Advertiser(id),
        LevelId::Campaign(id) | LevelId::CampaignDay(id, _) => EntityId::Campaign(id),
        LevelId::LineItem(id) | LevelId::LineItemDay(id, _) => EntityId::LineItem(id),
    }
}

/// The row of a level; none of a day where there is no daily budget.
fn balance_row(api: &ReportsApi, level: LevelId, balance: Balance) -> Option<BalanceRow> {
    let budget = api.campaigns.read(|state| {
        state.get(entity_of(level)).and_then(|revision| match &revision.entity {
            Entity::Advertiser(advertiser) => Some(advertiser.budget),
            Entity::Campaign(campaign) => Some(campaign.budget),
            Entity::LineItem(line) => Some(line.budget),
            Entity::Network(_) | Entity::Creative(_) => None,
        })
    });
    let (name, id) = match level {
        LevelId::Advertiser(id) | LevelId::AdvertiserDay(id, _) => ("advertiser", id.to_string()),
        LevelId::Campaign(id) | LevelId::CampaignDay(id, _) => ("campaign", id.to_string()),
        LevelId::LineItem(id) | LevelId::LineItemDay(id, _) => ("line_item", id.to_string()),
    };
    let budget: Option<Micros> = match level.day() {
        Some(_) => Some(budget?.daily?),
        None => budget.and_then(|budget| budget.lifetime),
    };
    Some(BalanceRow {
        level: name.to_owned(),
        id,
        day: level.day().map(|day| day.to_string()),
        budget_micros: budget.map(|budget| budget.0),
        settled_micros: balance.settled.0,
        settled_impressions: balance.settled_count,
        open_leases_micros: balance.open.0,
        // Negative when the budget was lowered below what is spent or held.
        available_micros: budget.map(|budget| budget.0.saturating_sub(balance.committed().0)),
    })
}

#[cfg(test)]
pub(super) mod tests;
