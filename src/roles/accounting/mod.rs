//! Accounting: the one owner of the books. [`AccountingMachine`] decides, synchronously; [`spawn`]ed, a thread reads the log, appends
//! and commits for it.
//!
//! ```text
//! log ──records──▶ machine ──effects──▶ append to the log (grants, closes) ─┐ durable
//!  ▲                 │  └──▶ commit: rows and position, one batch           │
//!  └─────────────────┼───────────────── read back ◀─────────────────────────┘
//!                    └──▶ messages: leases and throttles, to the decision server
//! ```
//!
//! A grant is usable only once it is durable and read back (INV-25): the machine proposes it, the log holds it, and what is read from the
//! log opens it. At most one proposal of an advertiser is under way, so no two can count the same money.

mod line;
mod machine;
mod shell;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

pub use machine::{AccountingMachine, MachineSettings};
pub use shell::{AccountingError, AccountingHandle, AccountingWatch, Feed, ShellSettings, spawn};

use crate::accounting::{Commit, Outcome, RecordDigest};
use crate::catalog::Entity;
use crate::decision::LeaseTerms;
use crate::events::Envelope;
use crate::model::{LeaseId, LineItemId, Micros, MonotonicMs};

/// What the machine is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Records read from the log, in order.
    Records(Batch),
    /// Entities as of their newest revision.
    CatalogChanged(Vec<Entity>),
    /// What the decision server did.
    ServerReport(ServerReport),
    /// Time passes.
    Tick,
}

/// Records of the log, and where they end.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// Durable records.
    pub records: Vec<LogRecord>,
    /// Offset after the last record looked at; where reading goes on.
    pub next: u64,
    /// Offset after the last durable record when the read began; `next >= end` means that all is read.
    pub end: u64,
}

/// One record of the log.
#[derive(Clone, PartialEq, Debug)]
pub struct LogRecord {
    /// Digest of its bytes, for the chain.
    pub digest: RecordDigest,
    /// What it says.
    pub envelope: Envelope,
}

/// What the decision server did since it started: sums, so that a lost report costs nothing. One a second, or when a lease is nearly drawn.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ServerReport {
    /// When it was taken.
    pub at: MonotonicMs,
    /// Line items of which something changed since the last report; others may be left out.
    pub lines: Vec<LineReport>,
}

/// What the decision server did for one line item since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineReport {
    /// The line item.
    pub line_item_id: LineItemId,
    /// Money drawn.
    pub drawn: Micros,
    /// Impressions drawn.
    pub drawn_count: u64,
    /// Breaks for which it was eligible before its throttle was looked at, scaled up where only a sample is counted.
    pub eligible: u64,
    /// What is left in the lease that it draws from; none when it has none.
    pub lease: Option<LeaseLeft>,
}

/// What is left in a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseLeft {
    /// The lease.
    pub lease_id: LeaseId,
    /// Money.
    pub left: Micros,
    /// Impressions.
    pub ordinals_left: u32,
}

/// What the machine wants done. The order is fixed: append, then commit, then messages.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct RoleEffects {
    /// Records to append to the log, durable before anything else is done with them.
    pub append: Vec<Envelope>,
    /// Rows to write, all in one atomic batch.
    pub commit: Option<Commit>,
    /// What to tell the decision server.
    pub messages: Vec<Message>,
    /// What each record did, for the metrics.
    pub outcomes: Vec<Outcome>,
}

/// What accounting tells the decision server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Draw from this lease from now on; it replaces the line item's lease, if it has one.
    Lease {
        /// The line item.
        line_item_id: LineItemId,
        /// The lease.
        terms: LeaseTerms,
    },
    /// Serve where the break's hash is below `throttle`; `u64::MAX` always.
    Throttle {
        /// The line item.
        line_item_id: LineItemId,
        /// The threshold.
        throttle: u64,
    },
}
