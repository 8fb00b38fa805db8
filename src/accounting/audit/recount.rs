//! What the log says, by plain counting.

use std::collections::{BTreeMap, BTreeSet};

use super::{AuditRecord, AuditReport};
use crate::accounting::{
    Balance, CLOSED_LEASE_KEPT_MS, DeliveryKey, DeliveryTotals, LevelId, UnbilledReason, entry_digest,
};
use crate::events::{BeaconRecord, BudgetLevel, Event, LeaseClosed, LeaseGranted};
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, LeaseId, Micros, PriceModel, Tier, WallMs};

/// A lease as the log tells of it.
pub(super) struct CountedLease {
    pub(super) grant: LeaseGranted,
    pub(super) place: String,
    pub(super) closed: Option<(usize, LeaseClosed, String)>,
    /// Billed ordinals and their prices.
    pub(super) settled: BTreeMap<u32, Micros>,
    pub(super) settled_micros: i128,
    pub(super) unbilled: BTreeMap<u32, UnbilledReason>,
    pub(super) voided: BTreeSet<u32>,
    pub(super) started: BTreeSet<u32>,
    pub(super) completed: BTreeSet<u32>,
    pub(super) clicked: BTreeSet<u32>,
}

impl CountedLease {
    pub(super) fn digest(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        for (ordinal, price) in &self.settled {
            let id = ImpressionId::Leased { lease_id: self.grant.lease_id, ordinal: *ordinal };
            for (held, byte) in digest.iter_mut().zip(entry_digest(id, *price)) {
                *held ^= byte;
            }
        }
        digest
    }

    fn levels(&self) -> [LevelId; 3] {
        [
            LevelId::Advertiser(self.grant.advertiser_id),
            LevelId::Campaign(self.grant.campaign_id),
            LevelId::LineItem(self.grant.line_item_id),
        ]
    }
}

/// All that the log says.
#[derive(Default)]
pub(super) struct Recount {
    pub(super) leases: BTreeMap<LeaseId, CountedLease>,
    pub(super) balances: BTreeMap<(AdvertiserId, LevelId), Balance>,
    pub(super) delivery: BTreeMap<DeliveryKey, DeliveryTotals>,
    /// Records of each impression, with their places in the log.
    pub(super) seen: BTreeMap<ImpressionId, Vec<String>>,
}

/// A beacon and its position among the records.
struct Said<'a> {
    position: usize,
    received_at: WallMs,
    beacon: &'a BeaconRecord,
}

pub(super) fn recount(records: &[AuditRecord], report: &mut AuditReport) -> Recount {
    let mut counted = Recount::default();
    let mut impressions: BTreeMap<ImpressionId, Vec<Said<'_>>> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        let place = format!("{} record {}", record.file, record.offset);
        let envelope = match &record.envelope {
            Ok(envelope) => envelope,
            Err(error) => {
                report.differs("record_understood", place, "an event", error);
                continue;
            }
        };
        if envelope.event_id != envelope.body.id() {
            report.differs("event_id_derived", &place, envelope.body.id(), envelope.event_id);
        }
        match &envelope.body {
            Event::LeaseGranted(grant) => granted(&mut counted, grant, place, report),
            Event::LeaseClosed(close) => closed(&mut counted, position, close, place, report),
            Event::Beacon(beacon) => {
                counted.seen.entry(beacon.impression_id).or_default().push(place);
                let said = Said { position, received_at: envelope.received_at, beacon };
                impressions.entry(beacon.impression_id).or_default().push(said);
            }
            Event::LeaseReturned(_) | Event::Reversal(_) | Event::Decision(_) | Event::Catalog(_) => {}
        }
    }
    one_token_each(&impressions, &counted, report);
    judge(&mut counted, &impressions, report);
    limits(&counted, records, report);
    sums(&mut counted, report);
    counted
}

fn granted(counted: &mut Recount, grant: &LeaseGranted, place: String, report: &mut AuditReport) {
    if let Some(before) = counted.leases.get(&grant.lease_id) {
        // A copy of the same grant is harmless; another grant of the same name is not.
        if before.grant != *grant {
            report.differs("lease_granted_once", place, "one grant of a lease", format!("also {}", before.place));
        }
        return;
    }
    let lease = CountedLease {
        grant: grant.clone(),
        place,
        closed: None,
        settled: BTreeMap::new(),
        settled_micros: 0,
        unbilled: BTreeMap::new(),
        voided: BTreeSet::new(),
        started: BTreeSet::new(),
        completed: BTreeSet::new(),
        clicked: BTreeSet::new(),
    };
    counted.leases.insert(grant.lease_id, lease);
}

fn closed(counted: &mut Recount, position: usize, close: &LeaseClosed, place: String, report: &mut AuditReport) {
    match counted.leases.get_mut(&close.lease_id) {
        None => {
            report.differs("lease_closed_after_grant", place, "a grant before it", format!("lease {}", close.lease_id));
        }
        Some(lease) if lease.closed.is_none() => lease.closed = Some((position, close.clone(), place)),
        Some(_) => {}
    }
}

/// An impression has one token, so all its beacons say the same of it.
fn one_token_each(impressions: &BTreeMap<ImpressionId, Vec<Said<'_>>>, counted: &Recount, report: &mut AuditReport) {
    for (id, said) in impressions {
        let Some(first) = said.first() else { continue };
        for (other, place) in said.iter().zip(&counted.seen[id]).skip(1) {
            if other.beacon.price != first.beacon.price {
                let place = format!("impression {id}, {place}");
                let expected = format!("price {:?} as in {}", first.beacon.price, counted.seen[id][0]);
                report.differs("price_agrees", place, expected, format!("price {:?}", other.beacon.price));
            } else if !same_token(first.beacon, other.beacon) {
                report.differs("token_agrees", format!("impression {id}, {place}"), "the same token", "another token");
            }
        }
    }
}

fn same_token(one: &BeaconRecord, other: &BeaconRecord) -> bool {
    one.line_item_id == other.line_item_id
        && one.campaign_id == other.campaign_id
        && one.advertiser_id == other.advertiser_id
        && one.creative_id == other.creative_id
        && one.price_model == other.price_model
        && one.tier == other.tier
        && one.decided_at == other.decided_at
        && one.billable_until == other.billable_until
        && one.impression_at_start == other.impression_at_start
        && one.preview == other.preview
}

/// The lease that covers the impression, or why none does.
fn covering(counted: &Recount, beacon: &BeaconRecord) -> Result<(LeaseId, u32), UnbilledReason> {
    if beacon.preview {
        return Err(UnbilledReason::Preview);
    }
    if beacon.tier == Tier::House {
        return Err(UnbilledReason::House);
    }
    let ImpressionId::Leased { lease_id, ordinal } = beacon.impression_id else {
        return Err(UnbilledReason::UnknownLease);
    };
    let lease = counted.leases.get(&lease_id).ok_or(UnbilledReason::UnknownLease)?;
    let ids = (beacon.advertiser_id, beacon.campaign_id, beacon.line_item_id);
    if ids != (lease.grant.advertiser_id, lease.grant.campaign_id, lease.grant.line_item_id) {
        // An advertiser's account knows no other advertiser's leases.
        let unknown = beacon.advertiser_id != lease.grant.advertiser_id;
        return Err(if unknown { UnbilledReason::UnknownLease } else { UnbilledReason::LeaseMismatch });
    }
    if ordinal >= lease.grant.max_ordinals {
        return Err(UnbilledReason::OrdinalOutOfRange);
    }
    Ok((lease_id, ordinal))
}

fn heard(beacon: &BeaconRecord) -> bool {
    match beacon.event {
        BeaconEvent::Impression => true,
        BeaconEvent::Start => beacon.impression_at_start,
        BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Complete
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute
        | BeaconEvent::Click
        | BeaconEvent::Error
        | BeaconEvent::Void
        | BeaconEvent::NotUsed => false,
    }
}

fn judge(counted: &mut Recount, impressions: &BTreeMap<ImpressionId, Vec<Said<'_>>>, report: &mut AuditReport) {
    // Billable ones wait until all are known: a lease's amount goes to them in the order in which the log has them.
    let mut billable: Vec<(usize, LeaseId, u32, &BeaconRecord)> = Vec::new();
    for said in impressions.values() {
        let Some(first) = said.first() else { continue };
        match covering(counted, first.beacon) {
            Ok((lease_id, ordinal)) => {
                if let Some(position) = leased(counted, lease_id, ordinal, said) {
                    billable.push((position, lease_id, ordinal, first.beacon));
                }
            }
            Err(reason) => loose(counted, reason, said, report),
        }
    }
    billable.sort_by_key(|(position, ..)| *position);
    for (_, lease_id, ordinal, beacon) in billable {
        let Some(lease) = counted.leases.get_mut(&lease_id) else { continue };
        let totals = counted.delivery.entry(key(beacon)).or_default();
        if lease.settled_micros + i128::from(beacon.price.0) <= i128::from(lease.grant.amount.0) {
            lease.settled.insert(ordinal, beacon.price);
            lease.settled_micros += i128::from(beacon.price.0);
            totals.billed += 1;
            totals.billed_micros = Micros(totals.billed_micros.0.saturating_add(beacon.price.0));
        } else {
            lease.unbilled.insert(ordinal, UnbilledReason::OverLease);
            *totals.unbilled.entry(UnbilledReason::OverLease).or_default() += 1;
        }
    }
    for lease in counted.leases.values() {
        report.unbilled += lease.unbilled.len() as u64;
        report.billed += lease.settled.len() as u64;
        report.billed_micros += lease.settled_micros;
    }
}

fn key(beacon: &BeaconRecord) -> DeliveryKey {
    DeliveryKey { line_item_id: beacon.line_item_id, hour: beacon.decided_at.hour_start() }
}

/// Counts one leased impression. Returns where in the log it becomes billable, if it does.
fn leased(counted: &mut Recount, lease_id: LeaseId, ordinal: u32, said: &[Said<'_>]) -> Option<usize> {
    let lease = counted.leases.get_mut(&lease_id)?;
    let last = lease.grant.last_billable_until;
    let counts: Vec<_> = said.iter().filter(|said| said.received_at.since(last) <= CLOSED_LEASE_KEPT_MS).collect();
    let first = counts.first()?;
    let totals = counted.delivery.entry(key(first.beacon)).or_default();
    let told = |events: &[BeaconEvent]| counts.iter().any(|said| events.contains(&said.beacon.event));
    if told(&[BeaconEvent::Start]) {
        lease.started.insert(ordinal);
        totals.starts += 1;
    }
    if told(&[BeaconEvent::Complete]) {
        lease.completed.insert(ordinal);
        totals.completes += 1;
    }
    if told(&[BeaconEvent::Click]) {
        lease.clicked.insert(ordinal);
        totals.clicks += 1;
    }
    if told(&[BeaconEvent::Void, BeaconEvent::NotUsed, BeaconEvent::Error]) {
        lease.voided.insert(ordinal);
        totals.voids += 1;
    }
    let heard: Vec<_> = counts.iter().filter(|said| heard(said.beacon)).collect();
    let beacon = heard.first()?.beacon;
    totals.impressions += 1;
    let close = lease.closed.as_ref().map_or(usize::MAX, |(position, ..)| *position);
    let until = beacon.billable_until.min(last);
    let mut refused = None;
    if beacon.price_model != PriceModel::Cpm {
        refused = Some(UnbilledReason::PriceModel);
    } else if beacon.price < Micros::ZERO {
        refused = Some(UnbilledReason::BadPrice);
    } else if let Some(billable) = heard.iter().find(|said| said.received_at <= until && said.position < close) {
        return Some(billable.position);
    }
    let in_time = heard.iter().any(|said| said.received_at <= until);
    let reason = refused.unwrap_or(if in_time { UnbilledReason::LeaseClosed } else { UnbilledReason::Late });
    lease.unbilled.insert(ordinal, reason);
    *totals.unbilled.entry(reason).or_default() += 1;
    None
}

/// Counts one impression that no lease covers: only what came within the token's life.
fn loose(counted: &mut Recount, reason: UnbilledReason, said: &[Said<'_>], report: &mut AuditReport) {
    let counts: Vec<_> = said.iter().filter(|said| said.received_at <= said.beacon.billable_until).collect();
    let Some(first) = counts.first() else { return };
    let any = |test: &dyn Fn(&BeaconRecord) -> bool| i64::from(counts.iter().any(|said| test(said.beacon)));
    let was_heard = any(&heard);
    let totals = counted.delivery.entry(key(first.beacon)).or_default();
    totals.starts += any(&|beacon| beacon.event == BeaconEvent::Start);
    totals.completes += any(&|beacon| beacon.event == BeaconEvent::Complete);
    totals.clicks += any(&|beacon| beacon.event == BeaconEvent::Click);
    let gone = [BeaconEvent::Void, BeaconEvent::NotUsed, BeaconEvent::Error];
    totals.voids += any(&|beacon| gone.contains(&beacon.event));
    totals.impressions += was_heard;
    if was_heard == 1 {
        *totals.unbilled.entry(reason).or_default() += 1;
        report.unbilled += 1;
    }
}

/// INV-4 at each grant: what was granted before and not given back, and this, is within the limits that the grant names.
fn limits(counted: &Recount, records: &[AuditRecord], report: &mut AuditReport) {
    let mut committed: BTreeMap<LevelId, (i128, i128)> = BTreeMap::new();
    let mut opened = BTreeSet::new();
    let mut given_back = BTreeSet::new();
    for (position, record) in records.iter().enumerate() {
        let Ok(envelope) = &record.envelope else { continue };
        match &envelope.body {
            Event::LeaseGranted(grant) if opened.insert(grant.lease_id) => {
                let Some(lease) = counted.leases.get(&grant.lease_id) else { continue };
                for level in lease.levels() {
                    let sum = committed.entry(level).or_default();
                    sum.0 += i128::from(grant.amount.0);
                    sum.1 += i128::from(grant.max_ordinals);
                    within(lease, level, *sum, report);
                }
            }
            Event::LeaseClosed(close) if given_back.insert(close.lease_id) => {
                let Some(lease) = counted.leases.get(&close.lease_id) else { continue };
                if lease.closed.as_ref().is_none_or(|(at, ..)| *at != position) {
                    continue;
                }
                for level in lease.levels() {
                    let sum = committed.entry(level).or_default();
                    sum.0 -= i128::from(lease.grant.amount.0) - lease.settled_micros;
                    sum.1 -= i128::from(lease.grant.max_ordinals) - lease.settled.len() as i128;
                }
            }
            Event::LeaseGranted(_)
            | Event::LeaseClosed(_)
            | Event::Beacon(_)
            | Event::LeaseReturned(_)
            | Event::Reversal(_)
            | Event::Decision(_)
            | Event::Catalog(_) => {}
        }
    }
}

fn within(lease: &CountedLease, level: LevelId, (micros, count): (i128, i128), report: &mut AuditReport) {
    let kind = match level {
        LevelId::Advertiser(_) => BudgetLevel::Advertiser,
        LevelId::Campaign(_) => BudgetLevel::Campaign,
        LevelId::LineItem(_) => BudgetLevel::LineItem,
    };
    for limit in lease.grant.limits.iter().filter(|limit| limit.level == kind) {
        if let Some(budget) = limit.budget.filter(|budget| micros > i128::from(budget.0)) {
            let place = format!("lease {}, {}, {level:?}", lease.grant.lease_id, lease.place);
            report.differs("grant_within_budget", place, format!("at most {} micros", budget.0), micros);
        }
        if let Some(goal) = limit.goal.filter(|goal| count > i128::from(*goal)) {
            let place = format!("lease {}, {}, {level:?}", lease.grant.lease_id, lease.place);
            report.differs("grant_within_goal", place, format!("at most {goal} impressions"), count);
        }
    }
}

/// Balances from the leases, and what each close says of its lease.
fn sums(counted: &mut Recount, report: &mut AuditReport) {
    report.leases = counted.leases.len() as u64;
    for lease in counted.leases.values() {
        let settled = Micros(i64::try_from(lease.settled_micros).unwrap_or(i64::MAX));
        let count = u64::try_from(lease.settled.len()).unwrap_or(u64::MAX);
        let rest = Micros(lease.grant.amount.0.saturating_sub(settled.0));
        for level in lease.levels() {
            let balance = counted.balances.entry((lease.grant.advertiser_id, level)).or_default();
            balance.settled = Micros(balance.settled.0.saturating_add(settled.0));
            balance.settled_count += count;
            if lease.closed.is_none() {
                balance.open = Micros(balance.open.0.saturating_add(rest.0));
                balance.open_count += u64::from(lease.grant.max_ordinals).saturating_sub(count);
            }
        }
        match &lease.closed {
            None => report.open_leases += 1,
            Some((_, close, place)) => {
                let told = (close.settled, u64::from(close.settled_count), close.returned);
                if told != (settled, count, rest) {
                    let place = format!("lease {}, {place}", lease.grant.lease_id);
                    report.differs("close_agrees", place, format!("{:?}", (settled, count, rest)), format!("{told:?}"));
                }
            }
        }
    }
}
