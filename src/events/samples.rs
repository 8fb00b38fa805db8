//! One record of every kind with every field set, and their golden files.

use super::*;
use crate::catalog::{Action, Author, Entity, Revision};
use crate::impressions::TruncatedIp;
use crate::model::{
    Advertiser, AdvertiserId, ApiKeyId, App, AppKey, Approval, AudioFormat, Avoidance, BeaconEvent, BootId,
    BreakPosition, BreakSpec, Budget, Campaign, CampaignId, CapScope, CapWindow, ConsentScope, Coordinates, Creative,
    CreativeChoice, CreativeId, Day, DecisionId, Exposure, ExposureState, Facts, Flight, FrequencyCap, Goal,
    ImpressionId, InvalidTraffic, LeaseId, LineItem, LineItemId, Micros, MonotonicMs, Network, NetworkId, Now,
    PacingMode, Placement, PlacementKey, Platform, Preview, PriceModel, Pricing, Pseudonym, Rendition, RenditionSource,
    RequestId, ServerId, ShareOfVoice, Status, Strictness, Subscription, Tier, Tracker, WallMs, Zone,
};
use crate::targeting::{
    AgeRange, Attribute, Circle, DaypartZone, Expression, Predicate, Version, VersionOf, VersionRange,
};

/// Base of the samples' ids: each is this plus a small number.
const ID: u128 = 0x0190_a2b4_7c1e_7000_8000_0000_0000_0000;
/// The samples' moment.
const AT: WallMs = WallMs(1_790_000_000_123);

/// Every sample with the name of its golden file.
pub(crate) fn envelopes() -> Vec<(&'static str, Envelope)> {
    let mut samples = vec![
        ("lease_granted", envelope(Event::LeaseGranted(granted()))),
        ("lease_returned", envelope(Event::LeaseReturned(returned()))),
        ("lease_closed", envelope(Event::LeaseClosed(closed()))),
        ("reversal", envelope(Event::Reversal(Box::new(reversal())))),
        ("beacon_invalid", envelope(Event::Beacon(Box::new(invalid_beacon())))),
        ("beacon_paid", envelope(Event::Beacon(Box::new(paid_beacon())))),
        ("beacon_house", envelope(Event::Beacon(Box::new(house_beacon())))),
        ("ledger_settlement", envelope(Event::Ledger(Box::new(LedgerRecord::Entry(settlement()))))),
        ("ledger_reversal", envelope(Event::Ledger(Box::new(LedgerRecord::Entry(reversing()))))),
        ("checkpoint", envelope(Event::Ledger(Box::new(LedgerRecord::Checkpoint(checkpoint()))))),
        ("decision", envelope(Event::Decision(Box::new(decision())))),
        ("decision_held_back", envelope(Event::Decision(Box::new(held_back())))),
        ("decision_no_break", envelope(Event::Decision(Box::new(no_break())))),
    ];
    for (name, entity) in entities() {
        samples.push((name, envelope(Event::Catalog(Box::new(record(entity))))));
    }
    samples.push(("catalog_revision", envelope(Event::Catalog(Box::new(revision_record())))));
    samples
}

/// One entity of every kind, line items in all their shapes.
pub(crate) fn entities() -> Vec<(&'static str, Entity)> {
    vec![
        ("catalog_network", Entity::from(network())),
        ("catalog_advertiser", Entity::from(advertiser())),
        ("catalog_campaign", Entity::from(campaign())),
        ("catalog_creative", Entity::from(creative())),
        ("catalog_line_item_auction", Entity::from(line_item())),
        ("catalog_line_item_sponsorship", Entity::from(sponsorship())),
        ("catalog_line_item_house", Entity::from(house())),
    ]
}

pub(crate) fn envelope(body: Event) -> Envelope {
    Envelope {
        event_id: body.id(),
        occurred_at: AT,
        received_at: AT.plus_ms(17),
        server_id: ServerId::from_u128(ID + 100),
        boot_id: BootId::from_u128(ID + 101),
        trace_id: Some(TraceId([0xCD; 16])),
        body,
    }
}

/// A record as the first version wrote it: the key's role and the creation's time were not in it.
fn record(entity: Entity) -> CatalogRecord {
    let action = match entity.status() {
        Status::Active => Action::Created,
        Status::Paused => Action::Changed,
        Status::Archived => Action::Archived,
    };
    let author = Author::Key { id: ApiKeyId::from_u128(ID + 102), role: String::new() };
    CatalogRecord {
        version: Some(42),
        revision: Revision { entity, number: 3, created_at: AT, at: AT, author, action },
    }
}

/// A record of a catalogue that several servers write.
fn revision_record() -> CatalogRecord {
    let author = Author::Key { id: ApiKeyId::from_u128(ID + 102), role: "operator".to_owned() };
    let entity = Entity::from(creative());
    let revision =
        Revision { entity, number: 4, created_at: AT.plus_ms(-5_000), at: AT, author, action: Action::Approved };
    CatalogRecord { version: None, revision }
}

pub(crate) fn granted() -> LeaseGranted {
    LeaseGranted {
        lease_id: LeaseId::from_u128(ID + 7),
        server_id: ServerId::from_u128(ID + 100),
        boot_id: BootId::from_u128(ID + 101),
        network_id: NetworkId::from_u128(ID + 1),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        amount: Micros(4_500_000),
        max_ordinals: 1_000,
        granted_at: AT,
        draw_until: AT.plus_ms(900_000),
        last_billable_until: AT.plus_ms(4_500_000),
        limits: vec![
            limit(BudgetLevel::Advertiser, LimitWindow::Life, None, None),
            limit(BudgetLevel::Campaign, LimitWindow::Life, Some(900_000_000), None),
            limit(BudgetLevel::LineItem, LimitWindow::Life, Some(450_000_000), Some(100_000)),
            limit(BudgetLevel::LineItem, LimitWindow::Day, Some(45_000_000), Some(10_000)),
        ],
        price_model: PriceModel::Cpm,
        advertiser_day: Day(20_717),
        line_item_day: Day(20_718),
    }
}

fn limit(level: BudgetLevel, window: LimitWindow, budget: Option<i64>, goal: Option<u64>) -> LevelLimit {
    LevelLimit { level, window, budget: budget.map(Micros), goal }
}

fn returned() -> LeaseReturned {
    LeaseReturned {
        lease_id: LeaseId::from_u128(ID + 7),
        server_id: ServerId::from_u128(ID + 100),
        boot_id: BootId::from_u128(ID + 101),
        network_id: NetworkId::from_u128(ID + 1),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        drawn: Micros(4_005_000),
        drawn_count: 890,
        returned_at: AT.plus_ms(900_000),
    }
}

pub(crate) fn settlement() -> LedgerEntry {
    LedgerEntry {
        number: 7,
        cause: EntryCause::Settlement { lease_id: LeaseId::from_u128(ID + 7), digest: [0xAB; 16] },
        network_id: NetworkId::from_u128(ID + 1),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        advertiser_day: Day(20_717),
        price_model: PriceModel::Cpcl,
        quantity: 890,
        postings: vec![
            Posting { account: LedgerAccount::Advertiser(AdvertiserId::from_u128(ID + 2)), amount: Micros(4_005_000) },
            Posting { account: LedgerAccount::Network(NetworkId::from_u128(ID + 1)), amount: Micros(-4_005_000) },
        ],
        posted_at: AT,
    }
}

fn reversing() -> LedgerEntry {
    let taken_back = reversal();
    LedgerEntry {
        number: 8,
        cause: EntryCause::Reversal { impression_id: taken_back.impression_id, reason: taken_back.reason },
        advertiser_day: taken_back.advertiser_day,
        price_model: PriceModel::Cpm,
        quantity: 1,
        postings: vec![
            Posting { account: LedgerAccount::House(NetworkId::from_u128(ID + 1)), amount: Micros(4_500) },
            Posting { account: LedgerAccount::Advertiser(AdvertiserId::from_u128(ID + 2)), amount: Micros(-4_500) },
        ],
        ..settlement()
    }
}

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint {
        number: 3,
        partition: 1,
        cursor: 10_017,
        log_time: AT,
        chain_records: 9_001,
        chain_digest: [1; 32],
        book_digest: [2; 32],
        trial: TrialBalance { entries: 8, advertisers: 4_000_500, networks: i128::from(i64::MIN) * 2, house: 4_500 },
        delivered: Delivered { impressions: 1_000, billed: 889, unbilled: 111, billed_micros: 4_000_500 },
        previous_digest: [3; 32],
    }
}

pub(crate) fn reversal() -> Reversal {
    let beacon = paid_beacon();
    Reversal {
        impression_id: beacon.impression_id,
        event: BeaconEvent::Impression,
        network_id: beacon.network_id,
        advertiser_id: beacon.advertiser_id,
        campaign_id: beacon.campaign_id,
        line_item_id: beacon.line_item_id,
        price: beacon.price,
        reason: InvalidTraffic::Reported,
        decided_at: beacon.decided_at,
        reversed_at: AT.plus_ms(86_400_000),
        advertiser_day: Day(20_718),
    }
}

fn invalid_beacon() -> BeaconRecord {
    BeaconRecord { invalid: Some(InvalidTraffic::DataCentre), ..paid_beacon() }
}

fn closed() -> LeaseClosed {
    LeaseClosed {
        lease_id: LeaseId::from_u128(ID + 7),
        network_id: NetworkId::from_u128(ID + 1),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        settled: Micros(4_000_500),
        settled_count: 889,
        returned: Micros(499_500),
        closed_at: AT.plus_ms(4_600_000),
    }
}

pub(crate) fn paid_beacon() -> BeaconRecord {
    BeaconRecord {
        event: BeaconEvent::Impression,
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(ID + 7), ordinal: 41 },
        network_id: NetworkId::from_u128(ID + 1),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        creative_id: CreativeId::from_u128(ID + 5),
        decision_id: DecisionId::from_u128(ID + 6),
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price: Micros(4_500),
        pseudonym: Pseudonym([0xBB; 16]),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        app: AppKey::new("android"),
        country: Some(*b"se"),
        platform: Platform::Android,
        decided_at: AT.plus_ms(-40_000),
        billable_until: AT.plus_ms(3_560_000),
        duration_ms: 30_000,
        impression_at_start: false,
        preview: false,
        played_ms: Some(2_000),
        truncated_ip: TruncatedIp::from_bytes(&[192, 0, 2]),
        invalid: None,
    }
}

fn house_beacon() -> BeaconRecord {
    BeaconRecord {
        event: BeaconEvent::FirstQuartile,
        impression_id: ImpressionId::Unleased { decision_id: DecisionId::from_u128(ID + 6), slot: 2 },
        tier: Tier::House,
        price: Micros::ZERO,
        app: None,
        country: None,
        platform: Platform::Unknown,
        impression_at_start: true,
        preview: true,
        played_ms: None,
        truncated_ip: TruncatedIp::from_bytes(&[0x20, 1, 0x0D, 0xB8, 0, 1]),
        ..paid_beacon()
    }
}

fn decision() -> DecisionRecord {
    let exposure = Exposure {
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(ID + 8), ordinal: 0 },
        at: AT.plus_ms(-3_600_000),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        campaign_id: CampaignId::from_u128(ID + 3),
        line_item_id: LineItemId::from_u128(ID + 4),
        creative_id: CreativeId::from_u128(ID + 5),
        state: ExposureState::Heard,
    };
    let reserved = ExposureState::Reserved { until: AT.plus_ms(3_600_000) };
    DecisionRecord {
        decision_id: DecisionId::from_u128(ID + 6),
        request: request(),
        listener: ListenerView {
            exposures: vec![exposure, Exposure { at: AT.plus_ms(-1), state: reserved, ..exposure }],
            last_break_at: Some(AT.plus_ms(-600_000)),
            last_break_creatives: vec![CreativeId::from_u128(ID + 5)],
        },
        catalog_version: 42,
        now: Now { wall: AT, monotonic: MonotonicMs(86_400_000) },
        seed: 0xFEED_FACE_CAFE_BEEF,
        excluded: vec![LineItemId::from_u128(ID + 9)],
        spend_reads: vec![
            SpendReadRecord {
                line_item_id: LineItemId::from_u128(ID + 4),
                paused: false,
                throttle: u64::MAX,
                lease: Some(LeaseReadRecord {
                    lease_id: LeaseId::from_u128(ID + 7),
                    left: Micros(4_500_000),
                    ordinals_left: 959,
                    last_billable_until: AT.plus_ms(4_500_000),
                }),
            },
            SpendReadRecord { line_item_id: LineItemId::from_u128(ID + 10), paused: true, throttle: 0, lease: None },
        ],
        held_back: Vec::new(),
        ads: vec![ChosenAdRecord {
            impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(ID + 7), ordinal: 41 },
            advertiser_id: AdvertiserId::from_u128(ID + 2),
            campaign_id: CampaignId::from_u128(ID + 3),
            line_item_id: LineItemId::from_u128(ID + 4),
            creative_id: CreativeId::from_u128(ID + 5),
            tier: Tier::Auction,
            price: Micros(4_500),
            duration_ms: 30_000,
        }],
        no_break: None,
        reasons: vec![("targeting".to_owned(), 1_900), ("cap_reached".to_owned(), 3)],
        strict_caps_refused: Some("strict_cap_unsure".to_owned()),
    }
}

fn held_back() -> DecisionRecord {
    let held_back = |number, throttle| HeldBackRecord { line_item_id: LineItemId::from_u128(ID + number), throttle };
    DecisionRecord { held_back: vec![held_back(11, 0), held_back(12, u64::MAX / 100)], ..decision() }
}

fn no_break() -> DecisionRecord {
    let facts = Facts { explicit: Some(false), ..Facts::default() };
    DecisionRecord {
        request: RequestRecord {
            facts,
            consent: ConsentScope::ContextOnly,
            subscription: Subscription::Premium,
            child: true,
            prefetch: false,
            preview: None,
            since_last_break_ms: None,
            ..request()
        },
        listener: ListenerView::default(),
        excluded: Vec::new(),
        spend_reads: Vec::new(),
        held_back: Vec::new(),
        ads: Vec::new(),
        no_break: Some("premium".to_owned()),
        reasons: Vec::new(),
        strict_caps_refused: None,
        ..decision()
    }
}

fn request() -> RequestRecord {
    let text = |text: &str| Some(text.to_owned());
    RequestRecord {
        network_id: NetworkId::from_u128(ID + 1),
        request_id: RequestId::new("7f3a-0001").expect("an id"),
        pseudonym: Pseudonym([0xBB; 16]),
        app: AppKey::new("android").expect("a key"),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        spec: BreakSpec {
            max_duration_ms: 90_000,
            max_ads: 3,
            position: BreakPosition::MidRoll,
            formats: vec![AudioFormat::OggVorbis, AudioFormat::Mp3],
            companion_sizes: vec![(640, 640), (300, 250)],
        },
        facts: Facts {
            country: text("se"),
            region: text("se-ab"),
            city: text("se/stockholm"),
            postal_code: text("se/11122"),
            language: text("sv"),
            age: Some(34),
            gender: text("female"),
            platform: text("android"),
            device_type: text("phone"),
            os: text("android"),
            os_version: text("15.1"),
            app_version: text("9.0.2"),
            connection: text("wifi"),
            genres: vec!["pop".to_owned(), "indie".to_owned()],
            moods: vec!["calm".to_owned()],
            playlist: text("morning"),
            artists: vec!["somebody".to_owned()],
            explicit: Some(true),
            content_categories: vec!["music".to_owned()],
            segments: vec!["s17".to_owned(), "s4".to_owned()],
            key_values: vec![("tempo".to_owned(), "slow".to_owned())],
            coordinates: Some(Coordinates { latitude: 59.33, longitude: 18.07 }),
            zone: Some(Zone::named("Europe/Stockholm").expect("in the database")),
            taste_genres: Vec::new(),
            taste_moods: Vec::new(),
        },
        consent: ConsentScope::Personal,
        child: false,
        subscription: Subscription::Free,
        since_last_break_ms: Some(900_000),
        prefetch: true,
        preview: Some(Preview {
            line_item_id: LineItemId::from_u128(ID + 4),
            creative_id: Some(CreativeId::from_u128(ID + 5)),
        }),
    }
}

fn caps() -> Vec<FrequencyCap> {
    vec![
        FrequencyCap {
            scope: CapScope::LineItem,
            max: 3,
            window: CapWindow::Sliding(86_400_000),
            strictness: Strictness::Soft,
        },
        FrequencyCap { scope: CapScope::Creative, max: 1, window: CapWindow::Pod, strictness: Strictness::Strict },
        FrequencyCap { scope: CapScope::Campaign, max: 9, window: CapWindow::Sliding(0), strictness: Strictness::Soft },
        FrequencyCap {
            scope: CapScope::Advertiser,
            max: u16::MAX,
            window: CapWindow::Sliding(u64::MAX),
            strictness: Strictness::Soft,
        },
    ]
}

fn network() -> Network {
    Network {
        id: NetworkId::from_u128(ID + 1),
        name: "Example Streaming".to_owned(),
        currency: "SEK".to_owned(),
        floor_cpm: Micros(1_000_000),
        approve_creatives: true,
        apps: vec![App { key: AppKey::new("android").expect("a key"), name: "Android".to_owned() }],
        placements: vec![Placement {
            key: PlacementKey::new("between-tracks").expect("a key"),
            name: "Between tracks".to_owned(),
            floor_cpm: Micros::ZERO,
            max_duration_ms: 90_000,
            max_ads: 3,
            cadence_ms: 600_000,
            token_life_ms: 3_600_000,
            impression_at_start: true,
        }],
    }
}

fn advertiser() -> Advertiser {
    Advertiser {
        id: AdvertiserId::from_u128(ID + 2),
        network_id: NetworkId::from_u128(ID + 1),
        name: "Åkesson & Söner".to_owned(),
        status: Status::Active,
        budget: Budget { lifetime: Some(Micros(i64::MAX)), daily: Some(Micros(1)) },
        zone: Zone::named("Europe/Stockholm").expect("in the database"),
        caps: caps(),
    }
}

fn campaign() -> Campaign {
    Campaign {
        id: CampaignId::from_u128(ID + 3),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        network_id: NetworkId::from_u128(ID + 1),
        name: "Spring".to_owned(),
        status: Status::Paused,
        budget: Budget::default(),
        caps: caps(),
    }
}

pub(crate) fn creative() -> Creative {
    Creative {
        id: CreativeId::from_u128(ID + 5),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        network_id: NetworkId::from_u128(ID + 1),
        name: "Thirty seconds".to_owned(),
        status: Status::Archived,
        approval: Approval::Rejected,
        duration_ms: 30_000,
        explicit: true,
        renditions: vec![
            Rendition {
                format: AudioFormat::Aac,
                bitrate_kbps: 192,
                source: RenditionSource::Url("https://cdn.example/30.m4a".to_owned()),
            },
            Rendition {
                format: AudioFormat::Wav,
                bitrate_kbps: 1_411,
                source: RenditionSource::Url("https://cdn.example/30.wav".to_owned()),
            },
        ],
        click_url: Some("https://shop.example/spring".to_owned()),
    }
}

pub(crate) fn line_item() -> LineItem {
    LineItem {
        id: LineItemId::from_u128(ID + 4),
        campaign_id: CampaignId::from_u128(ID + 3),
        advertiser_id: AdvertiserId::from_u128(ID + 2),
        network_id: NetworkId::from_u128(ID + 1),
        name: "Stockholm mornings".to_owned(),
        status: Status::Active,
        flight: Flight {
            start: AT,
            end: AT.plus_ms(86_400_000 * 30),
            zone: Zone::named("Europe/Stockholm").expect("in the database"),
        },
        tier: Tier::Auction,
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros(4_500_000) },
        budget: Budget { lifetime: Some(Micros(450_000_000)), daily: None },
        goal: None,
        share_of_voice: None,
        pacing: PacingMode::Even,
        targeting: targeting(),
        caps: caps(),
        category: Some("coffee".to_owned()),
        excluded_categories: vec!["tea".to_owned()],
        avoid: Avoidance {
            explicit: true,
            content_categories: vec!["news".to_owned()],
            genres: vec!["metal".to_owned()],
        },
        creatives: vec![CreativeChoice { creative_id: CreativeId::from_u128(ID + 5), weight: 100 }],
        trackers: vec![Tracker { event: BeaconEvent::Complete, url: "https://t.example/c".to_owned() }],
    }
}

fn sponsorship() -> LineItem {
    LineItem {
        status: Status::Paused,
        tier: Tier::Sponsorship,
        pricing: Pricing { model: PriceModel::Flat, amount: Micros(9_000_000_000) },
        budget: Budget::default(),
        goal: Some(Goal { impressions: 1_000_000, daily_impressions: Some(50_000) }),
        share_of_voice: Some(ShareOfVoice { basis_points: 10_000 }),
        pacing: PacingMode::Curve(vec![0, 5_000, 10_000]),
        targeting: Expression::Any(Vec::new()),
        caps: Vec::new(),
        category: None,
        excluded_categories: Vec::new(),
        avoid: Avoidance::default(),
        trackers: Vec::new(),
        ..line_item()
    }
}

fn house() -> LineItem {
    LineItem {
        status: Status::Archived,
        tier: Tier::House,
        pricing: Pricing { model: PriceModel::Cpm, amount: Micros::ZERO },
        pacing: PacingMode::FrontLoaded,
        targeting: Expression::everybody(),
        ..sponsorship()
    }
}

/// Every kind of predicate, under every operator.
fn targeting() -> Expression {
    let has = |attribute, values: &[&str]| {
        Expression::Is(Predicate::Has { attribute, any_of: values.iter().map(|&value| value.to_owned()).collect() })
    };
    let one = Version::parse("1.2.3.4").expect("a version");
    Expression::All(vec![
        has(Attribute::Country, &["se", "no"]),
        Expression::Not(Box::new(Expression::Any(vec![
            has(Attribute::Genre, &["metal"]),
            has(Attribute::Segment, &["s1", "s2", "s3"]),
        ]))),
        Expression::Is(Predicate::Age { any_of: vec![AgeRange { from: 18, to: 24 }, AgeRange { from: 35, to: 120 }] }),
        Expression::Is(Predicate::Explicit(false)),
        Expression::Is(Predicate::KeyValue { key: "tempo".to_owned(), any_of: vec!["slow".to_owned()] }),
        Expression::Is(Predicate::Daypart {
            zone: DaypartZone::LineItem,
            hours: [0, 6, 63, 64, 167].into_iter().collect(),
        }),
        Expression::Is(Predicate::Daypart { zone: DaypartZone::Listener, hours: [5].into_iter().collect() }),
        Expression::Is(Predicate::Within {
            any_of: vec![Circle { latitude: 59.33, longitude: -18.07, radius_m: 500_000 }],
        }),
        Expression::Is(Predicate::Version {
            of: VersionOf::App,
            any_of: vec![
                VersionRange { at_least: Some(one), below: None },
                VersionRange { at_least: None, below: Some(Version([0, 0, 0, 1])) },
            ],
        }),
    ])
}
