//! What one listener and one address report too much of.
//!
//! Three limits of impressions by the time of their decision: of a listener in an hour (more than a person hears), of a listener in ten minutes
//! (a burst), and of an address in an hour (a farm). The first that is passed is the verdict.

use std::net::IpAddr;

use super::rates::{ImpressionRates, RateKey, RateLimit};
use crate::model::{BeaconEvent, ImpressionId, InvalidTraffic, ListenerKey, WallMs};

const MINUTE_MS: i64 = 60_000;
/// Length of the windows of an hour, in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Length of the window that a burst is looked for in, in milliseconds.
pub const BURST_MS: i64 = 10 * MINUTE_MS;

/// The limits; 0 turns a rule off. The default is all off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ActivityLimits {
    /// Most impressions of one listener decided within an hour.
    pub listener_hour: usize,
    /// Most impressions of one listener decided within ten minutes.
    pub listener_burst: usize,
    /// Most impressions decided within an hour that one address reports.
    pub address_hour: usize,
    /// Impressions that each rule remembers, over all listeners or addresses.
    pub remembered: usize,
}

/// An impression of which something was reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activity {
    /// Whose.
    pub listener_key: ListenerKey,
    /// Which.
    pub impression_id: ImpressionId,
    /// When it was decided.
    pub decided_at: WallMs,
    /// From where it was reported.
    pub address: Option<IpAddr>,
}

/// What was reported so far, as far as it is remembered.
#[derive(Debug)]
pub struct ActivityRules {
    listener_hour: Option<ImpressionRates>,
    listener_burst: Option<ImpressionRates>,
    address_hour: Option<ImpressionRates>,
}

impl ActivityRules {
    /// Rules that have seen nothing yet.
    #[must_use]
    pub fn new(limits: ActivityLimits) -> Self {
        let rule = |impressions_max, window_ms| {
            (impressions_max > 0)
                .then(|| ImpressionRates::new(RateLimit { impressions_max, window_ms }, limits.remembered))
        };
        Self {
            listener_hour: rule(limits.listener_hour, HOUR_MS),
            listener_burst: rule(limits.listener_burst, BURST_MS),
            address_hour: rule(limits.address_hour, HOUR_MS),
        }
    }

    /// The first rule that the impression breaks. The verdict is the impression's: whatever else is reported of it, and however often, gets the
    /// same, as long as it is remembered (INV-33).
    pub fn judge(&mut self, activity: Activity) -> Option<InvalidTraffic> {
        let listener = RateKey::from_be_bytes(activity.listener_key.0);
        let address = activity.address.and_then(household);
        let rules = [
            (&mut self.listener_hour, Some(listener), InvalidTraffic::ImpossibleActivity),
            (&mut self.listener_burst, Some(listener), InvalidTraffic::ListenerRate),
            (&mut self.address_hour, address, InvalidTraffic::AddressRate),
        ];
        rules.into_iter().find_map(|(rule, key, verdict)| {
            let admitted = rule.as_mut()?.admits(key?, activity.impression_id, activity.decided_at);
            (!admitted).then_some(verdict)
        })
    }

    /// Listeners and addresses forgotten so far because there was no room to remember them.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        let rules = [&self.listener_hour, &self.listener_burst, &self.address_hour];
        rules.into_iter().flatten().map(ImpressionRates::forgotten_keys).fold(0, u64::saturating_add)
    }
}

/// Whether an event says that an ad was heard or acted on, so that it counts as activity. What only gives a draw back does not.
#[must_use]
pub const fn is_activity(event: BeaconEvent, impression_at_start: bool) -> bool {
    match event {
        BeaconEvent::Start => impression_at_start,
        BeaconEvent::Impression | BeaconEvent::Complete | BeaconEvent::Click => true,
        BeaconEvent::FirstQuartile
        | BeaconEvent::Midpoint
        | BeaconEvent::ThirdQuartile
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute
        | BeaconEvent::Error
        | BeaconEvent::Void
        | BeaconEvent::NotUsed => false,
    }
}

/// The key of the household behind an address: an IPv4 address, or the /64 of an IPv6 address, which one household has all of. None for an
/// address that is nobody's on the Internet: behind it stands a proxy that was not named, or a test.
fn household(address: IpAddr) -> Option<RateKey> {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && second & 0xC0 == 64;
            let is_public =
                !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || is_shared);
            is_public.then(|| u128::from(u32::from(v4)))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            let is_local = first & 0xFE00 == 0xFC00 || first & 0xFFC0 == 0xFE80;
            let is_public = !(is_local || v6.is_loopback() || v6.is_unspecified());
            is_public.then(|| u128::from(v6) >> 64 << 64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DecisionId;

    const LIMITS: ActivityLimits =
        ActivityLimits { listener_hour: 5, listener_burst: 3, address_hour: 7, remembered: 1_000 };

    /// The `number`th impression of a listener, decided at a minute, told from an address.
    fn told(listener: u8, number: u128, minute: i64, address: &str) -> Activity {
        Activity {
            listener_key: ListenerKey([listener; 16]),
            impression_id: ImpressionId::Unleased { decision_id: DecisionId::from_u128(number), slot: listener },
            decided_at: WallMs(minute * MINUTE_MS),
            address: Some(address.parse().expect("an address")),
        }
    }

    #[test]
    fn the_first_rule_that_is_broken_is_the_verdict() {
        let mut rules = ActivityRules::new(LIMITS);
        for (number, minute) in [(1, 0), (2, 1), (3, 2)] {
            assert_eq!(rules.judge(told(1, number, minute, "198.51.100.1")), None);
        }
        assert_eq!(rules.judge(told(1, 4, 3, "198.51.100.1")), Some(InvalidTraffic::ListenerRate));
        // What the later rule refused was admitted by the earlier one, which now has four.
        assert_eq!(rules.judge(told(1, 5, 20, "198.51.100.1")), None);
        assert_eq!(rules.judge(told(1, 6, 21, "198.51.100.1")), Some(InvalidTraffic::ImpossibleActivity));
        assert_eq!(rules.judge(told(1, 7, 60, "198.51.100.1")), None);
        for number in 0..2 {
            assert_eq!(rules.judge(told(2, number, 30 * i64::from(number == 1), "198.51.100.1")), None);
        }
        assert_eq!(rules.judge(told(3, 1, 10, "198.51.100.1")), None);
        assert_eq!(rules.judge(told(4, 1, 10, "198.51.100.1")), Some(InvalidTraffic::AddressRate));
        assert_eq!(rules.judge(told(4, 2, 10, "198.51.100.2")), None);
        // The same verdicts again, for the same impressions.
        assert_eq!(rules.judge(told(1, 1, 0, "198.51.100.1")), None);
        assert_eq!(rules.judge(told(1, 6, 21, "198.51.100.1")), Some(InvalidTraffic::ImpossibleActivity));
        assert_eq!(rules.judge(told(4, 1, 10, "198.51.100.1")), Some(InvalidTraffic::AddressRate));
    }

    #[test]
    fn a_rule_with_limit_0_is_off() {
        let mut rules =
            ActivityRules::new(ActivityLimits { listener_hour: 0, listener_burst: 0, address_hour: 0, ..LIMITS });
        assert!((0..100).all(|number| rules.judge(told(1, number, 0, "198.51.100.1")).is_none()));
        assert_eq!(rules.forgotten(), 0);
    }

    #[test]
    fn a_household_is_an_address_or_the_64_bits_before_its_devices() {
        let same = |one: &str, other: &str| {
            let key = |text: &str| household(text.parse().expect("an address"));
            key(one) == key(other)
        };
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:198.51.100.1", "198.51.100.1"));
        assert!(!same("198.51.100.1", "198.51.100.2"));
        for nobody in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "0.0.0.0",
        ] {
            assert_eq!(household(nobody.parse().expect("an address")), None, "{nobody}");
        }
        assert!(household("100.128.0.1".parse().expect("an address")).is_some());
    }

    #[test]
    fn what_gives_a_draw_back_is_no_activity() {
        let counted = BeaconEvent::ALL.into_iter().filter(|event| is_activity(*event, false));
        assert_eq!(counted.collect::<Vec<_>>(), [BeaconEvent::Impression, BeaconEvent::Complete, BeaconEvent::Click]);
        assert!(is_activity(BeaconEvent::Start, true));
    }
}
