//! Which implementation keeps the books: chosen once, in the wiring.

use super::{CqlLedger, CqlLedgerPart, DeliveryRange, EmbeddedLedger, OwnsLedger, ReadsLedger};
use crate::accounting::{Balance, Commit, DeliveryKey, DeliveryTotals, Lease, LedgerState, LevelId, ServerEntry};
use crate::events::{Checkpoint, LedgerEntry};
use crate::model::{AdvertiserId, Day, ImpressionId, LeaseId, WallMs};
use crate::store::StoreError;

/// A part of the books, for its owner. Cheap to clone.
#[derive(Clone)]
pub enum LedgerStore {
    /// All parts in the embedded database.
    Embedded(EmbeddedLedger),
    /// One part in CQL.
    Cql(CqlLedgerPart),
}

/// The books, for those who read. Cheap to clone.
#[derive(Clone)]
pub enum LedgerReader {
    /// All parts in the embedded database.
    Embedded(EmbeddedLedger),
    /// All parts in CQL.
    Cql(CqlLedger),
}

impl From<EmbeddedLedger> for LedgerStore {
    fn from(ledger: EmbeddedLedger) -> Self {
        Self::Embedded(ledger)
    }
}

impl From<EmbeddedLedger> for LedgerReader {
    fn from(ledger: EmbeddedLedger) -> Self {
        Self::Embedded(ledger)
    }
}

impl From<CqlLedgerPart> for LedgerStore {
    fn from(part: CqlLedgerPart) -> Self {
        Self::Cql(part)
    }
}

impl From<CqlLedger> for LedgerReader {
    fn from(ledger: CqlLedger) -> Self {
        Self::Cql(ledger)
    }
}

impl OwnsLedger for LedgerStore {
    fn load(&self) -> Result<LedgerState, StoreError> {
        match self {
            Self::Embedded(ledger) => ledger.load(),
            Self::Cql(part) => part.load(),
        }
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        match self {
            Self::Embedded(ledger) => ledger.commit(commit),
            Self::Cql(part) => part.commit(commit),
        }
    }
}

/// Hands a call to the implementation chosen.
macro_rules! ask {
    ($self:ident, $ledger:ident => $call:expr) => {
        match $self {
            Self::Embedded($ledger) => $call,
            Self::Cql($ledger) => $call,
        }
    };
}

impl ReadsLedger for LedgerReader {
    fn log_time_of(&self, id: AdvertiserId) -> Result<WallMs, StoreError> {
        ask!(self, ledger => ledger.log_time_of(id))
    }

    fn checkpoints_of(&self, id: AdvertiserId) -> Result<Vec<Checkpoint>, StoreError> {
        ask!(self, ledger => ledger.checkpoints_of(id))
    }

    fn balances(&self) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        ask!(self, ledger => ledger.balances())
    }

    fn balances_of(&self, id: AdvertiserId) -> Result<Vec<(AdvertiserId, LevelId, Balance)>, StoreError> {
        ask!(self, ledger => ledger.balances_of(id))
    }

    fn lease(&self, id: AdvertiserId, lease_id: LeaseId) -> Result<Option<Lease>, StoreError> {
        ask!(self, ledger => ledger.lease(id, lease_id))
    }

    fn leases_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<Lease>, StoreError> {
        ask!(self, ledger => ledger.leases_of(id, first, end))
    }

    fn entries_of(&self, id: AdvertiserId, first: Day, end: Day) -> Result<Vec<LedgerEntry>, StoreError> {
        ask!(self, ledger => ledger.entries_of(id, first, end))
    }

    fn is_reversed(&self, id: AdvertiserId, impression_id: ImpressionId) -> Result<bool, StoreError> {
        ask!(self, ledger => ledger.is_reversed(id, impression_id))
    }

    fn servers(&self) -> Result<Vec<ServerEntry>, StoreError> {
        ask!(self, ledger => ledger.servers())
    }

    fn delivery(&self, range: DeliveryRange, limit: usize) -> Result<Vec<(DeliveryKey, DeliveryTotals)>, StoreError> {
        ask!(self, ledger => ledger.delivery(range, limit))
    }
}
