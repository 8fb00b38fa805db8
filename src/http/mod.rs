//! HTTP: wire structs and their conversion to the domain. No decisions are made here.

pub mod auth;
pub mod player;
pub mod problem;
