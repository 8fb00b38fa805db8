//! A decision allocates nothing once its memory has grown to what the breaks need. In a binary of its own, because the allocator that counts is
//! the whole process's.

use segue::catalog::{CatalogWriter, Entity, ResolvedBreak};
use segue::decision::{Excluded, Scratch, Seed, decide};
use segue::model::{ListenerState, MonotonicMs, Now, Pseudonym};
use segue::targeting::Expression;
use segue::workload::reference::{Profile, ReferenceCatalogue, endless_lease, spending_of};
use segue_figures::{Counting, allocations_in};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let spending = spending_of(&snapshot, catalogue.standing_of_each(), endless_lease);
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
