//! For whoever runs the server: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::roles::health::{Checks, Health};
use crate::telemetry::{Metric, Metrics};

/// Sets what is read only when somebody asks for the metrics.
pub type Gauges = Box<dyn Fn(&Metrics) + Send + Sync>;

/// What the checks are made of.
pub struct Admin {
    /// Judges how the process is.
    pub health: Health,
    /// What is counted.
    pub metrics: Metrics,
    /// Sets more before they are shown.
    pub gauges: Gauges,
}

/// The answer of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckAnswer {
    /// Whether all is well.
    pub ok: bool,
    /// Each thing looked at, and how it is.
    pub checks: BTreeMap<String, String>,
}

/// Mounts the checks and the metrics.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/healthz").route(web::get().to(healthz)))
        .service(web::resource("/readyz").route(web::get().to(readyz)))
        .service(web::resource("/metrics").route(web::get().to(metrics)));
}

/// Whether the process does its work.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operation",
    responses(
        (status = 200, description = "It does.", body = CheckAnswer),
        (status = 503, description = "It must be restarted.", body = CheckAnswer),
    )
)]
pub(crate) async fn healthz(admin: web::Data<Admin>) -> HttpResponse {
    answered(admin.health.healthy())
}

/// Whether the process should be sent requests.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    responses(
        (status = 200, description = "It should.", body = CheckAnswer),
        (status = 503, description = "Not now.", body = CheckAnswer),
    )
)]
pub(crate) async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    answered(admin.health.ready())
}

/// All metrics, as Prometheus reads them.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "All metrics.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(admin: web::Data<Admin>) -> HttpResponse {
    let (money, log) = admin.health.journal_bytes();
    admin.metrics.set_labelled(Metric::JournalUsedBytes, &["money"], money);
    admin.metrics.set_labelled(Metric::JournalUsedBytes, &["log"], log);
    (admin.gauges)(&admin.metrics);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(admin.metrics.render())
}

fn answered(checks: Checks) -> HttpResponse {
    let mut response = if checks.ok { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let checks_by_name = checks.by_name.into_iter().map(|(name, how)| (name.to_owned(), how)).collect();
    response.json(CheckAnswer { ok: checks.ok, checks: checks_by_name })
}
