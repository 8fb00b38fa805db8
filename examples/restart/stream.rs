//! A busy stream of money: leases of a thousand impressions of a thousand line items, each impression heard from its start to its end.

use segue::events::{BeaconRecord, Envelope, Event, LeaseGranted};
use segue::model::{
    AdvertiserId, BeaconEvent, BootId, CampaignId, CreativeId, Day, DecisionId, ImpressionId, LeaseId, LineItemId,
    Micros, NetworkId, PlacementKey, Platform, PriceModel, Pseudonym, ServerId, Tier, WallMs,
};
use segue::roles::accounting::MachineSettings;

/// When the stream begins.
pub(crate) const T0: WallMs = WallMs(1_790_000_000_000);
/// Impressions of a lease.
pub(crate) const IMPRESSIONS_PER_LEASE: u32 = 1_000;
/// Line items, of a hundred advertisers.
const LINE_ITEMS: u128 = 1_000;
const PRICE: Micros = Micros(4_500);

/// The machine's settings: as a server has them.
pub(crate) fn settings() -> MachineSettings {
    MachineSettings {
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        partition: 0,
        namer: BootId::from_u128(8).to_bytes(),
        lease_ms: 900_000,
        commit_interval_ms: 200,
        report_ms: 1_000,
        clock_tolerance_ms: 1_000,
        states_delivery: false,
    }
}

fn lease_number(impression: u64) -> u128 {
    u128::from(impression / u64::from(IMPRESSIONS_PER_LEASE))
}

/// As accounting names them: by the time of the grant, which the books look at.
fn lease_id(lease: u128) -> LeaseId {
    let first = u64::try_from(lease).expect("a count") * u64::from(IMPRESSIONS_PER_LEASE);
    let mut number = [0; 10];
    number.copy_from_slice(&lease.to_be_bytes()[6..]);
    LeaseId::at(decided_at(first), number)
}

fn ids(lease: u128) -> (AdvertiserId, CampaignId, LineItemId) {
    let line_item = lease % LINE_ITEMS;
    let advertiser = line_item / 10;
    (
        AdvertiserId::from_u128(0x1000 + advertiser),
        CampaignId::from_u128(0x2000 + advertiser),
        LineItemId::from_u128(0x3000 + line_item),
    )
}

fn envelope(at: WallMs, body: Event) -> Envelope {
    Envelope {
        event_id: body.id(),
        occurred_at: at,
        received_at: at,
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        trace_id: None,
        body,
    }
}

/// When the impression is decided: a thousand a second.
fn decided_at(impression: u64) -> WallMs {
    T0.plus_ms(i64::try_from(impression).expect("a count"))
}

/// The lease of the impression.
pub(crate) fn grant(impression: u64) -> Envelope {
    let lease = lease_number(impression);
    let (advertiser_id, campaign_id, line_item_id) = ids(lease);
    let at = decided_at(impression);
    let granted = LeaseGranted {
        lease_id: lease_id(lease),
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        network_id: NetworkId::from_u128(1),
        advertiser_id,
        campaign_id,
        line_item_id,
        amount: PRICE.times(IMPRESSIONS_PER_LEASE).expect("small"),
        max_ordinals: IMPRESSIONS_PER_LEASE,
        granted_at: at,
        draw_until: at.plus_ms(900_000),
        last_billable_until: at.plus_ms(4_500_000),
        limits: Vec::new(),
        price_model: PriceModel::Cpm,
        advertiser_day: Day::utc_of(at),
        line_item_day: Day::utc_of(at),
    };
    envelope(at, Event::LeaseGranted(granted))
}

/// What is heard of the impression: start, impression and completion; of every tenth the impression twice.
pub(crate) fn beacons(impression: u64) -> Vec<Envelope> {
    let told = |event, after_ms| beacon(impression, event, after_ms);
    let mut beacons = vec![
        told(BeaconEvent::Start, 1_000),
        told(BeaconEvent::Impression, 3_000),
        told(BeaconEvent::Complete, 31_000),
    ];
    if impression.is_multiple_of(10) {
        beacons.push(told(BeaconEvent::Impression, 3_500));
    }
    beacons
}

fn beacon(impression: u64, event: BeaconEvent, after_ms: i64) -> Envelope {
    let lease = lease_number(impression);
    let (advertiser_id, campaign_id, line_item_id) = ids(lease);
    let decided_at = decided_at(impression);
    let ordinal = u32::try_from(impression % u64::from(IMPRESSIONS_PER_LEASE)).expect("below a thousand");
    let record = BeaconRecord {
        event,
        impression_id: ImpressionId::Leased { lease_id: lease_id(lease), ordinal },
        network_id: NetworkId::from_u128(1),
        advertiser_id,
        campaign_id,
        line_item_id,
        creative_id: CreativeId::from_u128(5),
        decision_id: DecisionId::from_u128(u128::from(impression)),
        tier: Tier::Auction,
        price_model: PriceModel::Cpm,
        price: PRICE,
        pseudonym: Pseudonym(u128::from(impression).to_be_bytes()),
        placement: PlacementKey::new("between-tracks").expect("a key"),
        app: None,
        country: Some(*b"se"),
        platform: Platform::Android,
        decided_at,
        billable_until: decided_at.plus_ms(3_600_000),
        duration_ms: 30_000,
        impression_at_start: false,
        preview: false,
        played_ms: None,
        truncated_ip: None,
        invalid: None,
    };
    envelope(decided_at.plus_ms(after_ms), Event::Beacon(Box::new(record)))
}
