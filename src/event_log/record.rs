//! A record of the event log, and how it stands in a journal record's payload: `{topic u8, partition u32, key length u32, key, payload}`,
//! little-endian.

use super::topic::Topic;
use crate::model::WallMs;

/// Kind of a journal record that holds a record of the event log. Kinds are the journal's; it has no other so far.
pub const KIND_TOPIC_RECORD: u8 = 1;
/// Longest key in bytes: keys are ids.
pub const KEY_BYTES_MAX: usize = 256;

const HEADER_BYTES: usize = 9;

/// A record to append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Where it belongs.
    pub topic: Topic,
    /// Decides its partition; at most [`KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// The event, encoded.
    pub payload: Vec<u8>,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the log. Ascending within a topic, with gaps.
    pub offset: u64,
    /// Where it belongs.
    pub topic: Topic,
    /// Its partition of the topic.
    pub partition: u32,
    /// The key that decided the partition.
    pub key: Vec<u8>,
    /// When it was journalled.
    pub at: WallMs,
    /// The event, encoded.
    pub payload: Vec<u8>,
}

/// The payload of a journal record, taken apart in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredRecord<'a> {
    /// See [`Record::topic`].
    pub topic: Topic,
    /// See [`Record::partition`].
    pub partition: u32,
    /// See [`Record::key`].
    pub key: &'a [u8],
    /// See [`Record::payload`].
    pub payload: &'a [u8],
}

/// A journal record whose payload is no record of the event log: written by something else, or by a later version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// A kind of journal record that this build doesn't know.
    #[error("journal records of kind {0} are not known to this build")]
    Kind(u8),
    /// A topic that this build doesn't know.
    #[error("topic code {0} is not known to this build")]
    Topic(u8),
    /// The payload ends too early.
    #[error("the record's payload is cut short")]
    CutShort,
}

impl<'a> StoredRecord<'a> {
    /// The bytes of a journal record's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.key.len() + self.payload.len());
        bytes.push(self.topic.code());
        bytes.extend_from_slice(&self.partition.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.key.len()).expect("bounded by KEY_BYTES_MAX").to_le_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(self.payload);
        bytes
    }

    /// Takes a journal record's payload apart.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(kind: u8, bytes: &'a [u8]) -> Result<Self, RecordError> {
        if kind != KIND_TOPIC_RECORD {
            return Err(RecordError::Kind(kind));
        }
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(RecordError::CutShort)?;
        let topic = Topic::from_code(header[0]).ok_or(RecordError::Topic(header[0]))?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let key_bytes = usize::try_from(word(5)).map_err(|_| RecordError::CutShort)?;
        let (key, payload) = rest.split_at_checked(key_bytes).ok_or(RecordError::CutShort)?;
        Ok(Self { topic, partition: word(1), key, payload })
    }

    /// The record with bytes of its own.
    #[must_use]
    pub fn to_record(&self, offset: u64, at: WallMs) -> Record {
        Record {
            offset,
            topic: self.topic,
            partition: self.partition,
            key: self.key.to_vec(),
            at,
            payload: self.payload.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_cut_ones_are_refused() {
        let record = StoredRecord { topic: Topic::Events, partition: 7, key: b"key", payload: b"payload" };
        let bytes = record.encode();
        assert_eq!(StoredRecord::decode(KIND_TOPIC_RECORD, &bytes), Ok(record));
        for cut in 0..HEADER_BYTES + 3 {
            assert_eq!(StoredRecord::decode(KIND_TOPIC_RECORD, &bytes[..cut]), Err(RecordError::CutShort));
        }
        assert_eq!(StoredRecord::decode(2, &bytes), Err(RecordError::Kind(2)));
        let mut foreign = bytes;
        foreign[0] = 200;
        assert_eq!(StoredRecord::decode(KIND_TOPIC_RECORD, &foreign), Err(RecordError::Topic(200)));
    }
}
