//! Invalid traffic: what is classified by rules in an order, the first that matches wins, and never billed; but kept, never dropped.
//!
//! 1. a known robot, by its user agent ([`RobotList`]);
//! 2. a data centre, by its address ([`AddressRanges`]);
//! 3. more of one listener in an hour than a person hears, 4. a burst of one listener, 5. too much of one address ([`ActivityRules`]).
//!
//! The first two are facts of a request, and are looked at when a break is asked for too: invalid traffic is given no paid ads. Whether an
//! ad can have played as far as is said is a matter of its times ([`super::timing`]), which accounting judges from the record.
//!
//! The whole address is only ever looked up here, and held in memory for the third kind of rule; what is written down is cut (INV-20).

mod activity;
mod list;
mod ranges;
mod rates;
mod robots;

use std::net::IpAddr;

pub use activity::{Activity, ActivityLimits, ActivityRules, BURST_MS, HOUR_MS, is_activity};
pub use list::ListError;
pub use ranges::{AddressRange, AddressRanges, RANGES_MAX, RangeError};
pub use rates::{ImpressionRates, RateKey, RateLimit, WINDOWS_KEPT};
pub use robots::{ROBOTS_MAX, RobotList, USER_AGENT_BYTES_MAX, WORD_BYTES_MAX, WORD_BYTES_MIN};

use crate::model::InvalidTraffic;

/// Who sent a request, as far as the request shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sender<'a> {
    /// Its whole address; for looking up, never for writing down.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub user_agent: Option<&'a str>,
}

/// The lists by which a sender is known to be no listener.
#[derive(Clone, Debug, Default)]
pub struct SenderRules {
    /// Known robots.
    pub robots: RobotList,
    /// Networks that no listener is in.
    pub data_centres: AddressRanges,
}

impl SenderRules {
    /// Why the sender is no listener, if a list says so.
    #[must_use]
    pub fn judge(&self, sender: Sender<'_>) -> Option<InvalidTraffic> {
        if sender.user_agent.is_some_and(|user_agent| self.robots.knows(user_agent)) {
            Some(InvalidTraffic::Robot)
        } else if sender.address.is_some_and(|address| self.data_centres.contains(address)) {
            Some(InvalidTraffic::DataCentre)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_in_a_data_centre_is_a_robot() {
        let data_centres = AddressRanges::parse("192.0.2.0/24").expect("a list");
        let rules = SenderRules { data_centres, ..SenderRules::default() };
        let judge = |user_agent, address: &str| rules.judge(Sender { user_agent, address: address.parse().ok() });
        assert_eq!(judge(Some("goodbot"), "192.0.2.1"), Some(InvalidTraffic::Robot));
        assert_eq!(judge(Some("player"), "192.0.2.1"), Some(InvalidTraffic::DataCentre));
        assert_eq!(judge(None, "192.0.2.1"), Some(InvalidTraffic::DataCentre));
        assert_eq!(judge(Some("player"), "192.0.3.1"), None);
        assert_eq!(judge(None, ""), None);
    }
}
