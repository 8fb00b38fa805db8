//! What is made durable at once.

use super::account::{Balance, LevelId};
use super::book::Owner;
use super::chain::{Chain, Seal};
use super::checkpoint::{Sealed, Sums};
use super::delivery::DeliveryChanges;
use super::lease::Lease;
use super::loose::Loose;
use super::servers::RegisterChanges;
use crate::events::Reversal;
use crate::model::{AdvertiserId, ImpressionId, WallMs};

/// Rows that changed since the last commit, and the position of which they are the state. All or nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Commit {
    /// Offset after the last record applied.
    pub cursor: u64,
    /// Greatest receive time applied.
    pub log_time: WallMs,
    /// What stands for all records applied, as of the cursor.
    pub chain: Chain,
    /// Links of the chain passed since the last commit.
    pub seals: Vec<Seal>,
    /// Balances, whole; none to remove, for days that are over.
    pub balances: Vec<(AdvertiserId, LevelId, Option<Balance>)>,
    /// Leases, whole.
    pub leases: Vec<(AdvertiserId, Lease)>,
    /// Leases that are no more remembered: they leave the others, and are kept as history.
    pub past: Vec<(AdvertiserId, Lease)>,
    /// Charges taken back since the last commit.
    pub reversals: Vec<Reversal>,
    /// Impressions without a lease, whole; none to remove.
    pub loose: Vec<(Owner, ImpressionId, Option<Loose>)>,
    /// Delivery totals: changes, to be added to what the store has.
    pub delivery: DeliveryChanges,
    /// Servers whose entries changed.
    pub servers: RegisterChanges,
    /// Sums over entries and delivery, as of the cursor.
    pub sums: Sums,
    /// Entries posted and checkpoints sealed since the last commit.
    pub sealed: Sealed,
}
