//! The small catalogue of a run: every tier and price model, budgets at every level that bind within minutes, caps, and one line item that
//! never runs dry.

use std::sync::Arc;

use crate::catalog::Entity;
use crate::model::{
    Advertiser, AdvertiserId, App, AppKey, Approval, AudioFormat, Avoidance, Budget, Campaign, CampaignId, CapScope,
    CapWindow, Creative, CreativeChoice, CreativeId, Flight, FrequencyCap, Goal, LineItem, LineItemId, Micros, Network,
    NetworkId, PacingMode, Placement, PlacementKey, PriceModel, Pricing, Rendition, RenditionSource, ShareOfVoice,
    Status, Strictness, Tier, Zone,
};
use crate::sim::clock_model::START;
use crate::targeting::{Attribute, Expression, Predicate};
use crate::workload::Draws;

/// The one network.
pub const NETWORK: NetworkId = NetworkId::from_u128(1);
/// How long a token lives, in milliseconds: short, so that players that were away come too late within a run, and several times as long as a
/// server is down, as it must be wherever Segue runs: a beacon that no server takes for all of a token's life is heard and not billed.
pub const TOKEN_LIFE_MS: u64 = 120_000;
/// Least time between two breaks of a listener, in milliseconds.
pub const CADENCE_MS: u32 = 5_000;
/// Advertisers in a run.
const ADVERTISERS: u32 = 5;
/// Which of them is expensive: its money does not fit 32 bits.
const EXPENSIVE: u32 = 1;
/// Stream of draws for price models.
const STREAM_MODELS: u64 = 7;
/// Window of caps, in milliseconds.
const CAP_WINDOW_MS: u64 = 120_000;
/// Windows of strict caps, in milliseconds: with and without a token's life between two ads in them.
const STRICT_WINDOWS_MS: [u64; 3] = [45_000, 120_000, 300_000];
/// Stream of draws for strict caps: their own, so that all else of a catalogue is as it would be without.
const STREAM_STRICT: u64 = 6;

/// The entities of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Catalogue {
    /// All of them, parents first.
    pub entities: Vec<Entity>,
}

impl Catalogue {
    /// The catalogue of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut draws = Draws::new(seed, 2);
        let mut entities = vec![Entity::from(network())];
        let mut line_items = 0;
        for number in 0..ADVERTISERS {
            let price = if number == EXPENSIVE { 100_000_000 } else { 1_000 * i64::from(draws.between(2, 40)) };
            advertiser(number, price, &mut draws, &mut entities, &mut line_items);
        }
        // A stream of their own: what is sold leaves the rest of the catalogue as it is.
        let mut models = Draws::new(seed, STREAM_MODELS);
        for entity in &mut entities {
            if let Entity::LineItem(line_item) = entity {
                sell(Arc::make_mut(line_item), &mut models);
            }
        }
        entities.push(Entity::from(LineItem {
            name: "evergreen".to_owned(),
            pacing: PacingMode::AsFastAsPossible,
            budget: Budget::default(),
            pricing: Pricing { model: PriceModel::Cpm, amount: Micros(1_000_000) },
            caps: Vec::new(),
            targeting: Expression::everybody(),
            tier: Tier::Auction,
            goal: None,
            share_of_voice: None,
            ..line_item(90, 0, 0, &mut draws)
        }));
        entities.push(Entity::from(LineItem {
            name: "house".to_owned(),
            budget: Budget::default(),
            tier: Tier::House,
            goal: None,
            share_of_voice: None,
            caps: Vec::new(),
            targeting: Expression::everybody(),
            ..line_item(91, 4, 0, &mut draws)
        }));
        // The evergreen's advertiser and campaign must not run dry either.
        for entity in &mut entities {
            match entity {
                Entity::Advertiser(advertiser) if advertiser.id == advertiser_id(0) => {
                    Arc::make_mut(advertiser).budget = Budget::default();
                }
                Entity::Campaign(campaign) if campaign.id == campaign_id(0, 0) => {
                    Arc::make_mut(campaign).budget = Budget::default();
                }
                _ => {}
            }
        }
        strict_caps(&mut entities, &mut Draws::new(seed, STREAM_STRICT));
        Self { entities }
    }

    /// Its line items.
    pub fn line_items(&self) -> impl Iterator<Item = &LineItem> {
        self.entities.iter().filter_map(|entity| match entity {
            Entity::LineItem(line_item) => Some(&**line_item),
            Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
        })
    }

    /// Puts a new form of an entity in the place of the one before.
    pub fn put(&mut self, entity: Entity) {
        match self.entities.iter_mut().find(|known| known.id() == entity.id()) {
            Some(known) => *known = entity,
            None => self.entities.push(entity),
        }
    }
}

/// Its id.
#[must_use]
pub const fn advertiser_id(number: u32) -> AdvertiserId {
    AdvertiserId::from_u128(0x1000 + number as u128)
}

const fn campaign_id(advertiser: u32, number: u32) -> CampaignId {
    CampaignId::from_u128(0x2000 + advertiser as u128 * 16 + number as u128)
}

const fn creative_id(advertiser: u32, number: u32) -> CreativeId {
    CreativeId::from_u128(0x4000 + advertiser as u128 * 16 + number as u128)
}

fn network() -> Network {
    let placement = Placement {
        key: placement_key(),
        name: "between tracks".to_owned(),
        floor_cpm: Micros::ZERO,
        max_duration_ms: 60_000,
        max_ads: 3,
        cadence_ms: CADENCE_MS,
        token_life_ms: TOKEN_LIFE_MS,
        impression_at_start: false,
    };
    Network {
        id: NETWORK,
        name: "a network".to_owned(),
        currency: "EUR".to_owned(),
        floor_cpm: Micros::ZERO,
        approve_creatives: false,
        apps: vec![App { key: app_key(), name: "a player".to_owned() }],
        placements: vec![placement],
    }
}

/// The key of the one placement.
#[must_use]
pub fn placement_key() -> PlacementKey {
    PlacementKey::new("between").expect("visible ASCII")
}

/// The key of the one app.
#[must_use]
pub fn app_key() -> AppKey {
    AppKey::new("player").expect("visible ASCII")
}

fn advertiser(number: u32, price: i64, draws: &mut Draws, entities: &mut Vec<Entity>, line_items: &mut u32) {
    let impressions = |draws: &mut Draws, low, high| Some(Micros(price * i64::from(draws.between(low, high))));
    let own = if draws.chance(0.6) || number == EXPENSIVE { impressions(draws, 60, 200) } else { None };
    let daily = if draws.chance(0.4) { impressions(draws, 40, 120) } else { None };
    let zone = zone(draws);
    entities.push(Entity::from(Advertiser {
        id: advertiser_id(number),
        network_id: NETWORK,
        name: format!("advertiser {number}"),
        status: Status::Active,
        budget: Budget { lifetime: own, daily },
        zone,
        caps: Vec::new(),
    }));
    for campaign in 0..2 {
        let budget = if draws.chance(0.6) { impressions(draws, 20, 120) } else { None };
        entities.push(Entity::from(Campaign {
            id: campaign_id(number, campaign),
            advertiser_id: advertiser_id(number),
            network_id: NETWORK,
            name: format!("campaign {number}.{campaign}"),
            status: Status::Active,
            budget: Budget { lifetime: budget, daily: None },
            caps: Vec::new(),
        }));
        entities.push(Entity::from(creative(number, campaign, draws)));
        for _ in 0..draws.between(1, 2) {
            let mut item = line_item(*line_items, number, campaign, draws);
            item.pricing.amount = Micros(price * 1_000);
            item.budget.lifetime = if draws.chance(0.8) { impressions(draws, 10, 120) } else { None };
            item.budget.daily = if draws.chance(0.5) { impressions(draws, 5, 25) } else { None };
            item.flight.zone = self::zone(draws);
            entities.push(Entity::from(item));
            *line_items += 1;
        }
    }
}

/// Sells a line item that was priced by the impression in another way, two times of five: by the completed listen at the same price, by the click
/// at what an impression would have cost, or flat for some impressions' worth (not in an auction, and not by the day, as at the API).
fn sell(line_item: &mut LineItem, draws: &mut Draws) {
    let impression = Micros(line_item.pricing.amount.0 / 1_000);
    let (which, worth) = (draws.below(100), draws.between(5, 15));
    match which {
        0..=14 => line_item.pricing.model = PriceModel::Cpcl,
        15..=29 => line_item.pricing = Pricing { model: PriceModel::Cpc, amount: impression },
        30..=39 if line_item.tier == Tier::Auction => line_item.pricing.model = PriceModel::Cpcl,
        30..=39 => {
            let fee = impression.times(worth).expect("a few impressions");
            line_item.pricing = Pricing { model: PriceModel::Flat, amount: fee };
            line_item.budget.daily = None;
            line_item.budget.lifetime = line_item.budget.lifetime.map(|budget| budget.max(fee));
        }
        _ => {}
    }
}

/// Makes some caps strict: of line items, of campaigns as a whole, and of the house, whose ads have no lease. The evergreen keeps none.
fn strict_caps(entities: &mut [Entity], draws: &mut Draws) {
    for entity in entities {
        let (is_strict, max) = (draws.chance(0.2), u16::try_from(draws.between(1, 3)).expect("small"));
        let window = CapWindow::Sliding(*draws.pick(&STRICT_WINDOWS_MS));
        let cap = |scope| vec![FrequencyCap { scope, max, window, strictness: Strictness::Strict }];
        match entity {
            Entity::LineItem(line_item) if is_strict && line_item.name != "evergreen" => {
                Arc::make_mut(line_item).caps = cap(CapScope::LineItem);
            }
            Entity::Campaign(campaign) if is_strict && campaign.id != campaign_id(0, 0) => {
                Arc::make_mut(campaign).caps = cap(CapScope::Campaign);
            }
            _ => {}
        }
    }
}

/// A zone: one in which a day ends within the run, or one of two in which none does.
fn zone(draws: &mut Draws) -> Zone {
    let name = *draws.pick(&["Etc/UTC", "Asia/Kolkata", "America/New_York"]);
    Zone::named(name).expect("zones of the bundled database")
}

fn creative(advertiser: u32, number: u32, draws: &mut Draws) -> Creative {
    Creative {
        id: creative_id(advertiser, number),
        advertiser_id: advertiser_id(advertiser),
        network_id: NETWORK,
        name: format!("creative {advertiser}.{number}"),
        status: Status::Active,
        approval: Approval::Approved,
        duration_ms: draws.between(5, 15) * 1_000,
        explicit: false,
        renditions: vec![Rendition {
            format: AudioFormat::Mp3,
            bitrate_kbps: 128,
            source: RenditionSource::Url("https://cdn.example/a".into()),
        }],
        click_url: None,
    }
}

fn line_item(number: u32, advertiser: u32, campaign: u32, draws: &mut Draws) -> LineItem {
    let tier = *draws.pick(&[Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::Auction, Tier::Auction]);
    let caps = if draws.chance(0.4) {
        let max = u16::try_from(draws.between(1, 4)).expect("small");
        let window = CapWindow::Sliding(CAP_WINDOW_MS);
        vec![FrequencyCap { scope: CapScope::LineItem, max, window, strictness: Strictness::Soft }]
    } else {
        Vec::new()
    };
    let pop = Predicate::Has { attribute: Attribute::Genre, any_of: vec!["pop".into()] };
    LineItem {
        id: LineItemId::from_u128(0x3000 + u128::from(number)),
        campaign_id: campaign_id(advertiser, campaign),
        advertiser_id: advertiser_id(advertiser),
        network_id: NETWORK,
        name: format!("line item {number}"),
        status: Status::Active,
        flight: Flight { start: START.plus_ms(-1_000), end: START.plus_ms(3_600_000), zone: Zone::utc() },
        tier,
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros(10_000_000) },
        budget: Budget::default(),
        goal: (tier == Tier::Guaranteed)
            .then(|| Goal { impressions: u64::from(draws.between(10, 150)), daily_impressions: None }),
        share_of_voice: (tier == Tier::Sponsorship).then_some(ShareOfVoice { basis_points: 2_000 }),
        pacing: if draws.chance(0.7) { PacingMode::AsFastAsPossible } else { PacingMode::Even },
        targeting: if draws.chance(0.3) { Expression::Is(pop) } else { Expression::everybody() },
        caps,
        category: None,
        excluded_categories: Vec::new(),
        avoid: Avoidance::default(),
        creatives: vec![CreativeChoice { creative_id: creative_id(advertiser, campaign), weight: 1 }],
        trackers: Vec::new(),
    }
}
