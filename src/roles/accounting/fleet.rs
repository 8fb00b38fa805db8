//! The servers as accounting sees them at the moment: the register, and what only this run of accounting knows of them.

use std::collections::BTreeMap;

use super::{Extent, Piece, ServerNews, ServerReport, ServerSays};
use crate::accounting::{Refusal, Register, ServerMark, clock_ahead_ms};
use crate::model::{BootId, MonotonicMs, Now, ServerId};

/// A server that has sent no report for so many reports' time is granted nothing and shares no pool: what it gets might be for nobody.
const SILENT_REPORTS: u64 = 10;
/// A run that has not said all within so many reports' time is served all the same: it may be of an older version, which never does.
const PATIENCE_REPORTS: u64 = 10;
/// Time between two questions to a run to say all, in reports' time: more than question and answer take.
const ASK_REPORTS: u64 = 3;

/// The servers.
#[derive(Debug)]
pub(super) struct Fleet {
    register: Register,
    seen: BTreeMap<ServerId, Seen>,
    report_ms: u64,
    clock_tolerance_ms: i64,
}

/// What was last heard of a server's current run.
#[derive(Clone, Copy, Debug)]
struct Seen {
    boot_id: BootId,
    /// Its monotonic clock in its last report, and ours when that came.
    its: MonotonicMs,
    ours: MonotonicMs,
    told: Option<Result<(), Refusal>>,
    /// When this run was first heard of, and when it was last asked to say all or did; by our clock.
    since: MonotonicMs,
    asked: Option<MonotonicMs>,
    telling: Telling,
}

/// How much a run has said of all that it did before it was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telling {
    /// Not all; the next piece that is missing, if some have come.
    Part(Option<Piece>),
    /// All.
    All,
}

/// What a report is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// Before it, the run had not said all: what is in it may have been done before anybody here listened.
    pub(super) begins: bool,
    /// After it, the run has said all.
    pub(super) ends: bool,
    /// The run is to be asked to say all.
    pub(super) asks: bool,
    /// A later one has come before it.
    pub(super) is_late: bool,
}

/// A run of a server that leases may be given to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Served {
    pub(super) server_id: ServerId,
    pub(super) boot_id: BootId,
    /// Its monotonic clock when it last reported: the moment from which a lease runs.
    pub(super) asked: MonotonicMs,
    /// Its monotonic clock now, or a little before.
    pub(super) at: MonotonicMs,
}

impl Fleet {
    pub(super) const fn new(register: Register, report_ms: u64, clock_tolerance_ms: i64) -> Self {
        Self { register, seen: BTreeMap::new(), report_ms, clock_tolerance_ms }
    }

    /// The register.
    pub(super) const fn register(&self) -> &Register {
        &self.register
    }

    pub(super) const fn register_mut(&mut self) -> &mut Register {
        &mut self.register
    }

    /// Takes a server's word. True when it is the first of a new run.
    ///
    /// # Errors
    /// [`Refusal`]: the word changes nothing.
    pub(super) fn says(&mut self, says: ServerSays, cursor: u64, now: Now) -> Result<bool, Refusal> {
        let ServerSays { server_id, boot_id, news } = says;
        let mark = |complete_until, shipped_end| ServerMark { server_id, boot_id, complete_until, shipped_end };
        if news == ServerNews::Registered {
            self.register.register(server_id, boot_id, now.wall)?;
            let is_new = self.seen.get(&server_id).is_none_or(|seen| seen.boot_id != boot_id);
            if is_new {
                self.seen.remove(&server_id);
            }
            return Ok(is_new);
        }
        self.is_current(server_id, boot_id)?;
        match news {
            ServerNews::Registered => {}
            ServerNews::Draining => self.register.drain(server_id, boot_id),
            // Nobody has received anything in the future: a clock that is ahead says so, and leases must not close by it.
            ServerNews::Complete { until, shipped_end } => self.register.mark(mark(until.min(now.wall), shipped_end)),
            ServerNews::Closed { until, shipped_end } => self.register.close(mark(until.min(now.wall), shipped_end)),
        }
        self.register.applied(cursor);
        Ok(false)
    }

    /// Takes the head of a report: the clocks.
    ///
    /// # Errors
    /// [`Refusal`] when it is not of a registered server's current run: nothing in it counts.
    pub(super) fn reported(&mut self, report: &ServerReport, now: Now) -> Result<Heard, Refusal> {
        let (server_id, boot_id) = (report.server_id, report.boot_id);
        self.is_current(server_id, boot_id)?;
        let ahead_ms = clock_ahead_ms(report.at.wall, now.wall, report.transit_ms);
        self.register.heard(server_id, boot_id, now.wall, ahead_ms);
        let stands = self.standing(server_id, boot_id).is_ok();
        let (its, ours) = (report.at.monotonic, now.monotonic);
        let fresh = Seen { boot_id, its, ours, told: None, since: ours, asked: None, telling: Telling::Part(None) };
        let seen = self.seen.entry(server_id).or_insert(fresh);
        if seen.boot_id != boot_id {
            *seen = fresh;
        }
        let begins = seen.telling != Telling::All;
        // One that was overtaken on its way says nothing of the present.
        let is_late = its < seen.its;
        if !is_late {
            (seen.its, seen.ours) = (its, ours);
            seen.telling = seen.telling.after(report.extent);
        }
        let pause_ms = self.report_ms.saturating_mul(ASK_REPORTS);
        let is_due = seen.asked.is_none_or(|asked| ours.since(asked) >= pause_ms);
        let is_telling = matches!(report.extent, Extent::Whole(_));
        let asks = stands && seen.telling != Telling::All && is_due && !is_telling;
        // While pieces come nobody asks.
        if asks || is_telling {
            seen.asked = Some(ours);
        }
        let ends = begins && seen.telling == Telling::All;
        Ok(Heard { begins, ends, asks, is_late })
    }

    /// Whether leases may be given to that run, when it is another word than it was told last.
    pub(super) fn news_for(&mut self, server_id: ServerId, boot_id: BootId) -> Option<Result<(), Refusal>> {
        let standing = self.standing(server_id, boot_id);
        let seen = self.seen.get_mut(&server_id).filter(|seen| seen.boot_id == boot_id);
        match seen {
            // By how much the clock is off changes all the time, that it is does not.
            Some(seen) if seen.told.is_some_and(|told| name(told) == name(standing)) => None,
            Some(seen) => {
                seen.told = Some(standing);
                Some(standing)
            }
            None => Some(standing),
        }
    }

    /// Whether leases may be given to that run, and if not, why.
    pub(super) fn standing(&self, server_id: ServerId, boot_id: BootId) -> Result<(), Refusal> {
        self.register.standing(server_id, boot_id, self.clock_tolerance_ms)
    }

    /// The servers that leases are given to: live, their clocks right, heard of lately, what they hold known. By id.
    pub(super) fn served(&self, now: Now) -> Vec<Served> {
        let silent_ms = self.report_ms.saturating_mul(SILENT_REPORTS);
        self.seen
            .iter()
            .filter(|(server_id, seen)| {
                now.monotonic.since(seen.ours) <= silent_ms
                    && self.is_told(seen, now)
                    && self.standing(**server_id, seen.boot_id).is_ok()
            })
            .map(|(server_id, seen)| seen.served(*server_id, now))
            .collect()
    }

    /// The run of a server, if leases may be handed to it.
    pub(super) fn served_one(&self, server_id: ServerId, now: Now) -> Option<Served> {
        let seen = self.seen.get(&server_id)?;
        let is_served = self.is_told(seen, now) && self.standing(server_id, seen.boot_id).is_ok();
        is_served.then(|| seen.served(server_id, now))
    }

    /// Whether what a run holds is known, or was waited for in vain. Before that it would be granted what it has.
    fn is_told(&self, seen: &Seen, now: Now) -> bool {
        let patience_ms = self.report_ms.saturating_mul(PATIENCE_REPORTS);
        seen.telling == Telling::All || now.monotonic.since(seen.since) >= patience_ms
    }

    fn is_current(&self, server_id: ServerId, boot_id: BootId) -> Result<(), Refusal> {
        match self.standing(server_id, boot_id) {
            Err(refusal @ (Refusal::Unknown | Refusal::OlderBoot | Refusal::Lost | Refusal::Closed)) => Err(refusal),
            Ok(()) | Err(Refusal::Full | Refusal::Draining | Refusal::Clock { .. }) => Ok(()),
        }
    }
}

impl Telling {
    /// After a report.
    const fn after(self, extent: Extent) -> Self {
        let (Self::Part(expected), Extent::Whole(piece)) = (self, extent) else { return self };
        let is_next = match expected {
            Some(expected) => {
                expected.number == piece.number && expected.index == piece.index && expected.pieces == piece.pieces
            }
            None => false,
        };
        if piece.index != 0 && !is_next {
            return Self::Part(None);
        }
        let next = piece.index.saturating_add(1);
        if next >= piece.pieces { Self::All } else { Self::Part(Some(Piece { index: next, ..piece })) }
    }
}

impl Seen {
    const fn served(&self, server_id: ServerId, now: Now) -> Served {
        let at = self.its.plus_ms(now.monotonic.since(self.ours));
        Served { server_id, boot_id: self.boot_id, asked: self.its, at }
    }
}

const fn name(standing: Result<(), Refusal>) -> &'static str {
    match standing {
        Ok(()) => "served",
        Err(refusal) => refusal.name(),
    }
}
