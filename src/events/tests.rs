//! Every record reads back as it was written; golden files of version 1 stay readable; bad records are refused by the field's name.

use std::path::PathBuf;

use prost::Message;

use super::catalog::{MAX_EXPRESSION_DEPTH, decode_entity, decode_record, encode_entity, encode_record};
use super::wire::proto;
use super::*;
use crate::catalog::Entity;
use crate::model::{
    AdvertiserId, BeaconEvent, CampaignId, Coordinates, Day, ImpressionId, LeaseId, LineItemId, Micros, NetworkId,
    PriceModel, ServerId, WallMs,
};
use crate::targeting::{Attribute, Expression, Predicate};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1").join(name)
}

/// Compares with a golden file, or rewrites it when asked to.
fn check_golden(name: &str, bytes: &[u8]) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file is writable");
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(kept == bytes, "{name} differs from its golden file; if that is meant, UPDATE_GOLDEN=1 rewrites it");
}

// INV-21.
#[test]
fn events_of_version_1_are_read_and_written_alike() {
    for (name, envelope) in samples::envelopes() {
        let file = format!("events/{name}.bin");
        check_golden(&file, &encode(&envelope));
        let kept = std::fs::read(golden(&file)).expect("just compared");
        assert_eq!(decode(&kept), Ok(envelope), "{name}");
    }
}

/// Longer lists and texts than the samples have, so that lengths take one byte, two and three; and numbers that are left out or take the most.
fn stretched(record: &DecisionRecord, length: usize, number: i64) -> DecisionRecord {
    let mut record = record.clone();
    record.listener.exposures = record.listener.exposures.iter().copied().cycle().take(length).collect();
    record.listener.last_break_at = Some(WallMs(number));
    record.excluded = vec![LineItemId::from_u128(0); length];
    record.request.facts.playlist = Some("p".repeat(length));
    record.request.facts.genres = vec![String::new(), "g".repeat(length)];
    record.request.facts.coordinates = Some(Coordinates { latitude: -0.0, longitude: 18.07 });
    record.reasons = vec![(String::new(), 0), ("r".repeat(length), u32::MAX)];
    record.spend_reads.iter_mut().filter_map(|read| read.lease.as_mut()).for_each(|lease| lease.left = Micros(number));
    record.held_back = record.held_back.iter().copied().cycle().take(length).collect();
    record.ads.iter_mut().for_each(|ad| ad.price = Micros(number));
    record.seed = number.unsigned_abs();
    record
}

#[test]
fn what_is_written_straight_is_what_prost_writes() {
    let prost = |envelope: &Envelope| wire::envelope_to_wire(envelope).encode_to_vec();
    for (name, envelope) in samples::envelopes() {
        assert_eq!(encode(&envelope), prost(&envelope), "{name}");
        let Event::Decision(record) = &envelope.body else { continue };
        for length in [0, 1, 127, 128, 300, 16_383, 16_384] {
            for number in [0, 1, -1, i64::MIN, i64::MAX] {
                let body = Event::Decision(Box::new(stretched(record, length, number)));
                let envelope = Envelope { body, trace_id: None, ..envelope.clone() };
                assert!(encode(&envelope) == prost(&envelope), "{name}, {length} long, {number}");
            }
        }
    }
}

/// One found just now, one replayed, one too large for a letter.
fn dead_letters() -> [(&'static str, DeadLetter); 3] {
    let found = DeadLetter {
        topic: "segue.events".to_owned(),
        partition: 3,
        offset: 1_234,
        key: vec![0xAD; 16],
        recorded_at: WallMs(1_790_000_000_123),
        payload: Some(b"poison".to_vec()),
        payload_bytes: 6,
        payload_digest: *blake3::hash(b"poison").as_bytes(),
        reason: DeadLetterReason::UnknownKind,
        detail: "beacon.event holds a kind that this version does not know".to_owned(),
        found_at: WallMs(1_790_000_001_000),
        server_id: ServerId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0064),
        replay: None,
    };
    let replay = dead_letter::Replay { number: 2, at: WallMs(1_790_000_009_000) };
    let large = DeadLetter { payload: None, payload_bytes: 999_999, ..found.clone() };
    [("found", found.clone()), ("replayed", DeadLetter { replay: Some(replay), ..found }), ("large", large)]
}

// INV-21.
#[test]
fn dead_letters_of_version_1_are_read_and_written_alike() {
    for (name, letter) in dead_letters() {
        let file = format!("dead_letter/{name}.bin");
        check_golden(&file, &encode_dead_letter(&letter));
        let kept = std::fs::read(golden(&file)).expect("just compared");
        assert_eq!(decode_dead_letter(&kept), Ok(letter), "{name}");
    }
}

fn delivery() -> LineItemDelivery {
    LineItemDelivery {
        line_item_id: LineItemId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0004),
        network_id: NetworkId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0001),
        advertiser_id: AdvertiserId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0002),
        campaign_id: CampaignId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0003),
        at: WallMs(1_790_000_000_123),
        partition: 5,
        events_until: 123_456,
        may_spend: true,
        throttle_ppm: 250_000,
        life: Spend { settled: Micros(9_000_000), impressions: 2_000, open: Micros(450_000), open_impressions: 100 },
        today: Spend { settled: Micros(900_000), impressions: 200, ..Spend::default() },
        day: Day(20_717),
    }
}

// INV-21.
#[test]
fn deliveries_of_version_1_are_read_and_written_alike() {
    let ended = LineItemDelivery { may_spend: false, throttle_ppm: 0, ..delivery() };
    for (name, delivery) in [("line_item", delivery()), ("line_item_ended", ended)] {
        let file = format!("delivery/{name}.bin");
        check_golden(&file, &encode_delivery(&delivery));
        let kept = std::fs::read(golden(&file)).expect("just compared");
        assert_eq!(decode_delivery(&kept), Ok(delivery), "{name}");
    }
}

#[test]
fn a_delivery_that_does_not_say_what_is_needed_is_refused_by_the_fields_name() {
    let changed = |change: fn(&mut proto::LineItemDelivery)| {
        let mut wire = proto::LineItemDelivery::decode(encode_delivery(&delivery()).as_slice()).expect("just encoded");
        change(&mut wire);
        decode_delivery(&wire.encode_to_vec())
    };
    let missing = |field| Err(EventError::Missing { field });
    assert_eq!(changed(|wire| wire.line_item_id.clear()), missing("delivery.line_item_id"));
    assert_eq!(changed(|wire| wire.at_ms = None), missing("delivery.at_ms"));
    assert_eq!(changed(|wire| wire.life = None), missing("delivery.life"));
    assert!(matches!(changed(|wire| wire.throttle_ppm = WHOLE_PPM + 1), Err(EventError::Invalid { .. })));
}

fn play() -> Play {
    Play {
        play_id: [0xA1; 16],
        network_id: NetworkId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0001),
        listener_id: "account-17".to_owned(),
        played_at: WallMs(1_790_000_000_123),
        heard_ms: 181_000,
        genres: vec!["Jazz".to_owned(), "Soul".to_owned()],
        moods: vec!["Calm".to_owned()],
        is_profiled: true,
    }
}

// INV-21.
#[test]
fn plays_of_version_1_are_read_and_written_alike() {
    for (name, play) in [("play", play()), ("play_denied", Play { is_profiled: false, ..play() })] {
        let file = format!("listening/{name}.bin");
        check_golden(&file, &encode_play(&play));
        let kept = std::fs::read(golden(&file)).expect("just compared");
        assert_eq!(decode_play(&kept), Ok(play), "{name}");
    }
}

/// Changes the play's wire form, and reads it.
fn changed_play(change: impl FnOnce(&mut proto::Play)) -> Result<Play, EventError> {
    let mut wire = proto::Play::decode(encode_play(&play()).as_slice()).expect("just encoded");
    change(&mut wire);
    decode_play(&wire.encode_to_vec())
}

#[test]
fn a_play_that_does_not_say_what_is_needed_is_refused_by_the_fields_name() {
    let missing = |field| Err(EventError::Missing { field });
    assert_eq!(changed_play(|wire| wire.play_id.clear()), missing("play.play_id"));
    assert_eq!(changed_play(|wire| wire.network_id.clear()), missing("play.network_id"));
    assert_eq!(changed_play(|wire| wire.listener_id.clear()), missing("play.listener_id"));
    assert_eq!(changed_play(|wire| wire.played_at_ms = None), missing("play.played_at_ms"));
    let is_invalid = |read| matches!(read, Err(EventError::Invalid { .. }));
    assert!(is_invalid(changed_play(|wire| wire.play_id.truncate(15))));
    assert!(is_invalid(changed_play(|wire| wire.listener_id = "x".repeat(257))));
    assert!(is_invalid(changed_play(|wire| wire.heard_ms = 86_400_001)));
    let many = changed_play(|wire| wire.genres = vec!["a".to_owned(); 99]).expect("the rest is left out");
    assert_eq!(many.genres.len(), PLAY_WORDS_MAX);
}

#[test]
fn a_consent_that_is_not_said_or_not_known_is_none() {
    for (consent, is_profiled) in [(0, false), (1, true), (2, true), (3, false), (99, false)] {
        let read = changed_play(|wire| wire.consent = consent).expect("reads");
        assert_eq!(read.is_profiled, is_profiled, "{consent}");
    }
}

#[test]
fn a_letter_is_about_a_record_wherever_it_lies() {
    let [(_, found), (_, replayed), _] = dead_letters();
    assert_eq!(found.id(), replayed.id());
    assert_eq!(found.id(), DeadLetter { offset: 9, partition: 1, ..found.clone() }.id());
    assert_ne!(found.id(), DeadLetter { key: Vec::new(), ..found.clone() }.id());
    assert_ne!(found.id(), DeadLetter { topic: "segue.engagement".to_owned(), ..found.clone() }.id());
    for reason in DeadLetterReason::ALL {
        let letter = DeadLetter { reason, ..found.clone() };
        assert_eq!(decode_dead_letter(&encode_dead_letter(&letter)), Ok(letter));
    }
    let mut wire = proto::DeadLetter::decode(encode_dead_letter(&replayed).as_slice()).expect("just encoded");
    wire.replays = 0;
    assert!(matches!(decode_dead_letter(&wire.encode_to_vec()), Err(EventError::Invalid { .. })));
}

/// A grant as the first version wrote it, without price model, days and windows: it was CPM, its day that of UTC, its limits for life.
#[test]
fn the_oldest_grants_stay_readable() {
    let kept = std::fs::read(golden("events/lease_granted_oldest.bin")).expect("a golden file");
    let Ok(Envelope { body: Event::LeaseGranted(granted), .. }) = decode(&kept) else { panic!("a grant") };
    assert_eq!(granted.price_model, PriceModel::Cpm);
    assert_eq!(granted.advertiser_day, Day::utc_of(granted.granted_at));
    assert_eq!(granted.line_item_day, granted.advertiser_day);
    assert_eq!(granted.limits.len(), 3);
    assert!(granted.limits.iter().all(|limit| limit.window == LimitWindow::Life));
}

#[test]
fn entities_and_records_read_back_as_stored() {
    for (name, entity) in samples::entities() {
        assert_eq!(decode_entity(&encode_entity(&entity)), Ok(entity.clone()), "{name}");
        let Some((_, Envelope { body: Event::Catalog(record), .. })) =
            samples::envelopes().into_iter().find(|(other, _)| *other == name)
        else {
            panic!("{name} has an envelope");
        };
        assert_eq!(decode_record(&encode_record(&record)), Ok(*record), "{name}");
    }
}

#[test]
fn the_deepest_expression_reads_back() {
    let mut targeting = Expression::Is(Predicate::Has { attribute: Attribute::Genre, any_of: vec!["pop".to_owned()] });
    for _ in 1..MAX_EXPRESSION_DEPTH {
        targeting = Expression::Not(Box::new(targeting));
    }
    let line_item = crate::model::LineItem { targeting, ..samples::line_item() };
    let entity = Entity::from(line_item);
    assert_eq!(decode_entity(&encode_entity(&entity)), Ok(entity.clone()));
    let deeper = encode_entity(&entity);
    let mut wire = proto::Entity::decode(deeper.as_slice()).expect("just encoded");
    let Some(proto::entity::Kind::LineItem(line_item)) = &mut wire.kind else { panic!("a line item") };
    let targeting = line_item.targeting.take().expect("it has targeting");
    let operator = proto::Operator::Not as i32;
    line_item.targeting = Some(proto::Expression { operator, parts: vec![targeting], predicate: None });
    let refused = EventError::Invalid { field: "expression.parts", reason: "nested too deeply" };
    assert_eq!(decode_entity(&wire.encode_to_vec()), Err(refused));

    let (_, mut envelope) = samples::envelopes().pop().expect("there are samples");
    let Event::Catalog(record) = &mut envelope.body else { panic!("the last is a catalogue record") };
    record.revision.entity = entity;
    assert_eq!(decode(&encode(&envelope)), Ok(envelope));
}

// INV-15.
#[test]
fn ids_are_derived_from_what_happened() {
    let impression_id = ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: 41 };
    let mut hashed = impression_id.to_bytes().to_vec();
    hashed.extend_from_slice(b"impression");
    let id = EventId::of_beacon(impression_id, BeaconEvent::Impression);
    assert_eq!(id.0, blake3::hash(&hashed).as_bytes()[..16]);
    assert_ne!(id, EventId::of_beacon(impression_id, BeaconEvent::Complete));
    assert_ne!(EventId::of_lease_granted(LeaseId::from_u128(7)), EventId::of_lease_closed(LeaseId::from_u128(7)));
}

/// Encodes the paid beacon after a change of its wire form.
fn changed(change: impl FnOnce(&mut proto::Envelope, &mut proto::BeaconRecord)) -> Result<Envelope, EventError> {
    let bytes = encode(&samples::envelope(Event::Beacon(Box::new(samples::paid_beacon()))));
    let mut wire = proto::Envelope::decode(bytes.as_slice()).expect("just encoded");
    let Some(proto::envelope::Body::Beacon(mut beacon)) = wire.body.take() else { panic!("a beacon") };
    change(&mut wire, &mut beacon);
    wire.body = Some(proto::envelope::Body::Beacon(beacon));
    decode(&wire.encode_to_vec())
}

#[test]
fn a_bad_record_is_refused_by_the_name_of_its_field() {
    type Change = fn(&mut proto::Envelope, &mut proto::BeaconRecord);
    let missing = |field| EventError::Missing { field };
    let cases: [(Change, EventError); 13] = [
        (|_, beacon| beacon.price_micros = None, missing("beacon.price_micros")),
        (|_, beacon| beacon.advertiser_id.clear(), missing("beacon.advertiser_id")),
        (|_, beacon| beacon.event = 0, missing("beacon.event")),
        (|_, beacon| beacon.event = 99, EventError::UnknownKind { field: "beacon.event" }),
        (|_, beacon| beacon.platform = 99, EventError::UnknownKind { field: "beacon.platform" }),
        (|_, beacon| beacon.impression_id = None, missing("beacon.impression_id")),
        (|_, beacon| beacon.placement.clear(), missing("beacon.placement")),
        (|envelope, _| envelope.received_at_ms = None, missing("envelope.received_at_ms")),
        (|envelope, _| envelope.schema_version = 0, missing("envelope.schema_version")),
        (
            |_, beacon| beacon.line_item_id.truncate(15),
            EventError::Invalid { field: "beacon.line_item_id", reason: "expected 16 bytes" },
        ),
        (
            |_, beacon| beacon.country = Some("SE".to_owned()),
            EventError::Invalid { field: "beacon.country", reason: "expected two letters in lower case" },
        ),
        (
            |_, beacon| beacon.truncated_ip = Some(vec![192, 0, 2, 1]),
            EventError::Invalid { field: "beacon.truncated_ip", reason: "expected 3 or 6 bytes" },
        ),
        (
            |_, beacon| beacon.app = Some(" ".to_owned()),
            EventError::Invalid { field: "beacon.app", reason: "expected 1 to 128 visible ASCII characters" },
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(changed(change), Err(expected));
    }
}

#[test]
fn fields_of_newer_writers_are_skipped_and_newer_kinds_named() {
    let envelope = samples::envelope(Event::Beacon(Box::new(samples::paid_beacon())));
    let mut bytes = encode(&envelope);
    // Field 1000, a varint: nothing of today's.
    bytes.extend_from_slice(&[0xC0, 0x3E, 0x2A]);
    assert_eq!(decode(&bytes), Ok(envelope.clone()));

    let mut wire = proto::Envelope::decode(bytes.as_slice()).expect("just encoded");
    wire.body = None;
    assert_eq!(decode(&wire.encode_to_vec()), Err(EventError::UnknownKind { field: "envelope.body" }));
    assert!(matches!(decode(b"\xFF\xFF"), Err(EventError::Protobuf(_))));
}

/// Whatever the bytes: no panic, and what is read is written and read back as the same. Seen as records, and as changes of real ones.
#[test]
fn fuzz_event_decode() {
    let samples: Vec<_> = samples::envelopes().iter().map(|(_, envelope)| encode(envelope)).collect();
    let check = |bytes: &[u8]| {
        if let Ok(envelope) = decode(bytes) {
            assert_eq!(decode(&encode(&envelope)).as_ref(), Ok(&envelope));
        }
    };
    bolero::check!().for_each(|input: &[u8]| {
        check(input);
        if let Ok(letter) = decode_dead_letter(input) {
            assert_eq!(decode_dead_letter(&encode_dead_letter(&letter)).as_ref(), Ok(&letter));
        }
        if let Ok(entity) = decode_entity(input) {
            assert_eq!(decode_entity(&encode_entity(&entity)).as_ref(), Ok(&entity));
        }
        let Some((&which, places)) = input.split_first() else { return };
        let mut changed = samples[usize::from(which) % samples.len()].clone();
        for place in places.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([place[0], place[1]])) % changed.len();
            changed[at] ^= place[2];
        }
        check(&changed);
    });
}
