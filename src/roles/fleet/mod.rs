//! What servers and accounting tell each other by way of the log that they share, where they are different processes.
//!
//! ```text
//! decision, beacon ──FromServer, segue.servers──▶ every process of accounting: each takes what is of its partitions
//! decision, beacon ◀──FromAccounting, segue.leases── the owner of a partition
//! ```
//!
//! Nothing here is ground state: a word that is lost is said again a second later, a lease that is lost in between goes back when it is closed. The
//! topics promise order by key, so one server's words come in the order in which it said them.
//!
//! **Reports** say what changed ([`crate::roles::decision::Reporter`]), and all of it when a server hears of a process of accounting for the first time, when
//! the log lost a word, and when an owner asks: it gives a run no leases before it knows what that run holds.
//!
//! **Clocks.** How long a word was on its way is not known from the word alone. So accounting says what its monotonic clock reads, the server echoes that
//! with how long it held it, and what is left of the round trip is the longest that the word can have taken ([`FromServer::transit_ms`]).

mod board;
mod link;
mod wire;

pub use board::FleetBoard;
pub use link::{FleetLink, LinkSettings, words};
pub use wire::{MessageError, decode_from_accounting, decode_from_server, encode_from_accounting, encode_from_server};

use crate::model::{BootId, MonotonicMs, Now, ServerId, WallMs};
use crate::roles::accounting::{Extent, LineReport, MessageBody, ServerNews};

/// Most line items in one report on its way: 600 kB at the most, where a message may have 1 MB.
pub const REPORT_LINES_MAX: usize = 8_000;

/// What a server tells accounting.
#[derive(Clone, PartialEq, Debug)]
pub struct FromServer {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// Its clocks when it said this.
    pub at: Now,
    /// What it last heard of each process of accounting.
    pub echoes: Vec<Echo>,
    /// What it says.
    pub word: Word,
}

/// What a server may say.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// It is there.
    Registered,
    /// How far it has shipped.
    Complete(Mark),
    /// It is on its way out.
    Draining,
    /// It has ended: its last mark.
    Closed(Mark),
    /// What it did.
    Report {
        /// Which part of it.
        extent: Extent,
        /// The line items.
        lines: Vec<LineReport>,
    },
}

/// Everything that a server received before `until` is in the log, before these ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Receive time, excluded.
    pub until: WallMs,
    /// Offsets of `segue.events`, excluded, by partition. A partition that is not named holds nothing of the server.
    pub ends: Vec<(u32, u64)>,
}

/// The last word of a process of accounting that a server heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The run of that process.
    pub accounting_id: BootId,
    /// Its monotonic clock when it spoke.
    pub stamp: MonotonicMs,
    /// How long ago the server heard it, in milliseconds.
    pub held_ms: u64,
}

/// What a process of accounting tells one run of a server.
#[derive(Clone, PartialEq, Debug)]
pub struct FromAccounting {
    /// The run of that process.
    pub accounting_id: BootId,
    /// Its monotonic clock: to be echoed.
    pub stamp: MonotonicMs,
    /// The partition of `segue.events` for which it speaks.
    pub partition: u32,
    /// The server.
    pub server_id: ServerId,
    /// The run of the server that it is for.
    pub boot_id: BootId,
    /// What it says. Nothing: it is there.
    pub notices: Vec<MessageBody>,
}

impl Mark {
    /// The end in a partition.
    #[must_use]
    pub fn end(&self, partition: u32) -> u64 {
        self.ends.iter().find(|(of, _)| *of == partition).map_or(0, |(_, end)| *end)
    }
}

impl FromServer {
    /// The longest that this can have been on its way, in milliseconds, when it came to that process of accounting at `came`; none when the server had
    /// not heard of it.
    #[must_use]
    pub fn transit_ms(&self, accounting_id: BootId, came: MonotonicMs) -> Option<u64> {
        let echo = self.echoes.iter().find(|echo| echo.accounting_id == accounting_id)?;
        // Each of the four readings is cut to its millisecond.
        Some(came.since(echo.stamp).saturating_sub(echo.held_ms).saturating_add(2))
    }

    /// What it says to the owner of a partition, where that is news of the server itself.
    #[must_use]
    pub fn news(&self, partition: u32) -> Option<ServerNews> {
        match &self.word {
            Word::Registered => Some(ServerNews::Registered),
            Word::Complete(mark) => Some(ServerNews::Complete { until: mark.until, shipped_end: mark.end(partition) }),
            Word::Draining => Some(ServerNews::Draining),
            Word::Closed(mark) => Some(ServerNews::Closed { until: mark.until, shipped_end: mark.end(partition) }),
            Word::Report { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
