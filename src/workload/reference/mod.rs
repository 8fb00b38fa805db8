//! The reference catalogue and listeners: twelve attributes with zipf values.
//!
//! A line item is a conjunction of 1 to 6 clauses (*broad*) or 3 to 6 with a country among them (*selective*); *rare* listeners live in
//! the long tail; *midday* has half of each kind, ranked so that narrower line items pay more, throttled, with some out of money and
//! some capped. The distributions are held by their match rates: a broad line item matches 5.2 % of listeners, a selective one 0.19 %,
//! and a selective one about 45 in a million of the rare listeners.

mod catalogue;
mod items;
mod midday;
mod money;
mod shares;
mod stored;

pub use catalogue::{ReferenceBreak, ReferenceCatalogue, WEEK_START, reference_break};
pub use items::{Clause, Item, Kind, Listener, ListenerKind, Source};
pub use midday::{Standing, capped};
pub use money::{endless_lease, spending_of};
pub use shares::Shares;

/// A named workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Broad line items, common listeners: 5.2 % match.
    Broad,
    /// Selective line items, common listeners: 0.19 % match.
    Selective,
    /// Selective line items, rare listeners: about 45 in a million match.
    Rare,
    /// Half broad, half selective, narrower ones rank higher, throttled and capped: what a server sees at noon.
    Midday,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Broad, Self::Selective, Self::Rare, Self::Midday];

    /// Its name in tables and arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broad => "broad",
            Self::Selective => "selective",
            Self::Rare => "rare",
            Self::Midday => "midday",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Who listens in it.
    #[must_use]
    pub const fn listeners(self) -> ListenerKind {
        match self {
            Self::Broad | Self::Selective | Self::Midday => ListenerKind::Common,
            Self::Rare => ListenerKind::Rare,
        }
    }

    /// What kind the line item at that position is.
    #[must_use]
    pub const fn kind_at(self, index: usize) -> Kind {
        match self {
            Self::Broad => Kind::Broad,
            Self::Midday if index.is_multiple_of(2) => Kind::Broad,
            Self::Selective | Self::Rare | Self::Midday => Kind::Selective,
        }
    }
}
