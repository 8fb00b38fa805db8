//! Which line items a sweep looks at.
//!
//! A sweep comes every second, and of a hundred thousand line items nearly all stand as they stood: what is reported, read or changed names those that don't
//! ([`Looks::changed`], [`Looks::soon`]), and whoever is looked at says whether time alone will change it soon. All others take turns, so that what slowly
//! drifts, a throttle along its plan, is seen within [`QUIET_SWEEPS`]. Of a million line items the turns are more than a step of accounting takes at once: what is
//! left goes first in the next steps, and turns that were missed meanwhile come together.

use std::collections::BTreeSet;

use crate::model::{BootId, LineItemId, ServerId};

/// A line item of which nothing is heard is looked at once in so many sweeps: in ten of the 300 seconds that pacing looks ahead, a plan moves by what a
/// throttle is told for, no more.
pub(super) const QUIET_SWEEPS: usize = 10;
/// Once in so many sweeps a throttle is told however little it changed: a server that could not use it has it within a minute. A multiple of
/// [`QUIET_SWEEPS`].
const TOLD_AGAIN_SWEEPS: usize = 60;

/// What the next sweep looks at.
#[derive(Debug)]
pub(super) struct Looks {
    /// The line items by the sweep of a minute in which their throttle is told again.
    turns: [Vec<LineItemId>; TOLD_AGAIN_SWEEPS],
    known: usize,
    sweeps: usize,
    soon: BTreeSet<LineItemId>,
    at_once: BTreeSet<LineItemId>,
    is_all: bool,
    served: Vec<(ServerId, BootId)>,
}

/// The line items of one sweep, by id.
#[derive(Default, Debug)]
pub(super) struct Sweep {
    /// All, or those named.
    pub(super) lines: Option<BTreeSet<LineItemId>>,
    /// Those whose throttle is told however little it changed.
    pub(super) again: BTreeSet<LineItemId>,
}

impl Looks {
    pub(super) const fn new() -> Self {
        Self {
            turns: [const { Vec::new() }; TOLD_AGAIN_SWEEPS],
            known: 0,
            sweeps: 0,
            soon: BTreeSet::new(),
            at_once: BTreeSet::new(),
            is_all: true,
            served: Vec::new(),
        }
    }

    /// A line item is new: it gets a turn.
    pub(super) fn begin(&mut self, id: LineItemId) {
        self.turns[self.known % TOLD_AGAIN_SWEEPS].push(id);
        self.known += 1;
    }

    /// Something of the line item moved: the next second's sweep looks at it.
    pub(super) fn soon(&mut self, id: LineItemId) {
        self.soon.insert(id);
    }

    /// The line item is another one: it is looked at now.
    pub(super) fn changed(&mut self, id: LineItemId) {
        self.at_once.insert(id);
    }

    /// All line items are looked at now.
    pub(super) const fn all(&mut self) {
        self.is_all = true;
    }

    /// Whether there is something to look at that doesn't wait for the next second.
    pub(super) fn is_at_once(&self) -> bool {
        self.is_all || !self.at_once.is_empty()
    }

    /// Who is given leases now. Where that changed, what is lacking there is looked for among all.
    pub(super) fn serve(&mut self, served: Vec<(ServerId, BootId)>) {
        self.is_all |= self.served != served;
        self.served = served;
    }

    /// What is to be looked at: with the turns of so many seconds, or with none of them only what doesn't wait. As many turns as all line items have are all.
    pub(super) fn take(&mut self, turns: usize) -> Sweep {
        let first = self.sweeps;
        self.sweeps = (first + turns) % TOLD_AGAIN_SWEEPS;
        let passed = || (1..=turns.min(TOLD_AGAIN_SWEEPS)).map(|turn| (first + turn) % TOLD_AGAIN_SWEEPS);
        let again = passed().flat_map(|sweep| &self.turns[sweep]).copied().collect();
        let mut lines = std::mem::take(&mut self.at_once);
        if std::mem::take(&mut self.is_all) || turns >= QUIET_SWEEPS {
            self.soon.clear();
            return Sweep { lines: None, again };
        }
        if turns > 0 {
            lines.append(&mut self.soon);
        }
        for sweep in passed() {
            let quiet = self.turns.iter().skip(sweep % QUIET_SWEEPS).step_by(QUIET_SWEEPS);
            lines.extend(quiet.flatten());
        }
        Sweep { lines: Some(lines), again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> LineItemId {
        LineItemId::from_u128(n as u128)
    }

    fn looks(count: usize) -> Looks {
        let mut looks = Looks::new();
        (0..count).for_each(|n| looks.begin(id(n)));
        assert_eq!(looks.take(0).lines, None, "all, at the start");
        looks
    }

    #[test]
    fn all_take_turns_and_are_told_again_once_a_minute() {
        let mut looks = looks(1_000);
        let (mut seen, mut told) = (vec![0; 1_000], vec![0; 1_000]);
        for _ in 0..TOLD_AGAIN_SWEEPS {
            let Sweep { lines, again } = looks.take(1);
            let lines = lines.expect("not all");
            assert!(again.is_subset(&lines) && lines.len() <= 102, "{} at once", lines.len());
            (0..1_000).filter(|n| lines.contains(&id(*n))).for_each(|n| seen[n] += 1);
            (0..1_000).filter(|n| again.contains(&id(*n))).for_each(|n| told[n] += 1);
        }
        assert!(seen.iter().all(|times| *times == TOLD_AGAIN_SWEEPS / QUIET_SWEEPS));
        assert!(told.iter().all(|times| *times == 1));
    }

    #[test]
    fn what_moved_is_looked_at_with_the_next_turn_and_what_changed_at_once() {
        let mut looks = looks(3);
        assert!(!looks.is_at_once());
        looks.soon(id(70));
        looks.changed(id(80));
        assert!(looks.is_at_once());
        assert_eq!(looks.take(0).lines, Some(BTreeSet::from([id(80)])));
        assert!(!looks.is_at_once());
        assert!(looks.take(1).lines.is_some_and(|lines| lines.contains(&id(70))));
        assert!(looks.take(1).lines.is_some_and(|lines| !lines.contains(&id(70))));
        let run = (ServerId::from_u128(1), BootId::from_u128(2));
        looks.serve(vec![run]);
        assert_eq!(looks.take(1).lines, None, "another server lacks what others have");
        looks.serve(vec![run]);
        assert!(looks.take(1).lines.is_some());
    }

    #[test]
    fn turns_that_come_late_come_together() {
        let (mut late, mut punctual) = (looks(1_000), looks(1_000));
        let together = late.take(3);
        let mut one_by_one = Sweep { lines: Some(BTreeSet::new()), again: BTreeSet::new() };
        for _ in 0..3 {
            let Sweep { lines, again } = punctual.take(1);
            one_by_one.again.extend(again);
            one_by_one.lines.as_mut().expect("some").extend(lines.expect("not all"));
        }
        assert_eq!((together.lines, together.again), (one_by_one.lines, one_by_one.again));
        assert_eq!(late.take(QUIET_SWEEPS).lines, None);
        assert_eq!(late.take(10 * TOLD_AGAIN_SWEEPS).again.len(), 1_000);
    }
}
