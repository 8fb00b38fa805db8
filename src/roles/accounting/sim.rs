//! A small world around the machine, for tests: a real log and store in a temporary directory, virtual time, decision servers that draw from
//! real leases and ship journals of their own, listeners whose beacons are lost, doubled and late, and crashes of accounting and of
//! servers. Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::sealed::Announcer;
use super::{
    AccountingMachine, Batch, Extent, Input, LeaseLeft, LineReport, LogRecord, MachineSettings, Message, MessageBody,
    RoleEffects, ServerNews, ServerReport, ServerSays,
};
use crate::accounting::testing::{self, ADVERTISER, NETWORK, T0, campaign, envelope, line};
use crate::accounting::{CLOCK_TOLERANCE_MS, Commit, Refusal, SETTLE_MARGIN_MS, record_digest};
use crate::catalog::{Entity, LineSlot};
use crate::decision::{LeaseDesk, Spending};
use crate::entropy::Entropy;
use crate::event_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, NewRecord, Record, Topic};
use crate::events::{self, Envelope, Event};
use crate::journal::{Drive, Identity, JournalConfig, RealDisk, SharedDisk};
use crate::model::{
    Advertiser, BeaconEvent, BootId, Budget, Campaign, Goal, ImpressionId, LeaseId, LineItem, LineItemId, Micros,
    MonotonicMs, Now, PacingMode, PriceModel, Pricing, ServerId, Status, Tier, WallMs, Zone,
};
use crate::roles::records;
use crate::store::{EmbeddedLedger, Store};
use crate::workload::Draws;

pub(crate) const PRICE: Micros = Micros(10);
pub(crate) const LINES: u128 = 4;
const LEASE_MS: u64 = 900_000;
/// A world's longest step is a report's time at most by this factor.
const REPORT_MS: u64 = 20_000;

/// A decision server with a journal of its own.
pub(crate) struct DecisionServer {
    pub(crate) server_id: ServerId,
    pub(crate) boot_id: BootId,
    spending: Spending,
    desk: LeaseDesk,
    /// Its monotonic clock is ahead of accounting's by this: they have nothing to do with each other.
    monotonic_ms: u64,
    /// Its wall clock is ahead by this.
    pub(crate) ahead_ms: i64,
    /// Acknowledged, and not in the log yet. Outlives the process.
    journal: Vec<Envelope>,
    /// Its journal is not shipped for now.
    pub(crate) is_stalled: bool,
    pub(crate) is_up: bool,
    pub(crate) standing: Option<Result<(), Refusal>>,
    pub(crate) throttles: BTreeMap<LineItemId, u64>,
}

/// An impression that was reported and acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) impression_id: ImpressionId,
    pub(crate) is_in_time: bool,
    pub(crate) by: ServerId,
}

pub(crate) struct Sim {
    pub(crate) log: EventLog,
    pub(crate) ledger: EmbeddedLedger,
    pub(crate) machine: AccountingMachine,
    announcer: Announcer,
    pub(crate) now: Now,
    draws: Draws,
    /// Counts all runs, of accounting and of servers.
    boots: u128,
    pub(crate) servers: Vec<DecisionServer>,
    /// Leases that were handed over, each once, with the run that got it.
    pub(crate) handed: BTreeMap<LeaseId, (ServerId, BootId)>,
    /// Beacons on their way: when they arrive, and what they say.
    on_the_way: Vec<(i64, Envelope)>,
    pub(crate) heard: Vec<Heard>,
    entities: Vec<Entity>,
    // Held so that the database stays open.
    _store: Store,
}

pub(crate) fn advertiser(budget: Option<i64>) -> Entity {
    Entity::from(Advertiser {
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
    Entity::from(Campaign {
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
    Entity::from(LineItem {
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
        partition: 0,
        namer: BootId::from_u128(boot).to_bytes(),
        lease_ms: LEASE_MS,
        commit_interval_ms: 200,
        report_ms: REPORT_MS,
        clock_tolerance_ms: CLOCK_TOLERANCE_MS,
        states_delivery: false,
    }
}

fn slot(line_item_id: LineItemId) -> LineSlot {
    let n = (0..LINES).position(|n| line(n) == line_item_id).expect("one of the lines");
    LineSlot(u32::try_from(n).expect("small"))
}

/// An announcer that knows what the log has; what the log lacks is appended.
pub(super) fn announcer(log: &EventLog, machine: &mut AccountingMachine, boot: u128) -> Announcer {
    let mut announcer = Announcer::new(ids(boot));
    let unannounced = announcer.catch_up(log, machine).expect("reads");
    append(log, unannounced);
    announcer
}

fn append(log: &EventLog, records: Vec<NewRecord>) {
    if !records.is_empty() {
        log.append_blocking(records).expect("appended");
    }
}

impl DecisionServer {
    fn new(n: u128, boot: u128) -> Self {
        let (server_id, boot_id) = (ServerId::from_u128(7 + n), BootId::from_u128(boot));
        Self {
            server_id,
            boot_id,
            spending: Spending::new(),
            desk: LeaseDesk::new(server_id, boot_id),
            monotonic_ms: 1_000_000 * u64::try_from(n).expect("small"),
            ahead_ms: 0,
            journal: Vec::new(),
            is_stalled: false,
            is_up: true,
            standing: None,
            throttles: BTreeMap::new(),
        }
    }

    fn now(&self, now: Now) -> Now {
        Now { wall: now.wall.plus_ms(self.ahead_ms), monotonic: now.monotonic.plus_ms(self.monotonic_ms) }
    }

    /// The process is gone, and with it all that it held; its journal stays.
    fn restart(&mut self, boot: u128) {
        self.boot_id = BootId::from_u128(boot);
        self.spending = Spending::new();
        self.desk = LeaseDesk::new(self.server_id, self.boot_id);
        (self.standing, self.is_up) = (None, true);
        self.throttles.clear();
    }

    fn keep(&mut self, events: impl IntoIterator<Item = Event>, at: WallMs) {
        let (server_id, boot_id) = (self.server_id, self.boot_id);
        let made = events.into_iter().map(|body| Envelope { server_id, boot_id, ..envelope(at, body) });
        self.journal.extend(made);
    }

    fn report(&self, now: Now) -> ServerReport {
        let at = self.now(now);
        let lines = (0..LINES).filter_map(|n| {
            let totals = self.spending.totals(slot(line(n)));
            let lease = self.spending.read(slot(line(n)), at).lease;
            (lease.is_some() || totals.count > 0).then(|| LineReport {
                line_item_id: line(n),
                drawn: totals.drawn,
                drawn_count: totals.count,
                eligible: 0,
                lease: lease.map(|lease| LeaseLeft {
                    lease_id: lease.lease_id,
                    left: lease.left,
                    ordinals_left: lease.ordinals_left,
                }),
            })
        });
        let extent = Extent::whole(1);
        let lines = lines.collect();
        ServerReport { server_id: self.server_id, boot_id: self.boot_id, at, transit_ms: 0, extent, lines }
    }
}

fn ids(boot: u128) -> (ServerId, BootId) {
    (ServerId::from_u128(7), BootId::from_u128(boot))
}

impl Sim {
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        Self::with_servers(dir, seed, 1)
    }

    pub(crate) fn with_servers(dir: &Path, seed: u64, servers: u128) -> Self {
        let disk: SharedDisk = Arc::new(RealDisk);
        let identity = Identity { server: ServerId::from_u128(7), boot: BootId::from_u128(100) };
        let small = JournalConfig { segment_bytes: 256 << 10, ..JournalConfig::money() };
        let small_log = JournalConfig { segment_bytes: 256 << 10, ..JournalConfig::log() };
        let config = EmbeddedLogConfig {
            money: small,
            log: small_log,
            drive: Drive::Inline,
            ..EmbeddedLogConfig::new(dir, identity)
        };
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
        let log = EventLog::Embedded(Arc::new(log));
        let mut machine = AccountingMachine::new(settings(100), ledger.load().expect("loads"), now);
        let mut sim = Self {
            announcer: announcer(&log, &mut machine, 100),
            machine,
            log,
            ledger,
            now,
            draws,
            boots: 100 + servers,
            servers: (0..servers).map(|n| DecisionServer::new(n, 101 + n)).collect(),
            handed: BTreeMap::new(),
            on_the_way: Vec::new(),
            heard: Vec::new(),
            entities,
            _store: store,
        };
        sim.tell_catalogue();
        for n in 0..sim.servers.len() {
            sim.say(n, ServerNews::Registered);
        }
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

    pub(crate) fn say(&mut self, n: usize, news: ServerNews) {
        let DecisionServer { server_id, boot_id, .. } = self.servers[n];
        self.step(Input::Server(ServerSays { server_id, boot_id, news }));
    }

    /// Time passes, the servers draw, beacons arrive, journals are shipped, accounting works.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus_ms(ms);
        self.now.wall = self.now.wall.plus_ms(ms.cast_signed());
        self.serve();
        self.deliver();
        self.ship();
        self.report();
        self.mark();
        self.pump();
        for account in self.machine.book().accounts.values() {
            account.check();
        }
    }

    fn serve(&mut self) {
        for server in self.servers.iter_mut().filter(|server| server.is_up) {
            let now = server.now(self.now);
            let returned = server.desk.sweep(&server.spending, now, |_| true);
            server.keep(returned, now.wall);
            for n in 0..LINES {
                let Some(lease) = server.spending.read(slot(line(n)), now).lease else { continue };
                for _ in 0..self.draws.below(12) {
                    let Ok(draw) = server.spending.draw(slot(line(n)), lease.lease_id, PRICE, now) else { break };
                    let until = now.wall.plus_ms(3_600_000).min(draw.last_billable_until);
                    let about = |event| {
                        testing::with(testing::beacon(1, 0, n, event), |record| {
                            record.impression_id =
                                ImpressionId::Leased { lease_id: draw.lease_id, ordinal: draw.ordinal };
                            record.decided_at = now.wall;
                            record.billable_until = until;
                        })
                    };
                    for (event, likely) in [
                        (BeaconEvent::Start, 0.9),
                        (BeaconEvent::Impression, 0.9),
                        (BeaconEvent::Complete, 0.5),
                        (BeaconEvent::Click, 0.02),
                        (BeaconEvent::Void, 0.07),
                    ] {
                        if self.draws.chance(likely) {
                            let late = if self.draws.chance(0.03) { 5_400_000 } else { 0 };
                            let after = i64::from(self.draws.below(120_000)) + late;
                            self.on_the_way.push((self.now.wall.0 + after, about(event)));
                            if self.draws.chance(0.1) {
                                let again = after + i64::from(self.draws.below(600_000));
                                self.on_the_way.push((self.now.wall.0 + again, about(event)));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Beacons come to whichever server is up, and are acknowledged: from here on they must count.
    fn deliver(&mut self) {
        let up: Vec<usize> = (0..self.servers.len()).filter(|n| self.servers[*n].is_up).collect();
        if up.is_empty() {
            return;
        }
        let (due, later) = std::mem::take(&mut self.on_the_way).into_iter().partition(|(at, _)| *at <= self.now.wall.0);
        self.on_the_way = later;
        let due: Vec<(i64, Envelope)> = due;
        for (_, beacon) in due {
            let server = &mut self.servers[*self.draws.pick(&up)];
            let at = server.now(self.now).wall;
            if let Event::Beacon(record) = &beacon.body
                && record.event == BeaconEvent::Impression
            {
                let (impression_id, is_in_time) = (record.impression_id, at <= record.billable_until);
                self.heard.push(Heard { impression_id, is_in_time, by: server.server_id });
            }
            server.keep([beacon.body], at);
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass what they made for it")]
    pub(crate) fn append(&self, envelopes: Vec<Envelope>) {
        append(&self.log, envelopes.iter().map(records::encode).collect());
    }

    /// Journals go into the log, but for those that are stalled or whose server is down.
    fn ship(&mut self) {
        for n in 0..self.servers.len() {
            if self.servers[n].is_up && !self.servers[n].is_stalled {
                let shipped = std::mem::take(&mut self.servers[n].journal);
                self.append(shipped);
            }
        }
    }

    pub(crate) fn report(&mut self) {
        for n in 0..self.servers.len() {
            if self.servers[n].is_up {
                let report = self.servers[n].report(self.now);
                self.step(Input::ServerReport(report));
            }
        }
    }

    fn mark(&mut self) {
        for n in 0..self.servers.len() {
            let server = &self.servers[n];
            if server.is_up && server.journal.is_empty() {
                let until = server.now(self.now).wall.plus_ms(-SETTLE_MARGIN_MS);
                self.say(n, ServerNews::Complete { until, shipped_end: self.log.durable_end(Topic::Events) });
            }
        }
    }

    /// Reads what is there in pieces of random size, and what that brings about, to the end.
    pub(crate) fn pump(&mut self) {
        loop {
            let end = self.log.durable_end(Topic::Events);
            let count = self.draws.between(1, 200) as usize;
            let batch = self.log.read(Topic::Events, None, self.machine.cursor(), count, 1 << 20).expect("reads");
            let record = |read: &Record| LogRecord {
                offset: read.offset,
                digest: record_digest(&read.payload),
                envelope: events::decode(&read.payload).expect("understood"),
            };
            let records = batch.records.iter().map(record).collect();
            self.step(Input::Records(Batch { records, next: batch.next_offset, end }));
            if self.machine.cursor() >= self.log.durable_end(Topic::Events) {
                return;
            }
        }
    }

    pub(crate) fn step(&mut self, input: Input) {
        let effects: RoleEffects = self.machine.step(input, self.now);
        self.append(effects.append);
        if let Some(commit) = &effects.commit {
            self.commit(commit);
        }
        for message in effects.messages {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        let to = self.servers.iter_mut().find(|server| server.server_id == message.server_id).expect("a server");
        if let MessageBody::Lease(offered) = message.body {
            assert_eq!(to.boot_id, message.boot_id, "INV-40: a lease for another run");
            assert_eq!(to.standing, Some(Ok(())), "INV-40: a lease for a server that does not stand");
            let run = (message.server_id, message.boot_id);
            assert_eq!(self.handed.insert(offered.terms.lease_id, run), None, "INV-40: a lease handed over twice");
        }
        if to.boot_id != message.boot_id || !to.is_up {
            return;
        }
        match message.body {
            MessageBody::Lease(offered) => {
                let now = to.now(self.now);
                let returned = to.desk.install(&to.spending, Some(slot(offered.owner.line_item_id)), offered, now);
                to.keep(returned, now.wall);
            }
            MessageBody::Throttle { line_item_id, throttle } => {
                to.throttles.insert(line_item_id, throttle);
            }
            MessageBody::Standing(standing) => to.standing = Some(standing),
            // Each of its reports says all.
            MessageBody::TellAll => {}
        }
    }

    /// The process of all roles dies and comes back: what was not committed, every lease and what was not appended are gone.
    pub(crate) fn crash(&mut self) {
        self.crash_accounting();
        for n in 0..self.servers.len() {
            self.restart(n);
        }
    }

    /// Accounting dies and comes back, as of its last commit; the servers don't notice.
    pub(crate) fn crash_accounting(&mut self) {
        self.boots += 1;
        self.machine = AccountingMachine::new(settings(self.boots), self.ledger.load().expect("loads"), self.now);
        self.announcer = announcer(&self.log, &mut self.machine, self.boots);
        self.tell_catalogue();
        // Accounting says anew what it says only when it changes.
        for server in &mut self.servers {
            server.standing = server.standing.filter(Result::is_err);
        }
    }

    /// A server is killed; its journal stays where it is.
    pub(crate) fn kill(&mut self, n: usize) {
        self.servers[n].is_up = false;
    }

    /// A server comes back, or is killed and comes back at once: a new run over the old journal.
    pub(crate) fn restart(&mut self, n: usize) {
        self.boots += 1;
        let boot = self.boots;
        self.servers[n].restart(boot);
        self.say(n, ServerNews::Registered);
    }

    /// A server ends in good order: it gives its leases back, ships its journal, and closes.
    pub(crate) fn drain(&mut self, n: usize) {
        self.say(n, ServerNews::Draining);
        let server = &mut self.servers[n];
        let now = server.now(self.now);
        let returned = server.desk.close(&server.spending, now);
        server.keep(returned, now.wall);
        server.is_stalled = false;
        self.ship();
        let shipped_end = self.log.durable_end(Topic::Events);
        self.say(n, ServerNews::Closed { until: now.wall, shipped_end });
        self.servers[n].is_up = false;
    }

    /// A stop in good order.
    pub(crate) fn stop(&mut self) {
        self.pump();
        if let Some(commit) = self.machine.finish(self.now) {
            self.commit(&commit);
        }
    }

    fn commit(&mut self, commit: &Commit) {
        self.ledger.commit(commit).expect("commits");
        let announced = self.announcer.announce(&commit.sealed.checkpoints);
        append(&self.log, announced);
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
            self.change_a_budget(step);
        }
        self.stop();
    }

    /// The same for many servers that live and die one by one.
    pub(crate) fn run_fleet(&mut self, steps: u32) {
        for step in 0..steps {
            let quiet = self.draws.chance(0.01);
            let ms = if quiet { 3_000_000 } else { u64::from(self.draws.between(100, 20_000)) };
            self.pass(ms);
            let n = self.draws.index(self.servers.len());
            let is_up = self.servers[n].is_up;
            if self.draws.chance(0.01) {
                self.crash_accounting();
            }
            match self.draws.below(60) {
                0 if is_up => self.kill(n),
                1 if is_up => self.restart(n),
                2 if is_up => self.drain(n),
                3 | 4 => self.servers[n].is_stalled = !self.servers[n].is_stalled,
                5 => self.servers[n].ahead_ms = i64::from(self.draws.below(4_000)) - 2_000,
                6 | 7 => self.servers[n].ahead_ms = 0,
                8..=12 if !is_up => self.restart(n),
                _ => {}
            }
            self.change_a_budget(step);
        }
        for n in 0..self.servers.len() {
            if !self.servers[n].is_up {
                self.restart(n);
            }
            self.servers[n].is_stalled = false;
        }
        self.pass(1_000);
        self.stop();
    }

    fn change_a_budget(&mut self, step: u32) {
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

    /// Runs that leases were granted to.
    pub(crate) fn granted_to(&self) -> BTreeSet<(ServerId, BootId)> {
        let run = |event| match event {
            Event::LeaseGranted(granted) => Some((granted.server_id, granted.boot_id)),
            Event::LeaseReturned(_)
            | Event::LeaseClosed(_)
            | Event::Reversal(_)
            | Event::Beacon(_)
            | Event::Decision(_)
            | Event::Catalog(_)
            | Event::Ledger(_) => None,
        };
        self.events().into_iter().filter_map(run).collect()
    }

    /// The events in the log, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let batch = self.log.read(Topic::Events, None, 0, usize::MAX, usize::MAX).expect("reads");
        batch.records.iter().map(|record| events::decode(&record.payload).expect("understood").body).collect()
    }
}
