//! API keys: who may call, kept as a keyed digest of the secret.
//!
//! A key's text is `sgk_` and 64 characters of base64url: the key's id (16 bytes) and 256 random bits. The id finds the record, the
//! digest of the bits is compared in constant time. The text is shown once, when the key is made, and can't be recovered.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use super::Secret;
use crate::model::{Actor, AdvertiserId, ApiKeyId, AppKey, NetworkId, Role, WallMs};

/// How every key's text begins, so that scanners for leaked secrets can know it.
const PREFIX: &str = "sgk_";
/// Bytes behind the prefix: id and secret.
const KEY_BYTES: usize = 48;

/// The text of a key. Prints as dots; [`reveal`](Self::reveal) gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(String);

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The network that it belongs to.
    pub network_id: NetworkId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Keyed BLAKE3 digest of the secret bits.
    pub digest: [u8; 32],
    /// When it was made.
    pub created_at: WallMs,
    /// From when on it opens nothing; for good.
    pub revoked_at: Option<WallMs>,
}

/// All keys by id, and what their digests are keyed with.
#[derive(Clone)]
pub struct KeyRing {
    digest_secret: Secret,
    keys: HashMap<ApiKeyId, ApiKey>,
}

impl KeySecret {
    /// The text that the key's holder sends.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

impl KeyRing {
    /// A ring of no keys.
    #[must_use]
    pub fn new(digest_secret: Secret) -> Self {
        Self { digest_secret, keys: HashMap::new() }
    }

    /// A new key from 256 random bits; it is not on the ring yet.
    #[must_use]
    pub fn make(
        &self,
        id: ApiKeyId,
        network_id: NetworkId,
        name: String,
        role: Role,
        bits: [u8; 32],
        now: WallMs,
    ) -> (ApiKey, KeySecret) {
        let mut text = [0; KEY_BYTES];
        text[..16].copy_from_slice(&id.to_bytes());
        text[16..].copy_from_slice(&bits);
        let secret = KeySecret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(text)));
        let digest = *self.digest(&bits).as_bytes();
        (ApiKey { id, network_id, name, role, digest, created_at: now, revoked_at: None }, secret)
    }

    /// Puts a key on the ring, in place of an earlier state of it.
    pub fn put(&mut self, key: ApiKey) {
        self.keys.insert(key.id, key);
    }

    /// The key of that id.
    #[must_use]
    pub fn get(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.keys.get(&id)
    }

    /// The keys of a network, oldest first.
    #[must_use]
    pub fn of_network(&self, network_id: NetworkId) -> Vec<&ApiKey> {
        let mut keys: Vec<_> = self.keys.values().filter(|key| key.network_id == network_id).collect();
        keys.sort_unstable_by_key(|key| key.id);
        keys
    }

    /// How many keys there are, revoked ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whoever holds the key of that text; `None` when the text is no key, a wrong one, or a revoked one. The three can't be told
    /// apart by the answer.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<Actor> {
        let mut bytes = [0; KEY_BYTES];
        let encoded = text.strip_prefix(PREFIX)?;
        if URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()? != KEY_BYTES {
            return None;
        }
        let (id, bits) = bytes.split_at(16);
        let key = self.keys.get(&ApiKeyId::from_bytes(id.try_into().ok()?))?;
        // Comparing `blake3::Hash` takes the same time wherever the difference is.
        let right = self.digest(bits) == blake3::Hash::from_bytes(key.digest);
        (right && key.revoked_at.is_none()).then(|| Actor {
            key_id: key.id,
            network_id: key.network_id,
            role: key.role.clone(),
        })
    }

    fn digest(&self, bits: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.digest_secret.0, bits)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

/// A key's row in the store. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredKey {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    network_id: Vec<u8>,
    #[prost(string, tag = "3")]
    name: String,
    /// The role's wire name.
    #[prost(string, tag = "4")]
    role: String,
    /// Present for an advertiser's key.
    #[prost(bytes = "vec", tag = "5")]
    advertiser_id: Vec<u8>,
    /// Present for an app's key.
    #[prost(string, tag = "6")]
    app: String,
    #[prost(bytes = "vec", tag = "7")]
    digest: Vec<u8>,
    #[prost(sint64, tag = "8")]
    created_at_ms: i64,
    #[prost(sint64, optional, tag = "9")]
    revoked_at_ms: Option<i64>,
}

impl StoredKey {
    pub(super) fn from_key(key: &ApiKey) -> Self {
        let (advertiser_id, app) = match &key.role {
            Role::Advertiser(id) => (id.to_bytes().to_vec(), String::new()),
            Role::App(app) => (Vec::new(), app.as_str().to_owned()),
            Role::Operator | Role::Viewer => (Vec::new(), String::new()),
        };
        Self {
            id: key.id.to_bytes().to_vec(),
            network_id: key.network_id.to_bytes().to_vec(),
            name: key.name.clone(),
            role: key.role.name().to_owned(),
            advertiser_id,
            app,
            digest: key.digest.to_vec(),
            created_at_ms: key.created_at.0,
            revoked_at_ms: key.revoked_at.map(|at| at.0),
        }
    }

    /// The key, or `None` when a field can't be right.
    pub(super) fn into_key(self) -> Option<ApiKey> {
        let role = match self.role.as_str() {
            "operator" => Role::Operator,
            "viewer" => Role::Viewer,
            "advertiser" => Role::Advertiser(AdvertiserId::from_bytes(self.advertiser_id.as_slice().try_into().ok()?)),
            "app" => Role::App(AppKey::new(&self.app)?),
            _ => return None,
        };
        Some(ApiKey {
            id: ApiKeyId::from_bytes(self.id.as_slice().try_into().ok()?),
            network_id: NetworkId::from_bytes(self.network_id.as_slice().try_into().ok()?),
            name: self.name,
            role,
            digest: self.digest.as_slice().try_into().ok()?,
            created_at: WallMs(self.created_at_ms),
            revoked_at: self.revoked_at_ms.map(WallMs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_with(role: Role) -> (KeyRing, ApiKey, KeySecret) {
        let mut ring = KeyRing::new(Secret([9; 32]));
        let id = ApiKeyId::at(WallMs(5), [1; 10]);
        let (key, secret) = ring.make(id, NetworkId::from_u128(1), "a key".into(), role, [7; 32], WallMs(5));
        ring.put(key.clone());
        (ring, key, secret)
    }

    #[test]
    fn the_right_text_opens_and_every_other_does_not() {
        let (mut ring, mut key, secret) = ring_with(Role::Viewer);
        let text = secret.reveal().to_owned();
        assert_eq!(ring.open(&text).map(|actor| actor.key_id), Some(key.id));
        for index in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[index] = if wrong[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(ring.open(&String::from_utf8(wrong).expect("ASCII")), None, "byte {index}");
        }
        for wrong in ["", "sgk_", &text[..text.len() - 1], &format!("{text}A"), &text[4..], &text.to_uppercase()] {
            assert_eq!(ring.open(wrong), None, "{wrong}");
        }
        key.revoked_at = Some(WallMs(6));
        ring.put(key);
        assert_eq!(ring.open(&text), None);
    }

    #[test]
    fn a_digest_under_another_secret_opens_nothing() {
        let (ring, key, secret) = ring_with(Role::Operator);
        let mut other = KeyRing::new(Secret([8; 32]));
        other.put(key);
        assert!(ring.open(secret.reveal()).is_some());
        assert_eq!(other.open(secret.reveal()), None);
    }

    #[test]
    fn rows_round_trip() {
        let app = AppKey::new("player").expect("a key");
        for role in [Role::Operator, Role::Viewer, Role::Advertiser(AdvertiserId::from_u128(4)), Role::App(app)] {
            let (_, mut key, _) = ring_with(role);
            assert_eq!(StoredKey::from_key(&key).into_key().as_ref(), Some(&key));
            key.revoked_at = Some(WallMs(0));
            assert_eq!(StoredKey::from_key(&key).into_key(), Some(key));
        }
    }
}
