//! Small random worlds: a catalogue, its money, listeners and requests, full of equal prices, conflicts, caps and refusals.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::catalog::{CatalogWriter, Entity, Snapshot};
use crate::decision::{LeaseTerms, Spending};
use crate::model::*;
use crate::targeting::{Attribute, Expression, Predicate};

/// Seeded chance.
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    /// True in that many of a hundred.
    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(super) fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(u32::try_from(values.len()).unwrap()) as usize].clone()
    }

    fn some_of(&mut self, values: &[&str], percent: u32) -> Vec<String> {
        values.iter().filter(|_| self.percent(percent)).map(|&value| value.to_owned()).collect()
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for index in (1..values.len()).rev() {
            values.swap(index, self.below(u32::try_from(index + 1).unwrap()) as usize);
        }
    }
}

pub(super) const NOW: Now = Now { wall: WallMs(1_000_000_000), monotonic: MonotonicMs(5_000) };
pub(super) const NETWORK: NetworkId = NetworkId::from_u128(1);
const CATEGORIES: [&str; 4] = ["cars", "alcohol", "soap", "travel"];
const GENRES: [&str; 3] = ["pop", "metal", "jazz"];
const TOPICS: [&str; 2] = ["news", "crime"];

/// A catalogue as entities, and the money of its line items.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) entities: Vec<Entity>,
    pub(super) money: Vec<(LineItemId, Money)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Money {
    pub(super) paused: bool,
    pub(super) throttle: u64,
    pub(super) lease: Option<LeaseTerms>,
}

impl World {
    /// A world of at most that many line items.
    pub(super) fn random(chance: &mut Chance, max_line_items: u32) -> Self {
        let advertisers = 1 + chance.below(14);
        let mut entities = vec![Entity::from(network(chance))];
        for id in 0..advertisers {
            entities.push(Entity::from(advertiser(id, chance)));
            entities.push(Entity::from(campaign(id, chance)));
            for number in 0..2 {
                entities.push(Entity::from(creative(id * 2 + number, id, chance)));
            }
        }
        let line_items = chance.below(max_line_items + 1);
        let mut money = Vec::new();
        for id in 0..line_items {
            let line_item = line_item(id, chance.below(advertisers), chance);
            money.push((line_item.id, Money::random(id, chance)));
            entities.push(Entity::from(line_item));
        }
        Self { entities, money }
    }

    /// A world where little is refused, so that pods are full and early stops are early.
    pub(super) fn rich(chance: &mut Chance, max_line_items: u32) -> Self {
        let mut world = Self::random(chance, max_line_items);
        for entity in &mut world.entities {
            match entity {
                Entity::Network(network) => Arc::make_mut(network).placements[0].max_ads = 4,
                Entity::Advertiser(advertiser) => Arc::make_mut(advertiser).status = Status::Active,
                Entity::Campaign(campaign) => Arc::make_mut(campaign).status = Status::Active,
                Entity::Creative(creative) => {
                    let creative = Arc::make_mut(creative);
                    (creative.status, creative.approval) = (Status::Active, Approval::Approved);
                    creative.duration_ms = creative.duration_ms.min(30_000);
                }
                Entity::LineItem(line_item) => {
                    let line_item = Arc::make_mut(line_item);
                    line_item.avoid = Avoidance::default();
                    line_item.targeting = Expression::everybody();
                }
            }
        }
        for (id, money) in &mut world.money {
            money.throttle = u64::MAX;
            money.lease = Some(LeaseTerms {
                lease_id: LeaseId::from_u128(id.as_u128() + 1),
                amount: Micros(1_000_000),
                max_ordinals: 100,
                draw_until: MonotonicMs(9_000),
                last_billable_until: WallMs(2_000_000_000),
            });
        }
        world
    }

    /// The catalogue, half of it in the base and half in the delta.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        let mut writer = CatalogWriter::new();
        let (first, second) = self.entities.split_at(self.entities.len() / 2);
        writer.apply(6, first.to_vec());
        writer.rebuild();
        writer.apply(7, second.to_vec())
    }

    pub(super) fn spending(&self, snapshot: &Snapshot) -> Spending {
        let spending = Spending::new();
        for (id, money) in &self.money {
            let Some(slot) = snapshot.slot(*id) else { continue };
            spending.set_paused(slot, money.paused);
            spending.set_throttle(slot, money.throttle);
            if let Some(terms) = money.lease {
                spending.install_lease(slot, terms);
            }
        }
        spending
    }

    pub(super) fn line_items(&self) -> impl Iterator<Item = &LineItem> {
        self.entities.iter().filter_map(|entity| if let Entity::LineItem(one) = entity { Some(&**one) } else { None })
    }
}

impl Money {
    fn random(id: u32, chance: &mut Chance) -> Self {
        let terms = LeaseTerms {
            lease_id: LeaseId::from_u128(u128::from(id) + 1),
            amount: Micros(i64::from(chance.of(&[0, 5, 1_000_000, 1_000_000, 1_000_000]))),
            max_ordinals: chance.of(&[0, 1, 100, 100, 100, 100]),
            draw_until: MonotonicMs(chance.of(&[1, 9_000, 9_000, 9_000])),
            last_billable_until: WallMs(2_000_000_000),
        };
        Self {
            paused: chance.percent(3),
            throttle: chance.of(&[u64::MAX, u64::MAX, u64::MAX, u64::MAX / 2, 0]),
            lease: chance.percent(93).then_some(terms),
        }
    }
}

fn network(chance: &mut Chance) -> Network {
    let placement = Placement {
        key: PlacementKey::new("p").unwrap(),
        name: "P".into(),
        floor_cpm: Micros(chance.of(&[0, 2_000])),
        max_duration_ms: chance.of(&[60_000, 90_000, 120_000]),
        max_ads: u8::try_from(1 + chance.below(4)).unwrap(),
        cadence_ms: chance.of(&[0, 0, 0, 600_000]),
        token_life_ms: 3_600_000,
        impression_at_start: false,
    };
    Network {
        id: NETWORK,
        name: "N".into(),
        currency: "EUR".into(),
        floor_cpm: Micros(chance.of(&[0, 1_000, 3_000])),
        approve_creatives: true,
        apps: vec![],
        placements: vec![placement],
    }
}

fn status(chance: &mut Chance) -> Status {
    if chance.percent(96) { Status::Active } else { chance.of(&[Status::Paused, Status::Archived]) }
}

fn caps(chance: &mut Chance) -> Vec<FrequencyCap> {
    let scopes = [CapScope::Creative, CapScope::LineItem, CapScope::Campaign, CapScope::Advertiser];
    let windows = [CapWindow::Pod, CapWindow::Sliding(1_000), CapWindow::Sliding(100_000)];
    let count = chance.below(8).saturating_sub(5);
    (0..count)
        .map(|_| {
            let (scope, max) = (chance.of(&scopes), u16::try_from(1 + chance.below(3)).unwrap());
            let strictness = if max == 2 { Strictness::Strict } else { Strictness::Soft };
            FrequencyCap { scope, max, window: chance.of(&windows), strictness }
        })
        .collect()
}

fn advertiser(id: u32, chance: &mut Chance) -> Advertiser {
    Advertiser {
        id: AdvertiserId::from_u128(u128::from(id)),
        network_id: NETWORK,
        name: format!("A{id}"),
        status: status(chance),
        budget: Budget::default(),
        zone: Zone::utc(),
        caps: caps(chance),
    }
}

fn campaign(id: u32, chance: &mut Chance) -> Campaign {
    Campaign {
        id: CampaignId::from_u128(u128::from(id)),
        advertiser_id: AdvertiserId::from_u128(u128::from(id)),
        network_id: NETWORK,
        name: format!("C{id}"),
        status: status(chance),
        budget: Budget::default(),
        caps: caps(chance),
    }
}

fn creative(id: u32, advertiser: u32, chance: &mut Chance) -> Creative {
    let format = chance.of(&[AudioFormat::Mp3, AudioFormat::Mp3, AudioFormat::Aac]);
    Creative {
        id: CreativeId::from_u128(u128::from(id)),
        advertiser_id: AdvertiserId::from_u128(u128::from(advertiser)),
        network_id: NETWORK,
        name: format!("S{id}"),
        status: status(chance),
        approval: chance.of(&[Approval::Approved, Approval::Approved, Approval::Approved, Approval::Pending]),
        duration_ms: chance.of(&[10_000, 15_000, 20_000, 30_000, 30_000, 45_000, 100_000]),
        explicit: chance.percent(15),
        renditions: vec![Rendition {
            format,
            bitrate_kbps: 128,
            source: RenditionSource::Url("https://cdn.example/a".into()),
        }],
        click_url: None,
    }
}

fn line_item(id: u32, advertiser: u32, chance: &mut Chance) -> LineItem {
    let tier = chance.of(&[Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::Auction, Tier::House]);
    let others = [PriceModel::Cpcl, PriceModel::Cpc, PriceModel::Flat];
    let model = if chance.percent(70) { PriceModel::Cpm } else { chance.of(&others) };
    let flight = match chance.below(30) {
        0 => (0, 1_000_000_000),
        1 => (1_000_000_001, 2_000_000_000),
        _ => (1_000_000_000, 1_000_000_001),
    };
    let mut creatives =
        vec![CreativeChoice { creative_id: CreativeId::from_u128(u128::from(advertiser * 2)), weight: 1 }];
    if chance.percent(60) {
        creatives
            .push(CreativeChoice { creative_id: CreativeId::from_u128(u128::from(advertiser * 2 + 1)), weight: 1 });
    }
    LineItem {
        id: LineItemId::from_u128(u128::from(id)),
        campaign_id: CampaignId::from_u128(u128::from(advertiser)),
        advertiser_id: AdvertiserId::from_u128(u128::from(advertiser)),
        network_id: NETWORK,
        name: format!("L{id}"),
        status: status(chance),
        flight: Flight { start: WallMs(flight.0), end: WallMs(flight.1), zone: Zone::utc() },
        tier,
        pricing: Pricing { model, amount: Micros(i64::from(1 + chance.below(8)) * 1_000) },
        budget: Budget::default(),
        goal: (tier == Tier::Guaranteed).then_some(Goal { impressions: 1_000, daily_impressions: None }),
        share_of_voice: (tier == Tier::Sponsorship)
            .then(|| ShareOfVoice { basis_points: chance.of(&[1_000, 5_000, 10_000]) }),
        pacing: PacingMode::Even,
        targeting: targeting(chance),
        caps: caps(chance),
        category: chance.percent(60).then(|| chance.of(&CATEGORIES).to_owned()),
        excluded_categories: chance.some_of(&CATEGORIES, 10),
        avoid: Avoidance {
            explicit: chance.percent(15),
            content_categories: chance.some_of(&TOPICS, 10),
            genres: chance.some_of(&GENRES, 8),
        },
        creatives,
        trackers: vec![],
    }
}

fn targeting(chance: &mut Chance) -> Expression {
    let genre = || Expression::Is(Predicate::Has { attribute: Attribute::Genre, any_of: vec!["pop".into()] });
    let country =
        |code: &str| Expression::Is(Predicate::Has { attribute: Attribute::Country, any_of: vec![code.into()] });
    match chance.below(10) {
        0 => genre(),
        1 => Expression::Not(Box::new(genre())),
        2 => country("no"),
        3 => Expression::All(vec![
            country("se"),
            Expression::Any(vec![genre(), Expression::Is(Predicate::Explicit(false))]),
        ]),
        _ => Expression::everybody(),
    }
}

pub(super) fn listener(chance: &mut Chance) -> ListenerState {
    let mut listener = ListenerState::new(Pseudonym([7; 16]));
    for ordinal in 0..chance.below(12) {
        let advertiser = chance.below(14);
        let state = match chance.below(3) {
            0 => ExposureState::Reserved { until: NOW.wall.plus_ms(i64::from(chance.below(3)) - 1) },
            _ => ExposureState::Heard,
        };
        listener.exposures.push(Exposure {
            impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(99), ordinal },
            at: NOW.wall.plus_ms(-i64::from(chance.below(150_000))),
            advertiser_id: AdvertiserId::from_u128(u128::from(advertiser)),
            campaign_id: CampaignId::from_u128(u128::from(advertiser)),
            line_item_id: LineItemId::from_u128(u128::from(chance.below(20))),
            creative_id: CreativeId::from_u128(u128::from(advertiser * 2 + chance.below(2))),
            state,
        });
    }
    listener.exposures.sort_by_key(|exposure| exposure.at);
    if chance.percent(50) {
        listener.last_break_creatives.push(CreativeId::from_u128(u128::from(chance.below(28))));
    }
    if chance.percent(30) {
        listener.last_break_at =
            Some(NOW.wall.plus_ms(chance.of(&[2_001, 2_000, 5, -1, -599_999, -600_000, -900_000])));
    }
    listener
}

pub(super) fn request(chance: &mut Chance) -> AdBreakRequest {
    AdBreakRequest {
        network_id: NETWORK,
        request_id: RequestId::new(&format!("r{}", chance.below(1_000_000))).unwrap(),
        listener_key: ListenerKey([3; 16]),
        app: AppKey::new("app").unwrap(),
        placement: PlacementKey::new(if chance.percent(98) { "p" } else { "q" }).unwrap(),
        spec: BreakSpec {
            max_duration_ms: chance.of(&[20_000, 45_000, 60_000, 75_000, 120_000]),
            max_ads: u8::try_from(1 + chance.below(5)).unwrap(),
            position: BreakPosition::MidRoll,
            formats: if chance.percent(30) { vec![AudioFormat::Mp3] } else { vec![] },
            companion_sizes: vec![],
        },
        facts: Facts {
            country: Some("se".into()),
            genres: chance.some_of(&GENRES, 40),
            content_categories: chance.some_of(&TOPICS, 20),
            explicit: chance.of(&[None, Some(true), Some(false), Some(false)]),
            ..Facts::default()
        },
        consent: ConsentScope::Personal,
        child: chance.percent(10),
        subscription: if chance.percent(97) { Subscription::Free } else { Subscription::Premium },
        since_last_break_ms: chance.percent(20).then(|| chance.of(&[0, 599_999, 600_000])),
        prefetch: false,
        preview: None,
    }
}
