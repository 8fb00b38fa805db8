//! Segue: a real-time audio ad decision server.
//!
//! The path of one ad break, in reading order: a player's request comes in through `http`, is resolved against the `catalog` snapshot,
//! `decision` picks the candidates that `targeting` finds and `caps` allows, `pod` fills the slots, `tokens` seals what billing will need.
//! What was heard comes back as a beacon, goes to the `journal` before it is acknowledged, and `accounting` turns it into money.

pub mod accounting;
pub mod app;
pub mod assets;
pub mod background;
pub mod caps;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decision;
pub mod demo;
pub mod ending;
pub mod entropy;
pub mod event_log;
pub mod events;
pub mod http;
pub mod impressions;
pub mod journal;
pub mod model;
pub mod pacing;
pub mod patience;
pub mod pod;
pub mod profile;
pub mod roles;
pub mod sim;
pub mod store;
pub mod targeting;
pub mod telemetry;
pub mod tokens;
pub mod workload;
