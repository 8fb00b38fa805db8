//! One run: everything that there is, and the queue of what happens next. One thread, virtual time; whatever is drawn comes from the seed,
//! and whatever is iterated is ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accounting_node::Owner;
use super::board::Board;
use super::catalogue::Catalogue;
use super::faults::{FaultKind, Faults, Mix};
use super::invariants::{Ceilings, There, UNDER_WAY_MS, Violation};
use super::ledger_model::LedgerModel;
use super::listener_model::ListenerModel;
use super::log_model::{LogModel, PARTITIONS, Parcel};
use super::operator::{STREAM_OPERATOR, Verdict};
use super::player::Player;
use super::reports::{PlayerBeacon, PlayerReport};
use super::sabotage::Sabotage;
use super::server_node::ServerNode;
use super::trace::Trace;
use super::traffic::Who;
use crate::caps::strict::{Outcome, Reservation};
use crate::catalog::{CatalogWriter, Entity, Snapshot};
use crate::model::{AdvertiserId, BootId, ListenerKey, Status, StrictVersion};
use crate::roles::accounting::{Input, MessageBody};
use crate::tokens::{TokenKey, TokenKeys};
use crate::workload::Draws;

/// Time between two looks of a server at its journal, in milliseconds.
const SERVER_TICK_MS: u64 = 250;
/// Time between two looks of accounting at the log, in milliseconds.
const OWNER_TICK_MS: u64 = 200;
/// The same when nobody listens any more, in milliseconds.
const QUIET_TICK_MS: u64 = 1_000;
/// A server reports at one tick in so many.
const REPORT_EVERY: u64 = 4;

/// Shape of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Faults come until then, in milliseconds after the start.
    pub faults_until_ms: u64,
    /// Players.
    pub players: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { faults_until_ms: 480_000, players: 40 }
    }
}

impl Shape {
    /// By then all must have recovered.
    #[must_use]
    pub const fn recovered_ms(&self) -> u64 {
        self.faults_until_ms + 60_000
    }

    /// Players ask for breaks until then: for longer than the leases of a server that died with the last fault are held, so that what they held
    /// is delivered after all.
    #[must_use]
    pub const fn asking_until_ms(&self) -> u64 {
        self.recovered_ms() + 180_000
    }

    /// Line items are paused then, so that no further lease is granted.
    #[must_use]
    pub const fn paused_ms(&self) -> u64 {
        self.asking_until_ms() + 5_000
    }

    /// The end: every lease is over, every beacon that will ever come has come.
    #[must_use]
    pub const fn end_ms(&self) -> u64 {
        self.paused_ms() + 330_000
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    PlayerAsks { player: usize },
    AskAgain { player: usize, number: u32, attempt: u32 },
    RequestArrives { player: usize, number: u32, server: usize },
    TurnMissed { server: usize, boot_id: BootId, key: ListenerKey, ticket: u64 },
    StrictWriteArrives(StrictWrite),
    StrictAnswered { server: usize, boot_id: BootId, key: ListenerKey, version: StrictVersion, outcome: Outcome },
    AnswerArrives { player: usize, number: u32, bytes: Vec<u8> },
    ReportLeaves { report: usize },
    ReportArrives { report: usize, server: usize },
    ReportAnswered { report: usize },
    OperatorSpeaks,
    VerdictSaid { verdict: usize },
    ReversalsArrive { verdict: usize, parcels: Vec<Parcel> },
    ServerStarts { server: usize },
    ServerTick { server: usize, boot_id: BootId, number: u64 },
    PartArrives(Part),
    PartAnswered { server: usize, boot_id: BootId, ticket: u64, partition: u32, is_kept: bool },
    WordArrives { word: Input },
    OwnerStarts,
    OwnerTick { generation: u64 },
    AppendArrives { generation: u64, parcels: Vec<Parcel> },
    AppendAnswered { generation: u64, is_kept: bool },
    MessageArrives { server: usize, boot_id: BootId, body: MessageBody },
    Fault(FaultKind),
    DiskFreed { server: usize },
    ClockRight { server: usize },
    FaultsStop,
    RecoverySoonDue,
    RecoveryDue,
    LineItemsPause,
}

/// The records of one shipment that go to one partition.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) server: usize,
    pub(super) boot_id: BootId,
    pub(super) ticket: u64,
    pub(super) partition: u32,
    pub(super) parcels: Vec<Parcel>,
    /// Whether the log answers this copy.
    pub(super) is_answered: bool,
}

/// A conditional write on its way to the store.
#[derive(Clone, Debug)]
pub(super) struct StrictWrite {
    pub(super) server: usize,
    pub(super) boot_id: BootId,
    pub(super) key: ListenerKey,
    pub(super) version: StrictVersion,
    pub(super) reservation: Reservation,
    /// Whether the store answers this copy.
    pub(super) is_answered: bool,
}

/// The world of a run.
pub struct World {
    pub(super) shape: Shape,
    pub(super) sabotage: Sabotage,
    /// Milliseconds since the start.
    pub(super) at: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    /// Delays of the net.
    pub(super) net: Draws,
    pub(super) keys: TokenKeys,
    pub(super) catalogue: Catalogue,
    writer: CatalogWriter,
    version: u64,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) log: LogModel,
    pub(super) stalled_until: [u64; PARTITIONS as usize],
    pub(super) ledger: LedgerModel,
    pub(super) listeners: ListenerModel,
    pub(super) servers: Vec<ServerNode>,
    /// Partitions that have not answered yet, of each shipment in flight.
    pub(super) parts: BTreeMap<(usize, BootId, u64), BTreeSet<u32>>,
    pub(super) owners: BTreeMap<u64, Owner>,
    /// When the last message to each server arrives: they keep their order.
    pub(super) told_until: Vec<u64>,
    pub(super) players: Vec<Player>,
    pub(super) beacons: Vec<PlayerBeacon>,
    pub(super) reports: Vec<PlayerReport>,
    /// What the operator does.
    pub(super) operator: Draws,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) board: Board,
    pub(super) ceilings: Ceilings,
    pub(super) there: There,
    pub(super) violation: Option<Violation>,
}

impl World {
    /// The world of a seed, with that mix of faults.
    #[must_use]
    pub fn new(seed: u64, mix: Mix, shape: Shape, sabotage: Sabotage) -> Self {
        let mut draws = Draws::new(seed, 3);
        let catalogue = Catalogue::of_seed(seed);
        let mut writer = CatalogWriter::new();
        let snapshot = writer.apply(1, catalogue.entities.clone());
        let servers = usize::try_from(draws.between(1, SERVERS_MAX)).expect("a few");
        let who = Who::of_seed(seed, shape.players);
        let mut world = Self {
            shape,
            sabotage,
            at: 0,
            queue: BTreeMap::new(),
            queued: 0,
            faults: Faults::new(seed, mix),
            trace: Trace::default(),
            net: Draws::new(seed, 4),
            keys: TokenKeys::new(TokenKey::new(1, &draws.bytes()), None),
            ceilings: Ceilings::of(&catalogue),
            catalogue,
            writer,
            version: 1,
            snapshot,
            log: LogModel::default(),
            stalled_until: [0; PARTITIONS as usize],
            ledger: LedgerModel::default(),
            listeners: ListenerModel::default(),
            servers: (0..u32::try_from(servers).expect("a few")).map(|index| ServerNode::new(index, servers)).collect(),
            parts: BTreeMap::new(),
            owners: BTreeMap::new(),
            told_until: vec![0; servers],
            players: (0..shape.players).map(|index| Player::new(seed, index, servers, &who)).collect(),
            beacons: Vec::new(),
            reports: Vec::new(),
            operator: Draws::new(seed, STREAM_OPERATOR),
            verdicts: Vec::new(),
            board: Board::default(),
            there: There::default(),
            violation: None,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for server in 0..self.servers.len() {
            self.after(0, Event::ServerStarts { server });
        }
        self.after(10, Event::OwnerStarts);
        for player in 0..self.players.len() {
            let wait = self.players[player].first_ask_ms();
            self.after(wait, Event::PlayerAsks { player });
        }
        self.operator_waits();
        for kind in FaultKind::ALL {
            self.next_fault(kind);
        }
        self.schedule(self.shape.faults_until_ms, Event::FaultsStop);
        self.schedule(self.shape.recovered_ms() - UNDER_WAY_MS, Event::RecoverySoonDue);
        self.schedule(self.shape.recovered_ms(), Event::RecoveryDue);
        self.schedule(self.shape.paused_ms(), Event::LineItemsPause);
    }

    /// Runs to the end or the first violation.
    pub fn run(&mut self) {
        while self.violation.is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            if at > self.shape.end_ms() {
                break;
            }
            self.at = at;
            self.happens(event);
        }
        if self.violation.is_none() {
            self.at = self.shape.end_ms();
            self.check_at_rest();
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::PlayerAsks { player } => self.player_asks(player),
            Event::AskAgain { player, number, attempt } => self.ask_again(player, number, attempt),
            Event::RequestArrives { player, number, server } => self.request_arrives(player, number, server),
            Event::TurnMissed { server, boot_id, key, ticket } => self.turn_missed(server, boot_id, key, ticket),
            Event::StrictWriteArrives(write) => self.strict_write_arrives(&write),
            Event::StrictAnswered { server, boot_id, key, version, outcome } => {
                self.strict_answered((server, boot_id), key, version, outcome);
            }
            Event::AnswerArrives { player, number, bytes } => self.answer_arrives(player, number, &bytes),
            Event::ReportLeaves { report } => self.report_leaves(report),
            Event::ReportArrives { report, server } => self.report_arrives(report, server),
            Event::ReportAnswered { report } => self.report_answered(report),
            Event::OperatorSpeaks => self.operator_speaks(),
            Event::VerdictSaid { verdict } => self.verdict_said(verdict),
            Event::ReversalsArrive { verdict, parcels } => self.reversals_arrive(verdict, parcels),
            Event::ServerStarts { server } => self.server_starts(server),
            Event::ServerTick { server, boot_id, number } => self.server_tick(server, boot_id, number),
            Event::PartArrives(part) => self.part_arrives(part),
            Event::PartAnswered { server, boot_id, ticket, partition, is_kept } => {
                self.part_answered((server, boot_id, ticket), partition, is_kept);
            }
            Event::WordArrives { word } => self.word_arrives(word),
            Event::OwnerStarts => self.owner_starts(),
            Event::OwnerTick { generation } => self.owner_tick(generation),
            Event::AppendArrives { generation, parcels } => self.append_arrives(generation, parcels),
            Event::AppendAnswered { generation, is_kept } => self.append_answered(generation, is_kept),
            Event::MessageArrives { server, boot_id, body } => self.message_arrives(server, boot_id, body),
            Event::Fault(kind) => self.fault(kind),
            Event::DiskFreed { server } => self.servers[server].disk.set_capacity(None),
            Event::ClockRight { server } => self.servers[server].clock = self.servers[server].clock.right(),
            Event::FaultsStop => self.faults_stop(),
            Event::RecoverySoonDue => self.notes_what_is_there(),
            Event::RecoveryDue => self.check_recovery(),
            Event::LineItemsPause => self.line_items_pause(),
        }
    }

    /// Puts an event into the queue, so many milliseconds from now.
    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.schedule(self.at + ms, event);
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.at), self.queued), event);
    }

    /// Notes an event of the run.
    pub(super) fn note(&mut self, advertiser_id: Option<AdvertiserId>, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.at, advertiser_id, what);
    }

    /// Says that an invariant does not hold. The first one counts.
    pub(super) fn violated(&mut self, invariant: &'static str, advertiser_id: Option<AdvertiserId>, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                invariant,
                what,
                at_ms: self.at,
                step: self.trace.steps(),
                last_events: self.trace.last_of(advertiser_id),
            });
        }
    }

    /// A delay of the net, in milliseconds.
    pub(super) fn net_ms(&mut self) -> u64 {
        u64::from(self.net.between(2, 60))
    }

    pub(super) fn server_tick_ms(&self) -> u64 {
        if self.is_quiet() { QUIET_TICK_MS } else { SERVER_TICK_MS }
    }

    pub(super) fn owner_tick_ms(&self) -> u64 {
        if self.is_quiet() { QUIET_TICK_MS } else { OWNER_TICK_MS }
    }

    const fn is_quiet(&self) -> bool {
        self.at > self.shape.paused_ms() + 40_000
    }

    pub(super) const fn reports_at(number: u64) -> bool {
        number.is_multiple_of(REPORT_EVERY)
    }

    /// Changes entities for everybody: the catalogue's way is not what is tested here.
    pub(super) fn change(&mut self, entities: &[Entity]) {
        self.version += 1;
        for entity in entities {
            self.catalogue.put(entity.clone());
        }
        self.snapshot = self.writer.apply(self.version, entities.to_vec());
        self.tell_owners(entities);
    }

    fn line_items_pause(&mut self) {
        let paused = self.catalogue.line_items().map(|line_item| {
            let mut line_item = line_item.clone();
            line_item.status = Status::Paused;
            Entity::from(line_item)
        });
        let paused: Vec<_> = paused.collect();
        self.change(&paused);
    }
}

/// Most servers of a run.
pub(super) const SERVERS_MAX: u32 = 4;
