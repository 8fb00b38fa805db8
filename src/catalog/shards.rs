//! Tables that are cheap to copy: cut into pieces behind `Arc`s, of which a change copies one.
//!
//! The writer keeps the newest table and hands a clone to each snapshot. A clone copies the list of pieces; the first change to a piece after
//! that copies the piece (`Arc::make_mut`), so a change to one entry in a million costs microseconds, and a bulk load copies nothing.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::line::LineSlot;
use crate::model::{AdvertiserId, CampaignId, CreativeId, LineItemId, NetworkId};

/// Pieces of a [`Shards`] unless said otherwise: with a million entries a piece has about 2,000, and a clone copies 512 pointers.
const PIECES: usize = 512;

/// A key that spreads itself over pieces.
pub(crate) trait Spread {
    /// A number whose low 32 bits differ between keys.
    fn spread(&self) -> u64;
}

macro_rules! spread_id {
    ($($id:ty),*) => {$(
        impl Spread for $id {
            fn spread(&self) -> u64 {
                let bits = self.as_u128().to_le_bytes();
                fnv(&bits)
            }
        }
    )*};
}
spread_id!(NetworkId, AdvertiserId, CampaignId, CreativeId, LineItemId);

/// FNV-1a: spreads keys over pieces only; the maps inside have a keyed hash of their own against chosen collisions.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A hash map in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    pieces: Vec<Arc<HashMap<K, V>>>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self::in_pieces(PIECES)
    }
}

impl<K, V> Shards<K, V> {
    /// An empty map in that many pieces, at least 1.
    pub(crate) fn in_pieces(count: usize) -> Self {
        Self { pieces: (0..count).map(|_| Arc::default()).collect() }
    }
}

impl<K: Spread + Eq + Hash + Clone, V: Clone> Shards<K, V> {
    fn piece<Q: Spread + ?Sized>(&self, key: &Q) -> usize {
        let spread = key.spread();
        usize::try_from((spread ^ (spread >> 32)) % self.pieces.len() as u64).expect("below the number of pieces")
    }

    /// The value of the key.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Spread + Hash + Eq + ?Sized,
    {
        self.pieces[self.piece(key)].get(key)
    }

    /// Sets the value of the key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let piece = self.piece(&key);
        Arc::make_mut(&mut self.pieces[piece]).insert(key, value);
    }
}

/// Slots in a piece of [`SlotTable`].
const SLOTS_A_PIECE: usize = 512;

/// Values by slot, in pieces.
#[derive(Debug)]
pub(crate) struct SlotTable<V> {
    pieces: Vec<Arc<Vec<Option<Arc<V>>>>>,
}

impl<V> Default for SlotTable<V> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<V> Clone for SlotTable<V> {
    fn clone(&self) -> Self {
        Self { pieces: self.pieces.clone() }
    }
}

impl<V> SlotTable<V> {
    /// The value at the slot.
    pub(crate) fn get(&self, slot: LineSlot) -> Option<&Arc<V>> {
        let index = slot.index();
        self.pieces.get(index / SLOTS_A_PIECE)?.get(index % SLOTS_A_PIECE)?.as_ref()
    }

    /// Sets or clears the value at the slot.
    pub(crate) fn set(&mut self, slot: LineSlot, value: Option<Arc<V>>) {
        let (piece, within) = (slot.index() / SLOTS_A_PIECE, slot.index() % SLOTS_A_PIECE);
        while self.pieces.len() <= piece {
            self.pieces.push(Arc::new(vec![None; SLOTS_A_PIECE]));
        }
        Arc::make_mut(&mut self.pieces[piece])[within] = value;
    }

    /// The slots that have a value, in order. Reads no value.
    pub(crate) fn slots(&self) -> impl Iterator<Item = LineSlot> {
        let has_value = self.pieces.iter().flat_map(|piece| piece.iter()).map(Option::is_some);
        (0..).map(LineSlot).zip(has_value).filter_map(|(slot, has_value)| has_value.then_some(slot))
    }

    /// All values, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<V>> {
        self.pieces.iter().flat_map(|piece| piece.iter()).flatten()
    }
}
