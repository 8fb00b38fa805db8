//! The profile role: makes listeners' taste of what they played (`segue.listening`).
//!
//! [`ProfileRole::step`] is the state machine: records in, whose taste changes by which plays out. The shell ([`spawn_profile`]) reads the partitions that
//! fall to this process, writes tastes on the condition that they are still what was read, and notes how far it has consumed only then. So a play is never
//! lost by a crash; it comes again, and is known by its name. Two processes that have one partition for a moment, as in a rebalance, conflict on each
//! listener's row, and whoever comes second reads again.
//!
//! A play that does not say that a profile may be made leaves no trace. The listener's id becomes a key at once, and is written nowhere.

mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use shell::{ProfileCounts, ProfileError, ProfileHandle, ProfileWatch, spawn_profile};

use crate::event_log::dead_letter::{self, Reason};
use crate::event_log::{NewRecord, Record};
use crate::events::{self, DeadLetterReason, Play};
use crate::impressions::{ListenerSecret, ListenerSubject};
use crate::model::{ListenerKey, ServerId, WallMs};

/// A play from further ahead than this is not believed, in milliseconds: a day. It would make all that was played until then old.
const AHEAD_MS_MAX: i64 = 86_400_000;

/// What the role needs to know.
#[derive(Clone, Debug)]
pub struct ProfileRole {
    secret: ListenerSecret,
    server_id: ServerId,
}

/// What some records lead to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Effects {
    /// The plays that count, by listener, in their order.
    pub plays: BTreeMap<ListenerKey, Vec<Play>>,
    /// Letters about records that could not be used: to be appended with the consumed position.
    pub letters: Vec<NewRecord>,
    /// Plays of listeners who allowed no profile.
    pub not_allowed: u64,
}

impl ProfileRole {
    /// A role that knows listeners by the secret that players' servers have too. `server_id` signs its letters.
    #[must_use]
    pub const fn new(secret: ListenerSecret, server_id: ServerId) -> Self {
        Self { secret, server_id }
    }

    /// Takes in records of `segue.listening`.
    #[must_use]
    pub fn step(&self, records: &[Record], now: WallMs) -> Effects {
        let mut effects = Effects::default();
        for record in records {
            match read(record, now) {
                Ok(play) if play.is_profiled => {
                    let key = self.secret.key(play.network_id, ListenerSubject::Listener(&play.listener_id));
                    effects.plays.entry(key).or_default().push(play);
                }
                Ok(_) => effects.not_allowed += 1,
                Err(reason) => effects.letters.push(dead_letter::record(record, &reason, now, self.server_id)),
            }
        }
        effects
    }
}

fn read(record: &Record, now: WallMs) -> Result<Play, Reason> {
    let play = events::decode_play(&record.payload).map_err(|error| Reason::from(&error))?;
    if play.played_at.since(now) > AHEAD_MS_MAX {
        let detail = "play.played_at_ms is more than a day ahead of the server's clock".to_owned();
        return Err(Reason { code: DeadLetterReason::Refused, detail });
    }
    Ok(play)
}
