//! A server: the real decision and beacon roles, leases, money journal and shipper, over a simulated machine. What a shell does with
//! threads and sockets is done here by the caller's hand, in the same order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::accounting_node::LEASE_MS;
use super::break_steps::{Reserving, Waiting};
use super::clock_model::MachineClock;
use super::listener_model::ListenerWrite;
use super::log_model::{PARTITIONS, Parcel};
use super::sabotage::Sabotage;
use super::traffic;
use crate::accounting::Refusal;
use crate::caps::strict::Hearing;
use crate::catalog::Snapshot;
use crate::decision::{Excluded, LeaseDesk, OfferedLease, Scratch, Seed, Spending, survey};
use crate::event_log::{
    CheckpointFile, KIND_TOPIC_RECORD, Shipment, Shipper, ShipperInput, ShipperSettings, StoredRecord, Topic, partition,
};
use crate::events::{self, Envelope, Event};
use crate::impressions::invalid::{ActivityRules, Sender};
use crate::impressions::listener;
use crate::journal::{
    self, Appended, Drive, Durability, Entry, Identity, Journal, JournalConfig, JournalReader, ReadLimit, SimDisk,
};
use crate::model::{
    AdBreakRequest, BootId, LineItemId, ListenerKey, ListenerState, Micros, Now, ServerId, Tier, WallMs,
};
use crate::roles::accounting::{MessageBody, ServerReport, Wanted};
use crate::roles::beacon::{Accepted, Beacon, BeaconRefusal, BeaconRole, ExposureChangeKind};
use crate::roles::decision::DecisionRole;
use crate::roles::decision::{Standing, Telling};
use crate::tokens::TokenKeys;

/// How long a copy of a listener's state is good, in milliseconds, where there are several servers. The only one keeps listeners in memory.
pub const LISTENER_CACHED_MS: u64 = 30_000;
/// One break in so many is surveyed for the supply that pacing sees.
const SAMPLE_ONE_IN: u64 = 4;
/// Where the journal lies on the simulated disk.
pub const JOURNAL_DIR: &str = "/data/journal/money";
const CHECKPOINT_FILE: &str = "/data/journal/shipped";

/// The server's process died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Died;

/// The server's process does not come up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CantStart(pub String);

/// A server, up or down.
pub struct ServerNode {
    /// Its id.
    pub server_id: ServerId,
    /// Its machine's clocks.
    pub clock: MachineClock,
    /// Its machine's disk.
    pub disk: SimDisk,
    /// Number of its boots so far.
    pub boots: u32,
    /// It does nothing before this moment.
    pub paused_until: u64,
    /// The next death is one of the machine, with what this seed says lost.
    pub dies_with_power: Option<u64>,
    /// Sequence numbers that could not be read any more, and were passed over with an alarm.
    pub passed_over: Vec<(u64, u64)>,
    /// The process, while it is up.
    pub process: Option<Process>,
    index: u32,
    /// What it hears of the ads that it reserves: the only server hears everything.
    hearing: Hearing,
    /// What its journal takes for the time.
    journal_wall: Arc<AtomicI64>,
    /// Leases of the process before, for a sabotage.
    leases_before: Vec<OfferedLease>,
}

/// A running process.
pub struct Process {
    /// Its boot.
    pub boot_id: BootId,
    journal: Journal,
    reader: JournalReader,
    checkpoint: CheckpointFile,
    shipper: Shipper,
    /// Until when all that was received is in the log, and the journal's end then: to be said once the checkpoint is there.
    next_mark: Option<(WallMs, u64)>,
    spending: Arc<Spending>,
    pub(super) decision: DecisionRole,
    hearing: Hearing,
    beacon: BeaconRole,
    pub(super) listeners: BTreeMap<ListenerKey, (ListenerState, u64)>,
    /// Breaks that wait for their reservations: their listeners' turns.
    pub(super) reserving: BTreeMap<ListenerKey, Reserving>,
    /// Requests that wait for their listeners' turns.
    pub(super) waiting: BTreeMap<ListenerKey, VecDeque<Waiting>>,
    /// Places given out in those lines.
    pub(super) tickets: u64,
    desk: LeaseDesk,
    /// Leases that were installed, for a sabotage.
    leases: BTreeMap<LineItemId, OfferedLease>,
    /// What accounting last said of it.
    standing: Option<Result<(), Refusal>>,
    /// It was asked to say all.
    is_asked: bool,
    telling: Telling,
    /// On its way out: it answers nothing any more.
    is_draining: bool,
    eligible: BTreeMap<LineItemId, u64>,
    pub(super) scratch: Scratch,
    pub(super) decisions: u64,
}

impl ServerNode {
    /// A server that has never been up, one of so many.
    #[must_use]
    pub fn new(index: u32, servers: usize) -> Self {
        Self {
            server_id: ServerId::from_u128(0x7000 + u128::from(index)),
            clock: MachineClock::new(0),
            disk: SimDisk::new(),
            boots: 0,
            paused_until: 0,
            dies_with_power: None,
            passed_over: Vec::new(),
            process: None,
            index,
            hearing: if servers == 1 { Hearing::Everything } else { Hearing::Some },
            journal_wall: Arc::new(AtomicI64::new(0)),
            leases_before: Vec::new(),
        }
    }

    /// What its clocks say.
    #[must_use]
    pub fn now(&self, at: u64) -> Now {
        self.clock.now(at)
    }

    /// Starts the process: a new boot, which recovers the journal and resumes shipping from its checkpoint.
    ///
    /// # Errors
    /// [`CantStart`] when the disk does not let it.
    pub fn start(
        &mut self,
        at: u64,
        keys: &TokenKeys,
        snapshot: &Snapshot,
        sabotage: Sabotage,
    ) -> Result<(), CantStart> {
        self.boots += 1;
        self.clock.boot(at);
        let now = self.now(at);
        self.journal_wall.store(now.wall.0, Ordering::Relaxed);
        let boot_id = BootId::from_u128(0x8000_0000 + u128::from(self.index) * 0x1_0000 + u128::from(self.boots));
        let config = JournalConfig {
            segment_bytes: 32 << 10,
            durability: Durability::Synced,
            quota_bytes: 256 << 20,
            rest_after_batch: std::time::Duration::ZERO,
            verify_segments_max: 4,
        };
        let wall = Arc::clone(&self.journal_wall);
        let journal = Journal::open(
            self.disk.shared(),
            JOURNAL_DIR,
            config,
            Identity { server: self.server_id, boot: boot_id },
            Drive::Inline,
            Box::new(move || WallMs(wall.load(Ordering::Relaxed))),
        )
        .map_err(|error| CantStart(whole_story(&error)))?;
        let checkpoint = CheckpointFile::open(&self.disk, Path::new(CHECKPOINT_FILE))
            .map_err(|error| CantStart(whole_story(&error)))?;
        let settings =
            ShipperSettings { records_max: 50, timeout_ms: 3_000, checkpoint_ms: 1_000, ..ShipperSettings::default() };
        let spending = Arc::new(Spending::new());
        let mut process = Process {
            boot_id,
            reader: journal.reader(),
            journal,
            shipper: Shipper::resume(settings, checkpoint.checkpoint(), now.monotonic),
            checkpoint,
            next_mark: None,
            decision: DecisionRole::new(Arc::clone(&spending), keys.clone(), self.server_id, boot_id)
                .hearing(self.hearing),
            hearing: self.hearing,
            spending,
            beacon: BeaconRole::new(
                keys.clone(),
                self.server_id,
                boot_id,
                Arc::new(traffic::lists()),
                ActivityRules::new(traffic::LIMITS),
            ),
            listeners: BTreeMap::new(),
            reserving: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            desk: LeaseDesk::new(self.server_id, boot_id),
            leases: BTreeMap::new(),
            standing: None,
            is_asked: false,
            telling: Telling::default(),
            is_draining: false,
            eligible: BTreeMap::new(),
            scratch: Scratch::new(),
            decisions: 0,
        };
        if sabotage == Sabotage::LeaseOfEarlierBoot {
            for mut offered in std::mem::take(&mut self.leases_before) {
                // The bug: the time to draw is counted from this boot on.
                offered.terms.draw_until = now.monotonic.plus_ms(LEASE_MS);
                process.install(snapshot, offered, now);
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// The process ends at once. What was written is on the disk still.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.leases_before = process.leases.into_values().collect();
        }
        self.disk.kill();
    }

    /// The machine loses power: what was not synced is lost in part.
    pub fn lose_power(&mut self, seed: u64) {
        self.kill();
        self.disk.crash(seed);
    }

    /// Events of this server's own, as records.
    #[must_use]
    pub fn envelopes(&self, at: u64, events: Vec<Event>, sabotage: Sabotage) -> Vec<Envelope> {
        let (wall, server_id) = (self.now(at).wall, self.server_id);
        let Some(boot_id) = self.process.as_ref().map(|process| process.boot_id) else { return Vec::new() };
        let envelope = |mut body: Event| {
            if sabotage == Sabotage::ReturnOfDrawnPart
                && let Event::LeaseReturned(returned) = &mut body
            {
                (returned.drawn, returned.drawn_count) = (Micros::ZERO, 0);
            }
            let event_id = body.id();
            Envelope { event_id, occurred_at: wall, received_at: wall, server_id, boot_id, trace_id: None, body }
        };
        events.into_iter().map(envelope).collect()
    }

    /// Puts records into the money journal, synced.
    ///
    /// # Errors
    /// [`Died`]: a journal that can't write or sync ends the process (it must not go on acknowledging).
    pub fn append(&mut self, at: u64, envelopes: &[Envelope]) -> Result<Option<Appended>, Died> {
        self.journal_wall.store(self.now(at).wall.0, Ordering::Relaxed);
        let process = self.process.as_mut().ok_or(Died)?;
        let entries: Vec<Entry> = envelopes.iter().map(entry).collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let Ok(appended) = process.journal.append_blocking(entries) else {
            self.kill();
            return Err(Died);
        };
        Ok(Some(appended))
    }

    /// The next shipments and their records.
    ///
    /// # Errors
    /// [`Died`] when the checkpoint can't be kept.
    pub fn ship(&mut self, at: u64, sabotage: Sabotage) -> Result<Vec<(Shipment, Vec<Parcel>)>, Died> {
        let monotonic = self.now(at).monotonic;
        let process = self.process.as_mut().ok_or(Died)?;
        let effects = process.shipper.step(ShipperInput::Tail(process.journal.durable_end()), monotonic);
        let mut sent = Vec::new();
        for shipment in effects.send {
            sent.push((shipment, process.read(shipment, &mut self.passed_over)));
        }
        let early =
            sent.last().map(|(shipment, _)| shipment.until).filter(|_| sabotage == Sabotage::CheckpointBeforeAck);
        self.keep(early.or(effects.checkpoint))?;
        Ok(sent)
    }

    /// The log has answered.
    ///
    /// # Errors
    /// [`Died`] when the checkpoint can't be kept.
    pub fn shipped(&mut self, at: u64, input: ShipperInput) -> Result<(), Died> {
        let monotonic = self.now(at).monotonic;
        let process = self.process.as_mut().ok_or(Died)?;
        let checkpoint = process.shipper.step(input, monotonic).checkpoint;
        self.keep(checkpoint)
    }

    fn keep(&mut self, checkpoint: Option<u64>) -> Result<(), Died> {
        let (Some(checkpoint), Some(process)) = (checkpoint, self.process.as_mut()) else { return Ok(()) };
        if process.checkpoint.keep(checkpoint).is_err() {
            self.kill();
            return Err(Died);
        }
        Ok(())
    }

    /// Flips a bit somewhere in a finished segment, whether it is shipped or not: what the shipper can't read any more it passes over, with an
    /// alarm. False when there is none. The newest segment is still written to: damage in its last batch is a torn write by right.
    pub fn flip_bit(&mut self, random: u64) -> bool {
        if self.process.is_none() {
            return false;
        }
        let Ok(mut reader) = journal::read_dir(self.disk.shared(), JOURNAL_DIR) else { return false };
        let mut segments = BTreeSet::new();
        while reader.next().is_some() {
            segments.extend(reader.segment_number());
        }
        segments.pop_last();
        let finished: Vec<u64> = segments.into_iter().collect();
        let Some(last) = finished.len().checked_sub(1) else { return false };
        // Every other time in the newest of them, which may not be shipped yet.
        let place =
            if random & (1 << 50) == 0 { last } else { usize::try_from(random >> 51).unwrap_or(0) % (last + 1) };
        let path = Path::new(JOURNAL_DIR).join(format!("{:010}.seg", finished[place]));
        let length = self.disk.read_file(&path).map_or(0, |bytes| bytes.len() as u64).max(1);
        self.disk.flip_bit(&path, random % length, 3).is_ok()
    }
}

impl Process {
    /// Whether all that the journal holds is in the log.
    #[must_use]
    pub fn is_shipped(&self) -> bool {
        self.shipper.shipped() == self.journal.durable_end()
    }

    /// Until when all that was received is in the log and will not be sent again, if that is now known of another moment: what the kept
    /// checkpoint has behind it. Between it and what is shipped, a crash sends everything again, however much later.
    pub fn complete_until(&mut self, until: WallMs) -> Option<WallMs> {
        if self.next_mark.is_none() && self.is_shipped() {
            self.next_mark = Some((until, self.journal.durable_end()));
        }
        let (until, _) = self.next_mark.take_if(|(_, end)| *end <= self.checkpoint.checkpoint())?;
        Some(until)
    }

    /// Sequence number after the last durable record.
    #[must_use]
    pub fn durable_end(&self) -> u64 {
        self.journal.durable_end()
    }

    /// All before this sequence number is in the log, as far as this process knows.
    #[must_use]
    pub const fn shipped_end(&self) -> u64 {
        self.shipper.shipped()
    }

    /// The money records of a shipment. Damaged ones are passed over and named: what is lost can't be billed, what comes after can.
    fn read(&self, shipment: Shipment, passed_over: &mut Vec<(u64, u64)>) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let mut from = shipment.from;
        while from < shipment.until {
            let limit = ReadLimit { scan_bytes: 1 << 20 };
            let read = self.reader.read(from, limit, |view| {
                if view.seq >= shipment.until {
                    return ControlFlow::Break(());
                }
                let stored = StoredRecord::decode(view.kind, view.payload).expect("only records of topics are written");
                if stored.topic == Topic::Events {
                    parcels.push(Parcel::of_journal(&stored));
                }
                ControlFlow::Continue(())
            });
            from = match read {
                Ok(next) if next >= shipment.until => break,
                Ok(next) => next,
                Err(journal::ReadError::Damaged { damage, resume_at }) => {
                    passed_over.push((damage.seq, resume_at));
                    resume_at
                }
                Err(_) => break,
            };
        }
        parcels
    }

    /// The listener's state as this process has it, if its copy is still good.
    #[must_use]
    pub fn cached(&self, key: ListenerKey, at: u64) -> Option<ListenerState> {
        // Whose break is being answered stays in memory until it is.
        let is_kept = self.hearing == Hearing::Everything || self.reserving.contains_key(&key);
        let copy = self.listeners.get(&key).filter(|(_, since)| is_kept || at - since < LISTENER_CACHED_MS);
        copy.map(|(state, _)| state.clone())
    }

    /// What it hears of the ads that it reserves.
    #[must_use]
    pub const fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// Keeps a copy of what was read.
    pub fn cache(&mut self, key: ListenerKey, state: ListenerState, at: u64) {
        self.listeners.insert(key, (state, at));
    }

    pub(super) fn sample(
        &mut self,
        request: &Arc<AdBreakRequest>,
        state: &ListenerState,
        snapshot: &Snapshot,
        now: Now,
    ) {
        if !self.decisions.is_multiple_of(SAMPLE_ONE_IN) {
            return;
        }
        let resolved = snapshot.resolve(request, now);
        let none = Excluded::none();
        let seed = Seed::of(request);
        let decision = survey(snapshot, &resolved, state, &self.spending, &none, now, seed, &mut self.scratch);
        for read in decision.spend_reads.iter().filter(|read| read.tier != Tier::House) {
            *self.eligible.entry(read.line_item_id).or_default() += SAMPLE_ONE_IN;
        }
    }

    /// What a beacon becomes.
    ///
    /// # Errors
    /// [`BeaconRefusal`] for what is no beacon.
    pub fn hear(&self, event: &str, token: &str, sender: Sender<'_>, now: Now) -> Result<Accepted, BeaconRefusal> {
        self.beacon.step(Beacon { event, token, played_ms: None, occurred_at: None, sender, trace_id: None }, now)
    }

    /// What a beacon means for the listener, applied to the state given.
    #[must_use]
    pub fn heard(&mut self, accepted: &Accepted, before: &ListenerState) -> Option<(ListenerKey, ListenerWrite)> {
        let change = accepted.exposure?;
        let mut after = before.clone();
        match change.kind {
            ExposureChangeKind::Heard => {
                listener::confirm(&mut after, change.exposure);
            }
            ExposureChangeKind::Dropped => {
                listener::release(&mut after, change.exposure.impression_id);
            }
        }
        if let Some((state, _)) = self.listeners.get_mut(&change.listener_key) {
            state.clone_from(&after);
        }
        Some((change.listener_key, ListenerWrite::between(before, &after)))
    }

    /// A message of accounting. Returns what is given back for it.
    pub fn told(&mut self, snapshot: &Snapshot, body: MessageBody, now: Now, sabotage: Sabotage) -> Option<Event> {
        match body {
            MessageBody::Lease(offered) => {
                if sabotage == Sabotage::LeaseInstalledTwice
                    && let Some(slot) = snapshot.slot(offered.owner.line_item_id)
                {
                    self.spending.install_lease(slot, offered.terms);
                }
                self.install(snapshot, offered, now)
            }
            MessageBody::Throttle { line_item_id, throttle } => {
                if let Some(slot) = snapshot.slot(line_item_id) {
                    self.spending.set_throttle(slot, throttle);
                }
                None
            }
            MessageBody::Standing(standing) => {
                self.standing = Some(standing);
                None
            }
            MessageBody::TellAll => {
                self.is_asked = true;
                None
            }
        }
    }

    fn install(&mut self, snapshot: &Snapshot, offered: OfferedLease, now: Now) -> Option<Event> {
        let slot = snapshot.slot(offered.owner.line_item_id);
        self.leases.insert(offered.owner.line_item_id, offered);
        self.desk.install(&self.spending, slot, offered, now)
    }

    /// Leases that are over or idle, given back.
    pub fn sweep(&mut self, snapshot: &Snapshot, now: Now) -> Vec<Event> {
        self.desk.sweep(&self.spending, now, |slot| snapshot.get(slot).is_some())
    }

    /// All leases, given back: it is on its way out.
    pub fn drain(&mut self, now: Now) -> Vec<Event> {
        self.is_draining = true;
        self.desk.close(&self.spending, now)
    }

    /// Whether it is on its way out.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether accounting gives it leases, as far as it was told.
    #[must_use]
    pub const fn stands(&self) -> bool {
        matches!(self.standing, Some(Ok(())))
    }

    /// What is to be said of what was drawn so far.
    pub fn report(&mut self, server_id: ServerId, snapshot: &Snapshot, now: Now) -> ServerReport {
        let wanted = if std::mem::take(&mut self.is_asked) { Wanted::All } else { Wanted::Changes };
        let all = snapshot.lines().filter(|entry| entry.line_item.tier != Tier::House).map(|entry| Standing {
            slot: entry.slot,
            drawn_count: self.spending.totals(entry.slot).count,
            eligible: self.eligible.get(&entry.line_item.id).copied().unwrap_or(0),
        });
        let line =
            |standing: Standing| standing.to_line(snapshot.line(standing.slot).line_item.id, &self.spending, now);
        let (extent, lines) = self.telling.tell(wanted, all, line).expect("something is wanted");
        // How long it is on its way is known to whoever carries it.
        ServerReport { server_id, boot_id: self.boot_id, at: now, transit_ms: 0, extent, lines }
    }
}

/// What the error says, and what is behind it.
fn whole_story(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn entry(envelope: &Envelope) -> Entry {
    let key = envelope.body.key();
    let payload = events::encode(envelope);
    let stored =
        StoredRecord { topic: Topic::Events, partition: partition(&key, PARTITIONS), key: &key, payload: &payload };
    Entry { kind: KIND_TOPIC_RECORD, payload: stored.encode() }
}
