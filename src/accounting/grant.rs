//! Planning leases: how much money each line item may draw next, within every budget at once; and which leases are over.

use std::collections::BTreeMap;

use super::account::{AdvertiserAccount, LevelId};
use super::lease::MAX_ORDINALS;
use super::watermark::Watermark;
use crate::events::{LeaseClosed, LeaseGranted, LevelLimit};
use crate::model::{
    AdvertiserId, BootId, CampaignId, Day, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId, WallMs,
};

/// Most open leases of one line item, for each live server. What was drawn of a lease and not heard keeps it open for as long as a token lives (about
/// an hour and a quarter), so this bounds renewals and restarts in that time too; a line item at the bound waits.
pub const MAX_OPEN_LEASES_PER_LINE_ITEM: usize = 64;

/// The part of the scarcest pool, as a divisor, that a lease may take for what is only hoped: many line items that hope may share the pool.
const HOPED_PART: i64 = 1_024;

/// What a line item needs, and the limits it is under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineNeed {
    /// The tenant.
    pub network_id: NetworkId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// What is paid for.
    pub price_model: PriceModel,
    /// What is paid: for CPM and CPCL of each impression drawn, for CPC of each click, flat of the whole; at least one micro.
    pub price: Micros,
    /// Impressions that the next lease should cover; at least 1.
    pub impressions: u32,
    /// Impressions that it could win in the time of a lease: covered too, where that is a small part of what is left.
    pub hoped: u32,
    /// Every limit over it, each level and window at most once.
    pub limits: Vec<LevelLimit>,
    /// The day of the advertiser's zone.
    pub advertiser_day: Day,
    /// The day of the line item's zone.
    pub line_item_day: Day,
    /// First moment at which one of these days is over: nothing is drawn from there on.
    pub days_end: WallMs,
}

impl LineNeed {
    /// The levels at which a lease of it counts.
    fn levels(&self, advertiser_id: AdvertiserId) -> [LevelId; 6] {
        [
            LevelId::Advertiser(advertiser_id),
            LevelId::Campaign(self.campaign_id),
            LevelId::LineItem(self.line_item_id),
            LevelId::AdvertiserDay(advertiser_id, self.advertiser_day),
            LevelId::CampaignDay(self.campaign_id, self.advertiser_day),
            LevelId::LineItemDay(self.line_item_id, self.line_item_day),
        ]
    }

    fn limit(&self, level: LevelId) -> Option<&LevelLimit> {
        self.limits.iter().find(|limit| (limit.level, limit.window) == level.limit())
    }
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
/// impression when the pool has one; and what the line item may hope for, where that is a thousandth of the pool at most.
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
    let servers = usize::try_from(terms.servers.max(1)).unwrap_or(usize::MAX);
    let most = MAX_OPEN_LEASES_PER_LINE_ITEM.saturating_mul(servers);
    let mut planned = Planned { account, levels: BTreeMap::new() };
    let mut grants = Vec::new();
    for need in needs {
        let open = open.entry(need.line_item_id).or_default();
        if *open >= most {
            continue;
        }
        let Some((amount, ordinals)) = planned.size(need, terms.servers) else { continue };
        *open += 1;
        planned.commit(need, amount, ordinals);
        grants.push(granted(account.advertiser_id, need, terms, lease_id(), (amount, ordinals)));
    }
    grants
}

fn granted(
    advertiser_id: AdvertiserId,
    need: &LineNeed,
    terms: &GrantTerms,
    lease_id: LeaseId,
    (amount, max_ordinals): (Micros, u32),
) -> LeaseGranted {
    // A lease belongs to one day of each zone, so it ends with the first of them; what it draws last may be billed as long as before.
    let draw_until = terms.draw_until.min(need.days_end);
    let billable_ms = terms.last_billable_until.since(terms.draw_until);
    LeaseGranted {
        lease_id,
        server_id: terms.server_id,
        boot_id: terms.boot_id,
        network_id: need.network_id,
        advertiser_id,
        campaign_id: need.campaign_id,
        line_item_id: need.line_item_id,
        amount,
        max_ordinals,
        granted_at: terms.granted_at,
        draw_until,
        last_billable_until: draw_until.plus_ms(billable_ms),
        limits: need.limits.clone(),
        price_model: need.price_model,
        advertiser_day: need.advertiser_day,
        line_item_day: need.line_item_day,
    }
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

    /// Money that every level still has room for. Without a budget the range of the sum is the limit.
    fn money_left(&self, need: &LineNeed) -> i64 {
        let left = need.levels(self.account.advertiser_id).map(|level| {
            let budget = need.limit(level).and_then(|limit| limit.budget).unwrap_or(Micros(i64::MAX));
            budget.0.saturating_sub(self.committed(level).0.0)
        });
        left.into_iter().min().unwrap_or(0).max(0)
    }

    /// Impressions that every goal still has room for.
    fn impressions_left(&self, need: &LineNeed) -> i64 {
        let left = need.levels(self.account.advertiser_id).map(|level| {
            let goal = need.limit(level).and_then(|limit| limit.goal).unwrap_or(u64::MAX);
            i64::try_from(goal.saturating_sub(self.committed(level).1)).unwrap_or(i64::MAX)
        });
        left.into_iter().min().unwrap_or(0)
    }

    /// Amount and ordinals of the next lease; none when some level has no room for one impression.
    fn size(&self, need: &LineNeed, servers: u32) -> Option<(Micros, u32)> {
        let price = need.price.0;
        if price <= 0 {
            return None;
        }
        let (money, impressions) = (self.money_left(need), self.impressions_left(need));
        let pool = match need.price_model {
            PriceModel::Cpm | PriceModel::Cpcl => impressions.min(money / price),
            // Nothing is drawn beforehand; but where no budget has room for one more click, no impression is worth giving.
            PriceModel::Cpc if money < price => 0,
            PriceModel::Cpc | PriceModel::Flat => impressions,
        };
        if pool < 1 {
            return None;
        }
        let share = (pool / (2 * i64::from(servers.max(1)))).max(1);
        let hoped = i64::from(need.hoped).min(pool / HOPED_PART);
        let wanted = i64::from(need.impressions).max(hoped).clamp(1, i64::from(MAX_ORDINALS));
        let impressions = share.min(wanted);
        let ordinals = u32::try_from(impressions).expect("between 1 and MAX_ORDINALS");
        let amount = match need.price_model {
            PriceModel::Cpm | PriceModel::Cpcl => need.price.times(ordinals).expect("at most the pool's micros"),
            PriceModel::Cpc => Micros::ZERO,
            PriceModel::Flat => self.fee(need, money)?,
        };
        Some((amount, ordinals))
    }

    /// The fee that a flat line item's next lease holds: all of it until one lease holds it or has charged it, then nothing. None when some budget
    /// has no room for it: then it does not play.
    fn fee(&self, need: &LineNeed, money: i64) -> Option<Micros> {
        let (committed, _) = self.committed(LevelId::LineItem(need.line_item_id));
        if committed > Micros::ZERO {
            return Some(Micros::ZERO);
        }
        (need.price.0 <= money).then_some(need.price)
    }

    fn commit(&mut self, need: &LineNeed, amount: Micros, ordinals: u32) {
        for level in need.levels(self.account.advertiser_id) {
            let (micros, count) = self.committed(level);
            let micros = micros.plus(amount).expect("within the budget or the range, by `size`");
            let count = count.saturating_add(u64::from(ordinals));
            // What was spent before a budget was lowered below it stays spent; nothing is added to it.
            let limit = need.limit(level);
            let within = |budget: Micros| micros <= budget || amount == Micros::ZERO;
            assert!(
                limit.and_then(|limit| limit.budget).is_none_or(within),
                "INV-4: {level:?}: a grant passes the budget"
            );
            assert!(limit.and_then(|limit| limit.goal).is_none_or(|goal| count <= goal), "INV-4: {level:?}: the goal");
            self.levels.insert(level, (micros, count));
        }
    }
}

/// The leases of the account from which nothing can be billed any more: every record received up to their last billable moment is applied, or all
/// that was drawn of them is billed.
#[must_use]
pub fn plan_closes(account: &AdvertiserAccount, watermark: Watermark, at: WallMs) -> Vec<LeaseClosed> {
    account
        .leases
        .values()
        .filter(|lease| {
            let is_over = lease.grant.last_billable_until < watermark.complete_until() || lease.is_settled_out();
            lease.closed_at.is_none() && is_over
        })
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
