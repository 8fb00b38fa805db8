//! What the books say of one line item: its money at every level, and what was heard lately.

use std::collections::BTreeMap;

use super::Found;
use super::document::{DeliveredDocument, DeliveryDocument};
use crate::accounting::{Balance, DeliveryTotals, LevelId};
use crate::decision::{Level, LevelMoney};
use crate::model::{Budget, Day, Goal, Micros, WallMs};
use crate::store::{DeliveryRange, LedgerReader, ReadsLedger as _, StoreError};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Most rows of a line item in the hours that are read: 25, and one for a clock that is ahead.
const ROWS_MAX: usize = 26;

/// What the books say.
pub(super) struct Books {
    pub(super) money: Vec<LevelMoney>,
    pub(super) delivery: DeliveryDocument,
}

impl Default for Books {
    fn default() -> Self {
        Self { money: Vec::new(), delivery: DeliveryDocument { last_hour: None, last_24_hours: None } }
    }
}

/// Reads the books. Blocks.
pub(super) fn read_books(ledger: &LedgerReader, found: &Found, now: WallMs) -> Result<Books, StoreError> {
    let balances = ledger.balances_of(found.advertiser.id)?;
    let balances: BTreeMap<LevelId, Balance> =
        balances.into_iter().map(|(_, level, balance)| (level, balance)).collect();
    let from = now.plus_ms(-DAY_MS).hour_start();
    let range = DeliveryRange { line_item_id: Some(found.line_item.id), from, to: now.plus_ms(HOUR_MS) };
    let rows = ledger.delivery(range, ROWS_MAX)?;
    let sum = |from: WallMs| {
        let mut totals = DeliveryTotals::default();
        for (_, row) in rows.iter().filter(|(key, _)| key.hour >= from) {
            totals.add(row);
        }
        Some(DeliveredDocument {
            from: from.to_rfc3339(),
            impressions: totals.impressions,
            billed_impressions: totals.billed,
            billed_micros: totals.billed_micros.0,
        })
    };
    let delivery = DeliveryDocument { last_hour: sum(now.plus_ms(-HOUR_MS).hour_start()), last_24_hours: sum(from) };
    Ok(Books { money: money(&balances, found, now), delivery })
}

/// Says that the books could not be read.
pub(super) fn told(error: &StoreError) {
    tracing::error!(error = error as &dyn std::error::Error, "a diagnosis can't read the ledger");
}

/// Every limit, the widest level first.
fn money(balances: &BTreeMap<LevelId, Balance>, found: &Found, now: WallMs) -> Vec<LevelMoney> {
    let Found { line_item, campaign, advertiser, .. } = found;
    let (day, own_day) = (advertiser.zone.day(now), line_item.flight.zone.day(now));
    let mut levels = Vec::new();
    let mut add = |level: Level, budget: Budget, goal: Option<Goal>, (life, of_day): (LevelId, LevelId), day: Day| {
        let limits = [
            (life, None, budget.lifetime, goal.map(|goal| goal.impressions)),
            (of_day, Some(day), budget.daily, goal.and_then(|goal| goal.daily_impressions)),
        ];
        for (id, day, budget, goal) in limits {
            if budget.is_some() || goal.is_some() {
                let balance = balances.get(&id).copied().unwrap_or_default();
                levels.push(level_money(level, day, (budget, goal), balance));
            }
        }
    };
    let (id, days) = (advertiser.id, LevelId::AdvertiserDay(advertiser.id, day));
    add(Level::Advertiser, advertiser.budget, None, (LevelId::Advertiser(id), days), day);
    let (id, days) = (campaign.id, LevelId::CampaignDay(campaign.id, day));
    add(Level::Campaign, campaign.budget, None, (LevelId::Campaign(id), days), day);
    let (id, days) = (line_item.id, LevelId::LineItemDay(line_item.id, own_day));
    add(Level::LineItem, line_item.budget, line_item.goal, (LevelId::LineItem(id), days), own_day);
    levels
}

fn level_money(
    level: Level,
    day: Option<Day>,
    (budget, goal): (Option<Micros>, Option<u64>),
    balance: Balance,
) -> LevelMoney {
    LevelMoney {
        level,
        day,
        budget,
        goal,
        settled: balance.settled,
        settled_count: balance.settled_count,
        open: balance.open,
        open_count: balance.open_count,
    }
}
