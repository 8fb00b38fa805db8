//! The store of listeners' state as a model of a wide-row store: each exposure is a row of its own, so that two servers' writes merge; and a
//! strict row with a version, for whoever must not write past another.

use std::collections::{BTreeMap, BTreeSet};

use crate::caps::strict::{self, Outcome, Reservation, Verdict};
use crate::model::{Exposure, ExposureState, ImpressionId, ListenerKey, ListenerState, Pseudonym, StrictRow};

/// What a server writes after it has changed a listener's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerWrite {
    /// The state as the server has it.
    pub after: ListenerState,
    /// Exposures that it dropped.
    pub dropped: BTreeSet<ImpressionId>,
}

impl ListenerWrite {
    /// The difference of two states.
    #[must_use]
    pub fn between(before: &ListenerState, after: &ListenerState) -> Self {
        let kept: BTreeSet<_> = after.exposures.iter().map(|exposure| exposure.impression_id).collect();
        let dropped = before.exposures.iter().map(|exposure| exposure.impression_id).filter(|id| !kept.contains(id));
        Self { dropped: dropped.collect(), after: after.clone() }
    }
}

#[derive(Clone, Debug)]
struct Row {
    state: ListenerState,
    before: ListenerState,
}

/// What strict caps count of one listener, now and before the last write.
#[derive(Clone, Default, Debug)]
struct Strict {
    row: StrictRow,
    before: StrictRow,
}

/// The rows of all listeners.
#[derive(Default, Debug)]
pub struct ListenerModel {
    rows: BTreeMap<ListenerKey, Row>,
    strict: BTreeMap<ListenerKey, Strict>,
}

impl ListenerModel {
    /// What is known of the listener.
    #[must_use]
    pub fn read(&self, key: ListenerKey) -> ListenerState {
        let state = self.rows.get(&key).map_or_else(|| nobody(key), |row| row.state.clone());
        with_strict(state, self.strict.get(&key).map(|strict| &strict.row))
    }

    /// What was known before the last write. Of the strict row too: its copies are as old as others, and only the conditional write, which
    /// sees the row as it is, tells.
    #[must_use]
    pub fn read_stale(&self, key: ListenerKey) -> ListenerState {
        let state = self.rows.get(&key).map_or_else(|| nobody(key), |row| row.before.clone());
        with_strict(state, self.strict.get(&key).map(|strict| &strict.before))
    }

    /// Merges a write.
    pub fn write(&mut self, key: ListenerKey, write: &ListenerWrite) {
        let row = self.rows.entry(key).or_insert_with(|| Row { state: nobody(key), before: nobody(key) });
        row.before = row.state.clone();
        merge(&mut row.state, write);
    }

    /// Writes the strict row if it has the version that the reservation was made from: in one step, as all conditional writes of one row
    /// are in one order.
    pub fn write_if(&mut self, key: ListenerKey, reservation: &Reservation) -> Outcome {
        let strict = self.strict.entry(key).or_default();
        match strict::judge(strict.row.version, reservation) {
            Verdict::Accept => {
                strict.before = std::mem::replace(&mut strict.row, reservation.row.clone());
                Outcome::Accepted
            }
            Verdict::Repeated => Outcome::Accepted,
            Verdict::Conflict => Outcome::Conflict(strict.row.clone()),
        }
    }

    /// Writes the strict row whatever it has: for a sabotage.
    pub fn write_unasked(&mut self, key: ListenerKey, reservation: &Reservation) {
        let strict = self.strict.entry(key).or_default();
        strict.before = std::mem::replace(&mut strict.row, reservation.row.clone());
    }
}

/// The state with its strict row, as a server takes it over.
fn with_strict(mut state: ListenerState, row: Option<&StrictRow>) -> ListenerState {
    strict::adopt(&mut state.strict, row.cloned().unwrap_or_default());
    state
}

fn nobody(key: ListenerKey) -> ListenerState {
    ListenerState::new(Pseudonym(key.0))
}

fn merge(state: &mut ListenerState, write: &ListenerWrite) {
    let mut exposures: BTreeMap<ImpressionId, Exposure> =
        state.exposures.drain(..).map(|exposure| (exposure.impression_id, exposure)).collect();
    for exposure in &write.after.exposures {
        let known = exposures.entry(exposure.impression_id).or_insert(*exposure);
        if exposure.state == ExposureState::Heard {
            *known = *exposure;
        }
    }
    // A drop says that it will not be heard; that it was heard is the stronger word.
    exposures.retain(|id, exposure| exposure.state == ExposureState::Heard || !write.dropped.contains(id));
    state.exposures = exposures.into_values().collect();
    state.exposures.sort_by_key(|exposure| (exposure.at, exposure.impression_id));
    if write.after.last_break_at >= state.last_break_at {
        state.last_break_at = write.after.last_break_at;
        state.last_break_creatives.clone_from(&write.after.last_break_creatives);
    }
    state.open_breaks.clone_from(&write.after.open_breaks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DecisionId, StrictVersion, WallMs};

    fn reservation(known: &StrictRow, number: u128) -> Reservation {
        let version = StrictVersion::of(DecisionId::from_u128(number), 0);
        strict::reserve(known, Vec::new(), version, WallMs(0)).expect("there is room")
    }

    // INV-31.
    #[test]
    fn a_conditional_write_from_an_older_row_is_refused_however_late_it_comes() {
        let (mut store, key) = (ListenerModel::default(), ListenerKey::of_account([7; 16]));
        let known = store.read(key).strict;
        let (first, late) = (reservation(&known, 10), reservation(&known, 20));
        assert_eq!(store.write_if(key, &first), Outcome::Accepted);
        assert_eq!(store.write_if(key, &first), Outcome::Accepted, "it came twice, and is written");
        assert_eq!(store.write_if(key, &late), Outcome::Conflict(first.row.clone()));
        assert_eq!(store.read_stale(key).strict, known);
        let second = reservation(&store.read(key).strict, 30);
        assert_eq!(store.write_if(key, &second), Outcome::Accepted);
        assert_eq!(store.write_if(key, &first), Outcome::Conflict(second.row));
    }
}
