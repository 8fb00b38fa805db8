//! The register of servers: `GET /v1/servers`, for operators.
//!
//! What accounting knows at the moment. Servers are the operation's, not a network's: every operator sees all of them.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth;
use super::problem::Problem;
use crate::accounting::ServerEntry;
use crate::model::Role;
use crate::roles::campaign::CampaignHandle;
use crate::store::StoreError;
use crate::telemetry::{Metric, Metrics};

/// Shows the register of servers, at most some seconds old. May block its thread.
pub type RegisterView = Arc<dyn Fn() -> Result<Vec<ServerEntry>, StoreError> + Send + Sync>;

/// What the handler needs.
#[derive(Clone)]
pub struct ServersApi {
    /// Keys.
    pub campaigns: CampaignHandle,
    /// The register as accounting has it.
    pub register: RegisterView,
    /// Counts.
    pub metrics: Metrics,
}

/// All servers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServersDocument {
    /// By id.
    pub servers: Vec<ServerDocument>,
}

/// A server.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerDocument {
    /// Its id, across restarts.
    pub server_id: String,
    /// Its current run, or its last.
    pub boot_id: String,
    /// `live`, `draining`, `closed` or `lost`.
    pub state: String,
    /// When that run registered, RFC 3339.
    pub registered_at: String,
    /// When it was last heard of, RFC 3339.
    pub heard_at: String,
    /// How far its clock is ahead of accounting's at least, in milliseconds; negative: behind; 0: it may be right.
    pub clock_ahead_ms: i64,
    /// Every beacon that it received before this is applied, RFC 3339. Leases are closed up to the least of all open servers.
    pub complete_until: String,
}

impl ServerDocument {
    fn of(entry: &ServerEntry) -> Self {
        Self {
            server_id: entry.server_id.to_string(),
            boot_id: entry.boot_id.to_string(),
            state: entry.state.name().to_owned(),
            registered_at: entry.registered_at.to_rfc3339(),
            heard_at: entry.heard_at.to_rfc3339(),
            clock_ahead_ms: entry.clock_ahead_ms,
            complete_until: entry.complete_until.to_rfc3339(),
        }
    }
}

/// Mounts the register.
pub fn configure(api: ServersApi) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(Data::new(api)).service(web::resource("/v1/servers").route(web::get().to(list_servers)));
    }
}

/// The register of servers: who is live, and how far each is complete.
///
/// For operators.
#[utoipa::path(
    get,
    path = "/v1/servers",
    tag = "operation",
    responses(
        (status = 200, description = "All servers.", body = ServersDocument),
        (status = 401, description = "No key that opens anything.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an operator's key.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The books can't be read now.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_servers(request: HttpRequest, api: Data<ServersApi>) -> Result<HttpResponse, Problem> {
    let answer = servers(&request, &api).await;
    if let Err(problem) = &answer {
        api.metrics.add_labelled(Metric::HttpRefused, &[problem.code], 1);
    }
    answer.map(|document| HttpResponse::Ok().json(document))
}

async fn servers(request: &HttpRequest, api: &ServersApi) -> Result<ServersDocument, Problem> {
    let actor = auth::authenticate(request, &api.campaigns.keys())?;
    if actor.role != Role::Operator {
        return Err(Problem::forbidden("the register of servers is for an operator's key"));
    }
    let register = Arc::clone(&api.register);
    let servers = web::block(move || register()).await.map_err(|_| unavailable())?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the register of servers can't be read");
        unavailable()
    })?;
    Ok(ServersDocument { servers: servers.iter().map(ServerDocument::of).collect() })
}

fn unavailable() -> Problem {
    let detail = "the register of servers can't be read now; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
}
