//! The index against its definition, built small, large, and as large ones are.

use std::collections::HashMap;

use super::build::Sizes;
use super::*;
use crate::model::NetworkId;
use crate::targeting::dnf::{Field, Term, normal_form};
use crate::targeting::{naive, testkit};
use crate::workload::Draws;
use crate::workload::reference::{Item, ListenerKind, Profile, Source};

/// Numbers as a dictionary gives them.
#[derive(Default)]
struct Numbers(HashMap<(Lane, String), ValueId>, [u32; Lane::COUNT]);

impl Numbers {
    fn of(&mut self, field: Field, term: Term<'_>) -> ValueId {
        let lane = Lane::of(field);
        if let Term::Number(number) = term {
            return ValueId(u32::from(number));
        }
        let next = &mut self.1[lane.index()];
        *self.0.entry((lane, format!("{term:?}"))).or_insert_with(|| {
            *next += 1;
            ValueId(*next - 1)
        })
    }
}

const NETWORK: ValueId = ValueId(0);

/// Documents of random targeting; some in another network.
fn random_documents(count: usize, numbers: &mut Numbers, draws: &mut Draws) -> Vec<Document> {
    let mut documents = Vec::with_capacity(count);
    while documents.len() < count {
        let expression = testkit::expression(draws);
        if let Ok(form) = normal_form(&expression) {
            let network = if draws.chance(0.9) { NETWORK } else { ValueId(1) };
            documents.push(Document::new(network, &form, |field, term| numbers.of(field, term)));
        }
    }
    documents
}

/// A query of these values, in any order.
fn query(mut values: Vec<(Lane, ValueId)>) -> Query {
    values.sort_unstable();
    let mut query = Query::default();
    values
        .chunk_by(|one, next| one.0 == next.0)
        .for_each(|of_lane| query.push(of_lane[0].0, of_lane.iter().map(|one| one.1)));
    query
}

fn random_query(numbers: &mut Numbers, draws: &mut Draws) -> Query {
    let request = testkit::request(NetworkId::from_u128(1), draws);
    let mut values = vec![(Lane::NETWORK, NETWORK)];
    for attribute in crate::targeting::Attribute::ALL {
        for text in naive::values_of(attribute, &request) {
            let field = Field::Plain(attribute);
            values.push((Lane::of(field), numbers.of(field, Term::Text(text))));
        }
    }
    let facts = &request.facts;
    let number = |field, number| (Lane::of(field), ValueId(number));
    values.extend(facts.age.map(|age| number(Field::Age, u32::from(age))));
    values.extend(facts.explicit.map(|explicit| number(Field::Explicit, u32::from(explicit))));
    values.push(number(Field::ListenerHour, draws.below(168)));
    values.push(number(Field::LineItemHour, draws.below(168)));
    for (key, value) in &facts.key_values {
        values.push((Lane::of(Field::KeyValue), numbers.of(Field::KeyValue, Term::Pair(key, value))));
    }
    let mut query = query(values);
    query.coordinates = facts.coordinates;
    query
}

/// What a cursor yields; its order and position are checked.
fn found(index: &Index, live: &Bits, query: &Query, cursor: &mut Cursor) -> Vec<u32> {
    cursor.start(index, query);
    let mut found: Vec<u32> = Vec::new();
    loop {
        let position = cursor.position(index);
        let Some(document) = cursor.next(index, live, query) else { return found };
        assert!(position.is_some_and(|position| position <= document), "nothing comes before the position");
        assert!(found.last().is_none_or(|last| *last < document), "documents come in order, once each");
        found.push(document);
    }
}

fn expected(documents: &[Document], live: &Bits, query: &Query) -> Vec<u32> {
    let all = (0..).zip(documents);
    all.filter(|(id, one)| live.contains(*id as usize) && one.matches(query)).map(|(id, _)| id).collect()
}

const AS_LARGE: Sizes = Sizes { parted: 64, with_rows: 4 };
const NO_SHELVES: Sizes = Sizes { parted: usize::MAX, with_rows: 4 };
const NO_ROWS: Sizes = Sizes { parted: 64, with_rows: usize::MAX };

/// INV-11, of the index alone.
#[test]
fn every_way_to_build_agrees_with_the_definition() {
    let mut cursor = Cursor::default();
    let (mut pairs, mut matches) = (0, 0);
    for (seed, count) in [(1, 3), (2, 40), (3, 511), (4, 512), (5, 513), (6, 2_000), (7, 5_000)] {
        let mut draws = Draws::new(seed, 0);
        let mut numbers = Numbers::default();
        let documents = random_documents(count, &mut numbers, &mut draws);
        for sizes in [Sizes::default(), AS_LARGE, NO_SHELVES, NO_ROWS] {
            let index = Index::of_sizes(&documents, sizes);
            let mut live = index.all_live();
            (0..count).filter(|_| draws.chance(0.05)).for_each(|document| live.remove(document));
            for _ in 0..12 {
                let query = random_query(&mut numbers, &mut draws);
                let expected = expected(&documents, &live, &query);
                assert_eq!(found(&index, &live, &query, &mut cursor), expected, "{count} of seed {seed}, {sizes:?}");
                (pairs, matches) = (pairs + count, matches + expected.len());
                // Passing over some of them, at the front or on the way, leaves exactly those behind.
                let to = draws.below(u32::try_from(count).expect("few") + 2);
                cursor.start(&index, &query);
                let yielded: Vec<u32> =
                    (0..draws.below(3)).filter_map(|_| cursor.next(&index, &live, &query)).collect();
                cursor.skip_to(&index, to);
                let rest: Vec<u32> = std::iter::from_fn(|| cursor.next(&index, &live, &query)).collect();
                let behind = expected.iter().copied().skip(yielded.len()).filter(|document| *document >= to);
                assert_eq!(rest, behind.collect::<Vec<_>>(), "{count} of seed {seed}, {sizes:?}, on to {to}");
            }
        }
    }
    println!("{pairs} pairs, {matches} match");
    assert!(matches > 10_000);
}

/// The documents of reference items, by number of the attribute.
fn reference_documents(items: &[Item], lanes: &[Lane; 12]) -> Vec<Document> {
    let of = |item: &Item| {
        let clauses = item.clauses.iter().map(|clause| {
            let set: Box<[ValueId]> = clause.values.iter().map(|value| ValueId(*value)).collect();
            (clause.negated, lanes[clause.attribute], set)
        });
        let (excluded, wanted): (Vec<_>, Vec<_>) = clauses.partition(|(negated, ..)| *negated);
        let sets = |of: Vec<(bool, Lane, Box<[ValueId]>)>| of.into_iter().map(|(_, lane, set)| (lane, set));
        let network = (Lane::NETWORK, Box::from([NETWORK]));
        let wanted = std::iter::once(network).chain(sets(wanted)).collect();
        let compiled = compile::Compiled { wanted, excluded: sets(excluded).collect(), residuals: Vec::new() };
        Document { conjunctions: vec![compiled] }
    };
    items.iter().map(of).collect()
}

/// The lanes of the reference's attributes.
fn reference_lanes() -> [Lane; 12] {
    use crate::targeting::Attribute as Is;
    [
        Field::Plain(Is::Country),
        Field::Plain(Is::Region),
        Field::Plain(Is::City),
        Field::Age,
        Field::Plain(Is::Gender),
        Field::Plain(Is::Platform),
        Field::Plain(Is::DeviceType),
        Field::Plain(Is::Genre),
        Field::Plain(Is::Segment),
        Field::ListenerHour,
        Field::Plain(Is::Language),
        Field::Explicit,
    ]
    .map(Lane::of)
}

/// Shelves, exact rows, shared rows and records together, as in production; and the shelves are those of countries where all ask for one.
#[test]
fn reference_catalogues_agree_with_the_definition() {
    let lanes = reference_lanes();
    let source = Source::new();
    let mut cursor = Cursor::default();
    for profile in Profile::ALL {
        let mut draws = Draws::new(9, 1);
        let items: Vec<Item> = (0..12_000).map(|index| source.item(profile.kind_at(index), &mut draws)).collect();
        let documents = reference_documents(&items, &lanes);
        let index = Index::build(&documents);
        let is_parted = profile != Profile::Broad;
        assert_eq!(index.shelf_lane, is_parted.then_some(lanes[0]), "{}", profile.name());
        let live = index.all_live();
        for kind in [ListenerKind::Common, ListenerKind::Rare] {
            for _ in 0..40 {
                let listener = source.listener(kind, &mut draws);
                let mut values = vec![(Lane::NETWORK, NETWORK)];
                for (lane, of_lane) in lanes.iter().zip(&listener.values) {
                    values.extend(of_lane.iter().map(|value| (*lane, ValueId(*value))));
                }
                let query = query(values);
                assert_eq!(found(&index, &live, &query, &mut cursor), expected(&documents, &live, &query));
            }
        }
    }
}

/// Numbers of more than 16 bits, runs of numbers and sets that no record has room for are asked in other ways; each with and without rows.
#[test]
fn sets_of_every_size_and_place_agree_with_the_definition() {
    let segment = Lane::of(Field::Plain(crate::targeting::Attribute::Segment));
    let sets: Vec<Box<[ValueId]>> =
        [vec![3], vec![70_000, 90_000], (10..60).collect(), (0..400).map(|n| n * 3).collect()]
            .into_iter()
            .map(|set: Vec<u32>| set.into_iter().map(ValueId).collect())
            .collect();
    let documents: Vec<Document> = (0..600_usize)
        .map(|n| {
            let mut compiled = compile::Compiled::default();
            compiled.wanted.push((Lane::NETWORK, Box::from([NETWORK])));
            let side = if n.is_multiple_of(5) { &mut compiled.excluded } else { &mut compiled.wanted };
            side.push((segment, sets[n % sets.len()].clone()));
            Document { conjunctions: vec![compiled] }
        })
        .collect();
    let mut cursor = Cursor::default();
    for sizes in [AS_LARGE, NO_ROWS] {
        let index = Index::of_sizes(&documents, sizes);
        for having in [vec![], vec![3], vec![9, 61], vec![10], vec![59, 90_000], vec![70_000, 70_001], vec![100_000]] {
            let values = having.iter().map(|value| (segment, ValueId(*value)));
            let query = query(values.chain([(Lane::NETWORK, NETWORK)]).collect());
            let live = index.all_live();
            assert_eq!(found(&index, &live, &query, &mut cursor), expected(&documents, &live, &query), "{having:?}");
        }
        // Two sets are large; each is wanted by some and excluded by others.
        assert_eq!(index.residuals.len(), 4, "equal sets share a residual");
    }
}

/// Rows are taken for the whole answer only where that is certain, whatever groups were guessed.
#[test]
fn a_row_is_exact_for_whole_groups_alone() {
    let age = Lane::of(Field::Age);
    let set = |values: &[u32]| values.iter().copied().map(ValueId).collect::<Vec<_>>();
    let mut asked: [bands::Asked; Lane::COUNT] = Default::default();
    for (conjunction, values) in [(0, set(&[1, 2])), (1, set(&[1, 2, 3]))] {
        asked[age.index()].add(conjunction, &values);
    }
    let bands = bands::Bands::new(&asked, 2);
    let band = bands.of(age).next().expect("a band");
    assert_eq!(band.row(ValueId(1)), band.row(ValueId(2)), "they are always asked for together");
    assert_ne!(band.row(ValueId(1)), band.row(ValueId(3)));
    for (values, is_exact) in [(&[1, 2][..], true), (&[1, 2, 3], true), (&[3], true), (&[1], false), (&[2, 3], false)] {
        assert_eq!(band.is_exact(&set(values)), is_exact, "{values:?}");
        assert_eq!(band.is_exact_without(&set(values)), is_exact, "{values:?}");
    }
    assert!(!band.is_exact(&set(&[7])), "nobody asks for it");
}
