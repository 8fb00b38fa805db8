//! Profiles in CQL. The tables are in `schemas/cql/0004-profiles.cql`.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::super::super::StoreError;
use super::super::super::cql::{CqlSession, CqlTrouble, Kind};
use super::super::profile::{TasteRow, encode_taste, profile_of};
use super::{CqlListeners, first, other};
use crate::model::{ListenerKey, Profile, TimedSegment, WallMs};
use crate::profile::Taste;

const MS_PER_S: i64 = 1_000;
/// How long a taste is kept after the last play, in seconds: the twelve weeks that count.
const TASTE_TTL_S: u32 = 7_257_600;

/// The statements on profiles' tables, prepared.
pub(super) struct ProfileStatements {
    taste: PreparedStatement,
    taste_first: PreparedStatement,
    taste_next: PreparedStatement,
    segments: PreparedStatement,
    put_segment: PreparedStatement,
    forget_taste: PreparedStatement,
    forget_segments: PreparedStatement,
}

impl ProfileStatements {
    pub(super) async fn prepare(session: &CqlSession) -> Result<Self, CqlTrouble> {
        let keyspace = session.keyspace();
        let make = async |text: &str, kind: Kind| {
            session.prepare("prepare a statement on profiles", &text.replace("KEYSPACE", keyspace), kind).await
        };
        let taste_first = format!(
            "INSERT INTO KEYSPACE.tastes (listener, taste) VALUES (?, ?) IF NOT EXISTS USING TTL {TASTE_TTL_S}"
        );
        let taste_next =
            format!("UPDATE KEYSPACE.tastes USING TTL {TASTE_TTL_S} SET taste = ? WHERE listener = ? IF taste = ?");
        let segments = format!(
            "SELECT segment, expires_at FROM KEYSPACE.segments WHERE listener = ? LIMIT {}",
            Profile::SEGMENTS_MAX
        );
        let put_segment = "INSERT INTO KEYSPACE.segments (listener, segment, expires_at) VALUES (?, ?, ?) USING TTL ?";
        Ok(Self {
            taste: make("SELECT taste FROM KEYSPACE.tastes WHERE listener = ?", Kind::SpeculativeRead).await?,
            taste_first: make(&taste_first, Kind::Conditional).await?,
            taste_next: make(&taste_next, Kind::Conditional).await?,
            segments: make(&segments, Kind::SpeculativeRead).await?,
            put_segment: make(put_segment, Kind::Write).await?,
            forget_taste: make("DELETE FROM KEYSPACE.tastes WHERE listener = ? IF EXISTS", Kind::Conditional).await?,
            forget_segments: make("DELETE FROM KEYSPACE.segments WHERE listener = ?", Kind::Write).await?,
        })
    }
}

impl CqlListeners {
    /// What targeting may know of a listener.
    pub(super) async fn profile(&self, key: ListenerKey, now: WallMs) -> Result<Profile, StoreError> {
        let (row, segments) = tokio::try_join!(self.taste(key), self.segments(key, now))?;
        Ok(profile_of(&row.taste, segments, now))
    }

    /// The taste as it is stored.
    pub(super) async fn taste(&self, key: ListenerKey) -> Result<TasteRow, StoreError> {
        const DOING: &str = "read a taste";
        let found = self.at.run(DOING, &self.at.profiles.taste, (key.0.as_slice(),)).await?;
        let row: Option<(Option<Vec<u8>>,)> = first(DOING, found)?;
        TasteRow::of(key, row.and_then(|(taste,)| taste))
    }

    /// Writes a taste if the one before is still stored. An error says nothing of whether it was.
    pub(super) async fn swap(&self, key: ListenerKey, before: &TasteRow, taste: &Taste) -> Result<bool, StoreError> {
        const DOING: &str = "write a taste";
        let (key, bytes) = (key.0.as_slice(), encode_taste(taste));
        let is_applied = match &before.stored {
            None => self.at.conditionally(DOING, &self.at.profiles.taste_first, (key, bytes)).await?,
            Some(stored) => {
                self.at.conditionally(DOING, &self.at.profiles.taste_next, (bytes, key, stored.as_slice())).await?
            }
        };
        Ok(is_applied)
    }

    pub(super) async fn put(&self, key: ListenerKey, segment: &TimedSegment, now: WallMs) -> Result<(), StoreError> {
        let left_ms = segment.until.since(now);
        if left_ms <= 0 {
            return Ok(());
        }
        // Whole seconds, so that it is there until the last.
        let ttl_s = i32::try_from(left_ms.saturating_add(MS_PER_S - 1) / MS_PER_S).unwrap_or(i32::MAX);
        let values = (key.0.as_slice(), segment.name.as_str(), CqlTimestamp(segment.until.0), ttl_s);
        self.at.run("write a segment", &self.at.profiles.put_segment, values).await?;
        Ok(())
    }

    pub(super) async fn forget_profile(&self, key: ListenerKey) -> Result<(), StoreError> {
        const DOING: &str = "forget a profile";
        self.at.conditionally(DOING, &self.at.profiles.forget_taste, (key.0.as_slice(),)).await?;
        self.at.run(DOING, &self.at.profiles.forget_segments, (key.0.as_slice(),)).await?;
        Ok(())
    }

    async fn segments(&self, key: ListenerKey, now: WallMs) -> Result<Vec<TimedSegment>, StoreError> {
        const DOING: &str = "read a listener's segments";
        let found = self.at.run(DOING, &self.at.profiles.segments, (key.0.as_slice(),)).await?;
        let found = found.into_rows_result().map_err(|error| other(DOING, &error))?;
        let mut segments = Vec::new();
        for row in found.rows::<(String, CqlTimestamp)>().map_err(|error| other(DOING, &error))? {
            let (name, CqlTimestamp(until)) = row.map_err(|error| other(DOING, &error))?;
            segments.push(TimedSegment { name, until: WallMs(until) });
        }
        segments.retain(|segment| segment.until > now);
        Ok(segments)
    }
}
