//! What the log says, by plain counting.

use std::collections::{BTreeMap, BTreeSet};

use super::flow;
use super::{AuditRecord, AuditReport};
use crate::accounting::{
    Balance, CLOSED_LEASE_KEPT_MS, DeliveryKey, DeliveryTotals, LevelId, UnbilledReason, disbelieved, entry_digest,
    fee_digest,
};
use crate::events::{BeaconRecord, Event, LeaseClosed, LeaseGranted, LeaseReturned, Reversal};
use crate::model::{AdvertiserId, BeaconEvent, ImpressionId, LeaseId, Micros, PriceModel, Tier, WallMs};

/// A lease as the log tells of it.
pub(super) struct CountedLease {
    pub(super) grant: LeaseGranted,
    pub(super) place: String,
    pub(super) returned: Option<(usize, LeaseReturned)>,
    pub(super) closed: Option<(usize, LeaseClosed, String)>,
    /// Billed ordinals and their prices; flat ones at 0.
    pub(super) settled: BTreeMap<u32, Micros>,
    pub(super) settled_micros: i128,
    /// The flat fee, once it is owed.
    pub(super) fee: Option<Micros>,
    /// Ordinals heard validly and in time, with their first position; for leases by the click.
    pub(super) delivered: BTreeMap<u32, usize>,
    pub(super) heard: BTreeSet<u32>,
    pub(super) unbilled: BTreeMap<u32, UnbilledReason>,
    pub(super) voided: BTreeSet<u32>,
    pub(super) started: BTreeSet<u32>,
    pub(super) completed: BTreeSet<u32>,
    pub(super) clicked: BTreeSet<u32>,
}

impl CountedLease {
    pub(super) fn digest(&self) -> [u8; 16] {
        let entry = |(ordinal, price): (&u32, &Micros)| {
            entry_digest(ImpressionId::Leased { lease_id: self.grant.lease_id, ordinal: *ordinal }, *price)
        };
        let fee = self.fee.map(|fee| fee_digest(self.grant.lease_id, fee));
        let mut digest = [0; 16];
        for part in self.settled.iter().map(entry).chain(fee) {
            digest.iter_mut().zip(part).for_each(|(held, byte)| *held ^= byte);
        }
        digest
    }

    pub(super) fn levels(&self) -> [LevelId; 6] {
        let grant = &self.grant;
        [
            LevelId::Advertiser(grant.advertiser_id),
            LevelId::Campaign(grant.campaign_id),
            LevelId::LineItem(grant.line_item_id),
            LevelId::AdvertiserDay(grant.advertiser_id, grant.advertiser_day),
            LevelId::CampaignDay(grant.campaign_id, grant.advertiser_day),
            LevelId::LineItemDay(grant.line_item_id, grant.line_item_day),
        ]
    }

    /// Where it was closed; after everything while it is open.
    fn end(&self) -> usize {
        self.closed.as_ref().map_or(usize::MAX, |(position, ..)| *position)
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
    /// Charges taken back, each at its first position, and its place.
    pub(super) reversals: BTreeMap<ImpressionId, (usize, Reversal, String)>,
    /// Greatest receive time of any record.
    pub(super) log_time: WallMs,
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
            Event::LeaseReturned(record) => returned(&mut counted, position, record, &place, report),
            Event::LeaseClosed(close) => closed(&mut counted, position, close, place, report),
            Event::Reversal(record) => {
                let first = (position, (**record).clone(), place);
                counted.reversals.entry(record.impression_id).or_insert(first);
            }
            Event::Beacon(beacon) => {
                counted.seen.entry(beacon.impression_id).or_default().push(place);
                let said = Said { position, received_at: envelope.received_at, beacon };
                impressions.entry(beacon.impression_id).or_default().push(said);
            }
            Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_) => {}
        }
        counted.log_time = counted.log_time.max(envelope.received_at);
    }
    one_token_each(&impressions, &counted, report);
    let billable = judge(&mut counted, &impressions, report);
    flow::run(&mut counted, billable, records, report);
    for lease in counted.leases.values() {
        report.unbilled += lease.unbilled.len() as u64;
        report.billed += lease.settled.len() as u64;
        report.billed_micros += lease.settled_micros;
    }
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
        returned: None,
        closed: None,
        settled: BTreeMap::new(),
        settled_micros: 0,
        fee: None,
        delivered: BTreeMap::new(),
        heard: BTreeSet::new(),
        unbilled: BTreeMap::new(),
        voided: BTreeSet::new(),
        started: BTreeSet::new(),
        completed: BTreeSet::new(),
        clicked: BTreeSet::new(),
    };
    counted.leases.insert(grant.lease_id, lease);
}

/// What a server gave back. One that can't hold is a difference, and is left out as accounting leaves it out.
fn returned(counted: &mut Recount, position: usize, record: &LeaseReturned, place: &str, report: &mut AuditReport) {
    let seen = counted.seen.keys().rev().find_map(|id| match id {
        ImpressionId::Leased { lease_id, ordinal } if *lease_id == record.lease_id => Some(*ordinal),
        ImpressionId::Leased { .. } | ImpressionId::Unleased { .. } => None,
    });
    let Some(lease) = counted.leases.get_mut(&record.lease_id) else {
        report.differs("return_after_grant", place, "a grant before it", format!("lease {}", record.lease_id));
        return;
    };
    // A record may come twice, and a return behind the close of its lease: neither changes anything.
    if lease.returned.is_some() || lease.closed.is_some() {
        return;
    }
    let holds = (lease.grant.server_id, lease.grant.boot_id) == (record.server_id, record.boot_id)
        && (Micros::ZERO..=lease.grant.amount).contains(&record.drawn)
        && record.drawn_count <= lease.grant.max_ordinals
        && seen.is_none_or(|ordinal| ordinal < record.drawn_count || ordinal >= lease.grant.max_ordinals);
    if holds {
        lease.returned = Some((position, record.clone()));
    } else {
        report.differs("return_holds", place, "no less than what was heard of the lease", format!("{record:?}"));
    }
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
    let ids = (beacon.network_id, beacon.advertiser_id, beacon.campaign_id, beacon.line_item_id);
    let grant = &lease.grant;
    if ids != (grant.network_id, grant.advertiser_id, grant.campaign_id, grant.line_item_id) {
        // An advertiser's account knows no other advertiser's leases.
        let unknown = beacon.advertiser_id != lease.grant.advertiser_id;
        return Err(if unknown { UnbilledReason::UnknownLease } else { UnbilledReason::LeaseMismatch });
    }
    let drawn = lease.returned.as_ref().map_or(lease.grant.max_ordinals, |(_, returned)| returned.drawn_count);
    if ordinal >= drawn {
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

/// An impression whose billable event nothing speaks against, and where in the log it is judged.
pub(super) struct Billable<'a> {
    pub(super) position: usize,
    pub(super) lease_id: LeaseId,
    pub(super) ordinal: u32,
    pub(super) beacon: &'a BeaconRecord,
}

/// Counts every impression. What may be billed waits until all are known: money goes to it in the order in which the log has it.
fn judge<'a>(
    counted: &mut Recount,
    impressions: &BTreeMap<ImpressionId, Vec<Said<'a>>>,
    report: &mut AuditReport,
) -> Vec<Billable<'a>> {
    let mut billable = Vec::new();
    for said in impressions.values() {
        let Some(first) = said.first() else { continue };
        match covering(counted, first.beacon) {
            Ok((lease_id, ordinal)) => {
                let position = leased(counted, lease_id, ordinal, said);
                billable.extend(position.map(|position| Billable {
                    position,
                    lease_id,
                    ordinal,
                    beacon: first.beacon,
                }));
            }
            Err(reason) => loose(counted, reason, said, report),
        }
    }
    billable.sort_by_key(|billable| billable.position);
    billable
}

pub(super) fn key(beacon: &BeaconRecord) -> DeliveryKey {
    DeliveryKey { line_item_id: beacon.line_item_id, hour: beacon.decided_at.hour_start() }
}

/// Counts one leased impression. Returns where in the log it is judged, if nothing speaks against it.
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
    if !heard.is_empty() {
        lease.heard.insert(ordinal);
        totals.impressions += 1;
    }
    let model = lease.grant.price_model;
    if model == PriceModel::Cpc
        && let Some(valid) = heard.iter().find(|said| speaks_against(lease, said).is_none())
    {
        lease.delivered.insert(ordinal, valid.position);
    }
    let is_billable = |said: &Said<'_>| match model {
        PriceModel::Cpm | PriceModel::Flat => self::heard(said.beacon),
        PriceModel::Cpcl => said.beacon.event == BeaconEvent::Complete,
        PriceModel::Cpc => said.beacon.event == BeaconEvent::Click,
    };
    let copies: Vec<_> = counts.iter().filter(|said| is_billable(said)).collect();
    let reason = if let Some(valid) = copies.iter().find(|said| speaks_against(lease, said).is_none()) {
        let began = match model {
            PriceModel::Cpm | PriceModel::Flat => Some(valid.position),
            // A completion or a click counts once anything says that the ad began.
            PriceModel::Cpcl | PriceModel::Cpc => {
                let begins = |said: &&&Said<'_>| said.beacon.event == BeaconEvent::Start || self::heard(said.beacon);
                counts.iter().find(begins).map(|said| said.position.max(valid.position))
            }
        };
        match began {
            Some(position) if position < lease.end() => return Some(position),
            Some(_) | None => UnbilledReason::NoStart,
        }
    } else {
        copies.iter().filter_map(|said| speaks_against(lease, said)).min()?
    };
    lease.unbilled.insert(ordinal, reason);
    *totals.unbilled.entry(reason).or_default() += 1;
    None
}

/// What speaks against billing this copy of a beacon, first reason first.
fn speaks_against(lease: &CountedLease, said: &Said<'_>) -> Option<UnbilledReason> {
    let beacon = said.beacon;
    let until = beacon.billable_until.min(lease.grant.last_billable_until);
    if beacon.price_model != lease.grant.price_model {
        Some(UnbilledReason::PriceModel)
    } else if beacon.price < Micros::ZERO {
        Some(UnbilledReason::BadPrice)
    } else if let Some(reason) = disbelieved(beacon, said.received_at) {
        Some(reason)
    } else if said.received_at > until {
        Some(UnbilledReason::Late)
    } else {
        (said.position > lease.end()).then_some(UnbilledReason::LeaseClosed)
    }
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
