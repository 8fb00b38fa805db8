//! Both asked the same, each listener timed on its own.
//!
//! The time is the processor's of this thread, and the least of three passes: on a shared machine what is more is another's. The two take turns
//! pass by pass, so that what the machine does meanwhile meets both. Both are given a listener in their own terms (values in numbers), and both
//! write out dense numbers of line items: what one question costs, with no word of the wire in it. What making these terms costs stands beside it.

use std::time::Duration;

use anyhow::ensure;
use segue::catalog::{CatalogWriter, LineSlot, ScanScratch, Snapshot};
use segue::clock::Clock;
use segue::model::Now;
use segue::workload::reference::{Profile, ReferenceBreak, ReferenceCatalogue, Shares};
use segue_figures::{PASSES, Times};

use crate::tree::Tree;

/// What a pod needs.
const BEST: usize = 16;

/// Which catalogue, and how many listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) profile: Profile,
    pub(crate) line_items: usize,
    pub(crate) listeners: usize,
    pub(crate) seed: u64,
}

/// What was measured of one catalogue.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) shares: Shares,
    pub(crate) build_seconds: (f64, f64),
    /// Segue: all that match.
    pub(crate) all: Times,
    /// Segue: the best 16.
    pub(crate) best: Times,
    /// Segue: the request in numbers.
    pub(crate) resolve: Times,
    /// a-tree: all that match.
    pub(crate) tree_all: Times,
    /// a-tree: the request as an event.
    pub(crate) tree_event: Times,
}

/// Builds both, asserts that they answer alike, and times them.
pub(crate) fn measure(asked: Asked) -> anyhow::Result<Measured> {
    let catalogue = ReferenceCatalogue::generate(asked.profile, asked.line_items, asked.seed);
    let breaks = ReferenceCatalogue::breaks(asked.profile, asked.listeners, asked.seed);
    let (snapshot, segue_seconds) = seconds(|| {
        let mut writer = CatalogWriter::new();
        writer.apply(1, catalogue.clone().into_entities());
        writer.rebuild()
    });
    eprintln!("{} {}: the index took {segue_seconds:.2} s", asked.profile.name(), asked.line_items);
    let (tree, tree_seconds) = seconds(|| Tree::build(&catalogue.line_items));
    let tree = tree?;
    eprintln!("{} {}: the tree took {tree_seconds:.2} s", asked.profile.name(), asked.line_items);
    let matches = answers_agree(&catalogue, &snapshot, &tree, &breaks)?;
    let shares = Shares::of(asked.profile, &catalogue, matches, breaks.len());
    let timed = timed(&snapshot, &tree, &breaks)?;
    let [all, best, resolve, tree_all, tree_event] = timed.map(Times::of);
    Ok(Measured { shares, build_seconds: (segue_seconds, tree_seconds), all, best, resolve, tree_all, tree_event })
}

/// Asserts for every listener that both find the same line items; returns how many.
fn answers_agree(
    catalogue: &ReferenceCatalogue,
    snapshot: &Snapshot,
    tree: &Tree,
    breaks: &[ReferenceBreak],
) -> anyhow::Result<usize> {
    let (mut scratch, mut slots, mut positions) = (ScanScratch::new(), Vec::new(), Vec::new());
    let mut matches = 0;
    for (listener, one) in breaks.iter().enumerate() {
        scan(snapshot, one, usize::MAX, &mut scratch, &mut slots);
        tree.search(&tree.event(one)?, &mut positions);
        let mut found: Vec<_> = slots.iter().map(|slot| snapshot.line(*slot).line_item.id).collect();
        let mut theirs: Vec<_> = positions.iter().map(|place| catalogue.line_items[*place as usize].id).collect();
        found.sort_unstable();
        theirs.sort_unstable();
        ensure!(found == theirs, "listener {listener}: {} found, the tree finds {}", found.len(), theirs.len());
        matches += found.len();
    }
    Ok(matches)
}

/// The least that each listener took: all, the best, the request resolved; of the tree all, and the event made.
fn timed(snapshot: &Snapshot, tree: &Tree, breaks: &[ReferenceBreak]) -> anyhow::Result<[Vec<Duration>; 5]> {
    let mut least = [const { Vec::new() }; 5].map(|_: Vec<Duration>| vec![Duration::MAX; breaks.len()]);
    let (mut scratch, mut slots, mut positions) = (ScanScratch::new(), Vec::new(), Vec::new());
    for pass in 1..=PASSES {
        for (listener, one) in breaks.iter().enumerate() {
            let [all, best, resolve, ..] = scans(snapshot, one, &mut scratch, &mut slots);
            for (place, took) in [all, best, resolve].into_iter().enumerate() {
                least[place][listener] = least[place][listener].min(took);
            }
        }
        for (listener, one) in breaks.iter().enumerate() {
            let (event, making) = timed_cpu(|| tree.event(one));
            let event = event?;
            let ((), searching) = timed_cpu(|| tree.search(&event, &mut positions));
            for (place, took) in [(3, searching), (4, making)] {
                least[place][listener] = least[place][listener].min(took);
            }
        }
        eprintln!("  pass {pass} of {PASSES}");
    }
    Ok(least)
}

/// The time of all, the best and the request resolved.
fn scans(
    snapshot: &Snapshot,
    one: &ReferenceBreak,
    scratch: &mut ScanScratch,
    slots: &mut Vec<LineSlot>,
) -> [Duration; 3] {
    let now = Now { wall: one.at, ..Now::default() };
    let (resolved, resolving) = timed_cpu(|| snapshot.resolve(&one.request, now));
    let mut ask = |most: usize| {
        let ((), took) = timed_cpu(|| take(snapshot, &resolved, most, scratch, slots));
        took
    };
    [ask(usize::MAX), ask(BEST), resolving]
}

fn scan(snapshot: &Snapshot, one: &ReferenceBreak, most: usize, scratch: &mut ScanScratch, slots: &mut Vec<LineSlot>) {
    let resolved = snapshot.resolve(&one.request, Now { wall: one.at, ..Now::default() });
    take(snapshot, &resolved, most, scratch, slots);
}

/// Writes out the best so many.
fn take(
    snapshot: &Snapshot,
    resolved: &segue::catalog::ResolvedBreak,
    most: usize,
    scratch: &mut ScanScratch,
    slots: &mut Vec<LineSlot>,
) {
    let mut scan = snapshot.scan(resolved, scratch);
    slots.clear();
    slots.extend(std::iter::from_fn(|| scan.next()).take(most).map(|candidate| candidate.slot));
}

fn seconds<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let watch = Clock::real().cpu_stopwatch();
    let result = work();
    (result, watch.elapsed_seconds())
}

fn timed_cpu<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let (result, took) = seconds(work);
    (result, Duration::from_secs_f64(took))
}
