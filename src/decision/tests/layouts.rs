//! The answer depends on what the catalogue holds, not on how it came to hold it, nor on the process.

use std::sync::Arc;

use super::*;
use crate::catalog::{CatalogWriter, Entity};
use crate::model::{LineItem, LineItemId, Micros, Status};

/// Set in the second process, which prints its digest instead of comparing.
const CHILD: &str = "SEGUE_TEST_PRINT_DIGEST";

/// The world's snapshot by another way: entities in random batches and order, each perhaps as something else first, between line items that
/// come and go, and bases built in between.
fn snapshot_by_another_way(world: &World, chance: &mut Chance) -> std::sync::Arc<Snapshot> {
    let mut writer = CatalogWriter::new();
    let mut changes = Vec::new();
    for entity in &world.entities {
        if let Entity::LineItem(line_item) = entity {
            if chance.percent(40) {
                changes.push(Entity::from(before(line_item, chance)));
            }
            if chance.percent(30) {
                let passing = LineItemId::from_u128(line_item.id.as_u128() + 1_000);
                changes.push(Entity::from(LineItem {
                    id: passing,
                    status: Status::Archived,
                    ..LineItem::clone(line_item)
                }));
            }
        }
    }
    chance.shuffle(&mut changes);
    let mut last: Vec<Entity> = world.entities.clone();
    chance.shuffle(&mut last);
    changes.append(&mut last);
    let mut version = 0;
    while !changes.is_empty() {
        let batch = 1 + chance.below(u32::try_from(changes.len()).unwrap()) as usize;
        let rest = changes.split_off(batch);
        version += 1;
        // A base built now, or one begun before these changes and put in place after them.
        let job = chance.percent(30).then(|| writer.begin_rebuild());
        writer.apply(version, changes);
        if let Some(job) = job {
            writer.finish_rebuild(job.run());
        } else if chance.percent(20) {
            writer.rebuild();
        }
        changes = rest;
    }
    writer.apply(7_000, Vec::new())
}

/// A line item as it may have been some revisions ago. Never archived: that is final.
fn before(line_item: &LineItem, chance: &mut Chance) -> LineItem {
    let mut before = line_item.clone();
    before.status = Status::Paused;
    before.pricing.amount = Micros(i64::from(1 + chance.below(9)) * 1_000);
    before.category = chance.percent(50).then(|| "old".to_owned());
    before
}

/// All decisions of a world in one snapshot, and how many ads were in them.
fn decisions(world: &World, snapshot: &Snapshot, seed: u64) -> (Vec<Vec<u8>>, usize) {
    let spending = world.spending(snapshot);
    let mut chance = Chance::new(seed);
    let mut ads = 0;
    let bytes = (0..12).map(|_| {
        let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
        let decision = decided(snapshot, &spending, &request, &listener, &Excluded::none());
        ads += decision.ads.len();
        decision.to_bytes()
    });
    (bytes.collect(), ads)
}

// INV-7.
#[test]
fn a_hundred_layouts_give_the_same_bytes() {
    const LAYOUTS: u64 = 100;
    let (mut ads, mut compared) = (0, 0);
    for seed in 0..4 {
        let world = World::rich(&mut Chance::new(seed), 40);
        let expected = decisions(&world, &CatalogWriter::new().apply(7_000, world.entities.clone()), seed);
        ads += expected.1;
        for layout in 0..LAYOUTS {
            let snapshot = snapshot_by_another_way(&world, &mut Chance::new(seed * LAYOUTS + layout));
            assert!(decisions(&world, &snapshot, seed) == expected, "SEED={seed} layout {layout}");
            compared += expected.0.len();
        }
    }
    println!("{compared} decisions compared over {LAYOUTS} layouts; {ads} ads in those of one layout");
    assert!(ads > 40);
}

fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for seed in 0..50 {
        let world = World::rich(&mut Chance::new(seed), 40);
        let snapshot =
            snapshot_by_another_way(&world, &mut Chance::new(seed ^ u64::from(std::env::var(CHILD).is_ok())));
        for bytes in decisions(&world, &snapshot, seed).0 {
            hasher.update(&bytes);
        }
    }
    hasher.finalize().to_string()
}

// INV-6.
#[test]
fn two_processes_give_the_same_bytes() {
    let own = digest();
    if std::env::var(CHILD).is_ok() {
        println!("digest={own}");
        return;
    }
    let test = "decision::tests::layouts::two_processes_give_the_same_bytes";
    let child = std::process::Command::new(std::env::current_exe().expect("a test knows its binary"))
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the test binary runs");
    let text = String::from_utf8(child.stdout).expect("tests print text");
    let theirs = text.split("digest=").nth(1).and_then(|rest| rest.split_whitespace().next());
    assert_eq!(theirs, Some(own.as_str()), "the other process said:\n{text}");
}

#[test]
fn a_decision_is_made_again_from_its_reads() {
    let mut differed = 0;
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let world = if seed % 2 == 0 { World::random(&mut chance, 30) } else { World::rich(&mut chance, 30) };
        let snapshot = world.snapshot();
        let spending = world.spending(&snapshot);
        let (request, listener) = (world::request(&mut chance), world::listener(&mut chance));
        let decision = decided(&snapshot, &spending, &request, &listener, &Excluded::none());

        // Elsewhere, later: other slots, and only what was recorded.
        let elsewhere = {
            let mut entities = world.entities.clone();
            chance.shuffle(&mut entities);
            CatalogWriter::new().apply(7, entities)
        };
        let resolved = elsewhere.resolve(&Arc::new(request.clone()), NOW);
        let read = decision.spend_reads.iter().map(|read| (read.line_item_id, read.view));
        let held_back = decision.held_back.iter().map(|one| (one.line_item_id, one.view()));
        let reads: Vec<_> = read.chain(held_back).collect();
        let (mut scratch, seed_of, none) = (Scratch::new(), Seed::of(&request), Excluded::none());
        let again = replay(&elsewhere, &resolved, &listener, reads, &none, NOW, seed_of, &mut scratch);
        assert_eq!(again.to_bytes(), decision.to_bytes(), "SEED={seed}");
        let without_reads = replay(&elsewhere, &resolved, &listener, [], &none, NOW, seed_of, &mut scratch);
        differed += u32::from(without_reads.to_bytes() != decision.to_bytes());
    }
    assert!(differed > 100, "the reads mattered in {differed} only");
}
