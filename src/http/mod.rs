//! HTTP: wire structs and their conversion to the domain. No decisions are made here.

pub mod admin;
pub mod auth;
pub mod beacon;
pub mod player;
pub mod problem;
