//! Who the players are, and what the rules of invalid traffic must say of them, counted in the plainest way.
//!
//! Most are listeners. The limits lie just above what a listener can hear in a run, so that no rule may ever fire for one; a robot, a data
//! centre, a listener who bursts and a farm of players behind one address are there for the rules to find.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::impressions::invalid::{ActivityLimits, AddressRanges, BURST_MS, HOUR_MS, Sender, SenderRules};
use crate::model::{BeaconEvent, ImpressionId, InvalidTraffic, ListenerKey, WallMs};
use crate::tokens::Claims;
use crate::workload::Draws;

/// Most impressions of a listener within ten minutes. One device asks at most 28 times in them for at most three ads, and some have two.
const BURST_MAX: usize = 170;
/// Most impressions of an address within an hour: each device has its own, and asks at most 34 times in a run.
const ADDRESS_MAX: usize = 105;
/// Most impressions of a listener within an hour: some bursts pass this too.
const HOUR_MAX: usize = 210;
/// Impressions that each rule remembers: all of a run.
const REMEMBERED: usize = 1 << 20;
/// Stream of draws for who the players are.
const STREAM_WHO: u64 = 8;
/// The first players are listeners in every run, however few there are.
const ALWAYS_LISTENERS: usize = 2;

/// What a player is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Somebody who listens.
    Listener,
    /// Says of itself that it is a robot: it is given no paid ads.
    Robot,
    /// Asks like a player and reports from a data centre.
    DataCentre,
    /// Asks for break after break, whether or not anybody can have heard the one before.
    Burst,
    /// One of several behind one address.
    Farm,
}

impl Who {
    /// What the players of a seed are.
    #[must_use]
    pub fn of_seed(seed: u64, players: usize) -> Vec<Self> {
        let mut draws = Draws::new(seed, STREAM_WHO);
        let who = |index| {
            let drawn = draws.below(100);
            match drawn {
                _ if index < ALWAYS_LISTENERS => Self::Listener,
                0..=2 => Self::Robot,
                3..=6 => Self::DataCentre,
                7..=9 => Self::Burst,
                10..=15 => Self::Farm,
                _ => Self::Listener,
            }
        };
        (0..players).map(who).collect()
    }

    /// As what the player of that number shows itself to a server that it reports to.
    #[must_use]
    pub fn sender(self, index: usize) -> Sender<'static> {
        let address = match self {
            Self::Listener | Self::Robot | Self::Burst => {
                let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
                Ipv4Addr::new(203, high, 113, low)
            }
            Self::DataCentre => Ipv4Addr::new(192, 0, 2, 9),
            Self::Farm => Ipv4Addr::new(198, 51, 100, 7),
        };
        let user_agent = if self == Self::Robot { "examplebot/2.1" } else { "player/1.0" };
        Sender { address: Some(IpAddr::V4(address)), user_agent: Some(user_agent) }
    }

    /// What the lists say of it.
    #[must_use]
    pub const fn listed(self) -> Option<InvalidTraffic> {
        match self {
            Self::Robot => Some(InvalidTraffic::Robot),
            Self::DataCentre => Some(InvalidTraffic::DataCentre),
            Self::Listener | Self::Burst | Self::Farm => None,
        }
    }
}

/// The lists that servers read at their start.
///
/// # Panics
/// Never: the list is a good one.
#[must_use]
pub fn lists() -> SenderRules {
    let data_centres = AddressRanges::parse("192.0.2.0/24").expect("a network");
    SenderRules { data_centres, ..SenderRules::default() }
}

/// The limits of activity that servers are set to.
pub const LIMITS: ActivityLimits = ActivityLimits {
    listener_hour: HOUR_MAX,
    listener_burst: BURST_MAX,
    address_hour: ADDRESS_MAX,
    remembered: REMEMBERED,
};

/// Every impression that was let through, for ever.
#[derive(Clone, Debug)]
struct LetThrough<K>(BTreeMap<K, Vec<(WallMs, ImpressionId)>>);

impl<K> Default for LetThrough<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> LetThrough<K> {
    fn admits(&mut self, key: K, max: usize, window_ms: i64, one: (WallMs, ImpressionId)) -> bool {
        let held = self.0.entry(key).or_default();
        if held.contains(&one) {
            return true;
        }
        let mut with = held.clone();
        with.push(one);
        with.sort_unstable();
        // Too many are those of which the first and the last fit into one window.
        let fits = with.iter().zip(with.iter().skip(max)).all(|(first, last)| last.0.since(first.0) >= window_ms);
        if fits {
            *held = with;
        }
        fits
    }
}

/// What one run of a server was told of so far: its rules know nothing else.
#[derive(Clone, Default, Debug)]
pub struct Told {
    hour: LetThrough<ListenerKey>,
    burst: LetThrough<ListenerKey>,
    addresses: LetThrough<usize>,
}

impl Told {
    /// What must be said of a beacon of that player.
    pub fn of(&mut self, (who, player): (Who, usize), event: BeaconEvent, claims: &Claims) -> Option<InvalidTraffic> {
        if who.listed().is_some() {
            return who.listed();
        }
        if !matches!(event, BeaconEvent::Impression | BeaconEvent::Complete | BeaconEvent::Click) {
            return None;
        }
        let one = (claims.decided_at, claims.impression_id);
        // All of a farm have the address of one that is no player.
        let address = if who == Who::Farm { usize::MAX } else { player };
        if !self.hour.admits(claims.listener_key, HOUR_MAX, HOUR_MS, one) {
            Some(InvalidTraffic::ImpossibleActivity)
        } else if !self.burst.admits(claims.listener_key, BURST_MAX, BURST_MS, one) {
            Some(InvalidTraffic::ListenerRate)
        } else {
            (!self.addresses.admits(address, ADDRESS_MAX, HOUR_MS, one)).then_some(InvalidTraffic::AddressRate)
        }
    }
}
