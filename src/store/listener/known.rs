//! What one server knows of a listener: the state, and how it stands to what is stored. Pure.
//!
//! Where several servers share a store a copy in memory grows old, and is read again. What is stored then takes its place, but for what this server
//! knows better: changes of which it can't be said that a read that began later saw them ([`Known::begin`], [`Known::take_over`]).
//!
//! * **Exposures** merge by impression. Heard is stronger than given up, given up than reserved, whoever says it and whenever: the life of an impression
//!   has no other order. So two servers' changes commute, and each may be written twice.
//! * **The head** is one row, and the last one written wins. Its open breaks are merged here by what was opened and closed since the last read, and
//!   written again where the store has it otherwise; between two readings a server may not know of a break that another opened.
//! * **The pseudonym** says whether it is the same listener still. Another one, or none: they were forgotten elsewhere, and what this server knew is too;
//!   what it has written since is erased.
//! * **The profile** is what was read: nothing here changes it.
//! * **The strict row** is replaced ([`adopt`]) unless this server wrote it meanwhile: then its own is later than what was read.

use super::backend::{Fate, ListenerChange};
use crate::caps::strict::adopt;
use crate::model::{
    CreativeId, DecisionId, Exposure, ExposureState, ListenerKey, ListenerState, Pseudonym, StrictRow, StrictVersion,
    WallMs,
};

/// Changes kept for merging. Between two readings there are a few; this many, when the store fails for long.
const UNWRITTEN_MAX: usize = 2 * ListenerState::MAX_EXPOSURES;
/// How long a copy that could not be read again is used before the next attempt, in milliseconds.
const RETRY_MS: i64 = 1_000;

/// A listener's state, and how it stands to the store.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: ListenerState,
    /// Whether the store has this pseudonym.
    established: bool,
    read_at: Option<WallMs>,
    retry_at: Option<WallMs>,
    /// How many times they were forgotten here: a read that began before the last is worth nothing.
    forgotten: u32,
    head: Option<HeadMark>,
    head_changed: bool,
    /// Breaks that were open when it was read.
    breaks: Vec<DecisionId>,
    unwritten: Vec<Unwritten>,
}

/// The head that was read or handed over last.
#[derive(Debug)]
struct HeadMark {
    outline: HeadOutline,
    fate: Fate,
}

/// What a head says in short: two heads of one listener with the same outline are the same. A beacon changes an exposure and leaves the head as it is, with
/// kilobytes of answers; so it is not even encoded then.
#[derive(PartialEq, Eq, Debug)]
struct HeadOutline {
    pseudonym: Pseudonym,
    last_break_at: Option<WallMs>,
    last_break_creatives: Vec<CreativeId>,
    /// Each open break, and how long its answer is: an answer is put in once.
    open_breaks: Vec<(DecisionId, usize)>,
}

impl HeadOutline {
    fn of(state: &ListenerState) -> Self {
        Self {
            pseudonym: state.pseudonym,
            last_break_at: state.last_break_at,
            last_break_creatives: state.last_break_creatives.clone(),
            open_breaks: state.open_breaks.iter().map(|open| (open.decision_id, open.answer.len())).collect(),
        }
    }
}

#[derive(Debug)]
struct Unwritten {
    exposure: Exposure,
    is_gone: bool,
    fate: Fate,
    /// A read that has begun sees it.
    is_seen: bool,
}

/// A read that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    forgotten: u32,
    strict: Option<StrictVersion>,
    /// Whether the store has a head of them: not of somebody new, where it is written with their first change.
    pub(super) is_stored: bool,
    /// The pseudonym to give them if the store has none; none: draw one.
    pub(super) candidate: Option<Pseudonym>,
}

impl Known {
    /// Somebody of whom nothing was read yet.
    pub(super) const fn unread(pseudonym: Pseudonym) -> Self {
        Self {
            state: ListenerState::new(pseudonym),
            established: false,
            read_at: None,
            retry_at: None,
            forgotten: 0,
            head: None,
            head_changed: false,
            breaks: Vec::new(),
            unwritten: Vec::new(),
        }
    }

    /// Whether it may be used at that time without reading again. A copy from the future is of a clock that was set back: it is read again.
    pub(super) fn is_fresh(&self, now: WallMs, max_age_ms: i64) -> bool {
        let young = |at: WallMs| (0..max_age_ms).contains(&now.since(at));
        let put_off = |until: WallMs| (1..=RETRY_MS).contains(&until.since(now));
        self.established && (self.read_at.is_some_and(young) || self.retry_at.is_some_and(put_off))
    }

    /// It can't be read again now. Whether it may be used as it is: not before it was read once.
    pub(super) fn put_off(&mut self, now: WallMs) -> bool {
        self.retry_at = Some(now.plus_ms(RETRY_MS));
        self.established
    }

    /// They are forgotten, and are somebody new from now on.
    pub(super) fn forget(&mut self, pseudonym: Pseudonym) {
        *self = Self { forgotten: self.forgotten.wrapping_add(1), ..Self::unread(pseudonym) };
    }

    /// What differs from the exposures before, and from the head that was read or handed over last; none if nothing does. With `is_shared` it is kept for
    /// merging.
    pub(super) fn changed(&mut self, key: ListenerKey, before: &[Exposure], is_shared: bool) -> Option<ListenerChange> {
        let put = lacking(&self.state.exposures, before, |new, old| new == old);
        let gone = lacking(before, &self.state.exposures, |old, new| old.impression_id == new.impression_id);
        let change = self.change(key, put, gone);
        if is_shared {
            self.keep(&change);
        }
        (!change.is_empty()).then_some(change)
    }

    /// A change of these exposures, and of the head unless that is as it was read or handed over last, and did not fail.
    fn change(&mut self, key: ListenerKey, put: Vec<Exposure>, gone: Vec<Exposure>) -> ListenerChange {
        let outline = HeadOutline::of(&self.state);
        if self.head.as_ref().is_some_and(|mark| mark.outline == outline && !mark.fate.is_failed()) {
            return ListenerChange::of_exposures(key, self.state.pseudonym, put, gone);
        }
        let change = ListenerChange::new(key, &self.state, put, gone);
        self.head_changed = true;
        self.head = Some(HeadMark { outline, fate: change.receipt.fate() });
        change
    }

    fn keep(&mut self, change: &ListenerChange) {
        let changes = change.put.iter().map(|one| (one, false)).chain(change.gone.iter().map(|one| (one, true)));
        for (exposure, is_gone) in changes {
            self.unwritten.retain(|known| known.exposure.impression_id != exposure.impression_id);
            let fate = change.receipt.fate();
            self.unwritten.push(Unwritten { exposure: *exposure, is_gone, fate, is_seen: false });
        }
        let excess = self.unwritten.len().saturating_sub(UNWRITTEN_MAX);
        self.unwritten.drain(..excess);
    }

    /// A read of the store begins: it sees all that was written by now.
    pub(super) fn begin(&mut self) -> Begun {
        for one in &mut self.unwritten {
            one.is_seen = one.fate.is_written();
        }
        let candidate = (!self.established).then_some(self.state.pseudonym);
        Begun { forgotten: self.forgotten, strict: self.state.strict.version, is_stored: true, candidate }
    }

    /// What was read takes the place of what was known; what is to be written then. An error when they were forgotten meanwhile: to be read again.
    pub(super) fn take_over(
        &mut self,
        key: ListenerKey,
        begun: Begun,
        stored: ListenerState,
        strict: StrictRow,
        now: WallMs,
    ) -> Result<Option<ListenerChange>, ForgottenMeanwhile> {
        if begun.forgotten != self.forgotten {
            return Err(ForgottenMeanwhile);
        }
        if begun.strict == self.state.strict.version {
            adopt(&mut self.state.strict, strict);
        }
        let outline = HeadOutline::of(&stored);
        let erase = if stored.pseudonym == self.state.pseudonym {
            self.merge(stored);
            None
        } else {
            Some(self.replace(key, stored))
        };
        self.established = true;
        (self.read_at, self.retry_at, self.head_changed) = (Some(now), None, false);
        self.breaks = self.state.open_breaks.iter().map(|open| open.decision_id).collect();
        self.unwritten.retain(|one| !one.is_seen);
        self.head = begun.is_stored.then(|| HeadMark { outline, fate: Fate::default() });
        let change = erase.unwrap_or_else(|| {
            let (put, gone) = self.unstored();
            self.change(key, put, gone)
        });
        self.keep(&change);
        Ok((!change.is_empty()).then_some(change))
    }

    /// Somebody else than was known: what was written of the one before is erased.
    fn replace(&mut self, key: ListenerKey, stored: ListenerState) -> ListenerChange {
        let old = ListenerState { strict: std::mem::take(&mut self.state.strict), ..stored };
        let old = std::mem::replace(&mut self.state, old);
        let erased: Vec<_> = self.unwritten.drain(..).filter(|one| !one.is_gone).map(|one| one.exposure).collect();
        ListenerChange { erased, ..ListenerChange::of_exposures(key, old.pseudonym, Vec::new(), Vec::new()) }
    }

    fn merge(&mut self, mut stored: ListenerState) {
        for known in self.unwritten.iter().filter(|one| !one.is_seen) {
            overlay(&mut stored.exposures, &known.exposure, known.is_gone);
        }
        let excess = stored.exposures.len().saturating_sub(ListenerState::MAX_EXPOSURES);
        stored.exposures.drain(..excess);
        self.state.exposures = stored.exposures;
        self.state.profile = stored.profile;
        if !self.head_changed || stored.last_break_at > self.state.last_break_at {
            self.state.last_break_at = stored.last_break_at;
            self.state.last_break_creatives = stored.last_break_creatives;
        }
        let was_open = |id: &DecisionId| self.breaks.contains(id);
        let theirs: Vec<_> = stored.open_breaks.iter().map(|open| open.decision_id).collect();
        let ours = &mut self.state.open_breaks;
        // Open before and not there any more: another server closed it. There, open before and not here: this one did.
        ours.retain(|open| theirs.contains(&open.decision_id) || !was_open(&open.decision_id));
        let here: Vec<_> = ours.iter().map(|open| open.decision_id).collect();
        let is_new = |id: &DecisionId| !here.contains(id) && !was_open(id);
        ours.extend(stored.open_breaks.into_iter().filter(|open| is_new(&open.decision_id)));
        if !here.is_empty() {
            ours.sort_by_key(|open| open.decided_at);
        }
        let excess = ours.len().saturating_sub(ListenerState::MAX_OPEN_BREAKS);
        ours.drain(..excess);
    }

    /// Exposures that could not be written before: new or changed, and gone.
    fn unstored(&self) -> (Vec<Exposure>, Vec<Exposure>) {
        let failed = |is_gone: bool| {
            let failed = self.unwritten.iter().filter(move |one| one.fate.is_failed() && one.is_gone == is_gone);
            failed.map(|one| one.exposure).collect()
        };
        (failed(false), failed(true))
    }
}

/// They were forgotten while they were being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ForgottenMeanwhile;

/// Those of `exposures` that `others` don't have, by `is_same`. Nearly always the two are one list in one order before and after a change of an
/// ad or three: what a walk along both doesn't find is looked for in all of `others`, the rest in a step each.
fn lacking(
    exposures: &[Exposure],
    others: &[Exposure],
    is_same: impl Fn(&Exposure, &Exposure) -> bool,
) -> Vec<Exposure> {
    let mut ahead = others;
    let mut lacks = |exposure: &&Exposure| {
        if let Some(place) = ahead.iter().position(|other| is_same(exposure, other)) {
            ahead = &ahead[place + 1..];
            return false;
        }
        let behind = &others[..others.len() - ahead.len()];
        !behind.iter().any(|other| is_same(exposure, other))
    };
    exposures.iter().filter(|exposure| lacks(exposure)).copied().collect()
}

/// Puts a change over exposures, oldest first. What is heard stays.
fn overlay(exposures: &mut Vec<Exposure>, change: &Exposure, is_gone: bool) {
    let found = exposures.iter().position(|one| one.impression_id == change.impression_id);
    match found {
        Some(index) if exposures[index].state == ExposureState::Heard => {}
        Some(index) if is_gone => {
            exposures.remove(index);
        }
        Some(index) => exposures[index] = *change,
        None if is_gone => {}
        None => {
            let place = exposures.partition_point(|one| one.at <= change.at);
            exposures.insert(place, *change);
        }
    }
}

#[cfg(test)]
mod tests;
