//! The index against the naive evaluator under swaps: as many pairs of a catalogue's state and a listener as are asked for.
//!
//! Small catalogues live one after the other. In each a writer changes line items at random, builds new bases, and publishes every state; readers in
//! other threads take whatever is newest, and must find exactly what the definition says of the state whose version they hold, in order of rank. What
//! that state is, is kept by version beside the catalogue, before it is published. Most lives have random targeting; some are of the reference
//! catalogue and large enough for shelves. `make pairs PAIRS=1000000` compares more than the tests do; `SEGUE_PAIRS_SEED` others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::oracle_tests::{now, parents, random_line_item, scanned};
use super::*;
use crate::model::*;
use crate::targeting::{naive, testkit};
use crate::workload::Draws;
use crate::workload::reference::{ListenerKind, Profile, ReferenceCatalogue, Source, reference_break};

/// Pairs in a usual run of the tests: some seconds.
const PAIRS: u64 = 30_000;
/// Pairs of a life with random targeting; its versions are kept while it lasts.
const PAIRS_A_LIFE: u64 = 5_000;
/// Readers: they and the writer take turns on few cores, which is where swaps fall in the middle of a scan.
const READERS: u64 = 2;
/// One life in so many is of the reference catalogue, with as many line items as need shelves and, as each pair is then as much work as
/// a hundred others, few pairs.
const REFERENCE_EVERY: u64 = 8;
const REFERENCE_LINE_ITEMS: usize = 9_000;
const REFERENCE_PAIRS: u64 = 500;
/// Line items of the reference catalogue that others become.
const REFERENCE_SPARE: usize = 1_000;

/// Line items that the bulk load of a life lacks.
const UNSEEN: u32 = 3;

/// The line items of one version that are not archived.
type Content = Arc<[Arc<LineItem>]>;

/// What line items and listeners are drawn from.
enum Matter {
    Random,
    /// Targeting to come, and the listeners.
    Reference(Vec<LineItem>, Box<Source>),
}

impl Matter {
    fn of_life(life: u64, seed: u64) -> Self {
        if life % REFERENCE_EVERY != 1 {
            return Self::Random;
        }
        let profile = if life % (2 * REFERENCE_EVERY) == 1 { Profile::Selective } else { Profile::Broad };
        let count = REFERENCE_LINE_ITEMS + REFERENCE_SPARE;
        Self::Reference(ReferenceCatalogue::generate(profile, count, seed).line_items, Box::default())
    }

    fn pairs(&self) -> u64 {
        match self {
            Self::Random => PAIRS_A_LIFE,
            Self::Reference(..) => REFERENCE_PAIRS,
        }
    }

    fn line_items(&self, draws: &mut Draws) -> u32 {
        match self {
            // Every tenth has enough for rows.
            Self::Random if draws.chance(0.1) => draws.between(300, 900),
            Self::Random => draws.between(5, 120),
            Self::Reference(..) => u32::try_from(REFERENCE_LINE_ITEMS).expect("a few thousand"),
        }
    }

    /// A line item of that number, new or another than before.
    fn line_item(&self, number: u32, draws: &mut Draws) -> LineItem {
        let random = random_line_item(u128::from(number) + 1, draws);
        match self {
            Self::Random => random,
            Self::Reference(pool, _) => LineItem { targeting: draws.pick(pool).targeting.clone(), ..random },
        }
    }

    fn request(&self, draws: &mut Draws) -> (Arc<AdBreakRequest>, Now) {
        let network_id = NetworkId::from_u128(1);
        match self {
            Self::Random => (Arc::new(testkit::request(network_id, draws)), now(draws)),
            Self::Reference(_, source) => {
                let kind = *draws.pick(&[ListenerKind::Common, ListenerKind::Rare]);
                let one = reference_break(&source.listener(kind, draws), 0);
                let request = AdBreakRequest { network_id, ..AdBreakRequest::clone(&one.request) };
                (Arc::new(request), Now { wall: one.at, ..Now::default() })
            }
        }
    }
}

/// One life: what is published, and what it should be.
struct World {
    seed: u64,
    matter: Matter,
    newest: CatalogPublisher,
    /// By version.
    contents: RwLock<Vec<Content>>,
    /// Pairs that nobody has begun.
    left: AtomicU64,
}

/// Pairs, and in what states.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    pairs: u64,
    line_items: u64,
    matches: u64,
    with_middle: u64,
    with_delta: u64,
    with_tombstones: u64,
    /// Another snapshot was published between the beginning and the end of the comparison.
    swapped: u64,
    of_reference: u64,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            line_items: self.line_items + other.line_items,
            matches: self.matches + other.matches,
            with_middle: self.with_middle + other.with_middle,
            with_delta: self.with_delta + other.with_delta,
            with_tombstones: self.with_tombstones + other.with_tombstones,
            swapped: self.swapped + other.swapped,
            of_reference: self.of_reference + other.of_reference,
        }
    }
}

impl World {
    fn begin(seed: u64, life: u64, most: u64) -> Self {
        let matter = Matter::of_life(life, seed);
        let left = AtomicU64::new(matter.pairs().min(most));
        let contents = RwLock::new(vec![Content::from([])]);
        Self { seed, matter, newest: CatalogPublisher::default(), contents, left }
    }

    /// Takes one of the pairs that are left. Relaxed: it counts, and orders nothing.
    fn take_pair(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Compares until no pair is left.
    fn read(&self, reader: u64) -> Tally {
        let mut draws = Draws::new(self.seed, 1 + reader);
        let mut scratch = ScanScratch::new();
        let mut tally = Tally::default();
        // A reader that found a difference ends the life for all.
        let _end = End(&self.left);
        while self.take_pair() {
            let snapshot = self.newest.load();
            self.compare(&snapshot, &mut draws, &mut scratch, &mut tally);
            tally.swapped += u64::from(!Arc::ptr_eq(&snapshot, &self.newest.load()));
        }
        tally
    }

    /// INV-11: one listener, in one state.
    fn compare(&self, snapshot: &Snapshot, draws: &mut Draws, scratch: &mut ScanScratch, tally: &mut Tally) {
        let version = usize::try_from(snapshot.version()).expect("a few thousand");
        let content = Arc::clone(&self.contents.read().unwrap_or_else(PoisonError::into_inner)[version]);
        let (request, now) = self.matter.request(draws);
        let resolved = snapshot.resolve(&request, now);
        let mut found = scanned(snapshot, &resolved, scratch);
        found.sort_unstable();
        let matching = content.iter().filter(|one| {
            one.network_id == request.network_id && naive::matches(&one.targeting, &request, &one.flight.zone, now.wall)
        });
        let mut expected: Vec<LineSlot> =
            matching.map(|one| snapshot.slot(one.id).expect("given at first sight")).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "SEED={} version {version}: {request:?} at {now:?}", self.seed);
        let (base, middle, delta) = (&snapshot.base, &snapshot.middle, &snapshot.delta);
        let is_dead = |document: usize| !base.live.contains(document);
        tally.pairs += 1;
        tally.line_items += u64::try_from(content.len()).expect("a few thousand");
        tally.matches += u64::try_from(found.len()).expect("a few thousand");
        tally.with_middle += u64::from(!middle.lines.is_empty());
        tally.with_delta += u64::from(!delta.lines.is_empty());
        tally.with_tombstones += u64::from((0..base.lines.len()).any(is_dead));
        tally.of_reference += u64::from(matches!(self.matter, Matter::Reference(..)));
    }
}

/// Leaves no pair to anybody when it goes.
struct End<'a>(&'a AtomicU64);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Who changes the catalogue of a life.
struct Hand<'a> {
    world: &'a World,
    draws: Draws,
    writer: CatalogWriter,
    /// By number.
    newest: Vec<Option<Arc<LineItem>>>,
    /// A base that is being built, as of some earlier version.
    job: Option<RebuildJob>,
}

impl<'a> Hand<'a> {
    /// With a bulk load, published as version 1.
    fn begin(world: &'a World) -> Self {
        let mut draws = Draws::new(world.seed, 0);
        let size = world.matter.line_items(&mut draws);
        let delta_max = draws.between(1, size).try_into().expect("a few thousand");
        let newest = vec![None; (size + UNSEEN) as usize];
        let mut hand = Self { world, draws, writer: CatalogWriter::with_delta_max(delta_max), newest, job: None };
        hand.publish(1, parents(), (0..size).collect());
        hand
    }

    /// Makes the line items of these numbers new, and publishes that.
    fn publish(&mut self, version: u64, mut entities: Vec<Entity>, numbers: Vec<u32>) {
        for number in numbers {
            let line_item = self.world.matter.line_item(number, &mut self.draws);
            self.newest[number as usize] = Some(Arc::new(line_item.clone()));
            entities.push(Entity::from(line_item));
        }
        let serving = self.newest.iter().flatten().filter(|one| one.status != Status::Archived);
        self.world.contents.write().unwrap_or_else(PoisonError::into_inner).push(serving.cloned().collect());
        self.world.newest.publish(self.writer.apply(version, entities));
    }

    /// Changes the catalogue until no pair is left. Some changes are of much, most of little.
    fn change(&mut self) {
        let count = u32::try_from(self.newest.len()).expect("a few thousand");
        for version in 2.. {
            if self.world.left.load(Ordering::Relaxed) == 0 {
                return;
            }
            let most = if self.draws.chance(0.1) { count / 2 } else { 5 };
            let numbers = (0..self.draws.between(1, most)).map(|_| self.draws.below(count)).collect();
            self.publish(version, Vec::new(), numbers);
            match self.draws.below(32) {
                // Most are folded into the middle, some are built of everything.
                16 => _ = self.world.newest.publish(self.writer.rebuild()),
                0..8 => self.job = Some(self.writer.begin_rebuild()),
                8..16 => {
                    if let Some(snapshot) = self.job.take().and_then(|job| self.writer.finish_rebuild(job.run())) {
                        self.world.newest.publish(snapshot);
                    }
                }
                _ => {}
            }
        }
    }
}

/// One life, in threads.
fn live(world: &World) -> Tally {
    let mut hand = Hand::begin(world);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|reader| scope.spawn(move || world.read(reader))).collect();
        hand.change();
        let tallies = readers.into_iter().map(|reader| reader.join().expect("the reader found no difference"));
        tallies.fold(Tally::default(), Tally::add)
    })
}

#[test]
fn readers_find_what_the_definition_says_while_snapshots_are_swapped() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (pairs, seed) = (number("SEGUE_PAIRS", PAIRS), number("SEGUE_PAIRS_SEED", 1));
    let (mut tally, mut said) = (Tally::default(), 0);
    for life in 0.. {
        tally = tally.add(live(&World::begin(seed + life, life, pairs - tally.pairs)));
        if tally.pairs >= said + pairs / 20 || tally.pairs == pairs {
            said = tally.pairs;
            eprintln!("{} of {pairs} pairs, {} lives", tally.pairs, life + 1);
        }
        if tally.pairs == pairs {
            break;
        }
    }
    println!("{tally:?}: no difference");
    let share = |of: u64| of * 100 / pairs;
    assert!(
        share(tally.with_middle) >= 5 && share(tally.with_delta) >= 20 && share(tally.with_tombstones) >= 20,
        "{tally:?}"
    );
    assert!(tally.swapped * 1_000 >= pairs && tally.of_reference > 0, "{tally:?}");
    assert!(tally.matches * 20 >= tally.line_items, "{tally:?}");
}
