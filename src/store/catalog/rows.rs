//! How a revision stands in a row, in either implementation.

use prost::Message;

use crate::catalog::{Action, Author, Revision};
use crate::events::catalog::{decode_entity, encode_entity};
use crate::model::{ApiKeyId, WallMs};
use crate::store::{StoreError, damaged};

/// A revision's row in the store. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredRevision {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(sint64, tag = "2")]
    created_at_ms: i64,
    #[prost(sint64, tag = "3")]
    at_ms: i64,
    /// Empty for what Segue did by itself.
    #[prost(bytes = "vec", tag = "4")]
    key_id: Vec<u8>,
    /// Name of the key's role at that time.
    #[prost(string, tag = "5")]
    role: String,
    #[prost(string, tag = "6")]
    action: String,
    /// The entity as `segue.v1.Entity`.
    #[prost(bytes = "vec", tag = "7")]
    entity: Vec<u8>,
}

impl StoredRevision {
    pub(super) fn from_revision(revision: &Revision) -> Self {
        let (key_id, role) = match &revision.author {
            Author::Segue => (Vec::new(), String::new()),
            Author::Key { id, role } => (id.to_bytes().to_vec(), role.clone()),
        };
        Self {
            number: revision.number,
            created_at_ms: revision.created_at.0,
            at_ms: revision.at.0,
            key_id,
            role,
            action: revision.action.name().to_owned(),
            entity: encode_entity(&revision.entity),
        }
    }
}

/// The revision of a row; the first 16 bytes of its key are the entity's id.
pub(super) fn decode(keyspace: &'static str, key: &[u8], row: &[u8]) -> Result<Revision, StoreError> {
    let row = StoredRevision::decode(row).map_err(|error| damaged(keyspace, key, error))?;
    let author = match row.key_id.as_slice() {
        [] => Author::Segue,
        id => Author::Key {
            id: ApiKeyId::from_bytes(id.try_into().map_err(|_| damaged(keyspace, key, "a key's id has 16 bytes"))?),
            role: row.role,
        },
    };
    let action = Action::named(&row.action).ok_or_else(|| damaged(keyspace, key, "an action of no known name"))?;
    let entity = decode_entity(&row.entity).map_err(|error| damaged(keyspace, key, error))?;
    if entity.id().to_bytes() != key.get(..16).unwrap_or_default() {
        return Err(damaged(keyspace, key, "the row is of another entity"));
    }
    Ok(Revision {
        entity,
        number: row.number,
        created_at: WallMs(row.created_at_ms),
        at: WallMs(row.at_ms),
        author,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Entity;
    use crate::roles::campaign::samples;

    #[test]
    fn rows_stay_readable() {
        let revision = Revision {
            entity: Entity::from(samples::network(samples::NETWORK)),
            number: 7,
            created_at: WallMs(1),
            at: WallMs(7),
            author: Author::Key { id: ApiKeyId::from_u128(9), role: "operator".into() },
            action: Action::Changed,
        };
        let row = StoredRevision::from_revision(&revision).encode_to_vec();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/golden/v1/store/catalog_revision.bin");
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::create_dir_all(std::path::Path::new(path).parent().expect("a folder")).expect("made");
            std::fs::write(path, &row).expect("written");
        }
        let golden = std::fs::read(path).expect("the golden file; UPDATE_GOLDEN=1 writes it");
        let id = revision.entity.id().to_bytes();
        assert_eq!(decode("a table", &id, &golden).expect("reads"), revision);
        assert_eq!(row, golden);
        let wrong = decode("a table", &[0; 16], &golden).expect_err("another entity's row");
        assert!(wrong.to_string().contains("00000000"), "{wrong}");
        for cut in 1..golden.len() {
            // A cut row is an error or, where the cut is between fields, not the entity that the key names; never a panic.
            let _ = decode("a table", &id, &golden[..cut]);
        }
    }
}
