//! Line items that this answer may not use any more.

use super::reason::NoFillReason;
use crate::model::LineItemId;

/// Line items whose lease ran out between a decision and its draw, and those whose strict caps can't be kept in this break. The caller decides
/// again without them, a bounded number of times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Excluded {
    line_items: [Option<LineItemId>; Self::MAX],
    strict_caps: StrictCaps,
}

/// Whether strict caps can be kept in this break; where not, line items with one are not served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum StrictCaps {
    /// They are: the caller reserves what the decision chose.
    #[default]
    Kept,
    /// Nothing may be kept of the listener beyond their session.
    NotInSession,
    /// The listener's state can't be had or written in time.
    Unsure,
}

impl StrictCaps {
    /// Why a line item with a strict cap is not served.
    #[must_use]
    pub const fn refusal(self) -> Option<NoFillReason> {
        match self {
            Self::Kept => None,
            Self::NotInSession => Some(NoFillReason::StrictCapInSession),
            Self::Unsure => Some(NoFillReason::StrictCapUnsure),
        }
    }

    /// The one that a refusal of that name tells of, as the decision log has it; kept where there is no refusal.
    #[must_use]
    pub fn of_refusal(name: Option<&str>) -> Self {
        match name.and_then(NoFillReason::named) {
            Some(NoFillReason::StrictCapInSession) => Self::NotInSession,
            Some(NoFillReason::StrictCapUnsure) => Self::Unsure,
            Some(_) | None => Self::Kept,
        }
    }
}

impl Excluded {
    /// Most line items: as many as times that a break is decided again, by the ads of one pod.
    pub const MAX: usize = 3 * 16;

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { line_items: [None; Self::MAX], strict_caps: StrictCaps::Kept }
    }

    /// None but those with a strict cap, unless it can be kept.
    #[must_use]
    pub const fn by_strict_caps(strict_caps: StrictCaps) -> Self {
        Self { strict_caps, ..Self::none() }
    }

    /// Whether strict caps can be kept.
    #[must_use]
    pub const fn strict_caps(&self) -> StrictCaps {
        self.strict_caps
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

    /// Whether no line item was excluded by itself.
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
    fn what_becomes_of_strict_caps_is_told_by_the_name_of_its_refusal() {
        for strict_caps in [StrictCaps::Kept, StrictCaps::NotInSession, StrictCaps::Unsure] {
            assert_eq!(StrictCaps::of_refusal(strict_caps.refusal().map(NoFillReason::name)), strict_caps);
            assert_eq!(Excluded::by_strict_caps(strict_caps).strict_caps(), strict_caps);
        }
    }

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
