//! HTTP: wire structs and their conversion to the domain. No decisions are made here.

use utoipa::OpenApi;

pub mod admin;
pub mod assets;
pub mod auth;
pub mod beacon;
pub mod campaigns;
pub mod client;
pub mod console;
pub mod diagnosis;
pub mod invoices;
pub mod live;
pub mod player;
pub mod problem;
pub mod reports;
pub mod server;
pub mod servers;
pub mod verdicts;

/// The routes beside the campaign API.
#[derive(OpenApi)]
#[openapi(
    paths(
        player::post_ad_break,
        player::delete_listener,
        beacon::get_beacon,
        beacon::post_beacon,
        beacon::post_batch,
        beacon::get_click,
        reports::get_report,
        assets::post_asset,
        assets::read_asset,
        assets::create_upload,
        assets::look_at_upload,
        assets::read_upload,
        assets::append_upload,
        assets::end_upload,
        assets::get_file,
        assets::head_file,
        diagnosis::get_diagnosis,
        diagnosis::get_matches,
        servers::list_servers,
        live::get_live,
        console::get_delivery_chart,
        console::get_delivery_points,
        invoices::get_invoice,
        verdicts::post_verdict,
        admin::healthz,
        admin::readyz,
        admin::metrics
    ),
    tags(
        (name = "player", description = "For players: ad breaks, beacons, forgetting a listener."),
        (name = "assets", description = "Creatives' files."),
        (name = "reports", description = "Delivery, balances and invoices."),
        (name = "operation", description = "For whoever runs the server.")
    )
)]
struct Others;

/// The description of the whole HTTP interface, as served at `/v1/openapi.json`. Each part merges its own into it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut description = campaigns::openapi();
    description.merge(Others::openapi());
    description
}
