//! Every row survives the round trip, in the bytes of version 2; those of version 1 stay readable.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

fn lease() -> Lease {
    let mut lease = Lease::open(Grant {
        lease_id: LeaseId::from_u128(1),
        server_id: ServerId::from_u128(2),
        boot_id: BootId::from_u128(3),
        network_id: NetworkId::from_u128(4),
        campaign_id: CampaignId::from_u128(5),
        line_item_id: LineItemId::from_u128(6),
        amount: Micros(100),
        max_ordinals: 10,
        granted_at: WallMs(1_000),
        draw_until: WallMs(2_000),
        last_billable_until: WallMs(3_000),
        price_model: PriceModel::Cpm,
        advertiser_day: Day(0),
        line_item_day: Day(0),
    });
    for ordinal in [0, 9] {
        lease.settled.insert(ordinal);
        lease.heard.insert(ordinal);
        lease.started.insert(ordinal);
    }
    lease.voided.insert(3);
    lease.completed.insert(9);
    lease.clicked.insert(0);
    lease.unbilled.insert(4, UnbilledReason::Late);
    lease.heard.insert(4);
    (lease.settled_micros, lease.settled_count, lease.digest) = (Micros(20), 2, [7; 16]);
    lease.delivered_count = 2;
    lease.closed_at = Some(WallMs(4_000));
    lease
}

/// A lease by the click, of which the rest was given back, with a click that waits.
fn by_click() -> Lease {
    let mut lease = Lease { closed_at: None, ..lease() };
    (lease.grant.price_model, lease.grant.amount) = (PriceModel::Cpc, Micros::ZERO);
    (lease.grant.advertiser_day, lease.grant.line_item_day) = (Day(20_000), Day(-1));
    lease.delivered = lease.heard.clone();
    lease.delivered_count = 3;
    lease.unbilled.insert(5, UnbilledReason::NoStart);
    lease.awaiting.insert(5, Micros(11));
    lease.returned = Some(Returned { drawn: Micros::ZERO, drawn_count: 10, at: WallMs(3_500) });
    lease
}

fn totals() -> DeliveryTotals {
    DeliveryTotals {
        starts: 5,
        impressions: 4,
        completes: 3,
        clicks: 2,
        voids: 1,
        billed: 2,
        billed_micros: Micros(20),
        unbilled: BTreeMap::from([(UnbilledReason::House, 1), (UnbilledReason::Late, 1)]),
    }
}

#[test]
fn rows_round_trip() {
    let balance = Balance {
        settled: Micros(1),
        settled_count: 2,
        open: Micros(i64::MAX),
        open_count: u64::MAX,
        budget: Some(Micros(0)),
    };
    assert_eq!(decode_balance(&encode_balance(&balance)), Ok(balance));
    assert_eq!(decode_lease(&encode_lease(&lease())), Ok(lease()));
    assert_eq!(decode_lease(&encode_lease(&by_click())), Ok(by_click()));
    let open = Lease { closed_at: None, ..lease() };
    assert_eq!(decode_lease(&encode_lease(&open)), Ok(open));
    for unbilled in [None, Some(UnbilledReason::Preview)] {
        let loose = Loose { kinds: 31, unbilled, forget_after: WallMs(-1) };
        assert_eq!(decode_loose(&encode_loose(&loose)), Ok(loose));
    }
    assert_eq!(decode_delivery(&encode_delivery(&totals())), Ok(totals()));
    let chain = Chain { records: 9, digest: [8; 32] };
    assert_eq!(decode_cursor(&encode_cursor(10, WallMs(11), &chain)), Ok((10, WallMs(11), chain)));
}

#[test]
fn keys_round_trip_and_sort_by_hour() {
    let advertiser = AdvertiserId::from_u128(1);
    let levels = [
        LevelId::Advertiser(advertiser),
        LevelId::Campaign(CampaignId::from_u128(2)),
        LevelId::LineItem(LineItemId::from_u128(3)),
        LevelId::AdvertiserDay(advertiser, Day(20_000)),
        LevelId::CampaignDay(CampaignId::from_u128(2), Day(i32::MIN)),
        LevelId::LineItemDay(LineItemId::from_u128(3), Day(i32::MAX)),
    ];
    for level in levels {
        assert_eq!(read_balance_key(&balance_key(advertiser, level)), Ok((advertiser, level)));
    }
    let impression = ImpressionId::Leased { lease_id: LeaseId::from_u128(4), ordinal: 5 };
    for owner in [Owner::Unpaid, Owner::Advertiser(advertiser)] {
        assert_eq!(read_loose_key(&loose_key(owner, impression)), Ok((owner, impression)));
    }
    let key = |hour| DeliveryKey { line_item_id: LineItemId::from_u128(6), hour: WallMs(hour) };
    let hours = [i64::MIN, -3_600_000, 0, 3_600_000, i64::MAX];
    let keys: Vec<_> = hours.iter().map(|hour| delivery_key(key(*hour))).collect();
    assert!(keys.is_sorted());
    for (bytes, hour) in keys.iter().zip(hours) {
        assert_eq!(read_delivery_key(bytes), Ok(key(hour)));
    }
    for bad in [&[][..], &[9; 33], &[9; 38], &[0; 24][..23]] {
        assert!(read_balance_key(bad).is_err() && read_loose_key(bad).is_err() && read_delivery_key(bad).is_err());
    }
}

#[test]
fn rows_that_cannot_be_right_are_refused() {
    let newer = BalanceRow { version: ROW_VERSION + 1, ..BalanceRow::default() }.encode_to_vec();
    assert_eq!(decode_balance(&newer), Err(RowError::Newer(ROW_VERSION + 1)));
    assert_eq!(decode_balance(&[]), Err(RowError::Field("version")));
    assert!(matches!(decode_lease(&[0xff; 9]), Err(RowError::Malformed(_))));
    let wrong = Lease { settled_count: 3, ..lease() };
    assert_eq!(decode_lease(&encode_lease(&wrong)), Err(RowError::Field("what is settled: count and ordinals differ")));
    let wrong = Lease { settled_micros: Micros(101), ..lease() };
    assert_eq!(decode_lease(&encode_lease(&wrong)), Err(RowError::Field("more is settled than was drawn")));
}

/// What version 1 wrote is read as what it meant.
#[test]
fn rows_of_version_1_stay_readable() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/ledger_rows.txt");
    let text = std::fs::read_to_string(golden).expect("the golden file");
    let row = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a row of that name").trim();
        let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
        (0..line.len()).step_by(2).map(byte).collect::<Vec<_>>()
    };
    let balance = Balance { settled: Micros(1), settled_count: 2, open: Micros(3), open_count: 4, budget: None };
    assert_eq!(decode_balance(&row("balance ")), Ok(balance));
    assert_eq!(decode_lease(&row("lease ")), Ok(lease()));
    let loose = Loose { kinds: 3, unbilled: Some(UnbilledReason::House), forget_after: WallMs(5) };
    assert_eq!(decode_loose(&row("loose ")), Ok(loose));
    assert_eq!(decode_delivery(&row("delivery ")), Ok(totals()));
    let chain = Chain { records: 9, digest: [8; 32] };
    assert_eq!(decode_cursor(&row("cursor ")), Ok((10, WallMs(11), chain)));
}

/// The bytes on disk: rewritten only with `UPDATE_GOLDEN=1`.
#[test]
fn the_bytes_of_version_2_stay_readable() {
    let balance =
        Balance { settled: Micros(1), settled_count: 2, open: Micros(3), open_count: 4, budget: Some(Micros(9)) };
    let loose = Loose { kinds: 3, unbilled: Some(UnbilledReason::House), forget_after: WallMs(5) };
    let rows = [
        ("balance", encode_balance(&balance)),
        ("lease", encode_lease(&lease())),
        ("lease_by_click", encode_lease(&by_click())),
        ("loose", encode_loose(&loose)),
        ("delivery", encode_delivery(&totals())),
        ("cursor", encode_cursor(10, WallMs(11), &Chain { records: 9, digest: [8; 32] })),
    ];
    let mut text = String::new();
    for (name, bytes) in rows {
        write!(text, "{name} ").expect("to a String");
        for byte in bytes {
            write!(text, "{byte:02x}").expect("to a String");
        }
        text.push('\n');
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v2/ledger_rows.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).expect("writable");
    }
    assert_eq!(std::fs::read_to_string(&golden).expect("the golden file"), text);
}
