//! What happens to a listener's state, as pure changes of it.
//!
//! The life of an exposure: *reserved* when a break is answered (it counts against caps from then on), *heard* when the impression is reported
//! (it counts for as long as windows look back), dropped when it was given up or its reservation ran out. A break is *open* from its answer
//! until it expires; while it is, a repeat of its request gets the same answer.
//!
//! Ads of line items with a strict cap live in a list of their own, by the rules of [`strict`]: giving up an earlier break doesn't drop them, because
//! another device may play it still, and no bound does.

use crate::caps::strict;
use crate::model::{Exposure, ExposureState, ImpressionId, ListenerState, OpenAd, OpenBreak, RequestId, WallMs};

/// How long an exposure is kept at most, in milliseconds: the longest window of a cap, 35 days.
pub const EXPOSURE_LIFE_MS: i64 = 35 * 86_400_000;

/// Most breaks that are open ahead of time.
pub const MAX_PREFETCHED: usize = ListenerState::MAX_OPEN_BREAKS - 1;

/// Why an answered break can't be opened for a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenRefusal {
    /// Two are open ahead of time already.
    #[error("{MAX_PREFETCHED} breaks are open ahead of time already")]
    TooManyPrefetched,
}

impl OpenRefusal {
    /// Its name in answers, metrics and logs; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooManyPrefetched => "too_many_prefetched",
        }
    }
}

/// The answer to the open break of that request.
#[must_use]
pub fn repeated<'s>(state: &'s ListenerState, request_id: &RequestId, now: WallMs) -> Option<&'s [u8]> {
    let open = state.open_breaks.iter().find(|open| &open.request_id == request_id && now < open.expires_at)?;
    Some(&open.answer)
}

/// Whether another break may be opened ahead of time.
///
/// # Errors
/// [`OpenRefusal::TooManyPrefetched`] when as many are open as may be.
pub fn may_prefetch(state: &ListenerState, now: WallMs) -> Result<(), OpenRefusal> {
    let open = state.open_breaks.iter().filter(|open| open.prefetch && now < open.expires_at).count();
    if open < MAX_PREFETCHED { Ok(()) } else { Err(OpenRefusal::TooManyPrefetched) }
}

/// Drops what is over: open breaks past their end, reservations that ran out, exposures that no window can see.
pub fn expire(state: &mut ListenerState, now: WallMs) {
    state.open_breaks.retain(|open| now < open.expires_at);
    state.exposures.retain(|exposure| {
        let counts = match exposure.state {
            ExposureState::Reserved { until } => now < until,
            ExposureState::Heard => true,
        };
        counts && now.since(exposure.at) < EXPOSURE_LIFE_MS
    });
    strict::expire(&mut state.strict, now);
}

/// Opens an answered break and reserves its exposures; those that the strict row has are reserved already. Returns the ads given up for it: those
/// of the listener's open break that was not asked ahead of time, as far as they were not heard, when this one was not either. Given up, an ad
/// counts no more, unless a strict cap counts it.
pub fn open(state: &mut ListenerState, opened: OpenBreak, reserved: Vec<Exposure>) -> Vec<OpenAd> {
    let mut given_up = Vec::new();
    if !opened.prefetch {
        let (stay, over): (Vec<_>, Vec<_>) = state.open_breaks.drain(..).partition(|open| open.prefetch);
        state.open_breaks = stay;
        given_up.extend(over.into_iter().flat_map(|open| open.ads).filter(|ad| !is_heard(state, ad.impression_id)));
        for ad in &given_up {
            drop_exposure(state, ad.impression_id);
        }
    }
    // An empty pod is no break to the listener: the next may come as soon as one is due. But it was a break without the creatives of the one
    // before, so they may come again; otherwise a listener for whom there are few would hear them once and then nothing for ever.
    state.last_break_creatives = reserved.iter().map(|exposure| exposure.creative_id).collect();
    if !reserved.is_empty() {
        state.last_break_at = Some(opened.decided_at);
    }
    state.exposures.extend(reserved.into_iter().filter(|one| !strict::contains(&state.strict, one)));
    state.exposures.sort_by_key(|exposure| exposure.at);
    bound(state);
    state.open_breaks.push(opened);
    let excess = state.open_breaks.len().saturating_sub(ListenerState::MAX_OPEN_BREAKS);
    state.open_breaks.drain(..excess);
    given_up
}

/// Keeps the answer of an open break, for a repeat of its request.
pub fn keep_answer(state: &mut ListenerState, request_id: &RequestId, answer: &[u8]) {
    if let Some(open) = state.open_breaks.iter_mut().find(|open| &open.request_id == request_id) {
        open.answer = answer.to_vec();
    }
}

/// What a report that an ad was heard told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It was reserved, and is heard from now on.
    First,
    /// It was heard before: the report is a repeat.
    Again,
    /// It was not there any more, and is put back as heard.
    PutBack,
}

/// The ad was heard: its exposure counts for as long as windows look back. One that is not there any more, because another device's break gave it up,
/// it ran out, or the state was lost, is put back.
pub fn confirm(state: &mut ListenerState, heard: Exposure) -> Heard {
    match strict::hear(&mut state.strict, &heard) {
        Some(ExposureState::Heard) => return Heard::Again,
        Some(ExposureState::Reserved { .. }) => return Heard::First,
        None => {}
    }
    let heard = Exposure { state: ExposureState::Heard, ..heard };
    if let Some(known) = state.exposures.iter_mut().find(|known| known.impression_id == heard.impression_id) {
        let before = std::mem::replace(&mut known.state, ExposureState::Heard);
        return if before == ExposureState::Heard { Heard::Again } else { Heard::First };
    }
    let place = state.exposures.partition_point(|known| known.at <= heard.at);
    state.exposures.insert(place, heard);
    bound(state);
    Heard::PutBack
}

/// Drops the oldest exposures beyond what is kept.
fn bound(state: &mut ListenerState) {
    let excess = state.exposures.len().saturating_sub(ListenerState::MAX_EXPOSURES);
    state.exposures.drain(..excess);
}

/// The player says that the impression will not be heard: its exposure goes, unless it was heard already. False when there was none to go.
pub fn release(state: &mut ListenerState, impression_id: ImpressionId) -> bool {
    let strict = strict::release(&mut state.strict, impression_id);
    let soft = !is_heard(state, impression_id) && drop_exposure(state, impression_id);
    strict || soft
}

fn is_heard(state: &ListenerState, impression_id: ImpressionId) -> bool {
    let exposure = state.exposures.iter().find(|exposure| exposure.impression_id == impression_id);
    exposure.is_some_and(|exposure| exposure.state == ExposureState::Heard)
        || strict::is_heard(&state.strict, impression_id)
}

fn drop_exposure(state: &mut ListenerState, impression_id: ImpressionId) -> bool {
    let before = state.exposures.len();
    state.exposures.retain(|exposure| exposure.impression_id != impression_id);
    state.exposures.len() < before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AdvertiserId, CampaignId, CreativeId, DecisionId, LeaseId, LineItemId, Pseudonym};

    fn impression(number: u32) -> ImpressionId {
        ImpressionId::Leased { lease_id: LeaseId::from_u128(1), ordinal: number }
    }

    fn exposure(number: u32, at: i64) -> Exposure {
        Exposure {
            impression_id: impression(number),
            at: WallMs(at),
            advertiser_id: AdvertiserId::from_u128(1),
            campaign_id: CampaignId::from_u128(1),
            line_item_id: LineItemId::from_u128(1),
            creative_id: CreativeId::from_u128(u128::from(number)),
            state: ExposureState::Reserved { until: WallMs(at + 1_000) },
        }
    }

    fn opened(name: &str, number: u32, at: i64, prefetch: bool) -> (OpenBreak, Vec<Exposure>) {
        let open = OpenBreak {
            request_id: RequestId::new(name).expect("a key"),
            decision_id: DecisionId::from_u128(u128::from(number)),
            ads: vec![OpenAd { impression_id: impression(number), token: format!("t{number}") }],
            decided_at: WallMs(at),
            expires_at: WallMs(at + 1_000),
            prefetch,
            answer: Vec::new(),
        };
        (open, vec![exposure(number, at)])
    }

    fn nobody() -> ListenerState {
        ListenerState::new(Pseudonym([0; 16]))
    }

    #[test]
    fn a_new_break_gives_up_the_unplayed_one_and_leaves_the_prefetched() {
        let mut state = nobody();
        for (name, number, prefetch) in [("a", 1, false), ("b", 2, true)] {
            let (open_break, reserved) = opened(name, number, 0, prefetch);
            assert!(open(&mut state, open_break, reserved).is_empty());
        }
        let (open_break, reserved) = opened("c", 3, 10, false);
        let given_up = open(&mut state, open_break, reserved);
        assert_eq!(given_up.iter().map(|ad| ad.impression_id).collect::<Vec<_>>(), [impression(1)]);
        assert_eq!(state.open_breaks.len(), 2);
        assert_eq!(state.exposures.len(), 2);
        assert_eq!(state.last_break_creatives, [CreativeId::from_u128(3)]);
    }

    #[test]
    fn the_creatives_of_the_break_before_may_come_again_after_an_empty_one() {
        let mut state = nobody();
        let (open_break, reserved) = opened("a", 1, 0, false);
        open(&mut state, open_break, reserved);
        let (open_break, _) = opened("b", 2, 10, false);
        open(&mut state, open_break, Vec::new());
        assert_eq!(state.last_break_at, Some(WallMs(0)), "the next one is due when it was");
        assert_eq!(state.last_break_creatives, []);
    }

    #[test]
    fn what_was_heard_is_not_given_up() {
        let mut state = nobody();
        let (open_break, reserved) = opened("a", 1, 0, false);
        open(&mut state, open_break, reserved);
        assert_eq!(confirm(&mut state, exposure(1, 0)), Heard::First);
        assert_eq!(confirm(&mut state, exposure(1, 0)), Heard::Again);
        assert!(!release(&mut state, impression(1)));
        let (open_break, reserved) = opened("b", 2, 10, false);
        assert!(open(&mut state, open_break, reserved).is_empty());
        expire(&mut state, WallMs(2_000));
        assert_eq!(state.exposures.len(), 1, "the heard one stays, the reserved one ran out");
        assert!(release(&mut state, impression(2)).eq(&false));
        expire(&mut state, WallMs(EXPOSURE_LIFE_MS));
        assert!(state.exposures.is_empty());
    }

    // INV-16.
    #[test]
    fn an_ad_that_was_given_up_and_heard_all_the_same_counts() {
        let mut state = nobody();
        let (open_break, reserved) = opened("a", 1, 5, false);
        open(&mut state, open_break, reserved);
        let (open_break, reserved) = opened("b", 2, 10, false);
        assert_eq!(open(&mut state, open_break, reserved).len(), 1, "the other device's break gave it up");
        assert_eq!(confirm(&mut state, exposure(1, 5)), Heard::PutBack);
        assert_eq!(
            state.exposures.iter().map(|one| one.impression_id).collect::<Vec<_>>(),
            [impression(1), impression(2)]
        );
        assert_eq!(state.exposures[0].state, ExposureState::Heard);
        assert_eq!(confirm(&mut state, exposure(1, 5)), Heard::Again);
    }

    // INV-12.
    #[test]
    fn a_reservation_that_was_written_late_does_not_take_the_place_of_the_ad_that_was_answered() {
        let mut state = nobody();
        let (open_break, answered) = opened("a", 1, 0, false);
        let late = Exposure { line_item_id: LineItemId::from_u128(2), ..answered[0] };
        state.strict.exposures.push(strict::reserved(late, WallMs(1_000), 86_400_000, strict::Hearing::Some));
        open(&mut state, open_break, answered);
        assert_eq!(confirm(&mut state, exposure(1, 0)), Heard::First);
        expire(&mut state, WallMs(2_000));
        assert_eq!(state.exposures.len(), 1, "heard, so it counts on");
        assert!(matches!(state.strict.exposures[0].exposure.state, ExposureState::Reserved { .. }));
    }

    // INV-31.
    #[test]
    fn a_strict_ad_counts_although_another_device_gave_it_up() {
        let mut state = nobody();
        let (open_break, reserved) = opened("a", 1, 0, false);
        let strict = strict::reserved(reserved[0], WallMs(1_000), 86_400_000, strict::Hearing::Everything);
        state.strict.exposures.push(strict);
        open(&mut state, open_break, reserved);
        assert!(state.exposures.is_empty(), "the strict row has it");
        let (open_break, reserved) = opened("b", 2, 10, false);
        assert_eq!(open(&mut state, open_break, reserved).len(), 1, "its money is given up");
        assert!(strict::contains(&state.strict, &exposure(1, 0)), "and it counts still");
        expire(&mut state, WallMs(1_000));
        assert!(strict::contains(&state.strict, &exposure(1, 0)), "its token is billable now");
        assert_eq!(confirm(&mut state, exposure(1, 0)), Heard::First);
        assert_eq!(confirm(&mut state, exposure(1, 0)), Heard::Again);
        expire(&mut state, WallMs(86_000_000));
        assert!(!release(&mut state, impression(1)), "heard is heard");
        assert!(strict::contains(&state.strict, &exposure(1, 0)));
    }

    #[test]
    fn a_repeat_gets_the_answer_while_the_break_is_open() {
        let mut state = nobody();
        let (open_break, reserved) = opened("a", 1, 0, false);
        let request_id = open_break.request_id.clone();
        open(&mut state, open_break, reserved);
        keep_answer(&mut state, &request_id, b"answer");
        assert_eq!(repeated(&state, &request_id, WallMs(999)), Some(b"answer".as_slice()));
        assert_eq!(repeated(&state, &request_id, WallMs(1_000)), None);
        assert_eq!(repeated(&state, &RequestId::new("b").expect("a key"), WallMs(0)), None);
    }

    #[test]
    fn two_breaks_ahead_of_time_and_no_more() {
        let mut state = nobody();
        for (name, number) in [("a", 1), ("b", 2)] {
            assert_eq!(may_prefetch(&state, WallMs(0)), Ok(()));
            let (open_break, reserved) = opened(name, number, 0, true);
            open(&mut state, open_break, reserved);
        }
        assert_eq!(may_prefetch(&state, WallMs(999)), Err(OpenRefusal::TooManyPrefetched));
        assert_eq!(may_prefetch(&state, WallMs(1_000)), Ok(()));
    }

    proptest! {
        /// Whatever happens in whatever order, the state stays within its bounds and in order, and nothing heard is lost before its time.
        #[test]
        fn states_stay_within_bounds(steps in proptest::collection::vec((0_u8..5, 0_u32..40, any::<bool>()), 0..400)) {
            let (mut state, mut now) = (nobody(), 0_i64);
            let mut heard = std::collections::BTreeSet::new();
            for (index, (step, number, prefetch)) in (0_u32..).zip(steps) {
                now += i64::from(number);
                match step {
                    0 | 1 => {
                        let (open_break, reserved) = opened(&format!("r{index}"), 1_000 + index, now, prefetch);
                        if !prefetch || may_prefetch(&state, WallMs(now)).is_ok() {
                            open(&mut state, open_break, reserved);
                        }
                    }
                    2 => {
                        if let Some(known) = state.exposures.iter().find(|known| known.impression_id == impression(1_000 + number)).copied() {
                            prop_assert_ne!(confirm(&mut state, known), Heard::PutBack);
                            heard.insert(known.impression_id);
                        }
                    }
                    3 => { release(&mut state, impression(1_000 + number)); }
                    _ => expire(&mut state, WallMs(now)),
                }
                prop_assert!(state.open_breaks.len() <= ListenerState::MAX_OPEN_BREAKS);
                prop_assert!(state.exposures.len() <= ListenerState::MAX_EXPOSURES);
                prop_assert!(state.exposures.is_sorted_by_key(|exposure| exposure.at));
                for id in &heard { prop_assert!(is_heard(&state, *id)); }
            }
        }
    }
}
