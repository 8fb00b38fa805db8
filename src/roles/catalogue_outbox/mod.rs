//! Publishes what is committed to a catalogue that servers share: [`Outbox`] says what is to be done, the [`shell`] does it.
//!
//! Revisions come two ways. The server that commits them tells its own publisher at once. And every publisher looks for what others have left, every
//! [`LOOK_EVERY_MS`]: what stands in two looks one after the other is nobody's any more, or its publisher is slow; then it is published here. So nothing that is
//! committed stays unpublished while any API server runs, and what is published twice changes nothing, since readers keep the greater number of an entity
//! (INV-48).
//!
//! A revision leaves the outbox once the log has acknowledged it, and never before. What this machine forgets (a bound reached, a removal that failed, a crash)
//! is in the store, and found by the next look.

mod shell;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::WallMs;
use crate::store::{OutboxRow, Pending, Waiting};

pub use shell::{Publisher, PublisherSettings, start};

/// Time between two looks for what others left, in milliseconds.
pub const LOOK_EVERY_MS: u64 = 2_000;
/// Most revisions in hand at once: what the log has and has not acknowledged. Beyond, they wait in the store.
pub const IN_HAND_MAX: usize = 1_024;

/// A revision by its entity and number.
pub type Name = Pending;

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Hand a revision to the event log, and tell what becomes of it: [`Outbox::acknowledged`] or [`Outbox::refused`]. Those of an entity in this order.
    HandOver(OutboxRow),
    /// Take rows of one entity out of the outbox, then forget the word that announced them, if it is told.
    Remove {
        /// The rows.
        rows: Vec<OutboxRow>,
        /// The word; it covers these rows and none besides.
        word: Option<Pending>,
    },
    /// Forget a word: nothing that it announced is to be published any more.
    Forget(Pending),
}

/// What is in hand.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What was committed or found together, by a number of its own.
    parcels: BTreeMap<u64, Parcel>,
    /// In which parcel a revision is.
    places: BTreeMap<Name, u64>,
    next_parcel: u64,
    /// What the log had no room for.
    waiting: BTreeSet<Name>,
    /// Words that stood at the last look.
    seen: BTreeSet<Pending>,
}

#[derive(Debug)]
struct Parcel {
    rows: Vec<OutboxRow>,
    unacknowledged: BTreeSet<u64>,
    word: Option<Pending>,
}

impl Outbox {
    /// Nothing in hand.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This server has committed revisions of one entity.
    pub fn committed(&mut self, rows: Vec<OutboxRow>) -> Vec<Effect> {
        let word = rows.last().map(|row| Pending::of(&row.revision));
        self.take_up(rows, word)
    }

    /// All words that stand, at a look. Gives those whose entities are to be looked at: they stood at the last look too, and are not in hand.
    pub fn looked(&mut self, words: BTreeSet<Pending>) -> Vec<Pending> {
        let left = words.iter().filter(|word| self.seen.contains(word) && !self.places.contains_key(word));
        let left = left.copied().collect();
        self.seen = words;
        left
    }

    /// What an entity has to publish, which a word had announced.
    pub fn found(&mut self, word: Pending, waiting: Waiting) -> Vec<Effect> {
        let announced = waiting.rows.iter().any(|row| row.revision.number <= word.number);
        if announced {
            // The word goes when a later look finds nothing: there may be more rows than these.
            return self.take_up(waiting.rows, None);
        }
        if waiting.newest < word.number {
            // Its writer is on its way, or gave up. The word stays until the entity has that number.
            return Vec::new();
        }
        self.seen.remove(&word);
        vec![Effect::Forget(word)]
    }

    /// The log has a revision.
    pub fn acknowledged(&mut self, name: Name) -> Vec<Effect> {
        self.waiting.remove(&name);
        let Some(at) = self.places.get(&name).copied() else { return Vec::new() };
        let Some(parcel) = self.parcels.get_mut(&at) else { return Vec::new() };
        parcel.unacknowledged.remove(&name.number);
        if !parcel.unacknowledged.is_empty() {
            return Vec::new();
        }
        self.put_down(at).map(|parcel| Effect::Remove { rows: parcel.rows, word: parcel.word }).into_iter().collect()
    }

    /// The log has no room for a revision. It is handed over again with the next [`retry`](Self::retry).
    pub fn refused(&mut self, name: Name) {
        if self.places.contains_key(&name) {
            self.waiting.insert(name);
        }
    }

    /// The log will not take a revision now. It is left in the store, for a later look.
    pub fn gave_up(&mut self, name: Name) {
        if let Some(at) = self.places.get(&name).copied() {
            self.put_down(at);
        }
    }

    /// Hands over again what the log had no room for.
    pub fn retry(&mut self) -> Vec<Effect> {
        let names = std::mem::take(&mut self.waiting);
        let rows = names.into_iter().filter_map(|name| {
            let parcel = self.parcels.get(self.places.get(&name)?)?;
            parcel.rows.iter().find(|row| row.revision.number == name.number).cloned()
        });
        rows.map(Effect::HandOver).collect()
    }

    /// How many revisions are in hand.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.places.len()
    }

    /// When the oldest revision in hand was made.
    #[must_use]
    pub fn oldest(&self) -> Option<WallMs> {
        self.parcels.values().flat_map(|parcel| &parcel.rows).map(|row| row.revision.at).min()
    }

    fn take_up(&mut self, rows: Vec<OutboxRow>, word: Option<Pending>) -> Vec<Effect> {
        let all = rows.len();
        let new: Vec<OutboxRow> =
            rows.into_iter().filter(|row| !self.places.contains_key(&Name::of(&row.revision))).collect();
        // A word goes with all that it announced, or at a later look.
        let word = word.filter(|_| new.len() == all);
        if new.is_empty() || self.places.len() + new.len() > IN_HAND_MAX {
            return Vec::new();
        }
        let at = self.next_parcel;
        self.next_parcel += 1;
        self.places.extend(new.iter().map(|row| (Name::of(&row.revision), at)));
        let unacknowledged = new.iter().map(|row| row.revision.number).collect();
        let effects = new.iter().cloned().map(Effect::HandOver).collect();
        self.parcels.insert(at, Parcel { rows: new, unacknowledged, word });
        effects
    }

    fn put_down(&mut self, at: u64) -> Option<Parcel> {
        let parcel = self.parcels.remove(&at)?;
        for row in &parcel.rows {
            let name = Name::of(&row.revision);
            self.places.remove(&name);
            self.waiting.remove(&name);
        }
        Some(parcel)
    }
}

#[cfg(test)]
mod tests;
