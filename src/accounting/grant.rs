//! Planning leases: how much money each line item may draw next, within every budget at once; and which leases are over.

use std::collections::BTreeMap;

use super::account::{AdvertiserAccount, LevelId};
use super::lease::MAX_ORDINALS;
use super::watermark::Watermark;
use crate::events::{BudgetLevel, LeaseClosed, LeaseGranted, LevelLimit, LimitWindow};
use crate::model::{BootId, CampaignId, Day, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId, WallMs};

/// Most open leases of one line item. Each restart leaves one behind until nothing drawn from it can be billed any more (about an hour and
/// a quarter), so this bounds restarts in that time too; a line item at the bound waits.
pub const MAX_OPEN_LEASES_PER_LINE_ITEM: usize = 64;

/// What a line item needs, and the limits it is under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineNeed {
    /// The tenant.
    pub network_id: NetworkId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// Price of an impression; at least one micro.
    pub price: Micros,
    /// Impressions that the next lease should cover; at least 1.
    pub impressions: u32,
    /// Lifetime budget of the advertiser.
    pub advertiser_budget: Option<Micros>,
    /// Lifetime budget of the campaign.
    pub campaign_budget: Option<Micros>,
    /// Lifetime budget of the line item.
    pub line_item_budget: Option<Micros>,
    /// Impression goal of the line item.
    pub goal: Option<u64>,
}

/// To whom leases are granted, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantTerms {
    /// The server.
    pub server_id: ServerId,
    /// Its run.
    pub boot_id: BootId,
    /// Servers that share the pool; at least 1.
    pub servers: u32,
    /// When it is granted.
    pub granted_at: WallMs,
    /// Nothing is drawn after this.
    pub draw_until: WallMs,
    /// Nothing drawn is billable when received after this.
    pub last_billable_until: WallMs,
}

/// Plans one lease for each need that the budgets still allow, all levels in one step: each grant counts at the levels above before the
/// next is planned. A lease covers the need or half of a server's share of the scarcest pool, whichever is less, but at least one
/// impression when the pool has one.
///
/// `lease_id` names the next lease. The account is not changed: that happens when the records are read back from the log (INV-25).
pub fn plan_grants(
    account: &AdvertiserAccount,
    needs: &[LineNeed],
    terms: &GrantTerms,
    mut lease_id: impl FnMut() -> LeaseId,
) -> Vec<LeaseGranted> {
    let mut open: BTreeMap<LineItemId, usize> = BTreeMap::new();
    for lease in account.leases.values().filter(|lease| lease.closed_at.is_none()) {
        *open.entry(lease.grant.line_item_id).or_default() += 1;
    }
    let mut planned = Planned { account, levels: BTreeMap::new() };
    let mut grants = Vec::new();
    for need in needs {
        let open = open.entry(need.line_item_id).or_default();
        if *open >= MAX_OPEN_LEASES_PER_LINE_ITEM {
            continue;
        }
        let Some((amount, ordinals)) = planned.size(need, terms.servers) else { continue };
        *open += 1;
        let limits = limits_of(account, need);
        for (level, limit) in limits {
            planned.commit(level, amount, ordinals, limit);
        }
        grants.push(LeaseGranted {
            lease_id: lease_id(),
            server_id: terms.server_id,
            boot_id: terms.boot_id,
            network_id: need.network_id,
            advertiser_id: account.advertiser_id,
            campaign_id: need.campaign_id,
            line_item_id: need.line_item_id,
            amount,
            max_ordinals: ordinals,
            granted_at: terms.granted_at,
            draw_until: terms.draw_until,
            last_billable_until: terms.last_billable_until,
            limits: limits.into_iter().map(|(_, limit)| limit).collect(),
            price_model: PriceModel::Cpm,
            advertiser_day: Day::utc_of(terms.granted_at),
            line_item_day: Day::utc_of(terms.granted_at),
        });
    }
    grants
}

fn limits_of(account: &AdvertiserAccount, need: &LineNeed) -> [(LevelId, LevelLimit); 3] {
    [
        (
            LevelId::Advertiser(account.advertiser_id),
            LevelLimit {
                level: BudgetLevel::Advertiser,
                window: LimitWindow::Life,
                budget: need.advertiser_budget,
                goal: None,
            },
        ),
        (
            LevelId::Campaign(need.campaign_id),
            LevelLimit {
                level: BudgetLevel::Campaign,
                window: LimitWindow::Life,
                budget: need.campaign_budget,
                goal: None,
            },
        ),
        (
            LevelId::LineItem(need.line_item_id),
            LevelLimit {
                level: BudgetLevel::LineItem,
                window: LimitWindow::Life,
                budget: need.line_item_budget,
                goal: need.goal,
            },
        ),
    ]
}

/// What would count as spent at each level with the grants planned so far.
struct Planned<'a> {
    account: &'a AdvertiserAccount,
    levels: BTreeMap<LevelId, (Micros, u64)>,
}

impl Planned<'_> {
    fn committed(&self, level: LevelId) -> (Micros, u64) {
        self.levels.get(&level).copied().unwrap_or_else(|| {
            let balance = self.account.balance(level);
            (balance.committed(), balance.committed_count())
        })
    }

    /// Amount and ordinals of the next lease; none when some level has no room for one impression.
    fn size(&self, need: &LineNeed, servers: u32) -> Option<(Micros, u32)> {
        let price = need.price.0;
        if price <= 0 {
            return None;
        }
        let mut pool = i64::MAX; // impressions that every level still has room for
        for (level, limit) in limits_of(self.account, need) {
            let (micros, count) = self.committed(level);
            // Without a budget the range of the sum is the limit.
            let budget = limit.budget.unwrap_or(Micros(i64::MAX));
            pool = pool.min(budget.0.saturating_sub(micros.0) / price);
            if let Some(goal) = limit.goal {
                pool = pool.min(i64::try_from(goal.saturating_sub(count)).unwrap_or(i64::MAX));
            }
        }
        if pool < 1 {
            return None;
        }
        let share = (pool / (2 * i64::from(servers.max(1)))).max(1);
        let impressions = share.min(i64::from(need.impressions.clamp(1, MAX_ORDINALS)));
        let ordinals = u32::try_from(impressions).expect("between 1 and MAX_ORDINALS");
        let amount = need.price.times(ordinals).expect("at most the pool's micros");
        Some((amount, ordinals))
    }

    fn commit(&mut self, level: LevelId, amount: Micros, ordinals: u32, limit: LevelLimit) {
        let (micros, count) = self.committed(level);
        let micros = micros.plus(amount).expect("within the budget or the range, by `size`");
        let count = count.saturating_add(u64::from(ordinals));
        assert!(limit.budget.is_none_or(|budget| micros <= budget), "INV-4: {level:?}: a grant passes the budget");
        assert!(limit.goal.is_none_or(|goal| count <= goal), "INV-4: {level:?}: a grant passes the goal");
        self.levels.insert(level, (micros, count));
    }
}

/// The leases of the account from which nothing can be billed any more: every record received up to their last billable moment is applied.
#[must_use]
pub fn plan_closes(account: &AdvertiserAccount, watermark: Watermark, at: WallMs) -> Vec<LeaseClosed> {
    account
        .leases
        .values()
        .filter(|lease| lease.closed_at.is_none() && lease.grant.last_billable_until < watermark.complete_until())
        .map(|lease| LeaseClosed {
            lease_id: lease.grant.lease_id,
            network_id: lease.grant.network_id,
            advertiser_id: account.advertiser_id,
            campaign_id: lease.grant.campaign_id,
            line_item_id: lease.grant.line_item_id,
            settled: lease.settled_micros,
            settled_count: lease.settled_count,
            returned: lease.unsettled(),
            closed_at: at,
        })
        .collect()
}
