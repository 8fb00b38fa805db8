//! A decision allocates nothing once its memory has grown to what the breaks need. In a binary of its own, because the allocator that counts is
//! the whole process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use segue::catalog::{CatalogWriter, Entity, ResolvedBreak, Snapshot};
use segue::decision::{Excluded, LeaseTerms, Scratch, Seed, Spending, decide};
use segue::model::{LeaseId, ListenerState, Micros, MonotonicMs, Now, Pseudonym, WallMs};
use segue::targeting::Expression;
use segue::workload::reference::{Profile, ReferenceCatalogue};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "counting allocations needs an allocator; it only passes on to the system's")]
// SAFETY: every call goes to `System` unchanged; the counter is a plain thread-local that neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, through `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_in(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn spending_of(catalogue: &ReferenceCatalogue, snapshot: &Snapshot) -> Spending {
    let spending = Spending::new();
    for (index, (line_item, standing)) in catalogue.line_items.iter().zip(&catalogue.standings).enumerate() {
        let slot = snapshot.slot(line_item.id).expect("the snapshot has every line item");
        spending.set_throttle(slot, standing.throttle);
        if standing.leased {
            let terms = LeaseTerms {
                lease_id: LeaseId::from_u128(index as u128),
                amount: Micros(1_000_000_000),
                max_ordinals: 1_000_000,
                draw_until: MonotonicMs(u64::MAX),
                last_billable_until: WallMs(i64::MAX),
            };
            spending.install_lease(slot, terms);
        }
    }
    spending
}

#[test]
fn a_warm_decision_allocates_nothing() {
    check(&ReferenceCatalogue::generate(Profile::Midday, 5_000, 7));
}

#[test]
fn nor_does_one_in_which_every_line_item_matches() {
    let mut catalogue = ReferenceCatalogue::generate(Profile::Midday, 600, 7);
    for line_item in &mut catalogue.line_items {
        line_item.targeting = Expression::everybody();
    }
    check(&catalogue);
}

fn check(catalogue: &ReferenceCatalogue) {
    let entities: Vec<Entity> = catalogue.clone().into_entities();
    let mut writer = CatalogWriter::new();
    writer.apply(1, entities);
    let snapshot = writer.rebuild();
    let spending = spending_of(catalogue, &snapshot);
    let listener = ListenerState::new(Pseudonym([0; 16]));
    let breaks: Vec<(ResolvedBreak, Now, Seed)> = ReferenceCatalogue::breaks(Profile::Midday, 200, 7)
        .iter()
        .map(|one| {
            let now = Now { wall: one.at, monotonic: MonotonicMs(1) };
            (snapshot.resolve(&one.request, now), now, Seed::of(&one.request))
        })
        .collect();
    let mut scratch = Scratch::new();
    let mut ads = 0;
    let mut round = || {
        for (resolved, now, seed) in &breaks {
            let none = Excluded::none();
            ads += decide(&snapshot, resolved, &listener, &spending, &none, *now, *seed, &mut scratch).ads.len();
        }
    };
    let cold = allocations_in(&mut round);
    let warm = allocations_in(&mut round);
    assert!(ads > 200, "{ads} ads in two rounds of 200 breaks show nothing");
    assert!(cold > 0, "the counter counts");
    assert_eq!(warm, 0, "allocations in 200 warm decisions");
}
