//! Counting in a window.

use std::fmt;

use crate::model::{
    AdvertiserId, CampaignId, CapScope, CapWindow, CreativeId, Exposure, ExposureState, FrequencyCap, LineItemId,
    WallMs,
};

/// Who an ad belongs to, at every level that a cap can count over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CapSubject {
    /// Its advertiser.
    pub advertiser_id: AdvertiserId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// Its line item.
    pub line_item_id: LineItemId,
    /// Its creative.
    pub creative_id: CreativeId,
}

impl CapSubject {
    /// The levels of an exposure.
    #[must_use]
    pub const fn of(exposure: &Exposure) -> Self {
        Self {
            advertiser_id: exposure.advertiser_id,
            campaign_id: exposure.campaign_id,
            line_item_id: exposure.line_item_id,
            creative_id: exposure.creative_id,
        }
    }

    /// Whether two ads are counted together at this scope. A creative is counted wherever it plays, whichever line item it plays for.
    #[must_use]
    pub fn same(&self, other: &Self, scope: CapScope) -> bool {
        match scope {
            CapScope::Creative => self.creative_id == other.creative_id,
            CapScope::LineItem => self.line_item_id == other.line_item_id,
            CapScope::Campaign => self.campaign_id == other.campaign_id,
            CapScope::Advertiser => self.advertiser_id == other.advertiser_id,
        }
    }
}

/// A cap that is reached: one more impression would exceed it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CapHit {
    /// The cap.
    pub cap: FrequencyCap,
    /// How many count already; at least the cap's `max`.
    pub count: u32,
}

impl fmt::Display for CapHit {
    /// In words: `3 of 3 in 24 h for the line item`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} in ", self.count, self.cap.max)?;
        match self.cap.window {
            CapWindow::Pod => f.write_str("this pod")?,
            CapWindow::Sliding(ms) => write_span(f, ms)?,
        }
        f.write_str(match self.cap.scope {
            CapScope::Creative => " for the creative",
            CapScope::LineItem => " for the line item",
            CapScope::Campaign => " for the campaign",
            CapScope::Advertiser => " for the advertiser",
        })
    }
}

/// A span in the largest unit that divides it; days only from two on, because people say `24 h`.
fn write_span(f: &mut fmt::Formatter<'_>, ms: u64) -> fmt::Result {
    const UNITS: [(u64, u64, &str); 4] =
        [(86_400_000, 172_800_000, "d"), (3_600_000, 3_600_000, "h"), (60_000, 60_000, "min"), (1_000, 1_000, "s")];
    for (unit, from, name) in UNITS {
        if ms >= from && ms.is_multiple_of(unit) {
            return write!(f, "{} {name}", ms / unit);
        }
    }
    write!(f, "{ms} ms")
}

/// How many impressions count together with `subject` at `scope` in `window`: those of `exposures`, and those already in `pod`.
/// `exposures` are sorted by `at`, oldest first.
#[must_use]
pub fn count(
    exposures: &[Exposure],
    pod: &[CapSubject],
    subject: &CapSubject,
    scope: CapScope,
    window: CapWindow,
    now: WallMs,
) -> u32 {
    debug_assert!(exposures.is_sorted_by_key(|exposure| exposure.at), "exposures are sorted by time");
    let in_pod = pod.iter().filter(|chosen| chosen.same(subject, scope)).count();
    let before = match window {
        CapWindow::Pod => 0,
        CapWindow::Sliding(window_ms) => {
            let first = exposures.partition_point(|exposure| !is_within(exposure.at, window_ms, now));
            exposures[first..]
                .iter()
                .filter(|exposure| is_counted(exposure.state, now) && CapSubject::of(exposure).same(subject, scope))
                .count()
        }
    };
    u32::try_from(in_pod + before).unwrap_or(u32::MAX)
}

/// Whether one more impression of `subject` stays within the cap; otherwise the count that is in the way.
///
/// # Errors
/// [`CapHit`] when the cap is reached.
pub fn check(
    exposures: &[Exposure],
    pod: &[CapSubject],
    subject: &CapSubject,
    cap: FrequencyCap,
    now: WallMs,
) -> Result<(), CapHit> {
    let count = count(exposures, pod, subject, cap.scope, cap.window, now);
    if count < u32::from(cap.max) { Ok(()) } else { Err(CapHit { cap, count }) }
}

/// Whether one more impression of `subject` stays within all the caps; otherwise the first that is reached.
///
/// # Errors
/// [`CapHit`] with the first cap that is reached, in the order given.
pub fn allows(
    exposures: &[Exposure],
    pod: &[CapSubject],
    subject: &CapSubject,
    caps: &[FrequencyCap],
    now: WallMs,
) -> Result<(), CapHit> {
    caps.iter().try_for_each(|&cap| check(exposures, pod, subject, cap, now))
}

/// Whether a moment is in the window that ends now: `now - at < window`. A moment ahead of now (another server's clock) is.
fn is_within(at: WallMs, window_ms: u64, now: WallMs) -> bool {
    u64::try_from(now.since(at)).map_or(true, |age| age < window_ms)
}

/// Whether an exposure counts now: heard ones always, reserved ones until their reservation ends.
fn is_counted(state: ExposureState, now: WallMs) -> bool {
    match state {
        ExposureState::Heard => true,
        ExposureState::Reserved { until } => now < until,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{DecisionId, ImpressionId, Strictness};

    /// The naive twin (INV-12): every rule written out, over a history in any order.
    fn naive(
        history: &[Exposure],
        pod: &[CapSubject],
        subject: &CapSubject,
        scope: CapScope,
        window: CapWindow,
        now: i64,
    ) -> u32 {
        let key = |subject: &CapSubject| match scope {
            CapScope::Creative => subject.creative_id.as_u128(),
            CapScope::LineItem => subject.line_item_id.as_u128(),
            CapScope::Campaign => subject.campaign_id.as_u128(),
            CapScope::Advertiser => subject.advertiser_id.as_u128(),
        };
        let mut total = 0;
        for chosen in pod {
            total += u32::from(key(chosen) == key(subject));
        }
        for exposure in history {
            let counts = match window {
                CapWindow::Pod => false,
                CapWindow::Sliding(ms) => i128::from(now) - i128::from(exposure.at.0) < i128::from(ms),
            };
            let alive = match exposure.state {
                ExposureState::Heard => true,
                ExposureState::Reserved { until } => now < until.0,
            };
            total += u32::from(counts && alive && key(&CapSubject::of(exposure)) == key(subject));
        }
        total
    }

    fn subject() -> impl Strategy<Value = CapSubject> {
        (0..2_u128, 0..3_u128, 0..3_u128, 0..4_u128).prop_map(|(advertiser, campaign, line_item, creative)| {
            CapSubject {
                advertiser_id: AdvertiserId::from_u128(advertiser),
                campaign_id: CampaignId::from_u128(campaign),
                line_item_id: LineItemId::from_u128(line_item),
                creative_id: CreativeId::from_u128(creative),
            }
        })
    }

    fn exposure() -> impl Strategy<Value = Exposure> {
        // Few distinct moments, so that windows and reservations often end exactly at one.
        (subject(), 0..20_i64, prop::option::of(0..20_i64)).prop_map(|(subject, at, until)| Exposure {
            impression_id: ImpressionId::Unleased { decision_id: DecisionId::from_u128(1), slot: 0 },
            at: WallMs(at * 10),
            advertiser_id: subject.advertiser_id,
            campaign_id: subject.campaign_id,
            line_item_id: subject.line_item_id,
            creative_id: subject.creative_id,
            state: until.map_or(ExposureState::Heard, |until| ExposureState::Reserved { until: WallMs(until * 10) }),
        })
    }

    fn scope() -> impl Strategy<Value = CapScope> {
        prop::sample::select(vec![CapScope::Creative, CapScope::LineItem, CapScope::Campaign, CapScope::Advertiser])
    }

    fn window() -> impl Strategy<Value = CapWindow> {
        prop_oneof![
            Just(CapWindow::Pod),
            (0..21_u64).prop_map(|tens| CapWindow::Sliding(tens * 10)),
            Just(CapWindow::Sliding(u64::MAX)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        // INV-12.
        #[test]
        fn counts_like_the_naive_history(
            history in prop::collection::vec(exposure(), 0..40),
            pod in prop::collection::vec(subject(), 0..4),
            subject in subject(),
            scope in scope(),
            window in window(),
            now in 0..220_i64,
            max in 1..5_u16,
        ) {
            let mut sorted = history.clone();
            sorted.sort_by_key(|exposure| exposure.at);
            let expected = naive(&history, &pod, &subject, scope, window, now);
            prop_assert_eq!(count(&sorted, &pod, &subject, scope, window, WallMs(now)), expected);
            let cap = FrequencyCap { scope, max, window, strictness: Strictness::Soft };
            let verdict = allows(&sorted, &pod, &subject, &[cap], WallMs(now));
            prop_assert_eq!(verdict.is_ok(), expected < u32::from(max));
            prop_assert!(verdict.err().is_none_or(|hit| hit.cap == cap && hit.count == expected));
        }
    }

    #[test]
    fn a_window_ends_exactly_when_it_is_as_old_as_it_is_long() {
        let subject = CapSubject {
            advertiser_id: AdvertiserId::from_u128(1),
            campaign_id: CampaignId::from_u128(2),
            line_item_id: LineItemId::from_u128(3),
            creative_id: CreativeId::from_u128(4),
        };
        let heard = Exposure {
            impression_id: ImpressionId::Unleased { decision_id: DecisionId::from_u128(1), slot: 0 },
            at: WallMs(1_000),
            advertiser_id: subject.advertiser_id,
            campaign_id: subject.campaign_id,
            line_item_id: subject.line_item_id,
            creative_id: subject.creative_id,
            state: ExposureState::Heard,
        };
        let reserved = Exposure { state: ExposureState::Reserved { until: WallMs(1_500) }, ..heard };
        let check = |exposure: Exposure, now: i64, expected: u32| {
            let window = CapWindow::Sliding(1_000);
            assert_eq!(
                count(&[exposure], &[], &subject, CapScope::LineItem, window, WallMs(now)),
                expected,
                "at {now}"
            );
        };
        check(heard, 1_999, 1);
        check(heard, 2_000, 0);
        check(heard, 0, 1);
        check(reserved, 1_499, 1);
        check(reserved, 1_500, 0);
    }

    #[test]
    fn a_reached_cap_is_said_in_words() {
        let check = |scope, window, words: &str| {
            let cap = FrequencyCap { scope, max: 3, window, strictness: Strictness::Soft };
            assert_eq!(CapHit { cap, count: 3 }.to_string(), words);
        };
        check(CapScope::LineItem, CapWindow::Sliding(86_400_000), "3 of 3 in 24 h for the line item");
        check(CapScope::Campaign, CapWindow::Sliding(7 * 86_400_000), "3 of 3 in 7 d for the campaign");
        check(CapScope::Creative, CapWindow::Sliding(90_000), "3 of 3 in 90 s for the creative");
        check(CapScope::Creative, CapWindow::Sliding(1_001), "3 of 3 in 1001 ms for the creative");
        check(CapScope::Advertiser, CapWindow::Pod, "3 of 3 in this pod for the advertiser");
    }
}
