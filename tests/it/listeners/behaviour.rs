//! What every listeners' store does.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use segue::caps::strict::{Outcome, accepted};
use segue::impressions::listener;
use segue::model::{Exposure, ExposureState, ListenerKey, ListenerState, StrictRow};
use segue::store::{ListenerChange, ListenerStore as _};

use super::{
    Cql, DAY_MS, Embedded, NOW, Opens, answered, change, close, exposure, key, over, reservation, state, strict_row,
};
use crate::harness::suite;

suite! {
    embedded: Embedded::new(), cql: Cql::new;
    what_is_known_of_a_listener_is_there_after_a_restart,
    what_was_given_up_is_gone_and_what_was_heard_all_the_same_is_back,
    what_no_window_sees_is_not_read,
    the_newest_exposures_are_read_and_no_more_than_are_kept,
    a_forgotten_listener_is_somebody_new_also_after_a_restart,
    a_session_leaves_no_row,
    of_two_handles_that_reserve_at_once_one_is_accepted,
    a_reservation_that_comes_twice_is_written_once,
    stored_listeners_equal_a_map,
}

fn what_is_known_of_a_listener_is_there_after_a_restart(opens: &impl Opens) {
    let listeners = over(opens.open());
    change(opens, &listeners, key(1), NOW, |state| {
        for (number, prefetch) in [(1, false), (2, true)] {
            let (mut open_break, exposures) = answered(number, NOW.plus_ms(number.into()));
            open_break.prefetch = prefetch;
            listener::open(state, open_break, exposures);
        }
        listener::confirm(state, exposure(1, NOW.plus_ms(1)));
    });
    let known = state(opens, &listeners, key(1), NOW);
    let reserved = reservation(&known.strict, 9);
    let written = opens.runtime().block_on(listeners.reserve(key(1), reserved.clone()));
    assert_eq!(written, Ok(Outcome::Accepted));
    change(opens, &listeners, key(1), NOW, |state| accepted(&mut state.strict, &reserved));
    close(opens, listeners);
    let listeners = over(opens.open());
    let again = state(opens, &listeners, key(1), NOW.plus_ms(10));
    assert_eq!(again.strict.version, reserved.row.version);
    assert_eq!(ListenerState { strict: StrictRow::default(), ..again }, known);
    assert_eq!(known.open_breaks.len(), 2);
    assert_ne!(state(opens, &listeners, key(2), NOW).pseudonym, known.pseudonym);
    close(opens, listeners);
}

fn what_was_given_up_is_gone_and_what_was_heard_all_the_same_is_back(opens: &impl Opens) {
    let store = opens.open();
    let nobody = ListenerState::new(segue::model::Pseudonym([5; 16]));
    let pseudonym = opens.runtime().block_on(store.establish(key(1), nobody.pseudonym)).expect("establishes");
    assert_eq!(pseudonym, nobody.pseudonym);
    let [one, two, three] = [1, 2, 3].map(|number| exposure(number, NOW));
    let heard = |exposure: Exposure| Exposure { state: ExposureState::Heard, ..exposure };
    let say = |put: &[Exposure], gone: &[Exposure]| {
        store.offer(ListenerChange::new(key(1), &nobody, put.to_vec(), gone.to_vec()));
        // One after the other.
        opens.runtime().block_on(store.flush()).expect("flushes");
    };
    say(&[one, two, three], &[]);
    say(&[], &[one, two]);
    say(&[heard(two), heard(three)], &[]);
    say(&[heard(two)], &[]);
    let stored = opens.runtime().block_on(store.load(key(1), NOW)).expect("loads").state.expect("there");
    assert_eq!(stored.exposures, [heard(two), heard(three)]);
    assert_eq!(store.dropped(), 0);
}

fn what_no_window_sees_is_not_read(opens: &impl Opens) {
    let listeners = over(opens.open());
    for (number, day) in [(1, 0), (2, 30), (3, 70)] {
        let at = NOW.plus_ms(day * DAY_MS);
        change(opens, &listeners, key(1), NOW, |state| {
            state.exposures.push(Exposure { state: ExposureState::Heard, ..exposure(number, at) });
        });
    }
    close(opens, listeners);
    let seen = |at_day: i64| {
        let listeners = over(opens.open());
        let state = state(opens, &listeners, key(1), NOW.plus_ms(at_day * DAY_MS));
        close(opens, listeners);
        state.exposures.iter().map(|one| one.at.since(NOW) / DAY_MS).collect::<Vec<_>>()
    };
    assert_eq!(seen(31), [0, 30]);
    assert_eq!(seen(70), [70], "more than six weeks after the others");
    let listeners = over(opens.open());
    opens.runtime().block_on(listeners.drop_old_weeks(NOW.plus_ms(70 * DAY_MS))).expect("drops");
    close(opens, listeners);
    assert_eq!(seen(70), [70]);
}

fn the_newest_exposures_are_read_and_no_more_than_are_kept(opens: &impl Opens) {
    let store = opens.open();
    let nobody = ListenerState::new(segue::model::Pseudonym([5; 16]));
    opens.runtime().block_on(store.establish(key(1), nobody.pseudonym)).expect("establishes");
    let count = u32::try_from(ListenerState::MAX_EXPOSURES).expect("small") + 88;
    // All in one week, and so many that they are read in pages.
    let all: Vec<_> = (0..count)
        .map(|number| Exposure { state: ExposureState::Heard, ..exposure(number, NOW.plus_ms(number.into())) })
        .collect();
    store.offer(ListenerChange::new(key(1), &nobody, all.clone(), Vec::new()));
    opens.runtime().block_on(store.flush()).expect("flushes");
    let stored = opens.runtime().block_on(store.load(key(1), NOW)).expect("loads").state.expect("there");
    assert_eq!(stored.exposures, all[88..]);
}

fn a_forgotten_listener_is_somebody_new_also_after_a_restart(opens: &impl Opens) {
    let listeners = over(opens.open());
    change(opens, &listeners, key(1), NOW, |state| {
        let (open_break, exposures) = answered(1, NOW);
        listener::open(state, open_break, exposures);
    });
    let before = state(opens, &listeners, key(1), NOW);
    let first = reservation(&StrictRow::default(), 1);
    assert_eq!(opens.runtime().block_on(listeners.reserve(key(1), first.clone())), Ok(Outcome::Accepted));
    let later = NOW.plus_ms(1);
    opens.runtime().block_on(listeners.forget(key(1), later)).expect("forgets");
    let after = state(opens, &listeners, key(1), later);
    assert_ne!(after.pseudonym, before.pseudonym);
    assert_eq!(after, ListenerState::new(after.pseudonym));
    // What was made from the row that is gone conflicts with none.
    let late = reservation(&first.row, 2);
    let conflict = opens.runtime().block_on(listeners.reserve(key(1), late));
    assert_eq!(conflict, Ok(Outcome::Conflict(StrictRow::default())));
    // Whoever comes then is remembered like anybody.
    let later = later.plus_ms(1);
    change(opens, &listeners, key(1), later, |state| {
        let (open_break, exposures) = answered(2, later);
        listener::open(state, open_break, exposures);
    });
    let known = state(opens, &listeners, key(1), later);
    // Somebody of whom nothing is in memory, and somebody of whom nothing is stored.
    change(opens, &listeners, key(2), NOW, |state| {
        let (open_break, exposures) = answered(3, NOW);
        listener::open(state, open_break, exposures);
    });
    let other = state(opens, &listeners, key(2), NOW);
    close(opens, listeners);
    let listeners = over(opens.open());
    assert_eq!(state(opens, &listeners, key(1), later), known);
    for number in [2, 3] {
        opens.runtime().block_on(listeners.forget(key(number), later)).expect("forgets");
    }
    close(opens, listeners);
    let listeners = over(opens.open());
    let after = state(opens, &listeners, key(2), later);
    assert_ne!(after.pseudonym, other.pseudonym);
    assert_eq!(after, ListenerState::new(after.pseudonym));
    close(opens, listeners);
}

fn a_session_leaves_no_row(opens: &impl Opens) {
    let session = ListenerKey::of_session([1; 16]);
    let listeners = over(opens.open());
    change(opens, &listeners, session, NOW, |state| {
        let (open_break, exposures) = answered(1, NOW);
        listener::open(state, open_break, exposures);
    });
    assert!(listeners.cached(session, NOW.plus_ms(DAY_MS)).is_some(), "and it is never old");
    assert_eq!(state(opens, &listeners, session, NOW).exposures.len(), 1);
    close(opens, listeners);
    let store = opens.open();
    assert_eq!(opens.runtime().block_on(store.load(session, NOW)).expect("loads").state, None);
}

// INV-31.
fn of_two_handles_that_reserve_at_once_one_is_accepted(opens: &impl Opens) {
    let pair = opens.pair();
    let mut known = StrictRow::default();
    for round in 0..10 {
        let tries: Vec<_> = (0..6)
            .zip(pair.iter().cycle())
            .map(|(device, store)| {
                let (store, made) = (store.clone(), reservation(&known, round * 6 + device));
                let reserve = async move { (store.reserve(key(1), made.clone()).await, made) };
                opens.runtime().spawn(reserve)
            })
            .collect();
        let mut winner = None;
        for one in tries {
            let (outcome, made) = opens.runtime().block_on(one).expect("no panic");
            match outcome {
                Ok(Outcome::Accepted) => assert!(winner.replace(made).is_none(), "two winners"),
                Ok(Outcome::Conflict(row)) => assert_ne!(row.version, made.expected),
                // Those of one row that contend may be given up by the store: nobody knows, until it is read.
                Err(error) => eprintln!("round {round}: {error}"),
                Ok(Outcome::Unsure) => panic!("only deadlines are unsure"),
            }
        }
        let row = strict_row(opens, &pair[0], key(1));
        assert_eq!(row, strict_row(opens, &pair[1], key(1)));
        if let Some(winner) = winner {
            accepted(&mut known, &winner);
            assert_eq!(row, winner.row);
        }
        // With or without a known winner no more than one was written.
        assert!(row.exposures.len() <= usize::try_from(round).expect("small") + 1);
        known = row;
    }
    assert!(known.version.is_some());
}

fn a_reservation_that_comes_twice_is_written_once(opens: &impl Opens) {
    let store = opens.open();
    let first = reservation(&StrictRow::default(), 1);
    let second = reservation(&first.row, 2);
    for made in [&first, &first, &second, &second] {
        assert_eq!(opens.runtime().block_on(store.reserve(key(1), made.clone())), Ok(Outcome::Accepted));
    }
    let stale = opens.runtime().block_on(store.reserve(key(1), first));
    assert_eq!(stale, Ok(Outcome::Conflict(second.row.clone())));
    assert_eq!(strict_row(opens, &store, key(1)), second.row);
}

/// After any changes and restarts, what is loaded is what a map would hold.
fn stored_listeners_equal_a_map(opens: &impl Opens) {
    let steps = prop::collection::vec((0_u8..6, 0_u8..4, 0_i64..3 * DAY_MS), 1..60);
    let case = Cell::new(0_u8);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6) });
    let held = runner.run(&steps, |steps| {
        // Listeners of its own for each case.
        case.set(case.get().wrapping_add(1));
        let who = |who: u8| ListenerKey::of_account([case.get(), who, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        let mut twin: BTreeMap<ListenerKey, ListenerState> = BTreeMap::new();
        let mut listeners = over(opens.open());
        let mut now = NOW;
        for (index, (step, number, pause)) in (0_u32..).zip(steps) {
            now = now.plus_ms(pause);
            if step == 5 {
                close(opens, listeners);
                listeners = over(opens.open());
            }
            let apply = |state: &mut ListenerState| {
                listener::expire(state, now);
                match step {
                    0..=2 => {
                        let (open_break, exposures) = answered(index, now);
                        listener::open(state, open_break, exposures);
                    }
                    3 => {
                        if let Some(last) = state.exposures.last().copied() {
                            listener::confirm(state, last);
                        }
                    }
                    _ => {
                        if let Some(first) = state.exposures.first().copied() {
                            listener::release(state, first.impression_id);
                        }
                    }
                }
            };
            let state = change(opens, &listeners, who(number), now, |state| {
                apply(state);
                state.clone()
            });
            let expected = twin.entry(who(number)).or_insert_with(|| ListenerState::new(state.pseudonym));
            apply(expected);
            prop_assert_eq!(&state, &*expected);
        }
        close(opens, listeners);
        let listeners = over(opens.open());
        for (key, expected) in &mut twin {
            listener::expire(expected, now);
            let state = change(opens, &listeners, *key, now, |state| {
                listener::expire(state, now);
                state.clone()
            });
            prop_assert_eq!(&state, &*expected);
        }
        close(opens, listeners);
        Ok(())
    });
    held.expect("it holds");
}
