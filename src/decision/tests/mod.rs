//! Decisions against brute force, in every layout, in two processes, and made again from what they recorded.

mod brute_force;
mod equals;
mod explanations;
mod layouts;
mod world;

use std::sync::Arc;

use world::{Chance, NOW, World};

use super::*;
use crate::catalog::Snapshot;
use crate::model::{AdBreakRequest, ListenerState};

/// One decision of the world, made anew.
fn decided(
    snapshot: &Snapshot,
    spending: &Spending,
    request: &AdBreakRequest,
    listener: &ListenerState,
    excluded: &Excluded,
) -> Decision {
    let resolved = snapshot.resolve(&Arc::new(request.clone()), NOW);
    let mut scratch = Scratch::new();
    decide(snapshot, &resolved, listener, spending, excluded, NOW, Seed::of(request), &mut scratch).clone()
}
