//! The index against the naive evaluator, over catalogues that change at random.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tests::{advertiser, campaign, line_item};
use super::*;
use crate::model::*;
use crate::targeting::index::Sabotage;
use crate::targeting::testkit::{self, KINDS, Kinds, is_multi_valued, kind_name};
use crate::targeting::{DaypartZone, Expression, Predicate, WeekHours, naive};
use crate::workload::Draws;

const HOUR_MS: i64 = 3_600_000;

pub(super) fn random_line_item(id: u128, draws: &mut Draws) -> LineItem {
    let network = if draws.chance(0.95) { 1 } else { 2 };
    let targeting = testkit::expression(draws);
    let mut line_item = LineItem {
        campaign_id: CampaignId::from_u128(network),
        advertiser_id: AdvertiserId::from_u128(network),
        network_id: NetworkId::from_u128(network),
        tier: *draws.pick(&[Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::Auction, Tier::House]),
        ..line_item(id, i64::from(draws.below(50)), targeting)
    };
    line_item.flight.zone = testkit::zone(draws);
    if draws.chance(0.1) {
        line_item.status = *draws.pick(&[Status::Paused, Status::Archived]);
    }
    line_item
}

/// Two networks with an advertiser and a campaign each.
pub(super) fn parents() -> Vec<Entity> {
    let of = |number: u128| {
        let network_id = NetworkId::from_u128(number);
        let advertiser = Advertiser { id: AdvertiserId::from_u128(number), network_id, ..advertiser() };
        let campaign =
            Campaign { id: CampaignId::from_u128(number), advertiser_id: advertiser.id, network_id, ..campaign() };
        [Entity::from(advertiser), Entity::from(campaign)]
    };
    [1, 2].into_iter().flat_map(of).collect()
}

pub(super) fn now(draws: &mut Draws) -> Now {
    Now { wall: WallMs(1_767_571_200_000 + i64::from(draws.below(366 * 24)) * HOUR_MS), ..Now::default() }
}

/// What a scan yields.
fn slots(snapshot: &Snapshot, resolved: &ResolvedBreak, scratch: &mut ScanScratch) -> Vec<LineSlot> {
    let mut scan = snapshot.scan(resolved, scratch);
    std::iter::from_fn(|| scan.next()).map(|candidate| candidate.slot).collect()
}

/// What a scan yields, with its order and its bound checked.
pub(super) fn scanned(snapshot: &Snapshot, resolved: &ResolvedBreak, scratch: &mut ScanScratch) -> Vec<LineSlot> {
    let mut slots = Vec::new();
    let mut before: Option<Rank> = None;
    let mut scan = snapshot.scan(resolved, scratch);
    loop {
        let bound = scan.bound();
        let Some(Candidate { rank, slot, .. }) = scan.next() else {
            assert_eq!(scan.bound(), None);
            return slots;
        };
        assert_eq!(rank, snapshot.line(slot).rank);
        assert!(bound.is_some_and(|bound| bound >= rank), "nothing is above the bound");
        assert!(before.is_none_or(|before| before >= rank), "ranks never increase");
        before = Some(rank);
        slots.push(slot);
    }
}

#[derive(Default)]
struct Tally {
    pairs: u64,
    matches: u64,
    wrong: u64,
    used: [(u64, u64); KINDS],
    negated_multi_valued: [(u64, u64); KINDS],
}

impl Tally {
    fn add(&mut self, kinds: &Kinds, expected: bool) {
        self.pairs += 1;
        self.matches += u64::from(expected);
        for kind in 0..KINDS {
            for (table, holds) in [
                (&mut self.used[kind], kinds.used[kind]),
                (&mut self.negated_multi_valued[kind], kinds.negated_multi_valued[kind]),
            ] {
                table.0 += u64::from(holds);
                table.1 += u64::from(holds && expected);
            }
        }
    }

    fn print(&self) {
        let number = |count: u64| f64::from(u32::try_from(count).expect("far fewer pairs"));
        let percent = |part: u64, whole: u64| 100.0 * number(part) / number(whole.max(1));
        println!("{} pairs, {:.1} % match, {} wrong", self.pairs, percent(self.matches, self.pairs), self.wrong);
        println!("{:24} {:>8} {:>9} {:>10}", "predicate", "pairs", "% of all", "% matching");
        for kind in 0..KINDS {
            for (name, (pairs, matches)) in [
                (kind_name(kind), self.used[kind]),
                (format!("not {}", kind_name(kind)), self.negated_multi_valued[kind]),
            ] {
                if pairs > 0 {
                    let (share, matching) = (percent(pairs, self.pairs), percent(matches, pairs));
                    println!("{name:24} {pairs:8} {share:9.1} {matching:10.1}");
                }
            }
        }
    }
}

/// A catalogue of `size` line items through `rounds` of random changes and rebuilds; after each, the index is compared with the naive evaluator.
fn compare(seed: u64, size: u128, rounds: u64, sabotage: Sabotage) -> Tally {
    let mut tally = Tally::default();
    let mut draws = Draws::new(seed, 0);
    let mut writer = CatalogWriter::with_delta_max(usize::try_from(size).expect("small") / 2);
    let mut scratch = ScanScratch::sabotaged(sabotage);
    let mut newest: BTreeMap<u128, (LineItem, Kinds)> = BTreeMap::new();
    let mut job = None;
    for round in 1..=rounds {
        // The first round is a bulk load, some later ones change much, most change little.
        let changes = if round == 1 { size } else { u128::from(draws.between(1, 200)) };
        let mut entities = if round == 1 { parents() } else { Vec::new() };
        for number in 0..changes {
            let id =
                if round == 1 { number } else { u128::from(draws.below(u32::try_from(size).expect("small") + 20)) };
            let line_item = random_line_item(id + 1, &mut draws);
            newest.insert(id + 1, (line_item.clone(), Kinds::of(&line_item.targeting)));
            entities.push(Entity::from(line_item));
        }
        let mut snapshot = writer.apply(round, entities);
        match draws.below(3) {
            0 => job = Some(writer.begin_rebuild()),
            1 => {
                if let Some(rebuilt) = job.take().and_then(|job: RebuildJob| writer.finish_rebuild(job.run())) {
                    snapshot = rebuilt;
                }
            }
            _ => {}
        }
        for _ in 0..4 {
            let request = testkit::request(NetworkId::from_u128(1), &mut draws);
            let now = now(&mut draws);
            let resolved = snapshot.resolve(&Arc::new(request.clone()), now);
            let scan = if sabotage == Sabotage::None { scanned } else { slots };
            let mut found = scan(&snapshot, &resolved, &mut scratch);
            found.sort_unstable();
            let mut expected = Vec::new();
            for (line_item, kinds) in newest.values().filter(|(one, _)| one.status != Status::Archived) {
                let matches = line_item.network_id == request.network_id
                    && naive::matches(&line_item.targeting, &request, &line_item.flight.zone, now.wall);
                let slot = snapshot.slot(line_item.id).expect("given at first sight");
                assert_eq!(snapshot.matches(slot, &resolved), matches, "{:?}", line_item.targeting);
                tally.add(kinds, matches);
                if matches {
                    expected.push(slot);
                }
            }
            expected.sort_unstable();
            if found != expected {
                assert_ne!(sabotage, Sabotage::None, "SEED={seed} round {round}");
                let missing = expected.iter().filter(|slot| found.binary_search(slot).is_err()).count();
                let rightly_found = expected.len() - missing;
                tally.wrong += u64::try_from(missing + found.len() - rightly_found).expect("few");
            }
        }
    }
    tally
}

/// INV-11: what a scan yields is what the definition says, at any point of a catalogue's life.
#[test]
fn the_index_agrees_with_the_naive_evaluator() {
    let tally = compare(1, 3_000, 14, Sabotage::None);
    tally.print();
    assert_eq!(tally.wrong, 0);
    assert!(tally.pairs >= 100_000);
    assert!((tally.pairs / 5..=tally.pairs * 4 / 5).contains(&tally.matches), "a fifth to four fifths match");
    for kind in 0..KINDS {
        assert!(tally.used[kind].0 * 100 >= tally.pairs, "{} is in one pair of a hundred", kind_name(kind));
        if is_multi_valued(kind) {
            let negated = tally.negated_multi_valued[kind].0;
            assert!(negated * 100 >= tally.pairs, "not {} is in one pair of a hundred", kind_name(kind));
        }
    }
}

#[test]
fn small_catalogues_agree_too() {
    for seed in 100..130 {
        assert_eq!(compare(seed, 20, 20, Sabotage::None).wrong, 0);
    }
}

#[test]
fn a_broken_index_is_seen_to_be_broken() {
    for sabotage in [Sabotage::Not, Sabotage::MultiValue, Sabotage::Residual, Sabotage::Tombstone] {
        let tally = compare(2, 300, 12, sabotage);
        println!("{sabotage:?}: {} wrong of {} pairs", tally.wrong, tally.pairs);
        assert!(tally.wrong > 0, "{sabotage:?} was not seen");
    }
}

/// Ranks and ids that a scan yields; ids of one rank sorted, as their order is free.
fn ranked(snapshot: &Snapshot, request: &AdBreakRequest, now: Now) -> Vec<(Rank, LineItemId)> {
    let resolved = snapshot.resolve(&Arc::new(request.clone()), now);
    let slots = scanned(snapshot, &resolved, &mut ScanScratch::new());
    let mut found: Vec<(Rank, LineItemId)> =
        slots.into_iter().map(|slot| (snapshot.line(slot).rank, snapshot.line(slot).line_item.id)).collect();
    found.sort_by_key(|&(rank, id)| (std::cmp::Reverse(rank), id));
    found
}

/// INV-7: the layout never shows.
#[test]
fn a_hundred_layouts_of_one_catalogue_give_the_same_candidates() {
    let mut draws = Draws::new(3, 0);
    let line_items: Vec<LineItem> = (1..=200).map(|id| random_line_item(id, &mut draws)).collect();
    let breaks: Vec<_> =
        (0..20).map(|_| (testkit::request(NetworkId::from_u128(1), &mut draws), now(&mut draws))).collect();
    let mut first = None;
    let mut shapes = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut writer = CatalogWriter::with_delta_max(draws.index(400));
        // Every line item as it ends up, after some that it was before, in any order of line items.
        let mut changes: Vec<Entity> = parents();
        draws.shuffle(&mut changes);
        let mut last = line_items.clone();
        draws.shuffle(&mut last);
        for line_item in &last {
            if draws.chance(0.3) {
                changes.push(Entity::from(random_line_item(line_item.id.as_u128(), &mut draws)));
            }
        }
        // Archived for good in between would stay so in no real catalogue; here the newest form alone holds.
        changes.extend(last.into_iter().map(Entity::from));
        let mut version = 0;
        while !changes.is_empty() {
            let count = draws.between(1, 120).try_into().unwrap_or(1).min(changes.len());
            version += 1;
            writer.apply(version, changes.drain(..count).collect());
            if draws.chance(0.3) {
                writer.rebuild();
            }
        }
        let snapshot = writer.snapshot();
        shapes.insert(writer.sizes());
        let found: Vec<_> = breaks.iter().map(|(request, now)| ranked(&snapshot, request, *now)).collect();
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found);
    }
    println!("{} different sizes of base and delta", shapes.len());
    assert!(shapes.len() > 20, "the layouts differ");
    assert!(first.expect("a hundred").iter().any(|found| found.len() > 20), "there is something to compare");
}

#[test]
fn day_parts_follow_the_wall_clock_across_dst() {
    let stockholm = Zone::named("Europe/Stockholm").expect("a zone");
    let mut line_items = Vec::new();
    for (hour, id) in (0_u8..168).zip(1..) {
        for (zone, id) in [(DaypartZone::LineItem, id), (DaypartZone::Listener, id + 1_000)] {
            let hours: WeekHours = [hour].into_iter().collect();
            let mut line_item = line_item(id, 5, Expression::Is(Predicate::Daypart { zone, hours }));
            line_item.flight.zone = stockholm.clone();
            line_items.push(Entity::from(line_item));
        }
    }
    let mut writer = CatalogWriter::new();
    let snapshot = writer.apply(1, parents().into_iter().chain(line_items).collect());
    for (at, listener_zone, line_item_hour, listener_hour) in [
        // Sunday 2026-03-29: at 01:00 UTC 02:00 becomes 03:00 in Stockholm. New York changed on the 8th.
        ("2026-03-29T00:59:59Z", "America/New_York", 144 + 1, Some(120 + 20)),
        ("2026-03-29T01:00:00Z", "America/New_York", 144 + 3, Some(120 + 21)),
        // Sunday 2026-10-25: at 01:00 UTC 03:00 becomes 02:00 again.
        ("2026-10-25T00:30:00Z", "Asia/Kolkata", 144 + 2, Some(144 + 6)),
        ("2026-10-25T01:30:00Z", "Asia/Kolkata", 144 + 2, Some(144 + 7)),
        ("2026-10-25T02:00:00Z", "", 144 + 3, None),
        // Sunday night in Stockholm is Monday morning in Kiritimati.
        ("2026-01-04T22:30:00Z", "Pacific/Kiritimati", 144 + 23, Some(12)),
    ] {
        let wall = WallMs(at.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let mut request = testkit::request(NetworkId::from_u128(1), &mut Draws::new(4, 0));
        request.facts.zone = Zone::named(listener_zone).ok();
        let resolved = snapshot.resolve(&Arc::new(request.clone()), Now { wall, ..Now::default() });
        let found = scanned(&snapshot, &resolved, &mut ScanScratch::new());
        let mut ids: Vec<u128> = found.into_iter().map(|slot| snapshot.line(slot).line_item.id.as_u128()).collect();
        ids.sort_unstable();
        let expected: Vec<u128> =
            [Some(line_item_hour + 1), listener_hour.map(|hour| hour + 1_001)].into_iter().flatten().collect();
        assert_eq!(ids, expected, "{at} {listener_zone}");
    }
}
