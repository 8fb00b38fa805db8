//! What the catalogue changes, and what only time does: flights that begin, throttles along their plans, leases that end.

use std::collections::BTreeMap;

use super::super::RoleEffects;
use super::super::fleet::Served;
use super::super::looks::{QUIET_SWEEPS, Sweep};
use super::super::pace::{Again, Spent};
use super::super::{LeaseLeft, MessageBody};
use super::AccountingMachine;
use crate::accounting::{AdvertiserAccount, Balance, LevelId, LineContract};
use crate::catalog::Entity;
use crate::model::{LineItemId, Now, ServerId};

/// Time between two sweeps, in milliseconds.
const SWEEP_MS: u64 = 1_000;
/// After a longer time, in milliseconds, a sweep makes good the turn that was missed, and so on. Not all at once: a sweep of a million line items takes seconds, and would
/// make the next one late.
const LATE_MS: u64 = 1_500;
/// Most line items that one step looks at: a tenth of a second's work. Between two steps the log is read, leases are granted and books committed.
const LOOKS_PER_STEP_MAX: usize = 16_384;
/// What time changes within so many milliseconds is looked at every second: the line item's turn may come after it, while sweeps are done within their second.
const SOON_MS: u64 = LATE_MS * QUIET_SWEEPS as u64;

impl AccountingMachine {
    /// Takes a change of the catalogue, and has looked at whatever it reaches.
    pub(super) fn catalog_changed(&mut self, entities: &[Entity]) {
        for entity in entities {
            let Entity::LineItem(line) = entity else {
                self.contracts.apply(entity);
                // A change of a budget above reaches many line items: all are looked at again.
                if matches!(entity, Entity::Advertiser(_) | Entity::Campaign(_)) {
                    self.looks.all();
                }
                continue;
            };
            let before = self.contracts.line(line.id).cloned();
            self.contracts.apply(entity);
            if before.is_none() {
                self.looks.begin(line.id);
            }
            self.looks.changed(line.id);
            let is_sold_alike = match (&before, self.contracts.line(line.id)) {
                (Some(before), Some(now)) => now.is_sold_like(before),
                (None, _) | (_, None) => false,
            };
            if !is_sold_alike && let Some(pace) = self.paces.get_mut(&line.id) {
                pace.replan();
            }
        }
    }

    /// Looks at what moved, what changed, and those whose turn it is.
    pub(super) fn sweep(&mut self, now: Now, effects: &mut RoleEffects) {
        let since_ms = self.swept_at.map(|at| now.monotonic.since(at));
        let turns = match since_ms {
            None => 1,
            Some(ms) if ms < SWEEP_MS => 0,
            // What is not late is one turn.
            Some(ms) => usize::try_from((ms + 2 * SWEEP_MS - LATE_MS - 1) / SWEEP_MS).unwrap_or(usize::MAX),
        };
        if !self.replayed {
            return;
        }
        let served = self.fleet.served(now);
        // What is left of the sweep before goes first: nothing new begins until it is done.
        let begins = self.looking.is_empty() && (turns > 0 || self.looks.is_at_once());
        if begins {
            self.begin_sweep(turns, &served, now);
        }
        for _ in 0..LOOKS_PER_STEP_MAX {
            let Some((id, again)) = self.looking.pop_front() else { break };
            if self.look_at(id, again, &served, now, effects) {
                self.looks.soon(id);
            }
        }
        if begins {
            self.state_delivery(now, effects);
        }
    }

    /// Says what is to be looked at: with the turns of so many seconds, or only what doesn't wait.
    fn begin_sweep(&mut self, turns: usize, served: &[Served], now: Now) {
        if turns > 0 {
            self.swept_at = Some(now.monotonic);
            self.looks.serve(served.iter().map(|served| (served.server_id, served.boot_id)).collect());
            self.adopt_claimed(served, now);
        }
        let Sweep { lines, again } = self.looks.take(turns);
        let lines: Vec<LineItemId> = match lines {
            Some(lines) => lines.into_iter().collect(),
            None => self.contracts.lines().map(|(id, _)| id).collect(),
        };
        let looks = lines.into_iter().map(|id| (id, if again.contains(&id) { Again::Yes } else { Again::No }));
        self.looking.extend(looks);
    }

    /// Looks at one line item. Says whether it is to be looked at again within a second: it lacks something, or time will change it before its turn.
    fn look_at(
        &mut self,
        id: LineItemId,
        again: Again,
        served: &[Served],
        now: Now,
        effects: &mut RoleEffects,
    ) -> bool {
        let Some(contract) = self.contracts.line(id) else { return false };
        if !self.contracts.may_spend(contract, now.wall) {
            let begins_ms = contract.flight.start.since(now.wall);
            if let Some(pace) = self.paces.get_mut(&id) {
                pace.replan();
            }
            self.give_back_of(id);
            return u64::try_from(begins_ms).is_ok_and(|ms| ms <= SOON_MS);
        }
        let pace = self.paces.entry(id).or_default();
        // One throttle for all servers: each takes the same share of its chances.
        let spent = || spent(self.book.accounts.get(&contract.advertiser_id), id, contract, now);
        if let Some(throttle) = pace.throttle(contract, spent, now, again) {
            let body = MessageBody::Throttle { line_item_id: id, throttle };
            effects.messages.extend(served.iter().map(|served| served.message(body)));
        }
        let ends_ms = contract.flight.end.since(now.wall);
        let mut soon = pace.is_new(now) || ends_ms <= SOON_MS.cast_signed();
        let (price, lease_ms) = (contract.draw_price(), self.settings.lease_ms);
        for served in served {
            let Some(holding) = self.holdings.get(&(id, served.server_id)) else {
                self.wanting.insert((id, served.server_id));
                soon = true;
                continue;
            };
            if holding.wants_lease(price, lease_ms, served.at) {
                self.wanting.insert((id, served.server_id));
                soon = true;
            }
            soon |= holding.turns_within(SOON_MS, lease_ms, served.at);
            if holding.has_waiting() {
                self.hand_over(id, *served, effects);
            }
        }
        soon
    }

    /// Looks for leases that servers drew from before this run of accounting, in books that have come further since they said so.
    fn adopt_claimed(&mut self, served: &[Served], now: Now) {
        let of: BTreeMap<ServerId, Served> = served.iter().map(|served| (served.server_id, *served)).collect();
        for key in std::mem::take(&mut self.claims) {
            let (id, server_id) = key;
            let Some(served) = of.get(&server_id) else {
                self.claims.insert(key);
                continue;
            };
            let Some(left) = self.take_claimed(id, server_id) else { continue };
            let at = Now { wall: now.wall, monotonic: served.at };
            // One that is not in the books now never was, or is closed.
            if let Some(lease) = self.adoptable(id, left, (server_id, served.boot_id), at)
                && let Some(holding) = self.holdings.get_mut(&key)
            {
                holding.adopt(lease, left);
            }
            self.looks.soon(id);
        }
    }

    fn take_claimed(&mut self, id: LineItemId, server_id: ServerId) -> Option<LeaseLeft> {
        self.holdings.get_mut(&(id, server_id))?.take_claimed()
    }

    /// What waits for a line item that may not spend goes back.
    fn give_back_of(&mut self, id: LineItemId) {
        let all = (id, ServerId::from_u128(0))..=(id, ServerId::from_u128(u128::MAX));
        for ((_, server_id), holding) in self.holdings.range_mut(all) {
            if let Some(entry) = self.fleet.register().get(*server_id)
                && let Some(lease) = holding.take_waiting()
            {
                self.unused.push((*server_id, entry.boot_id, lease));
            }
        }
    }
}

/// What was billed of a line item over its life and today.
fn spent(account: Option<&AdvertiserAccount>, id: LineItemId, contract: &LineContract, now: Now) -> Spent {
    let balance = |level| account.map_or_else(Balance::default, |account| account.balance(level));
    let today = LevelId::LineItemDay(id, contract.flight.zone.day(now.wall));
    Spent { life: balance(LevelId::LineItem(id)), day: balance(today) }
}
