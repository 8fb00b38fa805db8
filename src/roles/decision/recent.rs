//! The breaks sampled lately, for whoever asks why a line item does not deliver.
//!
//! A ring: the last [`SAMPLES_MAX`] breaks, none older than [`KEPT_MS`], at most [`BYTES_MAX`] of them. They are what supply evaluates anyway, so the path of requests
//! pays nothing and the sampling thread a copy. They lie in memory only, without anything that says who listened (`decision::SampledBreak`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::{CatalogPublisher, Snapshot};
use crate::decision::{SampledBreak, Spending};
use crate::model::{NetworkId, Now};

/// Most breaks that are remembered: shares of a thousand are right to three in a hundred, and an answer judges one line item against that many at most.
pub const SAMPLES_MAX: usize = 1_024;
/// Longest that one is remembered, in milliseconds.
pub const KEPT_MS: u64 = 3_600_000;
/// Most bytes that they may take. Five bytes a line item that was eligible, and what the request and the listener's exposures
/// take: by `decision::ENDS_MAX` some 400 kB at most, and then there are a hundred and sixty of them.
pub const BYTES_MAX: usize = 64 << 20;

/// The breaks sampled lately.
#[derive(Debug, Default)]
pub struct RecentBreaks {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Oldest first.
    breaks: VecDeque<Arc<SampledBreak>>,
    bytes: usize,
}

/// What a diagnosis reads of the decision role.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The breaks sampled lately.
    pub recent: Arc<RecentBreaks>,
    /// The catalogue.
    pub catalog: Arc<CatalogPublisher>,
    /// Throttles and leases.
    pub spending: Arc<Spending>,
}

impl Sight {
    /// The newest catalogue.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.load_full()
    }
}

impl RecentBreaks {
    /// Remembers one more, and forgets what is too old or too much.
    pub fn note(&self, sampled: SampledBreak) {
        let now = sampled.now();
        let mut ring = self.lock();
        ring.bytes = ring.bytes.saturating_add(sampled.bytes());
        ring.breaks.push_back(Arc::new(sampled));
        while ring.breaks.len() > SAMPLES_MAX || ring.bytes > BYTES_MAX {
            if !ring.forget_oldest() {
                break;
            }
        }
        ring.forget_old(now);
    }

    /// Those of a network, oldest first.
    #[must_use]
    pub fn of_network(&self, network_id: NetworkId, now: Now) -> Vec<Arc<SampledBreak>> {
        let mut ring = self.lock();
        ring.forget_old(now);
        ring.breaks.iter().filter(|one| one.network_id() == network_id).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A ring that a panic left is a ring with a break more or less.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn forget_old(&mut self, now: Now) {
        let is_old = |one: &Arc<SampledBreak>| now.monotonic.0.saturating_sub(one.now().monotonic.0) > KEPT_MS;
        while self.breaks.front().is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    /// False when there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.breaks.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(oldest.bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Decision, diagnosis_samples as samples};
    use crate::model::{ListenerState, MonotonicMs, Pseudonym, WallMs};

    fn sampled(at_ms: u64, segments: usize) -> SampledBreak {
        let mut request = samples::request();
        request.facts.segments = vec!["x".repeat(100); segments];
        let now = Now { wall: WallMs(1_000_000), monotonic: MonotonicMs(at_ms) };
        let nobody = ListenerState::new(Pseudonym([0; 16]));
        SampledBreak::new(&request, &nobody, now, 1, (&Snapshot::empty(), &Decision::default()))
    }

    fn at(ms: u64) -> Now {
        Now { wall: WallMs(1_000_000), monotonic: MonotonicMs(ms) }
    }

    #[test]
    fn what_is_too_many_too_old_or_too_much_is_forgotten() {
        let recent = RecentBreaks::default();
        let count = |now: u64| recent.of_network(samples::request().network_id, at(now)).len();
        for n in 0..2 * SAMPLES_MAX as u64 {
            recent.note(sampled(n, 0));
        }
        assert_eq!(count(5_000), SAMPLES_MAX);
        assert_eq!(recent.of_network(NetworkId::from_u128(999), at(5_000)).len(), 0);
        assert_eq!(count(KEPT_MS + 2 * SAMPLES_MAX as u64 - 10), 10, "the hour of all but ten is over");
        assert_eq!(count(2 * KEPT_MS), 0);
        assert_eq!(recent.lock().bytes, 0, "nothing of what was forgotten is counted");
        for n in 0..300 {
            recent.note(sampled(2 * KEPT_MS + n, 10_000));
        }
        let kept = recent.lock();
        assert!(kept.bytes <= BYTES_MAX && kept.breaks.len() < 60, "{} bytes, {}", kept.bytes, kept.breaks.len());
        assert_eq!(kept.bytes, kept.breaks.iter().map(|one| one.bytes()).sum::<usize>());
    }
}
