//! The catalogue as decisions see it: an immutable snapshot of everything that may serve, swapped whole.
//!
//! One [`CatalogWriter`] applies changes and makes a [`Snapshot`] after each batch; [`CatalogPublisher`] hands the newest to readers, who
//! never wait. [`Snapshot::resolve`] turns a request into the snapshot's dense ids, and [`Snapshot::scan`] yields the line items whose
//! targeting it meets, best rank first. What a scan yields depends on the catalogue's content alone, never on how the snapshot came about;
//! among equal ranks the order is free, and whoever consumes it breaks ties.

mod dictionary;
mod entity;
mod levels;
mod line;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod pairs;
mod part;
mod publisher;
mod rank;
mod rebuild;
mod resolve;
mod revision;
mod scan;
mod shards;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use entity::{Entity, EntityId, EntityKind};
pub use line::{Candidate, CategoryId, LineEntry, LineSlot};
pub use publisher::CatalogPublisher;
pub use rank::{EXPECTED_CLICKS_PER_10_000, Rank};
pub use rebuild::{RebuildJob, Rebuilt};
pub use resolve::ResolvedBreak;
pub use revision::{Action, Author, Revision};
pub use scan::{Scan, ScanScratch};
pub use snapshot::Snapshot;
pub use writer::CatalogWriter;
