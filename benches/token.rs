//! Sealing and opening one token: what every chosen ad and every beacon costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use segue::impressions::TruncatedIp;
use segue::model::{
    AdvertiserId, AppKey, CampaignId, CreativeId, DecisionId, ImpressionId, LeaseId, LineItemId, ListenerKey, Micros,
    NetworkId, PlacementKey, Platform, PriceModel, Pseudonym, Tier, WallMs,
};
use segue::tokens::{Claims, TokenKey, TokenKeys};

fn claims() -> Claims {
    Claims {
        network_id: NetworkId::from_u128(1),
        advertiser_id: AdvertiserId::from_u128(2),
        campaign_id: CampaignId::from_u128(3),
        line_item_id: LineItemId::from_u128(4),
        creative_id: CreativeId::from_u128(5),
        decision_id: DecisionId::from_u128(6),
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: 41 },
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price: Micros(4_500),
        listener_key: ListenerKey([1; 16]),
        pseudonym: Pseudonym([2; 16]),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        app: AppKey::new("android"),
        asked_from: Some(TruncatedIp::V4([192, 0, 2])),
        country: Some(*b"se"),
        platform: Platform::Android,
        decided_at: WallMs(1_790_000_000_000),
        billable_until: WallMs(1_790_003_600_000),
        duration_ms: 30_000,
        impression_at_start: false,
        preview: false,
    }
}

fn token(criterion: &mut Criterion) {
    let keys = TokenKeys::new(TokenKey::new(2, &[2; 32]), Some(TokenKey::new(1, &[1; 32])));
    let claims = claims();
    let sealed = keys.seal(&claims);
    let mut forged = sealed.clone().into_bytes();
    let last = forged.len() - 9;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("base64url");

    let mut group = criterion.benchmark_group("token");
    group.bench_function("seal", |bencher| bencher.iter(|| keys.seal(black_box(&claims))));
    group.bench_function("open", |bencher| bencher.iter(|| keys.open(black_box(&sealed))));
    group.bench_function("refuse_forged", |bencher| bencher.iter(|| keys.open(black_box(&forged))));
    group.finish();
}

criterion_group!(benches, token);
criterion_main!(benches);
