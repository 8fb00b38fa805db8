//! Where readers find the newest snapshot.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::snapshot::Snapshot;

/// Hands the newest snapshot to any number of readers. A reader never waits for the writer, nor the writer for readers.
#[derive(Debug)]
pub struct CatalogPublisher {
    newest: ArcSwap<Snapshot>,
}

impl CatalogPublisher {
    /// Starts with a snapshot.
    #[must_use]
    pub fn new(first: Arc<Snapshot>) -> Self {
        Self { newest: ArcSwap::new(first) }
    }

    /// The newest snapshot, for the length of one decision. Don't keep it: only a few of these at a time are cheap on one thread;
    /// [`load_full`](Self::load_full) is for keeping.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.newest.load()
    }

    /// The newest snapshot, to keep for as long as it is of use.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.newest.load_full()
    }

    /// Makes a snapshot the newest. Returns the one before, so that the caller drops it off the path of requests.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.newest.swap(snapshot)
    }
}

impl Default for CatalogPublisher {
    fn default() -> Self {
        Self::new(Arc::new(Snapshot::empty()))
    }
}
