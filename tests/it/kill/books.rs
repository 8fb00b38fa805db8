//! The books of a stopped server, judged against the players' list. Counted here with plain maps from the log's records and the ledger's
//! rows; nothing of accounting's own counting is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use segue::accounting::{Balance, Lease, LevelId, Loose, UnbilledReason};
use segue::entropy::Entropy;
use segue::event_log::{StoredRecord, Topic, money_dir};
use segue::events::{self, Event};
use segue::journal::{RealDisk, SharedDisk, Tail, read_dir};
use segue::model::{AdvertiserId, BeaconEvent, CampaignId, Day, ImpressionId, LeaseId, LineItemId, Micros, WallMs};
use segue::store::Store;
use segue::tokens::{Claims, TokenKey, TokenKeys};

use super::board::Entry;
use super::campaigns::Sold;

/// Ends the judgement with what is wrong, unless it holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// What is on disk.
#[derive(Clone)]
pub(super) struct Books {
    keys: TokenKeys,
    /// Records of an impression beacon, by impression.
    pub(super) heard: BTreeMap<ImpressionId, u64>,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    loose: BTreeMap<ImpressionId, Loose>,
    pub(super) balances: BTreeMap<LevelId, Balance>,
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
            heard: Journal::read(data).heard,
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

    fn fate(&self, id: ImpressionId) -> Result<Fate, String> {
        let loose = self.loose.get(&id).and_then(|loose| loose.unbilled);
        let (settled, unbilled) = match id {
            ImpressionId::Leased { lease_id, ordinal } => self.leases.get(&lease_id).map_or((false, None), |lease| {
                (lease.settled.contains(ordinal), lease.unbilled.get(&ordinal).copied())
            }),
            ImpressionId::Unleased { .. } => (false, None),
        };
        match (settled, unbilled.or(loose)) {
            (true, None) => Ok(Fate::Settled),
            (false, Some(reason)) => Ok(Fate::Unbilled(reason)),
            (false, None) => Ok(Fate::Unknown),
            (true, Some(reason)) => Err(format!("INV-3: {id} is settled and unbilled ({})", reason.name())),
        }
    }

    /// The impression that a token is for.
    pub(super) fn claims(&self, entry: &Entry) -> Claims {
        self.keys.open(&entry.token).expect("a token of this server")
    }

    /// Judges the books by the list.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn judge(&self, list: &[Entry], sold: &Sold) -> Result<Verdict, String> {
        let mut verdict = Verdict { sent: list.len(), ..Verdict::default() };
        let mut known: BTreeMap<ImpressionId, Claims> = BTreeMap::new();
        for entry in list {
            let claims = self.claims(entry);
            let id = claims.impression_id;
            if entry.marked_at.is_some() {
                verdict.marked += 1;
                ensure!(self.heard.contains_key(&id), "INV-1: {id} was acknowledged and is not in the log");
                match self.fate(id)? {
                    Fate::Settled => verdict.marked_settled += 1,
                    Fate::Unbilled(reason) => *verdict.unbilled.entry(reason.name()).or_default() += 1,
                    Fate::Unknown => return Err(format!("{id} was acknowledged and is neither settled nor unbilled")),
                }
            }
            let before = known.insert(id, claims);
            ensure!(before.is_none(), "INV-5: {id} was drawn twice");
        }
        verdict.repeats = self.heard.values().map(|count| count - 1).sum();
        self.nothing_else_is_heard(&known)?;
        self.money(&known, sold, &mut verdict)?;
        // Every lease is open for an hour yet, and known: nothing that was paid for has a reason not to be settled.
        let paid: Vec<_> = verdict.unbilled.keys().filter(|reason| **reason != UnbilledReason::House.name()).collect();
        ensure!(paid.is_empty(), "paid impressions are settled: {verdict}");
        ensure!(verdict.marked_settled > 0 && !verdict.unbilled.is_empty(), "paid and house ads were heard: {verdict}");
        Ok(verdict)
    }

    /// What is in the log was sent by a player.
    fn nothing_else_is_heard(&self, known: &BTreeMap<ImpressionId, Claims>) -> Result<(), String> {
        for id in self.heard.keys() {
            ensure!(known.contains_key(id), "{id} is in the log, and no player sent it");
        }
        for lease in self.leases.values() {
            for ordinal in (0..lease.grant.max_ordinals).filter(|ordinal| lease.settled.contains(*ordinal)) {
                let id = ImpressionId::Leased { lease_id: lease.grant.lease_id, ordinal };
                ensure!(self.heard.contains_key(&id), "{id} is settled, and was never heard");
            }
        }
        Ok(())
    }

    /// Each settled impression once, at the price that its token says: by lease, by level, and within every limit that was sold.
    fn money(&self, known: &BTreeMap<ImpressionId, Claims>, sold: &Sold, verdict: &mut Verdict) -> Result<(), String> {
        let mut by_lease: BTreeMap<LeaseId, (i64, u32)> = BTreeMap::new();
        let mut by_level: BTreeMap<LevelId, (i64, u64)> = BTreeMap::new();
        for (id, claims) in known {
            let ImpressionId::Leased { lease_id, .. } = *id else { continue };
            if self.fate(*id)? != Fate::Settled {
                continue;
            }
            verdict.settled += 1;
            verdict.settled_micros += claims.price.0;
            let lease = by_lease.entry(lease_id).or_default();
            *lease = (lease.0 + claims.price.0, lease.1 + 1);
            let grant = self.leases.get(&lease_id).map(|lease| &lease.grant);
            let days = grant.map_or((Day(0), Day(0)), |grant| (grant.advertiser_day, grant.line_item_day));
            for level in levels(claims.advertiser_id, claims.campaign_id, claims.line_item_id, days) {
                let sum = by_level.entry(level).or_default();
                *sum = (sum.0 + claims.price.0, sum.1 + 1);
            }
        }
        for (id, lease) in &self.leases {
            let counted = by_lease.get(id).copied().unwrap_or_default();
            let said = (lease.settled_micros.0, lease.settled_count);
            ensure!(said == counted, "INV-3: lease {id} says {said:?}, its tokens {counted:?}");
        }
        for (level, balance) in &self.balances {
            let counted = by_level.get(level).copied().unwrap_or_default();
            let said = (balance.settled.0, balance.settled_count);
            ensure!(said == counted, "INV-3: {level:?} says {said:?}, its tokens {counted:?}");
        }
        let billed = usize::try_from(self.billed).unwrap_or_default();
        ensure!(billed == verdict.settled, "the totals by hour say {billed}, the leases {}", verdict.settled);
        limits(&by_level, &self.balances, sold)
    }
}

/// INV-4: at every level that has a limit, what is settled, and what may yet be, is within it.
fn limits(
    by_level: &BTreeMap<LevelId, (i64, u64)>,
    balances: &BTreeMap<LevelId, Balance>,
    sold: &Sold,
) -> Result<(), String> {
    let budgets = (sold.advertisers.iter().map(|(id, budget)| (LevelId::Advertiser(*id), *budget)))
        .chain(sold.campaigns.iter().map(|(id, budget)| (LevelId::Campaign(*id), *budget)))
        .chain(sold.line_items.iter().map(|(id, budget)| (LevelId::LineItem(*id), *budget)));
    for (level, budget) in budgets {
        let (settled, _) = by_level.get(&level).copied().unwrap_or_default();
        let open = balances.get(&level).map_or(Micros::ZERO, |balance| balance.open);
        ensure!(settled + open.0 <= budget.0, "INV-4: {level:?}: {settled} and {open:?} of {budget:?}");
        ensure!(settled > 0, "{level:?}: its budget was not drawn on at all");
    }
    for (id, goal) in &sold.goals {
        let level = LevelId::LineItem(*id);
        let (_, count) = by_level.get(&level).copied().unwrap_or_default();
        let open = balances.get(&level).map_or(0, |balance| balance.open_count);
        ensure!(count + open <= *goal, "INV-4: {level:?}: {count} and {open} of {goal} impressions");
        ensure!(count > 0, "{level:?}: its goal was not worked at at all");
    }
    let delivered = sold.paid.iter().filter(|id| by_level.contains_key(&LevelId::LineItem(**id))).count();
    ensure!(delivered * 10 >= sold.paid.len() * 9, "{delivered} of {} line items delivered", sold.paid.len());
    Ok(())
}

/// The levels at which an impression counts: for life, and on the days that its lease belongs to.
const fn levels(
    advertiser: AdvertiserId,
    campaign: CampaignId,
    line_item: LineItemId,
    (advertiser_day, line_item_day): (Day, Day),
) -> [LevelId; 6] {
    [
        LevelId::Advertiser(advertiser),
        LevelId::Campaign(campaign),
        LevelId::LineItem(line_item),
        LevelId::AdvertiserDay(advertiser, advertiser_day),
        LevelId::CampaignDay(campaign, advertiser_day),
        LevelId::LineItemDay(line_item, line_item_day),
    ]
}

/// The money journal of a server that is not running.
pub(super) struct Journal {
    /// Impression beacons, by impression.
    pub(super) heard: BTreeMap<ImpressionId, u64>,
    /// Whether a write was cut off at its end.
    pub(super) is_torn: bool,
    /// Whether its last segment has no record yet.
    pub(super) begins_segment: bool,
}

impl Journal {
    /// Reads it all. Every record is whole: deaths leave a torn tail, never a hole.
    pub(super) fn read(data: &Path) -> Self {
        let disk: SharedDisk = Arc::new(RealDisk);
        let mut reader = read_dir(disk, money_dir(data)).expect("the journal lists");
        let (mut heard, mut segment) = (BTreeMap::new(), None);
        while let Some(record) = reader.next() {
            let record = record.expect("a whole record");
            segment = reader.segment_number();
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
        let is_torn = matches!(reader.tail(), Tail::Torn(_));
        Self { heard, is_torn, begins_segment: reader.segment_number() != segment }
    }
}
