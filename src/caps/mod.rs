//! Frequency caps: exact sliding windows over what a listener was decided or heard, and over the pod being filled.
//!
//! An exposure counts in a window while `now - at < window`; one that is only reserved counts until its reservation ends. The ads already
//! chosen for the pod being filled count in every window, because they will be exposures a moment later. Nothing here allocates: one pass
//! over at most [`ListenerState::MAX_EXPOSURES`](crate::model::ListenerState::MAX_EXPOSURES) rows, of which a binary search skips those that are
//! too old. The tests hold it equal to a naive count over an unsorted history.
//!
//! [`strict`] is what makes a strict cap exact: which exposures are kept where nothing is forgotten, and the conditional write that keeps them.

pub mod strict;
mod window;

pub use window::{CapHit, CapSubject, allows, check, count};
