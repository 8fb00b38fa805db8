//! All rows of a store, decoded on every core: a million entities are ten seconds of decoding, and a server that starts has nothing better to do.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::rows::decode;
use crate::catalog::Revision;
use crate::store::StoreError;

/// Rows that one thread decodes before it takes more.
const BATCH: usize = 4_096;
/// Most threads: the rows are read by one.
const THREADS_MAX: usize = 4;

/// A row with its key.
type Row<K, V> = (K, V);
/// Rows that were read together; batches count from 0.
type Batch<K, V> = (usize, Vec<Row<K, V>>);

/// The revisions of these rows, in the rows' order. `keyspace` is for what is said of a damaged one.
///
/// # Errors
/// The first row, in order, that can't be read or is damaged.
pub(super) fn decode_all<K, V>(
    keyspace: &'static str,
    rows: impl Iterator<Item = Result<Row<K, V>, StoreError>>,
) -> Result<Vec<Arc<Revision>>, StoreError>
where
    K: AsRef<[u8]> + Send,
    V: AsRef<[u8]> + Send,
{
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let (read, batches) = sync_channel::<Batch<K, V>>(2 * threads);
    let batches = Mutex::new(batches);
    let decoded = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        // Hung up however this ends, before the threads are waited for.
        let read = read;
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, rows)) = next(&batches) {
                    let revisions: Result<Vec<_>, _> = rows
                        .iter()
                        .map(|(key, row)| decode(keyspace, key.as_ref(), row.as_ref()).map(Arc::new))
                        .collect();
                    decoded.lock().unwrap_or_else(PoisonError::into_inner).insert(number, revisions);
                }
            });
        }
        let mut batch = Vec::with_capacity(BATCH);
        let mut number = 0;
        for row in rows {
            batch.push(row?);
            if batch.len() == BATCH {
                // Nobody hangs up before the last batch is read.
                let _ = read.send((number, std::mem::replace(&mut batch, Vec::with_capacity(BATCH))));
                number += 1;
            }
        }
        let _ = read.send((number, batch));
        Ok::<(), StoreError>(())
    })?;
    let mut revisions = Vec::new();
    for batch in decoded.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
        revisions.append(&mut batch?);
    }
    Ok(revisions)
}

/// The next batch; none once all were taken.
fn next<B>(batches: &Mutex<Receiver<B>>) -> Option<B> {
    batches.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::rows::StoredRevision;
    use super::*;
    use crate::catalog::{Action, Author, Entity};
    use crate::model::{NetworkId, WallMs};
    use crate::roles::campaign::samples;

    type Encoded = Result<Row<[u8; 16], Vec<u8>>, StoreError>;

    fn row(number: u64) -> Row<[u8; 16], Vec<u8>> {
        let id = NetworkId::from_u128(u128::from(number));
        let entity = Entity::from(samples::network(id));
        let at = WallMs(7);
        let revision = Revision { entity, number, created_at: at, at, author: Author::Segue, action: Action::Created };
        (id.to_bytes(), StoredRevision::from_revision(&revision).encode_to_vec())
    }

    #[test]
    fn rows_come_back_in_their_order_whoever_decodes_them() {
        for count in [0, 1, BATCH as u64, 3 * BATCH as u64 + 5] {
            let revisions = decode_all("rows", (1..=count).map(|number| Ok(row(number)))).expect("decoded");
            let numbers: Vec<u64> = revisions.iter().map(|revision| revision.number).collect();
            assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_damaged_row_is_named_and_a_failure_to_read_ends_it() {
        let damaged = |number: u64| -> Encoded {
            let is_damaged = number.is_multiple_of(5_000);
            Ok(if is_damaged { (u128::from(number).to_be_bytes(), vec![0xff]) } else { row(number) })
        };
        let error = decode_all("rows", (1..20_000).map(damaged)).expect_err("it is damaged").to_string();
        assert!(error.contains("1388"), "5,000 in hexadecimal: {error}");
        let unreadable = |number: u64| -> Encoded {
            if number == 9_000 { Err(crate::store::damaged("rows", &[9], "unreadable")) } else { Ok(row(number)) }
        };
        let error = decode_all("rows", (1..20_000).map(unreadable)).expect_err("it is unreadable").to_string();
        assert!(error.contains("unreadable"), "{error}");
    }
}
