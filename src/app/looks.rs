//! What the process's health is judged by, where it is the same however the roles are put together.

use std::sync::Arc;

use crate::roles::decision::LeaseKeeper;
use crate::roles::health::Look;

/// A part that must not end by itself.
pub(super) fn goes_on(has_ended: impl Fn() -> bool + Send + Sync + 'static) -> Look {
    Box::new(move || if has_ended() { Err("ended".to_owned()) } else { Ok(()) })
}

/// Accounting must give this server leases.
pub(super) fn gets_leases(leases: &Arc<LeaseKeeper>) -> Look {
    let leases = Arc::clone(leases);
    Box::new(move || leases.refused().map_or(Ok(()), |refusal| Err(refusal.to_string())))
}
