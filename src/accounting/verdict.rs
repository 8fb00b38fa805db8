//! Verdicts on traffic: which charges are taken back when somebody says later that an impression was invalid.
//!
//! An operator names impressions, or a listener's pseudonym and a time. The charged beacons are found in the log ([`Search`]), each is judged against
//! the books ([`judge`]), and what may be taken back becomes a reversal, which accounting applies once. To say the same again changes nothing.
//!
//! Left to others: reading the log and appending (`roles/verdicts`), to apply a reversal ([`super::apply`]).

use std::collections::{BTreeMap, BTreeSet};

use super::account::REVERSIBLE_MS;
use super::lease::Lease;
use super::settle::is_billable;
use crate::events::{BeaconRecord, Envelope, Event, Reversal};
use crate::model::{Day, ImpressionId, InvalidTraffic, Micros, Pseudonym, WallMs};

/// Most impressions of one verdict: their records are one append, and its answer is read by people.
pub const VERDICT_IMPRESSIONS_MAX: usize = 1_000;

/// What a verdict is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// These impressions; at most [`VERDICT_IMPRESSIONS_MAX`].
    Impressions(BTreeSet<ImpressionId>),
    /// Everything that a listener was charged for and that was decided in this time.
    Listener {
        /// Who listened.
        pseudonym: Pseudonym,
        /// First moment.
        from: WallMs,
        /// First moment after.
        to: WallMs,
    },
}

/// Why a charge is not taken back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VerdictRefusal {
    /// Nothing billable was ever heard of it, in this network.
    Unknown,
    /// It was heard and not charged.
    NotCharged,
    /// It was taken back before.
    AlreadyReversed,
    /// It was decided more than seven days ago.
    TooOld,
}

impl VerdictRefusal {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotCharged => "not_charged",
            Self::AlreadyReversed => "already_reversed",
            Self::TooOld => "too_old",
        }
    }
}

/// Looks for the beacons that a claim is about, one record of the log after the other.
#[derive(Debug)]
pub struct Search {
    claim: Claim,
    found: BTreeMap<ImpressionId, BeaconRecord>,
    is_full: bool,
}

impl Search {
    /// A search that has seen nothing.
    #[must_use]
    pub const fn new(claim: Claim) -> Self {
        Self { claim, found: BTreeMap::new(), is_full: false }
    }

    /// Looks at a record.
    pub fn see(&mut self, envelope: &Envelope) {
        let Event::Beacon(beacon) = &envelope.body else { return };
        let is_claimed = match &self.claim {
            Claim::Impressions(ids) => ids.contains(&beacon.impression_id),
            Claim::Listener { pseudonym, from, to } => {
                beacon.pseudonym == *pseudonym && (*from..*to).contains(&beacon.decided_at)
            }
        };
        // All copies of one event come from one token and say the same price: the first stands for them.
        if !is_claimed || !is_billable(beacon, beacon.price_model) || self.found.contains_key(&beacon.impression_id) {
            return;
        }
        if self.found.len() >= VERDICT_IMPRESSIONS_MAX {
            self.is_full = true;
            return;
        }
        self.found.insert(beacon.impression_id, (**beacon).clone());
    }

    /// Whether nothing more can be found.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.claim {
            Claim::Impressions(ids) => self.found.len() == ids.len(),
            Claim::Listener { .. } => self.is_full,
        }
    }

    /// Whether there was more than [`VERDICT_IMPRESSIONS_MAX`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// What was found, and what was named and not found.
    #[must_use]
    pub fn finish(self) -> (BTreeMap<ImpressionId, BeaconRecord>, Vec<ImpressionId>) {
        let missing = match self.claim {
            Claim::Impressions(ids) => ids.into_iter().filter(|id| !self.found.contains_key(id)).collect(),
            Claim::Listener { .. } => Vec::new(),
        };
        (self.found, missing)
    }
}

/// Why an impression that was not found among those that may be taken back is refused: a lease's name says when it was granted, and nothing is
/// drawn from a lease for longer than [`LEASE_MS_MAX`].
#[must_use]
pub fn of_missing(id: ImpressionId, now: WallMs) -> VerdictRefusal {
    let ImpressionId::Leased { lease_id, .. } = id else { return VerdictRefusal::Unknown };
    let is_ordered_by_time = lease_id.as_uuid().get_version_num() == 7;
    let granted_at = i64::try_from(lease_id.as_u128() >> 80).map_or(WallMs(i64::MAX), WallMs);
    if is_ordered_by_time && now.since(granted_at.plus_ms(LEASE_MS_MAX)) > REVERSIBLE_MS {
        VerdictRefusal::TooOld
    } else {
        VerdictRefusal::Unknown
    }
}

/// Longest time in which a lease is drawn from, in milliseconds: the bound of `accounting.lease_seconds`.
const LEASE_MS_MAX: i64 = 3_600_000;

/// What the books say of an impression.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'s> {
    /// Its lease, if there is one.
    pub lease: Option<&'s Lease>,
    /// Whether its charge was taken back.
    pub is_reversed: bool,
    /// The day in the advertiser's zone that it is now.
    pub today: Day,
}

/// The reversal of a charge, or why there is none.
///
/// # Errors
/// [`VerdictRefusal`].
pub fn judge(
    beacon: &BeaconRecord,
    standing: Standing<'_>,
    reason: InvalidTraffic,
    now: WallMs,
) -> Result<Reversal, VerdictRefusal> {
    let ImpressionId::Leased { ordinal, .. } = beacon.impression_id else { return Err(VerdictRefusal::NotCharged) };
    if standing.is_reversed {
        return Err(VerdictRefusal::AlreadyReversed);
    }
    let is_settled = standing.lease.is_some_and(|lease| lease.settled.contains(ordinal));
    // A flat fee is of the whole flight: no one impression was charged with it.
    if !is_settled || beacon.price <= Micros::ZERO {
        return Err(VerdictRefusal::NotCharged);
    }
    if now.since(beacon.decided_at) > REVERSIBLE_MS {
        return Err(VerdictRefusal::TooOld);
    }
    Ok(Reversal {
        impression_id: beacon.impression_id,
        event: beacon.event,
        network_id: beacon.network_id,
        advertiser_id: beacon.advertiser_id,
        campaign_id: beacon.campaign_id,
        line_item_id: beacon.line_item_id,
        price: beacon.price,
        reason,
        decided_at: beacon.decided_at,
        reversed_at: now,
        advertiser_day: standing.today,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::testing::{T0, beacon, lease, settled_lease, with};
    use crate::model::{BeaconEvent, DecisionId};

    fn id(ordinal: u32) -> ImpressionId {
        ImpressionId::Leased { lease_id: lease(1), ordinal }
    }

    fn record(envelope: &Envelope) -> &BeaconRecord {
        let Event::Beacon(beacon) = &envelope.body else { panic!("a beacon") };
        beacon
    }

    #[test]
    fn a_search_finds_the_charged_event_of_each_impression_once() {
        let mut search = Search::new(Claim::Impressions([id(0), id(1), id(7)].into()));
        for (ordinal, event) in [
            (0, BeaconEvent::Start),
            (0, BeaconEvent::Impression),
            (0, BeaconEvent::Impression),
            (1, BeaconEvent::Complete),
            (2, BeaconEvent::Impression),
        ] {
            search.see(&beacon(1, ordinal, 0, event));
        }
        assert!(!search.is_complete());
        let (found, missing) = search.finish();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [id(0)], "a start and a completion are not paid for");
        assert_eq!(missing, [id(1), id(7)]);
    }

    #[test]
    fn a_listener_is_found_by_pseudonym_and_time_up_to_a_bound() {
        let claim = |pseudonym| Claim::Listener { pseudonym: Pseudonym(pseudonym), from: T0, to: T0.plus_ms(2_000) };
        let heard = beacon(1, 0, 0, BeaconEvent::Impression);
        let later = with(beacon(1, 1, 0, BeaconEvent::Impression), |beacon| beacon.decided_at = T0.plus_ms(2_000));
        for (pseudonym, count) in [([0; 16], 1), ([1; 16], 0)] {
            let mut search = Search::new(claim(pseudonym));
            search.see(&heard);
            search.see(&later);
            assert_eq!(search.finish().0.len(), count);
        }
        let mut search = Search::new(claim([0; 16]));
        for ordinal in 0..=1_000 {
            assert!(!search.is_full());
            search.see(&beacon(1, ordinal, 0, BeaconEvent::Impression));
        }
        assert!(search.is_full() && search.is_complete());
    }

    #[test]
    fn what_is_not_found_is_too_old_if_its_lease_says_so() {
        let lease_id = crate::model::LeaseId::at(T0, [7; 10]);
        let id = ImpressionId::Leased { lease_id, ordinal: 0 };
        let end = T0.plus_ms(LEASE_MS_MAX + REVERSIBLE_MS);
        assert_eq!(of_missing(id, end), VerdictRefusal::Unknown);
        assert_eq!(of_missing(id, end.plus_ms(1)), VerdictRefusal::TooOld);
        let drawn = ImpressionId::Leased { lease_id: lease(1), ordinal: 0 };
        assert_eq!(of_missing(drawn, end.plus_ms(1)), VerdictRefusal::Unknown, "a name that says no time");
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let heard = beacon(1, 0, 0, BeaconEvent::Impression);
        let lease = settled_lease(1, 1);
        let standing = Standing { lease: Some(&lease), is_reversed: false, today: Day(20_253) };
        let judged = |standing, beacon: &BeaconRecord, now| judge(beacon, standing, InvalidTraffic::Reported, now);
        let decided = record(&heard).decided_at;
        let last = decided.plus_ms(REVERSIBLE_MS);
        let reversal = judged(standing, record(&heard), last).expect("in time");
        assert_eq!((reversal.price, reversal.reversed_at, reversal.advertiser_day), (Micros(10), last, Day(20_253)));
        assert_eq!(judged(standing, record(&heard), last.plus_ms(1)), Err(VerdictRefusal::TooOld));
        let reversed = Standing { is_reversed: true, ..standing };
        assert_eq!(judged(reversed, record(&heard), last), Err(VerdictRefusal::AlreadyReversed));
        let unleased = Standing { lease: None, ..standing };
        assert_eq!(judged(unleased, record(&heard), last), Err(VerdictRefusal::NotCharged));
        let other = beacon(1, 5, 0, BeaconEvent::Impression);
        assert_eq!(judged(standing, record(&other), last), Err(VerdictRefusal::NotCharged));
        let free = with(heard.clone(), |beacon| beacon.price = Micros::ZERO);
        assert_eq!(judged(standing, record(&free), last), Err(VerdictRefusal::NotCharged));
        let house = with(heard, |beacon| {
            beacon.impression_id = ImpressionId::Unleased { decision_id: DecisionId::from_u128(1), slot: 0 };
        });
        assert_eq!(judged(standing, record(&house), last), Err(VerdictRefusal::NotCharged));
    }
}
