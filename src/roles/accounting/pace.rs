//! How often a line item serves: its controllers, over what all servers together drew and could have.
//!
//! One controller keeps the plan of its life, another that of the day where it has a daily budget or goal; the stricter of the two holds. (In a
//! row, one after the other, they could both hold back what the other has counted already.)
//!
//! None of this is money: it is lost at a restart and learned again.

use crate::accounting::{Balance, LineContract};
use crate::model::{Day, Micros, Now, PacingMode, PriceModel, Tier};
use crate::pacing::{Controller, Observation, Plan, threshold};

/// A throttle is told when it has changed by more than this part of it, as a divisor: 3 %. The controller sees what is drawn, and makes up for the rest.
const MATERIAL_PART: u64 = 32;

/// The pacing of one line item.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Pace {
    /// Impressions drawn, over all servers and their runs since this accounting started.
    drawn_count: u64,
    /// Breaks for which it was eligible, likewise.
    eligible: u64,
    controller: Option<Box<Controller>>,
    /// That of a day, and which day.
    daily: Option<Box<(Day, Controller)>>,
    throttle: Option<u64>,
}

/// What was billed of a line item over its life and on its present day: money and impressions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Spent {
    pub(super) life: Balance,
    pub(super) day: Balance,
}

/// Whether a throttle is told however little it changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    Yes,
    No,
}

/// Whether a throttle is so far from the one that was told that servers have to know. All and nothing are exact: one is the end of a budget, the other the
/// end of holding back.
const fn is_material(told: u64, throttle: u64) -> bool {
    let is_end = throttle == 0 || throttle == u64::MAX || told == 0 || told == u64::MAX;
    told != throttle && (is_end || told.abs_diff(throttle) > told / MATERIAL_PART)
}

impl Pace {
    /// A server drew so many more, and could have had so many.
    pub(super) const fn add(&mut self, drawn: u64, eligible: u64) {
        self.drawn_count = self.drawn_count.saturating_add(drawn);
        self.eligible = self.eligible.saturating_add(eligible);
    }

    #[cfg(test)]
    pub(super) const fn added(&self) -> (u64, u64) {
        (self.drawn_count, self.eligible)
    }

    /// Forgets plan and traffic: the contract changed, or the line item was away.
    pub(super) fn replan(&mut self) {
        (self.controller, self.daily) = (None, None);
    }

    /// The throttle that servers were told last.
    pub(super) const fn told(&self) -> Option<u64> {
        self.throttle
    }

    /// The throttle to tell servers: where it is materially another than they were told last, or `again`.
    pub(super) fn throttle(
        &mut self,
        contract: &LineContract,
        spent: impl FnOnce() -> Spent,
        now: Now,
        again: Again,
    ) -> Option<u64> {
        let throttle = self.next_throttle(contract, spent, now);
        if again == Again::No && self.throttle.is_some_and(|told| !is_material(told, throttle)) {
            return None;
        }
        self.throttle = Some(throttle);
        Some(throttle)
    }

    /// Whether a controller is so new that it holds back until it knows its traffic.
    pub(super) fn is_new(&self, now: Now) -> bool {
        let daily = self.daily.as_ref().map(|daily| &daily.1);
        self.controller.as_deref().into_iter().chain(daily).any(|controller| controller.is_new(now.monotonic))
    }

    fn next_throttle(&mut self, contract: &LineContract, spent: impl FnOnce() -> Spent, now: Now) -> u64 {
        let always = threshold(1.0);
        // A share of voice is paced by its share, the network's own ads by nothing.
        match contract.tier {
            Tier::Sponsorship | Tier::House => return always,
            Tier::Guaranteed | Tier::Auction => {}
        }
        match contract.pacing {
            PacingMode::AsFastAsPossible => return always,
            // The other curves are refused at the API so far; even is the safe reading.
            PacingMode::Even | PacingMode::FrontLoaded | PacingMode::Curve(_) => {}
        }
        let spent = spent();
        self.by_life(contract, spent.life, now).min(self.by_day(contract, spent.day, now)).min(always)
    }

    fn by_life(&mut self, contract: &LineContract, spent: Balance, now: Now) -> u64 {
        let Some(total) = contract.own_limit() else { return u64::MAX };
        let seen = self.seen(contract, spent, now);
        let controller = self.controller.get_or_insert_with(|| {
            let start = contract.flight.start.max(now.wall);
            let plan = Plan { start, end: contract.flight.end, spent: seen.settled.min(total), total };
            Box::new(Controller::new(plan, seen))
        });
        controller.observe(seen)
    }

    /// A day begins with its own plan and with what was learned of the traffic the day before.
    fn by_day(&mut self, contract: &LineContract, spent: Balance, now: Now) -> u64 {
        let Some(total) = contract.own_daily_limit() else { return u64::MAX };
        let (zone, seen) = (&contract.flight.zone, self.seen(contract, spent, now));
        let end = zone.day_end(now.wall).min(contract.flight.end);
        let plan = Plan { start: now.wall, end, spent: seen.settled.min(total), total };
        let today = zone.day(now.wall);
        let (day, controller) = &mut **self.daily.get_or_insert_with(|| Box::new((today, Controller::new(plan, seen))));
        if *day != today {
            *day = today;
            controller.set_plan(plan);
        }
        controller.observe(seen)
    }

    fn seen(&self, contract: &LineContract, spent: Balance, now: Now) -> Observation {
        // A flat fee is spent at once: what is paced is its goal, at the price that the plan reckons with.
        let price = contract.expected_price();
        let settled = match contract.pricing.model {
            PriceModel::Flat => Micros(price.0.saturating_mul(i64::try_from(spent.settled_count).unwrap_or(i64::MAX))),
            PriceModel::Cpm | PriceModel::Cpcl | PriceModel::Cpc => spent.settled,
        };
        Observation {
            at: now,
            eligible: self.eligible,
            drawn_count: self.drawn_count,
            settled_count: spent.settled_count,
            settled,
            price,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Entity;
    use crate::model::{MonotonicMs, WallMs};

    fn contract(lifetime: Option<i64>, daily: Option<i64>) -> LineContract {
        let mut entity = super::super::sim::line_entity(1, lifetime, None);
        let Entity::LineItem(line) = &mut entity else { panic!("a line item") };
        let (id, line) = (line.id, std::sync::Arc::make_mut(line));
        line.budget.daily = daily.map(Micros);
        line.pacing = PacingMode::Even;
        let mut contracts = crate::accounting::Contracts::default();
        contracts.apply(&entity);
        contracts.line(id).expect("just told").clone()
    }

    /// The throttle a while after the start, with supply for many times the budget.
    fn throttle(contract: &LineContract, spent: Spent) -> u64 {
        let start = crate::accounting::testing::T0;
        let mut pace = Pace::default();
        let mut told = u64::MAX;
        for minute in 0..20_u64 {
            let ms = minute * 60_000;
            pace.add(1, 1_000);
            let now = Now { wall: WallMs(start.0 + ms.cast_signed()), monotonic: MonotonicMs(ms) };
            told = pace.next_throttle(contract, || spent, now);
        }
        told
    }

    #[test]
    fn the_stricter_of_life_and_day_holds() {
        let nothing = Spent::default();
        let life = throttle(&contract(Some(3_000_000), None), nothing);
        let day = throttle(&contract(None, Some(5_000)), nothing);
        let both = throttle(&contract(Some(3_000_000), Some(5_000)), nothing);
        assert!(day < life && day > 0, "{day} of the day, {life} of the life");
        assert_eq!(both, day);
        assert_eq!(throttle(&contract(None, None), nothing), u64::MAX);
    }

    #[test]
    fn a_day_that_is_spent_stops_until_the_next() {
        let spent = Balance { settled: Micros(100_000), settled_count: 10_000, ..Balance::default() };
        let contract = contract(Some(10_000_000), Some(100_000));
        assert_eq!(throttle(&contract, Spent { life: spent, day: spent }), 0);
        assert!(throttle(&contract, Spent { life: spent, day: Balance::default() }) > 0);
    }
}
