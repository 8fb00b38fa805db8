//! What accounting remembers of one line item at one server between two reports: its leases there, and how fast they are drawn.
//!
//! None of this is money: it is lost at a restart and learned again. Times are the server's: a lease runs on its monotonic clock.

use super::{LeaseLeft, LineReport};
use crate::accounting::MAX_ORDINALS;
use crate::decision::OfferedLease;
use crate::model::{LeaseId, Micros, MonotonicMs};
use crate::pacing::DecayingSum;

/// Impressions of a lease while nothing is known of the need, and the least after: a lease is a record of the log, so it is worth a few.
const LEASE_IMPRESSIONS_MIN: u32 = 20;
/// Memory of the rates of draws and of chances, in milliseconds.
const DRAW_TAU_MS: u32 = 60_000;
/// A line item that could win so many times what the lease that it was given last was made for is given another: what outbids it may end at any moment, also
/// while no owner is there. One that begins is given one small lease, and one large one once its chances are known.
const HOPED_GROWTH: u32 = 16;
/// A lease that waits at accounting is handed over when the time to draw of the one before it lasts for less than this, in milliseconds: two reports.
const HAND_OVER_MS: u64 = 2_000;
/// A server should have enough for this part of a lease's time at any moment, in thirds: ten minutes of a quarter of an hour without Kafka or accounting. Below it
/// a lease is asked for, and one that lasts for a quarter longer than what the server has is handed over; the rest of the one before goes back.
const BRIDGED_THIRDS: u64 = 2;

/// A durable lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    lease: OfferedLease,
    left: LeaseLeft,
}

/// One line item at one server.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Holding {
    /// The lease that the server draws from.
    current: Option<Box<Held>>,
    /// The lease that it gets next, once the current one would not last for long enough.
    next: Option<Box<Held>>,
    /// A lease that the server says it draws from, and that the books didn't have when it said so.
    claimed: Option<LeaseLeft>,
    drawn_count: u64,
    eligible: u64,
    reported_at: MonotonicMs,
    rates: Rates,
    /// What the lease that was asked for last was made for, in impressions.
    hoped: u32,
}

/// How often a line item is drawn at a server, and could be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Rates {
    draws: DecayingSum<DRAW_TAU_MS>,
    chances: DecayingSum<DRAW_TAU_MS>,
    elapsed_ms: DecayingSum<DRAW_TAU_MS>,
}

impl Rates {
    const fn unknown() -> Self {
        let none = DecayingSum::new();
        Self { draws: none, chances: none, elapsed_ms: none }
    }

    fn add(&mut self, elapsed_ms: f64, draws: u64, chances: u64) {
        self.draws.add(elapsed_ms, as_f64(draws));
        self.chances.add(elapsed_ms, as_f64(chances));
        self.elapsed_ms.add(elapsed_ms, elapsed_ms);
    }

    /// Impressions drawn in a millisecond.
    fn drawn(&self) -> f64 {
        // Over ten seconds at least: two draws in the first second say little.
        self.draws.value() / self.elapsed_ms.value().max(10_000.0)
    }

    /// Breaks in a millisecond in which it could have been drawn.
    fn chances(&self) -> f64 {
        self.chances.value() / self.elapsed_ms.value().max(10_000.0)
    }
}

impl Held {
    const fn new(lease: OfferedLease) -> Self {
        let terms = lease.terms;
        let left = LeaseLeft { lease_id: terms.lease_id, left: terms.amount, ordinals_left: terms.max_ordinals };
        Self { lease, left }
    }
}

impl Holding {
    /// Nothing held, by a run of a server whose run before drew at those rates: players come to it as they did.
    pub(super) fn new(at: MonotonicMs, before: Option<Rates>) -> Self {
        Self {
            current: None,
            next: None,
            claimed: None,
            drawn_count: 0,
            eligible: 0,
            reported_at: at,
            rates: before.unwrap_or(const { Rates::unknown() }),
            hoped: LEASE_IMPRESSIONS_MIN,
        }
    }

    /// What the next run of the server is expected to draw.
    pub(super) fn into_rates(self) -> Rates {
        self.rates
    }

    /// A lease became durable. Returns the one that waited and never was handed over, if there was one.
    pub(super) fn hold(&mut self, lease: OfferedLease) -> Option<OfferedLease> {
        // A run's first lease may be asked for before there is anything to remember it by.
        self.hoped = self.hoped.max(lease.terms.max_ordinals);
        self.next.replace(Box::new(Held::new(lease))).map(|held| held.lease)
    }

    /// The server draws from a lease that this accounting doesn't remember: it was handed over before a restart.
    pub(super) fn adopt(&mut self, lease: OfferedLease, left: LeaseLeft) {
        self.current.get_or_insert(Box::new(Held { lease, left }));
        self.claimed = None;
    }

    /// The server draws from a lease that the books don't have yet.
    pub(super) const fn claim(&mut self, left: LeaseLeft) {
        self.claimed = Some(left);
    }

    /// Takes the lease that the server claims to draw from, to be looked for in the books.
    pub(super) fn take_claimed(&mut self) -> Option<LeaseLeft> {
        self.claimed.take().filter(|_| self.current.is_none())
    }

    /// What the server did before anybody here listened: it is known from now on, and tells nothing of its rate.
    pub(super) const fn begin(&mut self, report: &LineReport) {
        (self.drawn_count, self.eligible) = (report.drawn_count, report.eligible);
    }

    /// The server gave a lease back.
    pub(super) fn returned(&mut self, lease_id: LeaseId) {
        self.current.take_if(|held| held.lease.terms.lease_id == lease_id);
        self.next.take_if(|held| held.lease.terms.lease_id == lease_id);
    }

    /// Gives up the lease that waits. It never was handed over.
    pub(super) fn take_waiting(&mut self) -> Option<OfferedLease> {
        self.next.take().map(|held| held.lease)
    }

    /// Takes what the server says; returns draws and eligible breaks since the last time.
    pub(super) fn report(&mut self, report: &LineReport, at: MonotonicMs) -> (u64, u64) {
        let is_overtaken = at < self.reported_at;
        let elapsed = as_f64(at.since(self.reported_at));
        let drawn = report.drawn_count.saturating_sub(self.drawn_count);
        let eligible = report.eligible.saturating_sub(self.eligible);
        self.rates.add(elapsed, drawn, eligible);
        self.reported_at = self.reported_at.max(at);
        self.drawn_count = self.drawn_count.max(report.drawn_count);
        self.eligible = self.eligible.max(report.eligible);
        if !is_overtaken {
            match (&mut self.current, report.lease) {
                (Some(current), Some(left)) if current.lease.terms.lease_id == left.lease_id => current.left = left,
                (Some(_), _) => {}
                (None, claimed) => self.claimed = claimed,
            }
        }
        (drawn, eligible)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> (u64, u64, Option<LeaseLeft>) {
        (self.drawn_count, self.eligible, self.current.as_ref().map(|held| held.left).or(self.claimed))
    }

    /// Impressions that a lease should cover for it to last `lease_ms`.
    pub(super) fn impressions_needed(&self, lease_ms: u64) -> u32 {
        size(self.rates.drawn() * as_f64(lease_ms))
    }

    /// Impressions that a lease would have to cover for it to last `lease_ms`, if the line item won all its chances.
    pub(super) fn impressions_hoped(&self, lease_ms: u64) -> u32 {
        size(self.rates.chances() * as_f64(lease_ms)).min(MAX_ORDINALS)
    }

    /// A lease is asked for that is made for so many impressions.
    pub(super) const fn asked(&mut self, hoped: u32) {
        self.hoped = hoped;
    }

    /// Whether another lease should be asked for, `at` the server's present.
    pub(super) fn wants_lease(&self, price: Micros, lease_ms: u64, at: MonotonicMs) -> bool {
        if let Some(next) = &self.next {
            return next.lease.terms.draw_until <= at.plus_ms(HAND_OVER_MS);
        }
        if self.impressions_hoped(lease_ms) / HOPED_GROWTH >= self.hoped {
            return true;
        }
        self.current.as_ref().is_none_or(|current| {
            let terms = current.lease.terms;
            // Of a line item that nothing was drawn of, time alone renews the lease only at its end: early it would strand more than it helps.
            let is_drawn = self.rates.drawn() > 0.0;
            terms.draw_until.since(at) <= HAND_OVER_MS
                || (is_drawn && self.lasts(current, price, at) < bridged(lease_ms))
                || current.left.left.0 <= terms.amount.0 / 2
                || current.left.ordinals_left <= terms.max_ordinals / 2
        })
    }

    /// Whether a lease waits to be handed over.
    pub(super) const fn has_waiting(&self) -> bool {
        self.next.is_some()
    }

    /// Whether within `ms` time alone may ask for something: a lease to be handed over, or another one to be asked for.
    pub(super) fn turns_within(&self, ms: u64, lease_ms: u64, at: MonotonicMs) -> bool {
        let Some(current) = self.current.as_ref().filter(|_| !self.has_waiting()) else { return true };
        // As in `wants_lease`: of what is drawn, once too little time to draw is left to bridge an outage.
        let before_ms = if self.rates.drawn() > 0.0 { lease_ms / 3 * BRIDGED_THIRDS } else { HAND_OVER_MS };
        current.lease.terms.draw_until.since(at) <= before_ms.saturating_add(ms)
    }

    /// How long a lease lasts, in milliseconds: until its time to draw is over, or it is drawn, at the rate of what is won or else of what could be.
    fn lasts(&self, held: &Held, price: Micros, at: MonotonicMs) -> f64 {
        let time = as_f64(held.lease.terms.draw_until.since(at));
        let rate = if self.rates.drawn() > 0.0 { self.rates.drawn() } else { self.rates.chances() };
        let paid = if price.0 > 0 { (held.left.left.0 / price.0).max(0).unsigned_abs() } else { u64::MAX };
        // One impression less: the last one of a lease may be drawn while this is reckoned.
        let impressions = as_f64(paid.min(u64::from(held.left.ordinals_left)).saturating_sub(1));
        if rate > 0.0 { time.min(impressions / rate) } else { time }
    }

    /// The lease to hand over now: if one waits, and the current one is about to end, or would not bridge an outage and this one lasts for longer.
    pub(super) fn hand_over(&mut self, price: Micros, lease_ms: u64, at: MonotonicMs) -> HandOver {
        let Some(next) = &self.next else { return HandOver::Nothing };
        let lease = next.lease;
        if lease.terms.draw_until <= at {
            self.next = None;
            return HandOver::TooLate(lease);
        }
        let ends = self.current.as_ref().is_none_or(|current| {
            let (lasts, next_lasts) = (self.lasts(current, price, at), self.lasts(next, price, at));
            lasts <= as_f64(HAND_OVER_MS) || (lasts < bridged(lease_ms) && next_lasts >= lasts * 1.25)
        });
        if !ends {
            return HandOver::Nothing;
        }
        self.current = self.next.take();
        HandOver::Now(lease)
    }
}

/// How long what a server has should last, in milliseconds.
const fn bridged(lease_ms: u64) -> f64 {
    as_f64(lease_ms / 3 * BRIDGED_THIRDS)
}

/// The size of a lease that covers so many impressions: sizes double.
fn size(needed: f64) -> u32 {
    // Saturating: a float above the range becomes its end, and sizes are clamped by the planner.
    let sizes = (0..=16).map(|doubling| LEASE_IMPRESSIONS_MIN << doubling);
    sizes.into_iter().find(|size| f64::from(*size) >= needed.ceil()).unwrap_or(u32::MAX)
}

/// What is to be done with the lease that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandOver {
    /// None waits, or not yet.
    Nothing,
    /// Hand it over.
    Now(OfferedLease),
    /// Its time to draw went by while it waited.
    TooLate(OfferedLease),
}

#[expect(clippy::cast_precision_loss, reason = "rates of a forecast; the books never see this float")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{LeaseOwner, LeaseTerms};
    use crate::model::{AdvertiserId, CampaignId, LineItemId, NetworkId, WallMs};

    const PRICE: Micros = Micros(10);
    const LEASE_MS: u64 = 900_000;

    fn lease(id: u128, ordinals: u32) -> OfferedLease {
        OfferedLease {
            owner: LeaseOwner {
                network_id: NetworkId::from_u128(1),
                advertiser_id: AdvertiserId::from_u128(2),
                campaign_id: CampaignId::from_u128(3),
                line_item_id: LineItemId::from_u128(4),
            },
            terms: LeaseTerms {
                lease_id: LeaseId::from_u128(id),
                amount: PRICE.times(ordinals).expect("small"),
                max_ordinals: ordinals,
                draw_until: MonotonicMs(900_000),
                last_billable_until: WallMs(9),
            },
        }
    }

    /// A holding whose server has drawn so many in ten seconds from a lease that has `left`, while another of `next` impressions waits.
    fn holding(drawn: u64, left: u32, next: u32) -> (Holding, MonotonicMs) {
        let mut holding = Holding::new(MonotonicMs(0), None);
        let now = MonotonicMs(10_000);
        let Held { lease: current, left: mut rest } = Held::new(lease(1, 8_000));
        rest.ordinals_left = left;
        rest.left = PRICE.times(left).expect("small");
        holding.adopt(current, rest);
        let line_item_id = LineItemId::from_u128(4);
        let report =
            LineReport { line_item_id, drawn: Micros(0), drawn_count: drawn, eligible: drawn, lease: Some(rest) };
        holding.report(&report, now);
        holding.hold(lease(2, next));
        (holding, now)
    }

    #[test]
    fn a_line_item_that_is_outbid_is_given_once_what_it_could_win() {
        let mut holding = Holding::new(MonotonicMs(0), None);
        let Held { lease: current, left } = Held::new(lease(1, 20));
        holding.adopt(current, left);
        let now = MonotonicMs(1_000);
        assert!(!holding.wants_lease(PRICE, LEASE_MS, now));
        let line_item_id = LineItemId::from_u128(4);
        let report = LineReport { line_item_id, drawn: Micros(0), drawn_count: 0, eligible: 75, lease: Some(left) };
        holding.report(&report, now);
        // 75 in ten seconds at least: 6,750 in a lease's time.
        assert_eq!((holding.impressions_needed(LEASE_MS), holding.impressions_hoped(LEASE_MS)), (20, 10_240));
        assert!(holding.wants_lease(PRICE, LEASE_MS, now));
        holding.asked(10_240);
        assert!(!holding.wants_lease(PRICE, LEASE_MS, now), "whatever came of it");
        holding.hold(lease(2, 10_240));
        assert!(matches!(holding.hand_over(PRICE, LEASE_MS, now), HandOver::Now(_)));
        assert!(!holding.wants_lease(PRICE, LEASE_MS, now));
    }

    #[test]
    fn a_run_is_given_at_once_what_the_run_before_it_drew() {
        let (before, _) = holding(100, 5_900, 10_000);
        let needed = before.impressions_needed(LEASE_MS);
        assert_eq!(needed, 10_240, "ten a second, for a quarter of an hour");
        let fresh = Holding::new(MonotonicMs(3), Some(before.into_rates()));
        assert_eq!(fresh.impressions_needed(LEASE_MS), needed);
        assert_eq!(Holding::new(MonotonicMs(3), None).impressions_needed(LEASE_MS), LEASE_IMPRESSIONS_MIN);
    }

    #[test]
    fn a_server_has_enough_for_ten_minutes_at_any_moment() {
        // Ten a second: 6,000 last for ten minutes.
        let handed = |left, next| {
            let (mut holding, now) = holding(100, left, next);
            matches!(holding.hand_over(PRICE, LEASE_MS, now), HandOver::Now(_))
        };
        assert!(handed(5_900, 10_000));
        assert!(!handed(6_100, 10_000), "what it has lasts");
        assert!(!handed(1_000, 1_200), "at a budget's end leases are not exchanged for their like");
        assert!(handed(15, 1), "what it has ends within two reports");
        for (left, wants) in [(7_000, false), (5_000, true)] {
            let (mut holding, now) = holding(100, left, 1);
            holding.take_waiting();
            holding.asked(MAX_ORDINALS);
            assert_eq!(holding.wants_lease(PRICE, LEASE_MS, now), wants, "{left}");
        }
    }
}
