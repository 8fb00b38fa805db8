//! From a beacon to money: which impression it is of, whether it was counted before, and whether it is billed.
//!
//! What is billed depends on what was sold:
//!
//! | price model | a draw holds | billed by | counts as delivered |
//! | --- | --- | --- | --- |
//! | CPM | its price | the impression | when billed |
//! | CPCL | its price | the completion, once anything said that the ad began | when billed |
//! | CPC | nothing | the click, once anything said that the ad began, if every budget has room at that moment | the impression |
//! | flat | nothing; one lease holds the whole fee | the first impression of that lease owes the fee | the impression |
//!
//! Everything here goes by what records say of themselves (their times, what the player said) and by which kinds of event were seen of an
//! impression, never by their order, so that any order gives the same books (INV-14). The one exception is a budget's end reached by clicks: which
//! clicks find room then depends on the order, and so does whether a grant that was planned before them still does.

use std::collections::BTreeMap;

use super::account::{AdvertiserAccount, Balance, Effects, IgnoredReason, LevelId, Outcome, levels_of};
use super::book::unleased_reason;
use super::delivery::{DeliveryKey, DeliveryTotals, UnbilledReason};
use super::lease::{CLOSED_LEASE_KEPT_MS, Lease};
use crate::events::BeaconRecord;
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, LeaseId, Micros, PriceModel, Tier, WallMs};

/// Whether the event says that the ad was heard: the impression, or the start where the placement says so.
#[must_use]
pub fn is_heard(beacon: &BeaconRecord) -> bool {
    beacon.event == BeaconEvent::Impression || (beacon.event == BeaconEvent::Start && beacon.impression_at_start)
}

/// Whether the event is the one that its price model bills.
#[must_use]
pub fn is_billable(beacon: &BeaconRecord, price_model: PriceModel) -> bool {
    match price_model {
        PriceModel::Cpm | PriceModel::Flat => is_heard(beacon),
        PriceModel::Cpcl => beacon.event == BeaconEvent::Complete,
        PriceModel::Cpc => beacon.event == BeaconEvent::Click,
    }
}

/// Why a billable event is not believed, by what the record says of itself: invalid traffic, or reported before it can be true.
#[must_use]
pub fn disbelieved(beacon: &BeaconRecord, received_at: WallMs) -> Option<UnbilledReason> {
    if let Some(invalid) = beacon.invalid {
        return Some(invalid.into());
    }
    if beacon.is_too_soon(received_at) {
        return Some(UnbilledReason::TooSoon);
    }
    beacon.is_not_played().then_some(UnbilledReason::NotPlayed)
}

/// The total in which the impression counts.
#[must_use]
pub fn delivery_key(beacon: &BeaconRecord) -> DeliveryKey {
    DeliveryKey { line_item_id: beacon.line_item_id, hour: beacon.decided_at.hour_start() }
}

/// What stands for one billed ordinal in its lease's digest: first 16 bytes of BLAKE3 over a domain name, the impression's 21 bytes
/// and what was charged as big-endian micros (the whole fee at a flat lease's first ordinal is not among them: see [`fee_digest`]).
#[must_use]
pub fn entry_digest(impression_id: ImpressionId, price: Micros) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segue.ledger.entry.v1");
    hasher.update(&impression_id.to_bytes());
    hasher.update(&price.0.to_be_bytes());
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// What stands for a flat fee in its lease's digest: as [`entry_digest`], over another domain name, the lease's id and the fee. The ordinals of
/// such a lease stand there at price 0, so that it does not matter which was heard first.
#[must_use]
pub fn fee_digest(lease_id: LeaseId, fee: Micros) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segue.ledger.fee.v1");
    hasher.update(&lease_id.to_bytes());
    hasher.update(&fee.0.to_be_bytes());
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// What a beacon moves at its lease's levels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Moved {
    /// From open to settled.
    micros: Micros,
    /// To settled, from nothing that was held: clicks.
    undrawn: Micros,
    /// Impressions, from open to delivered.
    count: u64,
}

/// Applies a beacon of this advertiser.
pub(super) fn apply_beacon(account: &mut AdvertiserAccount, beacon: &BeaconRecord, received_at: WallMs) -> Effects {
    let ImpressionId::Leased { lease_id, ordinal } = beacon.impression_id else {
        return account.loose.apply(beacon, received_at, unleased_reason(beacon));
    };
    if beacon.tier == Tier::House || beacon.preview {
        return account.loose.apply(beacon, received_at, unleased_reason(beacon));
    }
    let Some(lease) = account.leases.get_mut(&lease_id) else {
        return account.loose.apply(beacon, received_at, UnbilledReason::UnknownLease);
    };
    if !covers(account.advertiser_id, lease, beacon) {
        return account.loose.apply(beacon, received_at, UnbilledReason::LeaseMismatch);
    }
    if ordinal >= lease.max_ordinals() {
        return account.loose.apply(beacon, received_at, UnbilledReason::OrdinalOutOfRange);
    }
    // Judged by the record itself, not by what is still remembered, so that the answer is the same in whatever order records come.
    if received_at > lease.grant.last_billable_until.plus_ms(CLOSED_LEASE_KEPT_MS) {
        return Effects::of(Outcome::Ignored(IgnoredReason::TooLate));
    }
    let levels = levels_of(account.advertiser_id, &lease.grant);
    let mut settling = Settling {
        lease,
        has_room: Room { levels: &levels, balances: &account.levels },
        ordinal,
        beacon,
        received_at,
        totals: DeliveryTotals::default(),
        moved: Moved::default(),
    };
    let outcome = settling.apply();
    let (totals, moved) = (settling.totals, settling.moved);
    for level in levels {
        move_level(account.levels.entry(level).or_default(), level, moved);
    }
    let mut effects = Effects::of(outcome);
    if !totals.is_zero() {
        effects.delivery.insert(delivery_key(beacon), totals);
    }
    effects
}

fn covers(advertiser_id: AdvertiserId, lease: &Lease, beacon: &BeaconRecord) -> bool {
    beacon.advertiser_id == advertiser_id
        && beacon.network_id == lease.grant.network_id
        && beacon.campaign_id == lease.grant.campaign_id
        && beacon.line_item_id == lease.grant.line_item_id
}

/// Moves what a beacon moves: what was held counts as spent as before, a click counts as spent from now on.
fn move_level(balance: &mut Balance, level: LevelId, moved: Moved) {
    let before = balance.committed();
    balance.open = balance.open.minus(moved.micros).expect("INV-4: a level holds its leases");
    balance.open_count = balance.open_count.checked_sub(moved.count).expect("INV-4: a level holds its leases");
    let settled = moved.micros.plus(moved.undrawn).and_then(|micros| balance.settled.plus(micros));
    balance.settled = settled.expect("INV-4: settled and open fit together, and a click had room");
    balance.settled_count += moved.count;
    assert!(balance.open >= Micros::ZERO, "INV-4: {level:?}: less than nothing is open");
    assert_eq!(
        balance.committed(),
        before.plus(moved.undrawn).expect("it had room"),
        "INV-4: {level:?}: settling what was drawn changes nothing that counts as spent"
    );
}

/// Whether every budget over a lease has room.
struct Room<'a> {
    levels: &'a [LevelId],
    balances: &'a BTreeMap<LevelId, Balance>,
}

impl Room<'_> {
    fn holds(&self, price: Micros) -> bool {
        self.levels.iter().all(|level| self.balances.get(level).copied().unwrap_or_default().has_room(price))
    }
}

/// Whether an event that is counted once an impression was new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marked {
    First,
    Before,
    NotCounted,
}

/// One beacon of one ordinal of one lease.
struct Settling<'a> {
    lease: &'a mut Lease,
    has_room: Room<'a>,
    ordinal: u32,
    beacon: &'a BeaconRecord,
    received_at: WallMs,
    totals: DeliveryTotals,
    moved: Moved,
}

impl Settling<'_> {
    fn apply(&mut self) -> Outcome {
        let counted = self.mark();
        let is_heard = is_heard(self.beacon);
        let is_first = is_heard && self.lease.heard.insert(self.ordinal);
        self.totals.impressions += i64::from(is_first);
        let mut outcome = self.begin();
        let is_new = is_first | (is_heard && self.deliver_unpaid());
        if is_billable(self.beacon, self.lease.grant.price_model) {
            outcome = self.bill().or(outcome);
        }
        outcome.unwrap_or(match counted {
            Marked::First => Outcome::Counted,
            Marked::Before | Marked::NotCounted if is_new => Outcome::Counted,
            Marked::Before => Outcome::Repeated,
            Marked::NotCounted if is_heard => Outcome::Repeated,
            Marked::NotCounted => Outcome::Ignored(IgnoredReason::NotMoney),
        })
    }

    fn mark(&mut self) -> Marked {
        let (lease, totals) = (&mut *self.lease, &mut self.totals);
        let (bits, total) = match self.beacon.event {
            BeaconEvent::Start => (&mut lease.started, &mut totals.starts),
            BeaconEvent::Complete => (&mut lease.completed, &mut totals.completes),
            BeaconEvent::Click => (&mut lease.clicked, &mut totals.clicks),
            BeaconEvent::Error | BeaconEvent::Void | BeaconEvent::NotUsed => (&mut lease.voided, &mut totals.voids),
            // Heard ones are counted beside; the rest is engagement and is not accounting's.
            BeaconEvent::Impression
            | BeaconEvent::FirstQuartile
            | BeaconEvent::Midpoint
            | BeaconEvent::ThirdQuartile
            | BeaconEvent::Skip
            | BeaconEvent::Mute
            | BeaconEvent::Unmute => return Marked::NotCounted,
        };
        if bits.insert(self.ordinal) {
            *total += 1;
            Marked::First
        } else {
            Marked::Before
        }
    }

    /// Bills what waited for a sign that the ad began, if this is one.
    fn begin(&mut self) -> Option<Outcome> {
        if !self.lease.began(self.ordinal) {
            return None;
        }
        let price = self.lease.awaiting.remove(&self.ordinal)?;
        Some(match self.affordable(price) {
            Ok(()) => self.settle(price),
            Err(reason) => self.keep_unbilled(reason),
        })
    }

    /// An impression that is paid by its click counts as delivered without money. True when it did not before.
    fn deliver_unpaid(&mut self) -> bool {
        let by_click = self.lease.grant.price_model == PriceModel::Cpc;
        let is_new = by_click && self.refusal().is_none() && self.lease.delivered.insert(self.ordinal);
        self.lease.delivered_count += u32::from(is_new);
        self.moved.count += u64::from(is_new);
        is_new
    }

    /// Bills the event, or keeps it unbilled with a reason; `None` when that was done before. Of the copies of a beacon the first that nothing speaks
    /// against is judged, once: an ordinal that was unbilled because an earlier copy came late is billed when a copy in time turns up. Without
    /// such a copy the first reason in [`UnbilledReason`]'s order holds.
    fn bill(&mut self) -> Option<Outcome> {
        let before = self.lease.unbilled.get(&self.ordinal).copied();
        if self.lease.settled.contains(self.ordinal) || before.is_some_and(UnbilledReason::is_final) {
            return None;
        }
        let price = self.beacon.price;
        match self.refusal() {
            Some(reason) if before.is_some_and(|before| before <= reason) => None,
            Some(reason) => Some(self.keep_unbilled(reason)),
            None if self.needs_start() && !self.lease.began(self.ordinal) => {
                self.lease.awaiting.insert(self.ordinal, price);
                Some(self.keep_unbilled(UnbilledReason::NoStart))
            }
            None => Some(match self.affordable(price) {
                Ok(()) => self.settle(price),
                Err(reason) => self.keep_unbilled(reason),
            }),
        }
    }

    fn needs_start(&self) -> bool {
        match self.lease.grant.price_model {
            PriceModel::Cpm | PriceModel::Flat => false,
            PriceModel::Cpcl | PriceModel::Cpc => true,
        }
    }

    /// Why this copy of the event is billed to nobody, whatever there is to spend.
    fn refusal(&self) -> Option<UnbilledReason> {
        if self.beacon.price_model != self.lease.grant.price_model {
            return Some(UnbilledReason::PriceModel);
        }
        if self.beacon.price < Micros::ZERO {
            return Some(UnbilledReason::BadPrice);
        }
        if let Some(reason) = disbelieved(self.beacon, self.received_at) {
            return Some(reason);
        }
        let until = self.beacon.billable_until.min(self.lease.grant.last_billable_until);
        if self.received_at > until {
            return Some(UnbilledReason::Late);
        }
        self.lease.closed_at.is_some().then_some(UnbilledReason::LeaseClosed)
    }

    /// Whether what is billed is there: in the lease, or for a click at every level.
    fn affordable(&self, price: Micros) -> Result<(), UnbilledReason> {
        match self.lease.grant.price_model {
            PriceModel::Flat => Ok(()),
            PriceModel::Cpc if self.has_room.holds(price) => Ok(()),
            PriceModel::Cpc => Err(UnbilledReason::NoBudget),
            PriceModel::Cpm | PriceModel::Cpcl => match self.lease.settled_micros.plus(price) {
                Ok(sum) if sum <= self.lease.amount() => Ok(()),
                Ok(_) | Err(_) => Err(UnbilledReason::OverLease),
            },
        }
    }

    fn settle(&mut self, price: Micros) -> Outcome {
        let lease = &mut *self.lease;
        let by_click = lease.grant.price_model == PriceModel::Cpc;
        let (charged, entry) = match lease.grant.price_model {
            PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Cpc => (price, price),
            PriceModel::Flat if lease.settled_count == 0 => (lease.amount(), Micros::ZERO),
            PriceModel::Flat => (Micros::ZERO, Micros::ZERO),
        };
        lease.settled.insert(self.ordinal);
        lease.settled_count += 1;
        lease.settled_micros = lease.settled_micros.plus(charged).expect("affordable");
        mix(&mut lease.digest, entry_digest(self.beacon.impression_id, entry));
        if lease.grant.price_model == PriceModel::Flat && charged > Micros::ZERO {
            mix(&mut lease.digest, fee_digest(lease.grant.lease_id, charged));
        }
        assert!(by_click || lease.settled_micros <= lease.amount(), "INV-4: a lease settles at most its amount");
        if by_click {
            self.moved.undrawn = charged;
        } else {
            lease.delivered_count += 1;
            self.moved = Moved { micros: charged, undrawn: Micros::ZERO, count: 1 };
        }
        if let Some(reason) = lease.unbilled.remove(&self.ordinal) {
            self.totals.unbilled_by(reason, -1);
        }
        self.totals.billed += 1;
        self.totals.billed_micros = charged;
        Outcome::Settled { lease_id: lease.grant.lease_id, ordinal: self.ordinal, price: charged }
    }

    fn keep_unbilled(&mut self, reason: UnbilledReason) -> Outcome {
        if let Some(before) = self.lease.unbilled.insert(self.ordinal, reason) {
            self.totals.unbilled_by(before, -1);
        }
        self.totals.unbilled_by(reason, 1);
        Outcome::Unbilled(reason)
    }
}

/// Exclusive or: the order of what is mixed in does not matter.
fn mix(digest: &mut [u8; 16], with: [u8; 16]) {
    for (held, byte) in digest.iter_mut().zip(with) {
        *held ^= byte;
    }
}
