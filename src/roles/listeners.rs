//! Listeners for the roles that run on a request's thread: memory first, then the store.

use std::sync::Arc;

use crate::model::{ListenerKey, ListenerState, WallMs};
use crate::store::{Listener, Listeners, StoreError};

/// Why a listener's state can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The rows could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that read them ended early.
    #[error("the read was given up")]
    GivenUp,
}

/// The listeners, for asynchronous callers.
#[derive(Clone, Debug)]
pub struct ListenerAccess {
    listeners: Arc<Listeners>,
}

impl ListenerAccess {
    /// Access to these listeners.
    #[must_use]
    pub const fn new(listeners: Arc<Listeners>) -> Self {
        Self { listeners }
    }

    /// The listeners themselves.
    #[must_use]
    pub const fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// The listener; on a miss their rows are read. Who stops waiting does not end the read: the next one finds it done.
    ///
    /// # Errors
    /// [`ListenerError`] when the rows can't be read.
    pub async fn get(&self, key: ListenerKey, now: WallMs) -> Result<Arc<Listener>, ListenerError> {
        if let Some(listener) = self.listeners.cached(key, now) {
            return Ok(listener);
        }
        let listeners = Arc::clone(&self.listeners);
        tokio::spawn(async move { listeners.load(key, now).await })
            .await
            .map_err(|_| ListenerError::GivenUp)?
            .map_err(ListenerError::Store)
    }

    /// Changes a listener's state, alone.
    ///
    /// # Errors
    /// [`ListenerError`] when the rows can't be read.
    pub async fn change<R>(
        &self,
        key: ListenerKey,
        now: WallMs,
        change: impl FnOnce(&mut ListenerState) -> R,
    ) -> Result<R, ListenerError> {
        let listener = self.get(key, now).await?;
        Ok(self.listeners.with(&listener, change))
    }

    /// Forgets a listener. Once begun it goes on, also when nobody waits for it any more.
    ///
    /// # Errors
    /// [`ListenerError`] when the rows could not be deleted.
    pub async fn forget(&self, key: ListenerKey, now: WallMs) -> Result<(), ListenerError> {
        let listeners = Arc::clone(&self.listeners);
        tokio::spawn(async move { listeners.forget(key, now).await })
            .await
            .map_err(|_| ListenerError::GivenUp)?
            .map_err(ListenerError::Store)
    }
}
