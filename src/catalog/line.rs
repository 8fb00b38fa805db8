//! A line item as decisions see it: with its parents and its servable creatives at hand.

use std::sync::Arc;

use super::rank::Rank;
use crate::caps::strict;
use crate::model::{Advertiser, Campaign, Creative, FrequencyCap, LineItem, LineItemId};

/// A line item's dense number in this process: given at first sight, stable for the life of the process, never reused. It never leaves the
/// process; logs and events carry the [`LineItemId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LineSlot(pub u32);

impl LineSlot {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A category's dense number in this process; equal numbers, equal words, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CategoryId(pub u32);

/// What a scan yields of a line item: as much as is asked of most, so that the rest of those is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its place in the order of scanning.
    pub rank: Rank,
    /// Its slot.
    pub slot: LineSlot,
    /// Its id.
    pub line_item_id: LineItemId,
}

/// A line item with what a decision needs of its surroundings.
#[derive(Clone, PartialEq, Debug)]
pub struct LineEntry {
    /// Its slot.
    pub slot: LineSlot,
    /// The line item.
    pub line_item: Arc<LineItem>,
    /// Its campaign.
    pub campaign: Arc<Campaign>,
    /// Its advertiser.
    pub advertiser: Arc<Advertiser>,
    /// Its creatives that may serve (active and approved), with their weights, in the line item's order; may be empty.
    pub creatives: Box<[(Arc<Creative>, u8)]>,
    /// Its place in the order of scanning.
    pub rank: Rank,
    /// What it advertises.
    pub category: Option<CategoryId>,
    /// Other categories that may not be in the same pod, sorted.
    pub excluded_categories: Box<[CategoryId]>,
    /// Every cap that holds for it: its own, then its campaign's, then its advertiser's.
    pub caps: Box<[FrequencyCap]>,
}

impl LineEntry {
    /// What a scan yields of it.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate { rank: self.rank, slot: self.slot, line_item_id: self.line_item.id }
    }

    /// The longest window of its strict caps, in milliseconds; none when its ads need no reservation.
    #[must_use]
    pub fn strict_window_ms(&self) -> Option<u64> {
        strict::longest_window_ms(&self.caps)
    }
}
