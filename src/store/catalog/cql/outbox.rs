//! The outbox: which revisions are to be published, and taking away those that were.

use std::sync::Arc;

use prost::Message;
use scylla::value::CqlValue;

use super::super::rows::{StoredRevision, decode};
use super::{CqlCatalog, HISTORY_BUCKET, bigint, number, read};
use crate::catalog::Revision;
use crate::store::StoreError;
use crate::store::cql::CqlTrouble;

/// Partitions of what is pending, counted from 0. Fixed for ever: an entity stays in its own.
pub const PENDING_BUCKETS: i32 = 64;
/// Most rows of a partition that one look takes; the next look takes more.
const PENDING_ROWS_MAX: i32 = 1_000;
/// Most outbox rows of an entity that one look takes: 15 MB where all are as large as possible.
const OUTBOX_ROWS_MAX: i32 = 16;

/// A word that an entity may have something to publish up to a revision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pending {
    /// The entity's id.
    pub entity: [u8; 16],
    /// The revision's number.
    pub number: u64,
}

/// A revision that is to be published.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxRow {
    /// The revision.
    pub revision: Arc<Revision>,
    /// The try that made it.
    pub attempt: Vec<u8>,
}

/// What an entity has to publish.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Waiting {
    /// The number of its newest revision; 0 where it has none.
    pub newest: u64,
    /// The oldest rows of its outbox, in order.
    pub rows: Vec<OutboxRow>,
}

impl Pending {
    /// The word that announced this revision.
    #[must_use]
    pub fn of(revision: &Revision) -> Self {
        Self { entity: revision.entity.id().to_bytes(), number: revision.number }
    }
}

impl CqlCatalog {
    /// What may have to be published, of one of [`PENDING_BUCKETS`].
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    pub async fn pending(&self, bucket: i32) -> Result<Vec<Pending>, StoreError> {
        const DOING: &str = "look for what is to be published";
        let rows = self.inner.rows(DOING, &self.inner.statements.pending, (bucket, PENDING_ROWS_MAX)).await?;
        let found = read::<(Vec<u8>, i64)>(DOING, &rows)?;
        let pending = found.into_iter().filter_map(|(entity, at)| {
            let entity = entity.as_slice().try_into().ok()?;
            Some(Pending { entity, number: number(at) })
        });
        Ok(pending.collect())
    }

    /// What an entity has to publish, once every write of it that was begun is decided.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read, or a row is damaged.
    pub async fn outbox(&self, entity: [u8; 16]) -> Result<Waiting, StoreError> {
        const DOING: &str = "read the outbox of an entity";
        type Found = (Option<i64>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
        let key = entity.as_slice();
        let rows = self.inner.rows(DOING, &self.inner.statements.outbox, (key, OUTBOX_ROWS_MAX)).await?;
        let mut waiting = Waiting::default();
        for (newest, at, attempt, row) in read::<Found>(DOING, &rows)? {
            waiting.newest = newest.map_or(0, number);
            if let (Some(_), Some(row)) = (at, row) {
                let revision = Arc::new(decode(super::load::TABLE, key, &row)?);
                waiting.rows.push(OutboxRow { revision, attempt: attempt.unwrap_or_default() });
            }
        }
        Ok(waiting)
    }

    /// Takes rows of one entity out of its outbox: the event log has them. They are in the history before they go.
    ///
    /// # Errors
    /// [`StoreError`]: some may stand in the outbox still, and are to be published again.
    pub async fn published(&self, rows: &[OutboxRow]) -> Result<(), StoreError> {
        let statements = &self.inner.statements;
        for OutboxRow { revision, attempt } in rows {
            let key = revision.entity.id().to_bytes();
            let row = StoredRevision::from_revision(revision).encode_to_vec();
            let place = (key.as_slice(), bigint(revision.number / HISTORY_BUCKET), bigint(revision.number));
            let values = (place.0, place.1, place.2, attempt.as_slice(), row);
            self.inner.execute("keep a revision", &statements.keep, values).await?;
        }
        let mut batch = self.inner.conditional_batch();
        let mut values = Vec::with_capacity(rows.len());
        // Conditional, though the condition always holds: a plain delete has another clock's time than a conditional write, and could come before it.
        for OutboxRow { revision, .. } in rows {
            let (key, at) = (revision.entity.id().to_bytes(), CqlValue::BigInt(bigint(revision.number)));
            batch.append_statement(statements.drop_outbox.clone());
            values.push(vec![CqlValue::Blob(key.to_vec()), at.clone(), at]);
        }
        match self.inner.conditionally("take a revision out of the outbox", &batch, values).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let reason = "the entity is at an earlier revision than was published".to_owned();
                Err(CqlTrouble::Other { doing: "take a revision out of the outbox", reason }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets a word: the entity has that revision, and nothing up to it to publish.
    ///
    /// # Errors
    /// [`StoreError`]: it may be there still, which costs a look.
    pub async fn forget(&self, pending: Pending) -> Result<(), StoreError> {
        let key = pending.entity.as_slice();
        let values = (bucket_of(key), key, bigint(pending.number));
        Ok(self.inner.execute("forget what was published", &self.inner.statements.drop_pending, values).await?)
    }
}

/// The partition of an entity's word: by the first byte of its id's BLAKE3 hash. Fixed for ever.
pub(super) fn bucket_of(entity: &[u8]) -> i32 {
    i32::from(blake3::hash(entity).as_bytes()[0]) % PENDING_BUCKETS
}
