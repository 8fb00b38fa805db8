//! Integration tests: one binary, so that there is one link.

mod authorization;
mod bad_input;
mod beacons;
mod canaries;
mod catalogue;
mod cluster;
mod command_line;
mod cql;
mod ctl;
mod engines;
mod event_log;
mod first_ad;
mod fleet;
mod harness;
mod invalid_traffic;
mod kill;
mod layers;
mod listeners;
mod newer_version;
mod orphan;
mod profiles;
mod rarely_heard;
mod repository;
mod serve;
mod stores;
mod strict_caps;
