//! Records for tests: one network, small ids, easy numbers.

use super::{Grant, Lease};
use crate::events::{BeaconRecord, Envelope, Event, LeaseClosed, LeaseGranted, LeaseReturned};
use crate::model::{
    AdvertiserId, BeaconEvent, BootId, CampaignId, CreativeId, Day, DecisionId, ImpressionId, LeaseId, LineItemId,
    Micros, NetworkId, PlacementKey, Platform, PriceModel, Pseudonym, ServerId, Tier, WallMs,
};

pub(crate) const NETWORK: NetworkId = NetworkId::from_u128(1);
pub(crate) const ADVERTISER: AdvertiserId = AdvertiserId::from_u128(2);
/// When the tests' leases are granted.
pub(crate) const T0: WallMs = WallMs(1_750_000_000_000);
/// When the tests' tokens end.
pub(crate) const BILLABLE_UNTIL: WallMs = WallMs(T0.0 + 3_600_000);
pub(crate) const LAST_BILLABLE_UNTIL: WallMs = WallMs(T0.0 + 4_500_000);

pub(crate) fn campaign(n: u128) -> CampaignId {
    CampaignId::from_u128(0x300 + n)
}

pub(crate) fn line(n: u128) -> LineItemId {
    LineItemId::from_u128(0x400 + n)
}

pub(crate) fn lease(n: u128) -> LeaseId {
    LeaseId::from_u128(0x500 + n)
}

pub(crate) fn envelope(received_at: WallMs, body: Event) -> Envelope {
    Envelope {
        event_id: body.id(),
        occurred_at: received_at,
        received_at,
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        trace_id: None,
        body,
    }
}

/// Line item `n` belongs to campaign `n % 2`.
pub(crate) fn granted(n: u128, line_item: u128, amount: i64, max_ordinals: u32) -> Envelope {
    let body = Event::LeaseGranted(LeaseGranted {
        lease_id: lease(n),
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        network_id: NETWORK,
        advertiser_id: ADVERTISER,
        campaign_id: campaign(line_item % 2),
        line_item_id: line(line_item),
        amount: Micros(amount),
        max_ordinals,
        granted_at: T0,
        draw_until: T0.plus_ms(900_000),
        last_billable_until: LAST_BILLABLE_UNTIL,
        limits: Vec::new(),
        price_model: PriceModel::Cpm,
        advertiser_day: Day::utc_of(T0),
        line_item_day: Day::utc_of(T0),
    });
    envelope(T0, body)
}

/// Changes what a record grants.
pub(crate) fn granting(mut envelope: Envelope, change: impl FnOnce(&mut LeaseGranted)) -> Envelope {
    if let Event::LeaseGranted(granted) = &mut envelope.body {
        change(granted);
    }
    envelope
}

/// The server of [`granted`] gives all back but what was drawn.
pub(crate) fn returned(n: u128, line_item: u128, drawn: i64, drawn_count: u32) -> Envelope {
    let body = Event::LeaseReturned(LeaseReturned {
        lease_id: lease(n),
        server_id: ServerId::from_u128(7),
        boot_id: BootId::from_u128(8),
        network_id: NETWORK,
        advertiser_id: ADVERTISER,
        campaign_id: campaign(line_item % 2),
        line_item_id: line(line_item),
        drawn: Micros(drawn),
        drawn_count,
        returned_at: T0.plus_ms(60_000),
    });
    envelope(T0.plus_ms(60_000), body)
}

pub(crate) fn closed(n: u128, line_item: u128, settled: i64, count: u32, returned: i64) -> Envelope {
    let at = LAST_BILLABLE_UNTIL.plus_ms(60_000);
    let body = Event::LeaseClosed(LeaseClosed {
        lease_id: lease(n),
        network_id: NETWORK,
        advertiser_id: ADVERTISER,
        campaign_id: campaign(line_item % 2),
        line_item_id: line(line_item),
        settled: Micros(settled),
        settled_count: count,
        returned: Micros(returned),
        closed_at: at,
    });
    envelope(at, body)
}

/// A beacon of a paid ad at price 10, received in time.
pub(crate) fn beacon(lease_n: u128, ordinal: u32, line_item: u128, event: BeaconEvent) -> Envelope {
    let impression_id = ImpressionId::Leased { lease_id: lease(lease_n), ordinal };
    envelope(
        T0.plus_ms(60_000),
        Event::Beacon(Box::new(BeaconRecord {
            event,
            impression_id,
            network_id: NETWORK,
            advertiser_id: ADVERTISER,
            campaign_id: campaign(line_item % 2),
            line_item_id: line(line_item),
            creative_id: CreativeId::from_u128(6),
            decision_id: DecisionId::from_u128(9),
            tier: Tier::Auction,
            price_model: PriceModel::Cpm,
            price: Micros(10),
            pseudonym: Pseudonym([0; 16]),
            placement: PlacementKey::new("between").expect("a key"),
            app: None,
            country: None,
            platform: Platform::ALL[0],
            decided_at: T0.plus_ms(1_000),
            billable_until: BILLABLE_UNTIL,
            duration_ms: 30_000,
            impression_at_start: false,
            preview: false,
            played_ms: None,
            truncated_ip: None,
            invalid: None,
        })),
    )
}

/// Changes a beacon's record, and its event id with it.
pub(crate) fn with(mut envelope: Envelope, change: impl FnOnce(&mut BeaconRecord)) -> Envelope {
    if let Event::Beacon(record) = &mut envelope.body {
        change(record);
    }
    envelope.event_id = envelope.body.id();
    envelope
}

/// The same record, received at another time.
pub(crate) fn at(mut envelope: Envelope, received_at: WallMs) -> Envelope {
    envelope.received_at = received_at;
    envelope
}

/// A lease of line item 0 that charged so many impressions at price 10, not closed.
pub(crate) fn settled_lease(n: u128, charged: u32) -> Lease {
    let Event::LeaseGranted(grant) = granted(n, 0, 1_000, 100).body else { unreachable!("a grant") };
    let mut lease = Lease::open(Grant::of(&grant));
    for ordinal in 0..charged {
        lease.settled.insert(ordinal);
    }
    (lease.settled_count, lease.delivered_count) = (charged, charged);
    lease.settled_micros = Micros(10 * i64::from(charged));
    lease
}
