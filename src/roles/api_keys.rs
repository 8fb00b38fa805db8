//! The API keys as they are now, for all who check them: read on every request, changed a few times a day.
//!
//! Where servers share the catalogue, keys don't travel by the change feed: whoever may read `segue.catalog` would learn names, roles and digests of all
//! keys. Each server reads them from the store at its start, and looks every second whether they have changed ([`KeyWatch`]), at the cost of one small
//! read. So a key that is made or revoked through one server is known to all within [`KNOWN_WITHIN_MS`], while the store answers. While it does not, a server
//! goes on with the keys that it has, and says so in its log.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::store::{ApiKey, CatalogStore, KeyRing, KeysSeen, Secret, StoreError};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Within this a server that shares the catalogue knows of a new or revoked key, while the store answers: a look, and what the look takes.
pub const KNOWN_WITHIN_MS: u64 = 2_000;

/// The keys as they are now. Cheap to clone; clones are the same keys.
#[derive(Clone, Debug)]
pub struct LiveKeys(Arc<ArcSwap<KeyRing>>);

impl LiveKeys {
    /// These keys.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(ring)))
    }

    /// All keys of a store that servers share, for a server that needs nothing else of it. What they were digested with comes from the store.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be read.
    pub fn open(store: &impl CatalogStore, own_secret: Secret) -> Result<Self, StoreError> {
        let keys = Self::new(KeyRing::new(shared_secret(store, own_secret)?));
        keys.put(store.changed_keys(&mut KeysSeen::new())?);
        Ok(keys)
    }

    /// The keys.
    #[must_use]
    pub fn load(&self) -> Arc<KeyRing> {
        self.0.load_full()
    }

    /// Puts keys there that are new or changed. A key that is revoked stays so, in whatever order its states come.
    pub fn put(&self, keys: impl IntoIterator<Item = ApiKey>) {
        let keys: Vec<ApiKey> = keys.into_iter().collect();
        if keys.is_empty() {
            return;
        }
        self.0.rcu(|ring| {
            let mut ring = KeyRing::clone(ring);
            for key in &keys {
                if ring.get(key.id).is_none_or(|known| known.revoked_at.is_none()) {
                    ring.put(key.clone());
                }
            }
            ring
        });
    }
}

/// The name by which servers agree on what keys are digested with.
const API_KEY_SECRET: &str = "api_key_secret";

/// What keys are digested with: of a server alone its own secret, of servers that share the catalogue that of the first.
///
/// # Errors
/// [`StoreError`] when it can't be read.
pub fn shared_secret(store: &impl CatalogStore, own: Secret) -> Result<Secret, StoreError> {
    agreed_secret(store, API_KEY_SECRET, own)
}

/// The secret of that name: of a server alone its own, of servers that share the catalogue that of the first.
///
/// # Errors
/// [`StoreError`] when it can't be read.
pub fn agreed_secret(store: &impl CatalogStore, name: &'static str, own: Secret) -> Result<Secret, StoreError> {
    let agreed = store.agree(name, &own.0)?;
    let reason = "a secret has 32 bytes";
    agreed.try_into().map(Secret).map_err(|_| crate::store::damaged("catalogue_agreed", name.as_bytes(), reason))
}

/// The thread that looks whether keys have changed. It ends when this is dropped.
#[derive(Debug)]
pub struct KeyWatch {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyWatch {
    /// Starts to look.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    #[must_use]
    pub fn start(store: impl CatalogStore, keys: LiveKeys) -> Self {
        let (stop, stopped) = sync_channel(0);
        let look = move || {
            let mut seen = KeysSeen::new();
            let mut failing = false;
            loop {
                match store.changed_keys(&mut seen) {
                    Ok(changed) => {
                        keys.put(changed);
                        failing = false;
                    }
                    Err(error) if !failing => {
                        failing = true;
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "API keys can't be read; the ones known stay in force"
                        );
                    }
                    Err(_) => {}
                }
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        // A thread of its own: a look waits for the store.
        let thread = std::thread::Builder::new()
            .name("segue-api-keys".to_owned())
            .spawn(look)
            .expect("the operating system gives a thread at start");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that reads API keys ended in a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ApiKeyId, NetworkId, Role, WallMs};

    #[test]
    fn a_revoked_key_is_not_brought_back_by_news_that_come_late() {
        let ring = KeyRing::new(Secret([3; 32]));
        let (id, network_id) = (ApiKeyId::from_u128(1), NetworkId::from_u128(2));
        let (key, secret) = ring.make(id, network_id, "one".into(), Role::Viewer, [7; 32], WallMs(5));
        let keys = LiveKeys::new(ring);
        keys.put([key.clone()]);
        assert!(keys.load().open(secret.reveal()).is_some());
        keys.put([ApiKey { revoked_at: Some(WallMs(9)), ..key.clone() }]);
        keys.put([key]);
        assert_eq!(keys.load().open(secret.reveal()), None);
    }
}
