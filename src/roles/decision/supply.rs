//! What decision servers tell accounting: what was drawn, and how much could have been.
//!
//! How many breaks a line item was eligible for is not known on the request path, because the scan stops early. One break in some hundred is
//! evaluated again on a thread of its own, to the end of the scan, and each line item that was eligible before its throttle and its money were
//! looked at counts for all the breaks that the sample stands for.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::Sample;
use crate::caps::strict;
use crate::catalog::{CatalogPublisher, LineSlot, Snapshot};
use crate::decision::{DrawnTotals, Excluded, Scratch, Seed, Spending, survey};
use crate::model::{BootId, LineItemId, ListenerState, Now, ServerId, Tier};
use crate::roles::accounting::{LeaseLeft, LineReport, ServerReport};

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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LineItemId, u64>> {
        // Counts stay right whatever panicked beside them.
        self.eligible.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a report of what changed since the one before.
#[derive(Debug)]
pub struct Reporter {
    server_id: ServerId,
    boot_id: BootId,
    supply: Arc<Supply>,
    spending: Arc<Spending>,
    reported: HashMap<LineSlot, (DrawnTotals, u64)>,
}

impl Reporter {
    /// A reporter of these sums of that run of a server.
    #[must_use]
    pub fn new(server_id: ServerId, boot_id: BootId, supply: Arc<Supply>, spending: Arc<Spending>) -> Self {
        Self { server_id, boot_id, supply, spending, reported: HashMap::new() }
    }

    /// The line items of which something changed since the last report. Whoever carries it says how long it was on its way.
    pub fn report(&mut self, snapshot: &Snapshot, now: Now) -> ServerReport {
        let eligible = self.supply.lock();
        let mut lines = Vec::new();
        for entry in snapshot.lines() {
            let drawn = self.spending.totals(entry.slot);
            let seen = (drawn, eligible.get(&entry.line_item.id).copied().unwrap_or(0));
            if seen == (DrawnTotals::default(), 0) || self.reported.insert(entry.slot, seen) == Some(seen) {
                continue;
            }
            let lease = self.spending.read(entry.slot, now).lease;
            lines.push(LineReport {
                line_item_id: entry.line_item.id,
                drawn: drawn.drawn,
                drawn_count: drawn.count,
                eligible: seen.1,
                lease: lease.map(|lease| LeaseLeft {
                    lease_id: lease.lease_id,
                    left: lease.left,
                    ordinals_left: lease.ordinals_left,
                }),
            });
        }
        ServerReport { server_id: self.server_id, boot_id: self.boot_id, at: now, transit_ms: 0, lines }
    }
}
