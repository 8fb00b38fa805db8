//! The books of a stopped server, judged against the players' list. Counted here with plain maps from the log's records and the ledger's
//! rows; nothing of accounting's own counting is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use segue::accounting::{Balance, Lease, LevelId, Loose, UnbilledReason};
use segue::entropy::Entropy;
use segue::event_log::{StoredRecord, Topic, money_dir};
use segue::events::{self, Event};
use segue::journal::{RealDisk, SharedDisk, read_dir};
use segue::model::{AdvertiserId, BeaconEvent, CampaignId, ImpressionId, LeaseId, LineItemId, Micros, WallMs};
use segue::store::Store;
use segue::tokens::{Claims, TokenKey, TokenKeys};

use super::board::Entry;
use super::campaigns::Sold;

/// What is on disk.
pub(super) struct Books {
    keys: TokenKeys,
    /// Records of an impression beacon, by impression.
    heard: BTreeMap<ImpressionId, u64>,
    leases: BTreeMap<LeaseId, Lease>,
    loose: BTreeMap<ImpressionId, Loose>,
    balances: BTreeMap<LevelId, Balance>,
    /// Billed, over all line items and hours.
    billed: i64,
}

/// What became of an impression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Settled,
    Unbilled(UnbilledReason),
    Unknown,
}

/// What was found.
#[derive(Default, Debug)]
pub(super) struct Verdict {
    pub(super) sent: usize,
    pub(super) marked: usize,
    pub(super) marked_settled: usize,
    /// Of the marked ones.
    pub(super) unbilled: BTreeMap<&'static str, usize>,
    /// Settled, also of those sent and never acknowledged.
    pub(super) settled: usize,
    pub(super) settled_micros: i64,
    /// Records beyond the first of an impression.
    pub(super) repeats: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, marked, marked_settled, unbilled, settled, settled_micros, repeats } = self;
        write!(f, "sent={sent} marked={marked} marked_settled={marked_settled} marked_unbilled={unbilled:?} ")?;
        write!(f, "settled={settled} settled_micros={settled_micros} repeated_records={repeats}")
    }
}

impl Books {
    /// Reads what is in the data directory.
    pub(super) fn open(data: &Path, now: WallMs) -> Self {
        let store = Store::open(data, now, &Entropy::real()).expect("the store opens");
        let identity = store.identity();
        let key = |key: &segue::store::TokenKey| TokenKey::new(u32::from(key.id), &key.secret.0);
        let keys = TokenKeys::new(key(&identity.token_key), identity.previous_token_key.as_ref().map(key));
        let ledger = store.ledger().expect("the ledger opens");
        let mut leases = ledger.remembered_leases().expect("the leases read");
        leases.extend(ledger.past_leases().expect("the past leases read"));
        let everything =
            segue::store::DeliveryRange { line_item_id: None, from: WallMs(i64::MIN), to: WallMs(i64::MAX) };
        let delivery = ledger.delivery(everything, usize::MAX).expect("the totals read");
        Self {
            keys,
            heard: heard(data),
            leases: leases.into_iter().map(|(_, lease)| (lease.grant.lease_id, lease)).collect(),
            loose: ledger.loose().expect("the loose read").into_iter().map(|(_, id, loose)| (id, loose)).collect(),
            balances: ledger
                .balances()
                .expect("balances read")
                .into_iter()
                .map(|(_, id, balance)| (id, balance))
                .collect(),
            billed: delivery.iter().map(|(_, totals)| totals.billed).sum(),
        }
    }

    fn fate(&self, id: ImpressionId) -> Fate {
        let loose = self.loose.get(&id).and_then(|loose| loose.unbilled);
        let ImpressionId::Leased { lease_id, ordinal } = id else { return loose.map_or(Fate::Unknown, Fate::Unbilled) };
        let Some(lease) = self.leases.get(&lease_id) else { return loose.map_or(Fate::Unknown, Fate::Unbilled) };
        let unbilled = lease.unbilled.get(&ordinal).copied().or(loose);
        match (lease.settled.contains(ordinal), unbilled) {
            (true, None) => Fate::Settled,
            (false, Some(reason)) => Fate::Unbilled(reason),
            (false, None) => Fate::Unknown,
            (true, Some(reason)) => panic!("INV-3: {id} is settled and unbilled ({})", reason.name()),
        }
    }

    /// Judges the books by the list.
    pub(super) fn judge(&self, list: &[Entry], sold: &Sold) -> Verdict {
        let mut verdict = Verdict { sent: list.len(), ..Verdict::default() };
        let mut known: BTreeMap<ImpressionId, Claims> = BTreeMap::new();
        for entry in list {
            let claims = self.keys.open(&entry.token).expect("a token of this server");
            let id = claims.impression_id;
            if entry.marked_at.is_some() {
                verdict.marked += 1;
                assert!(self.heard.contains_key(&id), "INV-1: {id} was acknowledged and is not in the log");
                match self.fate(id) {
                    Fate::Settled => verdict.marked_settled += 1,
                    Fate::Unbilled(reason) => *verdict.unbilled.entry(reason.name()).or_default() += 1,
                    Fate::Unknown => panic!("{id} was acknowledged and is neither settled nor unbilled"),
                }
            }
            let before = known.insert(id, claims);
            assert!(before.is_none(), "INV-5: {id} was drawn twice");
        }
        verdict.repeats = self.heard.values().map(|count| count - 1).sum();
        self.nothing_else_is_heard(&known);
        self.money(&known, sold, &mut verdict);
        // Every lease is open for an hour yet, and known: nothing that was paid for has a reason not to be settled.
        let paid: Vec<_> = verdict.unbilled.keys().filter(|reason| **reason != UnbilledReason::House.name()).collect();
        assert!(paid.is_empty(), "paid impressions are settled: {verdict}");
        assert!(verdict.marked_settled > 0 && !verdict.unbilled.is_empty(), "paid and house ads were heard: {verdict}");
        verdict
    }

    /// What is in the log was sent by a player.
    fn nothing_else_is_heard(&self, known: &BTreeMap<ImpressionId, Claims>) {
        for id in self.heard.keys() {
            assert!(known.contains_key(id), "{id} is in the log, and no player sent it");
        }
        let heard: BTreeSet<_> = self.heard.keys().collect();
        for lease in self.leases.values() {
            for ordinal in (0..lease.grant.max_ordinals).filter(|ordinal| lease.settled.contains(*ordinal)) {
                let id = ImpressionId::Leased { lease_id: lease.grant.lease_id, ordinal };
                assert!(heard.contains(&id), "{id} is settled, and was never heard");
            }
        }
    }

    /// Each settled impression once, at the price that its token says: by lease, by level, and within every limit that was sold.
    fn money(&self, known: &BTreeMap<ImpressionId, Claims>, sold: &Sold, verdict: &mut Verdict) {
        let mut by_lease: BTreeMap<LeaseId, (i64, u32)> = BTreeMap::new();
        let mut by_level: BTreeMap<LevelId, (i64, u64)> = BTreeMap::new();
        for (id, claims) in known {
            let ImpressionId::Leased { lease_id, .. } = *id else { continue };
            if self.fate(*id) != Fate::Settled {
                continue;
            }
            verdict.settled += 1;
            verdict.settled_micros += claims.price.0;
            let lease = by_lease.entry(lease_id).or_default();
            *lease = (lease.0 + claims.price.0, lease.1 + 1);
            for level in levels(claims.advertiser_id, claims.campaign_id, claims.line_item_id) {
                let sum = by_level.entry(level).or_default();
                *sum = (sum.0 + claims.price.0, sum.1 + 1);
            }
        }
        for (id, lease) in &self.leases {
            let counted = by_lease.get(id).copied().unwrap_or_default();
            assert_eq!((lease.settled_micros.0, lease.settled_count), counted, "INV-3: lease {id}");
        }
        for (level, balance) in &self.balances {
            let counted = by_level.get(level).copied().unwrap_or_default();
            assert_eq!((balance.settled.0, balance.settled_count), counted, "INV-3: {level:?}");
        }
        assert_eq!(usize::try_from(self.billed), Ok(verdict.settled), "the totals by hour say what the leases say");
        limits(&by_level, &self.balances, sold);
    }
}

/// INV-4: at every level that has a limit, what is settled, and what may yet be, is within it.
fn limits(by_level: &BTreeMap<LevelId, (i64, u64)>, balances: &BTreeMap<LevelId, Balance>, sold: &Sold) {
    let budgets = (sold.advertisers.iter().map(|(id, budget)| (LevelId::Advertiser(*id), *budget)))
        .chain(sold.campaigns.iter().map(|(id, budget)| (LevelId::Campaign(*id), *budget)))
        .chain(sold.line_items.iter().map(|(id, budget)| (LevelId::LineItem(*id), *budget)));
    for (level, budget) in budgets {
        let (settled, _) = by_level.get(&level).copied().unwrap_or_default();
        let open = balances.get(&level).map_or(Micros::ZERO, |balance| balance.open);
        assert!(settled + open.0 <= budget.0, "INV-4: {level:?}: {settled} and {open:?} of {budget:?}");
        assert!(settled > 0, "{level:?}: its budget was drawn on at all");
    }
    for (id, goal) in &sold.goals {
        let level = LevelId::LineItem(*id);
        let (_, count) = by_level.get(&level).copied().unwrap_or_default();
        let open = balances.get(&level).map_or(0, |balance| balance.open_count);
        assert!(count + open <= *goal, "INV-4: {level:?}: {count} and {open} of {goal} impressions");
        assert!(count > 0, "{level:?}: its goal was worked at at all");
    }
    let delivered = sold.paid.iter().filter(|id| by_level.contains_key(&LevelId::LineItem(**id))).count();
    assert!(delivered * 10 >= sold.paid.len() * 9, "{delivered} of {} line items delivered", sold.paid.len());
}

const fn levels(advertiser: AdvertiserId, campaign: CampaignId, line_item: LineItemId) -> [LevelId; 3] {
    [LevelId::Advertiser(advertiser), LevelId::Campaign(campaign), LevelId::LineItem(line_item)]
}

/// Impression beacons in the money journal, by impression. Every record is whole: crashes leave a torn tail, never a hole.
fn heard(data: &Path) -> BTreeMap<ImpressionId, u64> {
    let disk: SharedDisk = Arc::new(RealDisk);
    let mut heard = BTreeMap::new();
    for record in read_dir(disk, money_dir(data)).expect("the journal lists") {
        let record = record.expect("a whole record");
        let stored = StoredRecord::decode(record.kind, &record.payload).expect("a record of a topic");
        if stored.topic != Topic::Events {
            continue;
        }
        let envelope = events::decode(stored.payload).expect("an event");
        assert_eq!(envelope.event_id, envelope.body.id(), "INV-15");
        if let Event::Beacon(beacon) = envelope.body
            && beacon.event == BeaconEvent::Impression
        {
            *heard.entry(beacon.impression_id).or_default() += 1;
        }
    }
    heard
}
