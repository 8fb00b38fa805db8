//! A small catalogue that keeps all rules, for tests.

use crate::catalog::Entity;
use crate::model::*;
use crate::targeting::Expression;

pub(crate) const NETWORK: NetworkId = NetworkId::from_u128(1);
pub(crate) const OTHER_NETWORK: NetworkId = NetworkId::from_u128(2);
pub(crate) const ADVERTISER: AdvertiserId = AdvertiserId::from_u128(10);
pub(crate) const OTHER_ADVERTISER: AdvertiserId = AdvertiserId::from_u128(11);
pub(crate) const CAMPAIGN: CampaignId = CampaignId::from_u128(20);
pub(crate) const OTHER_CAMPAIGN: CampaignId = CampaignId::from_u128(21);
pub(crate) const CREATIVE: CreativeId = CreativeId::from_u128(30);
pub(crate) const OTHER_CREATIVE: CreativeId = CreativeId::from_u128(31);
pub(crate) const LINE_ITEM: LineItemId = LineItemId::from_u128(40);
pub(crate) const OTHER_LINE_ITEM: LineItemId = LineItemId::from_u128(41);

pub(crate) fn network(id: NetworkId) -> Network {
    Network {
        id,
        name: "A network".into(),
        currency: "EUR".into(),
        floor_cpm: Micros(1_000_000),
        approve_creatives: true,
        apps: vec![App { key: AppKey::new("player").expect("a key"), name: "Player".into() }],
        placements: vec![Placement {
            key: PlacementKey::new("music").expect("a key"),
            name: "Music".into(),
            floor_cpm: Micros(0),
            max_duration_ms: 120_000,
            max_ads: 4,
            cadence_ms: 600_000,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        }],
    }
}

pub(crate) fn advertiser(id: AdvertiserId, network_id: NetworkId) -> Advertiser {
    Advertiser {
        id,
        network_id,
        name: "An advertiser".into(),
        status: Status::Active,
        budget: Budget { lifetime: Some(Micros(1_000_000_000)), daily: None },
        zone: Zone::named("Europe/Stockholm").expect("a zone"),
        caps: vec![FrequencyCap {
            scope: CapScope::Advertiser,
            max: 6,
            window: CapWindow::Sliding(86_400_000),
            strictness: Strictness::Soft,
        }],
    }
}

pub(crate) fn campaign(id: CampaignId, advertiser_id: AdvertiserId, network_id: NetworkId) -> Campaign {
    Campaign {
        id,
        advertiser_id,
        network_id,
        name: "A campaign".into(),
        status: Status::Active,
        budget: Budget::default(),
        caps: Vec::new(),
    }
}

pub(crate) fn creative(id: CreativeId, advertiser_id: AdvertiserId, network_id: NetworkId) -> Creative {
    Creative {
        id,
        advertiser_id,
        network_id,
        name: "A creative".into(),
        status: Status::Active,
        approval: Approval::Approved,
        duration_ms: 30_000,
        explicit: false,
        renditions: vec![Rendition {
            format: AudioFormat::Mp3,
            bitrate_kbps: 128,
            source: RenditionSource::Url("https://cdn.example/a.mp3".into()),
        }],
        click_url: Some("https://shop.example/".into()),
    }
}

pub(crate) fn line_item(id: LineItemId, campaign: &Campaign, creative_id: CreativeId) -> LineItem {
    LineItem {
        id,
        campaign_id: campaign.id,
        advertiser_id: campaign.advertiser_id,
        network_id: campaign.network_id,
        name: "A line item".into(),
        status: Status::Active,
        flight: Flight {
            start: WallMs(1_767_225_600_000),
            end: WallMs(1_769_904_000_000),
            zone: Zone::named("Europe/Stockholm").expect("a zone"),
        },
        tier: Tier::Auction,
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros(5_000_000) },
        budget: Budget { lifetime: Some(Micros(100_000_000)), daily: None },
        goal: None,
        share_of_voice: None,
        pacing: PacingMode::Even,
        targeting: Expression::everybody(),
        caps: vec![
            FrequencyCap {
                scope: CapScope::LineItem,
                max: 3,
                window: CapWindow::Sliding(3_600_000),
                strictness: Strictness::Soft,
            },
            FrequencyCap { scope: CapScope::Creative, max: 1, window: CapWindow::Pod, strictness: Strictness::Soft },
        ],
        category: Some("beer".into()),
        excluded_categories: vec!["cars".into()],
        avoid: Avoidance { explicit: true, content_categories: vec!["news".into()], genres: vec!["kids".into()] },
        creatives: vec![CreativeChoice { creative_id, weight: 10 }],
        trackers: vec![Tracker { event: BeaconEvent::Impression, url: "https://t.example/i".into() }],
    }
}

/// Two networks; the first with two advertisers that have everything.
pub(crate) fn catalogue() -> Vec<Entity> {
    let (own, other) = (campaign(CAMPAIGN, ADVERTISER, NETWORK), campaign(OTHER_CAMPAIGN, OTHER_ADVERTISER, NETWORK));
    vec![
        Entity::from(line_item(LINE_ITEM, &own, CREATIVE)),
        Entity::from(line_item(OTHER_LINE_ITEM, &other, OTHER_CREATIVE)),
        Entity::from(creative(CREATIVE, ADVERTISER, NETWORK)),
        Entity::from(creative(OTHER_CREATIVE, OTHER_ADVERTISER, NETWORK)),
        Entity::from(own),
        Entity::from(other),
        Entity::from(advertiser(ADVERTISER, NETWORK)),
        Entity::from(advertiser(OTHER_ADVERTISER, NETWORK)),
        Entity::from(network(NETWORK)),
        Entity::from(network(OTHER_NETWORK)),
    ]
}
