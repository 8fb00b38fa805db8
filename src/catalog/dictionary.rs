//! Numbers for the values that line items ask for.
//!
//! Numbers are given at first sight and never taken back, so that an index built earlier stays readable. A copy is cheap: the maps are in pieces
//! (see [`shards`](super::shards)).

use std::sync::Arc;

use super::shards::{Shards, Spread};
use crate::model::{NetworkId, WallMs, Zone};
use crate::targeting::WeekHours;
use crate::targeting::dnf::{Field, Term};
use crate::targeting::index::{Lane, ValueId};

/// Which value has which number.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    networks: Shards<NetworkId, ValueId>,
    /// By lane; lanes of numbers alone stay empty.
    texts: Vec<Shards<Arc<str>, ValueId>>,
    /// Zones of flights whose hours are asked for, with the number of hour 0 of each.
    zones: Vec<(Zone, ValueId)>,
    /// The next free number, by lane. Explicit, ages and hours are their own numbers.
    next: [u32; Lane::COUNT],
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            networks: Shards::in_pieces(1),
            texts: (0..Lane::COUNT).map(|_| Shards::in_pieces(64)).collect(),
            zones: Vec::new(),
            next: [0; Lane::COUNT],
        }
    }
}

impl Spread for Arc<str> {
    fn spread(&self) -> u64 {
        str::spread(self)
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
            (_, Term::Text(text)) => self.texts[Lane::of(field).index()].get(text).copied(),
            (_, Term::Pair(key, value)) => self.texts[Lane::of(field).index()].get(pair(key, value).as_str()).copied(),
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
