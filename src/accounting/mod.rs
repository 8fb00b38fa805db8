//! The money state machine: from the event log to balances, pure and replayable.
//!
//! A [`Book`] holds the accounts of a partition. [`AdvertiserAccount`] changes only by [`apply`]ing records of the log in its order. Money
//! is given out as [`Lease`]s, planned by [`plan_grants`] for all levels in one step; a lease counts as spent until it is closed.
//!
//! - INV-4: at every level (advertiser, campaign and line item, over their lives and on each day), `settled + open ≤ budget` after every grant and
//!   every charged click; a lease settles at most its amount and its ordinals, each ordinal at most once; settling what was drawn moves money from
//!   open to settled and changes nothing that counts as spent.
//! - INV-14: beacons of a lease, between its grant and its close, give the same state in any order and however often repeated. An
//!   impression wins over a void of the same ordinal. The one exception is a lease that was drawn past its amount, which the
//!   draw's compare-and-subtract rules out; which of its ordinals stay unbilled then depends on the order, that the budget holds does not.
//! - INV-25: state changes only by records read back from the log; replaying the log from its start gives the same bytes.
//!
//! What is left to others: reading the log and committing rows (`roles/accounting`), the rows' format (`store/ledger`), what a line item
//! should spend (`pacing`).

mod account;
pub mod audit;
mod book;
mod chain;
mod checkpoint;
mod commit;
mod contracts;
mod delivery;
mod grant;
pub mod invoice;
mod lease;
pub mod ledger;
mod loose;
mod servers;
mod settle;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod verdict;
mod watermark;

pub use account::{
    AdvertiserAccount, Balance, Effects, IgnoredReason, LevelId, Outcome, REVERSAL_KEPT_MS, REVERSIBLE_MS, apply,
    budget_of, levels_of,
};
pub use book::{Book, Forgotten, LedgerState, Owner, owner_of, unleased_reason};
pub use chain::{Chain, RecordDigest, SEAL_EVERY, Seal, record_digest};
pub use checkpoint::{Sealed, Sealer, Sums, book_digest, digest as checkpoint_digest};
pub use commit::Commit;
pub use contracts::{Contracts, LineContract};
pub use delivery::{DeliveryChanges, DeliveryKey, DeliveryTotals, UnbilledReason};
pub use grant::{GrantTerms, LineNeed, MAX_OPEN_LEASES_PER_LINE_ITEM, plan_closes, plan_grants};
pub use lease::{Bitmap, CLOSED_LEASE_KEPT_MS, Grant, Lease, MAX_ORDINALS, Returned};
pub use loose::{LOOSE_KEPT_MS, LOOSE_MAX, Loose, LooseSet, kind_bit};
pub use servers::{
    CLOCK_TOLERANCE_MS, PAST_BOOTS_KEPT, Refusal, Register, RegisterChanges, SERVERS_MAX, ServerEntry, ServerMark,
    ServerState, clock_ahead_ms,
};
pub use settle::{delivery_key, disbelieved, entry_digest, fee_digest, is_billable, is_heard};
pub use watermark::{SETTLE_MARGIN_MS, Watermark};
