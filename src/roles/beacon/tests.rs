use super::*;
use crate::events::{self, Stream};
use crate::impressions::invalid::{ActivityLimits, AddressRanges};
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, ImpressionId, LeaseId, LineItemId, Micros, MonotonicMs,
    NetworkId, PlacementKey, Platform, PriceModel, Pseudonym, Tier,
};
use crate::tokens::TokenKey;

const NOW: Now = Now { wall: WallMs(1_790_000_100_000), monotonic: MonotonicMs(5) };

fn keys() -> TokenKeys {
    TokenKeys::new(TokenKey::new(1, &[1; 32]), None)
}

fn role() -> BeaconRole {
    let data_centres = AddressRanges::parse("192.0.2.0/24").expect("a list");
    let limits = ActivityLimits { listener_hour: 3, listener_burst: 0, address_hour: 0, remembered: 1_000 };
    let senders = Arc::new(SenderRules { data_centres, ..SenderRules::default() });
    BeaconRole::new(keys(), ServerId::from_u128(1), BootId::from_u128(2), senders, ActivityRules::new(limits))
}

fn claims(ordinal: u32) -> Claims {
    Claims {
        network_id: NetworkId::from_u128(1),
        advertiser_id: AdvertiserId::from_u128(2),
        campaign_id: CampaignId::from_u128(3),
        line_item_id: LineItemId::from_u128(4),
        creative_id: CreativeId::from_u128(5),
        decision_id: DecisionId::from_u128(6),
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal },
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price: Micros(4_000),
        listener_key: ListenerKey([8; 16]),
        pseudonym: Pseudonym([9; 16]),
        placement: PlacementKey::new("music").expect("a key"),
        app: None,
        country: None,
        platform: Platform::Web,
        asked_from: None,
        decided_at: NOW.wall.plus_ms(-60_000),
        billable_until: NOW.wall.plus_ms(3_540_000),
        duration_ms: 30_000,
        impression_at_start: false,
        preview: false,
    }
}

/// A beacon of an ad, told at `NOW`; gives back its record and envelope.
fn told(role: &BeaconRole, claims: &Claims, event: &str, change: impl FnOnce(&mut Beacon<'_>)) -> Envelope {
    let token = keys().seal(claims);
    let mut beacon = Beacon {
        event,
        token: &token,
        played_ms: None,
        occurred_at: None,
        sender: Sender { address: "198.51.100.77".parse().ok(), user_agent: None },
        trace_id: None,
    };
    change(&mut beacon);
    role.step(beacon, NOW).expect("one of ours").envelope
}

fn invalid(envelope: &Envelope) -> Option<InvalidTraffic> {
    let Event::Beacon(record) = &envelope.body else { panic!("a beacon's record") };
    record.invalid
}

#[test]
fn a_players_time_is_kept_where_it_is_plausible_and_never_moves_the_receipt() {
    let role = role();
    let at = |occurred_at: WallMs| {
        let envelope = told(&role, &claims(0), "impression", |beacon| beacon.occurred_at = Some(occurred_at));
        assert_eq!(envelope.received_at, NOW.wall);
        envelope.occurred_at
    };
    let told_at = NOW.wall.plus_ms(-30_000);
    assert_eq!(at(told_at), told_at);
    for implausible in [NOW.wall.plus_ms(1), NOW.wall.plus_ms(-62_001), WallMs(i64::MIN), WallMs(i64::MAX)] {
        assert_eq!(at(implausible), NOW.wall, "{implausible:?}");
    }
}

/// Classified, kept as money, and never dropped.
#[test]
fn invalid_traffic_is_recorded_with_its_reason() {
    let role = role();
    let robot = told(&role, &claims(0), "impression", |beacon| beacon.sender.user_agent = Some("goodbot/1"));
    assert_eq!(invalid(&robot), Some(InvalidTraffic::Robot));
    let centre = told(&role, &claims(0), "impression", |beacon| beacon.sender.address = "192.0.2.1".parse().ok());
    assert_eq!(invalid(&centre), Some(InvalidTraffic::DataCentre));
    assert_eq!((robot.body.stream(), robot.event_id), (Stream::Events, centre.event_id));
    assert_eq!(events::decode(&events::encode(&robot)), Ok(robot));
}

/// INV-20.
#[test]
fn nothing_of_the_whole_address_is_written_down() {
    let (role, claims) = (role(), claims(0));
    let near = told(&role, &claims, "impression", |beacon| beacon.sender.address = "198.51.100.1".parse().ok());
    let same = told(&role, &claims, "impression", |beacon| beacon.sender.address = "198.51.100.254".parse().ok());
    assert_eq!(events::encode(&near), events::encode(&same));
}

/// INV-33.
#[test]
fn a_listener_who_hears_too_much_is_impossible_and_a_retry_gets_the_verdict_of_the_first() {
    let role = role();
    for ordinal in 0..3 {
        assert_eq!(invalid(&told(&role, &claims(ordinal), "impression", |_| {})), None);
    }
    let beyond = Some(InvalidTraffic::ImpossibleActivity);
    assert_eq!(invalid(&told(&role, &claims(3), "impression", |_| {})), beyond);
    for _ in 0..100 {
        for event in ["impression", "complete", "click"] {
            assert_eq!(invalid(&told(&role, &claims(0), event, |_| {})), None, "{event}");
            assert_eq!(invalid(&told(&role, &claims(3), event, |_| {})), beyond, "{event}");
        }
    }
    // What gives a draw back is no activity, nor is what an operator previews.
    assert_eq!(invalid(&told(&role, &claims(4), "void", |_| {})), None);
    let preview = Claims { preview: true, ..claims(5) };
    assert_eq!(invalid(&told(&role, &preview, "impression", |_| {})), None);
    // An hour later the listener is a listener again.
    let later = Claims { decided_at: NOW.wall.plus_ms(-60_000 + 3_600_000), ..claims(6) };
    assert_eq!(invalid(&told(&role, &later, "impression", |_| {})), None);
    assert_eq!(role.forgotten(), 0);
}
