//! How often a line item serves: its controller, over what all servers together drew and could have.
//!
//! None of this is money: it is lost at a restart and learned again.

use crate::accounting::LineContract;
use crate::model::{Micros, Now, PacingMode, Tier};
use crate::pacing::{Controller, Observation, Plan, threshold};

/// The pacing of one line item.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Pace {
    /// Impressions drawn, over all servers and their runs since this accounting started.
    drawn_count: u64,
    /// Breaks for which it was eligible, likewise.
    eligible: u64,
    controller: Option<Controller>,
    throttle: Option<u64>,
}

impl Pace {
    /// A server drew so many more, and could have had so many.
    pub(super) const fn add(&mut self, drawn: u64, eligible: u64) {
        self.drawn_count = self.drawn_count.saturating_add(drawn);
        self.eligible = self.eligible.saturating_add(eligible);
    }

    /// Forgets plan and traffic: the contract changed, or the line item was away.
    pub(super) fn replan(&mut self) {
        self.controller = None;
    }

    /// The throttle that servers were told last.
    pub(super) const fn told(&self) -> Option<u64> {
        self.throttle
    }

    /// The throttle, when it is another than servers were told last.
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
