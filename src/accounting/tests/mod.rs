//! The state machine as a whole: what is billed, what is not and why, in any order, within every budget.

mod budgets;
mod models;
mod order;
mod outcomes;
mod reversals;

use super::testing::*;
use super::*;
use crate::events::Envelope;
use crate::model::{BeaconEvent, Micros};

/// A book with totals, as the store would have them.
#[derive(Clone, PartialEq, Debug, Default)]
struct World {
    book: Book,
    delivery: DeliveryChanges,
}

impl World {
    fn apply(&mut self, envelope: &Envelope) -> Outcome {
        let effects = self.book.apply(envelope);
        for (key, change) in &effects.delivery {
            self.delivery.entry(*key).or_default().add(change);
        }
        effects.outcome
    }

    fn of(records: &[Envelope]) -> Self {
        let mut world = Self::default();
        for record in records {
            world.apply(record);
        }
        world
    }

    fn settled(&self) -> (Micros, u64) {
        let balance = self.book.accounts[&ADVERTISER].balance(LevelId::Advertiser(ADVERTISER));
        (balance.settled, balance.settled_count)
    }

    fn total(&self) -> DeliveryTotals {
        let mut total = DeliveryTotals::default();
        self.delivery.values().for_each(|part| total.add(part));
        total
    }

    fn check(&self) {
        for account in self.book.accounts.values() {
            account.check();
        }
    }
}

const IMPRESSION: BeaconEvent = BeaconEvent::Impression;

fn check_outcomes(before: &[Envelope], record: &Envelope, expected: Outcome) {
    let mut world = World::of(before);
    let outcome = world.apply(record);
    assert_eq!(outcome, expected, "{record:?}");
    world.check();
    for (key, totals) in &world.delivery {
        let unbilled: i64 = totals.unbilled.values().sum();
        assert_eq!(totals.impressions, totals.billed + unbilled, "{key:?}: heard is billed or has a reason");
    }
}
