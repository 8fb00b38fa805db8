//! Numbers for the values that line items ask for.
//!
//! Numbers are given at first sight and never taken back, so that an index built earlier stays readable. A copy is cheap: the maps are in pieces
//! (see [`shards`](super::shards)). A request is looked up value by value, some sixty times, which is a good part of what it costs to
//! decide: so a text is hashed once, by a quick hash with a key of its own, for piece and place alike.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use super::shards::Shards;
use crate::model::{NetworkId, WallMs, Zone};
use crate::targeting::WeekHours;
use crate::targeting::dnf::{Field, Term};
use crate::targeting::index::{Lane, ValueId};

/// Which value has which number.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    networks: Shards<NetworkId, ValueId>,
    /// By lane; lanes of numbers alone stay empty.
    texts: Vec<Texts>,
    /// Zones of flights whose hours are asked for, with the number of hour 0 of each.
    zones: Vec<(Zone, ValueId)>,
    /// The next free number, by lane. Explicit, ages and hours are their own numbers.
    next: [u32; Lane::COUNT],
}

impl Default for Dictionary {
    fn default() -> Self {
        Self::keyed(0)
    }
}

impl Dictionary {
    /// An empty one, whose hashes follow from a key: where line items come from outside, one that nobody outside knows, so that no texts are chosen to
    /// collide.
    pub(super) fn keyed(key: u64) -> Self {
        Self {
            networks: Shards::in_pieces(1),
            texts: (0..Lane::COUNT).map(|_| Texts::keyed(key)).collect(),
            zones: Vec::new(),
            next: [0; Lane::COUNT],
        }
    }
}

/// A text and its number.
type Numbered = (Arc<str>, ValueId);

/// Numbers of texts, in pieces of which a change copies one.
#[derive(Clone, Debug)]
struct Texts {
    pieces: Vec<Arc<HashTable<Numbered>>>,
    hasher: FixedState,
}

impl Texts {
    fn keyed(key: u64) -> Self {
        Self { pieces: (0..Self::PIECES).map(|_| Arc::default()).collect(), hasher: FixedState::with_seed(key) }
    }

    const PIECES: usize = 1 << Self::PIECE_BITS;
    const PIECE_BITS: u32 = 6;

    fn get(&self, text: &str) -> Option<ValueId> {
        let hash = self.hasher.hash_one(text);
        self.pieces[Self::piece(hash)].find(hash, |(known, _)| **known == *text).map(|(_, number)| *number)
    }

    /// Sets the number of a text that has none.
    fn insert(&mut self, text: Arc<str>, number: ValueId) {
        let hash = self.hasher.hash_one(&*text);
        let piece = Arc::make_mut(&mut self.pieces[Self::piece(hash)]);
        piece.insert_unique(hash, (text, number), |(known, _)| self.hasher.hash_one(&**known));
    }

    /// By the bits in the middle: a table finds its places by those at both ends.
    fn piece(hash: u64) -> usize {
        usize::try_from((hash >> 32) % Self::PIECES as u64).expect("below the number of pieces")
    }
}

impl Dictionary {
    /// Number of the network; given if it has none.
    fn intern_network(&mut self, id: NetworkId) -> ValueId {
        if let Some(number) = self.find_network(id) {
            return number;
        }
        let number = self.allot(Lane::NETWORK, 1);
        self.networks.insert(id, number);
        number
    }

    /// Number of a value that a line item of that zone asks for; given if it has none.
    fn intern(&mut self, field: Field, term: Term<'_>, zone: &Zone) -> ValueId {
        if let Some(number) = self.find(field, term, zone) {
            return number;
        }
        let text: Arc<str> = match term {
            Term::Text(text) => text.into(),
            Term::Pair(key, value) => pair(key, value).into(),
            Term::Number(hour) => {
                // Only hours of a zone not seen before have no number: the whole week is given one.
                let midnight = self.allot(Lane::of(field), u32::from(WeekHours::COUNT));
                self.zones.push((zone.clone(), midnight));
                return ValueId(midnight.0 + u32::from(hour));
            }
        };
        let number = self.allot(Lane::of(field), 1);
        self.texts[Lane::of(field).index()].insert(text, number);
        number
    }

    fn allot(&mut self, lane: Lane, count: u32) -> ValueId {
        let next = &mut self.next[lane.index()];
        let number = ValueId(*next);
        *next = next.checked_add(count).expect("fewer than 2^32 values fit in memory");
        number
    }

    /// Number of the network, if a line item runs in it.
    pub(super) fn find_network(&self, id: NetworkId) -> Option<ValueId> {
        self.networks.get(&id).copied()
    }

    /// Number of a value that a line item of that zone asks for, if one ever did.
    pub(super) fn find(&self, field: Field, term: Term<'_>, zone: &Zone) -> Option<ValueId> {
        match (field, term) {
            (Field::LineItemHour, Term::Number(hour)) => {
                let (_, midnight) = self.zones.iter().find(|(known, _)| known.name() == zone.name())?;
                Some(ValueId(midnight.0 + u32::from(hour)))
            }
            (Field::Explicit | Field::Age | Field::ListenerHour, Term::Number(number)) => {
                Some(ValueId(u32::from(number)))
            }
            (_, Term::Text(text)) => self.texts[Lane::of(field).index()].get(text),
            (_, Term::Pair(key, value)) => self.texts[Lane::of(field).index()].get(&pair(key, value)),
            (Field::Plain(_) | Field::KeyValue, Term::Number(_)) => None,
        }
    }

    /// The hour of the week in each zone whose hours are asked for.
    pub(super) fn line_item_hours(&self, at: WallMs) -> impl Iterator<Item = ValueId> {
        self.zones.iter().map(move |(zone, midnight)| ValueId(midnight.0 + u32::from(zone.hour_of_week(at))))
    }
}

/// Gives numbers to the values of a line item.
pub(super) trait Numbers {
    /// Number of a network.
    fn network(&mut self, id: NetworkId) -> ValueId;
    /// Number of a value that a line item of that zone asks for.
    fn value(&mut self, field: Field, term: Term<'_>, zone: &Zone) -> ValueId;
}

/// Numbers for line items new to the dictionary.
impl Numbers for Dictionary {
    fn network(&mut self, id: NetworkId) -> ValueId {
        self.intern_network(id)
    }

    fn value(&mut self, field: Field, term: Term<'_>, zone: &Zone) -> ValueId {
        self.intern(field, term, zone)
    }
}

/// Numbers for line items whose values all have one.
impl Numbers for &Dictionary {
    fn network(&mut self, id: NetworkId) -> ValueId {
        self.find_network(id).expect("given when the line item was applied")
    }

    fn value(&mut self, field: Field, term: Term<'_>, zone: &Zone) -> ValueId {
        self.find(field, term, zone).expect("given when the line item was applied")
    }
}

/// A key and a value as one text that no other key and value make: the key's length goes first.
fn pair(key: &str, value: &str) -> String {
    format!("{}:{key}{value}", key.len())
}
