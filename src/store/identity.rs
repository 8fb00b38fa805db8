//! Who this server is: an id across restarts, and the secrets that never leave its data directory.
//!
//! One row in the keyspace `meta`, made at the first opening and changed only when the token key rotates. Format: a Protobuf message
//! (`StoredIdentity` below); fields are only ever added.

use std::fmt;

use fjall::{Database, PersistMode};
use prost::Message;

use super::{StoreError, damaged, keyspace};
use crate::entropy::Entropy;
use crate::model::{ServerId, WallMs};

const META: &str = "meta";
const IDENTITY: &[u8] = b"identity";
/// The identity with the secrets that servers share, where this server is one of many: kept so that it can start while their store is away.
const SHARED: &[u8] = b"identity.shared";

/// 256 secret bits. Prints as dots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key that seals tokens, and the id that a token names it by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenKey {
    /// The id; counts up at each rotation, and starts again at 0 after 255.
    pub id: u8,
    /// The key.
    pub secret: Secret,
}

/// Who this server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its id, across restarts.
    pub server_id: ServerId,
    /// Seals new tokens.
    pub token_key: TokenKey,
    /// When that key was made.
    pub token_key_made_at: WallMs,
    /// Opens tokens from before the last rotation.
    pub previous_token_key: Option<TokenKey>,
    /// Keys the hash of listener ids.
    pub listener_secret: Secret,
    /// Keys the digest of API keys.
    pub api_key_secret: Secret,
}

#[derive(Clone, PartialEq, Message)]
struct StoredIdentity {
    #[prost(bytes = "vec", tag = "1")]
    server_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    token_key_id: u32,
    #[prost(bytes = "vec", tag = "3")]
    token_key: Vec<u8>,
    #[prost(uint32, tag = "4")]
    previous_token_key_id: u32,
    /// Empty when there is none.
    #[prost(bytes = "vec", tag = "5")]
    previous_token_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    listener_secret: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    api_key_secret: Vec<u8>,
    /// 0 in rows of before there was rotation: such a key is replaced at the next start.
    #[prost(sint64, tag = "8")]
    token_key_made_at_ms: i64,
}

impl Identity {
    fn new(now: WallMs, entropy: &Entropy) -> Self {
        Self {
            server_id: ServerId::at(now, entropy.bytes()),
            token_key: TokenKey { id: 0, secret: Secret(entropy.bytes()) },
            token_key_made_at: now,
            previous_token_key: None,
            listener_secret: Secret(entropy.bytes()),
            api_key_secret: Secret(entropy.bytes()),
        }
    }

    /// The identity with a new token key, when the one it has is `max_age_ms` old.
    pub(super) fn rotated(&self, max_age_ms: i64, now: WallMs, entropy: &Entropy) -> Option<Self> {
        if now.since(self.token_key_made_at) < max_age_ms {
            return None;
        }
        let token_key = TokenKey { id: self.token_key.id.wrapping_add(1), secret: Secret(entropy.bytes()) };
        let previous_token_key = Some(self.token_key);
        Some(Self { token_key, token_key_made_at: now, previous_token_key, ..self.clone() })
    }

    fn to_row(&self) -> StoredIdentity {
        let previous = self.previous_token_key;
        StoredIdentity {
            server_id: self.server_id.to_bytes().to_vec(),
            token_key_id: u32::from(self.token_key.id),
            token_key: self.token_key.secret.0.to_vec(),
            previous_token_key_id: previous.map_or(0, |key| u32::from(key.id)),
            previous_token_key: previous.map_or_else(Vec::new, |key| key.secret.0.to_vec()),
            listener_secret: self.listener_secret.0.to_vec(),
            api_key_secret: self.api_key_secret.0.to_vec(),
            token_key_made_at_ms: self.token_key_made_at.0,
        }
    }

    fn from_row(row: &StoredIdentity) -> Option<Self> {
        let secret = |bytes: &[u8]| bytes.try_into().ok().map(Secret);
        let previous_token_key = match row.previous_token_key.as_slice() {
            [] => None,
            bytes => Some(TokenKey { id: u8::try_from(row.previous_token_key_id).ok()?, secret: secret(bytes)? }),
        };
        Some(Self {
            server_id: ServerId::from_bytes(row.server_id.as_slice().try_into().ok()?),
            token_key: TokenKey { id: u8::try_from(row.token_key_id).ok()?, secret: secret(&row.token_key)? },
            previous_token_key,
            listener_secret: secret(&row.listener_secret)?,
            api_key_secret: secret(&row.api_key_secret)?,
            token_key_made_at: WallMs(row.token_key_made_at_ms),
        })
    }
}

/// Reads the identity, or makes one and syncs it to disk before anybody can act under it.
pub(super) fn load_or_create(database: &Database, now: WallMs, entropy: &Entropy) -> Result<Identity, StoreError> {
    if let Some(identity) = read(database, IDENTITY)? {
        return Ok(identity);
    }
    let identity = Identity::new(now, entropy);
    keep(database, &identity)?;
    Ok(identity)
}

/// Writes the identity and syncs it to disk.
pub(super) fn keep(database: &Database, identity: &Identity) -> Result<(), StoreError> {
    write(database, IDENTITY, identity)
}

/// The identity with shared secrets, if one was kept.
pub(super) fn shared(database: &Database) -> Result<Option<Identity>, StoreError> {
    read(database, SHARED)
}

/// Writes the identity with shared secrets and syncs it to disk.
pub(super) fn keep_shared(database: &Database, identity: &Identity) -> Result<(), StoreError> {
    write(database, SHARED, identity)
}

fn read(database: &Database, key: &[u8]) -> Result<Option<Identity>, StoreError> {
    let meta = keyspace(database, META)?;
    let row = meta.get(key).map_err(|source| StoreError::Read { what: "the identity", source })?;
    let Some(row) = row else { return Ok(None) };
    let row = StoredIdentity::decode(row.as_ref()).map_err(|error| damaged(META, key, error))?;
    Identity::from_row(&row).map(Some).ok_or_else(|| damaged(META, key, "a field has the wrong length"))
}

fn write(database: &Database, key: &[u8], identity: &Identity) -> Result<(), StoreError> {
    let meta = keyspace(database, META)?;
    let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&meta, key, identity.to_row().encode_to_vec());
    batch.commit().map_err(|source| StoreError::Commit { what: "the identity", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_with_and_without_a_previous_key() {
        let mut identity = Identity::new(WallMs(1), &Entropy::seeded(1));
        assert_eq!(Identity::from_row(&identity.to_row()).as_ref(), Some(&identity));
        identity.previous_token_key = Some(TokenKey { id: 255, secret: Secret([3; 32]) });
        assert_eq!(Identity::from_row(&identity.to_row()), Some(identity));
    }

    #[test]
    fn an_old_key_is_replaced_and_goes_on_opening() {
        let identity = Identity::new(WallMs(1_000), &Entropy::seeded(1));
        let entropy = Entropy::seeded(2);
        assert_eq!(identity.rotated(100, WallMs(1_099), &entropy), None);
        let rotated = identity.rotated(100, WallMs(1_100), &entropy).expect("it is old");
        assert_eq!(rotated.previous_token_key, Some(identity.token_key));
        assert_ne!(rotated.token_key, identity.token_key);
        assert_eq!(rotated.token_key_made_at, WallMs(1_100));
        assert_eq!(rotated.server_id, identity.server_id);
        assert_eq!(Identity::from_row(&rotated.to_row()), Some(rotated));
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret([65; 32])), "Secret(..)");
    }
}
