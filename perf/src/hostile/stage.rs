//! A catalogue that serves, and what its breaks cost.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use segue::catalog::{CatalogWriter, Entity, Snapshot};
use segue::clock::Clock;
use segue::decision::{Excluded, Scratch, Seed, Spending, decide};
use segue::model::{AdBreakRequest, ListenerState, MonotonicMs, Now, Pseudonym, WallMs};
use segue::workload::reference::{Profile, ReferenceCatalogue, Standing, endless_lease, spending_of};
use segue_figures::{PASSES, Times};

/// One bad break comes to so many ordinary ones.
const BAD_EVERY: usize = 10;
const FULL: Standing = Standing { throttle: u64::MAX, leased: true };

/// A break as it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Break {
    pub(crate) request: Arc<AdBreakRequest>,
    pub(crate) at: WallMs,
    pub(crate) listener: ListenerState,
}

/// What serves.
pub(crate) struct Stage {
    pub(crate) catalogue: ReferenceCatalogue,
    pub(crate) ordinary: Vec<Break>,
    snapshot: Arc<Snapshot>,
    spending: Spending,
}

impl Stage {
    /// A midday catalogue and its listeners.
    pub(crate) fn ordinary(line_items: usize, listeners: usize, seed: u64) -> Self {
        let catalogue = ReferenceCatalogue::generate(Profile::Midday, line_items, seed);
        let ordinary = ReferenceCatalogue::breaks(Profile::Midday, listeners, seed).into_iter().map(|one| Break {
            request: one.request,
            at: one.at,
            listener: ListenerState::new(Pseudonym([0; 16])),
        });
        Self::serving(catalogue, ordinary.collect(), Vec::new())
    }

    /// The same with more in it, all of which has money.
    pub(crate) fn with(&self, more: Vec<Entity>) -> Self {
        Self::serving(self.catalogue.clone(), self.ordinary.clone(), more)
    }

    fn serving(catalogue: ReferenceCatalogue, ordinary: Vec<Break>, more: Vec<Entity>) -> Self {
        let theirs = more.iter().filter_map(|entity| match entity {
            Entity::LineItem(line_item) => Some((line_item.id, FULL)),
            Entity::Network(_) | Entity::Advertiser(_) | Entity::Campaign(_) | Entity::Creative(_) => None,
        });
        let standings: Vec<_> = catalogue.standing_of_each().chain(theirs).collect();
        let mut writer = CatalogWriter::new();
        writer.apply(1, catalogue.clone().into_entities().into_iter().chain(more).collect());
        let snapshot = writer.rebuild();
        let spending = spending_of(&snapshot, standings, endless_lease);
        Self { catalogue, ordinary, snapshot, spending }
    }

    /// The processor's time of one break.
    fn ask(&self, one: &Break, clock: &Clock, scratch: &mut Scratch) -> Duration {
        let now = Now { wall: one.at, monotonic: MonotonicMs(1) };
        let watch = clock.cpu_stopwatch();
        let resolved = self.snapshot.resolve(&one.request, now);
        let seed = Seed::of(&one.request);
        let (listener, none) = (&one.listener, Excluded::none());
        let decision = decide(&self.snapshot, &resolved, listener, &self.spending, &none, now, seed, scratch);
        black_box(decision.ads.len());
        Duration::from_secs_f64(watch.elapsed_seconds())
    }
}

/// Microseconds within which 99 in 100 are answered: ordinary breaks alone, ordinary breaks beside the bad ones, and the bad ones. Beside means that one of
/// them comes before every tenth, on the same thread and in the same memory.
pub(crate) fn in_turns(before: &Stage, stage: &Stage, bad: &[Break]) -> [f64; 3] {
    let clock = Clock::real();
    // A thread keeps its memory for all that it decides.
    let mut scratch = [Scratch::new(), Scratch::new()];
    let mut least = [&before.ordinary, &stage.ordinary, bad].map(|breaks: &[Break]| vec![Duration::MAX; breaks.len()]);
    for _ in 0..PASSES {
        for (place, one) in before.ordinary.iter().enumerate() {
            least[0][place] = least[0][place].min(before.ask(one, &clock, &mut scratch[0]));
        }
        for (place, one) in stage.ordinary.iter().enumerate() {
            let turn = place / BAD_EVERY % bad.len().max(1);
            if let Some(worst) = bad.get(turn).filter(|_| place.is_multiple_of(BAD_EVERY)) {
                least[2][turn] = least[2][turn].min(stage.ask(worst, &clock, &mut scratch[1]));
            }
            least[1][place] = least[1][place].min(stage.ask(one, &clock, &mut scratch[1]));
        }
    }
    // Who was never asked has no time.
    least.map(|took| Times::of(took.into_iter().filter(|took| *took != Duration::MAX)).us(0.99))
}
