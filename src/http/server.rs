//! The HTTP server: routes, limits, and what every request goes through.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpServer, web};

use super::admin::{self, Admin};
use super::assets::{self, AssetsApi, FilesApi};
use super::beacon;
use super::campaigns::{self, CampaignApi};
use super::console;
use super::diagnosis::{self, DiagnosisApi};
use super::invoices;
use super::live::{self, LiveApi};
use super::player::{self, Player};
use super::reports::{self, ReportsApi};
use super::servers::{self, ServersApi};
use super::verdicts::{self, VerdictsApi};
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry::{Metric, Metrics, RequestIds};

/// What the routes are made of. What a process has no role for it has no routes for either.
pub struct Parts {
    /// Ad breaks and beacons.
    pub player: Option<Player>,
    /// Health and metrics.
    pub admin: Admin,
    /// What advertisers and operators ask for.
    pub control: Option<Control>,
    /// Serves creatives' files.
    pub files: Option<FilesApi>,
    /// Names requests.
    pub request_ids: RequestIds,
    /// The time.
    pub clock: Clock,
}

/// What advertisers and operators ask for.
#[derive(Clone)]
pub struct Control {
    /// The campaign API.
    pub campaigns: CampaignApi,
    /// Reports.
    pub reports: ReportsApi,
    /// Why a line item does not deliver.
    pub diagnosis: DiagnosisApi,
    /// The register of servers.
    pub servers: ServersApi,
    /// Verdicts on traffic.
    pub verdicts: VerdictsApi,
    /// Takes creatives' files, where some are kept.
    pub assets: Option<AssetsApi>,
    /// What happens now.
    pub live: LiveApi,
}

/// What the wrapper around every request needs.
struct Wrapper {
    request_ids: RequestIds,
    clock: Clock,
    metrics: Metrics,
}

/// A server on the listener; it serves once it is awaited.
///
/// # Errors
/// When the listener can't be used.
pub fn serve(listener: TcpListener, config: &Config, parts: Parts) -> std::io::Result<Server> {
    let limit = config.server.max_body_bytes;
    let metrics = parts.admin.metrics.clone();
    let wrapper = web::Data::new(Wrapper { request_ids: parts.request_ids, clock: parts.clock, metrics });
    let player = parts.player.map(web::Data::new);
    let admin = web::Data::new(parts.admin);
    let (control, files) = (parts.control, parts.files);
    let drain_seconds = config.shutdown_drain_ms.div_ceil(1_000);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(around))
            .app_data(wrapper.clone())
            .app_data(admin.clone())
            .app_data(web::PayloadConfig::new(limit))
            .configure(|config| mount_player(config, player.as_ref()))
            .configure(|config| mount_control(config, control.as_ref()))
            .configure(|config| mount_files(config, files.as_ref()))
            .configure(admin::configure)
            .default_service(web::to(campaigns::no_such_path))
    });
    let workers = config.server.workers;
    let server = if workers == 0 { server } else { server.workers(workers) };
    let server = server
        .disable_signals()
        .shutdown_timeout(drain_seconds)
        .client_request_timeout(Duration::from_millis(config.server.request_timeout_ms))
        .listen(listener)?;
    Ok(server.run())
}

fn mount_player(config: &mut web::ServiceConfig, player: Option<&web::Data<Player>>) {
    if let Some(player) = player {
        config.app_data(player.clone()).configure(player::configure).configure(beacon::configure);
    }
}

fn mount_control(config: &mut web::ServiceConfig, control: Option<&Control>) {
    if let Some(Control { campaigns, reports, diagnosis, servers, verdicts, assets, live }) = control.cloned() {
        if let Some(assets) = assets {
            config.configure(assets::configure(assets));
        }
        config
            .configure(campaigns::configure(campaigns))
            .configure(reports::configure(reports.clone()))
            .configure(invoices::configure(reports))
            .configure(diagnosis::configure(diagnosis))
            .configure(servers::configure(servers))
            .configure(verdicts::configure(verdicts))
            .configure(live::configure(live))
            .configure(console::configure);
    }
}

fn mount_files(config: &mut web::ServiceConfig, files: Option<&FilesApi>) {
    if let Some(files) = files.cloned() {
        config.configure(assets::configure_files(files));
    }
}

/// Names the request, measures it and counts its answer.
async fn around(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let wrapper = request.app_data::<web::Data<Wrapper>>().expect("the server has a wrapper").clone();
    let watch = wrapper.clock.stopwatch();
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let request_id = wrapper.request_ids.of(given);
    let mut response = next.call(request).await?;
    let route = route_word(response.request());
    wrapper.metrics.add_labelled(Metric::HttpRequests, &[route, status_word(response.status())], 1);
    wrapper.metrics.observe_seconds_labelled(Metric::HttpSeconds, &[route], watch.elapsed_seconds());
    tracing::debug!(
        %request_id,
        method = %response.request().method(),
        route,
        status = response.status().as_u16(),
        elapsed_us = watch.elapsed_us(),
        "answered"
    );
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// The route as a word of the program: what a client put into its path is no label.
fn route_word(request: &HttpRequest) -> &'static str {
    const ROUTES: &[(&str, &str)] = &[
        ("/v1/ad-breaks", "ad_breaks"),
        ("/v1/t/", "beacons"),
        ("/v1/c/", "clicks"),
        ("/v1/listeners", "listeners"),
        ("/v1/reports", "reports"),
        ("/v1/servers", "servers"),
        ("/v1/invoices", "invoices"),
        ("/v1/invalid-traffic", "invalid_traffic"),
        ("/v1/live", "live"),
        ("/console", "console"),
        ("/healthz", "healthz"),
        ("/readyz", "readyz"),
        ("/metrics", "metrics"),
        ("/docs", "docs"),
        ("/v1/assets", "assets"),
        ("/v1/uploads", "uploads"),
        ("/a/", "files"),
        ("/v1/", "campaigns"),
    ];
    let path = request.path();
    if path == "/v1/t" {
        return "batches";
    }
    ROUTES.iter().find(|(start, _)| path.starts_with(start)).map_or("other", |(_, word)| word)
}

/// The status as a word.
fn status_word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        201 => "201",
        204 => "204",
        206 => "206",
        207 => "207",
        302 => "302",
        304 => "304",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        412 => "412",
        413 => "413",
        415 => "415",
        416 => "416",
        422 => "422",
        423 => "423",
        428 => "428",
        429 => "429",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}
