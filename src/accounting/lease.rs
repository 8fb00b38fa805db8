//! A lease: the unit of money. One boot of one server may draw impressions from it, each with an ordinal; the bitmap of settled
//! ordinals is the whole memory that charging once needs (INV-3).

use std::collections::BTreeMap;

use super::delivery::UnbilledReason;
use super::watermark::SETTLE_MARGIN_MS;
use crate::events::LeaseGranted;
use crate::model::{BootId, CampaignId, Day, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId, WallMs};

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

    /// The least number that is above every ordinal in the set; 0 for the empty set.
    #[must_use]
    pub fn end(&self) -> u32 {
        let Some(last) = self.bytes.last() else { return 0 };
        let before = u32::try_from(self.bytes.len() - 1).expect("places come from a u32") * 8;
        before + (8 - last.leading_zeros())
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
    /// What is paid for.
    pub price_model: PriceModel,
    /// The day of the advertiser's zone to which its charges belong; nothing is drawn after it.
    pub advertiser_day: Day,
    /// The same in the line item's zone.
    pub line_item_day: Day,
}

impl Grant {
    /// What a record grants.
    #[must_use]
    pub const fn of(granted: &LeaseGranted) -> Self {
        Self {
            lease_id: granted.lease_id,
            server_id: granted.server_id,
            boot_id: granted.boot_id,
            network_id: granted.network_id,
            campaign_id: granted.campaign_id,
            line_item_id: granted.line_item_id,
            amount: granted.amount,
            max_ordinals: granted.max_ordinals,
            granted_at: granted.granted_at,
            draw_until: granted.draw_until,
            last_billable_until: granted.last_billable_until,
            price_model: granted.price_model,
            advertiser_day: granted.advertiser_day,
            line_item_day: granted.line_item_day,
        }
    }
}

/// What a server gave back: from then on the lease is only what was drawn of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returned {
    /// Money that was drawn.
    pub drawn: Micros,
    /// Ordinals that were drawn: those below it.
    pub drawn_count: u32,
    /// When it was given back.
    pub at: WallMs,
}

/// A lease and what became of its ordinals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// What was granted.
    pub grant: Grant,
    /// Ordinals that were billed: their impression (CPM, flat), completion (CPCL) or click (CPC) was charged.
    pub settled: Bitmap,
    /// Ordinals that were delivered and are paid by the click: their impression was valid and in time. Empty for all other price models, where
    /// what is billed is what is delivered.
    pub delivered: Bitmap,
    /// Ordinals whose billable event came and was not charged, each with the reason that holds so far.
    pub unbilled: BTreeMap<u32, UnbilledReason>,
    /// Ordinals whose billable event would be charged if anything said that the ad began, with the price.
    pub awaiting: BTreeMap<u32, Micros>,
    /// Ordinals that were heard, billed or not.
    pub heard: Bitmap,
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
    /// How many count as delivered: billed, or by the click, heard.
    pub delivered_count: u32,
    /// Exclusive or of one digest for each billed ordinal (`settle::entry_digest`): does not depend on the order.
    pub digest: [u8; 16],
    /// What the server gave back; `None` while it may still draw, or never told.
    pub returned: Option<Returned>,
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
            delivered: Bitmap::default(),
            heard: Bitmap::default(),
            awaiting: BTreeMap::new(),
            unbilled: BTreeMap::new(),
            voided: Bitmap::default(),
            started: Bitmap::default(),
            completed: Bitmap::default(),
            clicked: Bitmap::default(),
            settled_micros: Micros::ZERO,
            settled_count: 0,
            delivered_count: 0,
            digest: [0; 16],
            returned: None,
            closed_at: None,
        }
    }

    /// The most that it may settle: what was granted, or once the rest was given back, what was drawn.
    #[must_use]
    pub fn amount(&self) -> Micros {
        let Some(returned) = self.returned else { return self.grant.amount };
        match self.grant.price_model {
            PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Cpc => returned.drawn,
            // The fee is drawn by no impression and owed with the first that is heard.
            PriceModel::Flat if returned.drawn_count > 0 => self.grant.amount,
            PriceModel::Flat => Micros::ZERO,
        }
    }

    /// The least number above every ordinal that may be heard of.
    #[must_use]
    pub fn max_ordinals(&self) -> u32 {
        self.returned.map_or(self.grant.max_ordinals, |returned| returned.drawn_count)
    }

    /// The part that counts as spent though nothing was heard of it: all that is not settled while it is open, nothing after. Clicks are not
    /// drawn beforehand, so a lease by the click holds no money.
    #[must_use]
    pub fn unsettled(&self) -> Micros {
        if self.closed_at.is_some() || self.grant.price_model == PriceModel::Cpc {
            return Micros::ZERO;
        }
        self.amount().minus(self.settled_micros).expect("INV-4: a lease settles at most its amount")
    }

    /// The impressions that may still be delivered: none once it is closed.
    #[must_use]
    pub fn unsettled_count(&self) -> u32 {
        if self.closed_at.is_some() {
            return 0;
        }
        self.max_ordinals().checked_sub(self.delivered_count).expect("INV-4: a lease settles at most its ordinals")
    }

    /// Whether nothing can be charged any more before its time: all that was drawn is billed. A click may come after any impression.
    #[must_use]
    pub fn is_settled_out(&self) -> bool {
        self.returned.is_some_and(|returned| returned.drawn_count == self.delivered_count)
            && (self.grant.price_model != PriceModel::Cpc || self.delivered_count == 0)
    }

    /// Whether the server may give back all but this: nothing that was heard of is beyond it.
    pub(super) fn covers(&self, returned: &Returned) -> bool {
        let heard = [&self.settled, &self.heard, &self.voided, &self.started, &self.completed, &self.clicked];
        let charged = if self.grant.price_model == PriceModel::Cpm || self.grant.price_model == PriceModel::Cpcl {
            self.settled_micros
        } else {
            Micros::ZERO
        };
        (charged..=self.grant.amount).contains(&returned.drawn)
            && returned.drawn_count <= self.grant.max_ordinals
            && heard.into_iter().all(|bits| bits.end() <= returned.drawn_count)
            && self.unbilled.keys().all(|ordinal| *ordinal < returned.drawn_count)
    }

    /// Whether anything said that the ad began.
    pub(super) fn began(&self, ordinal: u32) -> bool {
        self.started.contains(ordinal) || self.heard.contains(ordinal)
    }

    /// Whether it is closed for so long, at log time `log_time`, that no record can be told apart by it any more. The margin covers records
    /// that wait between their stamp and their place in the log.
    #[must_use]
    pub fn is_forgotten(&self, log_time: WallMs) -> bool {
        self.closed_at.is_some()
            && log_time > self.grant.last_billable_until.plus_ms(CLOSED_LEASE_KEPT_MS + SETTLE_MARGIN_MS)
    }

    /// INV-4: whether what is settled is what the bitmaps say, within what was granted.
    ///
    /// # Errors
    /// What does not hold.
    pub fn holds(&self) -> Result<(), &'static str> {
        let by_click = self.grant.price_model == PriceModel::Cpc;
        let delivered = if by_click { self.delivered.count() } else { self.settled_count };
        let sets = [&self.settled, &self.delivered, &self.heard];
        let rules = [
            (self.settled.count() == self.settled_count, "what is settled: count and ordinals differ"),
            (delivered == self.delivered_count, "what is delivered: count and ordinals differ"),
            (self.delivered_count <= self.max_ordinals(), "more is delivered than was drawn"),
            (sets.into_iter().all(|set| set.end() <= self.grant.max_ordinals), "an ordinal beyond the grant"),
            (by_click || self.settled_micros <= self.amount(), "more is settled than was drawn"),
            (self.settled_micros >= Micros::ZERO && self.grant.amount >= Micros::ZERO, "a negative amount"),
            (self.unbilled.keys().all(|ordinal| !self.settled.contains(*ordinal)), "an ordinal billed and unbilled"),
            (
                self.awaiting.keys().all(|ordinal| self.unbilled.get(ordinal) == Some(&UnbilledReason::NoStart)),
                "an ordinal that waits for its start and is judged",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// INV-4: [`Lease::holds`], asserted.
    pub fn check(&self) {
        if let Err(rule) = self.holds() {
            panic!("INV-4: lease {}: {rule}", self.grant.lease_id);
        }
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
        assert_eq!((bits.end(), Bitmap::default().end()), (10, 0));
        assert_eq!(Bitmap::from_bytes(vec![1, 2, 0, 0]), bits);
    }
}
