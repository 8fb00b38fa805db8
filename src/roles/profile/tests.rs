//! What becomes of records. The role over real logs and stores is in `tests/it/profiles.rs`.

use super::*;
use crate::event_log::Topic;
use crate::model::NetworkId;

const NOW: WallMs = WallMs(1_790_000_000_000);

fn role() -> ProfileRole {
    ProfileRole::new(ListenerSecret::new(&[3; 32]), ServerId::from_u128(9))
}

fn play(number: u8, listener: &str) -> Play {
    Play {
        play_id: [number; 16],
        network_id: NetworkId::from_u128(1),
        listener_id: listener.to_owned(),
        played_at: NOW,
        heard_ms: 900_000,
        genres: vec!["jazz".to_owned()],
        moods: vec!["calm".to_owned()],
        is_profiled: true,
    }
}

fn record(offset: u64, payload: Vec<u8>) -> Record {
    Record { offset, topic: Topic::Listening, partition: 0, key: b"key".to_vec(), at: NOW, payload }
}

#[test]
fn plays_are_sorted_by_listener_and_what_can_not_be_used_becomes_a_letter() {
    let denied = Play { is_profiled: false, ..play(3, "a") };
    let ahead = Play { played_at: NOW.plus_ms(AHEAD_MS_MAX + 1), ..play(4, "a") };
    let of_another = Play { network_id: NetworkId::from_u128(2), ..play(6, "a") };
    let told = [play(1, "a"), play(2, "b"), denied, ahead, play(5, "a"), of_another];
    let mut records: Vec<Record> = (0..).zip(&told).map(|(at, play)| record(at, events::encode_play(play))).collect();
    records.push(record(9, b"\xff".to_vec()));
    let effects = role().step(&records, NOW);
    let mut names: Vec<Vec<u8>> =
        effects.plays.values().map(|plays| plays.iter().map(|play| play.play_id[0]).collect()).collect();
    names.sort();
    assert_eq!(names, [vec![1, 5], vec![2], vec![6]], "an id of another network is another listener");
    assert_eq!(effects.not_allowed, 1);
    let reasons: Vec<_> = effects
        .letters
        .iter()
        .map(|letter| events::decode_dead_letter(&letter.payload).expect("a letter").reason)
        .collect();
    assert_eq!(reasons, [DeadLetterReason::Refused, DeadLetterReason::NotAMessage]);
}
