//! API keys: sixteen partitions, each with the number of its writes, so that servers that look every second read only what has changed.

use std::collections::BTreeMap;

use prost::Message;
use scylla::value::CqlValue;

use super::super::{KeysSeen, Missed};
use super::{CqlCatalog, Inner, read};
use crate::model::ApiKeyId;
use crate::store::cql::CqlTrouble;
use crate::store::keys::StoredKey;
use crate::store::{ApiKey, StoreError, damaged};

/// Partitions of the keys. Fixed for ever: a key stays in its own.
const BUCKETS: i32 = 16;
/// Most keys of a partition: the role's limit of all keys, spread unevenly, fits.
const KEYS_PER_BUCKET_MAX: usize = 7_000;
/// How often a write is tried against others of the same partition. Keys are written a few times a day.
const TRIES: u32 = 8;
/// What damaged rows are said to be of.
const TABLE: &str = "api_keys";

/// A partition as it was read.
#[derive(Default)]
struct Bucket {
    /// How often it was written.
    changes: i64,
    keys: BTreeMap<ApiKeyId, ApiKey>,
}

impl CqlCatalog {
    /// Puts a key there. Of two states of it the one that is revoked holds, and of two revocations the first.
    pub(super) async fn commit_key(&self, key: &ApiKey) -> Result<(), Missed> {
        let bucket = bucket_of(key.id);
        let mut trouble = None;
        for _ in 0..TRIES {
            let found = match self.inner.bucket(bucket, &self.inner.statements.keys_serial).await {
                Ok(found) => found,
                Err(error) if trouble.is_none() => return Err(Missed::Unreachable(error)),
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            match found.keys.get(&key.id) {
                Some(known) if known.revoked_at.is_some() || known == key => return Ok(()),
                None if found.keys.len() >= KEYS_PER_BUCKET_MAX => {
                    return Err(Missed::Full { what: "keys", limit: KEYS_PER_BUCKET_MAX });
                }
                Some(_) | None => {}
            }
            match self.inner.put_key(bucket, found.changes, key).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Perhaps it was made: the next look says it.
                Err(error) => trouble = Some(error.into()),
            }
        }
        Err(Missed::Unknown(trouble.unwrap_or_else(|| {
            let reason = "others write keys all the time".to_owned();
            StoreError::Cql(CqlTrouble::Other { doing: "commit a key", reason })
        })))
    }

    /// The keys of the partitions that were written since.
    pub(super) async fn keys_since(&self, seen: &mut KeysSeen) -> Result<Vec<ApiKey>, StoreError> {
        const DOING: &str = "look whether keys have changed";
        let inner = &self.inner;
        let all: Vec<i32> = (0..BUCKETS).collect();
        let rows = inner.rows(DOING, &inner.statements.key_changes, (all,)).await?;
        let mut keys = Vec::new();
        for (bucket, changes) in read::<(i32, Option<i64>)>(DOING, &rows)? {
            if seen.get(&bucket).copied() < changes {
                let found = inner.bucket(bucket, &inner.statements.keys).await?;
                seen.insert(bucket, found.changes);
                keys.extend(found.keys.into_values());
            }
        }
        Ok(keys)
    }
}

impl Inner {
    async fn bucket(
        &self,
        bucket: i32,
        statement: &scylla::statement::prepared::PreparedStatement,
    ) -> Result<Bucket, StoreError> {
        const DOING: &str = "read keys";
        let rows = self.rows(DOING, statement, (bucket,)).await?;
        let mut found = Bucket::default();
        for (changes, id, row) in read::<(Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>)>(DOING, &rows)? {
            found.changes = changes.unwrap_or(0);
            if let (Some(id), Some(row)) = (id, row) {
                let key = StoredKey::decode(row.as_slice()).map_err(|error| damaged(TABLE, &id, error))?;
                let key = key.into_key().ok_or_else(|| damaged(TABLE, &id, "a field can't be right"))?;
                found.keys.insert(key.id, key);
            }
        }
        Ok(found)
    }

    /// Writes a key if the partition was written that often; whether it was.
    async fn put_key(&self, bucket: i32, changes: i64, key: &ApiKey) -> Result<bool, CqlTrouble> {
        let mut batch = self.conditional_batch();
        let mut count = vec![CqlValue::BigInt(changes + 1), CqlValue::Int(bucket)];
        if changes == 0 {
            batch.append_statement(self.statements.first_key.clone());
        } else {
            batch.append_statement(self.statements.next_key.clone());
            count.push(CqlValue::BigInt(changes));
        }
        batch.append_statement(self.statements.put_key.clone());
        let (id, row) = (key.id.to_bytes().to_vec(), StoredKey::from_key(key).encode_to_vec());
        let row = vec![CqlValue::Int(bucket), CqlValue::Blob(id), CqlValue::Blob(row)];
        self.conditionally("commit a key", &batch, vec![count, row]).await
    }
}

/// The partition of a key: by the first byte of its id's BLAKE3 hash. Fixed for ever.
fn bucket_of(id: ApiKeyId) -> i32 {
    i32::from(blake3::hash(&id.to_bytes()).as_bytes()[0]) % BUCKETS
}
