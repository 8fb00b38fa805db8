//! A lease: the unit of money. One boot of one server may draw impressions from it, each with an ordinal; the bitmap of settled
//! ordinals is the whole memory that charging once needs (INV-3).

use std::collections::BTreeMap;

use super::delivery::UnbilledReason;
use super::watermark::SETTLE_MARGIN_MS;
use crate::model::{BootId, CampaignId, LeaseId, LineItemId, Micros, NetworkId, ServerId, WallMs};

/// Most ordinals in one lease: a bitmap of 8 KiB a kind. A lease that needs more is renewed sooner.
pub const MAX_ORDINALS: u32 = 65_536;

/// How long after its last billable moment a closed lease is remembered, in milliseconds (one hour), so that a beacon that comes
/// after the close is still told apart from a repeat. What comes later still is only counted as too late.
pub const CLOSED_LEASE_KEPT_MS: i64 = 3_600_000;

/// A set of ordinals, one bit each, that grows with the highest one in it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bitmap {
    bytes: Vec<u8>,
}

impl Bitmap {
    /// The set that these bytes hold; trailing zero bytes are cut, so that equal sets have equal bytes.
    #[must_use]
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Self { bytes }
    }

    /// The set as bytes: bit `n % 8` of byte `n / 8` is ordinal `n`; no trailing zero byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the ordinal is in the set.
    #[must_use]
    pub fn contains(&self, ordinal: u32) -> bool {
        let (byte, bit) = place(ordinal);
        self.bytes.get(byte).is_some_and(|held| held & bit != 0)
    }

    /// Puts the ordinal in; true when it was not there before.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let (byte, bit) = place(ordinal);
        if byte >= self.bytes.len() {
            self.bytes.resize(byte + 1, 0);
        }
        let fresh = self.bytes[byte] & bit == 0;
        self.bytes[byte] |= bit;
        fresh
    }

    /// How many ordinals are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }
}

fn place(ordinal: u32) -> (usize, u8) {
    (usize::try_from(ordinal / 8).expect("a u32 fits a usize on every platform that we build for"), 1 << (ordinal % 8))
}

/// What was granted: fixed for the life of the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its name; half of each impression's name.
    pub lease_id: LeaseId,
    /// Who may draw.
    pub server_id: ServerId,
    /// Which run of that server may draw: a restarted server never draws from a lease of an earlier boot.
    pub boot_id: BootId,
    /// The tenant.
    pub network_id: NetworkId,
    /// The campaign that pays.
    pub campaign_id: CampaignId,
    /// The line item that plays.
    pub line_item_id: LineItemId,
    /// The most that it may settle.
    pub amount: Micros,
    /// The most impressions that it may settle.
    pub max_ordinals: u32,
    /// When it was granted.
    pub granted_at: WallMs,
    /// Nothing is drawn after this.
    pub draw_until: WallMs,
    /// Nothing drawn from it is billable when received after this.
    pub last_billable_until: WallMs,
}

/// A lease and what became of its ordinals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// What was granted.
    pub grant: Grant,
    /// Ordinals that were billed.
    pub settled: Bitmap,
    /// Ordinals that were heard and not billed, each with the reason that holds so far.
    pub unbilled: BTreeMap<u32, UnbilledReason>,
    /// Ordinals that were given up (void, not used, error).
    pub voided: Bitmap,
    /// Ordinals that started.
    pub started: Bitmap,
    /// Ordinals played to the end.
    pub completed: Bitmap,
    /// Ordinals that were clicked.
    pub clicked: Bitmap,
    /// Sum of what was billed.
    pub settled_micros: Micros,
    /// How many were billed.
    pub settled_count: u32,
    /// Exclusive or of one digest for each billed ordinal (`settle::entry_digest`): does not depend on the order.
    pub digest: [u8; 16],
    /// When it was closed; `None` while it is open.
    pub closed_at: Option<WallMs>,
}

impl Lease {
    /// A lease from which nothing has been heard.
    #[must_use]
    pub fn open(grant: Grant) -> Self {
        Self {
            grant,
            settled: Bitmap::default(),
            unbilled: BTreeMap::new(),
            voided: Bitmap::default(),
            started: Bitmap::default(),
            completed: Bitmap::default(),
            clicked: Bitmap::default(),
            settled_micros: Micros::ZERO,
            settled_count: 0,
            digest: [0; 16],
            closed_at: None,
        }
    }

    /// The part that counts as spent though nothing was heard of it: all that is not settled while it is open, nothing after.
    #[must_use]
    pub fn unsettled(&self) -> Micros {
        if self.closed_at.is_some() {
            return Micros::ZERO;
        }
        self.grant.amount.minus(self.settled_micros).expect("INV-4: a lease settles at most its amount")
    }

    /// The impressions that may still settle: none once it is closed.
    #[must_use]
    pub fn unsettled_count(&self) -> u32 {
        if self.closed_at.is_some() {
            return 0;
        }
        self.grant.max_ordinals.checked_sub(self.settled_count).expect("INV-4: a lease settles at most its ordinals")
    }

    /// Whether it is closed for so long, at log time `log_time`, that no record can be told apart by it any more. The margin covers records
    /// that wait between their stamp and their place in the log.
    #[must_use]
    pub fn is_forgotten(&self, log_time: WallMs) -> bool {
        self.closed_at.is_some()
            && log_time > self.grant.last_billable_until.plus_ms(CLOSED_LEASE_KEPT_MS + SETTLE_MARGIN_MS)
    }

    /// INV-4: what is settled is what the bitmap says, within what was granted.
    pub fn check(&self) {
        assert_eq!(self.settled.count(), self.settled_count, "INV-4: {}: count and bitmap", self.grant.lease_id);
        assert!(self.settled_count <= self.grant.max_ordinals, "INV-4: {}: ordinals", self.grant.lease_id);
        assert!(self.settled_micros <= self.grant.amount, "INV-4: {}: amount", self.grant.lease_id);
        assert!(self.settled_micros >= Micros::ZERO, "INV-4: {}: negative", self.grant.lease_id);
        assert!(
            self.unbilled.keys().all(|ordinal| !self.settled.contains(*ordinal)),
            "INV-4: {}: billed and unbilled at once",
            self.grant.lease_id
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_a_set_with_one_spelling() {
        let mut bits = Bitmap::default();
        assert!(bits.insert(9));
        assert!(!bits.insert(9));
        assert!(bits.insert(0));
        assert!(bits.contains(9) && bits.contains(0) && !bits.contains(1) && !bits.contains(70_000));
        assert_eq!(bits.count(), 2);
        assert_eq!(bits.as_bytes(), [1, 2]);
        assert_eq!(Bitmap::from_bytes(vec![1, 2, 0, 0]), bits);
    }
}
