//! Committing: an entity by one conditional batch, whose outcome is always found out or said to be unknown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use tokio::task::JoinSet;

use super::super::rows::{StoredRevision, decode};
use super::super::{Committed, Missed, chains};
use super::{
    CqlCatalog, HISTORY_BUCKET, IN_FLIGHT_MAX, Inner, OutboxRow, REVISION_BYTES_MAX, bigint, number, other, read,
};
use crate::catalog::{EntityId, EntityKind, Revision};
use crate::store::cql::CqlTrouble;
use crate::store::{ApiKey, StoreError};

/// How often a batch is sent before its outcome is given up as unknown.
const TRIES: u32 = 3;
/// Most outbox rows of an entity after a look, and how many revisions lie between two looks. Together they bound the partition.
const OUTBOX_MAX: usize = 64;
const OUTBOX_LOOK_EVERY: u64 = 32;
/// Most bytes of one batch: half of what Cassandra takes as one write.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A name for the try of a chain of revisions, so that it knows its own rows.
type Attempt = [u8; 16];

/// How an entity stands after a batch without an answer that says so.
enum Standing {
    /// The batch was made.
    Made,
    /// It was not and never can be: somebody else made that revision.
    Overtaken(Option<Arc<Revision>>),
    /// It was not, and the entity is as it was.
    Open,
}

impl CqlCatalog {
    /// Commits entities parents first, those of one kind side by side, then keys. After a kind of which something was missed the rest is not tried: it was
    /// judged by what is not there.
    pub(super) async fn commit_all(&self, revisions: &[Arc<Revision>], keys: &[ApiKey]) -> Committed {
        let mut committed = Committed::default();
        let mut waiting = chains(revisions);
        for kind in EntityKind::ALL {
            let of_kind: Vec<EntityId> = waiting.keys().copied().filter(|id| id.kind() == kind).collect();
            let is_lost = !committed.missed.is_empty();
            let mut running = JoinSet::new();
            for id in of_kind {
                let Some(chain) = waiting.remove(&id) else { continue };
                if is_lost {
                    committed.missed.insert(id, Missed::Untried);
                    continue;
                }
                if running.len() >= IN_FLIGHT_MAX {
                    note(&mut committed.missed, running.join_next().await);
                }
                let store = self.clone();
                running.spawn(async move { (id, store.commit_chain(id, &chain).await) });
            }
            while let Some(done) = running.join_next().await {
                note(&mut committed.missed, Some(done));
            }
        }
        for key in keys {
            let missed = if committed.missed.is_empty() { self.commit_key(key).await } else { Err(Missed::Untried) };
            if let Err(missed) = missed {
                committed.missed_keys.insert(key.id, missed);
            }
        }
        committed
    }

    /// Commits revisions of one entity, all or none.
    async fn commit_chain(&self, id: EntityId, chain: &[Arc<Revision>]) -> Result<(), Missed> {
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else { return Ok(()) };
        let (seen, made) = (first.number - 1, last.number);
        let rows: Vec<Vec<u8>> =
            chain.iter().map(|revision| StoredRevision::from_revision(revision).encode_to_vec()).collect();
        if let Some(long) = rows.iter().find(|row| row.len() > REVISION_BYTES_MAX) {
            return Err(Missed::TooLarge { bytes: long.len(), limit: REVISION_BYTES_MAX });
        }
        let bytes = rows.iter().map(Vec::len).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(Missed::TooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
        let key = id.to_bytes().to_vec();
        if seen / OUTBOX_LOOK_EVERY != made / OUTBOX_LOOK_EVERY {
            let waiting = self.inner.waiting_of(&key).await.map_err(|error| Missed::Unreachable(error.into()))?;
            if waiting + rows.len() > OUTBOX_MAX {
                return Err(Missed::Full { what: "changes of it that wait to be published", limit: OUTBOX_MAX });
            }
        }
        let attempt: Attempt = self.inner.entropy.bytes();
        // Before the batch, so that whoever looks for revisions to publish finds this one whatever happens to this server.
        self.inner.announce(&key, made).await.map_err(|error| Missed::Unreachable(error.into()))?;
        let mut trouble = None;
        for _ in 0..TRIES {
            match self.inner.send(&key, seen, chain, &rows, attempt).await {
                Ok(true) => return self.made(chain, attempt),
                Ok(false) => {}
                Err(error) => trouble = Some(error),
            }
            match self.inner.standing(id, made, seen, attempt).await {
                Ok(Standing::Made) => return self.made(chain, attempt),
                Ok(Standing::Overtaken(newest)) => return Err(Missed::Stale(newest)),
                // A batch that is still on its way could be made later, when it was refused here. Sent again under the same name, it is made
                // or finds that it was.
                Ok(Standing::Open) => {}
                Err(error) => trouble = Some(error),
            }
        }
        Err(Missed::Unknown(trouble.map_or_else(
            || {
                let reason = "others write the same entity again and again".to_owned();
                StoreError::Cql(CqlTrouble::Other { doing: "commit an entity", reason })
            },
            StoreError::Cql,
        )))
    }

    #[expect(clippy::unnecessary_wraps, reason = "what commit_chain ends with")]
    fn made(&self, chain: &[Arc<Revision>], attempt: Attempt) -> Result<(), Missed> {
        if let Some(publisher) = &self.publisher {
            let row =
                |revision: &Arc<Revision>| OutboxRow { revision: Arc::clone(revision), attempt: attempt.to_vec() };
            // Full: the publisher is behind, and finds it among the pending ones.
            let _ = publisher.try_send(chain.iter().map(row).collect());
        }
        Ok(())
    }

    /// What all servers agree on under that name.
    pub(super) async fn agree_on(&self, name: &'static str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        const DOING: &str = "agree with other servers";
        let statements = &self.inner.statements;
        // Whether it was made does not matter: the one that is there holds.
        let proposed = self.inner.execute(DOING, &statements.agree, (name, value)).await;
        let rows = self.inner.rows(DOING, &statements.agreed, (name,)).await?;
        let found = read::<(Vec<u8>,)>(DOING, &rows)?;
        match (found.into_iter().next(), proposed) {
            (Some((value,)), _) => Ok(value),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => {
                let reason = "what was agreed on is not there".to_owned();
                Err(CqlTrouble::Other { doing: DOING, reason }.into())
            }
        }
    }
}

type Ended = Result<(EntityId, Result<(), Missed>), tokio::task::JoinError>;

fn note(missed: &mut BTreeMap<EntityId, Missed>, ended: Option<Ended>) {
    // A task ends by a panic only, or with the runtime: both end the process.
    if let Some(Ok((id, Err(why)))) = ended {
        missed.insert(id, why);
    }
}

impl Inner {
    async fn waiting_of(&self, key: &[u8]) -> Result<usize, CqlTrouble> {
        const DOING: &str = "count what waits to be published";
        let rows = self.rows(DOING, &self.statements.count_outbox, (key,)).await?;
        Ok(read::<(Option<i64>,)>(DOING, &rows)?.into_iter().filter(|(number,)| number.is_some()).count())
    }

    async fn announce(&self, key: &[u8], made: u64) -> Result<(), CqlTrouble> {
        let values = (super::outbox::bucket_of(key), key, bigint(made));
        self.execute("announce a revision", &self.statements.announce, values).await
    }

    /// Sends the batch; whether it was made.
    async fn send(
        &self,
        key: &[u8],
        seen: u64,
        chain: &[Arc<Revision>],
        rows: &[Vec<u8>],
        attempt: Attempt,
    ) -> Result<bool, CqlTrouble> {
        let (blob, big) = (|bytes: &[u8]| CqlValue::Blob(bytes.to_vec()), |number| CqlValue::BigInt(bigint(number)));
        let mut batch = self.conditional_batch();
        let head = rows.last().map_or(&[][..], Vec::as_slice);
        let mut values = vec![vec![big(seen + u64::try_from(rows.len()).unwrap_or(0)), blob(head), blob(key)]];
        if seen == 0 {
            batch.append_statement(self.statements.make.clone());
        } else {
            batch.append_statement(self.statements.follow.clone());
            values[0].push(big(seen));
        }
        for (revision, row) in chain.iter().zip(rows) {
            batch.append_statement(self.statements.add_outbox.clone());
            values.push(vec![blob(key), big(revision.number), blob(&attempt), blob(row)]);
        }
        self.conditionally("commit an entity", &batch, values).await
    }

    /// How the entity stands, once every write of it that was begun is decided.
    async fn standing(&self, id: EntityId, made: u64, seen: u64, attempt: Attempt) -> Result<Standing, CqlTrouble> {
        const DOING: &str = "look whether an entity was committed";
        type Found = (Option<i64>, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>);
        let key = id.to_bytes();
        let rows = self.rows(DOING, &self.statements.standing, (key.as_slice(),)).await?;
        let rows = read::<Found>(DOING, &rows)?;
        let newest = rows.first().and_then(|(newest, ..)| *newest).map_or(0, number);
        let own = |found: &Option<Vec<u8>>| found.as_deref() == Some(attempt.as_slice());
        if rows.iter().any(|(_, _, found, by)| *found == Some(bigint(made)) && own(by)) {
            return Ok(Standing::Made);
        }
        if newest >= made {
            // Published meanwhile, perhaps: then it stands in the history.
            let place = (key.as_slice(), bigint(made / HISTORY_BUCKET), bigint(made));
            let kept = self.rows(DOING, &self.statements.history_attempt, place).await?;
            if read::<(Option<Vec<u8>>,)>(DOING, &kept)?.iter().any(|(by,)| own(by)) {
                return Ok(Standing::Made);
            }
        }
        if newest == seen {
            return Ok(Standing::Open);
        }
        let head = rows.into_iter().next().and_then(|(_, head, ..)| head);
        let head = head.map(|head| decode(super::load::TABLE, &key, &head)).transpose();
        Ok(Standing::Overtaken(head.map_err(|error| other(DOING, &error))?.map(Arc::new)))
    }

    /// A batch on one partition whose statements are made together or not at all; to be sent once.
    pub(super) fn conditional_batch(&self) -> Batch {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_consistency(Consistency::LocalQuorum);
        batch.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        let timeout = self.session.connection().conditional_timeout_ms;
        batch.set_request_timeout(Some(Duration::from_millis(timeout)));
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        batch
    }

    /// Sends a conditional batch; whether it was made. The driver's own word for it knows only ScyllaDB: the first column says it in both.
    pub(super) async fn conditionally(
        &self,
        doing: &'static str,
        batch: &Batch,
        values: Vec<Vec<CqlValue>>,
    ) -> Result<bool, CqlTrouble> {
        let done = self.session.driver().batch(batch, values).await;
        let done = done.map_err(|error| self.session.trouble(doing, &error))?;
        let rows = done.into_rows_result().map_err(|error| other(doing, &error))?;
        let row = rows.first_row::<Row>().map_err(|error| other(doing, &error))?;
        Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
    }
}
