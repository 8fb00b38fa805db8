//! The money of a reference catalogue: what its standings are to a server.

use super::{ReferenceCatalogue, Standing};
use crate::catalog::Snapshot;
use crate::decision::{LeaseTerms, Spending};
use crate::model::{LeaseId, LineItemId, Micros, MonotonicMs, WallMs};

impl ReferenceCatalogue {
    /// How each line item stands.
    pub fn standing_of_each(&self) -> impl Iterator<Item = (LineItemId, Standing)> {
        self.line_items.iter().map(|line_item| line_item.id).zip(self.standings.iter().copied())
    }
}

/// Throttles and leases of line items of a snapshot; the lease of each that has one by its number among them.
///
/// # Panics
/// When the snapshot never had one of them.
#[must_use]
pub fn spending_of(
    snapshot: &Snapshot,
    standings: impl IntoIterator<Item = (LineItemId, Standing)>,
    lease: impl Fn(u128) -> LeaseTerms,
) -> Spending {
    let spending = Spending::new();
    for (number, (id, standing)) in (0..).zip(standings) {
        let slot = snapshot.slot(id).expect("the snapshot has every line item");
        spending.set_throttle(slot, standing.throttle);
        if standing.leased {
            spending.install_lease(slot, lease(number));
        }
    }
    spending
}

/// A lease that no measurement comes to the end of.
#[must_use]
pub const fn endless_lease(number: u128) -> LeaseTerms {
    LeaseTerms {
        lease_id: LeaseId::from_u128(number),
        amount: Micros(1_000_000_000),
        max_ordinals: 1_000_000,
        draw_until: MonotonicMs(u64::MAX),
        last_billable_until: WallMs(i64::MAX),
    }
}
