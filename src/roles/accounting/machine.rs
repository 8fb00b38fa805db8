//! The state machine of accounting: inputs in, effects out; no I/O and no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod leasing;
mod stating;
mod sweeping;

use super::fleet::Fleet;
use super::holding::{Holding, Rates};
use super::looks::Looks;
use super::pace::{Again, Pace};
use super::statements::Statements;
use super::{Batch, Input, LogRecord, RoleEffects};
use crate::accounting::{
    Book, Chain, Commit, Contracts, DeliveryChanges, Forgotten, Lease, LedgerState, LevelId, Outcome, Owner, Register,
    RegisterChanges, Seal, Sealer, levels_of, owner_of,
};
use crate::decision::OfferedLease;
use crate::events::{Checkpoint, Envelope, Event, LedgerRecord, Reversal};
use crate::model::{AdvertiserId, BootId, ImpressionId, LeaseId, LineItemId, MonotonicMs, Now, ServerId};

/// Time between two walks over what is remembered to drop what is too old, in milliseconds.
const FORGET_MS: u64 = 10_000;

/// What the machine is told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSettings {
    /// The server that it runs in, which stands in its records.
    pub server_id: ServerId,
    /// That server's run.
    pub boot_id: BootId,
    /// The partition of the events that it owns; 0 where one log holds all of them.
    pub partition: u32,
    /// Part of every lease's name: no two machines, of whatever run, partition or life of an owner, may have the same.
    pub namer: [u8; 16],
    /// Need that a lease covers, in milliseconds; also its time to draw.
    pub lease_ms: u64,
    /// Time between two commits, in milliseconds.
    pub commit_interval_ms: u64,
    /// Time between two reports of a server, in milliseconds.
    pub report_ms: u64,
    /// Most that a server's clock may differ, in milliseconds.
    pub clock_tolerance_ms: i64,
    /// Whether it says how line items stand: where somebody can read that.
    pub states_delivery: bool,
}

/// The one owner of the books.
#[derive(Debug)]
pub struct AccountingMachine {
    settings: MachineSettings,
    book: Book,
    chain: Chain,
    sealer: Sealer,
    contracts: Contracts,
    fleet: Fleet,
    paces: BTreeMap<LineItemId, Pace>,
    holdings: BTreeMap<(LineItemId, ServerId), Box<Holding>>,
    /// How fast the run before of a server drew, until the new run is heard of that line item.
    rates_before: BTreeMap<(LineItemId, ServerId), Rates>,
    /// Holdings with a lease that is claimed and that the books didn't have.
    claims: BTreeSet<(LineItemId, ServerId)>,
    cursor: u64,
    /// Whether the log was read to its end since the start: before that, a lease of an earlier boot may be unknown, and nothing is granted.
    replayed: bool,
    /// Proposed and not read back yet, with the moment of asking on the server's clock; at most one proposal of an advertiser.
    pending: BTreeMap<AdvertiserId, BTreeMap<LeaseId, MonotonicMs>>,
    /// Closes proposed and not read back yet.
    closing: BTreeSet<LeaseId>,
    /// Line items that may need a lease, at which server.
    wanting: BTreeSet<(LineItemId, ServerId)>,
    /// Of those that wanted a lease, the last that was looked at, where there were more than one step looks at.
    wanting_seen: Option<(LineItemId, ServerId)>,
    /// Whose turn it was last, of the servers that want leases of an advertiser.
    turns: BTreeMap<AdvertiserId, ServerId>,
    /// Leases that are durable and will never be handed over, each with the run that it was for: they go back at once.
    unused: Vec<(ServerId, BootId, OfferedLease)>,
    leases_named: u64,
    dirty: Dirty,
    committed_at: MonotonicMs,
    swept_at: Option<MonotonicMs>,
    looks: Looks,
    /// What is left of the last sweep.
    looking: VecDeque<(LineItemId, Again)>,
    close_swept_at: MonotonicMs,
    forgot_at: MonotonicMs,
    statements: Statements,
}

/// What changed since the last commit.
#[derive(Default, Debug)]
struct Dirty {
    balances: BTreeSet<(AdvertiserId, LevelId)>,
    leases: BTreeSet<(AdvertiserId, LeaseId)>,
    loose: BTreeSet<(Owner, ImpressionId)>,
    delivery: DeliveryChanges,
    reversals: Vec<Reversal>,
    seals: Vec<Seal>,
    cursor: bool,
}

impl AccountingMachine {
    /// The machine as of the last commit.
    #[must_use]
    pub fn new(settings: MachineSettings, state: LedgerState, now: Now) -> Self {
        let fleet = Fleet::new(state.register, settings.report_ms, settings.clock_tolerance_ms);
        let sealer = Sealer::new(settings.partition, state.sums, state.checkpoint);
        Self {
            settings,
            book: state.book,
            chain: state.chain,
            sealer,
            contracts: Contracts::default(),
            fleet,
            paces: BTreeMap::new(),
            holdings: BTreeMap::new(),
            rates_before: BTreeMap::new(),
            claims: BTreeSet::new(),
            cursor: state.cursor,
            replayed: false,
            pending: BTreeMap::new(),
            closing: BTreeSet::new(),
            wanting: BTreeSet::new(),
            wanting_seen: None,
            turns: BTreeMap::new(),
            unused: Vec::new(),
            leases_named: 0,
            dirty: Dirty::default(),
            committed_at: now.monotonic,
            swept_at: None,
            looks: Looks::new(),
            looking: VecDeque::new(),
            close_swept_at: now.monotonic,
            forgot_at: now.monotonic,
            statements: Statements::default(),
        }
    }

    /// The book, for checks and reports.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// The register of servers.
    #[must_use]
    pub const fn register(&self) -> &Register {
        self.fleet.register()
    }

    /// Open leases, of all line items.
    #[must_use]
    pub fn open_leases(&self) -> usize {
        let open =
            |leases: &BTreeMap<LeaseId, Box<Lease>>| leases.values().filter(|lease| lease.closed_at.is_none()).count();
        self.book.accounts.values().map(|account| open(&account.leases)).sum()
    }

    /// Offset at which reading goes on.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether the log was read to its end since the start.
    #[must_use]
    pub const fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// What is known of a server's line items: draws, chances, and what is left in the lease.
    #[cfg(test)]
    pub(super) fn known_of(&self, server_id: ServerId) -> BTreeMap<LineItemId, (u64, u64, Option<super::LeaseLeft>)> {
        let its = self.holdings.iter().filter(|((_, of), _)| *of == server_id);
        its.map(|((id, _), holding)| (*id, holding.known())).collect()
    }

    /// What was added up for the pacing of a line item: draws and chances.
    #[cfg(test)]
    pub(super) fn paced(&self, id: LineItemId) -> (u64, u64) {
        self.paces.get(&id).map_or((0, 0), Pace::added)
    }

    /// The next second's sweep looks at all line items: what the others are held to.
    #[cfg(test)]
    pub(super) fn look_at_all_soon(&mut self) {
        self.contracts.lines().for_each(|(id, _)| self.looks.soon(id));
    }

    /// Takes one input and says what is to be done.
    pub fn step(&mut self, input: Input, now: Now) -> RoleEffects {
        let mut effects = RoleEffects::default();
        match input {
            Input::Records(batch) => self.read(&batch, now, &mut effects),
            Input::CatalogChanged(entities) => self.catalog_changed(&entities),
            Input::ServerReport(report) => self.reported(&report, now, &mut effects),
            Input::Server(says) => self.server_says(says, now, &mut effects),
            Input::Tick => {}
        }
        self.sweep(now, &mut effects);
        self.propose(now, &mut effects);
        if now.monotonic.since(self.committed_at) >= self.settings.commit_interval_ms {
            effects.commit = self.commit(now, false);
        }
        effects
    }

    /// All that is not committed yet, with a checkpoint, for a stop in good order. None when nothing changed.
    pub fn finish(&mut self, now: Now) -> Option<Commit> {
        if self.sealer.has_news(&self.chain) {
            self.seal();
        }
        self.commit(now, true)
    }

    /// All that is not committed yet, for an owner that hands the books on. None when nothing changed.
    pub fn rest(&mut self, now: Now) -> Option<Commit> {
        self.commit(now, true)
    }

    /// The log says that a checkpoint was sealed after so many records: see [`Sealer::expect`].
    pub fn expect_checkpoint(&mut self, chain_records: u64) {
        self.sealer.expect(chain_records);
    }

    /// The newest checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.sealer.last()
    }

    fn seal(&mut self) {
        self.sealer.seal(&self.book, &self.chain);
        self.dirty.cursor = true;
    }

    fn commit(&mut self, now: Now, finish: bool) -> Option<Commit> {
        self.committed_at = now.monotonic;
        // Not while the log is read anew: the register may know more than has been read.
        let forget = finish || (self.replayed && now.monotonic.since(self.forgot_at) >= FORGET_MS);
        let complete_until = self.fleet.register().watermark().complete_until();
        let forgotten = if forget { self.book.forget_complete(complete_until) } else { Forgotten::default() };
        if forget {
            self.forgot_at = now.monotonic;
            self.dirty.cursor |= forgotten != Forgotten::default();
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        // A mark alone can wait for a commit that has more to say: at a restart an older mark is as true.
        if !dirty.cursor && !self.fleet.register().is_urgent() && !finish {
            self.dirty = dirty;
            return None;
        }
        let servers = self.fleet.register_mut().take_changes();
        if !dirty.cursor && servers == RegisterChanges::default() {
            self.dirty = dirty;
            return None;
        }
        dirty.balances.extend(&forgotten.days);
        let mut loose: BTreeMap<_, _> = dirty
            .loose
            .into_iter()
            .map(|(owner, id)| ((owner, id), self.book.loose(owner).and_then(|set| set.seen.get(&id)).copied()))
            .collect();
        loose.extend(forgotten.loose.into_iter().map(|key| (key, None)));
        Some(Commit {
            cursor: self.cursor,
            log_time: self.book.log_time,
            chain: self.chain,
            seals: dirty.seals,
            balances: dirty
                .balances
                .into_iter()
                .filter_map(|(id, level)| Some((id, level, self.book.accounts.get(&id)?.levels.get(&level).copied())))
                .collect(),
            leases: dirty
                .leases
                .into_iter()
                .filter_map(|(id, lease_id)| {
                    Some((id, Lease::clone(self.book.accounts.get(&id)?.leases.get(&lease_id)?)))
                })
                .collect(),
            past: forgotten.leases,
            reversals: dirty.reversals,
            loose: loose.into_iter().map(|((owner, id), loose)| (owner, id, loose)).collect(),
            delivery: dirty.delivery,
            servers,
            sums: self.sealer.sums(),
            sealed: self.sealer.take(),
        })
    }

    fn read(&mut self, batch: &Batch, now: Now, effects: &mut RoleEffects) {
        for record in &batch.records {
            if self.sealer.is_due(&self.book, &self.chain, record.envelope.received_at) {
                self.seal();
            }
            self.chain.append(record.digest);
            if let Some(seal) = self.chain.seal() {
                self.dirty.seals.push(seal);
            }
            self.apply(record, now, effects);
        }
        if batch.next != self.cursor {
            assert!(batch.next > self.cursor, "INV-25: the log is read forwards, each record once");
            self.cursor = batch.next;
            self.dirty.cursor = true;
        }
        self.fleet.register_mut().applied(self.cursor);
        if batch.next >= batch.end {
            self.replayed = true;
        }
    }

    fn apply(&mut self, record: &LogRecord, now: Now, effects: &mut RoleEffects) {
        let envelope = &record.envelope;
        let Some(owner) = owner_of(&envelope.body) else { return };
        let applied = self.book.apply(envelope);
        let entry = self.sealer.applied(record.offset, envelope, applied.outcome, &applied.delivery, &self.book);
        // Posted when its cause is read back; a second copy after a crash has the same id and the same times.
        effects.append.extend(entry.map(|entry| {
            let body = Event::Ledger(Box::new(LedgerRecord::Entry(entry)));
            Envelope { event_id: body.id(), body, ..envelope.clone() }
        }));
        effects.outcomes.push(applied.outcome);
        for (key, change) in &applied.delivery {
            self.dirty.delivery.entry(*key).or_default().add(change);
        }
        if let Owner::Advertiser(advertiser_id) = owner {
            self.touch(advertiser_id, envelope, applied.outcome);
        }
        if let Event::Beacon(beacon) = &envelope.body {
            let loose = self.book.loose(owner).is_some_and(|set| set.seen.contains_key(&beacon.impression_id));
            if loose {
                self.dirty.loose.insert((owner, beacon.impression_id));
            }
        }
        match (&envelope.body, applied.outcome) {
            (Event::LeaseGranted(granted), _) => self.read_back(granted, applied.outcome, now, effects),
            (Event::LeaseClosed(closed), _) => {
                self.closing.remove(&closed.lease_id);
            }
            (Event::Reversal(reversal), Outcome::Reversed { .. }) => self.reversed(reversal),
            (Event::LeaseReturned(returned), _) => {
                let key = (returned.line_item_id, returned.server_id);
                if let Some(holding) = self.holdings.get_mut(&key) {
                    holding.returned(returned.lease_id);
                }
                self.looks.soon(returned.line_item_id);
            }
            (Event::Beacon(_) | Event::Reversal(_) | Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_), _) => {}
        }
    }

    /// Notes what a reversal changed: it is a row of its own, and the levels over their lives have its money again.
    fn reversed(&mut self, reversal: &Reversal) {
        self.looks.soon(reversal.line_item_id);
        self.dirty.reversals.push(reversal.clone());
        let levels = [
            LevelId::Advertiser(reversal.advertiser_id),
            LevelId::Campaign(reversal.campaign_id),
            LevelId::LineItem(reversal.line_item_id),
        ];
        self.dirty.balances.extend(levels.map(|level| (reversal.advertiser_id, level)));
    }

    /// Notes which rows of an account a record may have changed.
    fn touch(&mut self, advertiser_id: AdvertiserId, envelope: &Envelope, outcome: Outcome) {
        let lease_id = match &envelope.body {
            Event::LeaseGranted(granted) => granted.lease_id,
            Event::LeaseClosed(closed) => closed.lease_id,
            Event::Beacon(beacon) => match beacon.impression_id {
                ImpressionId::Leased { lease_id, .. } => lease_id,
                ImpressionId::Unleased { .. } => return,
            },
            Event::LeaseReturned(returned) => returned.lease_id,
            Event::Reversal(_) | Event::Decision(_) | Event::Catalog(_) | Event::Ledger(_) => return,
        };
        let Some(lease) = self.book.accounts.get(&advertiser_id).and_then(|account| account.leases.get(&lease_id))
        else {
            return;
        };
        match outcome {
            // A beacon that is counted may deliver an impression that is paid by its click, which moves counts at the levels.
            Outcome::Granted(_)
            | Outcome::Returned(_)
            | Outcome::Closed(_)
            | Outcome::Settled { .. }
            | Outcome::Unbilled(_)
            | Outcome::Counted => {
                self.dirty.leases.insert((advertiser_id, lease_id));
                self.looks.soon(lease.grant.line_item_id);
                for level in levels_of(advertiser_id, &lease.grant) {
                    self.dirty.balances.insert((advertiser_id, level));
                }
            }
            Outcome::Reversed { .. } | Outcome::Repeated | Outcome::Ignored(_) => {}
        }
    }
}
