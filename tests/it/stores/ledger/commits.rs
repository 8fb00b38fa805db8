//! Commits from a seed: of every kind of row, with rows that are changed, removed, and moved.

use std::collections::BTreeMap;

use segue::accounting::{
    Balance, Chain, Commit, DeliveryKey, DeliveryTotals, Grant, Lease, LevelId, Loose, Owner, RegisterChanges, Seal,
    Sealed, ServerEntry, ServerState, Sums, UnbilledReason, ledger,
};
use segue::entropy::Entropy;
use segue::events::{Checkpoint, Delivered, Reversal, TrialBalance};
use segue::model::{
    AdvertiserId, BeaconEvent, BootId, CampaignId, Day, DecisionId, ImpressionId, InvalidTraffic, LeaseId, LineItemId,
    Micros, NetworkId, PriceModel, ServerId, WallMs,
};

/// When the first lease is granted.
pub(super) const T0: WallMs = WallMs(1_790_000_000_000);
pub(super) const HOUR_MS: i64 = 3_600_000;

/// Makes commits.
pub(super) struct Maker {
    random: Entropy,
    part: u32,
    cursor: u64,
    entries: u64,
    checkpoints: u64,
    open: BTreeMap<LeaseId, (AdvertiserId, Lease)>,
    loose: Vec<(Owner, ImpressionId)>,
    pub(super) past: Vec<(AdvertiserId, LeaseId)>,
    pub(super) reversed: Vec<(AdvertiserId, ImpressionId)>,
}

/// An id that begins with the part's number.
pub(super) fn id(part: u32, n: u32) -> u128 {
    u128::from(part) << 96 | u128::from(n)
}

pub(super) fn advertiser(part: u32, n: u32) -> AdvertiserId {
    AdvertiserId::from_u128(id(part, 0x100 + n))
}

pub(super) fn line(part: u32, n: u32) -> LineItemId {
    LineItemId::from_u128(id(part, 0x200 + n))
}

/// A lease of which so many impressions were charged, at price 10.
pub(super) fn lease(lease_id: LeaseId, part: u32, granted_at: WallMs, charged: u32) -> Lease {
    let mut lease = Lease::open(Grant {
        lease_id,
        server_id: ServerId::from_u128(1),
        boot_id: BootId::from_u128(2),
        network_id: NetworkId::from_u128(3),
        campaign_id: CampaignId::from_u128(4),
        line_item_id: line(part, 0),
        amount: Micros(1_000),
        max_ordinals: 100,
        granted_at,
        draw_until: granted_at.plus_ms(900_000),
        last_billable_until: granted_at.plus_ms(HOUR_MS),
        price_model: PriceModel::Cpm,
        advertiser_day: Day::utc_of(granted_at),
        line_item_day: Day::utc_of(granted_at),
    });
    charge(&mut lease, charged);
    lease
}

fn charge(lease: &mut Lease, charged: u32) {
    for ordinal in lease.settled_count..charged {
        lease.settled.insert(ordinal);
        lease.heard.insert(ordinal);
    }
    let charged = charged.max(lease.settled_count);
    (lease.settled_count, lease.delivered_count) = (charged, charged);
    lease.settled_micros = Micros(10 * i64::from(charged));
}

pub(super) fn reversal(advertiser_id: AdvertiserId, impression_id: ImpressionId, decided_at: WallMs) -> Reversal {
    Reversal {
        impression_id,
        event: BeaconEvent::Impression,
        network_id: NetworkId::from_u128(3),
        advertiser_id,
        campaign_id: CampaignId::from_u128(4),
        line_item_id: LineItemId::from_u128(5),
        price: Micros(10),
        reason: InvalidTraffic::Robot,
        decided_at,
        reversed_at: decided_at.plus_ms(HOUR_MS),
        advertiser_day: Day::utc_of(decided_at),
    }
}

pub(super) fn checkpoint(number: u64, part: u32, log_time: WallMs) -> Checkpoint {
    Checkpoint {
        number,
        partition: part,
        cursor: number * 10,
        log_time,
        chain_records: number,
        chain_digest: [1; 32],
        book_digest: [2; 32],
        trial: TrialBalance::default(),
        delivered: Delivered::default(),
        previous_digest: [3; 32],
    }
}

pub(super) fn server(n: u128, heard_at: WallMs) -> ServerEntry {
    ServerEntry {
        server_id: ServerId::from_u128(n),
        boot_id: BootId::from_u128(n + 1),
        past_boots: Vec::new(),
        state: ServerState::Live,
        registered_at: T0,
        heard_at,
        clock_ahead_ms: 0,
        complete_until: heard_at,
    }
}

impl Maker {
    pub(super) fn new(part: u32, seed: u64) -> Self {
        Self {
            random: Entropy::seeded(seed),
            part,
            cursor: 0,
            entries: 0,
            checkpoints: 0,
            open: BTreeMap::new(),
            loose: Vec::new(),
            past: Vec::new(),
            reversed: Vec::new(),
        }
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u32) -> u32 {
        u32::from_le_bytes(self.random.bytes()) % end
    }

    fn advertiser(&self) -> AdvertiserId {
        advertiser(self.part, self.below(3))
    }

    fn log_time(&self) -> WallMs {
        T0.plus_ms(i64::try_from(self.cursor).expect("small") * 60_000)
    }

    /// The next commit.
    pub(super) fn next(&mut self) -> Commit {
        self.cursor += 1 + u64::from(self.below(200));
        let now = self.log_time();
        let mut commit = Commit {
            cursor: self.cursor,
            log_time: now,
            chain: Chain { records: self.cursor, digest: self.random.bytes() },
            sums: Sums { applied_until: self.cursor, ..Sums::default() },
            ..Commit::default()
        };
        if self.below(2) == 0 {
            commit.seals.push(Seal { records: self.cursor, digest: self.random.bytes() });
        }
        let balances: BTreeMap<_, _> = (0..self.below(5)).map(|_| self.balance()).collect();
        commit.balances.extend(balances.into_iter().map(|((id, level), balance)| (id, level, balance)));
        self.leases(&mut commit, now);
        let loose: BTreeMap<_, _> = (0..self.below(4)).map(|_| self.one_loose(now)).collect();
        self.loose.retain(|key| loose.get(key) != Some(&None));
        commit.loose.extend(loose.into_iter().map(|((owner, id), loose)| (owner, id, loose)));
        for _ in 0..self.below(4) {
            let hour = now.plus_ms(-HOUR_MS * i64::from(self.below(3))).hour_start();
            let key = DeliveryKey { line_item_id: line(self.part, self.below(2)), hour };
            let mut change = DeliveryTotals { starts: i64::from(self.below(9)), billed: -1, ..<_>::default() };
            change.unbilled_by(UnbilledReason::Late, i64::from(self.below(3)) - 1);
            commit.delivery.entry(key).or_default().add(&change);
        }
        commit.servers = self.servers(now);
        if self.below(3) == 0 {
            self.checkpoints += 1;
            commit.sealed.checkpoints.push(checkpoint(self.checkpoints, self.part, now));
        }
        if self.below(3) == 0 {
            let impression_id = self.impression(now);
            let decided_at = now.plus_ms(-HOUR_MS * i64::from(self.below(20 * 24)));
            let reversal = reversal(self.advertiser(), impression_id, decided_at);
            self.reversed.push((reversal.advertiser_id, impression_id));
            commit.reversals.push(reversal);
        }
        commit
    }

    fn balance(&self) -> ((AdvertiserId, LevelId), Option<Balance>) {
        let (id, line_item_id) = (self.advertiser(), line(self.part, self.below(2)));
        let level = match self.below(3) {
            0 => LevelId::Advertiser(id),
            1 => LevelId::LineItem(line_item_id),
            _ => LevelId::LineItemDay(line_item_id, Day(20_000 + self.below(2).cast_signed())),
        };
        let balance = Balance { settled: Micros(i64::from(self.below(1_000))), ..Balance::default() };
        let goes = level.day().is_some() && self.below(2) == 0;
        ((id, level), (!goes).then_some(balance))
    }

    fn leases(&mut self, commit: &mut Commit, now: WallMs) {
        for _ in 0..self.below(3) {
            let (id, lease_id) = (self.advertiser(), LeaseId::at(now, self.random.bytes()));
            self.open.insert(lease_id, (id, lease(lease_id, self.part, now, 0)));
        }
        let known: Vec<LeaseId> = self.open.keys().copied().collect();
        for lease_id in known {
            match self.below(4) {
                0 => {
                    let charged = self.below(50);
                    let (id, lease) = self.open.get_mut(&lease_id).expect("known");
                    charge(lease, charged);
                    commit.leases.push((*id, lease.clone()));
                }
                1 => {
                    let (id, mut lease) = self.open.remove(&lease_id).expect("known");
                    lease.closed_at = Some(now);
                    // What was changed last and forgotten at once: only the second counts.
                    if self.below(2) == 0 {
                        commit.leases.push((id, lease.clone()));
                    }
                    let entry = ledger::settlement(self.entries + 1, id, &lease, now);
                    self.entries += u64::from(entry.is_some());
                    commit.sealed.entries.extend(entry);
                    commit.past.push((id, lease));
                    self.past.push((id, lease_id));
                }
                _ => {}
            }
        }
    }

    fn impression(&self, now: WallMs) -> ImpressionId {
        ImpressionId::Leased { lease_id: LeaseId::at(now, self.random.bytes()), ordinal: self.below(9) }
    }

    fn one_loose(&mut self, now: WallMs) -> ((Owner, ImpressionId), Option<Loose>) {
        let loose = Loose { kinds: 3, unbilled: None, forget_after: now.plus_ms(i64::from(self.below(9))) };
        if !self.loose.is_empty() && self.below(2) == 0 {
            let at = usize::try_from(self.below(u32::MAX)).expect("fits") % self.loose.len();
            return (self.loose[at], (self.below(2) == 0).then_some(loose));
        }
        let key = if self.below(2) == 0 {
            (Owner::Advertiser(self.advertiser()), self.impression(now))
        } else {
            let decision_id = DecisionId::at(now, self.random.bytes());
            (Owner::Unpaid, ImpressionId::Unleased { decision_id, slot: 1 })
        };
        self.loose.push(key);
        (key, Some(loose))
    }

    fn servers(&self, now: WallMs) -> RegisterChanges {
        let which = u128::from(self.below(3));
        match self.below(3) {
            0 => RegisterChanges { entries: vec![server(which, now)], gone: Vec::new() },
            1 => RegisterChanges { entries: Vec::new(), gone: vec![ServerId::from_u128(which)] },
            _ => RegisterChanges::default(),
        }
    }
}

/// A commit of everything that goes again with [`undone`].
pub(super) fn everything(part: u32) -> Commit {
    let lease_id = LeaseId::at(T0, [9; 10]);
    let id = advertiser(part, 0);
    Commit {
        cursor: 1,
        log_time: T0,
        balances: vec![(id, LevelId::AdvertiserDay(id, Day(20_000)), Some(Balance::default()))],
        leases: vec![(id, lease(lease_id, part, T0, 3))],
        loose: vec![(Owner::Unpaid, unleased(), Some(Loose { kinds: 1, unbilled: None, forget_after: T0 }))],
        servers: RegisterChanges { entries: vec![server(1, T0)], gone: Vec::new() },
        delivery: BTreeMap::from([(
            DeliveryKey { line_item_id: line(part, 0), hour: T0.hour_start() },
            DeliveryTotals { starts: 3, ..DeliveryTotals::default() },
        )]),
        sealed: Sealed { entries: Vec::new(), checkpoints: vec![checkpoint(1, part, T0)] },
        ..Commit::default()
    }
}

pub(super) fn unleased() -> ImpressionId {
    ImpressionId::Unleased { decision_id: DecisionId::at(T0, [8; 10]), slot: 0 }
}

/// The commit after [`everything`]: what can go, goes.
pub(super) fn undone(part: u32) -> Commit {
    let before = everything(part);
    Commit {
        cursor: 2,
        log_time: T0.plus_ms(1),
        balances: before.balances.iter().map(|(id, level, _)| (*id, *level, None)).collect(),
        past: before.leases,
        loose: before.loose.iter().map(|(owner, id, _)| (*owner, *id, None)).collect(),
        servers: RegisterChanges { entries: Vec::new(), gone: vec![ServerId::from_u128(1)] },
        delivery: before.delivery,
        ..Commit::default()
    }
}
