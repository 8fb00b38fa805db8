//! What time alone tells of a beacon: too late to be billed, or too soon to be true.
//!
//! Both are recorded and acknowledged like any other, because a player can't do anything about them; they are never a reason to refuse. The
//! moment that counts is the one of receipt, on a server's clock; the player's own clock is nobody's evidence.

use crate::model::{BeaconEvent, WallMs};

/// How long an ad must have played audibly before its impression counts, in milliseconds (MRC digital audio guidelines: two continuous
/// seconds).
pub const AUDIBLE_MS: u32 = 2_000;

/// How far the clock of the server that decided and that of the server that hears may be apart, in milliseconds: each is at most one second
/// off, or it would not be ready.
pub const CLOCK_TOLERANCE_MS: i64 = 2_000;

/// Tenths of its nominal moment before which a quartile or a completion is not believed: players round, and sounds are a little shorter than
/// said.
const BELIEVED_TENTHS: u64 = 9;

/// The times of one ad, as its token says them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AdTimes {
    /// When it was decided.
    pub decided_at: WallMs,
    /// Last moment of receipt at which it can be billed.
    pub billable_until: WallMs,
    /// Length of the creative in milliseconds.
    pub duration_ms: u32,
    /// Whether its impression is billable at the start.
    pub impression_at_start: bool,
}

/// What time tells of a beacon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Timing {
    /// It can be as it says, and comes in time.
    InTime,
    /// Received after the token's life: recorded, never billed.
    Late,
    /// The ad can't have played so far yet.
    TooSoon,
}

impl Timing {
    /// Its name in metrics and records; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InTime => "in_time",
            Self::Late => "late",
            Self::TooSoon => "too_soon",
        }
    }
}

/// Whether an event can have happened when the player says: not before its ad was decided, not after it was told. It is kept as the time of the
/// event, for whoever reads reports; nothing is billed by it.
#[must_use]
pub const fn is_plausible(occurred_at: WallMs, decided_at: WallMs, received_at: WallMs) -> bool {
    occurred_at.0 >= decided_at.plus_ms(-CLOCK_TOLERANCE_MS).0 && occurred_at.0 <= received_at.0
}

/// What the time of receipt tells of the event.
#[must_use]
pub fn timing(event: BeaconEvent, ad: &AdTimes, received_at: WallMs) -> Timing {
    if received_at > ad.billable_until {
        return Timing::Late;
    }
    if is_too_soon(event, ad, received_at) { Timing::TooSoon } else { Timing::InTime }
}

/// Whether the event was received sooner than its ad can have played so far, however the clocks of two servers differ.
#[must_use]
pub fn is_too_soon(event: BeaconEvent, ad: &AdTimes, received_at: WallMs) -> bool {
    let least = i64::from(least_played_ms(event, ad));
    received_at.since(ad.decided_at).saturating_add(CLOCK_TOLERANCE_MS) < least
}

/// Milliseconds of an ad that must have played for the event to be true; never more than its length. As the ad can't start before it was
/// decided, no event can be received sooner than this after the decision.
#[must_use]
pub fn least_played_ms(event: BeaconEvent, ad: &AdTimes) -> u32 {
    let quarters = match event {
        BeaconEvent::Impression => return if ad.impression_at_start { 0 } else { AUDIBLE_MS.min(ad.duration_ms) },
        BeaconEvent::FirstQuartile => 1,
        BeaconEvent::Midpoint => 2,
        BeaconEvent::ThirdQuartile => 3,
        BeaconEvent::Complete => 4,
        BeaconEvent::Start
        | BeaconEvent::Skip
        | BeaconEvent::Mute
        | BeaconEvent::Unmute
        | BeaconEvent::Click
        | BeaconEvent::Error
        | BeaconEvent::Void
        | BeaconEvent::NotUsed => 0,
    };
    let least = u64::from(ad.duration_ms) * quarters * BELIEVED_TENTHS / 40;
    u32::try_from(least).expect("nine tenths of a u32")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AD: AdTimes = AdTimes {
        decided_at: WallMs(10_000),
        billable_until: WallMs(3_610_000),
        duration_ms: 30_000,
        impression_at_start: false,
    };

    #[test]
    fn time_tells_what_can_be_true() {
        let check = |event, ad: AdTimes, received_at, expected| {
            assert_eq!(timing(event, &ad, WallMs(received_at)), expected, "{event:?} at {received_at}");
        };
        let at_start = AdTimes { impression_at_start: true, ..AD };
        check(BeaconEvent::Impression, AD, 9_999, Timing::TooSoon);
        check(BeaconEvent::Impression, AD, 10_000, Timing::InTime);
        check(BeaconEvent::Impression, at_start, 8_000, Timing::InTime);
        check(BeaconEvent::Impression, at_start, 7_999, Timing::TooSoon);
        check(BeaconEvent::Complete, AD, 10_000 + 27_000 - 2_001, Timing::TooSoon);
        check(BeaconEvent::Complete, AD, 10_000 + 27_000 - 2_000, Timing::InTime);
        check(BeaconEvent::Impression, AD, 3_610_000, Timing::InTime);
        check(BeaconEvent::Impression, AD, 3_610_001, Timing::Late);
        check(BeaconEvent::Void, AD, 10_000, Timing::InTime);
    }

    #[test]
    fn a_players_time_is_between_decision_and_receipt() {
        let (decided_at, received_at) = (WallMs(10_000), WallMs(50_000));
        for (occurred_at, plausible) in [(7_999, false), (8_000, true), (50_000, true), (50_001, false)] {
            assert_eq!(is_plausible(WallMs(occurred_at), decided_at, received_at), plausible, "{occurred_at}");
        }
    }

    #[test]
    fn a_short_ad_is_heard_when_it_is_over() {
        assert_eq!(least_played_ms(BeaconEvent::Impression, &AdTimes { duration_ms: 1_500, ..AD }), 1_500);
        assert_eq!(least_played_ms(BeaconEvent::Impression, &AD), AUDIBLE_MS);
    }

    proptest! {
        /// In the order of an ad's life each event takes at least as long as the one before, and none longer than the ad; time's verdict goes
        /// from too soon over in time to late, and never back.
        #[test]
        fn a_life_only_goes_forward(
            duration_ms in 1_u32.., start in any::<bool>(), life in 0_i64..10_000_000, early in 0_i64..20_000, step in 1_i64..20_000,
        ) {
            let ad = AdTimes {
                duration_ms,
                impression_at_start: start,
                billable_until: AD.decided_at.plus_ms(life),
                ..AD
            };
            let quartiles =
                [BeaconEvent::Start, BeaconEvent::FirstQuartile, BeaconEvent::Midpoint, BeaconEvent::ThirdQuartile, BeaconEvent::Complete];
            prop_assert!(quartiles.map(|event| least_played_ms(event, &ad)).is_sorted());
            for event in BeaconEvent::ALL {
                prop_assert!(least_played_ms(event, &ad) <= duration_ms);
                let order = |timing| match timing {
                    Timing::TooSoon => 0,
                    Timing::InTime => 1,
                    Timing::Late => 2,
                };
                let at = ad.decided_at.plus_ms(-early);
                let before = order(timing(event, &ad, at));
                prop_assert!(before <= order(timing(event, &ad, at.plus_ms(step))));
            }
        }
    }
}
