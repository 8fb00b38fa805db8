//! The money's way through the log, in its order: what each grant took, what was charged, given back and reversed, at every level.
//!
//! INV-4 is judged at each grant: what was granted before and not given back, what was charged, and this, is within the limits that the grant
//! names. A grant whose money does not fit because clicks came first is none: nobody ever had it.

use std::collections::{BTreeMap, BTreeSet};

use super::recount::{Billable, CountedLease, Recount, key};
use super::{AuditRecord, AuditReport};
use crate::accounting::{Balance, LevelId, REVERSIBLE_MS, UnbilledReason, budget_of};
use crate::events::{Event, Reversal};
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, LeaseId, Micros, PriceModel};

/// Money and impressions of a level, wide enough for any sum.
#[derive(Clone, Copy, Default)]
struct Sums {
    settled: i128,
    settled_count: i128,
    open: i128,
    open_count: i128,
    budget: Option<Micros>,
}

type Levels = BTreeMap<(AdvertiserId, LevelId), Sums>;

/// Walks the log once and leaves in `counted` what was charged and every balance.
pub(super) fn run(
    counted: &mut Recount,
    billable: Vec<Billable<'_>>,
    records: &[AuditRecord],
    report: &mut AuditReport,
) {
    let mut levels = Levels::new();
    let mut opened = BTreeSet::new();
    let mut deliveries = deliveries(counted);
    let mut billable = billable.into_iter().peekable();
    for (position, record) in records.iter().enumerate() {
        let Ok(envelope) = &record.envelope else { continue };
        match &envelope.body {
            Event::LeaseGranted(grant) if !opened.contains(&grant.lease_id) => {
                if open(counted, &mut levels, grant.lease_id, report) {
                    opened.insert(grant.lease_id);
                }
            }
            Event::LeaseReturned(returned) => give_back(counted, &mut levels, returned.lease_id, position),
            Event::LeaseClosed(closed) => close(counted, &mut levels, closed.lease_id, position, report),
            Event::Reversal(reversal) => reverse(counted, &mut levels, reversal, position, report),
            Event::Beacon(_) => {
                // An impression counts as delivered before its click is judged by the same record.
                if let Some(lease_id) = deliveries.remove(&position) {
                    deliver(counted, &mut levels, lease_id);
                }
                while let Some(billable) = billable.next_if(|billable| billable.position == position) {
                    charge(counted, &mut levels, &billable);
                }
            }
            Event::LeaseGranted(_) | Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_) => {}
        }
    }
    counted.leases.retain(|lease_id, _| opened.contains(lease_id));
    finish(counted, levels, report);
}

/// Impressions that are delivered without money, by the position of the record that delivers them.
fn deliveries(counted: &Recount) -> BTreeMap<usize, LeaseId> {
    let by_click = counted.leases.values().filter(|lease| lease.grant.price_model == PriceModel::Cpc);
    by_click.flat_map(|lease| lease.delivered.values().map(|position| (*position, lease.grant.lease_id))).collect()
}

fn each_level(levels: &mut Levels, lease: &CountedLease, mut change: impl FnMut(LevelId, &mut Sums)) {
    for level in lease.levels() {
        change(level, levels.entry((lease.grant.advertiser_id, level)).or_default());
    }
}

/// Opens a lease. False where some budget has no room for it.
fn open(counted: &Recount, levels: &mut Levels, lease_id: LeaseId, report: &mut AuditReport) -> bool {
    let Some(lease) = counted.leases.get(&lease_id) else { return false };
    let amount = i128::from(lease.grant.amount.0);
    let mut has_room = true;
    each_level(levels, lease, |level, sums| {
        let budget = budget_of(&lease.grant, level).map_or(i128::MAX, |budget| i128::from(budget.0));
        has_room &= amount == 0 || sums.settled + sums.open + amount <= budget;
    });
    if !has_room {
        return false;
    }
    each_level(levels, lease, |level, sums| {
        sums.open += amount;
        sums.open_count += i128::from(lease.grant.max_ordinals);
        sums.budget = budget_of(&lease.grant, level);
        within_goal(lease, level, sums, report);
    });
    true
}

fn within_goal(lease: &CountedLease, level: LevelId, sums: &Sums, report: &mut AuditReport) {
    let named = |limit: &&crate::events::LevelLimit| (limit.level, limit.window) == level.limit();
    let goals = lease.grant.limits.iter().filter(named).filter_map(|limit| limit.goal);
    let count = sums.settled_count + sums.open_count;
    for goal in goals.filter(|goal| count > i128::from(*goal)) {
        let place = format!("lease {}, {}, {level:?}", lease.grant.lease_id, lease.place);
        report.differs("grant_within_goal", place, format!("at most {goal} impressions"), count);
    }
}

/// What a lease holds at `position`: all that was granted, or what was drawn once the rest was given back.
fn amount_at(lease: &CountedLease, position: usize) -> i128 {
    let granted = i128::from(lease.grant.amount.0);
    match &lease.returned {
        Some((at, returned)) if *at <= position => match lease.grant.price_model {
            PriceModel::Flat if returned.drawn_count > 0 => granted,
            PriceModel::Flat => 0,
            PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Cpc => i128::from(returned.drawn.0),
        },
        Some(_) | None => granted,
    }
}

fn ordinals_at(lease: &CountedLease, position: usize) -> i128 {
    match &lease.returned {
        Some((at, returned)) if *at <= position => i128::from(returned.drawn_count),
        Some(_) | None => i128::from(lease.grant.max_ordinals),
    }
}

/// Impressions of the lease that count as delivered at `position`.
fn delivered_at(lease: &CountedLease, position: usize) -> i128 {
    match lease.grant.price_model {
        PriceModel::Cpc => lease.delivered.values().filter(|at| **at <= position).count() as i128,
        PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Flat => lease.settled.len() as i128,
    }
}

/// Money of the lease that is held and not charged. Clicks are not held.
fn held_at(lease: &CountedLease, position: usize) -> i128 {
    match lease.grant.price_model {
        PriceModel::Cpc => 0,
        PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Flat => amount_at(lease, position) - lease.settled_micros,
    }
}

fn give_back(counted: &Recount, levels: &mut Levels, lease_id: LeaseId, position: usize) {
    let Some(lease) = counted.leases.get(&lease_id) else { return };
    if lease.returned.as_ref().is_none_or(|(at, _)| *at != position) || position == 0 {
        return;
    }
    let micros = amount_at(lease, position - 1) - amount_at(lease, position);
    let count = ordinals_at(lease, position - 1) - ordinals_at(lease, position);
    each_level(levels, lease, |_, sums| {
        sums.open -= micros;
        sums.open_count -= count;
    });
}

fn close(counted: &Recount, levels: &mut Levels, lease_id: LeaseId, position: usize, report: &mut AuditReport) {
    let Some(lease) = counted.leases.get(&lease_id) else { return };
    let Some((at, close, place)) = &lease.closed else { return };
    if *at != position {
        return;
    }
    let rest = held_at(lease, position);
    let count = ordinals_at(lease, position) - delivered_at(lease, position);
    each_level(levels, lease, |_, sums| {
        sums.open -= rest;
        sums.open_count -= count;
    });
    let told = (i128::from(close.settled.0), i128::from(close.settled_count), i128::from(close.returned.0));
    let found = (lease.settled_micros, lease.settled.len() as i128, rest);
    if told != found {
        let place = format!("lease {lease_id}, {place}");
        report.differs("close_agrees", place, format!("{found:?}"), format!("{told:?}"));
    }
}

fn deliver(counted: &Recount, levels: &mut Levels, lease_id: LeaseId) {
    let Some(lease) = counted.leases.get(&lease_id) else { return };
    each_level(levels, lease, |_, sums| {
        sums.open_count -= 1;
        sums.settled_count += 1;
    });
}

/// Charges what nothing speaks against, if the money is there.
fn charge(counted: &mut Recount, levels: &mut Levels, billable: &Billable<'_>) {
    let Some(lease) = counted.leases.get_mut(&billable.lease_id) else { return };
    let price = i128::from(billable.beacon.price.0);
    let refused = match lease.grant.price_model {
        PriceModel::Flat => None,
        PriceModel::Cpm | PriceModel::Cpcl => {
            (lease.settled_micros + price > amount_at(lease, billable.position)).then_some(UnbilledReason::OverLease)
        }
        PriceModel::Cpc => {
            let mut has_room = true;
            each_level(levels, lease, |_, sums| {
                let sum = sums.settled + sums.open + price;
                has_room &= sums.budget.is_none_or(|budget| sum <= i128::from(budget.0)) && sum <= i128::from(i64::MAX);
            });
            (!has_room).then_some(UnbilledReason::NoBudget)
        }
    };
    let totals = counted.delivery.entry(key(billable.beacon)).or_default();
    if let Some(reason) = refused {
        lease.unbilled.insert(billable.ordinal, reason);
        *totals.unbilled.entry(reason).or_default() += 1;
        return;
    }
    let is_flat = lease.grant.price_model == PriceModel::Flat;
    let fee = (is_flat && lease.settled.is_empty()).then(|| amount_at(lease, billable.position));
    let charged = if is_flat { fee.unwrap_or(0) } else { price };
    lease.fee = lease.fee.or(fee.filter(|fee| *fee > 0).map(narrow));
    lease.settled.insert(billable.ordinal, if is_flat { Micros::ZERO } else { billable.beacon.price });
    lease.settled_micros += charged;
    totals.billed += 1;
    totals.billed_micros = Micros(totals.billed_micros.0.saturating_add(narrow(charged).0));
    let by_click = lease.grant.price_model == PriceModel::Cpc;
    each_level(levels, lease, |_, sums| {
        sums.settled += charged;
        if !by_click {
            sums.open -= charged;
            sums.settled_count += 1;
            sums.open_count -= 1;
        }
    });
}

fn reverse(counted: &mut Recount, levels: &mut Levels, reversal: &Reversal, position: usize, report: &mut AuditReport) {
    let Some((at, _, place)) = counted.reversals.get(&reversal.impression_id) else { return };
    if *at != position {
        return;
    }
    let place = format!("reversal of {}, {place}", reversal.impression_id);
    let ImpressionId::Leased { lease_id, ordinal } = reversal.impression_id else {
        report.differs("reversal_of_a_charge", place, "a paid impression", "one that nobody pays for");
        return;
    };
    let charged = counted.leases.get(&lease_id).and_then(|lease| lease.settled.get(&ordinal)).copied();
    if charged != Some(reversal.price) {
        report.differs("reversal_of_a_charge", &place, format!("{charged:?}"), format!("{:?}", reversal.price));
    }
    if reversal.reversed_at.since(reversal.decided_at) > REVERSIBLE_MS {
        report.differs("reversal_in_time", &place, "within 7 days of the decision", reversal.reversed_at.to_rfc3339());
    }
    for level in [
        LevelId::Advertiser(reversal.advertiser_id),
        LevelId::Campaign(reversal.campaign_id),
        LevelId::LineItem(reversal.line_item_id),
    ] {
        let sums = levels.entry((reversal.advertiser_id, level)).or_default();
        sums.settled -= i128::from(reversal.price.0);
        sums.settled_count -= i128::from(reversal.event != BeaconEvent::Click);
    }
    let hour = reversal.decided_at.hour_start();
    let key = crate::accounting::DeliveryKey { line_item_id: reversal.line_item_id, hour };
    let totals = counted.delivery.entry(key).or_default();
    totals.billed -= 1;
    totals.billed_micros = Micros(totals.billed_micros.0.saturating_sub(reversal.price.0));
    *totals.unbilled.entry(reversal.reason.into()).or_default() += 1;
}

fn narrow(micros: i128) -> Micros {
    Micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn finish(counted: &mut Recount, levels: Levels, report: &mut AuditReport) {
    report.leases = counted.leases.len() as u64;
    report.open_leases = counted.leases.values().filter(|lease| lease.closed.is_none()).count() as u64;
    let count = |count: i128| u64::try_from(count).unwrap_or(u64::MAX);
    for (key, sums) in levels {
        let balance = Balance {
            settled: narrow(sums.settled),
            settled_count: count(sums.settled_count),
            open: narrow(sums.open),
            open_count: count(sums.open_count),
            budget: sums.budget,
        };
        counted.balances.insert(key, balance);
    }
}
