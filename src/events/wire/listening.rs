//! Plays.

use super::proto;
use super::read::{Read, id, invalid, wall};
use crate::events::{EventError, PLAY_WORDS_MAX, Play};
use crate::model::NetworkId;

pub(in crate::events) fn to_wire(play: &Play) -> proto::Play {
    let consent = if play.is_profiled { proto::ProfileConsent::Granted } else { proto::ProfileConsent::Denied };
    proto::Play {
        play_id: play.play_id.into(),
        network_id: play.network_id.to_bytes().into(),
        listener_id: play.listener_id.clone(),
        played_at_ms: Some(play.played_at.0),
        heard_ms: play.heard_ms,
        genres: play.genres.clone(),
        moods: play.moods.clone(),
        consent: consent as i32,
    }
}

/// A consent that is not said, or that this version has no word for, is none.
pub(in crate::events) fn from_wire(wire: proto::Play) -> Read<Play> {
    let is_profiled = matches!(
        proto::ProfileConsent::try_from(wire.consent),
        Ok(proto::ProfileConsent::Granted | proto::ProfileConsent::NotRequired)
    );
    if wire.listener_id.is_empty() {
        return Err(EventError::Missing { field: "play.listener_id" });
    }
    if wire.listener_id.len() > Play::LISTENER_ID_BYTES_MAX {
        return Err(invalid("play.listener_id", "expected at most 256 bytes"));
    }
    if wire.heard_ms > Play::HEARD_MS_MAX {
        return Err(invalid("play.heard_ms", "expected at most a day"));
    }
    let first = |mut words: Vec<String>| {
        words.truncate(PLAY_WORDS_MAX);
        words
    };
    Ok(Play {
        play_id: id("play.play_id", &wire.play_id)?,
        network_id: NetworkId::from_bytes(id("play.network_id", &wire.network_id)?),
        listener_id: wire.listener_id,
        played_at: wall("play.played_at_ms", wire.played_at_ms)?,
        heard_ms: wire.heard_ms,
        genres: first(wire.genres),
        moods: first(wire.moods),
        is_profiled,
    })
}
