//! The state machine of accounting: inputs in, effects out; no I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use super::{Batch, Input, Message, RoleEffects, ServerReport};
use crate::accounting::{
    Book, Chain, Commit, Contracts, DeliveryChanges, Forgotten, GrantTerms, Lease, LedgerState, LevelId, LineContract,
    Outcome, Owner, Seal, Watermark, levels_of, owner_of, plan_closes, plan_grants,
};
use crate::catalog::Entity;
use crate::decision::LeaseTerms;
use crate::events::{Envelope, Event, LeaseGranted, Reversal};
use crate::model::{
    AdvertiserId, BootId, ImpressionId, LeaseId, LineItemId, Micros, MonotonicMs, NetworkId, Now, ServerId,
};

/// Most leases proposed in one step: their records are one append.
const GRANTS_PER_STEP_MAX: usize = 2_000;
/// Time between two looks at every line item, in milliseconds: what only time changes (flights, leases that end).
const SWEEP_MS: u64 = 1_000;
/// Time between two looks for leases that are over, in milliseconds.
const CLOSE_SWEEP_MS: u64 = 5_000;
/// Time between two walks over what is remembered to drop what is too old, in milliseconds.
const FORGET_MS: u64 = 10_000;

/// What the machine is told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSettings {
    /// The server that it grants to.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// Need that a lease covers, in milliseconds; also its time to draw.
    pub lease_ms: u64,
    /// Time between two commits, in milliseconds.
    pub commit_interval_ms: u64,
    /// Longest time from a record's stamp to its place in the log, in milliseconds.
    pub settle_margin_ms: i64,
}

/// The one owner of the books.
#[derive(Debug)]
pub struct AccountingMachine {
    settings: MachineSettings,
    book: Book,
    chain: Chain,
    contracts: Contracts,
    lines: BTreeMap<LineItemId, Line>,
    cursor: u64,
    watermark: Watermark,
    /// Whether the log was read to its end since the start: before that, a lease of an earlier boot may be unknown, and nothing is granted.
    replayed: bool,
    /// Proposed and not read back yet, with the moment of asking; at most one proposal of an advertiser.
    pending: BTreeMap<AdvertiserId, BTreeMap<LeaseId, MonotonicMs>>,
    /// Closes proposed and not read back yet.
    closing: BTreeSet<LeaseId>,
    /// Line items that may need a lease.
    wanting: BTreeSet<LineItemId>,
    leases_named: u64,
    dirty: Dirty,
    committed_at: MonotonicMs,
    swept_at: Option<MonotonicMs>,
    close_swept_at: MonotonicMs,
    forgot_at: MonotonicMs,
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
        let watermark = Watermark::with_margin(settings.settle_margin_ms);
        Self {
            settings,
            book: state.book,
            chain: state.chain,
            contracts: Contracts::default(),
            lines: BTreeMap::new(),
            cursor: state.cursor,
            watermark,
            replayed: false,
            pending: BTreeMap::new(),
            closing: BTreeSet::new(),
            wanting: BTreeSet::new(),
            leases_named: 0,
            dirty: Dirty::default(),
            committed_at: now.monotonic,
            swept_at: None,
            close_swept_at: now.monotonic,
            forgot_at: now.monotonic,
        }
    }

    /// The book, for checks and reports.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Open leases, of all line items.
    #[must_use]
    pub fn open_leases(&self) -> usize {
        let open =
            |leases: &BTreeMap<LeaseId, Lease>| leases.values().filter(|lease| lease.closed_at.is_none()).count();
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

    /// Takes one input and says what is to be done.
    pub fn step(&mut self, input: Input, now: Now) -> RoleEffects {
        let mut effects = RoleEffects::default();
        match input {
            Input::Records(batch) => self.read(&batch, now, &mut effects),
            Input::CatalogChanged(entities) => self.catalog_changed(&entities),
            Input::ServerReport(report) => self.reported(&report, now, &mut effects),
            Input::Tick => {}
        }
        self.sweep(now, &mut effects);
        self.propose(now, &mut effects);
        if now.monotonic.since(self.committed_at) >= self.settings.commit_interval_ms {
            effects.commit = self.commit(now, false);
        }
        effects
    }

    /// All that is not committed yet, for a stop in good order. None when nothing changed.
    pub fn finish(&mut self, now: Now) -> Option<Commit> {
        self.commit(now, true)
    }

    fn commit(&mut self, now: Now, finish: bool) -> Option<Commit> {
        self.committed_at = now.monotonic;
        let forget = finish || now.monotonic.since(self.forgot_at) >= FORGET_MS;
        let forgotten = if forget { self.book.forget() } else { Forgotten::default() };
        if forget {
            self.forgot_at = now.monotonic;
            self.dirty.cursor |= forgotten != Forgotten::default();
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        if !dirty.cursor {
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
                .filter_map(|(id, lease_id)| Some((id, self.book.accounts.get(&id)?.leases.get(&lease_id)?.clone())))
                .collect(),
            past: forgotten.leases,
            reversals: dirty.reversals,
            loose: loose.into_iter().map(|((owner, id), loose)| (owner, id, loose)).collect(),
            delivery: dirty.delivery,
        })
    }

    fn read(&mut self, batch: &Batch, now: Now, effects: &mut RoleEffects) {
        for record in &batch.records {
            self.chain.append(record.digest);
            if let Some(seal) = self.chain.seal() {
                self.dirty.seals.push(seal);
            }
            self.apply(&record.envelope, now, effects);
        }
        if batch.next != self.cursor {
            assert!(batch.next > self.cursor, "INV-25: the log is read forwards, each record once");
            self.cursor = batch.next;
            self.dirty.cursor = true;
        }
        if batch.next >= batch.end {
            self.replayed = true;
            self.watermark.caught_up(now.wall);
        }
    }

    fn apply(&mut self, envelope: &Envelope, now: Now, effects: &mut RoleEffects) {
        let Some(owner) = owner_of(&envelope.body) else { return };
        let applied = self.book.apply(envelope);
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
            (
                Event::Beacon(_)
                | Event::LeaseReturned(_)
                | Event::Reversal(_)
                | Event::Decision(_)
                | Event::Catalog(_),
                _,
            ) => {}
        }
    }

    /// Notes what a reversal changed: it is a row of its own, and the levels over their lives have its money again.
    fn reversed(&mut self, reversal: &Reversal) {
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
            Event::Reversal(_) | Event::Decision(_) | Event::Catalog(_) => return,
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
                for level in levels_of(advertiser_id, &lease.grant) {
                    self.dirty.balances.insert((advertiser_id, level));
                }
            }
            Outcome::Reversed { .. } | Outcome::Repeated | Outcome::Ignored(_) => {}
        }
    }

    /// A grant came back from the log: durable, and in the books. It goes to the server only when this run asked for it.
    fn read_back(&mut self, granted: &LeaseGranted, outcome: Outcome, now: Now, effects: &mut RoleEffects) {
        let Some(pending) = self.pending.get_mut(&granted.advertiser_id) else { return };
        let Some(asked) = pending.remove(&granted.lease_id) else { return };
        if pending.is_empty() {
            self.pending.remove(&granted.advertiser_id);
        }
        if outcome != Outcome::Granted(granted.lease_id) || granted.boot_id != self.settings.boot_id {
            return;
        }
        let draw_ms = u64::try_from(granted.draw_until.since(granted.granted_at)).unwrap_or(0);
        let line = self.lines.entry(granted.line_item_id).or_insert_with(|| Line::new(now));
        line.hold(LeaseTerms {
            lease_id: granted.lease_id,
            amount: granted.amount,
            max_ordinals: granted.max_ordinals,
            draw_until: asked.plus_ms(draw_ms),
            last_billable_until: granted.last_billable_until,
        });
        self.hand_over(granted.line_item_id, now, effects);
    }

    fn hand_over(&mut self, line_item_id: LineItemId, now: Now, effects: &mut RoleEffects) {
        let price = self.contracts.line(line_item_id).map_or(Micros::ZERO, LineContract::draw_price);
        if let Some(terms) = self.lines.get_mut(&line_item_id).and_then(|line| line.hand_over(price, now)) {
            effects.messages.push(Message::Lease { line_item_id, terms });
        }
    }

    fn catalog_changed(&mut self, entities: &[Entity]) {
        for entity in entities {
            let before = match entity {
                Entity::LineItem(line) => self.contracts.line(line.id).cloned(),
                Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
            };
            self.contracts.apply(entity);
            if let Entity::LineItem(line) = entity
                && before.as_ref() != self.contracts.line(line.id)
                && let Some(line) = self.lines.get_mut(&line.id)
            {
                line.replan();
            }
        }
        // A change of a budget above reaches many line items: all are looked at again.
        self.swept_at = None;
    }

    fn reported(&mut self, report: &ServerReport, now: Now, effects: &mut RoleEffects) {
        for line_report in &report.lines {
            let id = line_report.line_item_id;
            let line = self.lines.entry(id).or_insert_with(|| Line::new(now));
            line.report(line_report, report.at);
            if line.wants_lease(self.settings.lease_ms, now) {
                self.wanting.insert(id);
            }
            self.hand_over(id, now, effects);
        }
    }

    /// Looks at every line item that may spend: leases that end, throttles.
    fn sweep(&mut self, now: Now, effects: &mut RoleEffects) {
        if self.swept_at.is_some_and(|at| now.monotonic.since(at) < SWEEP_MS) || !self.replayed {
            return;
        }
        self.swept_at = Some(now.monotonic);
        let mut due = Vec::new();
        for (id, contract) in self.contracts.lines() {
            if !self.contracts.may_spend(contract, now.wall) {
                if let Some(line) = self.lines.get_mut(&id) {
                    line.replan();
                }
                continue;
            }
            let line = self.lines.entry(id).or_insert_with(|| Line::new(now));
            let balance = self.book.accounts.get(&contract.advertiser_id).map(|a| a.balance(LevelId::LineItem(id)));
            let balance = balance.unwrap_or_default();
            if let Some(throttle) = line.throttle(contract, (balance.settled, balance.settled_count), now) {
                effects.messages.push(Message::Throttle { line_item_id: id, throttle });
            }
            if line.wants_lease(self.settings.lease_ms, now) {
                self.wanting.insert(id);
            }
            due.push(id);
        }
        for id in due {
            self.hand_over(id, now, effects);
        }
    }

    fn propose(&mut self, now: Now, effects: &mut RoleEffects) {
        if !self.replayed {
            return;
        }
        let mut bodies = self.grants(now);
        if now.monotonic.since(self.close_swept_at) >= CLOSE_SWEEP_MS {
            self.close_swept_at = now.monotonic;
            for account in self.book.accounts.values() {
                for closed in plan_closes(account, self.watermark, now.wall) {
                    if self.closing.insert(closed.lease_id) {
                        bodies.push(Event::LeaseClosed(closed));
                    }
                }
            }
        }
        effects.append.extend(bodies.into_iter().map(|body| Envelope {
            event_id: body.id(),
            occurred_at: now.wall,
            received_at: now.wall,
            server_id: self.settings.server_id,
            boot_id: self.settings.boot_id,
            trace_id: None,
            body,
        }));
    }

    fn grants(&mut self, now: Now) -> Vec<Event> {
        let mut needs: BTreeMap<AdvertiserId, Vec<_>> = BTreeMap::new();
        let mut planned = 0;
        let mut waiting = BTreeSet::new();
        for id in std::mem::take(&mut self.wanting) {
            let Some(contract) = self.contracts.line(id).filter(|line| self.contracts.may_spend(line, now.wall)) else {
                continue;
            };
            if planned >= GRANTS_PER_STEP_MAX || self.pending.contains_key(&contract.advertiser_id) {
                waiting.insert(id);
                continue;
            }
            let Some(line) = self.lines.get(&id).filter(|line| line.wants_lease(self.settings.lease_ms, now)) else {
                continue;
            };
            if let Some(need) = self.contracts.need(id, line.impressions_needed(self.settings.lease_ms), now.wall) {
                needs.entry(contract.advertiser_id).or_default().push(need);
                planned += 1;
            }
        }
        self.wanting = waiting;
        let mut granted = Vec::new();
        for (advertiser_id, needs) in needs {
            let terms = self.terms(needs[0].network_id, now);
            let account = self.book.account(advertiser_id);
            let (named, boot_id) = (&mut self.leases_named, self.settings.boot_id);
            let grants = plan_grants(account, &needs, &terms, || next_lease_id(boot_id, named, now));
            let pending: BTreeMap<_, _> = grants.iter().map(|grant| (grant.lease_id, now.monotonic)).collect();
            if !pending.is_empty() {
                self.pending.insert(advertiser_id, pending);
            }
            granted.extend(grants.into_iter().map(Event::LeaseGranted));
        }
        granted
    }

    fn terms(&self, network_id: NetworkId, now: Now) -> GrantTerms {
        let draw_until = now.wall.plus_ms(self.settings.lease_ms.cast_signed());
        let life = i64::try_from(self.contracts.token_life_ms(network_id)).unwrap_or(i64::MAX);
        GrantTerms {
            server_id: self.settings.server_id,
            boot_id: self.settings.boot_id,
            servers: 1,
            granted_at: now.wall,
            draw_until,
            last_billable_until: draw_until.plus_ms(life),
        }
    }
}

/// A name that no other boot gives: the boot is in the digest, and the count makes it new within the boot.
fn next_lease_id(boot_id: BootId, named: &mut u64, now: Now) -> LeaseId {
    *named += 1;
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segue.lease.id.v1");
    hasher.update(&boot_id.to_bytes());
    hasher.update(&named.to_be_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    LeaseId::at(now.wall, random)
}
