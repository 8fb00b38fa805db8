//! Reading the catalogue: all of it by token ranges and pages, entities by id, an entity's history.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use scylla::response::PagingState;
use tokio::task::JoinSet;

use super::super::StoredCatalog;
use super::super::rows::decode;
use super::{CqlCatalog, HISTORY_BUCKET, IN_FLIGHT_MAX, Inner, bigint, number, other, read};
use crate::catalog::{EntityId, Revision};
use crate::store::StoreError;

/// What damaged rows are said to be of.
pub(super) const TABLE: &str = "catalogue";
/// Ranges of tokens that the whole table is read by; a power of two.
const RANGES: u64 = 64;
/// Ranges read at once.
const RANGES_AT_ONCE: usize = 4;
/// Entities of a page: a megabyte if they are as large as most, 90 MB if all are as large as possible.
const PAGE_ROWS: i32 = 100;

/// An entity's key, number and row.
type Head = (Vec<u8>, Option<i64>, Option<Vec<u8>>);

impl CqlCatalog {
    pub(super) async fn has_none(&self) -> Result<bool, StoreError> {
        let rows = self.inner.rows("look for any entity", &self.inner.statements.any, ()).await?;
        Ok(rows.rows_num() == 0)
    }

    /// Everything that is now. No more than a page of each range that is being read is held beside what was read.
    pub(super) async fn load_all(&self) -> Result<StoredCatalog, StoreError> {
        let mut entities = Vec::new();
        let mut running: JoinSet<Result<Vec<Arc<Revision>>, StoreError>> = JoinSet::new();
        for index in 0..RANGES {
            if running.len() >= RANGES_AT_ONCE {
                take(&mut entities, running.join_next().await)?;
            }
            let inner = Arc::clone(&self.inner);
            running.spawn(async move { inner.range(index).await });
        }
        while let Some(ended) = running.join_next().await {
            take(&mut entities, Some(ended))?;
        }
        let keys = self.keys_since(&mut BTreeMap::new()).await?;
        Ok(StoredCatalog { version: 0, entities, keys })
    }

    /// The newest revisions of these entities.
    pub(super) async fn heads_of(&self, ids: &[EntityId]) -> Result<Vec<Arc<Revision>>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        let mut running: JoinSet<Result<Vec<Arc<Revision>>, StoreError>> = JoinSet::new();
        for id in ids {
            if running.len() >= IN_FLIGHT_MAX {
                take(&mut found, running.join_next().await)?;
            }
            let (inner, key) = (Arc::clone(&self.inner), id.to_bytes());
            running.spawn(async move { inner.head(&key).await.map(|head| head.into_iter().collect()) });
        }
        while let Some(ended) = running.join_next().await {
            take(&mut found, Some(ended))?;
        }
        Ok(found)
    }

    /// Published revisions and those that wait, by number. The outbox is read first: what leaves it meanwhile is in the history already.
    pub(super) async fn history_of(
        &self,
        id: EntityId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Revision>, StoreError> {
        const DOING: &str = "read the history of an entity";
        let (inner, key) = (&self.inner, id.to_bytes());
        let Some(newest) = inner.head(&key).await?.map(|head| head.number) else { return Ok(Vec::new()) };
        let below = before.unwrap_or(u64::MAX).min(newest.saturating_add(1));
        let rows_max = i32::try_from(limit).unwrap_or(i32::MAX);
        let mut found = BTreeMap::new();
        let keep = |found: &mut BTreeMap<u64, Revision>, rows: Vec<(Option<i64>, Option<Vec<u8>>)>| {
            for (number, row) in rows {
                // An entity with nothing to publish has one row here, of static columns only.
                if let (Some(_), Some(row)) = (number, row) {
                    let revision = decode(TABLE, &key, &row)?;
                    found.insert(revision.number, revision);
                }
            }
            Ok::<_, StoreError>(())
        };
        let waiting = (key.as_slice(), bigint(below), rows_max);
        keep(&mut found, read(DOING, &inner.rows(DOING, &inner.statements.outbox_before, waiting).await?)?)?;
        let mut bucket = Some(below.saturating_sub(1) / HISTORY_BUCKET);
        while let Some(number) = bucket {
            let place = (key.as_slice(), bigint(number), bigint(below), rows_max);
            keep(&mut found, read(DOING, &inner.rows(DOING, &inner.statements.history, place).await?)?)?;
            // From here up all were read, whichever table has them.
            if found.range(number * HISTORY_BUCKET..).count() >= limit {
                break;
            }
            bucket = number.checked_sub(1);
        }
        Ok(found.into_values().rev().take(limit).collect())
    }
}

type Ended = Result<Result<Vec<Arc<Revision>>, StoreError>, tokio::task::JoinError>;

fn take(found: &mut Vec<Arc<Revision>>, ended: Option<Ended>) -> Result<(), StoreError> {
    match ended {
        None => Ok(()),
        Some(Ok(revisions)) => {
            found.append(&mut revisions?);
            Ok(())
        }
        Some(Err(error)) => Err(other("read the catalogue", &error).into()),
    }
}

impl Inner {
    async fn head(&self, key: &[u8]) -> Result<Option<Arc<Revision>>, StoreError> {
        const DOING: &str = "read an entity";
        let rows = self.rows(DOING, &self.statements.head, (key,)).await?;
        let heads = read::<Head>(DOING, &rows)?;
        Ok(heads.into_iter().next().map(revision).transpose()?.flatten())
    }

    /// The entities of one range of tokens, page by page.
    async fn range(&self, index: u64) -> Result<Vec<Arc<Revision>>, StoreError> {
        const DOING: &str = "read the catalogue";
        let mut statement = self.statements.heads.clone();
        statement.set_page_size(PAGE_ROWS);
        let (from, to) = range(index);
        let (mut found, mut state) = (Vec::new(), PagingState::start());
        loop {
            let page = self.session.driver().execute_single_page(&statement, (from, to), state).await;
            let (page, next) = page.map_err(|error| self.session.trouble(DOING, &error))?;
            let rows = page.into_rows_result().map_err(|error| other(DOING, &error))?;
            for head in read::<Head>(DOING, &rows)? {
                found.extend(revision(head)?);
            }
            match next.into_paging_control_flow() {
                ControlFlow::Continue(next) => state = next,
                ControlFlow::Break(()) => return Ok(found),
            }
        }
    }
}

/// The tokens of a range, both ends in it: all together are all tokens.
fn range(index: u64) -> (i64, i64) {
    let width = u64::MAX / RANGES + 1;
    let signed = |from_lowest: u64| i64::from_ne_bytes((from_lowest ^ (1 << 63)).to_ne_bytes());
    (signed(index * width), signed(index * width + (width - 1)))
}

/// The revision of an entity's head; none where the entity has no number: a partition that only its deleted rows are left of.
fn revision((key, newest, head): Head) -> Result<Option<Arc<Revision>>, StoreError> {
    let (Some(newest), Some(head)) = (newest, head) else { return Ok(None) };
    let revision = decode(TABLE, &key, &head)?;
    if revision.number != number(newest) {
        let reason = "the entity's row is of another revision than its number";
        return Err(crate::store::damaged(TABLE, &key, reason));
    }
    Ok(Some(Arc::new(revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_are_all_tokens_and_overlap_nowhere() {
        let ranges: Vec<_> = (0..RANGES).map(range).collect();
        assert_eq!((ranges[0].0, ranges.last().map(|range| range.1)), (i64::MIN, Some(i64::MAX)));
        assert!(ranges.windows(2).all(|two| two[0].1 + 1 == two[1].0), "{ranges:?}");
    }
}
