//! From a plan and what is observed to a throttle.
//!
//! Plan tracking on observed arrivals: what is wanted is the plan's sum a horizon ahead, less what is spent and what is in the
//! air; what would come unthrottled in that horizon is the rate of eligible breaks, times the share of them that are won, times the share
//! of those that are heard, times the price. Their quotient is the throttle. It needs no forecast of volume, and a feedback that stops only
//! freezes it.

use super::decaying::DecayingSum;
use super::plan::Plan;
use crate::model::{Micros, MonotonicMs, Now};

/// How far ahead the plan is looked at, in milliseconds.
const HORIZON_MS: i64 = 300_000;
/// Memory of the arrival rate, in milliseconds.
const ARRIVALS_TAU_MS: u32 = 600_000;
/// How long what was drawn and not heard is taken to be in the air, in milliseconds: a few tracks. It fades, it is not counted out.
const IN_AIR_TAU_MS: u32 = 600_000;
/// How long a line item of unknown traffic is held back, in milliseconds: a few reports of the decision server.
pub const SLOW_START_MS: u64 = 10_000;
/// Share of eligible breaks in that time.
const SLOW_START_SHARE: f64 = 0.05;
/// Bounds of the share of served ads that are heard.
const CONFIRMED: (f64, f64) = (0.3, 1.0);
/// The share that is assumed before anything is known, and the impressions that this assumption weighs.
const CONFIRMED_PRIOR: (f64, f64) = (0.9, 20.0);
/// Least share of unthrottled eligible breaks that are won; below, the throttle would be opened fully anyway.
const WON_MIN: f64 = 0.01;
/// Impressions that the assumption of winning every one weighs.
const WON_PRIOR: f64 = 5.0;

/// What is known of a line item at one moment. Sums since the server started, except `settled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// When.
    pub at: Now,
    /// Breaks for which it was eligible before its throttle was looked at.
    pub eligible: u64,
    /// Impressions drawn.
    pub drawn_count: u64,
    /// Impressions billed over its whole life.
    pub settled_count: u64,
    /// Money billed over its whole life.
    pub settled: Micros,
    /// Price of an impression now; at least one micro.
    pub price: Micros,
}

/// The controller of one line item that spends evenly.
#[derive(Clone, PartialEq, Debug)]
pub struct Controller {
    plan: Plan,
    began: MonotonicMs,
    last: Observation,
    share: f64,
    arrivals: DecayingSum<ARRIVALS_TAU_MS>,
    arrival_ms: DecayingSum<ARRIVALS_TAU_MS>,
    passed: DecayingSum<ARRIVALS_TAU_MS>,
    won: DecayingSum<ARRIVALS_TAU_MS>,
    in_air: DecayingSum<IN_AIR_TAU_MS>,
    served: DecayingSum<ARRIVALS_TAU_MS>,
    heard: DecayingSum<ARRIVALS_TAU_MS>,
}

impl Controller {
    /// Begins with a plan and a first observation.
    #[must_use]
    pub fn new(plan: Plan, first: Observation) -> Self {
        Self {
            plan,
            began: first.at.monotonic,
            last: first,
            share: SLOW_START_SHARE,
            arrivals: DecayingSum::new(),
            arrival_ms: DecayingSum::new(),
            passed: DecayingSum::new(),
            won: DecayingSum::new(),
            in_air: DecayingSum::new(),
            served: DecayingSum::new(),
            heard: DecayingSum::new(),
        }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether it holds back still because its traffic is not known.
    #[must_use]
    pub const fn is_new(&self, at: MonotonicMs) -> bool {
        at.since(self.began) < SLOW_START_MS
    }

    /// Begins a new plan; what was learned of the traffic stays.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Takes what was observed since the last time and returns the throttle for the time to come.
    pub fn observe(&mut self, seen: Observation) -> u64 {
        let elapsed = as_f64(seen.at.monotonic.since(self.last.at.monotonic));
        if elapsed > 0.0 {
            self.learn(seen, elapsed);
            self.last = seen;
        }
        self.share = self.next_share(seen);
        threshold(self.share)
    }

    fn learn(&mut self, seen: Observation, elapsed: f64) {
        let drawn = as_f64(seen.drawn_count.saturating_sub(self.last.drawn_count));
        let heard = as_f64(seen.settled_count.saturating_sub(self.last.settled_count));
        // Whatever counts eligible breaks may miss some (an early stop, a sample): there were at least as many as the draws tell.
        let eligible = as_f64(seen.eligible.saturating_sub(self.last.eligible)).max(drawn);
        self.arrivals.add(elapsed, eligible);
        self.arrival_ms.add(elapsed, elapsed);
        self.passed.add(elapsed, eligible * self.share);
        self.won.add(elapsed, drawn);
        self.in_air.add(elapsed, drawn);
        self.in_air.subtract(heard);
        self.served.add(elapsed, drawn);
        self.heard.add(elapsed, heard);
    }

    fn next_share(&self, seen: Observation) -> f64 {
        let (assumed, weight) = CONFIRMED_PRIOR;
        let confirmed =
            ((self.heard.value() + assumed * weight) / (self.served.value() + weight)).clamp(CONFIRMED.0, CONFIRMED.1);
        let price = price_f64(seen.price);
        let committed = money_f64(seen.settled) + confirmed * self.in_air.value() * price;
        let wanted = money_f64(self.plan.due(seen.at.wall.plus_ms(HORIZON_MS))) - committed;
        if wanted <= 0.0 {
            return 0.0;
        }
        if self.is_new(seen.at.monotonic) {
            return SLOW_START_SHARE;
        }
        let won = ((self.won.value() + WON_PRIOR) / (self.passed.value() + WON_PRIOR)).clamp(WON_MIN, 1.0);
        let rate = self.arrivals.value() / self.arrival_ms.value().max(1.0);
        let would_come = confirmed * won * rate * price * horizon_f64();
        if would_come <= wanted { 1.0 } else { wanted / would_come }
    }
}

/// The share as a threshold of a 64-bit hash: 1 and more is `u64::MAX` (always), 0 and less is 0 (never).
#[must_use]
pub fn threshold(share: f64) -> u64 {
    if share >= 1.0 {
        return u64::MAX;
    }
    // NaN is not above 0, and never serves.
    if share > 0.0 { scale(share) } else { 0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 < share < 1, so the product is positive and below 2^64; the fraction that is cut is below one part in 2^53"
)]
fn scale(share: f64) -> u64 {
    (share * 18_446_744_073_709_551_616.0) as u64
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds in a controller: 53 bits are plenty")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a controller compares sums; the books never see this float")]
const fn money_f64(money: Micros) -> f64 {
    money.0 as f64
}

fn price_f64(price: Micros) -> f64 {
    money_f64(price).max(1.0)
}

fn horizon_f64() -> f64 {
    as_f64(HORIZON_MS.unsigned_abs())
}

#[cfg(test)]
mod tests;
