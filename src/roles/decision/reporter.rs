//! What decision servers tell accounting, once a second: what was drawn, and how much could have been.
//!
//! Of a hundred thousand line items a few hundred are drawn in a second, so a report says only what changed *materially*: every draw, since a lease that
//! ends must be followed by the next; but how often a line item could have been served only where that grew by a good part, since a sample of breaks
//! moves it for thousands at once and accounting's memory of it is ten minutes long. Each report also repeats the sixtieth part of all the rest, so that
//! what a lost one had said comes again within a minute. All of it goes out at the start and when it is asked for.

use std::sync::Arc;

use super::Supply;
use crate::catalog::{LineSlot, Snapshot};
use crate::decision::Spending;
use crate::model::{BootId, LineItemId, Now, ServerId};
use crate::roles::accounting::{Extent, LeaseLeft, LineReport, ServerReport, Wanted};

/// A line item is told of once in so many reports, whatever changed: a lost report is made good within a minute.
pub(crate) const REPEAT_REPORTS: u64 = 60;
/// How often a line item could have been served is told when it has grown by this part since it was last told, as a divisor. So the rate that accounting sees
/// of a new line item is off by an eighth at most, and that of an old one is a minute late at most.
const MATERIAL_PART: u64 = 8;

/// Makes reports of what a run of a server does.
#[derive(Debug)]
pub struct Reporter {
    server_id: ServerId,
    boot_id: BootId,
    supply: Arc<Supply>,
    spending: Arc<Spending>,
    telling: Telling,
}

impl Reporter {
    /// A reporter of these sums of that run of a server.
    #[must_use]
    pub fn new(server_id: ServerId, boot_id: BootId, supply: Arc<Supply>, spending: Arc<Spending>) -> Self {
        Self { server_id, boot_id, supply, spending, telling: Telling::default() }
    }

    /// What is to be said now; the first time all. None when nothing is wanted. Whoever carries it says how long it was on its way.
    pub fn report(&mut self, wanted: Wanted, snapshot: &Snapshot, now: Now) -> Option<ServerReport> {
        let (eligible, spending) = (self.supply.lock(), &self.spending);
        let all = snapshot.slots().map(|slot| {
            let eligible = eligible.get(slot.index()).copied().unwrap_or(0);
            Standing { slot, drawn_count: spending.totals(slot).count, eligible }
        });
        let line = |standing: Standing| {
            let line_item_id = snapshot.line(standing.slot).line_item.id;
            standing.to_line(line_item_id, spending, now)
        };
        let (extent, lines) = self.telling.tell(wanted, all, line)?;
        Some(ServerReport { server_id: self.server_id, boot_id: self.boot_id, at: now, transit_ms: 0, extent, lines })
    }
}

/// What decides whether a line item is told of; of most nothing else is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Which.
    pub(crate) slot: LineSlot,
    /// Its draws since the start.
    pub(crate) drawn_count: u64,
    /// Breaks in which it could have been served, likewise.
    pub(crate) eligible: u64,
}

impl Standing {
    /// All that is told of it.
    pub(crate) fn to_line(self, line_item_id: LineItemId, spending: &Spending, now: Now) -> LineReport {
        let drawn = spending.totals(self.slot);
        let lease = spending.lease(self.slot, now).map(|lease| LeaseLeft {
            lease_id: lease.lease_id,
            left: lease.left,
            ordinals_left: lease.ordinals_left,
        });
        LineReport { line_item_id, drawn: drawn.drawn, drawn_count: drawn.count, eligible: self.eligible, lease }
    }
}

/// Remembers what was told of each line item, and chooses what is told next.
#[derive(Default, Debug)]
pub(crate) struct Telling {
    /// By slot, draws and chances as they were last told; none of what was never told.
    told: Vec<Option<(u64, u64)>>,
    reports: u64,
    wholes: u64,
}

impl Telling {
    /// Of the line items as they stand, always in the same order, those to be told of now, as `line` tells them. The first time all.
    pub(crate) fn tell(
        &mut self,
        wanted: Wanted,
        all: impl Iterator<Item = Standing>,
        line: impl Fn(Standing) -> LineReport,
    ) -> Option<(Extent, Vec<LineReport>)> {
        let is_whole = match wanted {
            Wanted::Nothing => return None,
            Wanted::Changes => self.wholes == 0,
            Wanted::All => true,
        };
        self.reports = self.reports.wrapping_add(1);
        let mut lines = Vec::new();
        for (turn, standing) in (self.reports..).zip(all) {
            let place = standing.slot.index();
            if self.told.len() <= place {
                self.told.resize(place + 1, None);
            }
            let told = &mut self.told[place];
            let Standing { drawn_count, eligible, .. } = standing;
            if told.is_none() && drawn_count == 0 && eligible == 0 && line(standing).lease.is_none() {
                continue;
            }
            let told = told.get_or_insert((0, 0));
            let is_due = is_whole || turn.is_multiple_of(REPEAT_REPORTS);
            if is_due || drawn_count != told.0 || eligible.saturating_sub(told.1) > told.1 / MATERIAL_PART {
                *told = (drawn_count, eligible);
                lines.push(line(standing));
            }
        }
        if !is_whole {
            return Some((Extent::Changes, lines));
        }
        self.wholes += 1;
        Some((Extent::whole(self.wholes), lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Micros;

    fn line(n: u128, drawn_count: u64, eligible: u64) -> LineReport {
        LineReport { line_item_id: LineItemId::from_u128(n), drawn: Micros(0), drawn_count, eligible, lease: None }
    }

    /// The line items by their places.
    fn standings(lines: &[LineReport]) -> impl Iterator<Item = Standing> {
        let slots = (0..).map(LineSlot);
        slots.zip(lines).map(|(slot, &LineReport { drawn_count, eligible, .. })| Standing {
            slot,
            drawn_count,
            eligible,
        })
    }

    fn tell(telling: &mut Telling, wanted: Wanted, lines: &[LineReport]) -> (Extent, Vec<u128>) {
        let told = telling.tell(wanted, standings(lines), |standing| lines[standing.slot.index()]);
        let (extent, told) = told.expect("something is wanted");
        (extent, told.into_iter().map(|line| line.line_item_id.as_u128()).collect())
    }

    #[test]
    fn all_is_told_first_then_what_changed_materially() {
        let mut telling = Telling::default();
        let mut lines = vec![line(0, 5, 1_000), line(1, 0, 0), line(2, 1, 1_000)];
        assert_eq!(tell(&mut telling, Wanted::Changes, &lines), (Extent::whole(1), vec![0, 2]));
        assert_eq!(tell(&mut telling, Wanted::Changes, &lines), (Extent::Changes, vec![]));
        (lines[0].eligible, lines[2].eligible) = (1_125, 1_126);
        assert_eq!(tell(&mut telling, Wanted::Changes, &lines), (Extent::Changes, vec![2]), "more than an eighth");
        (lines[0].drawn_count, lines[1].eligible) = (6, 256);
        assert_eq!(tell(&mut telling, Wanted::Changes, &lines), (Extent::Changes, vec![0, 1]));
        assert_eq!(telling.tell(Wanted::Nothing, standings(&lines), |_| unreachable!("nothing is told")), None);
        lines[2].drawn_count = 2;
        assert_eq!(tell(&mut telling, Wanted::All, &lines), (Extent::whole(2), vec![0, 1, 2]));
    }

    #[test]
    fn every_line_item_is_told_once_a_minute() {
        let mut telling = Telling::default();
        let lines: Vec<_> = (0..1_000).map(|n| line(n, 1, 0)).collect();
        tell(&mut telling, Wanted::Changes, &lines);
        let mut times = vec![0; lines.len()];
        for _ in 0..REPEAT_REPORTS {
            let (_, told) = tell(&mut telling, Wanted::Changes, &lines);
            assert!(told.len() <= 17, "{} at once", told.len());
            for n in told {
                times[usize::try_from(n).expect("small")] += 1;
            }
        }
        assert!(times.iter().all(|times| *times == 1));
    }
}
