//! What must hold: at each step, when the faults are over, and at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::log_model::Kept;
use super::server_node::{Process, ServerNode};
use super::world::World;
use crate::accounting::audit::{AuditRecord, AuditReport, audit};
use crate::accounting::{Balance, LevelId, record_digest};
use crate::catalog::Entity;
use crate::events::{self, Envelope, Event, LedgerRecord};
use crate::model::{
    AdvertiserId, BeaconEvent, BootId, Budget, LineItem, LineItemId, Micros, PriceModel, ServerId, Tier, WallMs,
};

/// How long a budget that was lowered may still be passed by what was granted before accounting knew, in milliseconds.
const CHANGE_KNOWN_WITHIN_MS: u64 = 60_000;
/// The same for clicks, in milliseconds: a click is judged by the budgets that the newest grant names, and where a lowered budget lets none be
/// granted any more, clicks on what was granted before are judged by the old one. They come within a token's life, and may wait in a journal.
const CHANGE_KNOWN_TO_CLICKS_WITHIN_MS: u64 = 300_000;

/// How long a record is on its way by right when nothing fails, in milliseconds: two looks at the journal and the log, and the net.
pub(super) const UNDER_WAY_MS: u64 = 2_000;

/// What was there at a moment.
#[derive(Clone, Default, Debug)]
pub(super) struct There {
    /// Records of the log.
    log_end: u64,
    /// Durable records of each server's journal.
    durable: Vec<u64>,
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which, by its number in ARCHITECTURE.md.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
    /// When, in milliseconds after the start.
    pub at_ms: u64,
    /// At which step of the trace.
    pub step: u64,
    /// The last events of the advertiser concerned, and those that concern all.
    pub last_events: Vec<String>,
}

/// What may count as spent at each level.
#[derive(Clone, Debug)]
pub struct Ceilings {
    budgets: BTreeMap<LevelId, Micros>,
    /// Budgets of one day, by the level over its life. They don't change in a run.
    daily: BTreeMap<LevelId, Micros>,
    /// Budgets that were lowered: what was granted before may be more than the new one.
    lowered: BTreeMap<LevelId, (u64, Micros)>,
    /// Levels at which clicks are charged.
    by_click: BTreeSet<LevelId>,
    /// What counted as spent at the last look.
    committed: BTreeMap<LevelId, Micros>,
}

impl Ceilings {
    /// Those of a catalogue.
    #[must_use]
    pub fn of(catalogue: &Catalogue) -> Self {
        let limits: Vec<(LevelId, Budget)> = catalogue
            .entities
            .iter()
            .filter_map(|entity| match entity {
                Entity::Advertiser(one) => Some((LevelId::Advertiser(one.id), one.budget)),
                Entity::Campaign(one) => Some((LevelId::Campaign(one.id), one.budget)),
                Entity::LineItem(one) => Some((LevelId::LineItem(one.id), one.budget)),
                Entity::Network(_) | Entity::Creative(_) => None,
            })
            .collect();
        let of = |budget: fn(&Budget) -> Option<Micros>| {
            limits.iter().filter_map(move |(level, limit)| Some((*level, budget(limit)?))).collect()
        };
        let by_click = catalogue.line_items().filter(|one| one.pricing.model == PriceModel::Cpc);
        Self {
            budgets: of(|budget| budget.lifetime),
            daily: of(|budget| budget.daily),
            lowered: BTreeMap::new(),
            by_click: by_click.flat_map(levels_of).collect(),
            committed: BTreeMap::new(),
        }
    }

    /// The budget changes.
    pub fn change(&mut self, level: LevelId, budget: Micros, at: u64) {
        let Some(before) = self.budgets.insert(level, budget) else { return };
        let highest = match self.lowered.get(&level) {
            Some((until, highest)) if *until > at => before.max(*highest),
            _ => before,
        };
        if budget < highest {
            let by_click = self.by_click.contains(&level);
            let within = if by_click { CHANGE_KNOWN_TO_CLICKS_WITHIN_MS } else { CHANGE_KNOWN_WITHIN_MS };
            self.lowered.insert(level, (at + within, highest));
        }
    }

    /// Whether so much may count as spent at the level now: within the budget, or not more than before it was lowered.
    fn holds(&mut self, level: LevelId, balance: &Balance, at: u64) -> Result<(), Micros> {
        let Some(budget) = self.budgets.get(&level).or_else(|| self.daily.get(&of_any_day(level)?)).copied() else {
            return Ok(());
        };
        let committed = balance.committed();
        let before = self.committed.insert(level, committed).unwrap_or(Micros::ZERO);
        let lowered = self.lowered.get(&level).filter(|(until, _)| *until > at).map_or(budget, |(_, highest)| *highest);
        let ceiling = budget.max(lowered).max(before);
        if committed <= ceiling { Ok(()) } else { Err(ceiling) }
    }

    /// Whether there is a budget over the line item, for life or for a day.
    #[must_use]
    pub fn limits(&self, line_item: &LineItem) -> bool {
        levels_of(line_item).iter().any(|level| self.budgets.contains_key(level) || self.daily.contains_key(level))
    }

    /// The most that the level's budget has ever been, as far as it binds now.
    #[must_use]
    pub fn budget(&self, level: LevelId) -> Option<Micros> {
        self.budgets.get(&level).copied()
    }
}

/// The levels over a line item, over their lives.
pub(super) const fn levels_of(line_item: &LineItem) -> [LevelId; 3] {
    [
        LevelId::Advertiser(line_item.advertiser_id),
        LevelId::Campaign(line_item.campaign_id),
        LevelId::LineItem(line_item.id),
    ]
}

/// The level over its life, of one on a day.
const fn of_any_day(level: LevelId) -> Option<LevelId> {
    match level {
        LevelId::AdvertiserDay(id, _) => Some(LevelId::Advertiser(id)),
        LevelId::CampaignDay(id, _) => Some(LevelId::Campaign(id)),
        LevelId::LineItemDay(id, _) => Some(LevelId::LineItem(id)),
        LevelId::Advertiser(_) | LevelId::Campaign(_) | LevelId::LineItem(_) => None,
    }
}

impl World {
    /// INV-4, after each step of an owner, at every level.
    pub(super) fn check_owner(&mut self, generation: u64) {
        // An owner of the past knows less than there is; the present one has read all that it relies on.
        if generation != self.log.generation() {
            return;
        }
        let Some(machine) = self.machine_of(generation) else { return };
        if !machine.is_replayed() {
            return;
        }
        let levels: Vec<(AdvertiserId, LevelId, Balance)> = machine
            .book()
            .accounts
            .values()
            .flat_map(|account| account.levels.iter().map(|(level, balance)| (account.advertiser_id, *level, *balance)))
            .collect();
        for (advertiser_id, level, balance) in levels {
            if let Err(ceiling) = self.ceilings.holds(level, &balance, self.at) {
                let what = format!("{level:?} counts {balance:?} as spent, more than {ceiling:?}");
                self.violated("INV-4", Some(advertiser_id), what);
            }
        }
    }

    /// Notes what is there by now: it must have come everywhere when recovery is checked.
    pub(super) fn notes_what_is_there(&mut self) {
        let durable = self.servers.iter().map(|server| server.process.as_ref().map_or(0, Process::durable_end));
        self.there = There { log_end: self.log.end(), durable: durable.collect() };
    }

    /// INV-37: a minute after the last fault nothing waits that was there [`UNDER_WAY_MS`] ago, and paid ads are heard.
    pub(super) fn check_recovery(&mut self) {
        let There { log_end, durable } = std::mem::take(&mut self.there);
        let behind = |(server, durable): (&ServerNode, u64)| {
            server.process.as_ref().map(|process| durable.saturating_sub(process.shipped_end()))
        };
        let unshipped: Vec<Option<u64>> = self.servers.iter().zip(durable).map(behind).collect();
        let lag = self.machine().map(|machine| log_end.saturating_sub(machine.cursor()));
        if lag != Some(0) || unshipped.iter().any(|unshipped| *unshipped != Some(0)) {
            let what =
                format!("records not shipped by each server that is up: {unshipped:?}, accounting behind by {lag:?}");
            self.violated("INV-37", None, what);
        } else if self.at - self.board.last_paid_at > 1_200_000 / self.shape.players.max(1) as u64 {
            let ago = self.at - self.board.last_paid_at;
            self.violated("INV-37", None, format!("the last paid ad was answered {ago} ms ago"));
        }
    }

    /// All that must hold in the end.
    pub(super) fn check_at_rest(&mut self) {
        self.check_nothing_is_open();
        self.check_only_what_happened_is_billed();
        self.check_acknowledged();
        self.check_unpaid();
        self.check_reversals();
        self.check_budgets();
        self.check_days();
        self.check_entries();
        self.check_accounts();
        self.check_soft_caps();
        self.check_strict_caps_at_rest();
        self.check_audit();
    }

    /// INV-37: nothing waits, and every lease is closed.
    fn check_nothing_is_open(&mut self) {
        if !self.all_is_shipped() || self.ledger.cursor() != self.log.end() {
            let what = format!("in the end the ledger is at {} of {}", self.ledger.cursor(), self.log.end());
            self.violated("INV-37", None, what);
        }
        let open =
            self.ledger.balances().find(|(_, _, balance)| balance.open != Micros::ZERO || balance.open_count > 0);
        if let Some((advertiser_id, level, balance)) = open {
            let what = format!("in the end {level:?} has something open: {balance:?}");
            self.violated("INV-37", Some(advertiser_id), what);
        }
    }

    /// INV-9 and INV-1 for house ads: none is billed; as many are counted as were acknowledged in time, or more (not every acknowledged one is
    /// known to this check as in time), and not more than were heard.
    fn check_unpaid(&mut self) {
        let mut bounds: BTreeMap<LineItemId, (i64, i64)> = BTreeMap::new();
        for ad in self.board.ads.values().filter(|ad| ad.claims.tier == Tier::House) {
            let bound = bounds.entry(ad.claims.line_item_id).or_default();
            bound.0 += i64::from(self.is_in_time(ad, BeaconEvent::Impression));
            bound.1 += i64::from(ad.heard_at.is_some());
        }
        let mut counted: BTreeMap<LineItemId, (i64, i64)> = BTreeMap::new();
        for (key, totals) in self.ledger.rows().delivery {
            let sum = counted.entry(key.line_item_id).or_default();
            sum.0 += totals.impressions;
            sum.1 += totals.billed;
        }
        for (line_item_id, (least, most)) in bounds {
            let (impressions, billed) = counted.get(&line_item_id).copied().unwrap_or_default();
            if billed != 0 {
                self.violated("INV-9", None, format!("{billed} impressions of the house are charged"));
            }
            if !(least..=most).contains(&impressions) {
                let what =
                    format!("{impressions} impressions of the house are counted, of {least} acknowledged to {most}");
                self.violated("INV-1", None, what);
            }
        }
    }

    /// INV-14, INV-25: a recount of the log by other code finds what the ledger says, and every sum is right.
    fn check_audit(&mut self) {
        let file: Arc<str> = Arc::from("the log");
        let record = |(offset, kept): (usize, &Kept)| AuditRecord {
            file: Arc::clone(&file),
            offset: offset as u64,
            digest: kept.digest,
            envelope: Ok(kept.envelope.clone()),
        };
        let records: Vec<AuditRecord> = self.log.kept().iter().enumerate().map(record).collect();
        let rows = self.ledger.rows();
        let entries = rows.entries.iter().map(|entry| (rows.cursor, LedgerRecord::Entry(entry.clone())));
        let checkpoints = rows.checkpoints.iter().map(|one| (one.number, LedgerRecord::Checkpoint(*one)));
        let vouching: Vec<AuditRecord> =
            entries.chain(checkpoints).map(|(offset, record)| vouched(record, offset, rows.log_time, &file)).collect();
        let report = audit(&records, &vouching, &rows, AuditReport::default());
        if let Some(difference) = report.differences.first() {
            let what = format!(
                "audit finds {} differences, the first: {} at {}: expected {}, found {}",
                report.difference_count, difference.check, difference.place, difference.expected, difference.found
            );
            self.violated("INV-14", None, what);
        }
    }
}

/// The record by which the log vouches for an entry or a checkpoint, as accounting's shell makes it once they are committed.
fn vouched(record: LedgerRecord, offset: u64, at: WallMs, file: &Arc<str>) -> AuditRecord {
    let body = Event::Ledger(Box::new(record));
    let (server_id, boot_id) = (ServerId::from_u128(0x7700), BootId::from_u128(0x9000_0000));
    let envelope =
        Envelope { event_id: body.id(), occurred_at: at, received_at: at, server_id, boot_id, trace_id: None, body };
    let digest = record_digest(&events::encode(&envelope));
    AuditRecord { file: Arc::clone(file), offset, digest, envelope: Ok(envelope) }
}
