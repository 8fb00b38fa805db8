//! The statements on listeners' tables, and what stamps them.

use scylla::statement::prepared::PreparedStatement;

use super::super::super::cql::{CqlSession, CqlTrouble, Kind};
use super::profile::ProfileStatements;
use crate::model::WallMs;

/// How long heads and exposures are kept, in seconds: six weeks, as the exposures' table says. A head is of use while its breaks are open and for the pause
/// after the last; the pseudonym stays.
const HEAD_TTL_S: u32 = 3_628_800;
/// Weeks back in which a row can be: six, and the one that was half over then.
pub(super) const WEEKS_KEPT: i64 = 7;

/// What a write says of an impression, in order of strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Said {
    /// It was decided.
    Reserved,
    /// It was given up, not played, or not heard in its time.
    Gone,
    /// It was heard.
    Heard,
    /// Its listener was forgotten.
    Erased,
}

/// The timestamp of a write about an ad decided at that time, in microseconds. Not when it is written: who says more of an impression wins, whenever it
/// is said. Deleting all that was decided until a time, by [`Said::Erased`], leaves what is decided from the next millisecond on.
pub(super) const fn stamp(decided_at: WallMs, said: Said) -> i64 {
    decided_at.0.saturating_mul(1_000).saturating_add(said as i64)
}

/// All of them, prepared.
pub(super) struct Statements {
    pub(super) session: CqlSession,
    pub(super) head: PreparedStatement,
    pub(super) week: PreparedStatement,
    pub(super) strict: PreparedStatement,
    pub(super) strict_serially: PreparedStatement,
    pub(super) establish: PreparedStatement,
    pub(super) put_head: PreparedStatement,
    pub(super) put: PreparedStatement,
    pub(super) delete: PreparedStatement,
    pub(super) strict_first: PreparedStatement,
    pub(super) strict_next: PreparedStatement,
    pub(super) forget_head: PreparedStatement,
    pub(super) forget_strict: PreparedStatement,
    pub(super) forget_week: PreparedStatement,
    pub(super) profiles: ProfileStatements,
}

impl Statements {
    /// Prepares them; `page_rows` rows a page of exposures.
    pub(super) async fn prepare(session: &CqlSession, page_rows: i32) -> Result<Self, CqlTrouble> {
        let keyspace = session.keyspace();
        let make = async |text: &str, kind: Kind| {
            session.prepare("prepare a statement on listeners", &text.replace("KEYSPACE", keyspace), kind).await
        };
        let read_strict = "SELECT version, counted FROM KEYSPACE.strict_caps WHERE listener = ?";
        let put_head =
            format!("UPDATE KEYSPACE.listeners USING TIMESTAMP ? AND TTL {HEAD_TTL_S} SET head = ? WHERE listener = ?");
        let mut week = make(
            "SELECT impression, exposure FROM KEYSPACE.exposures WHERE listener = ? AND week = ?",
            Kind::SpeculativeRead,
        )
        .await?;
        week.set_page_size(page_rows);
        Ok(Self {
            session: session.clone(),
            head: make("SELECT pseudonym, head FROM KEYSPACE.listeners WHERE listener = ?", Kind::SpeculativeRead).await?,
            week,
            strict: make(read_strict, Kind::SpeculativeRead).await?,
            strict_serially: make(read_strict, Kind::SerialRead).await?,
            establish: make(
                "UPDATE KEYSPACE.listeners SET pseudonym = ? WHERE listener = ? IF pseudonym = null",
                Kind::Conditional,
            )
            .await?,
            put_head: make(&put_head, Kind::Write).await?,
            put: make(
                "INSERT INTO KEYSPACE.exposures (listener, week, at, impression, exposure) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
                Kind::Write,
            )
            .await?,
            delete: make(
                "DELETE FROM KEYSPACE.exposures USING TIMESTAMP ? WHERE listener = ? AND week = ? AND at = ? AND impression = ?",
                Kind::Write,
            )
            .await?,
            strict_first: make(
                "INSERT INTO KEYSPACE.strict_caps (listener, version, counted) VALUES (?, ?, ?) IF NOT EXISTS",
                Kind::Conditional,
            )
            .await?,
            strict_next: make(
                "UPDATE KEYSPACE.strict_caps SET version = ?, counted = ? WHERE listener = ? IF version = ?",
                Kind::Conditional,
            )
            .await?,
            forget_head: make("DELETE FROM KEYSPACE.listeners WHERE listener = ? IF EXISTS", Kind::Conditional).await?,
            forget_strict: make("DELETE FROM KEYSPACE.strict_caps WHERE listener = ? IF EXISTS", Kind::Conditional)
                .await?,
            forget_week: make(
                "DELETE FROM KEYSPACE.exposures USING TIMESTAMP ? WHERE listener = ? AND week = ?",
                Kind::Write,
            )
            .await?,
            profiles: ProfileStatements::prepare(session).await?,
        })
    }
}
