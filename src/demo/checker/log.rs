//! The event log, read from the journal's files after the server has stopped, and held against what the players did.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Findings, Rules};
use crate::demo::evidence::{AdSeen, Evidence};
use crate::event_log::{StoredRecord, Topic, log_dir, money_dir};
use crate::events::{self, BeaconRecord, Event};
use crate::http::player::OPERATOR_APP;
use crate::journal::{self, RealDisk};
use crate::model::{
    AdvertiserId, BeaconEvent, CreativeId, DecisionId, ImpressionId, LeaseId, LineItemId, Micros, Tier, WallMs,
};

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A journal can't be read.
    #[error("could not read the journal")]
    Journal(#[from] journal::ReadError),
}

/// What the log says, folded by impression and by lease.
#[derive(Clone, Debug, Default)]
pub struct LogSummary {
    ads: BTreeMap<(DecisionId, CreativeId), AdLogged>,
    leases: BTreeMap<LeaseId, LeaseLogged>,
    decided_at: BTreeMap<DecisionId, WallMs>,
    impressions: BTreeMap<ImpressionId, (DecisionId, CreativeId)>,
    /// Records that can't be understood, and contradictions met while reading.
    contradictions: Vec<String>,
    records: u64,
}

/// What the log says of one ad.
#[derive(Clone, Debug)]
pub(super) struct AdLogged {
    pub(super) impression_id: ImpressionId,
    advertiser_id: AdvertiserId,
    line_item_id: LineItemId,
    tier: Tier,
    pub(super) price: Micros,
    duration_ms: u32,
    billable_until: WallMs,
    records: BTreeMap<BeaconEvent, u32>,
    /// When the first copy of its impression was received.
    heard_at: Option<WallMs>,
    /// Whether an operator asked for it, as from the console: no player knows of it.
    by_operator: bool,
    /// Whether its impression counts as invalid traffic.
    is_invalid: bool,
}

/// What the log says of one lease.
#[derive(Clone, Debug, Default)]
struct LeaseLogged {
    granted: u32,
    closed: u32,
    line_item_id: Option<LineItemId>,
    amount: Micros,
    max_ordinals: u32,
    settled_at_close: Option<(Micros, u32)>,
    /// Prices of its impressions that were heard in time.
    heard: Vec<Micros>,
}

impl AdLogged {
    /// Whether its impression was received in time to be billed.
    pub(super) fn heard_in_time(&self) -> bool {
        self.heard_at.is_some_and(|at| at <= self.billable_until)
    }
}

impl AdLogged {
    /// Whether the server or the player gave it up.
    pub(super) fn was_given_up(&self) -> bool {
        self.records.keys().any(|event| matches!(event, BeaconEvent::Void | BeaconEvent::NotUsed | BeaconEvent::Error))
    }
}

impl LogSummary {
    /// Reads the journals of a stopped server's data directory.
    ///
    /// # Errors
    /// [`LogError`] when a journal can't be read.
    pub fn read(data_dir: &Path) -> Result<Self, LogError> {
        let mut summary = Self::default();
        for dir in [money_dir(data_dir), log_dir(data_dir)] {
            for record in journal::read_dir(Arc::new(RealDisk), dir)? {
                let record = record?;
                match StoredRecord::decode(record.kind, &record.payload) {
                    Ok(stored) => summary.add_stored(record.seq, stored),
                    Err(error) => summary.contradictions.push(format!("record {}: {error}", record.seq)),
                }
            }
        }
        Ok(summary)
    }

    fn add_stored(&mut self, seq: u64, stored: StoredRecord<'_>) {
        let is_ours = matches!(stored.topic, Topic::Events | Topic::Engagement | Topic::Decisions);
        if !is_ours {
            return;
        }
        match events::decode(stored.payload) {
            Ok(envelope) => self.add(envelope.received_at, &envelope.body),
            Err(error) => self.contradictions.push(format!("{} record {seq}: {error}", stored.topic)),
        }
    }

    /// One more record.
    pub(super) fn add(&mut self, received_at: WallMs, body: &Event) {
        self.records += 1;
        match body {
            Event::Beacon(beacon) => self.add_beacon(received_at, beacon),
            Event::LeaseGranted(grant) => {
                let lease = self.leases.entry(grant.lease_id).or_default();
                lease.granted += 1;
                lease.line_item_id = Some(grant.line_item_id);
                lease.amount = grant.amount;
                lease.max_ordinals = grant.max_ordinals;
            }
            Event::LeaseClosed(close) => {
                let lease = self.leases.entry(close.lease_id).or_default();
                lease.closed += 1;
                lease.settled_at_close = Some((close.settled, close.settled_count));
            }
            Event::Decision(decision) => {
                self.decided_at.insert(decision.decision_id, decision.now.wall);
            }
            Event::LeaseReturned(_) | Event::Reversal(_) | Event::Catalog(_) | Event::Ledger(_) => {}
        }
    }

    fn add_beacon(&mut self, received_at: WallMs, beacon: &BeaconRecord) {
        let key = (beacon.decision_id, beacon.creative_id);
        self.decided_at.entry(beacon.decision_id).or_insert(beacon.decided_at);
        let of_impression = *self.impressions.entry(beacon.impression_id).or_insert(key);
        if of_impression != key {
            self.contradictions.push(format!("impression {} names two ads", beacon.impression_id));
        }
        let ad = self.ads.entry(key).or_insert_with(|| AdLogged {
            impression_id: beacon.impression_id,
            advertiser_id: beacon.advertiser_id,
            line_item_id: beacon.line_item_id,
            tier: beacon.tier,
            price: beacon.price,
            duration_ms: beacon.duration_ms,
            billable_until: beacon.billable_until,
            records: BTreeMap::new(),
            heard_at: None,
            by_operator: beacon.app.as_ref().is_some_and(|app| app.as_str() == OPERATOR_APP),
            is_invalid: false,
        });
        let same = ad.impression_id == beacon.impression_id
            && ad.line_item_id == beacon.line_item_id
            && ad.price == beacon.price
            && ad.tier == beacon.tier
            && ad.billable_until == beacon.billable_until;
        if !same {
            let name = beacon.event.name();
            self.contradictions
                .push(format!("impression {}: its {name} differs from its other records", beacon.impression_id));
        }
        *ad.records.entry(beacon.event).or_default() += 1;
        if beacon.event == BeaconEvent::Impression {
            ad.heard_at = Some(ad.heard_at.map_or(received_at, |at| at.min(received_at)));
            ad.is_invalid |= beacon.invalid.is_some();
        }
    }

    /// When the break was decided, if the log says so.
    #[must_use]
    pub fn decided_at(&self, id: DecisionId) -> Option<WallMs> {
        self.decided_at.get(&id).copied()
    }

    /// How many records it was made of.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The paid ads that operators heard: what they are, and what they cost where they are to be billed. Nobody saw them but the log.
    pub(super) fn heard_by_operators(&self) -> impl Iterator<Item = (LineItemId, Option<Micros>)> {
        let heard = self.ads.values().filter(|ad| ad.by_operator && ad.heard_at.is_some() && ad.tier != Tier::House);
        heard.map(|ad| (ad.line_item_id, (ad.heard_in_time() && !ad.is_invalid).then_some(ad.price)))
    }

    /// What the log says of the ad.
    pub(super) fn ad(&self, decision_id: DecisionId, creative_id: CreativeId) -> Option<&AdLogged> {
        self.ads.get(&(decision_id, creative_id))
    }
}

/// Holds the log against the evidence.
pub(super) fn check(rules: &Rules, evidence: &Evidence, log: &LogSummary, findings: &mut Findings) {
    for contradiction in &log.contradictions {
        findings.add("changed_record", || contradiction.clone());
    }
    let mut answered = std::collections::BTreeSet::new();
    for seen in &evidence.breaks {
        for ad in &seen.ads {
            let key = (seen.decision_id, ad.creative_id);
            answered.insert(key);
            check_ad(rules, seen.decision_id, ad, log.ads.get(&key), findings);
        }
    }
    for (key, ad) in &log.ads {
        // A draw that was given up before anybody was told of its ad leaves a void and nothing else.
        let only_void = ad.records.keys().all(|&event| event == BeaconEvent::Void);
        if !answered.contains(key) && !only_void && !ad.by_operator {
            findings.add("unknown_record", || format!("impression {} was never answered", ad.impression_id));
        }
    }
    check_leases(log, findings);
}

/// One answered ad: what was acknowledged is in the log, and no more than was sent.
fn check_ad(rules: &Rules, decision: DecisionId, ad: &AdSeen, logged: Option<&AdLogged>, findings: &mut Findings) {
    for event in BeaconEvent::ALL {
        let recorded = logged.and_then(|logged| logged.records.get(&event)).copied().unwrap_or(0);
        let (sent, acknowledged) = (u32::from(ad.times_sent(event)), u32::from(ad.times_acknowledged(event)));
        // Engagement may be shed; money never is.
        if acknowledged > 0 && recorded == 0 && event.is_money() {
            findings.add("missing_record", || {
                format!(
                    "{} of ad {} of break {decision} was acknowledged and is not in the log",
                    event.name(),
                    ad.creative_id
                )
            });
        }
        // The server itself gives up an unplayed break when the next one is asked for: one void that nobody sent.
        let by_server = u32::from(event == BeaconEvent::Void);
        if recorded > sent + by_server {
            findings.add("doubled_record", || {
                format!(
                    "{} of ad {} of break {decision} was sent {sent} times and recorded {recorded} times",
                    event.name(),
                    ad.creative_id
                )
            });
        }
    }
    let Some(logged) = logged else { return };
    if logged.line_item_id != ad.line_item_id
        || logged.advertiser_id != ad.advertiser_id
        || logged.tier != ad.tier
        || logged.duration_ms != ad.duration_ms
        || logged.billable_until != ad.expires_at
    {
        findings.add("changed_record", || format!("impression {} is not what was answered", logged.impression_id));
    }
    let Some(item) = rules.item(ad.line_item_id) else { return };
    if !rules.may_cost(item, logged.price) {
        findings
            .add("price", || format!("impression {} of {} costs {}", logged.impression_id, item.name, logged.price));
    }
    let is_leased = matches!(logged.impression_id, ImpressionId::Leased { .. });
    if is_leased == (ad.tier == Tier::House) {
        findings.add("changed_record", || {
            format!("impression {}: {:?} drew from the wrong place", logged.impression_id, ad.tier)
        });
    }
}

/// Leases: granted once, closed at most once, never settling more than they hold, and closed with what was heard of them.
fn check_leases(log: &LogSummary, findings: &mut Findings) {
    let mut leases = log.leases.clone();
    for ad in log.ads.values() {
        let ImpressionId::Leased { lease_id, ordinal } = ad.impression_id else { continue };
        let lease = leases.entry(lease_id).or_default();
        if lease.granted > 0 && (ordinal >= lease.max_ordinals || lease.line_item_id != Some(ad.line_item_id)) {
            findings.add("lease", || format!("impression {} is not of its lease", ad.impression_id));
        }
        if ad.heard_in_time() {
            lease.heard.push(ad.price);
        }
    }
    for (id, lease) in &leases {
        if lease.granted != 1 {
            findings.add("lease", || format!("lease {id} was granted {} times", lease.granted));
        }
        if lease.closed > 1 {
            findings.add("lease", || format!("lease {id} was closed {} times", lease.closed));
        }
        let spent: i128 = lease.heard.iter().copied().sum();
        if spent > i128::from(lease.amount.0) {
            findings.add("lease", || format!("lease {id} of {} was heard for {spent} micros", lease.amount));
        }
        let Some((settled, count)) = lease.settled_at_close else { continue };
        let heard_count = u32::try_from(lease.heard.len()).unwrap_or(u32::MAX);
        if i128::from(settled.0) != spent || count != heard_count {
            findings.add("lease", || {
                format!(
                    "lease {id} was closed with {settled} for {count}, and {heard_count} were heard for {spent} micros"
                )
            });
        }
    }
}
