//! Line items that this answer may not use any more.

use crate::model::LineItemId;

/// Line items whose lease ran out between a decision and its draw. The caller decides again without them, a bounded number of times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Excluded {
    line_items: [Option<LineItemId>; Self::MAX],
}

impl Excluded {
    /// Most line items: as many as times that a break is decided again, by the ads of one pod.
    pub const MAX: usize = 3 * 16;

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { line_items: [None; Self::MAX] }
    }

    /// Adds one; false when there is no room for more.
    pub fn insert(&mut self, line_item_id: LineItemId) -> bool {
        if self.contains(line_item_id) {
            return true;
        }
        let free = self.line_items.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(line_item_id)).is_some()
    }

    /// Whether the line item is excluded.
    #[must_use]
    pub fn contains(&self, line_item_id: LineItemId) -> bool {
        // Filled from the front: usually the first look ends the search.
        self.line_items.iter().map_while(|place| *place).any(|excluded| excluded == line_item_id)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line_items[0].is_none()
    }
}

impl Default for Excluded {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_its_most_and_no_more() {
        let mut excluded = Excluded::none();
        for id in 0..Excluded::MAX as u128 {
            assert!(!excluded.contains(LineItemId::from_u128(id)));
            assert!(excluded.insert(LineItemId::from_u128(id)));
            assert!(excluded.insert(LineItemId::from_u128(id)), "twice is once");
        }
        assert!(!excluded.insert(LineItemId::from_u128(999)));
        assert!(excluded.contains(LineItemId::from_u128(7)) && !excluded.is_empty());
    }
}
