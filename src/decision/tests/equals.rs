//! Line items of one rank by hundreds and thousands: lots say in which order they are looked at, and the pod is the best of all of them.

use super::world::{self, Chance, NETWORK, NOW, World};
use super::*;
use crate::catalog::{CatalogWriter, Entity};
use crate::model::{AdvertiserId, Flight, LineItem, LineItemId, Micros, PriceModel, Pricing, Tier, WallMs};

/// A rich world whose line items are all of one price in few tiers, each with an advertiser out of many.
fn world_of_equals(chance: &mut Chance, line_items: u32, tiers: &[Tier]) -> World {
    let mut world = World::rich(chance, 24);
    let line_item = loop {
        if let Some(one) = world.line_items().next() {
            break one.clone();
        }
        world = World::rich(chance, 24);
    };
    let advertisers = u32::try_from(world.entities.iter().filter(|one| matches!(one, Entity::Advertiser(_))).count());
    let advertisers = advertisers.expect("a few");
    let money = world.money.iter().find(|(id, _)| *id == line_item.id).expect("it has money").1;
    world.entities.retain(|entity| !matches!(entity, Entity::LineItem(_)));
    world.money.clear();
    for number in 0..line_items {
        let (id, advertiser) = (LineItemId::from_u128(u128::from(number)), chance.below(advertisers));
        let one = LineItem {
            id,
            advertiser_id: AdvertiserId::from_u128(u128::from(advertiser)),
            campaign_id: crate::model::CampaignId::from_u128(u128::from(advertiser)),
            tier: chance.of(tiers),
            pricing: Pricing { model: PriceModel::Cpm, amount: Micros(3_000_000) },
            goal: None,
            share_of_voice: None,
            flight: Flight { start: WallMs(0), end: WallMs(i64::MAX), ..line_item.flight.clone() },
            category: chance.percent(50).then(|| chance.of(&["cars", "soap", "travel"]).to_owned()),
            excluded_categories: Vec::new(),
            caps: Vec::new(),
            creatives: vec![crate::model::CreativeChoice {
                creative_id: crate::model::CreativeId::from_u128(u128::from(advertiser * 2 + chance.below(2))),
                weight: 1,
            }],
            network_id: NETWORK,
            ..line_item.clone()
        };
        world.entities.push(Entity::from(one));
        world.money.push((id, money));
    }
    world
}

/// The same catalogue the other way round, in other parts.
fn mirrored(world: &World) -> Arc<Snapshot> {
    let mut writer = CatalogWriter::new();
    let (later, sooner) = world.entities.split_at(world.entities.len() * 2 / 3);
    writer.apply(6, sooner.iter().rev().cloned().collect());
    writer.rebuild();
    writer.apply(7, later.iter().rev().cloned().collect())
}

fn surveyed(snapshot: &Snapshot, spending: &Spending, request: &AdBreakRequest, listener: &ListenerState) -> Decision {
    let resolved = snapshot.resolve(&Arc::new(request.clone()), NOW);
    let mut scratch = Scratch::new();
    let excluded = Excluded::default();
    survey(snapshot, &resolved, listener, spending, &excluded, NOW, Seed::of(request), &mut scratch).clone()
}

fn ids(decision: &Decision) -> Vec<LineItemId> {
    decision.ads.iter().map(|ad| ad.line_item_id).collect()
}

#[test]
fn of_many_equals_the_pod_is_that_of_all() {
    let (mut breaks, mut with_ads, mut early) = (0, 0, 0);
    for seed in 0..120 {
        let mut chance = Chance::new(seed);
        let count = 65 + chance.below(1_500);
        let world = world_of_equals(&mut chance, count, &[Tier::Guaranteed, Tier::Auction, Tier::Auction, Tier::House]);
        let (snapshot, other) = (world.snapshot(), mirrored(&world));
        let (spending, of_other) = (world.spending(&snapshot), world.spending(&other));
        for _ in 0..4 {
            let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
            let decision = decided(&snapshot, &spending, &request, &listener, &Excluded::default());
            let all = surveyed(&snapshot, &spending, &request, &listener);
            assert_eq!(ids(&decision), ids(&all), "SEED={seed}");
            assert_eq!(decision.degradation, Degradation::None, "SEED={seed}");
            let elsewhere = decided(&other, &of_other, &request, &listener, &Excluded::default());
            assert_eq!(ids(&decision), ids(&elsewhere), "SEED={seed}");
            assert_eq!((decision.considered, decision.reasons), (elsewhere.considered, elsewhere.reasons));
            breaks += 1;
            with_ads += u32::from(!decision.ads.is_empty());
            early += u32::from(decision.considered < all.considered);
        }
    }
    println!("{breaks} breaks, {with_ads} with ads, {early} ended early");
    assert!(with_ads > breaks / 4 && early > breaks / 8);
}

/// More of one rank than are ever looked at, and none of them may play: so many are looked at, the break says that it was cut short, and house ads play.
#[test]
fn of_more_equals_than_are_looked_at_the_rest_is_passed_over() {
    let mut chance = Chance::new(3);
    let count = 3 * MAX_CONSIDERED;
    let mut world = world_of_equals(&mut chance, count, &[Tier::Auction]);
    let mut house = world.line_items().next().expect("many").clone();
    (house.id, house.tier) = (LineItemId::from_u128(u128::from(count)), Tier::House);
    let house_id = house.id;
    world.entities.push(Entity::from(house));
    world.money.push((house_id, world.money[0].1));
    for (_, money) in world.money.iter_mut().filter(|(id, _)| *id != house_id) {
        money.lease = None;
    }
    let (snapshot, other) = (world.snapshot(), mirrored(&world));
    let (spending, of_other) = (world.spending(&snapshot), world.spending(&other));
    let (mut cut, mut filled) = (0, 0);
    for _ in 0..40 {
        let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
        let decision = decided(&snapshot, &spending, &request, &listener, &Excluded::default());
        let elsewhere = decided(&other, &of_other, &request, &listener, &Excluded::default());
        assert_eq!((ids(&decision), decision.considered), (ids(&elsewhere), elsewhere.considered));
        if decision.considered > 1 {
            assert_eq!(decision.degradation, Degradation::SearchLimited);
            assert!(decision.considered <= MAX_CONSIDERED + 2, "{}", decision.considered);
            cut += 1;
        }
        filled += u32::from(!decision.ads.is_empty());
        assert_eq!(decision.reasons.total() + decision.ads.len() as u64, u64::from(decision.considered));
    }
    assert!(cut > 5 && filled > 2, "{cut} cut short, {filled} filled by the house");
}
