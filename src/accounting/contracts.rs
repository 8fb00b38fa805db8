//! What accounting needs of the catalogue: budgets, goals, prices, flights, and how long a token lives.

use std::collections::BTreeMap;

use super::grant::LineNeed;
use crate::catalog::Entity;
use crate::model::{
    AdvertiserId, CampaignId, Flight, LineItem, LineItemId, Micros, NetworkId, PacingMode, PriceModel, Status, Tier,
    WallMs,
};

/// Token life of a network whose entity is not known yet, in milliseconds (one hour, the default of a placement).
const DEFAULT_TOKEN_LIFE_MS: u64 = 3_600_000;

/// What was sold in one line item, as far as money goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineContract {
    /// The tenant.
    pub network_id: NetworkId,
    /// Who pays.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// Whether it may deliver.
    pub status: Status,
    /// When it may deliver.
    pub flight: Flight,
    /// Its tier.
    pub tier: Tier,
    /// Price of an impression; none when it is not sold by the impression.
    pub price: Option<Micros>,
    /// Its lifetime budget.
    pub budget: Option<Micros>,
    /// Its impression goal.
    pub goal: Option<u64>,
    /// How it spreads.
    pub pacing: PacingMode,
}

impl LineContract {
    fn of(line: &LineItem) -> Self {
        Self {
            network_id: line.network_id,
            advertiser_id: line.advertiser_id,
            campaign_id: line.campaign_id,
            status: line.status,
            flight: line.flight.clone(),
            tier: line.tier,
            price: (line.pricing.model == PriceModel::Cpm).then(|| line.pricing.per_impression()).flatten(),
            budget: line.budget.lifetime,
            goal: line.goal.map(|goal| goal.impressions),
            pacing: line.pacing.clone(),
        }
    }

    /// The most it may spend by its own limits: the lesser of budget and goal; none when it has neither.
    #[must_use]
    pub fn own_limit(&self) -> Option<Micros> {
        let by_goal = match (self.goal, self.price) {
            (Some(goal), Some(price)) => Some(Micros(price.0.saturating_mul(i64::try_from(goal).unwrap_or(i64::MAX)))),
            _ => None,
        };
        match (self.budget, by_goal) {
            (Some(budget), Some(goal)) => Some(budget.min(goal)),
            (budget, goal) => budget.or(goal),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Payer {
    status: Status,
    budget: Option<Micros>,
}

/// The contracts of a catalogue, kept up by its change feed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
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
                let payer = Payer { status: advertiser.status, budget: advertiser.budget.lifetime };
                self.advertisers.insert(advertiser.id, payer);
            }
            Entity::Campaign(campaign) => {
                let payer = Payer { status: campaign.status, budget: campaign.budget.lifetime };
                self.campaigns.insert(campaign.id, payer);
            }
            Entity::LineItem(line) => {
                self.lines.insert(line.id, LineContract::of(line));
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

    /// The lifetime budget of an advertiser.
    #[must_use]
    pub fn advertiser_budget(&self, id: AdvertiserId) -> Option<Micros> {
        self.advertisers.get(&id).and_then(|payer| payer.budget)
    }

    /// The lifetime budget of a campaign.
    #[must_use]
    pub fn campaign_budget(&self, id: CampaignId) -> Option<Micros> {
        self.campaigns.get(&id).and_then(|payer| payer.budget)
    }

    /// Longest life of a token of the network, in milliseconds.
    #[must_use]
    pub fn token_life_ms(&self, network_id: NetworkId) -> u64 {
        self.token_life_ms.get(&network_id).copied().unwrap_or(DEFAULT_TOKEN_LIFE_MS)
    }

    /// Whether the line item may spend at `at`: paid by the impression, in flight, and active at every level. Levels that are not known
    /// yet say no.
    #[must_use]
    pub fn may_spend(&self, line: &LineContract, at: WallMs) -> bool {
        let active = |payer: Option<&Payer>| payer.is_some_and(|payer| payer.status == Status::Active);
        line.tier != Tier::House
            && line.price.is_some_and(|price| price > Micros::ZERO)
            && line.status == Status::Active
            && line.flight.contains(at)
            && active(self.campaigns.get(&line.campaign_id))
            && active(self.advertisers.get(&line.advertiser_id))
    }

    /// What a lease of so many impressions has to stay within; none when the line item is unknown or not paid by the impression.
    #[must_use]
    pub fn need(&self, line_item_id: LineItemId, impressions: u32) -> Option<LineNeed> {
        let line = self.lines.get(&line_item_id)?;
        Some(LineNeed {
            network_id: line.network_id,
            campaign_id: line.campaign_id,
            line_item_id,
            price: line.price?,
            impressions,
            advertiser_budget: self.advertiser_budget(line.advertiser_id),
            campaign_budget: self.campaign_budget(line.campaign_id),
            line_item_budget: line.budget,
            goal: line.goal,
        })
    }
}
