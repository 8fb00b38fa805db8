//! How much of each line item could have been served.
//!
//! How many breaks a line item was eligible for is not known on the request path, because the scan stops early. One break in some hundred is
//! evaluated again on a thread of its own, to the end of the scan, and each line item that was eligible before its throttle and its money were
//! looked at counts for all the breaks that the sample stands for.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use super::Sample;
use crate::caps::strict;
use crate::catalog::{CatalogPublisher, Snapshot};
use crate::decision::{Excluded, Scratch, Seed, Spending, survey};
use crate::model::{LineItemId, ListenerState, Tier};

/// How often each line item could have been served, since the start.
#[derive(Debug, Default)]
pub struct Supply {
    eligible: Mutex<HashMap<LineItemId, u64>>,
}

impl Supply {
    /// Evaluates samples until their queue is closed. Each stands for `one_in` breaks.
    pub fn run(&self, samples: &Receiver<Sample>, one_in: u64, catalog: &CatalogPublisher, spending: &Spending) {
        let mut scratch = Scratch::new();
        while let Ok(sample) = samples.recv() {
            self.count(&sample, one_in, &catalog.load_full(), spending, &mut scratch);
        }
    }

    /// Evaluates one sample.
    fn count(&self, sample: &Sample, one_in: u64, snapshot: &Snapshot, spending: &Spending, scratch: &mut Scratch) {
        let resolved = snapshot.resolve(&sample.request, sample.now);
        let seed = Seed::of(&sample.request);
        let none = Excluded::default();
        // As the decision saw them, but for strict caps that could not be kept just then: those breaks could have been had.
        let exposures = strict::counted(&sample.listener.exposures, &sample.listener.strict);
        let known = ListenerState { exposures, ..sample.listener.clone() };
        let decision = survey(snapshot, &resolved, &known, spending, &none, sample.now, seed, scratch);
        let mut eligible = self.lock();
        // House line items have no money to pace.
        for read in decision.spend_reads.iter().filter(|read| read.tier != Tier::House) {
            let count = eligible.entry(read.line_item_id).or_default();
            *count = count.saturating_add(one_in);
        }
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LineItemId, u64>> {
        // Counts stay right whatever panicked beside them.
        self.eligible.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
