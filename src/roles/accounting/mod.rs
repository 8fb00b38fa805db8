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
//! Servers register, report once a second, say how far their journals are in the log, drain and close ([`ServerSays`]); each message is for one run of
//! one server. In embedded mode there is one server, and the thread speaks for it.
//!
//! A grant is usable only once it is durable and read back (INV-25): the machine proposes it, the log holds it, and what is read from the
//! log opens it. At most one proposal of an advertiser is under way, so no two can count the same money.

mod embedded;
mod fleet;
mod holding;
mod looks;
mod machine;
mod pace;
mod partitions;
mod sealed;
mod shared;
mod shell;
#[cfg(test)]
pub(crate) mod sim;
mod statements;
#[cfg(test)]
mod tests;

pub use embedded::{AccountingHandle, spawn};
pub use machine::{AccountingMachine, MachineSettings};
pub use partitions::{OpenLedger, PartitionsHandle, PartitionsWatch, spawn_partitions};
pub use shell::{AccountingError, AccountingWatch, Feed, ShellSettings};

use crate::accounting::{Commit, Outcome, RecordDigest, Refusal};
use crate::catalog::Entity;
use crate::decision::OfferedLease;
use crate::events::{Envelope, LineItemDelivery};
use crate::model::{BootId, LeaseId, LineItemId, Micros, Now, ServerId, WallMs};

/// What the machine is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Records read from the log, in order.
    Records(Batch),
    /// Entities as of their newest revision.
    CatalogChanged(Vec<Entity>),
    /// What a decision server did.
    ServerReport(ServerReport),
    /// What a server says of itself.
    Server(ServerSays),
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
    /// Its place in the log.
    pub offset: u64,
    /// Digest of its bytes, for the chain.
    pub digest: RecordDigest,
    /// What it says.
    pub envelope: Envelope,
}

/// What a server says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerSays {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// What it says.
    pub news: ServerNews,
}

/// What a server may say of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerNews {
    /// It is there. The first word of every run.
    Registered,
    /// Everything that it received before `until` lies in the log before `shipped_end`.
    Complete {
        /// Receive time, excluded.
        until: WallMs,
        /// Offset in the log, excluded.
        shipped_end: u64,
    },
    /// It is on its way out: no more leases.
    Draining,
    /// It has ended, and this is its last mark.
    Closed {
        /// Receive time, excluded.
        until: WallMs,
        /// Offset in the log, excluded.
        shipped_end: u64,
    },
}

/// What a decision server did since it started: sums, one report a second. A line item that is left out is as it was; what a lost report had told comes
/// again within a minute, and a run that an owner doesn't know yet is asked for [all of it](MessageBody::TellAll).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerReport {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// When it was taken, by that server's clocks.
    pub at: Now,
    /// The longest that it can have been on its way, in milliseconds; whoever carries it knows.
    pub transit_ms: u64,
    /// Which part of all there is to say the lines are.
    pub extent: Extent,
    /// The line items.
    pub lines: Vec<LineReport>,
}

/// Which part of all that a server has to say a report is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// What changed materially since the last report, and some of the rest.
    Changes,
    /// A piece of all of it: a line item that is in none of the pieces has drawn nothing and has no lease.
    Whole(Piece),
}

/// A piece of a whole report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which whole report of the run.
    pub number: u64,
    /// Which piece of it, from 0 on. They come in this order.
    pub index: u32,
    /// How many there are.
    pub pieces: u32,
}

/// What a server is to report next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Nothing: there is no room for it now, and nothing counts as told.
    Nothing,
    /// What changed.
    Changes,
    /// All.
    All,
}

impl Extent {
    /// All of it, in one piece.
    #[must_use]
    pub const fn whole(number: u64) -> Self {
        Self::Whole(Piece { number, index: 0, pieces: 1 })
    }
}

/// What a decision server did for one line item since it started.
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
    /// What to tell servers.
    pub messages: Vec<Message>,
    /// How line items stand, for those who watch them.
    pub statements: Vec<LineItemDelivery>,
    /// Registrations, reports and marks that were refused, for the metrics.
    pub refused: Vec<Refusal>,
    /// What each record did, for the metrics.
    pub outcomes: Vec<Outcome>,
}

/// What accounting tells one run of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// The server that it is for.
    pub server_id: ServerId,
    /// The run that it is for; another one must not act on it.
    pub boot_id: BootId,
    /// What it says.
    pub body: MessageBody,
}

/// What accounting may tell a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageBody {
    /// Draw from this lease from now on; it replaces the line item's lease, if it has one.
    Lease(OfferedLease),
    /// Serve where the break's hash is below `throttle`; `u64::MAX` always.
    Throttle {
        /// The line item.
        line_item_id: LineItemId,
        /// The threshold.
        throttle: u64,
    },
    /// Whether leases are given to this run from now on, and if not, why: then it is not ready.
    Standing(Result<(), Refusal>),
    /// The next report is to say all: whoever owns the partition doesn't know this run yet.
    TellAll,
}
