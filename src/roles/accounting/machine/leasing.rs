//! Leases to servers: who wants one, who gets one, and what each run of a server is told.
//!
//! INV-40 is kept in two places: a lease is proposed for the run that asks, if it stands (`Fleet::served`), and handed over when it is read back
//! only if that run stands still. What is never handed over goes back at once, with nothing drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::super::fleet::{Heard, Served};
use super::super::holding::{HandOver, Holding};
use super::super::{LeaseLeft, LineReport, Message, MessageBody, RoleEffects, ServerReport, ServerSays};
use super::AccountingMachine;
use crate::accounting::{GrantTerms, LineContract, LineNeed, Outcome, plan_closes, plan_grants};
use crate::decision::{LeaseOwner, LeaseTerms, OfferedLease};
use crate::events::{Envelope, Event, LeaseGranted, LeaseReturned};
use crate::model::{AdvertiserId, BootId, LeaseId, LineItemId, Micros, NetworkId, Now, ServerId};

/// Most leases proposed in one step: their records are one append.
const GRANTS_PER_STEP_MAX: usize = 2_000;
/// Of the line items that want a lease, most that one step looks at: at the start of a server there may be a million, and most are of advertisers that wait for
/// a proposal to be read back.
const WANTING_PER_STEP_MAX: usize = 8_192;
/// Time between two looks for leases that are over, in milliseconds.
const CLOSE_SWEEP_MS: u64 = 5_000;

impl AccountingMachine {
    /// A grant came back from the log: durable, and in the books. It goes to the server only when this run of accounting asked for it.
    pub(super) fn read_back(&mut self, granted: &LeaseGranted, outcome: Outcome, now: Now, effects: &mut RoleEffects) {
        let Some(pending) = self.pending.get_mut(&granted.advertiser_id) else { return };
        let Some(asked) = pending.remove(&granted.lease_id) else { return };
        if pending.is_empty() {
            self.pending.remove(&granted.advertiser_id);
        }
        if outcome != Outcome::Granted(granted.lease_id) {
            return;
        }
        let draw_ms = u64::try_from(granted.draw_until.since(granted.granted_at)).unwrap_or(0);
        let lease = OfferedLease {
            owner: LeaseOwner {
                network_id: granted.network_id,
                advertiser_id: granted.advertiser_id,
                campaign_id: granted.campaign_id,
                line_item_id: granted.line_item_id,
            },
            terms: LeaseTerms {
                lease_id: granted.lease_id,
                amount: granted.amount,
                max_ordinals: granted.max_ordinals,
                draw_until: asked.plus_ms(draw_ms),
                last_billable_until: granted.last_billable_until,
            },
        };
        let served = self.fleet.served_one(granted.server_id, now).filter(|served| served.boot_id == granted.boot_id);
        let Some(served) = served else {
            self.unused.push((granted.server_id, granted.boot_id, lease));
            return;
        };
        let key = (granted.line_item_id, granted.server_id);
        let holding = self
            .holdings
            .entry(key)
            .or_insert_with(|| Box::new(Holding::new(served.at, self.rates_before.remove(&key))));
        let before = holding.hold(lease);
        self.unused.extend(before.map(|lease| (granted.server_id, granted.boot_id, lease)));
        self.looks.soon(granted.line_item_id);
        self.hand_over(granted.line_item_id, served, effects);
    }

    pub(super) fn hand_over(&mut self, line_item_id: LineItemId, served: Served, effects: &mut RoleEffects) {
        let price = self.contracts.line(line_item_id).map_or(Micros::ZERO, LineContract::draw_price);
        let Some(holding) = self.holdings.get_mut(&(line_item_id, served.server_id)) else { return };
        match holding.hand_over(price, self.settings.lease_ms, served.at) {
            HandOver::Nothing => {}
            HandOver::Now(lease) => effects.messages.push(served.message(MessageBody::Lease(lease))),
            HandOver::TooLate(lease) => self.unused.push((served.server_id, served.boot_id, lease)),
        }
    }

    /// A server says something of itself.
    pub(super) fn server_says(&mut self, says: ServerSays, now: Now, effects: &mut RoleEffects) {
        let before = self.fleet.register().get(says.server_id).map(|entry| entry.boot_id);
        match self.fleet.says(says, self.cursor, now) {
            Err(refusal) => {
                effects.refused.push(refusal);
                effects.messages.push(Message {
                    server_id: says.server_id,
                    boot_id: says.boot_id,
                    body: MessageBody::Standing(Err(refusal)),
                });
            }
            // A new run: what the run before it held is never handed out again.
            Ok(true) => {
                self.forget_holdings(says.server_id, before.unwrap_or(says.boot_id));
                // It may be an old one, of whom this owner has heard nothing yet.
                if self.fleet.standing(says.server_id, says.boot_id).is_ok() {
                    let ServerSays { server_id, boot_id, .. } = says;
                    effects.messages.push(Message { server_id, boot_id, body: MessageBody::TellAll });
                }
            }
            Ok(false) if self.fleet.standing(says.server_id, says.boot_id).is_err() => {
                self.give_back_waiting(says.server_id, says.boot_id);
            }
            Ok(false) => {}
        }
    }

    /// Forgets what a run of a server held, but not how fast it drew. What waited for it goes back.
    fn forget_holdings(&mut self, server_id: ServerId, boot_id: BootId) {
        self.give_back_waiting(server_id, boot_id);
        let its = self.holdings.extract_if(.., |(_, held_by), _| *held_by == server_id);
        self.rates_before.extend(its.map(|(key, holding)| (key, holding.into_rates())));
        self.wanting.retain(|(_, wanted_by)| *wanted_by != server_id);
    }

    /// Leases that wait at accounting for a server that will not get them go back.
    fn give_back_waiting(&mut self, server_id: ServerId, boot_id: BootId) {
        let held = self.holdings.iter_mut().filter(|((_, held_by), _)| *held_by == server_id);
        self.unused
            .extend(held.filter_map(|(_, holding)| holding.take_waiting()).map(|lease| (server_id, boot_id, lease)));
    }

    pub(super) fn reported(&mut self, report: &ServerReport, now: Now, effects: &mut RoleEffects) {
        let (server_id, boot_id) = (report.server_id, report.boot_id);
        let heard = self.fleet.reported(report, now);
        if let Err(refusal) = heard {
            effects.refused.push(refusal);
        }
        if let Some(standing) = self.fleet.news_for(server_id, boot_id) {
            let message = |body| Message { server_id, boot_id, body };
            effects.messages.push(message(MessageBody::Standing(standing)));
            if standing.is_ok() {
                // What it was not told while it did not stand, and what a new run never was.
                let throttles = self.paces.iter().filter_map(|(id, pace)| Some((*id, pace.told()?)));
                effects.messages.extend(
                    throttles.map(|(line_item_id, throttle)| message(MessageBody::Throttle { line_item_id, throttle })),
                );
            } else {
                self.give_back_waiting(server_id, boot_id);
            }
        }
        let Ok(heard) = heard else { return };
        if heard.asks {
            effects.messages.push(Message { server_id, boot_id, body: MessageBody::TellAll });
        }
        if heard.ends {
            // What it lacks is seen at once.
            self.looks.all();
            self.swept_at = None;
        }
        // Before a run has said all, what was overtaken may be older than what it says first, and comes with all once more.
        if heard.begins && heard.is_late {
            return;
        }
        let served = self.fleet.served_one(server_id, now);
        for line in &report.lines {
            self.line_reported(line, report, (heard, served), effects);
        }
    }

    fn line_reported(
        &mut self,
        line: &LineReport,
        report: &ServerReport,
        (heard, served): (Heard, Option<Served>),
        effects: &mut RoleEffects,
    ) {
        let (id, at) = (line.line_item_id, report.at.monotonic);
        let key = (id, report.server_id);
        let holding = self.holdings.entry(key).or_insert_with(|| {
            let mut fresh = Box::new(Holding::new(at, self.rates_before.remove(&key)));
            if heard.begins {
                fresh.begin(line);
            }
            fresh
        });
        let (drawn, eligible) = holding.report(line, at);
        let claimed = holding.take_claimed();
        let run = (report.server_id, report.boot_id);
        let adopted = claimed.and_then(|left| self.adoptable(id, left, run, report.at));
        let Some(holding) = self.holdings.get_mut(&(id, report.server_id)) else { return };
        match (adopted, claimed) {
            (Some(lease), Some(left)) => holding.adopt(lease, left),
            (None, Some(left)) => {
                holding.claim(left);
                self.claims.insert(key);
            }
            (_, None) => {}
        }
        self.paces.entry(id).or_default().add(drawn, eligible);
        if drawn > 0 || eligible > 0 || adopted.is_some() {
            self.looks.soon(id);
        }
        let Some(served) = served else { return };
        let price = self.contracts.line(id).map_or(Micros::ZERO, LineContract::draw_price);
        if holding.wants_lease(price, self.settings.lease_ms, served.at) {
            self.wanting.insert((id, report.server_id));
            self.looks.soon(id);
        }
        self.hand_over(id, served, effects);
    }

    /// The lease that a run of a server says it draws from, `at` its present, and this run of accounting doesn't remember; if the books say that it is that
    /// run's.
    pub(super) fn adoptable(
        &self,
        id: LineItemId,
        left: LeaseLeft,
        (server_id, boot_id): (ServerId, BootId),
        at: Now,
    ) -> Option<OfferedLease> {
        let contract = self.contracts.line(id)?;
        let lease = self.book.accounts.get(&contract.advertiser_id)?.leases.get(&left.lease_id)?;
        let grant = &lease.grant;
        let is_its = lease.closed_at.is_none()
            && (grant.server_id, grant.boot_id, grant.line_item_id) == (server_id, boot_id, id);
        let left_ms = u64::try_from(grant.draw_until.since(at.wall)).unwrap_or(0);
        is_its.then(|| OfferedLease {
            owner: LeaseOwner {
                network_id: grant.network_id,
                advertiser_id: contract.advertiser_id,
                campaign_id: grant.campaign_id,
                line_item_id: grant.line_item_id,
            },
            terms: LeaseTerms {
                lease_id: grant.lease_id,
                amount: grant.amount,
                max_ordinals: grant.max_ordinals,
                draw_until: at.monotonic.plus_ms(left_ms),
                last_billable_until: grant.last_billable_until,
            },
        })
    }

    pub(super) fn propose(&mut self, now: Now, effects: &mut RoleEffects) {
        if !self.replayed {
            return;
        }
        let mut bodies = self.grants(now);
        bodies.extend(self.returns(now));
        if now.monotonic.since(self.close_swept_at) >= CLOSE_SWEEP_MS {
            self.close_swept_at = now.monotonic;
            let watermark = self.fleet.register().watermark();
            for account in self.book.accounts.values() {
                for closed in plan_closes(account, watermark, now.wall) {
                    if self.closing.insert(closed.lease_id) {
                        bodies.push(Event::LeaseClosed(closed));
                    }
                }
            }
        }
        effects.append.extend(bodies.into_iter().map(|body| Envelope {
            event_id: body.id(),
            occurred_at: now.wall,
            received_at: now.wall,
            server_id: self.settings.server_id,
            boot_id: self.settings.boot_id,
            trace_id: None,
            body,
        }));
    }

    /// Leases that never were handed over: nothing was drawn from them, whatever becomes of their server.
    fn returns(&mut self, now: Now) -> Vec<Event> {
        let unused = std::mem::take(&mut self.unused).into_iter();
        // In the name of the run that it was granted to: it may wait since before a restart that accounting hears of only now, and a return by
        // anybody else is none.
        let run_of = |lease: &OfferedLease| {
            let account = self.book.accounts.get(&lease.owner.advertiser_id)?;
            let grant = &account.leases.get(&lease.terms.lease_id)?.grant;
            Some((grant.server_id, grant.boot_id))
        };
        let named = unused.map(|(server_id, boot_id, lease)| (run_of(&lease).unwrap_or((server_id, boot_id)), lease));
        let returned = named.map(|((server_id, boot_id), lease)| LeaseReturned {
            lease_id: lease.terms.lease_id,
            server_id,
            boot_id,
            network_id: lease.owner.network_id,
            advertiser_id: lease.owner.advertiser_id,
            campaign_id: lease.owner.campaign_id,
            line_item_id: lease.owner.line_item_id,
            drawn: Micros::ZERO,
            drawn_count: 0,
            returned_at: now.wall,
        });
        returned.map(Event::LeaseReturned).collect()
    }

    fn grants(&mut self, now: Now) -> Vec<Event> {
        let served: BTreeMap<ServerId, Served> =
            self.fleet.served(now).into_iter().map(|served| (served.server_id, served)).collect();
        let mut granted = Vec::new();
        for (advertiser_id, (server_id, needs)) in self.needs(&served, now) {
            let served_one = served[&server_id];
            let terms = self.terms(needs[0].network_id, served_one, served.len(), now);
            let account = self.book.account(advertiser_id);
            let (named, namer) = (&mut self.leases_named, self.settings.namer);
            let grants = plan_grants(account, &needs, &terms, || next_lease_id(namer, named, now));
            let pending: BTreeMap<_, _> = grants.iter().map(|grant| (grant.lease_id, served_one.asked)).collect();
            if !pending.is_empty() {
                self.pending.insert(advertiser_id, pending);
            }
            granted.extend(grants.into_iter().map(Event::LeaseGranted));
        }
        granted
    }

    /// What is needed of each advertiser that has no proposal under way: of one server, since a proposal counts no other's. The servers take turns;
    /// the rest waits for the proposal to be read back, some milliseconds.
    fn needs(
        &mut self,
        served: &BTreeMap<ServerId, Served>,
        now: Now,
    ) -> BTreeMap<AdvertiserId, (ServerId, Vec<LineNeed>)> {
        let mut wanted: BTreeMap<AdvertiserId, BTreeMap<ServerId, Vec<LineItemId>>> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        for (id, server_id) in self.next_wanting() {
            let contract = self.contracts.line(id).filter(|line| self.contracts.may_spend(line, now.wall));
            // A server that doesn't stand asks again when it does.
            let (Some(contract), true) = (contract, served.contains_key(&server_id)) else { continue };
            if self.pending.contains_key(&contract.advertiser_id) {
                waiting.insert((id, server_id));
            } else {
                wanted.entry(contract.advertiser_id).or_default().entry(server_id).or_default().push(id);
            }
        }
        let (mut needs, mut planned) = (BTreeMap::new(), 0);
        for (advertiser_id, mut by_server) in wanted {
            let last = self.turns.get(&advertiser_id).copied();
            let next = by_server.keys().copied().find(|server_id| last.is_none_or(|last| *server_id > last));
            let Some(server_id) = next.or_else(|| by_server.keys().next().copied()) else { continue };
            let its = by_server.remove(&server_id).unwrap_or_default();
            waiting.extend(by_server.into_iter().flat_map(|(other, ids)| ids.into_iter().map(move |id| (id, other))));
            let mut of_it = Vec::new();
            for id in its {
                if planned >= GRANTS_PER_STEP_MAX {
                    waiting.insert((id, server_id));
                } else if let Some(need) = self.need(id, served[&server_id], now) {
                    of_it.push(need);
                    planned += 1;
                }
            }
            if !of_it.is_empty() {
                self.turns.insert(advertiser_id, server_id);
                needs.insert(advertiser_id, (server_id, of_it));
            }
        }
        self.wanting.append(&mut waiting);
        needs
    }

    /// Takes those that want a lease that this step looks at: where there are more than that, those after the ones of the step before, and so around.
    fn next_wanting(&mut self) -> Vec<(LineItemId, ServerId)> {
        if self.wanting.len() <= WANTING_PER_STEP_MAX {
            return std::mem::take(&mut self.wanting).into_iter().collect();
        }
        let after = self.wanting_seen.map_or(Bound::Unbounded, Bound::Excluded);
        let around = self.wanting.range((after, Bound::Unbounded)).chain(&self.wanting);
        let next: Vec<_> = around.take(WANTING_PER_STEP_MAX).copied().collect();
        self.wanting_seen = next.last().copied();
        for one in &next {
            self.wanting.remove(one);
        }
        next
    }

    /// What a line item needs at a server, if it still wants a lease there.
    fn need(&mut self, id: LineItemId, served: Served, now: Now) -> Option<LineNeed> {
        let lease_ms = self.settings.lease_ms;
        let key = (id, served.server_id);
        let Some(holding) = self.holdings.get_mut(&key) else {
            // Nothing was heard of it from this run yet.
            let before = self.rates_before.get(&key);
            let fresh = Holding::new(served.at, before.cloned());
            let hoped = before.map_or(0, |_| fresh.impressions_hoped(lease_ms));
            return self.contracts.need(id, fresh.impressions_needed(lease_ms), hoped, now.wall);
        };
        let price = self.contracts.line(id).map_or(Micros::ZERO, LineContract::draw_price);
        if !holding.wants_lease(price, lease_ms, served.at) {
            return None;
        }
        let (needed, hoped) = (holding.impressions_needed(lease_ms), holding.impressions_hoped(lease_ms));
        holding.asked(hoped.max(needed));
        self.contracts.need(id, needed, hoped, now.wall)
    }

    fn terms(&self, network_id: NetworkId, served: Served, servers: usize, now: Now) -> GrantTerms {
        let draw_until = now.wall.plus_ms(self.settings.lease_ms.cast_signed());
        let life = i64::try_from(self.contracts.token_life_ms(network_id)).unwrap_or(i64::MAX);
        GrantTerms {
            server_id: served.server_id,
            boot_id: served.boot_id,
            servers: u32::try_from(servers.max(1)).unwrap_or(u32::MAX),
            granted_at: now.wall,
            draw_until,
            last_billable_until: draw_until.plus_ms(life),
        }
    }
}

impl Served {
    pub(super) const fn message(&self, body: MessageBody) -> Message {
        Message { server_id: self.server_id, boot_id: self.boot_id, body }
    }
}

/// A name that no other machine gives: its namer is in the digest, and the count makes it new within its life.
fn next_lease_id(namer: [u8; 16], named: &mut u64, now: Now) -> LeaseId {
    *named += 1;
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segue.lease.id.v1");
    hasher.update(&namer);
    hasher.update(&named.to_be_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    LeaseId::at(now.wall, random)
}
