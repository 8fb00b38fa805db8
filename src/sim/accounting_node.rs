//! Accounting: the real machine, driven as its shell drives it: append, wait until that is durable, commit, then tell the servers. At
//! most one owner is of the present generation; one that was paused does not know that it no longer is.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock_model::MachineClock;
use super::faults::FaultKind;
use super::log_model::Parcel;
use super::sabotage::Sabotage;
use super::world::{Event, World};
use crate::accounting::{CLOCK_TOLERANCE_MS, Commit, Outcome};
use crate::catalog::Entity;
use crate::decision::{LeaseOwner, LeaseTerms, OfferedLease};
use crate::events::{Envelope, Event as Happening};
use crate::model::{BootId, Budget, ServerId, Zone};
use crate::roles::accounting::{AccountingMachine, Batch, Input, MachineSettings, Message, MessageBody, RoleEffects};

/// Need that a lease covers, and its time to draw, in milliseconds.
pub(super) const LEASE_MS: u64 = 30_000;
/// Longest time from a record's stamp to its place in its server's journal, in milliseconds.
pub(super) const SETTLE_MARGIN_MS: i64 = 10_000;
/// Time between two commits, in milliseconds.
const COMMIT_MS: u64 = 500;
/// Time between two reports of a server, in milliseconds.
const REPORT_MS: u64 = 1_000;
/// The longest way of a message through the net, in milliseconds.
const NET_MS_MAX: u64 = 100;
/// Most records of one read.
const READ_MAX: usize = 500;
/// Reports that may wait.
const INBOX_MAX: usize = 256;

/// An owner of all partitions.
#[derive(Debug)]
pub struct Owner {
    machine: AccountingMachine,
    clock: MachineClock,
    paused_until: u64,
    /// What is to be done once an append is durable.
    waiting: Option<(Option<Commit>, Vec<Message>)>,
    /// What was said to it, and when that came.
    inbox: VecDeque<(u64, Input)>,
}

impl World {
    /// A new owner begins, from what the one before has committed.
    pub(super) fn owner_starts(&mut self) {
        if self.is_owned() {
            return;
        }
        let generation = self.log.begin_generation();
        self.ledger.begin(generation);
        let clock = MachineClock::new(self.at);
        let settings = MachineSettings {
            server_id: ServerId::from_u128(0x7700),
            boot_id: BootId::from_u128(0x9000_0000 + u128::from(generation)),
            partition: 0,
            namer: BootId::from_u128(0x9000_0000 + u128::from(generation)).to_bytes(),
            lease_ms: LEASE_MS,
            commit_interval_ms: COMMIT_MS,
            report_ms: REPORT_MS,
            clock_tolerance_ms: CLOCK_TOLERANCE_MS,
            states_delivery: false,
        };
        let machine = AccountingMachine::new(settings, self.ledger.load(self.sabotage), clock.now(self.at));
        let mut inbox = VecDeque::new();
        inbox.push_back((self.at, Input::CatalogChanged(self.as_accounting_sees(&self.catalogue.entities))));
        let owner = Owner { machine, clock, paused_until: 0, waiting: None, inbox };
        self.owners.insert(generation, owner);
        self.note(None, format_args!("owner {generation} begins"));
        self.after(1, Event::OwnerTick { generation });
    }

    /// Whether the present owner is alive and working.
    fn is_owned(&self) -> bool {
        self.owners.get(&self.log.generation()).is_some_and(|owner| owner.paused_until <= self.at)
    }

    /// What accounting is told of the catalogue.
    fn as_accounting_sees(&self, entities: &[Entity]) -> Vec<Entity> {
        let mut entities = entities.to_vec();
        for entity in &mut entities {
            match (self.sabotage, entity) {
                (Sabotage::CampaignNotChecked, Entity::Campaign(campaign)) => {
                    Arc::make_mut(campaign).budget = Budget::default();
                }
                (Sabotage::DayOfUtc, Entity::Advertiser(advertiser)) => Arc::make_mut(advertiser).zone = Zone::utc(),
                (Sabotage::DayOfUtc, Entity::LineItem(line_item)) => {
                    Arc::make_mut(line_item).flight.zone = Zone::utc();
                }
                _ => {}
            }
        }
        entities
    }

    pub(super) fn tell_owners(&mut self, entities: &[Entity]) {
        let entities = self.as_accounting_sees(entities);
        for owner in self.owners.values_mut() {
            owner.inbox.push_back((self.at, Input::CatalogChanged(entities.clone())));
        }
    }

    /// What a server said comes to the newest owner, if there is one.
    pub(super) fn word_arrives(&mut self, word: Input) {
        let at = self.at;
        if let Some(mut owner) = self.owners.last_entry()
            && owner.get().inbox.len() < INBOX_MAX
        {
            owner.get_mut().inbox.push_back((at, word));
        }
    }

    /// The newest owner dies; another begins a little later.
    pub(super) fn owner_dies(&mut self, why: &str) -> bool {
        let Some((generation, _)) = self.owners.pop_last() else { return false };
        self.note(None, format_args!("owner {generation} dies: {why}"));
        let wait = u64::from(self.net.between(1_000, 5_000));
        self.after(wait, Event::OwnerStarts);
        true
    }

    /// The newest owner stops for so long that another takes over, and then goes on.
    pub(super) fn owner_pauses(&mut self, for_ms: u64) -> bool {
        let until = self.at + for_ms;
        let Some(mut owner) = self.owners.last_entry() else { return false };
        owner.get_mut().paused_until = until;
        let wait = u64::from(self.net.between(2_000, 5_000));
        self.after(wait, Event::OwnerStarts);
        // What is said from now on is said to the next one.
        true
    }

    pub(super) fn owner_tick(&mut self, generation: u64) {
        let Some(owner) = self.owners.get(&generation) else { return };
        let next = self.owner_tick_ms();
        if owner.paused_until > self.at {
            let until = owner.paused_until;
            self.schedule(until, Event::OwnerTick { generation });
            return;
        }
        self.after(next, Event::OwnerTick { generation });
        for _ in 0..INBOX_MAX {
            let Some(owner) = self.owners.get_mut(&generation).filter(|owner| owner.waiting.is_none()) else { return };
            let Some((came_at, mut input)) = owner.inbox.pop_front() else { break };
            if let Input::ServerReport(report) = &mut input {
                report.transit_ms = self.at - came_at + NET_MS_MAX;
            }
            self.owner_step(generation, input);
        }
        if self.owners.get(&generation).is_none_or(|owner| owner.waiting.is_some()) {
            return;
        }
        let Some(owner) = self.owners.get(&generation) else { return };
        let end = self.log.end();
        let (records, next) = self.log.read(owner.machine.cursor(), READ_MAX);
        self.owner_step(generation, Input::Records(Batch { records, next, end }));
    }

    fn owner_step(&mut self, generation: u64, input: Input) {
        let Some(owner) = self.owners.get_mut(&generation) else { return };
        let now = owner.clock.now(self.at);
        let effects = owner.machine.step(input, now);
        self.trace_outcomes(&effects);
        self.check_owner(generation);
        self.carry_out(generation, effects);
    }

    fn trace_outcomes(&mut self, effects: &RoleEffects) {
        for outcome in &effects.outcomes {
            match outcome {
                Outcome::Granted(_) | Outcome::Closed(_) | Outcome::Settled { .. } | Outcome::Unbilled(_) => {
                    self.note(None, format_args!("accounting: {outcome:?}"));
                }
                _ => {}
            }
        }
    }

    /// Append, commit, tell: in this order, each only after the one before.
    fn carry_out(&mut self, generation: u64, effects: RoleEffects) {
        let RoleEffects { append, commit, messages, .. } = effects;
        if append.is_empty() {
            self.finish(generation, commit, messages);
            return;
        }
        if self.sabotage == Sabotage::GrantBeforeDurable {
            self.tell_early(&append);
        }
        for envelope in &append {
            self.note_appended(envelope);
        }
        let parcels = append.iter().map(Parcel::of).collect();
        if let Some(owner) = self.owners.get_mut(&generation) {
            owner.waiting = Some((commit, messages));
        }
        let mut delay = self.net_ms();
        if self.faults.strikes(FaultKind::LogSlow) {
            delay += u64::from(self.faults.draws(FaultKind::LogSlow).between(200, 8_000));
        }
        self.after(delay, Event::AppendArrives { generation, parcels });
    }

    fn note_appended(&mut self, envelope: &Envelope) {
        match &envelope.body {
            Happening::LeaseGranted(granted) => {
                let what =
                    format_args!("grants {} of {:?} to {}", granted.lease_id, granted.amount, granted.line_item_id);
                self.trace.note(self.at, Some(granted.advertiser_id), what);
            }
            Happening::LeaseClosed(closed) => {
                let what = format_args!("closes {}: {:?} settled", closed.lease_id, closed.settled);
                self.trace.note(self.at, Some(closed.advertiser_id), what);
            }
            _ => {}
        }
    }

    pub(super) fn append_arrives(&mut self, generation: u64, parcels: Vec<Parcel>) {
        let stalled = parcels.iter().map(|parcel| self.stalled_until[parcel.partition as usize]).max().unwrap_or(0);
        if stalled > self.at {
            self.schedule(stalled, Event::AppendArrives { generation, parcels });
            return;
        }
        let mut is_kept = !self.faults.strikes(FaultKind::LogRefuses);
        if is_kept {
            let before = self.log.end();
            let fence = if self.sabotage == Sabotage::GrantWithoutFence { self.log.generation() } else { generation };
            is_kept = self.log.append_fenced(fence, &parcels).is_ok();
            self.trace.hash(&self.log.end().to_be_bytes());
            self.note_grants(before);
        }
        let lost = self.faults.strikes(FaultKind::LogAnswerLost);
        let delay = self.net_ms() + if lost { 3_000 } else { 0 };
        self.after(delay, Event::AppendAnswered { generation, is_kept: is_kept && !lost });
    }

    /// Grants that are durable now.
    fn note_grants(&mut self, before: u64) {
        let from = usize::try_from(before).expect("a run's log fits in memory");
        for kept in &self.log.kept()[from..] {
            if let Happening::LeaseGranted(granted) = &kept.envelope.body {
                self.board.granted.insert(granted.lease_id, granted.boot_id);
            }
        }
    }

    pub(super) fn append_answered(&mut self, generation: u64, is_kept: bool) {
        let Some(owner) = self.owners.get_mut(&generation) else { return };
        if owner.paused_until > self.at {
            let until = owner.paused_until;
            self.schedule(until, Event::AppendAnswered { generation, is_kept });
            return;
        }
        let Some((commit, messages)) = owner.waiting.take() else { return };
        if is_kept {
            self.finish(generation, commit, messages);
        } else {
            // Refused, fenced, or nobody knows: it stops, and whoever begins next reads what is there.
            self.owner_fails(generation, "can't append");
        }
    }

    fn owner_fails(&mut self, generation: u64, why: &str) {
        let was_newest = self.owners.last_key_value().is_some_and(|(newest, _)| *newest == generation);
        if was_newest && generation == self.log.generation() {
            self.owner_dies(why);
        } else {
            self.owners.remove(&generation);
            self.note(None, format_args!("owner {generation}, of the past, ends: {why}"));
        }
    }

    fn finish(&mut self, generation: u64, commit: Option<Commit>, messages: Vec<Message>) {
        if let Some(commit) = commit
            && !self.commits(generation, &commit)
        {
            self.owner_fails(generation, "can't commit");
            return;
        }
        for message in messages {
            self.tell(message);
        }
    }

    /// Commits. False when that failed or nobody knows.
    fn commits(&mut self, generation: u64, commit: &Commit) -> bool {
        let sabotage = self.sabotage;
        let owner = if sabotage == Sabotage::GrantWithoutFence { self.log.generation() } else { generation };
        let lost = self.faults.strikes(FaultKind::CommitLost);
        let lost_applied = !lost && self.faults.strikes(FaultKind::CommitLostApplied);
        if lost {
            return false;
        }
        let applied = self.ledger.commit(owner, commit, sabotage).is_ok();
        if applied && sabotage == Sabotage::CursorBeforeEntries && !lost_applied {
            self.ledger.commit_entries_only(commit);
        }
        self.trace.hash(&commit.cursor.to_be_bytes());
        applied && !lost_applied
    }

    /// Messages to one server arrive in order, if late: they are read from a topic.
    fn tell(&mut self, message: Message) {
        let Message { server_id, boot_id, body } = message;
        let Some(server) = self.servers.iter().position(|server| server.server_id == server_id) else { return };
        let mut delay = 10;
        if self.faults.strikes(FaultKind::MessagesSlow) {
            delay += u64::from(self.faults.draws(FaultKind::MessagesSlow).between(100, 5_000));
        }
        let arrives_at = self.told_until[server].max(self.at + delay);
        self.told_until[server] = arrives_at;
        self.schedule(arrives_at, Event::MessageArrives { server, boot_id, body });
        if self.faults.strikes(FaultKind::MessagesDoubled) {
            let later = u64::from(self.faults.draws(FaultKind::MessagesDoubled).between(1, 10_000));
            self.schedule(arrives_at + later, Event::MessageArrives { server, boot_id, body });
        }
    }

    /// The sabotage of telling a server before the grant is durable.
    fn tell_early(&mut self, append: &[Envelope]) {
        for envelope in append {
            let Happening::LeaseGranted(granted) = &envelope.body else { continue };
            let Some(to) = self.servers.iter().find(|server| server.server_id == granted.server_id) else { continue };
            let owner = LeaseOwner {
                network_id: granted.network_id,
                advertiser_id: granted.advertiser_id,
                campaign_id: granted.campaign_id,
                line_item_id: granted.line_item_id,
            };
            let terms = LeaseTerms {
                lease_id: granted.lease_id,
                amount: granted.amount,
                max_ordinals: granted.max_ordinals,
                draw_until: to.now(self.at).monotonic.plus_ms(LEASE_MS),
                last_billable_until: granted.last_billable_until,
            };
            let body = MessageBody::Lease(OfferedLease { owner, terms });
            self.tell(Message { server_id: granted.server_id, boot_id: granted.boot_id, body });
        }
    }

    /// The machine of the newest owner.
    pub(super) fn machine(&self) -> Option<&AccountingMachine> {
        self.owners.last_key_value().map(|(_, owner)| &owner.machine)
    }

    pub(super) fn machine_of(&self, generation: u64) -> Option<&AccountingMachine> {
        self.owners.get(&generation).map(|owner| &owner.machine)
    }
}
