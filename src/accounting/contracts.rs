//! What accounting needs of the catalogue: budgets, goals, prices, flights, and how long a token lives.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use super::grant::LineNeed;
use crate::catalog::{EXPECTED_CLICKS_PER_10_000, Entity};
use crate::events::{BudgetLevel, LevelLimit, LimitWindow};
use crate::model::{
    AdvertiserId, Budget, CampaignId, Goal, LineItem, LineItemId, Micros, NetworkId, PriceModel, Status, Tier, WallMs,
    Zone,
};

/// Token life of a network whose entity is not known yet, in milliseconds (one hour, the default of a placement).
const DEFAULT_TOKEN_LIFE_MS: u64 = 3_600_000;

/// What was sold in one line item. The line item itself, shared with whoever else has it; money asks for the little that [`LineContract::is_sold_like`]
/// compares.
#[derive(Clone, PartialEq, Debug)]
pub struct LineContract(Arc<LineItem>);

impl Deref for LineContract {
    type Target = LineItem;

    fn deref(&self) -> &LineItem {
        &self.0
    }
}

impl LineContract {
    /// Whether both are sold on the same terms: to whom, when, at what price, how much of it, and how it spreads.
    #[must_use]
    pub fn is_sold_like(&self, other: &Self) -> bool {
        let parties = |line: &Self| (line.network_id, line.advertiser_id, line.campaign_id, line.status, line.tier);
        let limits = |line: &Self| (line.pricing, line.budget, line.goal);
        parties(self) == parties(other)
            && limits(self) == limits(other)
            && self.flight == other.flight
            && self.pacing == other.pacing
    }

    /// What is charged at once: for CPM and CPCL one impression, for CPC one click, flat all.
    #[must_use]
    pub fn unit_price(&self) -> Micros {
        self.pricing.per_impression().unwrap_or(self.pricing.amount)
    }

    /// What is drawn from a lease for one impression.
    #[must_use]
    pub fn draw_price(&self) -> Micros {
        self.pricing.per_impression().unwrap_or(Micros::ZERO)
    }

    /// What one impression is expected to cost, at least one micro: what pacing reckons with. By the click, the price times the clicks that an
    /// impression is expected to bring; flat, nothing is paced by money.
    #[must_use]
    pub fn expected_price(&self) -> Micros {
        let expected = match self.pricing.model {
            PriceModel::Cpm | PriceModel::Cpcl => self.draw_price().0,
            PriceModel::Cpc => self.pricing.amount.0.saturating_mul(EXPECTED_CLICKS_PER_10_000) / 10_000,
            PriceModel::Flat => 1,
        };
        Micros(expected.max(1))
    }

    /// The most it may spend by its own limits over its life: the lesser of budget and goal; none when it has neither.
    #[must_use]
    pub fn own_limit(&self) -> Option<Micros> {
        self.lesser(self.budget.lifetime, self.goal.map(|goal| goal.impressions))
    }

    /// The same for one day.
    #[must_use]
    pub fn own_daily_limit(&self) -> Option<Micros> {
        self.lesser(self.budget.daily, self.goal.and_then(|goal| goal.daily_impressions))
    }

    fn lesser(&self, budget: Option<Micros>, goal: Option<u64>) -> Option<Micros> {
        let price = self.expected_price().0;
        let by_goal = goal.map(|goal| Micros(price.saturating_mul(i64::try_from(goal).unwrap_or(i64::MAX))));
        // A flat fee is spent at once: only its goal is paced.
        let budget = budget.filter(|_| self.pricing.model != PriceModel::Flat);
        match (budget, by_goal) {
            (Some(budget), Some(goal)) => Some(budget.min(goal)),
            (budget, goal) => budget.or(goal),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Payer {
    status: Status,
    budget: Budget,
    /// The zone of an advertiser's days; a campaign has its advertiser's.
    zone: Option<Zone>,
}

/// The contracts of a catalogue, kept up by its change feed.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Contracts {
    token_life_ms: BTreeMap<NetworkId, u64>,
    advertisers: BTreeMap<AdvertiserId, Payer>,
    campaigns: BTreeMap<CampaignId, Payer>,
    lines: BTreeMap<LineItemId, LineContract>,
}

impl Contracts {
    /// Takes a change of the catalogue: the whole entity as of its revision.
    pub fn apply(&mut self, entity: &Entity) {
        match entity {
            Entity::Network(network) => {
                let longest = network.placements.iter().map(|placement| placement.token_life_ms).max();
                self.token_life_ms.insert(network.id, longest.unwrap_or(DEFAULT_TOKEN_LIFE_MS));
            }
            Entity::Advertiser(advertiser) => {
                let zone = Some(advertiser.zone.clone());
                let payer = Payer { status: advertiser.status, budget: advertiser.budget, zone };
                self.advertisers.insert(advertiser.id, payer);
            }
            Entity::Campaign(campaign) => {
                let payer = Payer { status: campaign.status, budget: campaign.budget, zone: None };
                self.campaigns.insert(campaign.id, payer);
            }
            Entity::LineItem(line) => {
                self.lines.insert(line.id, LineContract(Arc::clone(line)));
            }
            Entity::Creative(_) => {}
        }
    }

    /// The contract of a line item.
    #[must_use]
    pub fn line(&self, line_item_id: LineItemId) -> Option<&LineContract> {
        self.lines.get(&line_item_id)
    }

    /// All contracts, by line item.
    pub fn lines(&self) -> impl Iterator<Item = (LineItemId, &LineContract)> {
        self.lines.iter().map(|(id, line)| (*id, line))
    }

    /// The zone of an advertiser's days and months; UTC while it is not known.
    #[must_use]
    pub fn advertiser_zone(&self, id: AdvertiserId) -> Zone {
        self.advertisers.get(&id).and_then(|payer| payer.zone.clone()).unwrap_or_else(Zone::utc)
    }

    /// Longest life of a token of the network, in milliseconds.
    #[must_use]
    pub fn token_life_ms(&self, network_id: NetworkId) -> u64 {
        self.token_life_ms.get(&network_id).copied().unwrap_or(DEFAULT_TOKEN_LIFE_MS)
    }

    /// Whether the line item may spend at `at`: sold for money, in flight, and active at every level. Levels that are not known yet say no.
    #[must_use]
    pub fn may_spend(&self, line: &LineContract, at: WallMs) -> bool {
        let active = |payer: Option<&Payer>| payer.is_some_and(|payer| payer.status == Status::Active);
        line.tier != Tier::House
            && line.unit_price() > Micros::ZERO
            && line.status == Status::Active
            && line.flight.contains(at)
            && active(self.campaigns.get(&line.campaign_id))
            && active(self.advertisers.get(&line.advertiser_id))
    }

    /// What a lease of so many impressions, granted at `at`, has to stay within; none when the line item is unknown or free.
    #[must_use]
    pub fn need(&self, line_item_id: LineItemId, impressions: u32, hoped: u32, at: WallMs) -> Option<LineNeed> {
        let line = self.lines.get(&line_item_id)?;
        let advertiser = self.advertisers.get(&line.advertiser_id);
        let utc = Zone::utc();
        let zone = advertiser.and_then(|payer| payer.zone.as_ref()).unwrap_or(&utc);
        let none = Budget::default();
        let mut limits = Vec::new();
        let campaign = self.campaigns.get(&line.campaign_id).map_or(none, |payer| payer.budget);
        let advertiser = advertiser.map_or(none, |payer| payer.budget);
        add_limits(&mut limits, BudgetLevel::Advertiser, advertiser, None);
        add_limits(&mut limits, BudgetLevel::Campaign, campaign, None);
        add_limits(&mut limits, BudgetLevel::LineItem, line.budget, line.goal);
        Some(LineNeed {
            network_id: line.network_id,
            campaign_id: line.campaign_id,
            line_item_id,
            price_model: line.pricing.model,
            price: line.unit_price(),
            impressions,
            hoped,
            limits,
            advertiser_day: zone.day(at),
            line_item_day: line.flight.zone.day(at),
            days_end: zone.day_end(at).min(line.flight.zone.day_end(at)),
        })
    }
}

/// The limits of a level. The one for life is always named, so that a grant says at which levels it counts; one for a day where there is one.
fn add_limits(limits: &mut Vec<LevelLimit>, level: BudgetLevel, budget: Budget, goal: Option<Goal>) {
    let life = goal.map(|goal| goal.impressions);
    limits.push(LevelLimit { level, window: LimitWindow::Life, budget: budget.lifetime, goal: life });
    let daily = goal.and_then(|goal| goal.daily_impressions);
    if budget.daily.is_some() || daily.is_some() {
        limits.push(LevelLimit { level, window: LimitWindow::Day, budget: budget.daily, goal: daily });
    }
}
