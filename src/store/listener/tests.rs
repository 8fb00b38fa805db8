//! The stored listeners against a slow twin: a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::impressions::listener;
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, ExposureState, ImpressionId, LeaseId, LineItemId, OpenAd,
    OpenBreak, RequestId,
};

const DAY_MS: i64 = 86_400_000;

fn open(dir: &std::path::Path) -> Listeners {
    let database = Database::builder(dir).open().expect("opens");
    Listeners::open(&database, 1_000, Entropy::seeded(1)).expect("opens")
}

fn key(number: u8) -> ListenerKey {
    ListenerKey([number; 16])
}

fn answered(number: u32, at: i64) -> (OpenBreak, Vec<Exposure>) {
    let impression_id = ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: number };
    let exposure = Exposure {
        impression_id,
        at: WallMs(at),
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(2),
        line_item_id: LineItemId::from_u128(3),
        creative_id: CreativeId::from_u128(4),
        state: ExposureState::Reserved { until: WallMs(at + DAY_MS) },
    };
    let open = OpenBreak {
        request_id: RequestId::new(&format!("r{number}")).expect("a key"),
        decision_id: DecisionId::from_u128(u128::from(number)),
        ads: vec![OpenAd { impression_id, token: "token".to_owned() }],
        decided_at: WallMs(at),
        expires_at: WallMs(at + DAY_MS),
        prefetch: false,
        answer: b"answer".to_vec(),
    };
    (open, vec![exposure])
}

#[test]
fn a_forgotten_listener_is_somebody_new_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let now = WallMs(100 * DAY_MS);
    let pseudonym = {
        let listeners = open(dir.path());
        let listener = listeners.load(key(1), now).expect("loads");
        let (open_break, exposures) = answered(1, now.0);
        listeners.with(&listener, |state| listener::open(state, open_break, exposures));
        let pseudonym = listeners.with(&listener, |state| state.pseudonym);
        listeners.forget(key(1), now).expect("forgets");
        let after = listeners.with(&listener, |state| state.clone());
        assert_ne!(after.pseudonym, pseudonym);
        assert!(after.exposures.is_empty() && after.open_breaks.is_empty());
        pseudonym
    };
    let listeners = open(dir.path());
    let listener = listeners.load(key(1), now).expect("loads");
    listeners.with(&listener, |state| {
        assert_ne!(state.pseudonym, pseudonym);
        assert!(state.exposures.is_empty());
    });
}

#[test]
fn a_session_leaves_no_row() {
    let session = ListenerKey::of_session([1; 16]);
    let dir = tempfile::tempdir().expect("a folder");
    let now = WallMs(100 * DAY_MS);
    {
        let listeners = open(dir.path());
        let listener = listeners.load(session, now).expect("loads");
        let (open_break, exposures) = answered(1, now.0);
        listeners.with(&listener, |state| listener::open(state, open_break, exposures));
        assert!(listeners.cached(session).is_some());
        listeners.flush().expect("flushes");
    }
    let listeners = open(dir.path());
    let listener = listeners.load(session, now).expect("loads");
    listeners.with(&listener, |state| assert!(state.exposures.is_empty()));
}

#[test]
fn weeks_that_no_window_sees_are_dropped_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let listeners = open(dir.path());
    let listener = listeners.load(key(1), WallMs(0)).expect("loads");
    for (number, day) in [(1, 0), (2, 8), (3, 70)] {
        let (open_break, exposures) = answered(number, day * DAY_MS);
        listeners.with(&listener, |state| listener::open(state, open_break, exposures));
    }
    listeners.flush().expect("flushes");
    assert_eq!(listeners.drop_old_weeks(WallMs(30 * DAY_MS)).expect("drops"), 0);
    assert_eq!(listeners.drop_old_weeks(WallMs(70 * DAY_MS)).expect("drops"), 2);
    assert_eq!(listeners.drop_old_weeks(WallMs(70 * DAY_MS)).expect("drops"), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// After any changes and restarts, what is loaded is what a map would hold.
    #[test]
    fn stored_listeners_equal_a_map(steps in proptest::collection::vec((0_u8..6, 0_u8..4, 0_i64..3 * DAY_MS), 1..80)) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut twin: BTreeMap<ListenerKey, ListenerState> = BTreeMap::new();
        let mut listeners = Some(open(dir.path()));
        let mut now = 100 * DAY_MS;
        for (index, (step, who, pause)) in (0_u32..).zip(steps) {
            now += pause;
            let at = WallMs(now);
            if step == 5 {
                drop(listeners.take());
                listeners = Some(open(dir.path()));
            }
            let open = listeners.as_ref().expect("open");
            let listener = open.load(key(who), at).expect("loads");
            let change = |state: &mut ListenerState| {
                listener::expire(state, at);
                match step {
                    0..=2 => {
                        let (open_break, exposures) = answered(index, now);
                        listener::open(state, open_break, exposures);
                    }
                    3 => if let Some(last) = state.exposures.last().copied() {
                        listener::confirm(state, last);
                    },
                    _ => if let Some(first) = state.exposures.first().copied() {
                        listener::release(state, first.impression_id);
                    },
                }
            };
            let state = open.with(&listener, |state| { change(state); state.clone() });
            let expected = twin.entry(key(who)).or_insert_with(|| ListenerState::new(state.pseudonym));
            change(expected);
            prop_assert_eq!(&state, &*expected);
        }
        drop(listeners.take());
        let open = open(dir.path());
        for (who, expected) in &mut twin {
            let listener = open.load(*who, WallMs(now)).expect("loads");
            listener::expire(expected, WallMs(now));
            let state = open.with(&listener, |state| { listener::expire(state, WallMs(now)); state.clone() });
            prop_assert_eq!(&state, &*expected);
        }
    }
}
