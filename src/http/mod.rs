//! HTTP: wire structs and their conversion to the domain. No decisions are made here.

pub mod admin;
pub mod auth;
pub mod beacon;
pub mod campaigns;
pub mod player;
pub mod problem;
<<<<<<< HEAD
pub mod reports;

/// The description of the whole HTTP interface, as served at `/v1/openapi.json`. Each part merges its own into it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    campaigns::openapi()
}
=======
pub mod server;
>>>>>>> bb8b1c1 (app: one process with all roles, started and ended in order; segue serve)
