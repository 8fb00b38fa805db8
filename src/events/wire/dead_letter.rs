//! Dead letters.

use super::codes::Code;
use super::proto;
use super::read::{Read, id, invalid, wall};
use crate::events::dead_letter::Replay;
use crate::events::{DeadLetter, DeadLetterReason, EventError};
use crate::model::{ServerId, WallMs};

pub(in crate::events) fn to_wire(letter: &DeadLetter) -> proto::DeadLetter {
    proto::DeadLetter {
        letter_id: letter.id().0.into(),
        topic: letter.topic.clone(),
        partition: letter.partition,
        offset: letter.offset,
        key: letter.key.clone(),
        recorded_at_ms: Some(letter.recorded_at.0),
        payload: letter.payload.clone(),
        payload_bytes: letter.payload_bytes,
        payload_digest: letter.payload_digest.into(),
        reason: letter.reason.code(),
        detail: letter.detail.clone(),
        found_at_ms: Some(letter.found_at.0),
        server_id: letter.server_id.to_bytes().into(),
        replays: letter.replay.map_or(0, |replay| replay.number),
        replayed_at_ms: letter.replay.map(|replay| replay.at.0),
    }
}

/// The id is not read: it is derived.
pub(in crate::events) fn from_wire(wire: proto::DeadLetter) -> Read<DeadLetter> {
    if wire.topic.is_empty() {
        return Err(EventError::Missing { field: "dead_letter.topic" });
    }
    let replay = match (wire.replays, wire.replayed_at_ms) {
        (0, None) => None,
        (number @ 1.., Some(at)) => Some(Replay { number, at: WallMs(at) }),
        _ => return Err(invalid("dead_letter.replays", "expected both a number and a time, or neither")),
    };
    Ok(DeadLetter {
        topic: wire.topic,
        partition: wire.partition,
        offset: wire.offset,
        key: wire.key,
        recorded_at: wall("dead_letter.recorded_at_ms", wire.recorded_at_ms)?,
        payload: wire.payload,
        payload_bytes: wire.payload_bytes,
        payload_digest: wire
            .payload_digest
            .try_into()
            .map_err(|_| invalid("dead_letter.payload_digest", "expected 32 bytes"))?,
        reason: DeadLetterReason::of("dead_letter.reason", wire.reason)?,
        detail: wire.detail,
        found_at: wall("dead_letter.found_at_ms", wire.found_at_ms)?,
        server_id: ServerId::from_bytes(id("dead_letter.server_id", &wire.server_id)?),
        replay,
    })
}
