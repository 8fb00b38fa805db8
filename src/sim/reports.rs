//! What players report: a beacon, or after they were away many in one batch, until a server answers.

use std::sync::Arc;

use super::faults::FaultKind;
use super::world::{Event, World};
use crate::model::{BeaconEvent, ImpressionId};

/// First wait before a report is sent again, in milliseconds; doubled each time up to [`WAIT_MAX_MS`].
const WAIT_MS: u64 = 1_000;
const WAIT_MAX_MS: u64 = 16_000;

/// A beacon that a player has to say.
#[derive(Clone, Debug)]
pub(super) struct PlayerBeacon {
    /// Whose.
    pub(super) player: usize,
    /// The ad's token.
    pub(super) token: Arc<str>,
    /// The ad.
    pub(super) impression_id: ImpressionId,
    /// What happened to it.
    pub(super) event: BeaconEvent,
    /// Number of the player's request.
    pub(super) number: u32,
}

/// Beacons that a player sends together until a server answers; mostly one.
#[derive(Clone, Debug)]
pub(super) struct PlayerReport {
    /// Whose.
    player: usize,
    /// The beacons in the order in which they are sent; one may stand there twice. None is an entry that is no beacon.
    entries: Vec<Option<usize>>,
    /// How often it was sent.
    attempts: u32,
    /// Whether a server's answer came back.
    is_answered: bool,
}

impl World {
    /// The player will report this, so many milliseconds from now.
    pub(super) fn will_report(&mut self, player: usize, entries: Vec<Option<usize>>, after: u64) {
        self.reports.push(PlayerReport { player, entries, attempts: 0, is_answered: false });
        let report = self.reports.len() - 1;
        self.after(after, Event::ReportLeaves { report });
    }

    /// The player was away and sends all in one: in some order, now and then with something twice, or with what is no beacon at all.
    pub(super) fn gathers(&mut self, player: usize, said: &[(usize, u64)], after: u64) {
        let mut entries: Vec<Option<usize>> = said.iter().map(|(beacon, _)| Some(*beacon)).collect();
        let Some(last) = entries.len().checked_sub(1) else { return };
        let draws = self.faults.draws(FaultKind::PlayerAway);
        if draws.chance(0.4) {
            let twice = entries[draws.index(entries.len())];
            entries.push(twice);
        }
        if draws.chance(0.3) {
            entries.insert(draws.index(entries.len()), None);
        }
        if draws.chance(0.5) {
            for place in (1..=last).rev() {
                entries.swap(place, draws.index(place + 1));
            }
        }
        self.will_report(player, entries, after);
    }

    pub(super) fn report_leaves(&mut self, index: usize) {
        let servers = self.servers.len();
        let report = &mut self.reports[index];
        if report.is_answered {
            return;
        }
        report.attempts += 1;
        let (player, attempts) = (report.player, report.attempts);
        if attempts == 1 {
            self.says_first(index);
        }
        self.after(WAIT_MAX_MS.min(WAIT_MS << attempts.min(8)), Event::ReportLeaves { report: index });
        let home = self.players[player].home;
        let server = if attempts > 1 { (home + self.net.index(servers)) % servers } else { home };
        if self.faults.strikes(FaultKind::BeaconLost) {
            return;
        }
        let delay = self.net_ms();
        self.after(delay, Event::ReportArrives { report: index, server });
        if self.faults.strikes(FaultKind::BeaconDoubled) {
            let draws = self.faults.draws(FaultKind::BeaconDoubled);
            let (later, other) = (u64::from(draws.between(1, 40_000)), draws.index(servers));
            self.after(later, Event::ReportArrives { report: index, server: other });
        }
    }

    /// Notes that the player says for the first time what happened.
    fn says_first(&mut self, index: usize) {
        for &beacon in self.reports[index].entries.iter().flatten() {
            let PlayerBeacon { impression_id, event, .. } = self.beacons[beacon];
            if let Some(ad) = self.board.ads.get_mut(&impression_id) {
                ad.reported.insert(event, self.at);
            }
        }
    }

    pub(super) fn report_arrives(&mut self, index: usize, server: usize) {
        if self.servers[server].paused_until > self.at {
            let until = self.servers[server].paused_until;
            self.schedule(until, Event::ReportArrives { report: index, server });
            return;
        }
        if !self.servers[server].clock.is_ready(self.at) {
            return;
        }
        let entries = self.reports[index].entries.clone();
        if !self.hear(&entries, server) || self.faults.strikes(FaultKind::BeaconAnswerLost) {
            return;
        }
        let delay = self.net_ms();
        self.after(delay, Event::ReportAnswered { report: index });
    }

    pub(super) fn report_answered(&mut self, index: usize) {
        self.reports[index].is_answered = true;
    }
}
