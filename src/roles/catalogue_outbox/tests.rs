//! The publisher's machine over a model of store and log: two servers that crash, whose words get lost, whose log refuses and tells late.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::catalog::{Action, Author, Entity, Revision};
use crate::model::{CampaignId, WallMs};
use crate::roles::campaign::samples;

fn row(entity: u8, number: u64) -> OutboxRow {
    let id = CampaignId::from_u128(u128::from(entity));
    let entity = Entity::from(samples::campaign(id, samples::ADVERTISER, samples::NETWORK));
    let (at, author, action) = (WallMs(1), Author::Segue, Action::Changed);
    let revision = Arc::new(Revision { entity, number, created_at: at, at, author, action });
    OutboxRow { revision, attempt: Vec::new() }
}

fn name(entity: u8, number: u64) -> Name {
    Name::of(&row(entity, number).revision)
}

/// What the tables hold.
#[derive(Default)]
struct Store {
    newest: BTreeMap<[u8; 16], u64>,
    outbox: BTreeMap<Name, OutboxRow>,
    words: BTreeSet<Pending>,
    /// Of each revision the number of the word that announced it.
    announced: BTreeMap<Name, u64>,
}

impl Store {
    fn announce(&mut self, entity: u8, count: u64) -> Name {
        let word = name(entity, self.newest.get(&name(entity, 1).entity).unwrap_or(&0) + count);
        self.words.insert(word);
        word
    }

    fn commit(&mut self, entity: u8, count: u64) -> Vec<OutboxRow> {
        let word = self.announce(entity, count);
        self.newest.insert(word.entity, word.number);
        let rows: Vec<_> = (word.number + 1 - count..=word.number).map(|number| row(entity, number)).collect();
        for row in &rows {
            self.outbox.insert(Name::of(&row.revision), row.clone());
            self.announced.insert(Name::of(&row.revision), word.number);
        }
        rows
    }

    fn of(&self, entity: [u8; 16]) -> Waiting {
        let rows = self.outbox.range(Name { entity, number: 0 }..).take_while(|(name, _)| name.entity == entity);
        // A look takes few at once.
        let rows = rows.map(|(_, row)| row.clone()).take(2).collect();
        Waiting { newest: self.newest.get(&entity).copied().unwrap_or(0), rows }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A server commits; whether it tells its publisher.
    Commit(u8, u64, usize, bool),
    /// A server announces, and crashes.
    Announce(u8, u64),
    Look(usize),
    /// The log tells a server of one record: whether it has it.
    Tell(usize, bool),
    Retry(usize),
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (entity, server) = (0..4_u8, 0..2_usize);
    prop_oneof![
        4 => (entity.clone(), 1..4_u64, server.clone(), any::<bool>())
            .prop_map(|(entity, count, server, told)| Step::Commit(entity, count, server, told)),
        1 => (entity, 1..4_u64).prop_map(|(entity, count)| Step::Announce(entity, count)),
        3 => server.clone().prop_map(Step::Look),
        6 => (server.clone(), prop::bool::weighted(0.8)).prop_map(|(s, has)| Step::Tell(s, has)),
        1 => server.clone().prop_map(Step::Retry),
        1 => server.prop_map(Step::Crash),
    ]
}

struct World {
    store: Store,
    /// Of each server its machine, and what it has handed over and was not told of.
    servers: [(Outbox, Vec<Name>); 2],
    published: BTreeSet<Name>,
}

impl World {
    fn perform(&mut self, server: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::HandOver(row) => self.servers[server].1.push(Name::of(&row.revision)),
                Effect::Remove { rows, word } => {
                    for row in &rows {
                        let name = Name::of(&row.revision);
                        assert!(self.published.contains(&name), "{name:?} leaves the outbox unpublished");
                        self.store.outbox.remove(&name);
                    }
                    if let Some(word) = word {
                        self.forget(word);
                    }
                }
                Effect::Forget(word) => self.forget(word),
            }
        }
    }

    fn forget(&mut self, word: Pending) {
        let left = |name: &&Name| {
            name.entity == word.entity && self.store.announced.get(name).is_some_and(|by| *by == word.number)
        };
        assert_eq!(self.store.outbox.keys().find(left), None, "it would not be found");
        assert!(self.store.newest.get(&word.entity).is_some_and(|newest| *newest >= word.number));
        self.store.words.remove(&word);
    }

    fn look(&mut self, server: usize) {
        for word in self.servers[server].0.looked(self.store.words.clone()) {
            let waiting = self.store.of(word.entity);
            let effects = self.servers[server].0.found(word, waiting);
            self.perform(server, effects);
        }
    }

    fn tell(&mut self, server: usize, has: bool) {
        if self.servers[server].1.is_empty() {
            return;
        }
        let name = self.servers[server].1.remove(0);
        if has {
            self.published.insert(name);
            let effects = self.servers[server].0.acknowledged(name);
            self.perform(server, effects);
        } else {
            self.servers[server].0.refused(name);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit(entity, count, server, told) => {
                let rows = self.store.commit(entity, count);
                if told {
                    let effects = self.servers[server].0.committed(rows);
                    self.perform(server, effects);
                }
            }
            Step::Announce(entity, count) => {
                self.store.announce(entity, count);
            }
            Step::Look(server) => self.look(server),
            Step::Tell(server, has) => self.tell(server, has),
            Step::Retry(server) => {
                let effects = self.servers[server].0.retry();
                self.perform(server, effects);
            }
            Step::Crash(server) => self.servers[server] = (Outbox::new(), Vec::new()),
        }
    }
}

proptest! {
    // INV-48.
    #[test]
    fn what_is_committed_is_published_and_leaves_the_outbox_after_it(steps in prop::collection::vec(step(), 0..80)) {
        let mut world =
            World { store: Store::default(), servers: Default::default(), published: BTreeSet::new() };
        for step in steps {
            world.step(step);
        }
        // One server goes on alone, started anew: two looks find a row or forget a word, and each finds a few rows of an entity.
        world.step(Step::Crash(0));
        for _ in 0..200 {
            world.step(Step::Look(0));
            world.step(Step::Retry(0));
            while !world.servers[0].1.is_empty() {
                world.step(Step::Tell(0, true));
            }
        }
        prop_assert!(world.store.outbox.is_empty(), "{:?}", world.store.outbox.keys());
        for (entity, newest) in &world.store.newest {
            for number in 1..=*newest {
                let name = Name { entity: *entity, number };
                prop_assert!(world.published.contains(&name), "{:?}", name);
            }
        }
        let newest = |word: &Pending| world.store.newest.get(&word.entity).copied().unwrap_or(0);
        prop_assert!(world.store.words.iter().all(|word| word.number > newest(word)));
        prop_assert_eq!(world.servers[0].0.in_hand(), 0);
    }
}

#[test]
fn a_word_is_left_to_its_writer_for_one_look() {
    let mut outbox = Outbox::new();
    let words = BTreeSet::from([name(1, 1)]);
    assert_eq!(outbox.looked(words.clone()), []);
    assert_eq!(outbox.looked(words.clone()), [name(1, 1)]);
    assert_eq!(outbox.found(name(1, 1), Waiting::default()), [], "its batch may be on its way");
    let waiting = Waiting { newest: 1, rows: vec![row(1, 1)] };
    assert_eq!(outbox.found(name(1, 1), waiting), [Effect::HandOver(row(1, 1))]);
    assert_eq!(outbox.looked(words), [], "in hand");
    let removed = Effect::Remove { rows: vec![row(1, 1)], word: None };
    assert_eq!(outbox.acknowledged(name(1, 1)), [removed]);
    assert_eq!(outbox.acknowledged(name(1, 1)), []);
}

#[test]
fn no_more_than_the_limit_is_in_hand_and_the_rest_stays_in_the_store() {
    let mut outbox = Outbox::new();
    let rows = |from: u64, count: usize| (from..).take(count).map(|number| row(1, number)).collect::<Vec<_>>();
    assert_eq!(outbox.committed(rows(1, IN_HAND_MAX)).len(), IN_HAND_MAX);
    assert_eq!(outbox.committed(rows(5_000, 1)), []);
    outbox.gave_up(name(1, 7));
    assert_eq!((outbox.in_hand(), outbox.committed(rows(5_000, 1)).len()), (0, 1));
}
