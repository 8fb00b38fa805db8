//! Invoices: `GET /v1/invoices/{advertiser}/{month}`, as JSON or as a page to print.
//!
//! For operators and viewers of the network, and for the advertiser itself; to all others there is no such advertiser (INV-19).

pub mod document;
pub mod page;
#[cfg(test)]
mod tests;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};

use super::auth;
use super::problem::{FieldError, Problem};
use super::reports::ReportsApi;
use crate::accounting::invoice::{Invoice, Month};
use crate::catalog::{Entity, EntityId};
use crate::model::{Actor, AdvertiserId, Role};
use crate::roles::campaign::CatalogState;
use crate::roles::invoices::{self, InvoicingError, Party};
use crate::telemetry::Metric;
use document::InvoiceDocument;

/// Mounts the invoices. They need what reports need.
pub fn configure(api: ReportsApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(api))
            .service(web::resource("/v1/invoices/{advertiser}/{month}").route(web::get().to(get_invoice)));
    }
}

/// An advertiser's invoice of a month of its time zone.
///
/// JSON, or a page that prints on A4 for `Accept: text/html`. A draft until the month is over, every lease of it is closed and a
/// checkpoint has sealed it; a final one never changes.
#[utoipa::path(
    get,
    path = "/v1/invoices/{advertiser}/{month}",
    tag = "reports",
    params(
        ("advertiser" = String, Path, description = "The advertiser's id."),
        ("month" = String, Path, description = "Year and month, such as 2026-11."),
    ),
    responses(
        (status = 200, description = "The invoice.", content(
            (InvoiceDocument = "application/json"),
            (String = "text/html"),
        )),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such advertiser.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a month.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The books can't be read, or don't add up.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_invoice(
    request: HttpRequest,
    path: Path<(String, String)>,
    api: Data<ReportsApi>,
) -> Result<HttpResponse, Problem> {
    let answer = answer(&request, &path, &api).await;
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

async fn answer(request: &HttpRequest, path: &(String, String), api: &ReportsApi) -> Result<HttpResponse, Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if matches!(actor.role, Role::App(_)) {
        return Err(Problem::forbidden("invoices are not for an app's key"));
    }
    let month: Month = path
        .1
        .parse()
        .map_err(|error| Problem::invalid(vec![FieldError::new("month", "not_a_month", format!("{error}"))]))?;
    let party = path.0.parse().ok().and_then(|id| api.campaigns.read(|state| party(state, &actor, id)));
    let party = party.ok_or_else(Problem::not_found)?;
    let api = api.clone();
    // Reads of the store block.
    let made = web::block(move || make(&api, &party, month)).await.map_err(|_| unavailable())?;
    let invoice = made.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an invoice can't be made");
        unavailable()
    })?;
    Ok(if wants_page(request) {
        HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page::page(&invoice))
    } else {
        HttpResponse::Ok().json(InvoiceDocument::from(&invoice))
    })
}

fn make(api: &ReportsApi, party: &Party, month: Month) -> Result<Invoice, InvoicingError> {
    let named = |id| api.campaigns.read(|state| name_of(state, id));
    invoices::make(&api.ledger, party, month, |id| named(EntityId::Campaign(id)), |id| named(EntityId::LineItem(id)))
}

/// The advertiser and its network, if the actor may see it.
fn party(state: &CatalogState, actor: &Actor, id: AdvertiserId) -> Option<Party> {
    let Entity::Advertiser(advertiser) = &state.get(EntityId::Advertiser(id))?.entity else { return None };
    let Entity::Network(network) = &state.get(EntityId::Network(advertiser.network_id))?.entity else { return None };
    let is_visible = advertiser.network_id == actor.network_id
        && match &actor.role {
            Role::Operator | Role::Viewer => true,
            Role::Advertiser(own) => *own == id,
            Role::App(_) => false,
        };
    is_visible.then(|| Party { advertiser: advertiser.clone(), network: network.clone() })
}

/// What a campaign or line item is called.
#[must_use]
pub fn name_of(state: &CatalogState, id: EntityId) -> Option<String> {
    match &state.get(id)?.entity {
        Entity::Campaign(campaign) => Some(campaign.name.clone()),
        Entity::LineItem(line_item) => Some(line_item.name.clone()),
        Entity::Network(_) | Entity::Advertiser(_) | Entity::Creative(_) => None,
    }
}

/// Whether a page is asked for: a browser does, a program doesn't.
fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let place = |kind| accept.find(kind).unwrap_or(usize::MAX);
    place("text/html") < place("application/json")
}

fn unavailable() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the books can't be read now; try again")
}
