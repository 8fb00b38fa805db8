//! How much of each line item could have been served.
//!
//! How many breaks a line item was eligible for is not known on the request path, because the scan stops early. One break in some hundred is
//! evaluated again on a thread of its own, to the end of the scan, and each line item that was eligible before its throttle and its money were
//! looked at counts for all the breaks that the sample stands for.
//!
//! Such an evaluation takes as long as a hundred decisions or more where the catalogue is large, so samples have a bounded share of the processor. Those that find
//! it used up are passed over, and the next one that is evaluated stands for their breaks too. Which are passed over hangs on when they came and not on
//! what is in them: the sums stay what they would be, only coarser, and pacing, which looks at their rate over minutes, sees the same supply.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use super::{RecentBreaks, Sample};
use crate::caps::strict;
use crate::catalog::{CatalogPublisher, Snapshot};
use crate::clock::Clock;
use crate::decision::{Excluded, SampledBreak, Scratch, Seed, Spending, survey};
use crate::model::{ListenerState, Tier};

/// Most of one core's time that samples may take.
const CPU_SHARE: f64 = 0.02;
/// Most that is saved up of it while none come, in seconds: some ten evaluations of a large catalogue, one after the other.
const CPU_SAVED_MAX: f64 = 0.1;

/// How often each line item could have been served, since the start.
#[derive(Debug, Default)]
pub struct Supply {
    /// By slot, as long as the greatest that ever could.
    eligible: Mutex<Vec<u64>>,
}

impl Supply {
    /// Evaluates samples until their queue is closed, and remembers them in `recent`. Each stands for `one_in` breaks, and for those of the samples before it
    /// that were passed over.
    pub fn run(
        &self,
        samples: &Receiver<Sample>,
        one_in: u64,
        (catalog, spending): (&CatalogPublisher, &Spending),
        recent: &RecentBreaks,
        clock: &Clock,
    ) {
        let (mut scratch, mut allowance, mut breaks) = (Scratch::new(), Allowance::default(), 0_u64);
        let watch = clock.stopwatch();
        while let Ok(sample) = samples.recv() {
            breaks = breaks.saturating_add(one_in);
            if !allowance.allows(watch.elapsed_seconds()) {
                continue;
            }
            let cpu = clock.cpu_stopwatch();
            let breaks = std::mem::take(&mut breaks);
            let sampled = self.count(&sample, breaks, &catalog.load_full(), spending, &mut scratch);
            // What an operator wished to hear says nothing about anybody else.
            if sample.request.preview.is_none() {
                recent.note(sampled);
            }
            allowance.spend(cpu.elapsed_seconds());
        }
    }

    /// Evaluates one sample, which stands for so many breaks; says what came of it.
    fn count(
        &self,
        sample: &Sample,
        breaks: u64,
        snapshot: &Snapshot,
        spending: &Spending,
        scratch: &mut Scratch,
    ) -> SampledBreak {
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
            let place = read.slot.index();
            if eligible.len() <= place {
                eligible.resize(place + 1, 0);
            }
            eligible[place] = eligible[place].saturating_add(breaks);
        }
        drop(eligible);
        SampledBreak::new(&sample.request, &known, sample.now, breaks, (snapshot, decision))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        // Counts stay right whatever panicked beside them.
        self.eligible.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processor time that samples may still take, in seconds. Below nothing, the last one took more than there was.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: f64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: CPU_SAVED_MAX, at: 0.0 }
    }
}

impl Allowance {
    /// Whether another sample may be evaluated, so many seconds after the start.
    fn allows(&mut self, at: f64) -> bool {
        self.left = (self.left + (at - self.at) * CPU_SHARE).min(CPU_SAVED_MAX);
        self.at = at;
        self.left > 0.0
    }

    /// An evaluation took so many seconds.
    fn spend(&mut self, seconds: f64) {
        self.left -= seconds;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decision::{diagnosis_samples, tally};
    use crate::model::{AdBreakRequest, LineItemId, Preview, Pseudonym};

    /// How many of `per_second` samples, each of so many seconds, are evaluated in `seconds`.
    fn evaluated(per_second: u32, cost: f64, seconds: u32) -> u32 {
        let mut allowance = Allowance::default();
        let mut evaluated = 0;
        for n in 0..per_second * seconds {
            if allowance.allows(f64::from(n) / f64::from(per_second)) {
                allowance.spend(cost);
                evaluated += 1;
            }
        }
        evaluated
    }

    #[test]
    fn samples_take_a_fiftieth_of_a_core_at_most() {
        // 11 ms each, of a hundred thousand line items: 1.8 a second, and what was saved up.
        let many = evaluated(10, 0.011, 1_000);
        assert!((1_815..1_840).contains(&many), "{many}");
        assert_eq!(evaluated(10, 0.001, 1_000), 10_000, "small ones are all evaluated");
        assert_eq!(evaluated(1, 0.011, 1_000), 1_000);
    }

    #[test]
    fn what_is_evaluated_is_remembered_with_all_that_it_stands_for() {
        let (queue, samples) = std::sync::mpsc::sync_channel(8);
        let request = diagnosis_samples::request();
        let preview = Preview { line_item_id: LineItemId::from_u128(1), creative_id: None };
        for preview in [None, Some(preview), None] {
            let request = Arc::new(AdBreakRequest { preview, ..request.clone() });
            let sample =
                Sample { request, listener: ListenerState::new(Pseudonym([1; 16])), now: diagnosis_samples::NOW };
            queue.send(sample).expect("there is room");
        }
        drop(queue);
        let snapshot = diagnosis_samples::Stage::new().snapshot();
        let (catalog, recent) = (CatalogPublisher::new(Arc::clone(&snapshot)), RecentBreaks::default());
        let (clock, _) = Clock::manual(diagnosis_samples::NOW);
        Supply::default().run(&samples, 100, (&catalog, &Spending::new()), &recent, &clock);
        let sampled = recent.of_network(request.network_id, diagnosis_samples::NOW);
        let tally = tally(&snapshot, diagnosis_samples::LINE_ITEM, &sampled).expect("it is there");
        assert_eq!((tally.samples, tally.breaks), (2, 200), "an operator's preview is nobody's break");
        assert_eq!(tally.causes[0].reason, "no_lease");
    }
}
