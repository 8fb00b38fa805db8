//! Profiles: how a taste is stored, in either store, and the embedded rows.
//!
//! | keyspace | key | value | life |
//! | --- | --- | --- | --- |
//! | `tastes` | listener key, 16 bytes | `StoredTaste` | until forgotten |
//! | `segments` | listener key, segment's name | until when, ms since 1970, big-endian | until forgotten; not read once it is over |
//!
//! A taste is written on the condition that it is still the one that was read, by its bytes: whoever read an older one, or one that was forgotten since, is
//! told, and reads again.

use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace};
use prost::Message;

use super::super::{StoreError, damaged, keyspace};
use crate::model::{ListenerKey, Profile, TimedSegment, WallMs};
use crate::profile::{Taste, WordWeeks};

pub(super) const TASTES: &str = "tastes";
pub(super) const SEGMENTS: &str = "segments";

#[derive(Clone, PartialEq, Message)]
struct StoredTaste {
    #[prost(sint64, optional, tag = "1")]
    newest_week: Option<i64>,
    #[prost(message, repeated, tag = "2")]
    genres: Vec<StoredWord>,
    #[prost(message, repeated, tag = "3")]
    moods: Vec<StoredWord>,
    /// Oldest first.
    #[prost(bytes = "vec", repeated, tag = "4")]
    recent: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredWord {
    #[prost(string, tag = "1")]
    word: String,
    #[prost(sint64, repeated, tag = "2")]
    weeks: Vec<i64>,
    /// Of each week.
    #[prost(uint64, repeated, tag = "3")]
    heard_ms: Vec<u64>,
}

/// A listener's taste as it was read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TasteRow {
    /// The taste; an empty one where nothing is stored.
    pub taste: Taste,
    /// Its bytes: what a write of the next is conditional on.
    pub(super) stored: Option<Vec<u8>>,
}

impl TasteRow {
    pub(super) fn of(key: ListenerKey, stored: Option<Vec<u8>>) -> Result<Self, StoreError> {
        let taste = match &stored {
            None => Taste::default(),
            Some(bytes) => decode_taste(bytes).ok_or_else(|| damaged(TASTES, &key.0, "not a taste"))?,
        };
        Ok(Self { taste, stored })
    }
}

pub(super) fn encode_taste(taste: &Taste) -> Vec<u8> {
    let (newest_week, genres, moods, recent) = taste.parts();
    let words = |words: &WordWeeks| {
        let word = |(word, weeks): (&String, &std::collections::BTreeMap<i64, u64>)| StoredWord {
            word: word.clone(),
            weeks: weeks.keys().copied().collect(),
            heard_ms: weeks.values().copied().collect(),
        };
        words.iter().map(word).collect()
    };
    let recent = recent.iter().map(|play| play.to_vec()).collect();
    StoredTaste { newest_week, genres: words(genres), moods: words(moods), recent }.encode_to_vec()
}

fn decode_taste(bytes: &[u8]) -> Option<Taste> {
    let stored = StoredTaste::decode(bytes).ok()?;
    let words = |words: Vec<StoredWord>| -> Option<WordWeeks> {
        let word = |word: StoredWord| {
            let is_whole = word.weeks.len() == word.heard_ms.len();
            is_whole.then(|| (word.word, word.weeks.into_iter().zip(word.heard_ms).collect()))
        };
        words.into_iter().map(word).collect()
    };
    let recent = stored.recent.into_iter().map(|play| play.try_into().ok()).collect::<Option<_>>()?;
    Taste::from_parts(stored.newest_week, words(stored.genres)?, words(stored.moods)?, recent).ok()
}

/// What targeting may know.
pub(super) fn profile_of(taste: &Taste, segments: Vec<TimedSegment>, now: WallMs) -> Profile {
    Profile { genres: taste.genres(now), moods: taste.moods(now), segments }
}

/// The embedded rows. Cheap to clone.
#[derive(Clone)]
pub(super) struct ProfileRows {
    tastes: Keyspace,
    segments: Keyspace,
    /// Held from a taste's comparison to its write, and while a listener is forgotten.
    writing: Arc<Mutex<()>>,
}

impl ProfileRows {
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(Self {
            tastes: keyspace(database, TASTES)?,
            segments: keyspace(database, SEGMENTS)?,
            writing: Arc::default(),
        })
    }

    pub(super) fn load(&self, key: ListenerKey, now: WallMs) -> Result<Profile, StoreError> {
        let mut segments = Vec::new();
        for row in self.segments.prefix(key.0) {
            let (name, value) = row.into_inner().map_err(|source| StoreError::Read { what: SEGMENTS, source })?;
            let segment = decode_segment(&name, &value).ok_or_else(|| damaged(SEGMENTS, &name, "not a segment"))?;
            if segment.until > now && segments.len() < Profile::SEGMENTS_MAX {
                segments.push(segment);
            }
        }
        Ok(profile_of(&self.read(key)?.taste, segments, now))
    }

    pub(super) fn read(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        let stored = self.tastes.get(key.0).map_err(|source| StoreError::Read { what: TASTES, source })?;
        TasteRow::of(key, stored.map(|value| value.to_vec()))
    }

    pub(super) fn replace(&self, key: ListenerKey, before: &TasteRow, taste: &Taste) -> Result<bool, StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read(key)?.stored != before.stored {
            return Ok(false);
        }
        self.tastes.insert(key.0, encode_taste(taste)).map_err(|source| StoreError::Commit { what: TASTES, source })?;
        Ok(true)
    }

    pub(super) fn put(&self, key: ListenerKey, segment: &TimedSegment) -> Result<(), StoreError> {
        let name = [key.0.as_slice(), segment.name.as_bytes()].concat();
        let refused = |source| StoreError::Commit { what: SEGMENTS, source };
        self.segments.insert(name, segment.until.0.to_be_bytes()).map_err(refused)
    }

    pub(super) fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.tastes.remove(key.0).map_err(|source| StoreError::Commit { what: TASTES, source })?;
        let refused = |source| StoreError::Commit { what: SEGMENTS, source };
        for row in self.segments.prefix(key.0) {
            let name = row.key().map_err(|source| StoreError::Read { what: SEGMENTS, source })?;
            self.segments.remove(name).map_err(refused)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for ProfileRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfileRows").finish_non_exhaustive()
    }
}

fn decode_segment(name: &[u8], value: &[u8]) -> Option<TimedSegment> {
    let name = String::from_utf8(name.get(16..)?.to_vec()).ok()?;
    Some(TimedSegment { name, until: WallMs(i64::from_be_bytes(value.try_into().ok()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Play;
    use crate::model::NetworkId;

    // INV-21.
    #[test]
    fn tastes_of_version_1_are_read_and_written_alike() {
        let mut taste = Taste::default();
        for number in 0_u8..3 {
            taste.add(&Play {
                play_id: [number; 16],
                network_id: NetworkId::from_u128(1),
                listener_id: "somebody".to_owned(),
                played_at: WallMs(1_790_000_000_000 + i64::from(number) * 604_800_000),
                heard_ms: 200_000,
                genres: vec!["jazz".to_owned(), "soul".to_owned()],
                moods: vec!["calm".to_owned()],
                is_profiled: true,
            });
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/store/taste.bin");
        let bytes = encode_taste(&taste);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &bytes).expect("the golden file is writable");
        }
        let kept = std::fs::read(&path).expect("it is committed");
        assert_eq!(kept, bytes, "if that is meant, UPDATE_GOLDEN=1 rewrites it");
        assert_eq!(decode_taste(&kept), Some(taste));
        assert_eq!(decode_taste(b"\xff"), None);
    }
}
