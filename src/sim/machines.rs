//! What happens at the servers: they start, answer, hear, ship and report; and what a shell does around the roles' state machines.

use std::collections::{BTreeMap, BTreeSet};

use super::accounting_node::SETTLE_MARGIN_MS;
use super::board::Record;
use super::faults::FaultKind;
use super::log_model::{PARTITIONS, Parcel};
use super::reports::PlayerBeacon;
use super::sabotage::Sabotage;
use super::server_node::{CantStart, Died};
use super::traffic::Who;
use super::world::{Event, Part, World};
use crate::event_log::ShipperInput;
use crate::events::Event as Happening;
use crate::impressions::invalid::Sender;
use crate::model::BootId;
use crate::roles::accounting::{Input, MessageBody, ServerNews, ServerSays};
use crate::roles::beacon::Accepted;

impl World {
    pub(super) fn server_starts(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        if self.sabotage == Sabotage::AnswerBeforeSync {
            self.servers[server].disk.lie_about_sync(true);
        }
        let (at, snapshot) = (self.at, std::sync::Arc::clone(&self.snapshot));
        if let Err(CantStart(why)) = self.servers[server].start(at, &self.keys, &snapshot, self.sabotage) {
            // What died under it begins anew, too: somebody comes with another disk or plugs this one in again.
            self.servers[server].kill();
            if let Some(seed) = self.servers[server].dies_with_power.take() {
                self.servers[server].lose_power(seed);
            }
            self.note(None, format_args!("server {server} can't start: {why}"));
            self.after(2_000, Event::ServerStarts { server });
            return;
        }
        let Some(process) = &self.servers[server].process else { return };
        let boot_id = process.boot_id;
        self.note(None, format_args!("server {server} starts"));
        self.after(1, Event::ServerTick { server, boot_id, number: 0 });
    }

    /// The server's process is gone; it is started again after a while.
    pub(super) fn server_died(&mut self, server: usize, why: &str) {
        self.servers[server].kill();
        if let Some(seed) = self.servers[server].dies_with_power.take() {
            self.servers[server].lose_power(seed);
        }
        self.note(None, format_args!("server {server} dies: {why}"));
        // Mostly soon; now and then somebody has to come.
        let wait =
            if self.net.chance(0.15) { self.net.between(15_000, 35_000) } else { self.net.between(1_000, 10_000) };
        self.after(wait.into(), Event::ServerStarts { server });
        for player in 0..self.players.len() {
            self.board.excuse(player, self.at);
        }
    }

    /// Hears beacons that came together, each for itself, and keeps them in one append. True when they were acknowledged: what is no beacon is
    /// refused, and costs the others nothing.
    pub(super) fn hear(&mut self, entries: &[Option<usize>], server: usize) -> bool {
        let now = self.servers[server].now(self.at);
        let mut heard: Vec<(PlayerBeacon, Accepted, bool)> = Vec::new();
        for entry in entries {
            let Some(process) = self.servers[server].process.as_ref() else { return false };
            let boot_id = process.boot_id;
            let Some(said) = entry.map(|beacon| self.beacons[beacon].clone()) else {
                let refused = process.hear("impression", "no token", Sender::default(), now).is_err();
                assert!(refused, "what nobody sealed is refused");
                continue;
            };
            let sender = self.players[said.player].who.sender(said.player);
            let mut accepted = process.hear(said.event.name(), &said.token, sender, now).expect("players don't forge");
            let is_valid = self.judges(&said, boot_id, &accepted);
            if self.sabotage == Sabotage::InvalidIsBilled
                && let Happening::Beacon(beacon) = &mut accepted.envelope.body
            {
                beacon.invalid = None;
            }
            heard.push((said, accepted, is_valid));
        }
        let Some(places) = self.keeps(&heard, server) else { return false };
        // Durable from here on, so that the server answers 2xx, whether or not that arrives.
        for ((said, accepted, is_valid), seq) in heard.iter().zip(places) {
            let received_at = self.servers[server].clock.is_right().then_some(now.wall);
            let record = Record { server, seq, at: self.at, received_at, is_valid: *is_valid };
            self.acknowledged(said, accepted, record);
        }
        true
    }

    /// What the rules of invalid traffic say of a beacon: the same as counting (INV-33), and nothing against a listener. True when it is valid.
    fn judges(&mut self, said: &PlayerBeacon, boot_id: BootId, accepted: &Accepted) -> bool {
        let Some(claims) = self.board.ads.get(&said.impression_id).map(|ad| ad.claims.clone()) else { return false };
        let who = self.players[said.player].who;
        let expected = self.board.told.entry(boot_id).or_default().of((who, said.player), said.event, &claims);
        let found = accepted.record().invalid;
        if found != expected || (who == Who::Listener && found.is_some()) {
            let (event, id) = (said.event.name(), said.impression_id);
            let what =
                format!("{event} of {id} by player {} ({who:?}): {found:?} instead of {expected:?}", said.player);
            self.violated("INV-33", Some(claims.advertiser_id), what);
        }
        if expected.is_none() {
            self.board.valid.insert((said.impression_id, said.event));
        }
        expected.is_none()
    }

    /// Keeps beacons in one append, each once. Their places in the journal; none when the server died over it or is down.
    fn keeps(&mut self, heard: &[(PlayerBeacon, Accepted, bool)], server: usize) -> Option<Vec<u64>> {
        let (mut places, mut envelopes) = (BTreeMap::new(), Vec::new());
        for (_, accepted, _) in heard {
            let next = envelopes.len() as u64;
            if *places.entry(accepted.envelope.event_id).or_insert(next) == next {
                envelopes.push(accepted.envelope.clone());
            }
        }
        if self.sabotage == Sabotage::BatchHalfKept && envelopes.len() > 1 {
            envelopes.truncate(envelopes.len() / 2);
        }
        let at = self.at;
        match self.servers[server].append(at, &envelopes) {
            Ok(Some(appended)) => {
                let place = |accepted: &Accepted| appended.first_seq + places[&accepted.envelope.event_id];
                Some(heard.iter().map(|(_, accepted, _)| place(accepted)).collect())
            }
            Ok(None) => None,
            Err(Died) => {
                self.server_died(server, "can't journal a beacon");
                None
            }
        }
    }

    /// Notes what was acknowledged, and what it means for the listener.
    fn acknowledged(&mut self, said: &PlayerBeacon, accepted: &Accepted, record: Record) {
        let (at, player, server) = (self.at, said.player, record.server);
        self.board.acknowledge(said.impression_id, said.event, record);
        let advertiser = self.board.ads.get(&said.impression_id).map(|ad| ad.claims.advertiser_id);
        let what = format_args!("server {server} acknowledges {} of {}", said.event.name(), said.impression_id);
        self.trace.note(at, advertiser, what);
        if said.number != self.players[player].asked() {
            // The next break was decided before this one was known to be heard.
            self.board.excuse(player, at);
        }
        if accepted.exposure.is_some()
            && let Some(before) = self.known(player, server, self.players[player].key())
            && let Some(process) = self.servers[server].process.as_mut()
            && let Some((key, write)) = process.heard(accepted, &before)
        {
            self.writes(player, key, &write);
        }
    }

    pub(super) fn server_tick(&mut self, server: usize, boot_id: BootId, number: u64) {
        if self.servers[server].process.as_ref().is_none_or(|process| process.boot_id != boot_id) {
            return;
        }
        let next = self.server_tick_ms();
        if self.servers[server].paused_until > self.at {
            let until = self.servers[server].paused_until;
            self.schedule(until, Event::ServerTick { server, boot_id, number });
            return;
        }
        self.after(next, Event::ServerTick { server, boot_id, number: number + 1 });
        let (at, sabotage) = (self.at, self.sabotage);
        let Ok(sent) = self.servers[server].ship(at, sabotage) else {
            self.server_died(server, "can't keep its checkpoint");
            return;
        };
        for (shipment, parcels) in sent {
            self.send(server, boot_id, shipment.ticket, parcels);
        }
        if Self::reports_at(number) {
            self.speaks(server);
        }
        self.marks(server);
    }

    /// Once a second a server gives back what is over, says that it is there, and reports.
    fn speaks(&mut self, server: usize) {
        let (now, snapshot) = (self.servers[server].now(self.at), std::sync::Arc::clone(&self.snapshot));
        let server_id = self.servers[server].server_id;
        let Some(process) = self.servers[server].process.as_mut() else { return };
        let returned = process.sweep(&snapshot, now);
        let report = process.report(server_id, &snapshot, now);
        let is_draining = process.is_draining();
        self.keep_events(server, returned);
        if !is_draining {
            self.says(server, ServerNews::Registered);
        }
        let delay = self.net_ms();
        self.after(delay, Event::WordArrives { word: Input::ServerReport(report) });
    }

    /// Says how far all that the server received is in the log; and ends it when it was on its way out and all is.
    fn marks(&mut self, server: usize) {
        let now = self.servers[server].now(self.at);
        let shipped_end = self.log.end();
        let is_last = server + 1 == self.servers.len();
        let lies = match self.sabotage {
            Sabotage::CloseWithoutWatermark => true,
            Sabotage::WatermarkWithoutServer => is_last,
            _ => false,
        };
        if lies {
            self.says(server, ServerNews::Complete { until: now.wall, shipped_end: 0 });
            return;
        }
        let is_ready = self.servers[server].clock.is_ready(self.at);
        let Some(process) = self.servers[server].process.as_mut() else { return };
        // Whoever knows that its clock is wrong does not speak of times.
        if !is_ready {
            return;
        }
        if !process.is_draining() {
            if let Some(until) = process.complete_until(now.wall.plus_ms(-SETTLE_MARGIN_MS)) {
                self.says(server, ServerNews::Complete { until, shipped_end });
            }
            return;
        }
        // On its way out it answers who is being answered.
        if !process.is_shipped() || process.is_reserving() {
            return;
        }
        self.says(server, ServerNews::Closed { until: now.wall, shipped_end });
        self.servers[server].kill();
        self.note(None, format_args!("server {server} has ended in good order"));
        let wait = u64::from(self.net.between(1_000, 10_000));
        self.after(wait, Event::ServerStarts { server });
    }

    /// What a server says of itself, on its way to accounting.
    pub(super) fn says(&mut self, server: usize, news: ServerNews) {
        let server_id = self.servers[server].server_id;
        let Some(boot_id) = self.servers[server].process.as_ref().map(|process| process.boot_id) else { return };
        let delay = self.net_ms();
        let word = Input::Server(ServerSays { server_id, boot_id, news });
        self.after(delay, Event::WordArrives { word });
    }

    /// Puts events of a server's own into its journal.
    pub(super) fn keep_events(&mut self, server: usize, events: Vec<Happening>) {
        let (at, sabotage) = (self.at, self.sabotage);
        let envelopes = self.servers[server].envelopes(at, events, sabotage);
        for envelope in &envelopes {
            if let Happening::LeaseReturned(returned) = &envelope.body {
                let what = format_args!("server {server} gives {} back, {:?} drawn", returned.lease_id, returned.drawn);
                self.trace.note(at, Some(returned.advertiser_id), what);
            }
        }
        if self.servers[server].append(at, &envelopes).is_err() && !envelopes.is_empty() {
            self.server_died(server, "can't journal a return");
        }
    }

    /// Sends the records of a shipment, each partition's by itself.
    fn send(&mut self, server: usize, boot_id: BootId, ticket: u64, parcels: Vec<Parcel>) {
        let mut by_partition: BTreeMap<u32, Vec<Parcel>> = BTreeMap::new();
        for parcel in parcels {
            by_partition.entry(parcel.partition).or_default().push(parcel);
        }
        let awaited: BTreeSet<u32> = by_partition.keys().copied().collect();
        if awaited.is_empty() {
            self.shipped(server, boot_id, ShipperInput::Acknowledged(ticket));
            return;
        }
        self.parts.insert((server, boot_id, ticket), awaited);
        for (partition, parcels) in by_partition {
            let mut delay = self.net_ms();
            if self.faults.strikes(FaultKind::LogSlow) {
                delay += u64::from(self.faults.draws(FaultKind::LogSlow).between(200, 8_000));
            }
            let part = Part { server, boot_id, ticket, partition, parcels, is_answered: true };
            if self.faults.strikes(FaultKind::LogDoubled) {
                // The answer of the first copy comes after the second.
                self.after(delay, Event::PartArrives(Part { is_answered: false, ..part.clone() }));
                delay += u64::from(self.faults.draws(FaultKind::LogDoubled).between(1, 2_000));
            }
            self.after(delay, Event::PartArrives(part));
        }
    }

    pub(super) fn part_arrives(&mut self, part: Part) {
        let stalled_until = self.stalled_until[part.partition as usize % PARTITIONS as usize];
        if stalled_until > self.at {
            let later = stalled_until + self.net_ms();
            self.schedule(later, Event::PartArrives(part));
            return;
        }
        let Part { server, boot_id, ticket, partition, parcels, is_answered } = part;
        // The connections of a dead process are dead; and what the shipper knows to be in the log, the log knows to be a copy: its producer is
        // idempotent for as long as its process lives.
        let is_alive = self.servers[server].process.as_ref().is_some_and(|process| process.boot_id == boot_id);
        let is_awaited = self.parts.get(&(server, boot_id, ticket)).is_some_and(|parts| parts.contains(&partition));
        if !is_alive || !is_awaited {
            return;
        }
        let is_kept = !self.faults.strikes(FaultKind::LogRefuses);
        if is_kept {
            self.log.append(&parcels);
            self.trace.hash(&self.log.end().to_be_bytes());
        }
        if is_answered && !self.faults.strikes(FaultKind::LogAnswerLost) {
            let delay = self.net_ms();
            self.after(delay, Event::PartAnswered { server, boot_id, ticket, partition, is_kept });
        }
    }

    pub(super) fn part_answered(&mut self, shipment: (usize, BootId, u64), partition: u32, is_kept: bool) {
        let (server, boot_id, ticket) = shipment;
        let Some(awaited) = self.parts.get_mut(&shipment) else { return };
        if !is_kept {
            self.shipped(server, boot_id, ShipperInput::Failed(ticket));
            return;
        }
        awaited.remove(&partition);
        if awaited.is_empty() {
            self.parts.remove(&shipment);
            self.shipped(server, boot_id, ShipperInput::Acknowledged(ticket));
        }
    }

    fn shipped(&mut self, server: usize, boot_id: BootId, input: ShipperInput) {
        // A ticket is of one boot: the shipper of the next begins to count anew.
        if self.servers[server].process.as_ref().is_none_or(|process| process.boot_id != boot_id) {
            return;
        }
        if self.servers[server].shipped(self.at, input).is_err() {
            self.server_died(server, "can't keep its checkpoint");
        }
    }

    pub(super) fn message_arrives(&mut self, server: usize, boot_id: BootId, body: MessageBody) {
        let (snapshot, sabotage) = (std::sync::Arc::clone(&self.snapshot), self.sabotage);
        let now = self.servers[server].now(self.at);
        let returned = self.servers[server]
            .process
            .as_mut()
            .filter(|process| process.boot_id == boot_id)
            .and_then(|process| process.told(&snapshot, body, now, sabotage));
        if let Some(returned) = returned {
            self.keep_events(server, vec![returned]);
        }
    }

    /// Whether every record of every server is in the log.
    pub(super) fn all_is_shipped(&self) -> bool {
        self.servers.iter().all(|server| server.process.as_ref().is_some_and(super::server_node::Process::is_shipped))
    }

    /// Whether the record at that place of that server's journal was given up, with an alarm.
    pub(super) fn was_passed_over(&self, record: &Record) -> bool {
        self.servers[record.server].passed_over.iter().any(|(from, until)| (*from..*until).contains(&record.seq))
    }
}
