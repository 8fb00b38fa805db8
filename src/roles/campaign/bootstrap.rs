//! The first start on an empty data directory: a network to play in, and the keys to it.
//!
//! The keys are written to files before they are made durable in the store. So a crash in between leaves files whose keys open nothing
//! and which the next start replaces, never a network to which nobody has a key.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{Action, Author, Entity, Revision};
use crate::entropy::Entropy;
use crate::model::{ApiKeyId, App, AppKey, Micros, Network, NetworkId, Now, Placement, PlacementKey, Role};
use crate::roles::api_keys::shared_secret;
use crate::store::{CatalogStore, Committed, KeyRing, KeySecret, Missed, Secret, StoreError};

/// The operator's key, in the data directory.
pub const OPERATOR_KEY_FILE: &str = "operator.key";
/// The key of the first app, in the data directory.
pub const APP_KEY_FILE: &str = "app.key";
/// The first app's key in the network.
pub const FIRST_APP: &str = "player";
/// The first placement's key in the network.
pub const FIRST_PLACEMENT: &str = "music";

/// What went wrong at the first start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key can't be written down.
    #[error("can't write a key to {path}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Whether this was the first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bootstrap {
    /// A network and its keys were made.
    Made(NetworkId),
    /// The catalogue had content already; nothing was done.
    NotNeeded,
}

/// Fills an empty catalogue with the network `default` (USD, no floor), the app `player`, the placement `music`, an operator's key and
/// the app's key, and writes the keys to `dir`, readable by their owner only. Of servers that share an empty catalogue and start in one moment, one makes
/// the network, and each may write keys, which all open it.
///
/// # Errors
/// [`BootstrapError`] when the store or a key file fails.
pub fn bootstrap(
    dir: &Path,
    store: &impl CatalogStore,
    key_secret: Secret,
    now: Now,
    entropy: &Entropy,
) -> Result<Bootstrap, BootstrapError> {
    if !store.is_empty()? {
        return Ok(Bootstrap::NotNeeded);
    }
    // Of several servers that start first in one moment, all mean the same network, and one makes it.
    let drawn = NetworkId::at(now.wall, entropy.bytes());
    let agreed = store.agree("first_network", &drawn.to_bytes())?;
    let network_id = agreed.try_into().map_or(drawn, NetworkId::from_bytes);
    let network = first_network(network_id);
    let ring = KeyRing::new(shared_secret(store, key_secret)?);
    let mut keys = Vec::new();
    for (name, role, file) in [
        ("first operator", Role::Operator, OPERATOR_KEY_FILE),
        ("first app", Role::App(network.apps[0].key.clone()), APP_KEY_FILE),
    ] {
        let id = ApiKeyId::at(now.wall, entropy.bytes());
        let (key, secret) = ring.make(id, network_id, name.to_owned(), role, entropy.bytes(), now.wall);
        write_key(&dir.join(file), &secret)?;
        keys.push(key);
    }
    let revision = Revision {
        entity: Entity::from(network),
        number: 1,
        created_at: now.wall,
        at: now.wall,
        author: Author::Segue,
        action: Action::Created,
    };
    let revision = Arc::new(revision);
    if store.is_shared() {
        // There the two are no one batch: keys that open nothing are better than a network to which nobody has a key.
        whole(store.commit(0, &[], &keys)?)?;
    }
    let keys = if store.is_shared() { Vec::new() } else { keys };
    match store.commit(1, &[revision], &keys)? {
        // Another server has made it; its keys and these open it.
        made if matches!(made.missed.values().next(), Some(Missed::Stale(_))) => Ok(Bootstrap::NotNeeded),
        made => {
            whole(made)?;
            Ok(Bootstrap::Made(network_id))
        }
    }
}

fn whole(committed: Committed) -> Result<(), StoreError> {
    let missed = committed.missed.into_values().chain(committed.missed_keys.into_values()).next();
    match missed {
        None => Ok(()),
        Some(Missed::Unreachable(error) | Missed::Unknown(error)) => Err(error),
        Some(Missed::Stale(_) | Missed::Untried | Missed::Full { .. } | Missed::TooLarge { .. }) => {
            Err(StoreError::FirstNetwork)
        }
    }
}

fn first_network(id: NetworkId) -> Network {
    Network {
        id,
        name: "default".to_owned(),
        currency: "USD".to_owned(),
        floor_cpm: Micros::ZERO,
        approve_creatives: true,
        apps: vec![App {
            key: AppKey::new(FIRST_APP).expect("visible ASCII characters"),
            name: "First player app".to_owned(),
        }],
        placements: vec![Placement {
            key: PlacementKey::new(FIRST_PLACEMENT).expect("visible ASCII characters"),
            name: "Between tracks".to_owned(),
            floor_cpm: Micros::ZERO,
            max_duration_ms: 120_000,
            max_ads: 4,
            cadence_ms: 0,
            token_life_ms: 3_600_000,
            impression_at_start: false,
        }],
    }
}

/// Writes a key to a file that only its owner reads, whole or not at all, and synced.
fn write_key(path: &Path, secret: &KeySecret) -> Result<(), BootstrapError> {
    let failed = |source| BootstrapError::KeyFile { path: path.to_owned(), source };
    let draft = path.with_extension("key.new");
    // A leftover of a crash may have other rights; a new file gets those asked for.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(failed)?;
    writeln!(file, "{}", secret.reveal()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&draft, path).map_err(failed)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::campaign::{CatalogState, Faults, View, rules};

    #[test]
    fn the_first_network_keeps_the_rules() {
        let mut faults = Faults::new();
        let (state, pending) = (CatalogState::default(), std::collections::BTreeMap::new());
        let network = first_network(NetworkId::from_u128(1));
        rules::check(View::new(&state, &pending), &Entity::from(network), &mut faults);
        assert_eq!(faults.as_slice(), []);
    }
}
