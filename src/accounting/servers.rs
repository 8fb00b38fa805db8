//! The register of servers: who may be given leases, and up to when all that each of them received has been applied.
//!
//! ```text
//!            drain              closing mark reached
//!   live ───────────▶ draining ─────────────────────▶ closed
//!    │ ▲                 │                               │
//!    │ └── a new boot ───┼───────────────────────────────┤
//!    └───────────────────┴── an operator's last word ─▶ lost
//! ```
//!
//! A server says "everything that I received before T lies in the log before offset O" ([`ServerMark`]). The register holds the mark until the log
//! is applied up to O, and only then is the server complete until T. A server that closes says a last mark, and is closed once that one is
//! reached: from then on it holds nothing back. One that is declared lost holds nothing back either, and what it had acknowledged and not
//! shipped is lost to billing. A server that comes back with a new boot is as complete as it was: its old boot's journal is its
//! journal, and its next mark says when that is in the log.
//!
//! INV-39: the watermark never goes back, and is never beyond the mark of a server that is live or draining.
//! INV-40: leases are for the current boot of a live server whose clock is right; a boot that was followed by another never gets one again.
//!
//! A newly registered server starts at the watermark: it received nothing before it registered, the watermark stays a margin of a
//! minute behind every clock that made it, and a clock that differs by more than [`CLOCK_TOLERANCE_MS`] is given no lease.
//!
//! The register is not made from the log: it is kept beside the ledger's rows, in the same commits. Left to others: who tells it what
//! (`roles/accounting`), its rows (`store/ledger`).

use std::collections::{BTreeMap, BTreeSet};

use super::watermark::Watermark;
use crate::model::{BootId, ServerId, WallMs};

/// Most servers known at a time, of whatever state: far beyond a fleet, so that a loop of made-up ids meets a bound. At the bound the server that
/// was closed longest ago gives way to a new one; where none is closed, the new one is refused.
pub const SERVERS_MAX: usize = 1_024;
/// Earlier boots of a server that are remembered. A message of an older one would have to be late by as many restarts.
pub const PAST_BOOTS_KEPT: usize = 16;
/// Most that a server's clock may differ from accounting's, in milliseconds. Receive times decide what is billed.
pub const CLOCK_TOLERANCE_MS: i64 = 1_000;

/// What a server is about. In the order of how far it has ended: what several owners have of it is merged by that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ServerState {
    /// It serves.
    Live,
    /// It is on its way out: no new leases, its journal is being shipped.
    Draining,
    /// It ended in good order: all that it received is applied.
    Closed,
    /// An operator has given it up.
    Lost,
}

impl ServerState {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }

    /// Whether something may still come from it, so that the watermark waits for it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Live | Self::Draining => true,
            Self::Closed | Self::Lost => false,
        }
    }
}

/// What is known of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerEntry {
    /// The server.
    pub server_id: ServerId,
    /// Its current run, or its last.
    pub boot_id: BootId,
    /// Earlier runs, the newest last; at most [`PAST_BOOTS_KEPT`].
    pub past_boots: Vec<BootId>,
    /// What it is about.
    pub state: ServerState,
    /// When the current run registered.
    pub registered_at: WallMs,
    /// When it was last heard of.
    pub heard_at: WallMs,
    /// How far its clock is ahead of accounting's at least, in milliseconds; negative: behind; 0: it may be right.
    pub clock_ahead_ms: i64,
    /// Every beacon that it received before this is applied.
    pub complete_until: WallMs,
}

impl ServerEntry {
    /// The servers as several owners have them, by id. What one of them doesn't know yet isn't so: a server is closed when all say so, and complete as far as
    /// the least of them.
    #[must_use]
    pub fn merged(of_owners: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: BTreeMap<ServerId, Self> = BTreeMap::new();
        for entry in of_owners {
            let Some(known) = merged.get_mut(&entry.server_id) else {
                merged.insert(entry.server_id, entry);
                continue;
            };
            let (state, complete_until) =
                (known.state.min(entry.state), known.complete_until.min(entry.complete_until));
            if (entry.registered_at, entry.heard_at) > (known.registered_at, known.heard_at) {
                *known = entry;
            }
            (known.state, known.complete_until) = (state, complete_until);
        }
        merged.into_values().collect()
    }
}

/// A server's word on its past: everything that it received before `complete_until` lies in the log before `shipped_end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerMark {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// Receive time, excluded.
    pub complete_until: WallMs,
    /// Offset in the log, excluded.
    pub shipped_end: u64,
}

/// Why a server gets no leases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// It has not registered.
    Unknown,
    /// The register is full.
    Full,
    /// A later boot of it has registered.
    OlderBoot,
    /// It is on its way out.
    Draining,
    /// It has closed.
    Closed,
    /// It was declared lost: only a restart brings it back.
    Lost,
    /// Its clock is ahead of accounting's by at least so many milliseconds, or behind where negative.
    Clock {
        /// How far.
        ahead_ms: i64,
    },
}

impl Refusal {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Full => "register_full",
            Self::OlderBoot => "older_boot",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Clock { .. } => "clock",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("accounting doesn't know this server: it has not registered"),
            Self::Full => write!(f, "accounting's register is full: {SERVERS_MAX} servers"),
            Self::OlderBoot => f.write_str("a later boot of this server has registered"),
            Self::Draining => f.write_str("this server is draining"),
            Self::Closed => f.write_str("this server has closed"),
            Self::Lost => f.write_str("this server was declared lost; a restart brings it back"),
            Self::Clock { ahead_ms } => {
                let (ms, way) = (ahead_ms.unsigned_abs(), if *ahead_ms > 0 { "ahead of" } else { "behind" });
                write!(f, "the clock is {ms} ms {way} accounting's, {CLOCK_TOLERANCE_MS} ms are allowed")
            }
        }
    }
}

/// Marks of a server that the log is not applied up to yet. Two are enough: the first is the next one reached, and one that comes behind
/// the last says more than it did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Waiting {
    first: Option<ServerMark>,
    last: Option<ServerMark>,
    closing: Option<ServerMark>,
}

/// All servers. See the module's documentation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Register {
    entries: BTreeMap<ServerId, ServerEntry>,
    waiting: BTreeMap<ServerId, Waiting>,
    watermark: WallMs,
    /// Servers whose rows differ from what was last taken.
    changed: BTreeSet<ServerId>,
    /// Servers that gave way at the bound: their rows go.
    gone: BTreeSet<ServerId>,
    /// Whether a change should be durable soon: a state or a boot, not only a mark.
    is_urgent: bool,
}

/// Rows that changed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RegisterChanges {
    /// Whole entries.
    pub entries: Vec<ServerEntry>,
    /// Servers that are no more known.
    pub gone: Vec<ServerId>,
}

impl Register {
    /// The register as of its rows.
    #[must_use]
    pub fn load(entries: impl IntoIterator<Item = ServerEntry>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.server_id, entry)).collect();
        let mut register = Self { entries, ..Self::default() };
        register.raise();
        register
    }

    /// All servers, by id.
    pub fn entries(&self) -> impl Iterator<Item = &ServerEntry> {
        self.entries.values()
    }

    /// What is known of a server.
    #[must_use]
    pub fn get(&self, server_id: ServerId) -> Option<&ServerEntry> {
        self.entries.get(&server_id)
    }

    /// How many servers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every record received before this, by whatever server, is applied; less what servers that were declared lost never shipped.
    #[must_use]
    pub const fn watermark(&self) -> Watermark {
        Watermark::until(self.watermark)
    }

    /// A run of a server says that it is there. Saying it twice changes nothing.
    ///
    /// # Errors
    /// [`Refusal`] when the register is full, a later boot has registered, or this very boot was closed or declared lost.
    pub fn register(&mut self, server_id: ServerId, boot_id: BootId, at: WallMs) -> Result<(), Refusal> {
        let Some(entry) = self.entries.get_mut(&server_id) else {
            self.make_room()?;
            let entry = ServerEntry {
                server_id,
                boot_id,
                past_boots: Vec::new(),
                state: ServerState::Live,
                registered_at: at,
                heard_at: at,
                clock_ahead_ms: 0,
                complete_until: self.watermark,
            };
            self.entries.insert(server_id, entry);
            self.gone.remove(&server_id);
            self.note_urgent(server_id);
            return Ok(());
        };
        if entry.past_boots.contains(&boot_id) {
            return Err(Refusal::OlderBoot);
        }
        if entry.boot_id == boot_id {
            return match entry.state {
                ServerState::Live | ServerState::Draining => Ok(()),
                ServerState::Closed => Err(Refusal::Closed),
                ServerState::Lost => Err(Refusal::Lost),
            };
        }
        let before = std::mem::replace(&mut entry.boot_id, boot_id);
        if entry.past_boots.len() >= PAST_BOOTS_KEPT {
            entry.past_boots.remove(0);
        }
        entry.past_boots.push(before);
        entry.state = ServerState::Live;
        (entry.registered_at, entry.heard_at, entry.clock_ahead_ms) = (at, at, 0);
        // Never below the watermark: what closed by it stays closed, and the new boot's own mark says when its old journal is in the log.
        entry.complete_until = entry.complete_until.max(self.watermark);
        // What the old boot's marks said is said again by the new one, once its journal is shipped.
        self.waiting.remove(&server_id);
        self.note_urgent(server_id);
        Ok(())
    }

    /// A run of a server was heard of at `at`; its clock is ahead of accounting's by `clock_ahead_ms` at least (negative: behind).
    pub fn heard(&mut self, server_id: ServerId, boot_id: BootId, at: WallMs, clock_ahead_ms: i64) {
        if let Some(entry) = self.current(server_id, boot_id) {
            entry.heard_at = entry.heard_at.max(at);
            entry.clock_ahead_ms = clock_ahead_ms;
            self.changed.insert(server_id);
        }
    }

    /// A run of a server is on its way out.
    pub fn drain(&mut self, server_id: ServerId, boot_id: BootId) {
        if let Some(entry) = self.current(server_id, boot_id)
            && entry.state == ServerState::Live
        {
            entry.state = ServerState::Draining;
            self.note_urgent(server_id);
        }
    }

    /// Takes a mark. One of a boot that is not the current one is left out: what it says is said again.
    pub fn mark(&mut self, mark: ServerMark) {
        if self.current(mark.server_id, mark.boot_id).is_some() {
            let waiting = self.waiting.entry(mark.server_id).or_default();
            match (waiting.closing, waiting.first) {
                // It has said its last word.
                (Some(_), _) => {}
                (None, None) => waiting.first = Some(mark),
                (None, Some(_)) => waiting.last = Some(mark),
            }
        }
    }

    /// A server's last mark: once the log is applied up to it, the server is closed.
    pub fn close(&mut self, mark: ServerMark) {
        self.drain(mark.server_id, mark.boot_id);
        if self.current(mark.server_id, mark.boot_id).is_some() {
            self.waiting.entry(mark.server_id).or_default().closing = Some(mark);
        }
    }

    /// An operator gives a server up. False when it is not known.
    pub fn declare_lost(&mut self, server_id: ServerId) -> bool {
        let Some(entry) = self.entries.get_mut(&server_id) else { return false };
        entry.state = ServerState::Lost;
        self.waiting.remove(&server_id);
        self.note_urgent(server_id);
        self.raise();
        true
    }

    /// Puts an entry in as it is: a server whose journal was shipped by hand.
    pub fn put(&mut self, entry: ServerEntry) {
        let server_id = entry.server_id;
        self.entries.insert(server_id, entry);
        self.waiting.remove(&server_id);
        self.note_urgent(server_id);
    }

    /// The log is applied up to `cursor`, excluded: the marks before it hold.
    pub fn applied(&mut self, cursor: u64) {
        let reached: Vec<_> = self.waiting.iter().map(|(server_id, waiting)| (*server_id, *waiting)).collect();
        for (server_id, mut waiting) in reached {
            let Some(entry) = self.entries.get_mut(&server_id) else { continue };
            let is_reached = |mark: &mut ServerMark| mark.shipped_end <= cursor;
            let mut is_changed = false;
            for mark in [waiting.first.take_if(is_reached), waiting.last.take_if(is_reached)].into_iter().flatten() {
                entry.complete_until = entry.complete_until.max(mark.complete_until);
                is_changed = true;
            }
            if waiting.first.is_none() {
                waiting.first = waiting.last.take();
            }
            if let Some(mark) = waiting.closing.take_if(is_reached) {
                entry.complete_until = entry.complete_until.max(mark.complete_until);
                entry.state = ServerState::Closed;
                waiting = Waiting::default();
                self.is_urgent = true;
                is_changed = true;
            }
            if is_changed {
                self.changed.insert(server_id);
            }
            if waiting == Waiting::default() {
                self.waiting.remove(&server_id);
            } else {
                self.waiting.insert(server_id, waiting);
            }
        }
        self.raise();
    }

    /// Whether leases may be given to that run, and if not, why. `tolerance_ms` is what its clock may differ.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn standing(&self, server_id: ServerId, boot_id: BootId, tolerance_ms: i64) -> Result<(), Refusal> {
        let entry = self.entries.get(&server_id).ok_or(Refusal::Unknown)?;
        if entry.boot_id != boot_id {
            let is_past = entry.past_boots.contains(&boot_id);
            return Err(if is_past { Refusal::OlderBoot } else { Refusal::Unknown });
        }
        match entry.state {
            ServerState::Live if entry.clock_ahead_ms.abs() > tolerance_ms => {
                Err(Refusal::Clock { ahead_ms: entry.clock_ahead_ms })
            }
            ServerState::Live => Ok(()),
            ServerState::Draining => Err(Refusal::Draining),
            ServerState::Closed => Err(Refusal::Closed),
            ServerState::Lost => Err(Refusal::Lost),
        }
    }

    /// Whether something changed that should be durable soon.
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// The rows that changed since the last time.
    pub fn take_changes(&mut self) -> RegisterChanges {
        self.is_urgent = false;
        let changed = std::mem::take(&mut self.changed);
        RegisterChanges {
            entries: changed.iter().filter_map(|server_id| self.entries.get(server_id)).cloned().collect(),
            gone: std::mem::take(&mut self.gone).into_iter().collect(),
        }
    }

    /// The entry, if that run is the server's current one and may still say something.
    fn current(&mut self, server_id: ServerId, boot_id: BootId) -> Option<&mut ServerEntry> {
        self.entries.get_mut(&server_id).filter(|entry| entry.boot_id == boot_id && entry.state.is_open())
    }

    fn note_urgent(&mut self, server_id: ServerId) {
        self.changed.insert(server_id);
        self.is_urgent = true;
    }

    /// At the bound the server that was closed longest ago gives way.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.entries.len() < SERVERS_MAX {
            return Ok(());
        }
        let closed = self.entries.values().filter(|entry| entry.state == ServerState::Closed);
        let oldest = closed.min_by_key(|entry| (entry.heard_at, entry.server_id)).map(|entry| entry.server_id);
        let oldest = oldest.ok_or(Refusal::Full)?;
        self.entries.remove(&oldest);
        self.changed.remove(&oldest);
        self.gone.insert(oldest);
        self.is_urgent = true;
        Ok(())
    }

    /// The watermark follows the least mark of the open servers. Where none is open it stays: nobody says how far the past is complete.
    fn raise(&mut self) {
        let open = self.entries.values().filter(|entry| entry.state.is_open());
        if let Some(least) = open.map(|entry| entry.complete_until).min() {
            self.watermark = self.watermark.max(least);
        }
    }
}

/// How far a server's clock is ahead of ours at least: it read `said` when it sent, ours `received` when the message came, and the message was
/// on its way for at most `transit_ms`. 0 when the two may be equal.
#[must_use]
pub const fn clock_ahead_ms(said: WallMs, received: WallMs, transit_ms: u64) -> i64 {
    // The clock's lead when it was sent lies between the two, by what the message took.
    let least = said.since(received);
    let most = least.saturating_add_unsigned(transit_ms);
    if least > 0 {
        least
    } else if most < 0 {
        most
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
