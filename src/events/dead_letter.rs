//! Records that could not be understood or applied.

use super::{EventError, EventId};
use crate::model::{ServerId, WallMs};

/// What became of one record that a role could not use. The same bytes with the same key in the same topic are one letter; the last record with its
/// [id](DeadLetter::id) says how it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The topic's name.
    pub topic: String,
    /// The partition in which the record lies.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// When it was journalled or appended.
    pub recorded_at: WallMs,
    /// Its bytes, whole; none where they are too many for a letter.
    pub payload: Option<Vec<u8>>,
    /// How many bytes it has.
    pub payload_bytes: u64,
    /// BLAKE3 of its bytes.
    pub payload_digest: [u8; 32],
    /// Why it could not be used.
    pub reason: DeadLetterReason,
    /// The same in words.
    pub detail: String,
    /// When it was found.
    pub found_at: WallMs,
    /// The server that found it.
    pub server_id: ServerId,
    /// The replay that wrote this; none in what a server wrote that had just found it.
    pub replay: Option<Replay>,
}

/// A replay of a letter's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Which replay of the letter it is, from 1.
    pub number: u32,
    /// When.
    pub at: WallMs,
}

/// Why a record could not be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeadLetterReason {
    /// Its bytes are no message of the schemas.
    NotAMessage,
    /// A field that every reader needs is absent.
    FieldMissing,
    /// A field holds what it can't.
    FieldInvalid,
    /// It says something that this version has no word for; a newer one may understand it.
    UnknownKind,
    /// It is understood, and contradicts what is known: it can't be applied.
    Refused,
}

impl DeadLetterReason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::NotAMessage, Self::FieldMissing, Self::FieldInvalid, Self::UnknownKind, Self::Refused];

    /// Its name in lists; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAMessage => "not_a_message",
            Self::FieldMissing => "field_missing",
            Self::FieldInvalid => "field_invalid",
            Self::UnknownKind => "unknown_kind",
            Self::Refused => "refused",
        }
    }
}

impl From<&EventError> for DeadLetterReason {
    fn from(error: &EventError) -> Self {
        match error {
            EventError::Protobuf(_) => Self::NotAMessage,
            EventError::Missing { .. } => Self::FieldMissing,
            EventError::Invalid { .. } => Self::FieldInvalid,
            EventError::UnknownKind { .. } => Self::UnknownKind,
        }
    }
}

impl DeadLetter {
    /// The letter's id: of the topic, the key and the payload of its record, wherever it lies.
    #[must_use]
    pub fn id(&self) -> EventId {
        EventId::of_dead_letter(&self.topic, &self.key, &self.payload_digest)
    }
}
