//! Explanations agree with decisions, and read well.

use std::sync::Arc;

use super::*;
use crate::catalog::Entity;
use crate::model::*;
use crate::targeting::{Attribute, Expression, Predicate};

// INV-8.
#[test]
fn every_fate_is_the_one_that_was_decided() {
    let mut explained = 0_u32;
    for seed in 0..600 {
        let mut chance = Chance::new(seed);
        let world = if seed % 2 == 0 { World::random(&mut chance, 30) } else { World::rich(&mut chance, 30) };
        let snapshot = world.snapshot();
        let spending = world.spending(&snapshot);
        let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
        let (resolved, seed_of) = (snapshot.resolve(&Arc::new(request.clone()), NOW), Seed::of(&request));
        let none =
            Excluded::by_strict_caps(chance.of(&[StrictCaps::Kept, StrictCaps::NotInSession, StrictCaps::Unsure]));
        let before = decided(&snapshot, &spending, &request, &listener, &none);
        let explanation = explain(&snapshot, &resolved, &listener, &spending, &none, NOW, seed_of, &before);
        let after = decided(&snapshot, &spending, &request, &listener, &none);
        assert_eq!(before.to_bytes(), after.to_bytes(), "SEED={seed}: explaining changed the answer");

        let mut scratch = Scratch::new();
        let all = survey(&snapshot, &resolved, &listener, &spending, &none, NOW, seed_of, &mut scratch);
        for reason in NoFillReason::ALL.into_iter().filter(|&reason| reason != NoFillReason::NotMatched) {
            let counted = explanation.counts.get(reason);
            assert_eq!(counted, all.reasons.get(reason), "SEED={seed}: {}", reason.name());
        }
        let chosen: Vec<LineItemId> = explanation
            .fates
            .iter()
            .filter(|fate| matches!(fate.outcome, Outcome::Chosen { .. }))
            .map(|fate| fate.line_item_id)
            .collect();
        assert_eq!(chosen, before.ads.iter().map(|ad| ad.line_item_id).collect::<Vec<_>>(), "SEED={seed}");
        assert!(explanation.fates.iter().all(|fate| !fate.words.is_empty() && !fate.words.contains("None")));
        assert!(!explanation.summary.is_empty());
        explained += explanation.line_items;
    }
    assert!(explained > 3_000, "{explained} line items explained");
}

/// The words for the world's first line item after a change to the scene.
fn words(change: impl FnOnce(&mut Stage)) -> String {
    let mut stage = Stage::new();
    change(&mut stage);
    let snapshot = stage.world.snapshot();
    let spending = stage.world.spending(&snapshot);
    let decision = decided(&snapshot, &spending, &stage.request, &stage.listener, &Excluded::none());
    let resolved = snapshot.resolve(&Arc::new(stage.request.clone()), NOW);
    let seed = Seed::of(&stage.request);
    let explanation =
        explain(&snapshot, &resolved, &stage.listener, &spending, &Excluded::none(), NOW, seed, &decision);
    let fate = explanation.fates.into_iter().find(|fate| fate.line_item_id == LineItemId::from_u128(0));
    fate.map_or(explanation.summary, |fate| fate.words)
}

/// One line item of 5.00 CPM that would be chosen, and what is around it.
struct Stage {
    world: World,
    request: AdBreakRequest,
    listener: ListenerState,
}

impl Stage {
    fn new() -> Self {
        let mut chance = Chance::new(1);
        let mut world = World::rich(&mut chance, 40);
        let mut first = world.line_items().next().unwrap().clone();
        (first.tier, first.status) = (Tier::Auction, Status::Active);
        first.pricing = Pricing { model: PriceModel::Cpm, amount: Micros(5_000_000) };
        first.flight = Flight { start: WallMs(0), end: WallMs(2_000_000_000), zone: Zone::utc() };
        (first.caps, first.category, first.excluded_categories) = (vec![], Some("cars".into()), vec![]);
        world.money.truncate(1);
        world.money[0].1.paused = false;
        world.entities.retain(|entity| !matches!(entity, Entity::LineItem(_)));
        for entity in &mut world.entities {
            match entity {
                Entity::Network(network) => {
                    let network = Arc::make_mut(network);
                    network.floor_cpm = Micros(0);
                    network.placements[0].floor_cpm = Micros(0);
                    network.placements[0].cadence_ms = 0;
                }
                Entity::Advertiser(advertiser) => Arc::make_mut(advertiser).caps.clear(),
                Entity::Campaign(campaign) => Arc::make_mut(campaign).caps.clear(),
                Entity::Creative(creative) => {
                    let creative = Arc::make_mut(creative);
                    creative.explicit = false;
                    creative.duration_ms = 30_000;
                }
                Entity::LineItem(_) => {}
            }
        }
        world.entities.push(Entity::from(first));
        let mut request = world::request(&mut chance);
        request.placement = PlacementKey::new("p").unwrap();
        request.spec.formats = vec![];
        request.spec.max_duration_ms = 60_000;
        (request.child, request.subscription, request.since_last_break_ms) = (false, Subscription::Free, None);
        request.facts = Facts { country: Some("no".into()), ..Facts::default() };
        Self { world, request, listener: ListenerState::new(Pseudonym([0; 16])) }
    }

    fn line_item(&mut self) -> &mut LineItem {
        match self.world.entities.last_mut() {
            Some(Entity::LineItem(line_item)) => Arc::make_mut(line_item),
            _ => unreachable!("the line item is last"),
        }
    }

    fn rival(&mut self, change: impl FnOnce(&mut LineItem)) {
        let mut rival = self.line_item().clone();
        rival.id = LineItemId::from_u128(500);
        rival.name = "Rival".into();
        rival.pricing.amount = Micros(6_000_000);
        change(&mut rival);
        let at = self.world.entities.len() - 1;
        self.world.entities.insert(at, Entity::from(rival));
        let (_, money) = self.world.money[0];
        self.world.money.push((LineItemId::from_u128(500), money));
    }
}

type Change = Box<dyn FnOnce(&mut Stage)>;

#[test]
#[expect(clippy::too_many_lines, reason = "cases are data")]
fn words_carry_the_values() {
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|_| {}), "in slot 1 of the pod, at 5.00 CPM"),
        (
            Box::new(|stage| {
                let wants = Predicate::Has { attribute: Attribute::Country, any_of: vec!["se".into(), "dk".into()] };
                stage.line_item().targeting = Expression::Is(wants);
            }),
            "not matched: country is no, wants se, dk",
        ),
        (
            Box::new(|stage| {
                let unwanted = Predicate::Has { attribute: Attribute::Country, any_of: vec!["no".into()] };
                stage.line_item().targeting = Expression::Not(Box::new(Expression::Is(unwanted)));
            }),
            "not matched: excluded: country is no",
        ),
        (Box::new(|stage| stage.line_item().status = Status::Paused), "paused: the line item"),
        (
            Box::new(|stage| stage.line_item().flight.start = WallMs(1_500_000_000)),
            "its flight starts at 1970-01-18T08:40:00.000Z",
        ),
        (
            Box::new(|stage| stage.request.spec.max_duration_ms = 20_000),
            "its shortest creative lasts 30000 ms, the break 20000 ms",
        ),
        (
            Box::new(|stage| {
                stage.line_item().avoid.genres = vec!["metal".into()];
                stage.request.facts.genres = vec!["pop".into(), "metal".into()];
            }),
            "avoids genre metal",
        ),
        (
            Box::new(|stage| {
                stage.line_item().caps = vec![FrequencyCap {
                    scope: CapScope::LineItem,
                    max: 1,
                    window: CapWindow::Sliding(86_400_000),
                    strictness: Strictness::Soft,
                }];
                let line_item = stage.line_item().clone();
                stage.listener.exposures.push(Exposure {
                    impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(1), ordinal: 0 },
                    at: NOW.wall,
                    advertiser_id: line_item.advertiser_id,
                    campaign_id: line_item.campaign_id,
                    line_item_id: line_item.id,
                    creative_id: CreativeId::from_u128(77),
                    state: ExposureState::Heard,
                });
            }),
            "capped: heard 1 of 1 in 24 h for the line item",
        ),
        (
            Box::new(|stage| {
                let Some(Entity::Network(network)) = stage.world.entities.first_mut() else { return };
                Arc::make_mut(network).floor_cpm = Micros(5_500_000);
            }),
            "5.00 CPM is below the floor of 5.50 CPM",
        ),
        (
            Box::new(|stage| stage.world.money[0].1.throttle = 0),
            "held back to spread its delivery: serves in 0.00 % of its breaks",
        ),
        (Box::new(|stage| stage.world.money[0].1.lease = None), "this server holds no lease of its budget"),
        (
            Box::new(|stage| {
                let lease = stage.world.money[0].1.lease.as_mut().expect("the stage has a lease");
                lease.amount = Micros(1_200);
            }),
            "its lease has 0.001200 left, and an impression costs 0.005000",
        ),
        (Box::new(|stage| stage.rival(|_| {})), "another ad of A0 is in the pod: Rival"),
        (
            Box::new(|stage| {
                stage.rival(to_another_advertiser);
            }),
            "cars competes with Rival in the pod",
        ),
        (
            Box::new(|stage| {
                stage.request.spec.max_ads = 1;
                stage.rival(|rival| {
                    to_another_advertiser(rival);
                    rival.category = None;
                });
            }),
            "outranked: 5.00 CPM is below the lowest of the pod, 6.00 CPM",
        ),
        (
            Box::new(|stage| stage.request.subscription = Subscription::Premium),
            "no break: the listener pays not to hear ads",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(words(change), expected);
    }
}

/// Advertisers, campaigns and creatives of a world are numbered alike.
fn to_another_advertiser(line_item: &mut LineItem) {
    let other = u128::from(line_item.advertiser_id.as_u128() == 0);
    line_item.advertiser_id = AdvertiserId::from_u128(other);
    line_item.campaign_id = CampaignId::from_u128(other);
    line_item.creatives = vec![CreativeChoice { creative_id: CreativeId::from_u128(other * 2), weight: 1 }];
}

#[test]
fn a_preview_is_heard_whatever_stands_in_its_way_and_costs_nothing() {
    let mut stage = Stage::new();
    stage.line_item().targeting = Expression::Any(vec![]);
    stage.line_item().status = Status::Paused;
    stage.world.money[0].1.lease = None;
    stage.request.subscription = Subscription::Premium;
    let id = LineItemId::from_u128(0);
    let own = stage.line_item().creatives[0].creative_id;
    let snapshot = stage.world.snapshot();
    let spending = stage.world.spending(&snapshot);
    let mut decide_with = |preview| {
        stage.request.preview = Some(preview);
        decided(&snapshot, &spending, &stage.request, &stage.listener, &Excluded::none())
    };
    for creative_id in [None, Some(own)] {
        let decision = decide_with(Preview { line_item_id: id, creative_id });
        assert_eq!(decision.ads.len(), 1);
        assert_eq!((decision.ads[0].price, decision.ads[0].billing), (Micros::ZERO, Billing::None), "INV-9");
        assert!(decision.spend_reads.is_empty());
    }
    for (line_item_id, creative_id) in [(LineItemId::from_u128(9), None), (id, Some(CreativeId::from_u128(999)))] {
        let decision = decide_with(Preview { line_item_id, creative_id });
        assert!(decision.is_empty());
        assert_eq!(decision.reasons.get(NoFillReason::PreviewNotFound), 1);
    }
}
