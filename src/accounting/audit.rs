//! The recount: from the event log alone, with plain maps, what the ledger must say; and every difference from what it says.
//!
//! Written apart from [`super::apply`] on purpose, and differently: it first gathers all that is said of an impression, then judges it. A bug in one
//! is a difference, not a shared error. Slow and in memory; nothing here is used by accounting itself.

mod compare;
mod flow;
mod recount;
mod sealed;

use std::sync::Arc;

use crate::events::{Checkpoint, Envelope, LedgerEntry, Reversal};
use crate::model::{AdvertiserId, ImpressionId, WallMs};

use super::account::{Balance, LevelId};
use super::book::Owner;
use super::chain::{Chain, RecordDigest, Seal};
use super::checkpoint::Sums;
use super::delivery::{DeliveryKey, DeliveryTotals};
use super::lease::Lease;
use super::loose::Loose;

/// Most differences that are named; the rest is counted.
pub const DIFFERENCES_NAMED_MAX: usize = 1_000;

/// A record of the log as it was found.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditRecord {
    /// Where it lies, for people: a file.
    pub file: Arc<str>,
    /// Its offset in the log.
    pub offset: u64,
    /// Digest of its bytes.
    pub digest: RecordDigest,
    /// What it says, or why it can't be understood.
    pub envelope: Result<Envelope, String>,
}

/// What the ledger says.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct LedgerRows {
    /// Offset after the last record applied.
    pub cursor: u64,
    /// The chain over the records applied.
    pub chain: Chain,
    /// Its links.
    pub seals: Vec<Seal>,
    /// Balances of all levels.
    pub balances: Vec<(AdvertiserId, LevelId, Balance)>,
    /// All leases: open, remembered and past.
    pub leases: Vec<(AdvertiserId, Lease)>,
    /// Delivery totals.
    pub delivery: Vec<(DeliveryKey, DeliveryTotals)>,
    /// Greatest receive time applied.
    pub log_time: WallMs,
    /// Charges taken back, of all time.
    pub reversals: Vec<Reversal>,
    /// Impressions without a lease.
    pub loose: Vec<(Owner, ImpressionId, Loose)>,
    /// Entries of the ledger.
    pub entries: Vec<LedgerEntry>,
    /// Checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Sums over entries and delivery.
    pub sums: Sums,
}

/// Something that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which check, in `snake_case`.
    pub check: &'static str,
    /// Where: file and offset, lease and ordinal, level, line item and hour.
    pub place: String,
    /// What the log says, or the rule.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AuditReport {
    /// Records of money events in the log.
    pub records: u64,
    /// Those that the ledger has not applied yet: accounting was stopped before it came to them.
    pub unapplied: u64,
    /// Leases granted.
    pub leases: u64,
    /// Leases not closed.
    pub open_leases: u64,
    /// Impressions billed.
    pub billed: u64,
    /// What was billed, in micros.
    pub billed_micros: i128,
    /// Impressions heard and not billed.
    pub unbilled: u64,
    /// Levels whose balances were compared.
    pub balances: u64,
    /// Totals by line item and hour that were compared.
    pub delivery_totals: u64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Checkpoints sealed.
    pub checkpoints: u64,
    /// Invoices whose sums were recomputed from the log.
    pub invoices: u64,
    /// Differences, the first [`DIFFERENCES_NAMED_MAX`] of them.
    pub differences: Vec<Difference>,
    /// How many differences there are.
    pub difference_count: u64,
}

impl AuditReport {
    /// Whether everything is as it must be.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.difference_count == 0
    }

    /// Notes a difference.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass what they made for it")]
    pub fn differs(
        &mut self,
        check: &'static str,
        place: impl ToString,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES_NAMED_MAX {
            self.differences.push(Difference {
                check,
                place: place.to_string(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

/// Recounts the log up to the ledger's cursor and compares. `records` are those of `segue.events`, by offset, `vouching` those of `segue.ledger`;
/// `report` may hold what was already found wrong with the log's files.
#[must_use]
pub fn audit(
    records: &[AuditRecord],
    vouching: &[AuditRecord],
    ledger: &LedgerRows,
    mut report: AuditReport,
) -> AuditReport {
    let applied = records.iter().take_while(|record| record.offset < ledger.cursor).count();
    report.records = records.len() as u64;
    report.unapplied = (records.len() - applied) as u64;
    let records = &records[..applied];
    let is_whole = compare::chain(records, ledger, &mut report);
    if !is_whole {
        compare::doubled(records, &mut report);
    }
    let recount = recount::recount(records, &mut report);
    compare::leases(&recount, ledger, &mut report);
    compare::balances(&recount, ledger, &mut report);
    compare::delivery(&recount, ledger, &mut report);
    let vouched = sealed::vouched(vouching, &mut report);
    sealed::checkpoints(ledger, &vouched, &mut report);
    if is_whole {
        // Records that are not those that were applied make another book; that is said above.
        sealed::replay(records, ledger, &vouched, &mut report);
    }
    sealed::invoices(&recount, ledger, &mut report);
    report
}

#[cfg(test)]
mod tests;
