//! A break on its way through a server: the listener's turn, the decision, what must be reserved first, the answer. What the decision shell does
//! with waits is done here in virtual time, so that other servers' breaks, beacons and deaths come in between.

use std::sync::Arc;

use super::board::StrictCounts;
use super::break_steps::{AnswerMade, Asked, Made, ReserveMade};
use super::faults::FaultKind;
use super::listener_model::ListenerWrite;
use super::sabotage::Sabotage;
use super::server_node::Process;
use super::traffic::Who;
use super::world::{Event, StrictWrite, World};
use crate::caps::strict::Outcome;
use crate::model::{BootId, ExposureState, ListenerKey, ListenerState, StrictRow, StrictVersion};
use crate::tokens::Claims;

/// Longest that all conditional writes of one break may take together, in milliseconds: as in the decision shell.
const RESERVE_DEADLINE_MS: u64 = 250;
/// Longest wait for a listener's turn, in milliseconds: as in the decision shell.
const TURN_DEADLINE_MS: u64 = 500;

impl World {
    /// A request is at a server: it is answered, or waits until another device's break is.
    pub(super) fn break_arrives(&mut self, player: usize, number: u32, server: usize) {
        let key = self.players[player].key();
        let Some(process) = self.servers[server].process.as_mut() else { return };
        let boot_id = process.boot_id;
        if let Some(ticket) = process.waits_for_turn(key, (player, number)) {
            self.after(TURN_DEADLINE_MS, Event::TurnMissed { server, boot_id, key, ticket });
            return;
        }
        self.takes_turn(player, number, server);
    }

    /// The turn did not come in time: the break is decided as for somebody unknown.
    pub(super) fn turn_missed(&mut self, server: usize, boot_id: BootId, key: ListenerKey, ticket: u64) {
        if self.servers[server].paused_until > self.at {
            let until = self.servers[server].paused_until;
            self.schedule(until, Event::TurnMissed { server, boot_id, key, ticket });
            return;
        }
        let missed = self.process(server, boot_id).and_then(|process| process.misses_turn(key, ticket));
        if let Some((player, number)) = missed {
            self.board.excuse(player, self.at);
            self.decides(player, number, server, None);
        }
    }

    fn takes_turn(&mut self, player: usize, number: u32, server: usize) {
        let known = self.known(player, server, self.players[player].key());
        self.decides(player, number, server, known);
    }

    fn decides(&mut self, player: usize, number: u32, server: usize, known: Option<ListenerState>) {
        let (at, sabotage) = (self.at, self.sabotage);
        let node = &mut self.servers[server];
        let asked = Asked {
            player,
            number,
            request: Arc::new(self.players[player].request(number)),
            snapshot: std::sync::Arc::clone(&self.snapshot),
            now: node.now(at),
            at,
            by_right_clock: node.clock.is_right(),
            paid: self.players[player].who != Who::Robot,
        };
        let Some(process) = node.process.as_mut() else { return };
        self.board.may_end(&asked, process.hearing());
        let made = process.decide(asked, known, sabotage);
        self.goes_on(server, made);
    }

    fn goes_on(&mut self, server: usize, made: Made) {
        match made {
            Made::Answer(made) => self.answers(server, *made),
            Made::Reserve(made) => self.reserves(server, *made),
        }
    }

    /// Answers a break, unless the server dies over it.
    fn answers(&mut self, server: usize, made: AnswerMade) {
        let AnswerMade { asked, bytes, answered, is_known, write } = made;
        let (at, player, number, key) = (self.at, asked.player, asked.number, asked.request.listener_key);
        // A break that is not due is no answer to repeat: it may be due when it is asked again.
        let was_due = answered.as_ref().is_none_or(|answered| answered.answered.no_break.is_none());
        if let Some(answered) = &answered {
            if self.servers[server].append(at, &answered.voids).is_err() {
                self.server_died(server, "can't journal what was given up");
                return;
            }
            let claims: Vec<Claims> =
                answered.answered.ads.iter().map(|ad| self.keys.open(&ad.token).expect("sealed in this run")).collect();
            self.answered(&asked, server, &claims);
        }
        if let Some(write) = write {
            self.writes(player, key, &write);
        }
        let Some(boot_id) = self.servers[server].process.as_ref().map(|process| process.boot_id) else { return };
        // A break of somebody unknown is nowhere kept, so its repeat is decided anew; one that another device's break gave up, too.
        if is_known && was_due {
            let place = (player, number, server, boot_id);
            let (since, before) = self.board.answers.entry(place).or_insert_with(|| (at, bytes.clone())).clone();
            let is_excused =
                self.board.is_excused_since(player, since) || self.board.is_shared_since(key, player, since);
            if before != bytes && !is_excused {
                let what = format!("player {player} asks twice and gets two answers from server {server}");
                self.violated("INV-16", None, what);
            }
        }
        if self.faults.strikes(FaultKind::AnswerLost) {
            return;
        }
        let delay = self.net_ms();
        self.after(delay, Event::AnswerArrives { player, number, bytes });
    }

    /// Sends a conditional write, and waits for it in what is left of the break's time.
    fn reserves(&mut self, server: usize, made: ReserveMade) {
        let ReserveMade { player, decided_at, reservation, version, write } = made;
        let key = self.players[player].key();
        self.writes(player, key, &write);
        let Some(boot_id) = self.servers[server].process.as_ref().map(|process| process.boot_id) else { return };
        let until = decided_at + RESERVE_DEADLINE_MS;
        self.schedule(until, Event::StrictAnswered { server, boot_id, key, version, outcome: Outcome::Unsure });
        let sent = StrictWrite { server, boot_id, key, version, reservation, is_answered: true };
        let unanswered = StrictWrite { is_answered: false, ..sent.clone() };
        let delay = self.net_ms();
        if self.faults.strikes(FaultKind::ListenerWriteLost) {
            if self.faults.draws(FaultKind::ListenerWriteLost).chance(0.5) {
                self.after(delay, Event::StrictWriteArrives(unanswered));
            }
            return;
        }
        if self.faults.strikes(FaultKind::StrictWriteLate) {
            let draws = self.faults.draws(FaultKind::StrictWriteLate);
            let (is_copy, late) = (draws.chance(0.5), u64::from(draws.between(1, 20_000)));
            self.after(RESERVE_DEADLINE_MS + late, Event::StrictWriteArrives(unanswered));
            if !is_copy {
                return;
            }
        }
        self.after(delay, Event::StrictWriteArrives(sent));
    }

    /// The store has a conditional write, whatever became of who sent it.
    pub(super) fn strict_write_arrives(&mut self, write: &StrictWrite) {
        let StrictWrite { server, boot_id, key, version, reservation, is_answered } = write;
        let mut outcome = self.listeners.write_if(*key, reservation);
        if self.sabotage == Sabotage::StrictWriteUnconditional {
            self.listeners.write_unasked(*key, reservation);
            outcome = Outcome::Accepted;
        }
        for one in &reservation.added {
            let word = if outcome == Outcome::Accepted { "is reserved" } else { "conflicts" };
            let what = format_args!("{} of server {server} {word}", one.exposure.impression_id);
            self.trace.note(self.at, Some(one.exposure.advertiser_id), what);
        }
        if !is_answered || self.process(*server, *boot_id).is_none() {
            return;
        }
        if outcome == Outcome::Accepted && self.faults.strikes(FaultKind::StrictServerDies) {
            self.server_died(*server, "after a reservation");
            return;
        }
        if let Outcome::Conflict(row) = &mut outcome {
            self.reads_strict(row);
        }
        let delay = self.net_ms();
        let (server, boot_id, key, version) = (*server, *boot_id, *key, *version);
        self.after(delay, Event::StrictAnswered { server, boot_id, key, version, outcome });
    }

    /// A server knows what became of its conditional write, or has waited long enough.
    pub(super) fn strict_answered(
        &mut self,
        (server, boot_id): (usize, BootId),
        key: ListenerKey,
        version: StrictVersion,
        outcome: Outcome,
    ) {
        if self.servers[server].paused_until > self.at {
            let until = self.servers[server].paused_until;
            self.schedule(until, Event::StrictAnswered { server, boot_id, key, version, outcome });
            return;
        }
        let Some(process) = self.process(server, boot_id) else { return };
        let counted = match &outcome {
            Outcome::Accepted => StrictCounts { accepted: 1, ..StrictCounts::default() },
            Outcome::Conflict(_) => StrictCounts { conflicts: 1, ..StrictCounts::default() },
            Outcome::Unsure => StrictCounts { unsure: 1, ..StrictCounts::default() },
        };
        let Some(made) = process.resume(key, version, outcome) else { return };
        self.board.strict.add(counted);
        self.goes_on(server, made);
        while let Some((player, number)) = self.process(server, boot_id).and_then(|process| process.next_turn(key)) {
            self.takes_turn(player, number, server);
        }
    }

    /// The server's process, if it is that boot's.
    fn process(&mut self, server: usize, boot_id: BootId) -> Option<&mut Process> {
        self.servers[server].process.as_mut().filter(|process| process.boot_id == boot_id)
    }

    /// The listener's state as the server can have it.
    pub(super) fn known(&mut self, player: usize, server: usize, key: ListenerKey) -> Option<ListenerState> {
        let at = self.at;
        let cached = self.servers[server].process.as_ref().and_then(|process| process.cached(key, at));
        if cached.is_some() {
            return cached;
        }
        if self.faults.strikes(FaultKind::ListenerReadLost) {
            self.board.excuse(player, at);
            return None;
        }
        let stale = self.faults.strikes(FaultKind::StaleRead);
        let mut state = if stale { self.listeners.read_stale(key) } else { self.listeners.read(key) };
        if stale {
            self.board.excuse(player, at);
        }
        self.reads_strict(&mut state.strict);
        if let Some(process) = self.servers[server].process.as_mut() {
            process.cache(key, state.clone(), at);
        }
        Some(state)
    }

    /// A strict row is read: all of it, but for a sabotage.
    fn reads_strict(&self, row: &mut StrictRow) {
        if self.sabotage == Sabotage::StrictReadIgnoresReservations {
            row.exposures.retain(|one| one.exposure.state == ExposureState::Heard);
        }
    }

    /// Writes what changed of a listener, but for their strict row. Nobody waits for it.
    pub(super) fn writes(&mut self, player: usize, key: ListenerKey, write: &ListenerWrite) {
        let lost = self.faults.strikes(FaultKind::ListenerWriteLost);
        if !lost || self.faults.draws(FaultKind::ListenerWriteLost).chance(0.5) {
            self.listeners.write(key, write);
        }
        if lost {
            self.board.excuse(player, self.at);
        }
    }
}
