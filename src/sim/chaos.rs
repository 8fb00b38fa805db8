//! The faults that come by the clock, and the end of all faults.

use std::sync::Arc;

use super::faults::FaultKind;
use super::world::{Event, World};
use crate::accounting::LevelId;
use crate::catalog::Entity;
use crate::model::{Budget, Micros};
use crate::roles::accounting::ServerNews;

/// Jumps of a server's clock, in milliseconds, by less than so much: seconds, minutes, most of an hour. An hour and what a beacon may come late
/// is how long a closed lease is told apart (`CLOSED_LEASE_KEPT_MS`): what then comes by a clock that is as far ahead is too late for every outcome.
const CLOCK_JUMPS_MS: [u64; 3] = [50_000, 600_000, 3_000_000];

/// How long a clock that jumped stays wrong, in milliseconds. Its server is not ready for nearly all of that, and where it is the only one, this
/// with what else may be down must leave time for beacons within a token's short life.
const CLOCK_JUMP_FOR_MS: u64 = 20_000;

impl World {
    /// Puts the next fault of a kind that comes by the clock into the queue.
    pub(super) fn next_fault(&mut self, kind: FaultKind) {
        let by_the_clock = matches!(
            kind,
            FaultKind::LogStalled
                | FaultKind::ServerKilled
                | FaultKind::ServerDrained
                | FaultKind::ServerPaused
                | FaultKind::AccountingKilled
                | FaultKind::AccountingPaused
                | FaultKind::PowerLost
                | FaultKind::DiskDies
                | FaultKind::SyncFails
                | FaultKind::DiskFull
                | FaultKind::BitFlips
                | FaultKind::ClockSkew
                | FaultKind::ClockJumps
                | FaultKind::BudgetChanged
        );
        if !by_the_clock {
            return;
        }
        if let Some(ms) = self.faults.next_in_ms(kind) {
            let at = self.at.saturating_add(ms);
            if at < self.shape.faults_until_ms {
                self.schedule(at, Event::Fault(kind));
            }
        }
    }

    pub(super) fn fault(&mut self, kind: FaultKind) {
        self.next_fault(kind);
        let servers = self.servers.len();
        let draws = self.faults.draws(kind);
        let (server, bits) = (draws.index(servers), draws.bits());
        let seconds = |low: u64, high: u64| 1_000 * (low + bits % (high - low + 1));
        let happened = match kind {
            FaultKind::LogStalled => {
                let partition = usize::try_from(bits % self.stalled_until.len() as u64).expect("a partition");
                self.stalled_until[partition] = self.at + seconds(2, 60);
                true
            }
            FaultKind::ServerKilled => self.kills(server, "killed"),
            FaultKind::ServerDrained => self.drains(server),
            FaultKind::PowerLost => {
                self.servers[server].dies_with_power = Some(bits);
                self.kills(server, "no power")
            }
            FaultKind::DiskDies => {
                self.servers[server].dies_with_power = Some(bits);
                self.servers[server].disk.die_after(1 + bits % 12);
                true
            }
            FaultKind::SyncFails => {
                self.servers[server].disk.fail_sync(1 + bits % 4);
                true
            }
            FaultKind::DiskFull => {
                self.servers[server].disk.set_capacity(Some(0));
                self.after(seconds(5, 30), Event::DiskFreed { server });
                true
            }
            FaultKind::BitFlips => self.servers[server].flip_bit(bits),
            FaultKind::ClockSkew => self.moves_clock(server, i64::try_from(bits % 1_801).expect("small") - 900, 60_000),
            FaultKind::ClockJumps => {
                let below = CLOCK_JUMPS_MS[usize::try_from((bits >> 42) % 3).expect("small")];
                let by = i64::try_from(2_000 + bits % below).expect("small");
                self.moves_clock(server, if bits & (1 << 40) == 0 { by } else { -by }, CLOCK_JUMP_FOR_MS)
            }
            FaultKind::ServerPaused => {
                self.servers[server].paused_until = self.at + seconds(1, 15);
                true
            }
            FaultKind::AccountingKilled => self.owner_dies("killed"),
            FaultKind::AccountingPaused => self.owner_pauses(seconds(6, 20)),
            FaultKind::BudgetChanged => self.changes_budget(bits),
            _ => false,
        };
        if happened {
            self.faults.count(kind);
            self.note(None, format_args!("fault: {} at server {server}", kind.name()));
        }
    }

    fn kills(&mut self, server: usize, why: &str) -> bool {
        let was_up = self.servers[server].process.is_some();
        if was_up {
            self.server_died(server, why);
        }
        was_up
    }

    /// A server gives its leases back, and ends once its journal is in the log.
    fn drains(&mut self, server: usize) -> bool {
        let now = self.servers[server].now(self.at);
        let Some(process) = self.servers[server].process.as_mut().filter(|process| !process.is_draining()) else {
            return false;
        };
        let returned = process.drain(now);
        self.keep_events(server, returned);
        self.says(server, ServerNews::Draining);
        for player in 0..self.players.len() {
            self.board.excuse(player, self.at);
        }
        true
    }

    fn moves_clock(&mut self, server: usize, ahead_ms: i64, for_ms: u64) -> bool {
        let at = self.at;
        self.servers[server].clock.set_ahead(ahead_ms, at);
        self.after(for_ms, Event::ClockRight { server });
        for player in 0..self.players.len() {
            self.board.excuse(player, self.at);
        }
        true
    }

    /// Gives one level another budget: from half to one and a half of the one before.
    fn changes_budget(&mut self, bits: u64) -> bool {
        let of = |budget: Budget| budget.lifetime.is_some();
        let mut limited: Vec<Entity> = Vec::new();
        for entity in &self.catalogue.entities {
            match entity {
                Entity::Advertiser(one) if of(one.budget) => limited.push(entity.clone()),
                Entity::Campaign(one) if of(one.budget) => limited.push(entity.clone()),
                Entity::LineItem(one) if of(one.budget) => limited.push(entity.clone()),
                _ => {}
            }
        }
        if limited.is_empty() {
            return false;
        }
        let mut entity = limited.swap_remove(usize::try_from(bits % limited.len() as u64).expect("an index"));
        let percent = i64::try_from(50 + (bits >> 20) % 101).expect("small");
        let changed = |budget: &mut Budget| {
            let before = budget.lifetime.unwrap_or(Micros::ZERO);
            let after = Micros((before.0 / 100 * percent).max(1));
            budget.lifetime = Some(after);
            after
        };
        let (level, after) = match &mut entity {
            Entity::Advertiser(one) => (LevelId::Advertiser(one.id), changed(&mut Arc::make_mut(one).budget)),
            Entity::Campaign(one) => (LevelId::Campaign(one.id), changed(&mut Arc::make_mut(one).budget)),
            Entity::LineItem(one) => (LevelId::LineItem(one.id), changed(&mut Arc::make_mut(one).budget)),
            Entity::Network(_) | Entity::Creative(_) => return false,
        };
        self.note(None, format_args!("the budget of {level:?} is now {after:?}"));
        self.ceilings.change(level, after, self.at);
        self.change(&[entity]);
        true
    }

    pub(super) fn faults_stop(&mut self) {
        self.faults.stop();
        self.note(None, format_args!("no more faults"));
        self.stalled_until.fill(0);
        for server in 0..self.servers.len() {
            let node = &mut self.servers[server];
            node.paused_until = 0;
            node.clock = node.clock.right();
            node.disk.set_capacity(None);
            node.disk.spare();
            node.dies_with_power = None;
            // Whoever is down comes back at once.
            self.after(500, Event::ServerStarts { server });
        }
    }
}
