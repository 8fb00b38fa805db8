//! What accounting says of line items to those who watch them: how each stands, by contract, books and pacing.

use super::super::RoleEffects;
use super::super::pace::Pace;
use super::super::statements::ppm;
use super::AccountingMachine;
use crate::accounting::{Balance, LevelId, LineContract};
use crate::events::{LineItemDelivery, Spend};
use crate::model::{LineItemId, Now};

impl AccountingMachine {
    /// Says how line items stand that are to be told of, where somebody can read that.
    pub(super) fn state_delivery(&mut self, now: Now, effects: &mut RoleEffects) {
        if !self.settings.states_delivery {
            return;
        }
        let mut statements = std::mem::take(&mut self.statements);
        let lines = self.contracts.lines().map(|(id, contract)| self.delivery(id, contract, now));
        effects.statements = statements.due(now, lines);
        self.statements = statements;
    }

    /// How a line item stands.
    fn delivery(&self, line_item_id: LineItemId, contract: &LineContract, now: Now) -> LineItemDelivery {
        let day = contract.flight.zone.day(now.wall);
        let account = self.book.accounts.get(&contract.advertiser_id);
        let spend = |level| {
            let balance = account.map_or_else(Balance::default, |account| account.balance(level));
            Spend {
                settled: balance.settled,
                impressions: balance.settled_count,
                open: balance.open,
                open_impressions: balance.open_count,
            }
        };
        let may_spend = self.contracts.may_spend(contract, now.wall);
        let told = self.paces.get(&line_item_id).and_then(Pace::told);
        LineItemDelivery {
            line_item_id,
            network_id: contract.network_id,
            advertiser_id: contract.advertiser_id,
            campaign_id: contract.campaign_id,
            at: now.wall,
            partition: self.settings.partition,
            events_until: self.cursor,
            may_spend,
            throttle_ppm: if may_spend { ppm(told.unwrap_or(u64::MAX)) } else { 0 },
            life: spend(LevelId::LineItem(line_item_id)),
            today: spend(LevelId::LineItemDay(line_item_id, day)),
            day,
        }
    }
}
