//! A small world around the machine, for tests: a real log and store in a temporary directory, virtual time, a decision server that
//! draws, listeners whose beacons are lost, doubled and late, and crashes. Everything follows from the seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{
    AccountingMachine, Batch, Input, LeaseLeft, LineReport, LogRecord, MachineSettings, Message, RoleEffects,
    ServerReport,
};
use crate::accounting::record_digest;
use crate::accounting::testing::{self, ADVERTISER, NETWORK, T0, campaign, envelope, line};
use crate::catalog::Entity;
use crate::decision::LeaseTerms;
use crate::entropy::Entropy;
use crate::event_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, NewRecord, Topic};
use crate::events::{self, Envelope, Event};
use crate::journal::{Drive, Identity, JournalConfig, RealDisk, SharedDisk};
use crate::model::{
    Advertiser, BeaconEvent, BootId, Budget, Campaign, Goal, ImpressionId, LeaseId, LineItem, LineItemId, Micros,
    MonotonicMs, Now, PacingMode, PriceModel, Pricing, ServerId, Status, Tier, Zone,
};
use crate::store::{LedgerStore, Store};
use crate::workload::Draws;

pub(crate) const PRICE: Micros = Micros(10);
pub(crate) const LINES: u128 = 4;
const LEASE_MS: u64 = 900_000;

/// What the server draws from.
struct Drawing {
    terms: LeaseTerms,
    left: Micros,
    next_ordinal: u32,
}

pub(crate) struct Sim {
    pub(crate) log: EventLog,
    pub(crate) ledger: LedgerStore,
    pub(crate) machine: AccountingMachine,
    pub(crate) now: Now,
    draws: Draws,
    boot: u128,
    leases: BTreeMap<LineItemId, Drawing>,
    drawn: BTreeMap<LineItemId, (Micros, u64)>,
    pub(crate) throttles: BTreeMap<LineItemId, u64>,
    /// Beacons on their way: when they arrive, and what they say.
    on_the_way: Vec<(i64, Envelope)>,
    entities: Vec<Entity>,
    // Held so that the database stays open.
    _store: Store,
}

pub(crate) fn advertiser(budget: Option<i64>) -> Entity {
    Entity::Advertiser(Advertiser {
        id: ADVERTISER,
        network_id: NETWORK,
        name: "An advertiser".to_owned(),
        status: Status::Active,
        budget: Budget { lifetime: budget.map(Micros), daily: None },
        zone: Zone::utc(),
        caps: Vec::new(),
    })
}

fn campaign_entity(n: u128, budget: Option<i64>) -> Entity {
    Entity::Campaign(Campaign {
        id: campaign(n),
        advertiser_id: ADVERTISER,
        network_id: NETWORK,
        name: "A campaign".to_owned(),
        status: Status::Active,
        budget: Budget { lifetime: budget.map(Micros), daily: None },
        caps: Vec::new(),
    })
}

pub(crate) fn line_entity(n: u128, budget: Option<i64>, goal: Option<u64>) -> Entity {
    let sample = crate::events::samples::line_item();
    let mut flight = sample.flight.clone();
    (flight.start, flight.end) = (T0, T0.plus_ms(30 * 86_400_000));
    Entity::LineItem(LineItem {
        id: line(n),
        campaign_id: campaign(n % 2),
        advertiser_id: ADVERTISER,
        network_id: NETWORK,
        flight,
        tier: if goal.is_some() { Tier::Guaranteed } else { Tier::Auction },
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros(PRICE.0 * 1_000) },
        budget: Budget { lifetime: budget.map(Micros), daily: None },
        goal: goal.map(|impressions| Goal { impressions, daily_impressions: None }),
        pacing: PacingMode::AsFastAsPossible,
        ..sample
    })
}

fn settings(boot: u128) -> MachineSettings {
    MachineSettings {
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(boot),
        lease_ms: LEASE_MS,
        commit_interval_ms: 200,
        settle_margin_ms: crate::accounting::SETTLE_MARGIN_MS,
    }
}

impl Sim {
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        let disk: SharedDisk = Arc::new(RealDisk);
        let identity = Identity { server: ServerId::from_u128(7), boot: BootId::from_u128(100) };
        let small = JournalConfig { segment_bytes: 256 << 10, ..JournalConfig::money() };
        let config = EmbeddedLogConfig { money: small, drive: Drive::Inline, ..EmbeddedLogConfig::new(dir, identity) };
        let log = EmbeddedLog::open(&config, &disk, || T0).expect("opens");
        let store = Store::open(dir, T0, &Entropy::seeded(seed)).expect("opens");
        let ledger = store.ledger().expect("opens");
        let now = Now { wall: T0, monotonic: MonotonicMs(1) };
        let mut draws = Draws::new(seed, 1);
        let mut entities = vec![advertiser(Some(i64::from(draws.between(1_000, 60_000))))];
        entities.push(campaign_entity(0, None));
        entities.push(campaign_entity(1, Some(i64::from(draws.between(100, 40_000)))));
        entities.push(line_entity(0, None, Some(u64::from(draws.between(1, 3_000)))));
        entities.push(line_entity(1, Some(i64::from(draws.between(1, 20_000))), None));
        entities.push(line_entity(2, Some(i64::from(draws.between(1, 50_000))), None));
        entities.push(line_entity(3, None, None));
        let mut sim = Self {
            machine: AccountingMachine::new(settings(100), ledger.load().expect("loads"), now),
            log: EventLog::Embedded(Arc::new(log)),
            ledger,
            now,
            draws,
            boot: 100,
            leases: BTreeMap::new(),
            drawn: BTreeMap::new(),
            throttles: BTreeMap::new(),
            on_the_way: Vec::new(),
            entities,
            _store: store,
        };
        sim.tell_catalogue();
        sim
    }

    pub(crate) fn change(&mut self, entity: Entity) {
        let id = entity.id();
        self.entities.retain(|held| held.id() != id);
        self.entities.push(entity.clone());
        self.step(Input::CatalogChanged(vec![entity]));
    }

    fn tell_catalogue(&mut self) {
        self.step(Input::CatalogChanged(self.entities.clone()));
    }

    /// Time passes, the server draws, beacons arrive, accounting works.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus_ms(ms);
        self.now.wall = self.now.wall.plus_ms(ms.cast_signed());
        self.serve();
        self.deliver();
        self.report();
        self.pump();
        for account in self.machine.book().accounts.values() {
            account.check();
        }
    }

    fn serve(&mut self) {
        let now = self.now;
        for n in 0..LINES {
            let Some(drawing) = self.leases.get_mut(&line(n)) else { continue };
            for _ in 0..self.draws.below(12) {
                let open = now.monotonic < drawing.terms.draw_until
                    && drawing.left >= PRICE
                    && drawing.next_ordinal < drawing.terms.max_ordinals;
                if !open {
                    break;
                }
                drawing.left = drawing.left.minus(PRICE).expect("at least the price");
                let ordinal = drawing.next_ordinal;
                drawing.next_ordinal += 1;
                let total = self.drawn.entry(line(n)).or_default();
                total.0 = total.0.plus(PRICE).expect("small");
                total.1 += 1;
                let lease_id = drawing.terms.lease_id;
                let until = now.wall.plus_ms(3_600_000).min(drawing.terms.last_billable_until);
                let about = |event| {
                    testing::with(testing::beacon(1, 0, n, event), |record| {
                        record.impression_id = ImpressionId::Leased { lease_id, ordinal };
                        record.decided_at = now.wall;
                        record.billable_until = until;
                    })
                };
                let mut send = |draws: &mut Draws, event, likely: f64| {
                    if draws.chance(likely) {
                        let late = if draws.chance(0.03) { 5_400_000 } else { 0 };
                        let after = i64::from(draws.below(120_000)) + late;
                        self.on_the_way.push((now.wall.0 + after, about(event)));
                        if draws.chance(0.1) {
                            let again = after + i64::from(draws.below(600_000));
                            self.on_the_way.push((now.wall.0 + again, about(event)));
                        }
                    }
                };
                send(&mut self.draws, BeaconEvent::Start, 0.9);
                send(&mut self.draws, BeaconEvent::Impression, 0.9);
                send(&mut self.draws, BeaconEvent::Complete, 0.5);
                send(&mut self.draws, BeaconEvent::Click, 0.02);
                send(&mut self.draws, BeaconEvent::Void, 0.07);
            }
        }
    }

    fn deliver(&mut self) {
        let (due, later) = std::mem::take(&mut self.on_the_way).into_iter().partition(|(at, _)| *at <= self.now.wall.0);
        self.on_the_way = later;
        let due: Vec<_> = due;
        let records = due.into_iter().map(|(_, beacon)| envelope(self.now.wall, beacon.body)).collect();
        self.append(records);
    }

    pub(crate) fn append(&self, envelopes: Vec<Envelope>) {
        let record = |envelope: Envelope| NewRecord {
            topic: Topic::Events,
            key: envelope.body.key().to_vec(),
            payload: events::encode(&envelope),
        };
        if !envelopes.is_empty() {
            self.log.append_blocking(envelopes.into_iter().map(record).collect()).expect("appended");
        }
    }

    fn report(&mut self) {
        let lines = self.leases.iter().map(|(id, drawing)| LineReport {
            line_item_id: *id,
            drawn: self.drawn.get(id).map_or(Micros::ZERO, |total| total.0),
            drawn_count: self.drawn.get(id).map_or(0, |total| total.1),
            eligible: 0,
            lease: Some(LeaseLeft {
                lease_id: drawing.terms.lease_id,
                left: drawing.left,
                ordinals_left: drawing.terms.max_ordinals - drawing.next_ordinal,
            }),
        });
        let report = ServerReport { at: self.now.monotonic, lines: lines.collect() };
        self.step(Input::ServerReport(report));
    }

    /// Reads what is there in pieces of random size, and what that brings about, to the end.
    pub(crate) fn pump(&mut self) {
        loop {
            let end = self.log.durable_end(Topic::Events);
            let count = self.draws.between(1, 200) as usize;
            let batch = self.log.read(Topic::Events, None, self.machine.cursor(), count, 1 << 20).expect("reads");
            let record = |payload: &[u8]| LogRecord {
                digest: record_digest(payload),
                envelope: events::decode(payload).expect("understood"),
            };
            let records = batch.records.iter().map(|read| record(&read.payload)).collect();
            self.step(Input::Records(Batch { records, next: batch.next_offset, end }));
            if self.machine.cursor() >= self.log.durable_end(Topic::Events) {
                return;
            }
        }
    }

    fn step(&mut self, input: Input) {
        let effects: RoleEffects = self.machine.step(input, self.now);
        self.append(effects.append);
        if let Some(commit) = &effects.commit {
            self.ledger.commit(commit).expect("commits");
        }
        for message in effects.messages {
            match message {
                Message::Lease { line_item_id, terms } => {
                    let drawing = Drawing { terms, left: terms.amount, next_ordinal: 0 };
                    self.leases.insert(line_item_id, drawing);
                }
                Message::Throttle { line_item_id, throttle } => {
                    self.throttles.insert(line_item_id, throttle);
                }
            }
        }
    }

    /// The process dies and comes back: what was not committed, every lease of this boot and what was not appended are gone.
    pub(crate) fn crash(&mut self) {
        self.boot += 1;
        self.leases.clear();
        self.drawn.clear();
        self.now.monotonic = MonotonicMs(1);
        self.machine = AccountingMachine::new(settings(self.boot), self.ledger.load().expect("loads"), self.now);
        self.tell_catalogue();
    }

    /// A stop in good order.
    pub(crate) fn stop(&mut self) {
        self.pump();
        if let Some(commit) = self.machine.finish(self.now) {
            self.ledger.commit(&commit).expect("commits");
        }
    }

    /// Half a virtual day with crashes, changes of budgets and quiet hours in which leases close; then a stop.
    pub(crate) fn run(&mut self, steps: u32) {
        for step in 0..steps {
            let quiet = self.draws.chance(0.01);
            let ms = if quiet { 3_000_000 } else { u64::from(self.draws.between(100, 20_000)) };
            self.pass(ms);
            if self.draws.chance(0.02) {
                self.crash();
            }
            if self.draws.chance(0.02) {
                let budget = i64::from(self.draws.between(1, 60_000));
                let entity = match step % 3 {
                    0 => advertiser(Some(budget)),
                    1 => campaign_entity(1, Some(budget)),
                    _ => line_entity(2, Some(budget), None),
                };
                self.change(entity);
            }
        }
        self.stop();
    }

    /// The leases that the server holds.
    pub(crate) fn handed_out(&self) -> Vec<LeaseId> {
        self.leases.values().map(|drawing| drawing.terms.lease_id).collect()
    }

    /// The events in the log, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let batch = self.log.read(Topic::Events, None, 0, usize::MAX, usize::MAX).expect("reads");
        batch.records.iter().map(|record| events::decode(&record.payload).expect("understood").body).collect()
    }
}
