//! A decision made again from what it recorded.

use super::decide::{Scratch, decide};
use super::spending::{LeaseTerms, SpendView, Spending};
use super::{Decision, Excluded, Seed};
use crate::catalog::{ResolvedBreak, Snapshot};
use crate::model::{LineItemId, ListenerState, MonotonicMs, Now};

/// Makes a decision again: with the values that it read instead of those of now, it comes out byte for byte the same, in any process and any
/// layout of the same catalogue version.
pub fn replay<'s>(
    snapshot: &Snapshot,
    resolved: &ResolvedBreak,
    listener: &ListenerState,
    reads: impl IntoIterator<Item = (LineItemId, SpendView)>,
    excluded: &Excluded,
    now: Now,
    seed: Seed,
    scratch: &'s mut Scratch,
) -> &'s Decision {
    decide(snapshot, resolved, listener, &as_read(snapshot, reads), excluded, now, seed, scratch)
}

/// Spending in which each of those line items reads as it was recorded.
fn as_read(snapshot: &Snapshot, reads: impl IntoIterator<Item = (LineItemId, SpendView)>) -> Spending {
    let spending = Spending::new();
    for (line_item_id, view) in reads {
        // A line item that this snapshot does not have is in no scan of it either.
        let Some(slot) = snapshot.slot(line_item_id) else { continue };
        spending.set_paused(slot, view.paused);
        spending.set_throttle(slot, view.throttle);
        if let Some(lease) = view.lease {
            let terms = LeaseTerms {
                lease_id: lease.lease_id,
                amount: lease.left,
                max_ordinals: lease.ordinals_left,
                // It was read as drawable at that moment; the moment is the same.
                draw_until: MonotonicMs(u64::MAX),
                last_billable_until: lease.last_billable_until,
            };
            spending.install_lease(slot, terms);
        }
    }
    spending
}
