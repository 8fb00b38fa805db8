//! Roles: thin shells around state machines. What they decide is in the core; what they do here is put its parts together.

pub mod accounting;
pub mod api_keys;
pub mod beacon;
pub mod campaign;
pub mod catalogue_feed;
pub mod catalogue_outbox;
pub mod decision;
pub mod fleet;
pub mod health;
pub mod heard;
pub mod invoices;
pub mod listeners;
pub mod profile;
pub mod records;
pub mod verdicts;
