//! Tests of the catalogue as a whole.

use std::sync::Arc;

use super::*;
use crate::model::*;
use crate::targeting::{Attribute, Expression, Predicate};

pub(super) fn advertiser() -> Advertiser {
    Advertiser {
        id: AdvertiserId::from_u128(1),
        network_id: NetworkId::from_u128(1),
        name: "A".into(),
        status: Status::Active,
        budget: Budget::default(),
        zone: Zone::utc(),
        caps: vec![],
    }
}

pub(super) fn campaign() -> Campaign {
    Campaign {
        id: CampaignId::from_u128(1),
        advertiser_id: AdvertiserId::from_u128(1),
        network_id: NetworkId::from_u128(1),
        name: "C".into(),
        status: Status::Active,
        budget: Budget::default(),
        caps: vec![],
    }
}

pub(super) fn line_item(id: u128, cpm: i64, targeting: Expression) -> LineItem {
    LineItem {
        id: LineItemId::from_u128(id),
        campaign_id: CampaignId::from_u128(1),
        advertiser_id: AdvertiserId::from_u128(1),
        network_id: NetworkId::from_u128(1),
        name: format!("L{id}"),
        status: Status::Active,
        flight: Flight { start: WallMs(0), end: WallMs(i64::MAX), zone: Zone::utc() },
        tier: Tier::Auction,
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros(cpm * 1_000) },
        budget: Budget::default(),
        goal: None,
        share_of_voice: None,
        pacing: PacingMode::Even,
        targeting,
        caps: vec![],
        category: None,
        excluded_categories: vec![],
        avoid: Avoidance::default(),
        creatives: vec![],
        trackers: vec![],
    }
}

fn request(country: &str) -> AdBreakRequest {
    AdBreakRequest {
        network_id: NetworkId::from_u128(1),
        request_id: RequestId::new("r").expect("a key"),
        listener_key: ListenerKey([0; 16]),
        app: AppKey::new("app").expect("a key"),
        placement: PlacementKey::new("p").expect("a key"),
        spec: BreakSpec {
            max_duration_ms: 60_000,
            max_ads: 2,
            position: BreakPosition::MidRoll,
            formats: vec![],
            companion_sizes: vec![],
        },
        facts: Facts { country: Some(country.into()), ..Facts::default() },
        consent: ConsentScope::Personal,
        child: false,
        subscription: Subscription::Free,
        since_last_break_ms: None,
        prefetch: false,
        preview: None,
    }
}

fn in_country(country: &str) -> Expression {
    Expression::Is(Predicate::Has { attribute: Attribute::Country, any_of: vec![country.into()] })
}

fn scanned(snapshot: &Snapshot, request: &AdBreakRequest) -> Vec<u128> {
    let resolved = snapshot.resolve(&Arc::new(request.clone()), Now::default());
    let mut scratch = ScanScratch::new();
    let mut scan = snapshot.scan(&resolved, &mut scratch);
    let mut ids = Vec::new();
    while let Some(candidate) = scan.next() {
        assert_eq!(snapshot.line(candidate.slot).candidate(), candidate);
        ids.push(candidate.line_item_id.as_u128());
    }
    ids
}

#[test]
fn a_change_is_in_the_next_snapshot_and_never_in_the_one_before() {
    let mut writer = CatalogWriter::new();
    let first = writer.apply(
        1,
        vec![
            Entity::from(line_item(1, 5, in_country("se"))),
            Entity::from(line_item(2, 9, in_country("se"))),
            Entity::from(line_item(3, 7, in_country("no"))),
            Entity::from(campaign()),
            Entity::from(advertiser()),
        ],
    );
    assert_eq!(scanned(&first, &request("se")), [2, 1]);
    let second = writer.apply(
        2,
        vec![
            Entity::from(LineItem { status: Status::Archived, ..line_item(2, 9, in_country("se")) }),
            Entity::from(line_item(3, 7, in_country("se"))),
        ],
    );
    assert_eq!(scanned(&second, &request("se")), [3, 1]);
    assert_eq!(scanned(&first, &request("se")), [2, 1]);
    assert!(second.line_item(LineItemId::from_u128(2)).is_none());
    let third = writer.apply(3, vec![Entity::from(Advertiser { status: Status::Archived, ..advertiser() })]);
    assert_eq!(scanned(&third, &request("se")), Vec::<u128>::new());
}

#[test]
fn a_foreign_network_never_matches() {
    let mut writer = CatalogWriter::new();
    let snapshot = writer.apply(
        1,
        vec![
            Entity::from(advertiser()),
            Entity::from(campaign()),
            Entity::from(line_item(1, 5, Expression::everybody())),
        ],
    );
    assert_eq!(scanned(&snapshot, &request("se")), [1]);
    let foreign = AdBreakRequest { network_id: NetworkId::from_u128(2), ..request("se") };
    assert_eq!(scanned(&snapshot, &foreign), Vec::<u128>::new());
}
