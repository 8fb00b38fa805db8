//! Records that could not be understood or applied: as letters for a person to look at, and back from a letter to the record. Pure; `segue dead-letter`
//! does the reading and appending.
//!
//! A letter holds its record whole, or only names its place: whole where the bytes fit beside the rest of the letter, by its place where they don't. It is
//! never cut, because a cut record can't be replayed. What is replayed from its place is compared with the letter's digest first.
//!
//! The dead-letter topic is a history: a letter is written when a record is found, and again for each replay. [`Letters`] folds it: the same record found
//! twice is one letter, and a record that was replayed in vain comes back to its letter, which waits again.

use std::collections::HashMap;

use super::kafka::MESSAGE_BYTES_MAX;
use super::record::{KEY_BYTES_MAX, NewRecord, Record};
use super::shared::Position;
use super::topic::Topic;
use crate::events::dead_letter::Replay;
use crate::events::{self, DeadLetter, DeadLetterReason, EventError, EventId};
use crate::model::{ServerId, WallMs};

/// Room in a letter for all but the record's bytes: two keys of [`KEY_BYTES_MAX`], [`DETAIL_BYTES_MAX`] of words, ids and numbers, and what Kafka adds.
const LETTER_HEADROOM_BYTES: usize = 4_096;
/// Longest record, in bytes, that a letter holds whole.
pub const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - LETTER_HEADROOM_BYTES;
/// Longest reason in words, in bytes.
pub const DETAIL_BYTES_MAX: usize = 1_024;
/// Most letters that are looked at together. They are held without their records' bytes: some 100 MB at the very most.
pub const LETTERS_MAX: usize = 100_000;

/// Why a record can't be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// Of which kind.
    pub code: DeadLetterReason,
    /// In words, with the field where there is one. Cut to [`DETAIL_BYTES_MAX`].
    pub detail: String,
}

impl From<&EventError> for Reason {
    fn from(error: &EventError) -> Self {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        Self { code: error.into(), detail: format!("{error}{}", source.unwrap_or_default()) }
    }
}

/// The letter about a record, to be appended: together with the position after the record where the caller owns its partition, so that neither is without
/// the other.
#[must_use]
pub fn record(record: &Record, reason: &Reason, now: WallMs, server_id: ServerId) -> NewRecord {
    // A key that no log of ours takes was written by somebody else: such a record is named by its place only.
    let is_key_whole = record.key.len() <= KEY_BYTES_MAX;
    let is_whole = is_key_whole && record.payload.len() <= PAYLOAD_BYTES_MAX;
    let detail = &reason.detail[..reason.detail.floor_char_boundary(DETAIL_BYTES_MAX)];
    appended(&DeadLetter {
        topic: record.topic.name().to_owned(),
        partition: record.partition,
        offset: record.offset,
        key: if is_key_whole { record.key.clone() } else { Vec::new() },
        recorded_at: record.at,
        payload: is_whole.then(|| record.payload.clone()),
        payload_bytes: record.payload.len() as u64,
        payload_digest: *blake3::hash(&record.payload).as_bytes(),
        reason: reason.code,
        detail: detail.to_owned(),
        found_at: now,
        server_id,
        replay: None,
    })
}

/// The letter once more, after a replay of its record.
#[must_use]
pub fn replayed(letter: &DeadLetter, replay: Replay) -> NewRecord {
    appended(&DeadLetter { replay: Some(replay), ..letter.clone() })
}

fn appended(letter: &DeadLetter) -> NewRecord {
    NewRecord { topic: Topic::DeadLetter, key: letter.id().0.to_vec(), payload: events::encode_dead_letter(letter) }
}

/// What a letter's record is appended from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Original {
    /// The letter holds it.
    Here(NewRecord),
    /// It is to be read from there, and judged by [`same`].
    At(Topic, Position),
}

/// Why a letter's record can't be replayed. The letter stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReplayable {
    /// A topic of a newer version.
    #[error("{0:?} is no topic of this version: replay it with the version that wrote the letter")]
    UnknownTopic(String),
    /// Its topic keeps the last record of each key.
    #[error(
        "{0} keeps the last record of each key: an old one replayed would take the place of a newer one; change the entity instead"
    )]
    LastOfEachKey(Topic),
    /// A letter about a letter.
    #[error("it is a record of {} itself", Topic::DeadLetter)]
    Itself,
    /// The letter names only its place, and there is nothing.
    #[error("it was too large for a letter, and is no longer in {topic} at {partition}/{offset}")]
    Gone {
        /// Its topic.
        topic: Topic,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
    /// The letter names only its place, and there is something else: the topic was made anew.
    #[error(
        "it was too large for a letter, and {topic} holds another record at {partition}/{offset}: was the topic made anew?"
    )]
    Other {
        /// Its topic.
        topic: Topic,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
}

/// Where a letter's record is taken from.
///
/// # Errors
/// [`NotReplayable`].
pub fn original(letter: &DeadLetter) -> Result<Original, NotReplayable> {
    let topic: Topic = letter.topic.parse().map_err(|_| NotReplayable::UnknownTopic(letter.topic.clone()))?;
    match topic {
        Topic::Delivery | Topic::Catalog => return Err(NotReplayable::LastOfEachKey(topic)),
        Topic::DeadLetter => return Err(NotReplayable::Itself),
        Topic::Events
        | Topic::Engagement
        | Topic::Leases
        | Topic::Ledger
        | Topic::Decisions
        | Topic::Listening
        | Topic::Servers => {}
    }
    Ok(match &letter.payload {
        Some(payload) => Original::Here(NewRecord { topic, key: letter.key.clone(), payload: payload.clone() }),
        None => Original::At(topic, Position { partition: letter.partition, offset: letter.offset }),
    })
}

/// The record that was read from a letter's place, to be appended, if it is the letter's.
///
/// # Errors
/// [`NotReplayable::Gone`], [`NotReplayable::Other`].
pub fn same(letter: &DeadLetter, topic: Topic, found: Option<Record>) -> Result<NewRecord, NotReplayable> {
    let &DeadLetter { partition, offset, ref payload_digest, .. } = letter;
    let found = found.filter(|found| (found.partition, found.offset) == (partition, offset));
    let found = found.ok_or(NotReplayable::Gone { topic, partition, offset })?;
    if blake3::hash(&found.payload).as_bytes() != payload_digest {
        return Err(NotReplayable::Other { topic, partition, offset });
    }
    Ok(NewRecord { topic, key: found.key, payload: found.payload })
}

/// How a letter stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Where the last record of it lies in the dead-letter topic.
    pub place: Position,
    /// As that record has it, without its payload.
    pub letter: DeadLetter,
    /// Whether that record holds the payload.
    pub whole: bool,
    /// How often its record was found useless.
    pub found: u64,
    /// How often it was replayed.
    pub replays: u32,
    /// When it was replayed last.
    pub replayed_at: Option<WallMs>,
    /// Whether it was not replayed since it was found last.
    pub waits: bool,
}

/// All letters of the dead-letter topic, as they stand.
#[derive(Default, Debug)]
pub struct Letters {
    by_id: HashMap<EventId, Standing>,
    left_out: u64,
    not_understood: Vec<Position>,
    not_understood_count: u64,
}

/// Most records that are no letters whose places are kept.
const PLACES_MAX: usize = 10;

impl Letters {
    /// Takes in the next record of the dead-letter topic.
    pub fn see(&mut self, record: &Record) {
        let place = Position { partition: record.partition, offset: record.offset };
        let Ok(mut letter) = events::decode_dead_letter(&record.payload) else {
            self.not_understood_count += 1;
            if self.not_understood.len() < PLACES_MAX {
                self.not_understood.push(place);
            }
            return;
        };
        let whole = letter.payload.take().is_some();
        let id = letter.id();
        if self.by_id.len() >= LETTERS_MAX && !self.by_id.contains_key(&id) {
            self.left_out += 1;
            return;
        }
        let standing = self.by_id.entry(id).or_insert_with(|| Standing {
            place,
            letter: letter.clone(),
            whole,
            found: 0,
            replays: 0,
            replayed_at: None,
            waits: false,
        });
        match letter.replay {
            None => (standing.found, standing.waits) = (standing.found + 1, true),
            Some(replay) => {
                standing.replays = standing.replays.max(replay.number);
                standing.replayed_at = Some(replay.at);
                standing.waits = false;
            }
        }
        (standing.place, standing.letter, standing.whole) = (place, letter, whole);
    }

    /// The letter with that id.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&Standing> {
        self.by_id.get(&id)
    }

    /// All letters, in the order of their last records.
    #[must_use]
    pub fn standings(&self) -> Vec<&Standing> {
        let mut standings: Vec<&Standing> = self.by_id.values().collect();
        standings.sort_unstable_by_key(|standing| standing.place);
        standings
    }

    /// How many records belong to letters beyond [`LETTERS_MAX`].
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// How many records of the topic are no letters, and where the first of them lie.
    #[must_use]
    pub fn not_understood(&self) -> (u64, &[Position]) {
        (self.not_understood_count, &self.not_understood)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kafka::Connection;
    use super::super::kafka::topics::TopicPlan;
    use super::super::topic::PartitionCounts;
    use super::*;

    const NOW: WallMs = WallMs(1_790_000_000_123);
    const SERVER: ServerId = ServerId::from_u128(9);

    fn found(offset: u64, payload: Vec<u8>) -> Record {
        Record { offset, topic: Topic::Events, partition: 3, key: b"advertiser".to_vec(), at: WallMs(5), payload }
    }

    fn reason() -> Reason {
        Reason { code: DeadLetterReason::UnknownKind, detail: "of a newer version".to_owned() }
    }

    fn letter_of(record: &NewRecord) -> DeadLetter {
        events::decode_dead_letter(&record.payload).expect("a letter")
    }

    /// The letter as a record of the dead-letter topic.
    fn lies(offset: u64, letter: NewRecord) -> Record {
        Record { offset, topic: Topic::DeadLetter, partition: 0, key: letter.key, at: NOW, payload: letter.payload }
    }

    #[test]
    fn a_letter_gives_back_the_record_that_it_was_made_of() {
        for payload in [b"poison".to_vec(), Vec::new(), vec![7; PAYLOAD_BYTES_MAX]] {
            let poison = found(11, payload.clone());
            let letter = record(&poison, &reason(), NOW, SERVER);
            assert!(letter.payload.len() + letter.key.len() < MESSAGE_BYTES_MAX, "it fits into its topic");
            assert_eq!(letter.topic, Topic::DeadLetter);
            let original = original(&letter_of(&letter)).expect("replayable");
            let key = poison.key.clone();
            assert_eq!(original, Original::Here(NewRecord { topic: Topic::Events, key, payload }));
        }
    }

    #[test]
    fn a_record_too_large_for_a_letter_is_replayed_from_its_place_or_not_at_all() {
        let large = found(11, vec![7; PAYLOAD_BYTES_MAX + 1]);
        let letter = letter_of(&record(&large, &reason(), NOW, SERVER));
        assert_eq!((&letter.payload, letter.payload_bytes), (&None, large.payload.len() as u64));
        let place = Position { partition: 3, offset: 11 };
        assert_eq!(original(&letter), Ok(Original::At(Topic::Events, place)));
        let (topic, partition, offset) = (Topic::Events, 3, 11);
        assert_eq!(same(&letter, topic, None), Err(NotReplayable::Gone { topic, partition, offset }));
        // The first record that is still kept, where retention has removed the letter's.
        let later = found(12, large.payload.clone());
        assert_eq!(same(&letter, topic, Some(later)), Err(NotReplayable::Gone { topic, partition, offset }));
        let other = found(11, b"another topic of that name".to_vec());
        assert_eq!(same(&letter, topic, Some(other)), Err(NotReplayable::Other { topic, partition, offset }));
        let appended = same(&letter, topic, Some(large.clone())).expect("the letter's");
        assert_eq!((appended.key, appended.payload), (large.key, large.payload));
    }

    #[test]
    fn a_key_that_no_log_of_ours_takes_does_not_make_the_letter_too_large() {
        let foreign = Record { key: vec![1; 900_000], ..found(11, b"x".to_vec()) };
        let letter = record(&foreign, &reason(), NOW, SERVER);
        assert!(letter.payload.len() < 1_000);
        assert!(matches!(original(&letter_of(&letter)), Ok(Original::At(..))));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = Reason { detail: format!("x{}", "é".repeat(DETAIL_BYTES_MAX)), ..reason() };
        let letter = letter_of(&record(&found(1, Vec::new()), &long, NOW, SERVER));
        assert_eq!(letter.detail.len(), DETAIL_BYTES_MAX - 1);
    }

    #[test]
    fn a_reason_names_field_and_cause() {
        let unreadable = events::decode(&[0xFF]).expect_err("no message");
        let reason = Reason::from(&unreadable);
        assert_eq!(reason.code, DeadLetterReason::NotAMessage);
        assert!(reason.detail.starts_with("the record is not a Protobuf message of segue.v1: "), "{}", reason.detail);
        let missing = Reason::from(&EventError::Missing { field: "beacon.event" });
        assert_eq!((missing.code.name(), missing.detail.as_str()), ("field_missing", "beacon.event is missing"));
    }

    #[test]
    fn a_letter_waits_until_it_is_replayed_and_again_when_that_was_in_vain() {
        let mut letters = Letters::default();
        let first = record(&found(11, b"poison".to_vec()), &reason(), NOW, SERVER);
        let letter = letter_of(&first);
        let id = letter.id();
        let stands = |letters: &Letters| {
            let standing = letters.get(id).expect("there");
            (standing.found, standing.replays, standing.waits, standing.letter.offset, standing.place.offset)
        };
        letters.see(&lies(0, first));
        assert_eq!(stands(&letters), (1, 0, true, 11, 0));
        // The same bytes a second time: a duplicate of the record.
        letters.see(&lies(1, record(&found(12, b"poison".to_vec()), &reason(), NOW, SERVER)));
        assert_eq!(stands(&letters), (2, 0, true, 12, 1));
        letters.see(&lies(2, replayed(&letter, Replay { number: 1, at: NOW })));
        assert_eq!(stands(&letters), (2, 1, false, 11, 2));
        // In vain.
        letters.see(&lies(3, record(&found(40, b"poison".to_vec()), &reason(), NOW, SERVER)));
        assert_eq!(stands(&letters), (3, 1, true, 40, 3));
        letters.see(&lies(4, record(&found(41, b"other".to_vec()), &reason(), NOW, SERVER)));
        letters.see(&Record {
            payload: b"\xFF\xFF".to_vec(),
            ..lies(5, replayed(&letter, Replay { number: 9, at: NOW }))
        });
        assert_eq!(letters.standings().iter().map(|standing| standing.place.offset).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(letters.not_understood(), (1, &[Position { partition: 0, offset: 5 }][..]));
    }

    /// What the topics' plan says: a replay into a compacted topic would undo what came after.
    #[test]
    fn only_topics_that_keep_every_record_are_replayed_into() {
        for plan in TopicPlan::all(&Connection::plain("x:1"), &PartitionCounts::default()) {
            let letter =
                letter_of(&record(&Record { topic: plan.topic, ..found(1, Vec::new()) }, &reason(), NOW, SERVER));
            let compacted = plan.settings.contains(&("cleanup.policy", "compact".to_owned()));
            let refused = original(&letter).is_err();
            assert_eq!(refused, compacted || plan.topic == Topic::DeadLetter, "{}", plan.topic);
        }
        let unknown = letter_of(&record(&found(1, Vec::new()), &reason(), NOW, SERVER));
        let unknown = DeadLetter { topic: "segue.newer".to_owned(), ..unknown };
        assert_eq!(original(&unknown), Err(NotReplayable::UnknownTopic("segue.newer".to_owned())));
    }
}
