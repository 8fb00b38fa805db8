//! The store of listeners' state as a model of a wide-row store: each exposure is a row of its own, so that two servers' writes merge; a
//! version for whoever must not write past another.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Exposure, ExposureState, ImpressionId, ListenerKey, ListenerState, Pseudonym};

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
    version: u64,
    state: ListenerState,
    before: ListenerState,
}

/// The rows of all listeners.
#[derive(Default, Debug)]
pub struct ListenerModel {
    rows: BTreeMap<ListenerKey, Row>,
}

impl ListenerModel {
    /// What is known of the listener, and its version.
    #[must_use]
    pub fn read(&self, key: ListenerKey) -> (ListenerState, u64) {
        self.rows.get(&key).map_or_else(|| (nobody(key), 0), |row| (row.state.clone(), row.version))
    }

    /// What was known before the last write, with its version.
    #[must_use]
    pub fn read_stale(&self, key: ListenerKey) -> (ListenerState, u64) {
        self.rows.get(&key).map_or_else(|| (nobody(key), 0), |row| (row.before.clone(), row.version.saturating_sub(1)))
    }

    /// Merges a write.
    pub fn write(&mut self, key: ListenerKey, write: &ListenerWrite) {
        let row = self.rows.entry(key).or_insert_with(|| Row { version: 0, state: nobody(key), before: nobody(key) });
        row.before = row.state.clone();
        row.version += 1;
        merge(&mut row.state, write);
    }

    /// Merges a write if nobody wrote since that version. False when somebody did.
    #[must_use]
    pub fn write_if(&mut self, key: ListenerKey, version: u64, write: &ListenerWrite) -> bool {
        let holds = self.read(key).1 == version;
        if holds {
            self.write(key, write);
        }
        holds
    }
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
