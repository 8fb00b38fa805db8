//! The truth of a run, as only somebody outside can know it: what was answered, heard and acknowledged, in true time.

use std::collections::BTreeMap;

use super::catalogue::TOKEN_LIFE_MS;
use crate::model::{BeaconEvent, BootId, ImpressionId, LeaseId, LineItemId, WallMs};
use crate::tokens::Claims;

/// So many of a player's last ads are looked at for unreported ones: some minutes of listening.
const UNREPORTED_LOOKED_AT: usize = 40;

/// Player, number of its request, server and boot.
pub type Asked = (usize, u32, usize, BootId);

/// One ad that a player was told of.
#[derive(Clone, PartialEq, Debug)]
pub struct Ad {
    /// What its token says.
    pub claims: Claims,
    /// Whose.
    pub player: usize,
    /// When it was decided, in milliseconds after the start.
    pub decided_at: u64,
    /// Whether the clock of the server that decided was right.
    pub decided_by_right_clock: bool,
    /// When it was heard, if it was.
    pub heard_at: Option<u64>,
    /// When its player first said that it was heard, to whoever listened.
    pub reported_at: Option<u64>,
    /// Its beacons that were acknowledged.
    pub acknowledged: BTreeMap<BeaconEvent, Acknowledged>,
}

/// A beacon that a server acknowledged, at least once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// When first, in milliseconds after the start.
    pub first_at: u64,
    /// The earliest time of receipt that a server with a right clock stamped on it.
    pub received_at: Option<WallMs>,
    /// Servers and sequence numbers of its records.
    pub records: Vec<(usize, u64)>,
}

impl Ad {
    /// Whether its impression was acknowledged, and in time by right clocks.
    #[must_use]
    pub fn heard_in_time(&self) -> bool {
        self.decided_by_right_clock
            && self
                .acknowledged
                .get(&BeaconEvent::Impression)
                .and_then(|beacon| beacon.received_at)
                .is_some_and(|received_at| received_at <= self.claims.billable_until)
    }
}

/// All that the world knows of its own.
#[derive(Default, Debug)]
pub struct Board {
    /// Ads, by impression.
    pub ads: BTreeMap<ImpressionId, Ad>,
    /// Leases whose grants are in the log, and the boots that they are for.
    pub granted: BTreeMap<LeaseId, BootId>,
    /// Moments at which what was known of a player's caps may have been lost, in milliseconds after the start.
    pub excuses: BTreeMap<usize, Vec<u64>>,
    /// Answers by player, request, server and boot, with their moments: a repeat must be equal.
    pub answers: BTreeMap<Asked, (u64, Vec<u8>)>,
    /// When a paid ad was last answered.
    pub last_paid_at: u64,
    /// Impressions of each player, in order of their decisions.
    pub recent: BTreeMap<usize, Vec<ImpressionId>>,
}

impl Board {
    /// Notes that one exposure more than the cap may be heard from here on.
    pub fn excuse(&mut self, player: usize, at: u64) {
        self.excuses.entry(player).or_default().push(at);
    }

    /// How many of the player's last ads were heard and are not reported to any server: the next break gives them up.
    #[must_use]
    pub fn unreported(&self, player: usize, at: u64) -> usize {
        let recent = self.recent.get(&player).map_or(&[][..], Vec::as_slice);
        let unreported = |ad: &&Ad| {
            ad.heard_at.is_some_and(|heard_at| heard_at <= at)
                && !ad.acknowledged.contains_key(&BeaconEvent::Impression)
        };
        recent.iter().rev().take(UNREPORTED_LOOKED_AT).filter_map(|id| self.ads.get(id)).filter(unreported).count()
    }

    /// Whether what was known of the player may have been lost since that moment.
    #[must_use]
    pub fn is_excused_since(&self, player: usize, since: u64) -> bool {
        self.excuses.get(&player).is_some_and(|excuses| excuses.iter().any(|at| *at >= since))
    }

    /// Notes an acknowledged beacon.
    pub fn acknowledge(
        &mut self,
        id: ImpressionId,
        event: BeaconEvent,
        at: u64,
        received_at: Option<WallMs>,
        record: (usize, u64),
    ) {
        let Some(ad) = self.ads.get_mut(&id) else { return };
        let known = ad.acknowledged.entry(event).or_insert_with(|| Acknowledged {
            first_at: at,
            received_at: None,
            records: Vec::new(),
        });
        known.received_at = match (known.received_at, received_at) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        known.records.push(record);
    }

    /// Ads heard of each line item, and what they cost. Without those that were first reported when half of their token's life was over: what a
    /// player that was away or an outage of that length makes late is lost by contract, whatever the servers do. And without those that only a
    /// server with a wrong clock knows of, which it notices within seconds.
    #[must_use]
    pub fn heard_micros(&self) -> BTreeMap<LineItemId, (u64, i64)> {
        let mut heard: BTreeMap<LineItemId, (u64, i64)> = BTreeMap::new();
        let in_time = |ad: &&Ad| {
            let heard_by = ad.acknowledged.get(&BeaconEvent::Impression);
            ad.decided_by_right_clock
                && heard_by.is_none_or(|beacon| beacon.received_at.is_some())
                && ad.reported_at.is_some_and(|at| at <= ad.decided_at + TOKEN_LIFE_MS / 2)
        };
        for ad in self.ads.values().filter(|ad| ad.heard_at.is_some()).filter(in_time) {
            let sum = heard.entry(ad.claims.line_item_id).or_default();
            sum.0 += 1;
            sum.1 += ad.claims.price.0;
        }
        heard
    }
}
