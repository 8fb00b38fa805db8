//! Messages travel whole, their bytes stay readable, and a new owner hears what it has to.

use super::*;
use crate::accounting::Refusal;
use crate::decision::{LeaseOwner, LeaseTerms, OfferedLease};
use crate::model::{AdvertiserId, CampaignId, LeaseId, LineItemId, Micros, NetworkId};
use crate::roles::accounting::{LeaseLeft, Piece, ServerSays};

const SERVER: ServerId = ServerId::from_u128(1);
const BOOT: BootId = BootId::from_u128(2);
const ACCOUNTING: BootId = BootId::from_u128(3);

fn said(word: Word) -> FromServer {
    let at = Now { wall: WallMs(1_700_000_000_123), monotonic: MonotonicMs(5_000) };
    let echoes = vec![Echo { accounting_id: ACCOUNTING, stamp: MonotonicMs(900), held_ms: 40 }];
    FromServer { server_id: SERVER, boot_id: BOOT, at, echoes, word }
}

fn mark(until: i64, end: u64) -> Mark {
    Mark { until: WallMs(until), ends: vec![(0, 3), (7, end)] }
}

fn words() -> Vec<FromServer> {
    let line = |n: u128, lease| LineReport {
        line_item_id: LineItemId::from_u128(n),
        drawn: Micros(1_000),
        drawn_count: 2,
        eligible: 512,
        lease,
    };
    let lease = LeaseLeft { lease_id: LeaseId::from_u128(9), left: Micros(77), ordinals_left: 12 };
    [
        Word::Registered,
        Word::Complete(mark(1_000, 12)),
        Word::Draining,
        Word::Closed(mark(2_000, 15)),
        Word::Report { extent: Extent::Changes, lines: vec![line(4, Some(lease)), line(5, None)] },
        Word::Report { extent: Extent::Whole(Piece { number: 3, index: 1, pieces: 2 }), lines: vec![line(6, None)] },
    ]
    .into_iter()
    .map(said)
    .collect()
}

fn notices() -> FromAccounting {
    let lease = MessageBody::Lease(OfferedLease {
        owner: LeaseOwner {
            network_id: NetworkId::from_u128(10),
            advertiser_id: AdvertiserId::from_u128(11),
            campaign_id: CampaignId::from_u128(12),
            line_item_id: LineItemId::from_u128(13),
        },
        terms: LeaseTerms {
            lease_id: LeaseId::from_u128(14),
            amount: Micros(50_000),
            max_ordinals: 50,
            draw_until: MonotonicMs(900_000),
            last_billable_until: WallMs(1_700_000_900_000),
        },
    });
    let refusals = [
        Refusal::Unknown,
        Refusal::Full,
        Refusal::OlderBoot,
        Refusal::Draining,
        Refusal::Closed,
        Refusal::Lost,
        Refusal::Clock { ahead_ms: -2_500 },
    ];
    let standings = std::iter::once(Ok(())).chain(refusals.into_iter().map(Err)).map(MessageBody::Standing);
    let throttle = MessageBody::Throttle { line_item_id: LineItemId::from_u128(13), throttle: u64::MAX / 3 };
    FromAccounting {
        accounting_id: ACCOUNTING,
        stamp: MonotonicMs(901),
        partition: 7,
        server_id: SERVER,
        boot_id: BOOT,
        notices: [lease, throttle].into_iter().chain(standings).chain([MessageBody::TellAll]).collect(),
    }
}

#[test]
fn every_message_travels_whole_and_its_bytes_stay_readable() {
    let mut golden = String::new();
    for word in words() {
        let bytes = encode_from_server(&word);
        assert_eq!(decode_from_server(&bytes), Ok(word.clone()));
        golden.extend(["from_server ", &hex(&bytes), "\n"]);
        for cut in 0..bytes.len() {
            // An error, or a message with less in it; never a panic.
            let _ = decode_from_server(&bytes[..cut]);
        }
    }
    let bytes = encode_from_accounting(&notices());
    assert_eq!(decode_from_accounting(&bytes), Ok(notices()));
    golden.extend(["from_accounting ", &hex(&bytes), "\n"]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/golden/v1/fleet.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &golden).expect("written");
    }
    assert_eq!(std::fs::read_to_string(path).expect("the golden file; UPDATE_GOLDEN=1 writes it"), golden);
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[test]
fn what_is_no_message_is_told() {
    assert!(matches!(decode_from_server(&[0xff]), Err(MessageError::Protobuf(_))));
    assert_eq!(decode_from_server(&[]), Err(MessageError::UnknownKind("from_server.body")));
    assert_eq!(decode_from_accounting(&[]), Err(MessageError::Id("from_accounting.accounting_id")));
}

#[test]
fn how_long_a_word_was_on_its_way_is_what_is_left_of_the_round_trip() {
    let word = said(Word::Registered);
    // Spoken at 900, held for 40, back at 1,000: 60 ms on both ways, and what cut readings hide.
    assert_eq!(word.transit_ms(ACCOUNTING, MonotonicMs(1_000)), Some(62));
    assert_eq!(word.transit_ms(ACCOUNTING, MonotonicMs(930)), Some(2), "no less than nothing");
    assert_eq!(word.transit_ms(BOOT, MonotonicMs(1_000)), None, "it has not heard of that one");
}

#[test]
fn a_new_owner_hears_each_servers_last_words() {
    let mut board = FleetBoard::default();
    board.note(&said(Word::Complete(mark(1_000, 12))), MonotonicMs(1));
    assert_eq!(board.words(7), [], "a run that has not registered says nothing");
    for (at, word) in
        [Word::Registered, Word::Complete(mark(1_000, 12)), Word::Complete(mark(2_000, 14))].into_iter().enumerate()
    {
        board.note(&said(word), MonotonicMs(at as u64));
    }
    let news = |board: &FleetBoard, partition| {
        let words = board.words(partition);
        assert!(words.iter().all(|ServerSays { server_id, .. }| *server_id == SERVER));
        words.into_iter().map(|says| says.news).collect::<Vec<_>>()
    };
    let complete = |shipped_end| ServerNews::Complete { until: WallMs(2_000), shipped_end };
    assert_eq!(news(&board, 7), [ServerNews::Registered, complete(14)]);
    assert_eq!(news(&board, 1), [ServerNews::Registered, complete(0)], "nothing of it is in that partition");
    assert_eq!(board.alive(MonotonicMs(2)).collect::<Vec<_>>(), [(SERVER, BOOT)]);
    assert_eq!(board.alive(MonotonicMs(3)).count(), 0);
    board.note(&said(Word::Draining), MonotonicMs(3));
    board.note(&said(Word::Closed(mark(3_000, 15))), MonotonicMs(4));
    let closed = ServerNews::Closed { until: WallMs(3_000), shipped_end: 15 };
    assert_eq!(news(&board, 7), [ServerNews::Registered, complete(14), ServerNews::Draining, closed]);
    assert_eq!(board.alive(MonotonicMs(0)).count(), 0);
    // A new run begins anew.
    let next = FromServer { boot_id: BootId::from_u128(4), ..said(Word::Registered) };
    board.note(&next, MonotonicMs(5));
    assert_eq!(news(&board, 7), [ServerNews::Registered]);
}

#[test]
fn the_board_holds_as_many_servers_as_the_register() {
    let mut board = FleetBoard::default();
    let most = crate::accounting::SERVERS_MAX;
    for n in 0..=most {
        let server_id = ServerId::from_u128(n as u128 + 100);
        board.note(&FromServer { server_id, ..said(Word::Registered) }, MonotonicMs(n as u64));
    }
    assert_eq!(board.alive(MonotonicMs(0)).count(), most);
    assert!(
        board.alive(MonotonicMs(0)).all(|(server_id, _)| server_id != ServerId::from_u128(100)),
        "the first gave way"
    );
}
