//! What two servers and accounting tell each other while they serve, in virtual time: real decisions over the reference catalogue at noon, real leases, reports
//! and accounting in four partitions. Counted as messages are made, and as they are on the wire to the broker, compressed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer as _};
use segue::accounting::{LedgerState, record_digest};
use segue::catalog::{CatalogPublisher, CatalogWriter, Entity, Snapshot};
use segue::clock::Clock;
use segue::decision::{Billing, ChosenAd, Draw, Excluded, LeaseDesk, Scratch, Seed, Spending, decide};
use segue::event_log::kafka::Connection;
use segue::event_log::{Topic, partition};
use segue::events::{BeaconRecord, Envelope, Event};
use segue::model::{
    AdBreakRequest, BeaconEvent, BootId, DecisionId, ImpressionId, LineItemId, ListenerState, MonotonicMs, Now,
    PlacementKey, Platform, PriceModel, Pseudonym, ServerId, WallMs,
};
use segue::roles::accounting::{
    AccountingMachine, Batch, Input, LogRecord, MachineSettings, Message, MessageBody, ServerReport, ServerSays, Wanted,
};
use segue::roles::decision::{RecentBreaks, Reporter, Sample, Supply};
use segue::roles::fleet::{
    Echo, FromAccounting, FromServer, Mark, Word, encode_from_accounting, encode_from_server, words,
};
use segue::workload::Draws;
use segue::workload::reference::{Profile, ReferenceCatalogue, WEEK_START};

use super::bare::{OnTheWire, producer_config, send};
use super::measure::{Checks, count};
use super::{Options, PARTITIONS, PATIENCE};

/// Servers.
const SERVERS: u32 = 2;
/// Breaks of a server in a second.
const BREAKS: usize = 500;
/// One break in so many is looked at again for supply: the server's default.
const ONE_IN: u64 = 256;
/// Different listeners.
const LISTENERS: usize = 4_000;
/// Seconds before anything is counted: all line items get their first leases.
const WARM_UP: u64 = 60;
/// How long after its decision an impression is heard, in seconds.
const HEARD_AFTER: u64 = 30;
/// Most notices in one message, as accounting has it.
const NOTICES: usize = 4_000;
const T0: WallMs = WallMs(WEEK_START.0 + 12 * 3_600_000);
const ACCOUNTING: BootId = BootId::from_u128(99);

/// Bytes of messages, as made and as sent.
struct Channel {
    topic: String,
    producer: BaseProducer<OnTheWire>,
    made: u64,
    messages: u64,
    wire: OnTheWire,
}

impl Channel {
    fn new(connection: &Connection, topic: Topic) -> Self {
        let (mut config, wire) = (producer_config(connection), OnTheWire::default());
        config.set("statistics.interval.ms", "100");
        let producer = config.create_with_context(wire.clone()).expect("a producer");
        Self { topic: connection.topic_name(topic), producer, made: 0, messages: 0, wire }
    }

    fn say(&mut self, server: ServerId, payload: &[u8]) {
        let key = server.to_bytes();
        send(&self.producer, &self.topic, partition(&key, PARTITIONS), (&key, payload));
        self.made += payload.len() as u64;
        self.messages += 1;
    }

    /// All that was said so far: as made, and as sent once all is acknowledged.
    fn said(&self) -> (u64, u64) {
        self.producer.flush(PATIENCE).expect("sent");
        let mut sent = 0;
        // Until what is told from time to time has come to rest.
        for _ in 0..5 {
            self.producer.poll(Duration::from_millis(250));
            sent = self.wire.bytes();
        }
        (self.made, sent)
    }
}

struct Server {
    id: ServerId,
    boot_id: BootId,
    spending: Arc<Spending>,
    desk: LeaseDesk,
    supply: Arc<Supply>,
    reporter: Reporter,
    is_asked: bool,
    /// What is heard of it later.
    heard: VecDeque<Vec<Event>>,
}

struct Owner {
    machine: AccountingMachine,
    number: u32,
    inbox: Vec<Input>,
    /// Appended and not read yet.
    log: Vec<Envelope>,
    end: u64,
}

struct World {
    snapshot: Arc<Snapshot>,
    catalog: CatalogPublisher,
    breaks: Vec<Arc<AdBreakRequest>>,
    partition_of: BTreeMap<LineItemId, u32>,
    servers: Vec<Server>,
    owners: Vec<Owner>,
    to_accounting: Channel,
    to_servers: Channel,
    draws: Draws,
    scratch: Scratch,
    second: u64,
    drawn: u64,
}

/// Measures it.
pub(crate) fn measure(options: &Options, connection: &Connection, checks: &mut Checks) {
    println!("lease traffic: {} line items, {SERVERS} servers, {BREAKS} breaks/s each ...", options.line_items);
    let mut world = World::new(options.line_items, connection);
    for _ in 0..WARM_UP {
        world.pass();
    }
    let open: usize = world.owners.iter().map(|owner| owner.machine.open_leases()).sum();
    println!("{open} leases are open after {WARM_UP} s; {} impressions drawn", world.drawn);
    let before = [world.to_accounting.said(), world.to_servers.said()];
    let drawn = world.drawn;
    for second in 0..options.seconds {
        world.pass();
        if second % 30 == 29 {
            println!("{} s", second + 1);
        }
    }
    let after = [world.to_accounting.said(), world.to_servers.said()];
    let each = |before: u64, after: u64| {
        let bytes = usize::try_from(after - before).expect("a small count");
        count(bytes) / count(usize::try_from(options.seconds * u64::from(SERVERS)).expect("a small count"))
    };
    let mut sums = (0.0, 0.0);
    for ((name, before), after) in ["server to accounting", "accounting to server"].into_iter().zip(before).zip(after) {
        let (made, sent) = (each(before.0, after.0), each(before.1, after.1));
        sums = (sums.0 + made, sums.1 + sent);
        checks.add(format!("lease traffic, {name}: uncompressed"), made, "bytes/s a server");
        checks.add(format!("lease traffic, {name}: on the wire"), sent, "bytes/s a server");
    }
    checks.add("lease traffic, both ways: uncompressed", sums.0, "bytes/s a server");
    checks.add("lease traffic, both ways: on the wire", sums.1, "bytes/s a server");
    checks.add("lease traffic: impressions drawn", each(drawn, world.drawn), "1/s a server");
}

impl World {
    fn new(line_items: usize, connection: &Connection) -> Self {
        let catalogue = ReferenceCatalogue::generate(Profile::Midday, line_items, 7);
        let partition_of =
            catalogue.line_items.iter().map(|line| (line.id, partition(&line.advertiser_id.to_bytes(), PARTITIONS)));
        let partition_of = partition_of.collect();
        let entities = catalogue.into_entities();
        let mut writer = CatalogWriter::new();
        writer.apply(1, entities.clone());
        let snapshot = writer.rebuild();
        let breaks = ReferenceCatalogue::breaks(Profile::Midday, LISTENERS, 7);
        let breaks = breaks.into_iter().map(|one| one.request).collect();
        let owners = (0..PARTITIONS).map(|number| Owner::new(number, &entities)).collect();
        Self {
            catalog: CatalogPublisher::new(Arc::clone(&snapshot)),
            servers: (0..SERVERS).map(u128::from).map(Server::new).collect(),
            owners,
            snapshot,
            breaks,
            partition_of,
            // Not where they belong: accounting reads those, and is measured later.
            to_accounting: Channel::new(connection, Topic::Decisions),
            to_servers: Channel::new(connection, Topic::Listening),
            draws: Draws::new(7, 77),
            scratch: Scratch::new(),
            second: 0,
            drawn: 0,
        }
    }

    /// One second: the servers serve and speak, accounting listens, grants and tells.
    fn pass(&mut self) {
        self.second += 1;
        let now = at(self.second);
        for n in 0..self.servers.len() {
            self.serve(n, now);
            self.speak(n, now);
        }
        // What is appended comes back, and leads to more: a few rounds end it.
        let mut messages = Vec::new();
        for owner in &mut self.owners {
            while owner.read(now, &mut messages) {}
        }
        self.tell(messages, now);
    }

    fn serve(&mut self, n: usize, now: Now) {
        let Self { snapshot, catalog, breaks, servers, draws, scratch, drawn, .. } = self;
        let server = &mut servers[n];
        let listener = ListenerState::new(Pseudonym([0; 16]));
        let none = Excluded::none();
        let mut heard = Vec::new();
        let (sender, samples) = sync_channel(BREAKS);
        for _ in 0..BREAKS {
            let request = draws.pick(breaks);
            let resolved = snapshot.resolve(request, now);
            let seed = Seed(draws.bits());
            if seed.0.is_multiple_of(ONE_IN) {
                let sample = Sample { request: Arc::clone(request), listener: listener.clone(), now };
                sender.send(sample).expect("there is room");
            }
            let spending = &server.spending;
            let decision = decide(snapshot, &resolved, &listener, spending, &none, now, seed, scratch);
            for ad in &decision.ads {
                let Billing::Lease(lease_id) = ad.billing else { continue };
                // Two breaks never race here; a lease may all the same be over.
                let Ok(draw) = spending.draw(ad.slot, lease_id, ad.drawn, now) else { continue };
                *drawn += 1;
                if draws.chance(0.9) {
                    heard.push(Event::Beacon(Box::new(beacon(snapshot, ad, draw, now))));
                }
            }
        }
        drop(sender);
        server.supply.run(&samples, ONE_IN, (catalog, &server.spending), &RecentBreaks::default(), &Clock::real());
        server.heard.push_back(heard);
        let mut events = server.desk.sweep(&server.spending, now, |_| true);
        if server.heard.len() as u64 > HEARD_AFTER {
            events.extend(server.heard.pop_front().unwrap_or_default());
        }
        let run = (server.id, server.boot_id);
        self.append(run, events, now);
    }

    fn append(&mut self, (server_id, boot_id): (ServerId, BootId), events: Vec<Event>, now: Now) {
        for body in events {
            let number = partition(&body.key(), PARTITIONS) as usize;
            let (occurred_at, received_at) = (now.wall, now.wall);
            let event_id = body.id();
            let envelope = Envelope { event_id, occurred_at, received_at, server_id, boot_id, trace_id: None, body };
            self.owners[number].log.push(envelope);
        }
    }

    /// A server says that it is there, how far it has shipped, and what it did.
    fn speak(&mut self, n: usize, now: Now) {
        let server = &mut self.servers[n];
        let (server_id, boot_id) = (server.id, server.boot_id);
        let wanted = if std::mem::take(&mut server.is_asked) { Wanted::All } else { Wanted::Changes };
        let report = server.reporter.report(wanted, &self.snapshot, now).expect("something is wanted");
        let ends = self.owners.iter().zip(0..).map(|(owner, number)| (number, owner.end)).collect();
        let complete = Word::Complete(Mark { until: now.wall.plus_ms(-1_000), ends });
        for word in [Word::Registered, complete].into_iter().chain(words(report.clone())) {
            let echoes = vec![Echo { accounting_id: ACCOUNTING, stamp: now.monotonic, held_ms: 20 }];
            let said = FromServer { server_id, boot_id, at: now, echoes, word };
            self.to_accounting.say(server_id, &encode_from_server(&said));
            for (number, owner) in (0..).zip(&mut self.owners) {
                let input = said.news(number).map(|news| Input::Server(ServerSays { server_id, boot_id, news }));
                owner.inbox.extend(input);
            }
        }
        for (number, owner) in (0..).zip(&mut self.owners) {
            let is_its = |id: &LineItemId| self.partition_of[id] == number;
            let lines = report.lines.iter().filter(|line| is_its(&line.line_item_id)).copied().collect();
            owner.inbox.push(Input::ServerReport(ServerReport { lines, ..report.clone() }));
        }
    }

    fn tell(&mut self, messages: Vec<(u32, Message)>, now: Now) {
        let mut notices: BTreeMap<(u32, ServerId), Vec<MessageBody>> = BTreeMap::new();
        for (number, message) in messages {
            notices.entry((number, message.server_id)).or_default().push(message.body);
        }
        for ((number, server_id), notices) in notices {
            let n = self.servers.iter().position(|server| server.id == server_id).expect("one of them");
            let boot_id = self.servers[n].boot_id;
            for piece in notices.chunks(NOTICES) {
                let said = FromAccounting {
                    accounting_id: ACCOUNTING,
                    stamp: now.monotonic,
                    partition: number,
                    server_id,
                    boot_id,
                    notices: piece.to_vec(),
                };
                self.to_servers.say(server_id, &encode_from_accounting(&said));
            }
            let returned = self.servers[n].told(&self.snapshot, notices, now);
            self.append((server_id, boot_id), returned, now);
        }
    }
}

impl Server {
    fn new(n: u128) -> Self {
        let (id, boot_id) = (ServerId::from_u128(10 + n), BootId::from_u128(20 + n));
        let (spending, supply) = (Arc::new(Spending::new()), Arc::new(Supply::default()));
        let reporter = Reporter::new(id, boot_id, Arc::clone(&supply), Arc::clone(&spending));
        let desk = LeaseDesk::new(id, boot_id);
        Self { id, boot_id, spending, desk, supply, reporter, is_asked: false, heard: VecDeque::new() }
    }

    fn told(&mut self, snapshot: &Snapshot, notices: Vec<MessageBody>, now: Now) -> Vec<Event> {
        let mut returned = Vec::new();
        for notice in notices {
            match notice {
                MessageBody::Lease(offered) => {
                    let slot = snapshot.slot(offered.owner.line_item_id);
                    returned.extend(self.desk.install(&self.spending, slot, offered, now));
                }
                MessageBody::Throttle { line_item_id, throttle } => {
                    let slot = snapshot.slot(line_item_id).expect("the snapshot has every line item");
                    self.spending.set_throttle(slot, throttle);
                }
                MessageBody::Standing(standing) => standing.expect("its clock is right"),
                MessageBody::TellAll => self.is_asked = true,
            }
        }
        returned
    }
}

impl Owner {
    fn new(number: u32, entities: &[Entity]) -> Self {
        let settings = MachineSettings {
            server_id: ServerId::from_u128(1),
            boot_id: ACCOUNTING,
            partition: number,
            namer: u128::from(number).to_be_bytes(),
            lease_ms: 900_000,
            // The books are written nowhere here.
            commit_interval_ms: 10_000_000,
            report_ms: 1_000,
            clock_tolerance_ms: 1_000,
            states_delivery: false,
        };
        let mut machine = AccountingMachine::new(settings, LedgerState::default(), at(0));
        let its =
            |entity: &&Entity| entity.advertiser_id().is_none_or(|id| partition(&id.to_bytes(), PARTITIONS) == number);
        machine.step(Input::CatalogChanged(entities.iter().filter(its).cloned().collect()), at(0));
        Self { machine, number, inbox: Vec::new(), log: Vec::new(), end: 0 }
    }

    /// Takes what was said and appended; whether anything was appended for it.
    fn read(&mut self, now: Now, messages: &mut Vec<(u32, Message)>) -> bool {
        let digest = record_digest(&[]);
        let record = |(offset, envelope)| LogRecord { offset, digest, envelope };
        let records: Vec<_> = (self.end..).zip(std::mem::take(&mut self.log)).map(record).collect();
        self.end += records.len() as u64;
        let batch = Batch { records, next: self.end, end: self.end };
        for input in std::mem::take(&mut self.inbox).into_iter().chain([Input::Records(batch)]) {
            let effects = self.machine.step(input, now);
            self.log.extend(effects.append);
            messages.extend(effects.messages.into_iter().map(|message| (self.number, message)));
        }
        !self.log.is_empty()
    }
}

fn at(second: u64) -> Now {
    let ms = second * 1_000;
    Now { wall: T0.plus_ms(ms.cast_signed()), monotonic: MonotonicMs(1_000 + ms) }
}

/// The impression of an ad is heard.
fn beacon(snapshot: &Snapshot, ad: &ChosenAd, draw: Draw, now: Now) -> BeaconRecord {
    let line = &snapshot.line(ad.slot).line_item;
    BeaconRecord {
        event: BeaconEvent::Impression,
        impression_id: ImpressionId::Leased { lease_id: draw.lease_id, ordinal: draw.ordinal },
        network_id: line.network_id,
        advertiser_id: ad.advertiser_id,
        campaign_id: ad.campaign_id,
        line_item_id: ad.line_item_id,
        creative_id: ad.creative_id,
        decision_id: DecisionId::from_u128(u128::from(draw.ordinal)),
        tier: ad.tier,
        price_model: PriceModel::Cpm,
        price: ad.price,
        pseudonym: Pseudonym([1; 16]),
        placement: PlacementKey::new("reference-break").expect("a key"),
        app: None,
        country: None,
        platform: Platform::Unknown,
        decided_at: now.wall,
        billable_until: draw.last_billable_until,
        duration_ms: ad.duration_ms,
        impression_at_start: false,
        preview: false,
        played_ms: None,
        truncated_ip: None,
        invalid: None,
    }
}
