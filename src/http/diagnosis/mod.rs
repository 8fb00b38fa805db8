//! Why a line item does not deliver: `GET /v1/line-items/{id}/diagnosis`, and who would match it: `GET /v1/line-items/{id}/matches`.
//!
//! Standing come from the catalogue and the books, ends from the breaks that this process sampled, if it decides any. Nothing told of a break names a listener or
//! another line item; of others' prices only a difference is told.

mod books;
mod document;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::{Semaphore, TryAcquireError};
use utoipa::IntoParams;

use self::books::{Books, read_books};
use self::document::{SampleDocument, SpendingDocument, StandingDocument};
use super::auth;
use super::problem::{FieldError, Problem};
use crate::catalog::{Entity, EntityId, EntityKind};
use crate::clock::Clock;
use crate::decision::{Matches, Standing, Tally, Unseen, blockers, matches, tally, verdict};
use crate::model::{Advertiser, Campaign, Creative, LineItem, LineItemId, Network, Now};
use crate::roles::campaign::{CampaignHandle, CatalogState, Requester};
use crate::roles::decision::Sight;
use crate::store::LedgerReader;
use crate::telemetry::{Metric, Metrics};

pub use document::{DiagnosisDocument, MatchesDocument};

/// Most answers that are made at the same time: each keeps a thread busy with up to a thousand breaks, and players' breaks go before.
const AT_ONCE_MAX: usize = 2;
/// Most examples of breaks that match.
pub const EXAMPLES_MAX: usize = 20;

/// What the handlers need.
#[derive(Clone)]
pub struct DiagnosisApi {
    campaigns: CampaignHandle,
    ledger: LedgerReader,
    sight: Option<Sight>,
    clock: Clock,
    metrics: Metrics,
    at_once: Arc<Semaphore>,
}

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct MatchesQuery {
    /// Most examples, 0 to 20; 20 when absent.
    pub limit: Option<usize>,
}

/// A line item and what is around it, as the catalogue has them.
struct Found {
    line_item: Arc<LineItem>,
    campaign: Arc<Campaign>,
    advertiser: Arc<Advertiser>,
    network: Arc<Network>,
    creatives: Vec<Arc<Creative>>,
}

impl DiagnosisApi {
    /// Over the catalogue, the books, and what the decision role saw, where the process has one.
    #[must_use]
    pub fn new(
        campaigns: CampaignHandle,
        ledger: LedgerReader,
        sight: Option<Sight>,
        (clock, metrics): (Clock, Metrics),
    ) -> Self {
        Self { campaigns, ledger, sight, clock, metrics, at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// The line item of that id, as the caller may see it: one that it may not see is answered like one that isn't there (INV-19).
    async fn find(&self, request: &HttpRequest, id: &str) -> Result<Found, Problem> {
        let requester = Requester::Key(auth::authenticate(request, &self.campaigns.keys())?);
        requester.may_read(EntityKind::LineItem)?;
        let id: LineItemId = id.parse().map_err(|_| Problem::not_found())?;
        self.campaigns.refresh(vec![EntityId::LineItem(id)]).await?;
        self.campaigns.read(|state| Found::of(state, id, &requester)).ok_or_else(Problem::not_found)
    }

    /// Does the work on a thread that may block, if not too many are at it.
    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.at_once).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => busy(),
            TryAcquireError::Closed => unavailable(),
        })?;
        let api = self.clone();
        let done = web::block(move || {
            let _permit = permit;
            work(&api)
        });
        done.await.map_err(|_| unavailable())?
    }

    fn tally(&self, line_item: &LineItem, now: Now) -> Result<Tally, Unseen> {
        let sight = self.sight.as_ref().ok_or(Unseen::NoBreaks)?;
        let sampled = sight.recent.of_network(line_item.network_id, now);
        tally(&sight.snapshot(), line_item.id, &sampled).ok_or(Unseen::NotInCatalogue)
    }

    fn matches(&self, line_item: &LineItem, now: Now, limit: usize) -> Option<Matches> {
        let sight = self.sight.as_ref()?;
        let sampled = sight.recent.of_network(line_item.network_id, now);
        Some(matches(&sight.snapshot(), line_item.id, &sampled, limit).unwrap_or_default())
    }

    fn spending(&self, line_item: &LineItem, now: Now) -> Option<SpendingDocument> {
        let sight = self.sight.as_ref()?;
        let slot = sight.snapshot().slot(line_item.id)?;
        Some(SpendingDocument::read(&sight.spending, slot, now))
    }
}

impl Found {
    fn of(state: &CatalogState, id: LineItemId, requester: &Requester) -> Option<Self> {
        let get = |id: EntityId| state.get(id).map(|revision| &revision.entity);
        let entity = get(EntityId::LineItem(id)).filter(|entity| requester.sees(entity))?;
        let Entity::LineItem(line_item) = entity else { return None };
        let Entity::Campaign(campaign) = get(EntityId::Campaign(line_item.campaign_id))? else { return None };
        let Entity::Advertiser(advertiser) = get(EntityId::Advertiser(line_item.advertiser_id))? else { return None };
        let Entity::Network(network) = get(EntityId::Network(line_item.network_id))? else { return None };
        let creative = |entity: &Entity| match entity {
            Entity::Creative(creative) => Some(Arc::clone(creative)),
            Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::LineItem(_) => None,
        };
        let named = line_item.creatives.iter().filter_map(|choice| get(EntityId::Creative(choice.creative_id)));
        Some(Self {
            line_item: Arc::clone(line_item),
            campaign: Arc::clone(campaign),
            advertiser: Arc::clone(advertiser),
            network: Arc::clone(network),
            creatives: named.filter_map(creative).collect(),
        })
    }
}

/// Mounts the routes.
pub fn configure(api: DiagnosisApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(api))
            .service(web::resource("/v1/line-items/{id}/diagnosis").route(web::get().to(get_diagnosis)))
            .service(web::resource("/v1/line-items/{id}/matches").route(web::get().to(get_matches)));
    }
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "other line items are being diagnosed: try again in a second")
}

fn unavailable() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the answer can't be made now; try again")
}

/// Why a line item does or does not deliver.
///
/// For operators and viewers: line items of the network. For advertisers: their own. Causes come from breaks that the answering server sampled in the last hour.
#[utoipa::path(
    get,
    path = "/v1/line-items/{id}/diagnosis",
    tag = "line items",
    params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The diagnosis.", body = DiagnosisDocument),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such line item.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many are asked for at once.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_diagnosis(
    request: HttpRequest,
    id: Path<String>,
    api: Data<DiagnosisApi>,
) -> Result<HttpResponse, Problem> {
    noted(&api, diagnosis(&request, &id, &api).await)
}

/// Which of the breaks sampled lately a line item's targeting matches.
///
/// For operators and viewers: line items of the network. For advertisers: their own. Examples tell no more of a break than many share.
#[utoipa::path(
    get,
    path = "/v1/line-items/{id}/matches",
    tag = "line items",
    params(("id" = String, Path, description = "Its id."), MatchesQuery),
    responses(
        (status = 200, description = "Who would match.", body = MatchesDocument),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "An app's key.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such line item.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The limit is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many are asked for at once.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_matches(
    request: HttpRequest,
    id: Path<String>,
    query: Result<Query<MatchesQuery>, actix_web::Error>,
    api: Data<DiagnosisApi>,
) -> Result<HttpResponse, Problem> {
    noted(&api, matching(&request, &id, query, &api).await)
}

fn noted(api: &DiagnosisApi, answer: Result<HttpResponse, Problem>) -> Result<HttpResponse, Problem> {
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer
}

async fn diagnosis(request: &HttpRequest, id: &str, api: &DiagnosisApi) -> Result<HttpResponse, Problem> {
    let found = api.find(request, id).await?;
    let now = api.clock.now();
    let document = api.block(move |api| Ok(diagnose(api, &found, now))).await?;
    Ok(HttpResponse::Ok().json(document))
}

async fn matching(
    request: &HttpRequest,
    id: &str,
    query: Result<Query<MatchesQuery>, actix_web::Error>,
    api: &DiagnosisApi,
) -> Result<HttpResponse, Problem> {
    let found = api.find(request, id).await?;
    let query =
        query.map_err(|error| Problem::invalid(vec![FieldError::new("limit", "invalid", error.to_string())]))?;
    let limit = query.limit.unwrap_or(EXAMPLES_MAX);
    if limit > EXAMPLES_MAX {
        let message = format!("expected 0 to {EXAMPLES_MAX}");
        return Err(Problem::invalid(vec![FieldError::new("limit", "out_of_range", message)]));
    }
    let now = api.clock.now();
    let work = move |api: &DiagnosisApi| {
        let matches = api.matches(&found.line_item, now, limit);
        Ok(MatchesDocument::new(found.line_item.id.to_string(), now.wall, matches))
    };
    Ok(HttpResponse::Ok().json(api.block(work).await?))
}

fn diagnose(api: &DiagnosisApi, found: &Found, now: Now) -> DiagnosisDocument {
    // Without the books the rest is still true, and said.
    let books: Option<Books> = read_books(&api.ledger, found, now.wall).inspect_err(books::told).ok();
    let (has_books, Books { money, delivery }) = (books.is_some(), books.unwrap_or_default());
    let facts = Standing {
        line_item: &found.line_item,
        campaign: &found.campaign,
        advertiser: &found.advertiser,
        network: &found.network,
        creatives: &found.creatives,
        money: &money,
        now: now.wall,
    };
    let blockers = blockers(&facts);
    let tally = api.tally(&found.line_item, now);
    let verdict = verdict(&blockers, tally.as_ref().map_err(|unseen| *unseen));
    let sample = match &tally {
        Ok(tally) => SampleDocument::of_tally(tally),
        Err(Unseen::NotInCatalogue) => SampleDocument::of_tally(&Tally::default()),
        Err(Unseen::NoBreaks) => SampleDocument::none(),
    };
    let causes = tally.map(|tally| tally.causes).unwrap_or_default();
    let spending = api.spending(&found.line_item, now);
    DiagnosisDocument {
        line_item_id: found.line_item.id.to_string(),
        as_of: now.wall.to_rfc3339(),
        verdict: verdict.words,
        verdict_reason: verdict.reason.to_owned(),
        verdict_predicate: verdict.predicate,
        causes: causes.into_iter().map(Into::into).collect(),
        standing: StandingDocument::new(&facts, &blockers, has_books, spending),
        delivery,
        sample,
    }
}
