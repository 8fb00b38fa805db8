//! From a beacon to money: which impression it is of, whether it was counted before, and whether it is billed.

use super::account::{AdvertiserAccount, Effects, IgnoredReason, LevelId, Outcome, levels_of};
use super::book::unleased_reason;
use super::delivery::{DeliveryKey, DeliveryTotals, UnbilledReason};
use super::lease::{CLOSED_LEASE_KEPT_MS, Lease};
use crate::events::BeaconRecord;
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, Micros, PriceModel, Tier, WallMs};

/// Whether the event says that the ad was heard, so that it may be billed: the impression, or the start where the placement says so.
#[must_use]
pub fn is_heard(beacon: &BeaconRecord) -> bool {
    beacon.event == BeaconEvent::Impression || (beacon.event == BeaconEvent::Start && beacon.impression_at_start)
}

/// The total in which the impression counts.
#[must_use]
pub fn delivery_key(beacon: &BeaconRecord) -> DeliveryKey {
    DeliveryKey { line_item_id: beacon.line_item_id, hour: beacon.decided_at.hour_start() }
}

/// What stands for one billed impression in its lease's digest: first 16 bytes of BLAKE3 over a domain name, the impression's 21 bytes
/// and the price as big-endian micros.
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
    if ordinal >= lease.grant.max_ordinals {
        return account.loose.apply(beacon, received_at, UnbilledReason::OrdinalOutOfRange);
    }
    // Judged by the record itself, not by what is still remembered, so that the answer is the same in whatever order records come.
    if received_at > lease.grant.last_billable_until.plus_ms(CLOSED_LEASE_KEPT_MS) {
        return Effects::of(Outcome::Ignored(IgnoredReason::TooLate));
    }
    let mut totals = DeliveryTotals::default();
    let counted = mark(lease, ordinal, beacon.event, &mut totals);
    let heard = is_heard(beacon).then(|| hear(lease, ordinal, beacon, received_at, &mut totals)).flatten();
    let levels = levels_of(account.advertiser_id, &lease.grant);
    if let Some(Outcome::Settled { price, .. }) = heard {
        for level in levels {
            settle_level(account, level, price);
        }
    }
    let outcome = match (heard, counted) {
        (Some(heard), _) => heard,
        (None, Marked::First) => Outcome::Counted,
        (None, Marked::Before) => Outcome::Repeated,
        (None, Marked::NotCounted) if is_heard(beacon) => Outcome::Repeated,
        (None, Marked::NotCounted) => Outcome::Ignored(IgnoredReason::NotMoney),
    };
    let mut effects = Effects::of(outcome);
    if !totals.is_zero() {
        effects.delivery.insert(delivery_key(beacon), totals);
    }
    effects
}

fn covers(advertiser_id: AdvertiserId, lease: &Lease, beacon: &BeaconRecord) -> bool {
    beacon.advertiser_id == advertiser_id
        && beacon.campaign_id == lease.grant.campaign_id
        && beacon.line_item_id == lease.grant.line_item_id
}

/// Whether an event that is counted once an impression was new.
enum Marked {
    First,
    Before,
    NotCounted,
}

fn mark(lease: &mut Lease, ordinal: u32, event: BeaconEvent, totals: &mut DeliveryTotals) -> Marked {
    let (bits, total) = match event {
        BeaconEvent::Start => (&mut lease.started, &mut totals.starts),
        BeaconEvent::Complete => (&mut lease.completed, &mut totals.completes),
        BeaconEvent::Click => (&mut lease.clicked, &mut totals.clicks),
        BeaconEvent::Error | BeaconEvent::Void | BeaconEvent::NotUsed => (&mut lease.voided, &mut totals.voids),
        // Heard ones are counted by `hear`; the rest is engagement and is not accounting's.
        BeaconEvent::Impression
        | BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute => return Marked::NotCounted,
    };
    if bits.insert(ordinal) {
        *total += 1;
        Marked::First
    } else {
        Marked::Before
    }
}

/// Bills a heard ordinal, or keeps it unbilled with a reason; `None` when that was done before. An ordinal that was unbilled only because
/// an earlier copy of its beacon came late is billed when a copy in time turns up: what counts is whether any copy was in time.
fn hear(
    lease: &mut Lease,
    ordinal: u32,
    beacon: &BeaconRecord,
    received_at: WallMs,
    totals: &mut DeliveryTotals,
) -> Option<Outcome> {
    if lease.settled.contains(ordinal) {
        return None;
    }
    let before = lease.unbilled.get(&ordinal).copied();
    match verdict(lease, beacon, received_at) {
        Ok(settled_micros) => {
            lease.settled.insert(ordinal);
            lease.settled_count += 1;
            lease.settled_micros = settled_micros;
            for (held, byte) in lease.digest.iter_mut().zip(entry_digest(beacon.impression_id, beacon.price)) {
                *held ^= byte;
            }
            lease.unbilled.remove(&ordinal);
            if let Some(reason) = before {
                totals.unbilled_by(reason, -1);
            } else {
                totals.impressions += 1;
            }
            totals.billed += 1;
            totals.billed_micros = beacon.price;
            assert!(lease.settled_micros <= lease.grant.amount, "INV-4: a lease settles at most its amount");
            Some(Outcome::Settled { lease_id: lease.grant.lease_id, ordinal, price: beacon.price })
        }
        Err(reason) if before.is_none_or(|before| reason < before) => {
            lease.unbilled.insert(ordinal, reason);
            match before {
                Some(before) => totals.unbilled_by(before, -1),
                None => totals.impressions += 1,
            }
            totals.unbilled_by(reason, 1);
            Some(Outcome::Unbilled(reason))
        }
        Err(_) => None,
    }
}

/// What the lease has settled after this impression, or why it is not billed.
fn verdict(lease: &Lease, beacon: &BeaconRecord, received_at: WallMs) -> Result<Micros, UnbilledReason> {
    match beacon.price_model {
        PriceModel::Cpm => {}
        PriceModel::Cpcl | PriceModel::Cpc | PriceModel::Flat => return Err(UnbilledReason::PriceModel),
    }
    if beacon.price < Micros::ZERO {
        return Err(UnbilledReason::BadPrice);
    }
    let until = beacon.billable_until.min(lease.grant.last_billable_until);
    if received_at > until {
        return Err(UnbilledReason::Late);
    }
    if lease.closed_at.is_some() {
        return Err(UnbilledReason::LeaseClosed);
    }
    match lease.settled_micros.plus(beacon.price) {
        Ok(sum) if sum <= lease.grant.amount => Ok(sum),
        Ok(_) | Err(_) => Err(UnbilledReason::OverLease),
    }
}

/// Moves a price from open to settled: what counts as spent stays the same.
fn settle_level(account: &mut AdvertiserAccount, level: LevelId, price: Micros) {
    let balance = account.levels.entry(level).or_default();
    let before = balance.committed();
    balance.open = balance.open.minus(price).expect("INV-4: a level holds its leases");
    balance.open_count = balance.open_count.checked_sub(1).expect("INV-4: a level holds its leases");
    balance.settled = balance.settled.plus(price).expect("INV-4: settled and open fit together");
    balance.settled_count += 1;
    assert!(balance.open >= Micros::ZERO, "INV-4: {level:?}: less than nothing is open");
    assert_eq!(balance.committed(), before, "INV-4: {level:?}: settling changes nothing that counts as spent");
}
