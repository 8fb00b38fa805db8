//! What accounting remembers of one line item between two reports: its leases at the server, how fast they are drawn, its throttle.
//!
//! None of this is money: it is lost at a restart and learned again.

use super::{LeaseLeft, LineReport};
use crate::accounting::LineContract;
use crate::decision::LeaseTerms;
use crate::model::{Micros, MonotonicMs, Now, PacingMode, Tier};
use crate::pacing::{Controller, DecayingSum, Observation, Plan, threshold};

/// Impressions of a lease while nothing is known of the need, and the least after: a lease is a record of the log, so it is worth a few.
const LEASE_IMPRESSIONS_MIN: u32 = 20;
/// Memory of the rate of draws, in milliseconds.
const DRAW_TAU_MS: f64 = 60_000.0;
/// A lease that waits at accounting is handed over when the one before it lasts for less than this, in milliseconds: two reports.
const HAND_OVER_MS: u64 = 2_000;
/// A lease is renewed when less than this part of its time to draw is left, as a divisor.
const RENEW_TIME_DIVISOR: u64 = 3;

/// A durable lease of this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) terms: LeaseTerms,
    left: LeaseLeft,
}

impl Held {
    pub(super) fn new(terms: LeaseTerms) -> Self {
        let left = LeaseLeft { lease_id: terms.lease_id, left: terms.amount, ordinals_left: terms.max_ordinals };
        Self { terms, left }
    }
}

/// One line item.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// The lease that the server draws from.
    current: Option<Held>,
    /// The lease that it gets next: handing it over early would strand what is left in the current one.
    next: Option<Held>,
    drawn_count: u64,
    eligible: u64,
    reported_at: MonotonicMs,
    draws: DecayingSum,
    draw_ms: DecayingSum,
    controller: Option<Controller>,
    throttle: Option<u64>,
}

impl Line {
    pub(super) fn new(now: Now) -> Self {
        Self {
            current: None,
            next: None,
            drawn_count: 0,
            eligible: 0,
            reported_at: now.monotonic,
            draws: DecayingSum::new(DRAW_TAU_MS),
            draw_ms: DecayingSum::new(DRAW_TAU_MS),
            controller: None,
            throttle: None,
        }
    }

    /// A lease became durable.
    pub(super) fn hold(&mut self, terms: LeaseTerms) {
        self.next = Some(Held::new(terms));
    }

    /// Takes what the server says.
    pub(super) fn report(&mut self, report: &LineReport, at: MonotonicMs) {
        let elapsed = as_f64(at.since(self.reported_at));
        let drawn = report.drawn_count.saturating_sub(self.drawn_count);
        self.draws.add(elapsed, as_f64(drawn));
        self.draw_ms.add(elapsed, elapsed);
        self.reported_at = self.reported_at.max(at);
        self.drawn_count = self.drawn_count.max(report.drawn_count);
        self.eligible = self.eligible.max(report.eligible);
        if let (Some(current), Some(left)) = (&mut self.current, report.lease)
            && current.terms.lease_id == left.lease_id
        {
            current.left = left;
        }
    }

    /// Impressions drawn in a millisecond.
    fn rate(&self) -> f64 {
        // Over ten seconds at least: two draws in the first second say little.
        self.draws.value() / self.draw_ms.value().max(10_000.0)
    }

    /// Impressions that a lease should cover for it to last `lease_ms`.
    pub(super) fn impressions_needed(&self, lease_ms: u64) -> u32 {
        let needed = (self.rate() * as_f64(lease_ms)).ceil();
        // Saturating: a float above the range becomes its end, and sizes are clamped by the planner.
        (0..=16)
            .map(|doubling| LEASE_IMPRESSIONS_MIN << doubling)
            .find(|size| f64::from(*size) >= needed)
            .unwrap_or(u32::MAX)
    }

    /// Whether another lease should be asked for.
    pub(super) fn wants_lease(&self, lease_ms: u64, now: Now) -> bool {
        if let Some(next) = self.next {
            return next.terms.draw_until <= now.monotonic.plus_ms(HAND_OVER_MS);
        }
        self.current.is_none_or(|current| {
            let left = current.terms.draw_until.since(now.monotonic);
            // Of an idle line item, time alone renews the lease only at its end: early it would strand more than it helps.
            let early = if self.rate() > 0.0 { lease_ms / RENEW_TIME_DIVISOR } else { HAND_OVER_MS };
            left <= early
                || current.left.left.0 <= current.terms.amount.0 / 2
                || current.left.ordinals_left <= current.terms.max_ordinals / 2
        })
    }

    /// The lease to hand over now, if one waits and the current one is about to end.
    pub(super) fn hand_over(&mut self, price: Micros, now: Now) -> Option<LeaseTerms> {
        let next = self.next?;
        if next.terms.draw_until <= now.monotonic {
            self.next = None;
            return None;
        }
        let ends = self.current.is_none_or(|current| {
            let soon = self.rate() * as_f64(HAND_OVER_MS) + 1.0;
            let impressions = if price.0 > 0 { current.left.left.0 / price.0 } else { i64::MAX };
            current.terms.draw_until.since(now.monotonic) <= HAND_OVER_MS
                || as_f64(impressions.unsigned_abs()) <= soon
                || f64::from(current.left.ordinals_left) <= soon
        });
        if !ends {
            return None;
        }
        self.current = self.next.take();
        Some(next.terms)
    }

    /// Forgets plan and traffic: the contract changed, or the line item was away.
    pub(super) fn replan(&mut self) {
        self.controller = None;
    }

    /// The throttle, when it is another than the server was told last.
    pub(super) fn throttle(&mut self, contract: &LineContract, settled: (Micros, u64), now: Now) -> Option<u64> {
        let throttle = self.next_throttle(contract, settled, now);
        if self.throttle == Some(throttle) {
            return None;
        }
        self.throttle = Some(throttle);
        Some(throttle)
    }

    fn next_throttle(&mut self, contract: &LineContract, (settled, settled_count): (Micros, u64), now: Now) -> u64 {
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
        let Some(total) = contract.own_limit() else { return always };
        let price = contract.expected_price();
        let seen = Observation {
            at: now,
            eligible: self.eligible,
            drawn_count: self.drawn_count,
            settled_count,
            settled,
            price,
        };
        let controller = self.controller.get_or_insert_with(|| {
            let start = contract.flight.start.max(now.wall);
            Controller::new(Plan { start, end: contract.flight.end, spent: settled.min(total), total }, seen)
        });
        controller.observe(seen)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates of a forecast; the books never see this float")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
