//! What only a store that servers share does.

use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use scylla::client::session_builder::SessionBuilder;
use segue::caps::strict::Outcome;
use segue::impressions::listener;
use segue::model::{Exposure, ExposureState, ListenerKey, ListenerState, StrictRow, WallMs};
use segue::store::cql::CqlConnection;
use segue::store::{ListenerStore as _, ReserveError};

use super::{Cql, NOW, Opens as _, answered, change, close, exposure, key, over, reservation, state, strict_row};

const MAX_AGE_MS: i64 = 30_000;

fn heard(exposure: Exposure) -> Exposure {
    Exposure { state: ExposureState::Heard, ..exposure }
}

fn old(now: WallMs) -> WallMs {
    now.plus_ms(MAX_AGE_MS)
}

impl Cql {
    /// The integers of a query's first column.
    fn column(&self, query: &str) -> Vec<Option<i32>> {
        self.1.block_on(async {
            let connection = self.0.connection();
            let session = SessionBuilder::new().known_nodes(&connection.hosts).build().await.expect("connects");
            let found = session.query_unpaged(query.replace("KEYSPACE", &connection.keyspace), ()).await.expect("runs");
            let rows = found.into_rows_result().expect("rows");
            rows.rows::<(Option<i32>,)>().expect("integers").map(|row| row.expect("a row").0).collect()
        })
    }
}

#[test]
fn two_servers_that_meet_a_listener_at_once_give_one_pseudonym() {
    let Some(cql) = Cql::new("two_servers_that_meet_a_listener_at_once_give_one_pseudonym") else { return };
    let servers = cql.pair().map(|store| Arc::new(over(store)));
    for round in 0..20 {
        let meet = servers.clone().map(|listeners| {
            cql.1.spawn(async move {
                let listener = listeners.load(key(round), NOW).await.expect("loads");
                listeners.with(&listener, |state| state.pseudonym)
            })
        });
        let [one, two] = meet.map(|met| cql.1.block_on(met).expect("no panic"));
        assert_eq!(one, two, "round {round}");
    }
}

#[test]
fn a_copy_that_is_old_is_read_again_and_knows_what_both_servers_did() {
    let Some(cql) = Cql::new("a_copy_that_is_old_is_read_again_and_knows_what_both_servers_did") else { return };
    let [here, there] = cql.pair().map(over);
    let open = |listeners: &_, number: u32| {
        change(&cql, listeners, key(1), NOW, |state: &mut ListenerState| {
            let (open_break, exposures) = answered(number, NOW.plus_ms(number.into()));
            listener::open(state, segue::model::OpenBreak { prefetch: true, ..open_break }, exposures);
        });
        cql.1.block_on(listeners.flush()).expect("flushes");
    };
    open(&here, 1);
    open(&there, 2);
    open(&here, 3);
    let numbers = |state: &ListenerState| {
        let exposures: Vec<i64> = state.exposures.iter().map(|one| one.at.since(NOW)).collect();
        let breaks: Vec<i64> = state.open_breaks.iter().map(|one| one.decided_at.since(NOW)).collect();
        (exposures, breaks)
    };
    let young = old(NOW).plus_ms(-1);
    assert_eq!(numbers(&state(&cql, &here, key(1), young)), (vec![1, 3], vec![1, 3]), "not old yet");
    assert_eq!(here.counts().renewals, 0);
    let merged = state(&cql, &here, key(1), old(NOW));
    assert_eq!(numbers(&merged), (vec![1, 2, 3], vec![1, 3]), "the head is that of who wrote last");
    assert_eq!(numbers(&state(&cql, &there, key(1), old(NOW))), (vec![1, 2, 3], vec![1, 2, 3]));
    // That was found to be more than is stored, and written.
    cql.1.block_on(there.flush()).expect("flushes");
    let merged = state(&cql, &here, key(1), old(old(NOW)));
    assert_eq!(numbers(&merged), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!((here.counts().renewals, here.counts().renewals_failed), (2, 0));
    assert_eq!((here.counts().misses, there.counts().misses), (1, 1));
}

// INV-12.
#[test]
fn what_one_server_heard_is_heard_whatever_the_other_says_and_whoever_is_last() {
    let Some(cql) = Cql::new("what_one_server_heard_is_heard_whatever_the_other_says_and_whoever_is_last") else {
        return;
    };
    let [here, there] = cql.pair().map(over);
    for (number, heard_first) in [(1, true), (2, false)] {
        let one = exposure(u32::from(number), NOW);
        change(&cql, &here, key(number), NOW, |state| state.exposures.push(one));
        cql.1.block_on(here.flush()).expect("flushes");
        let hear = || {
            change(&cql, &there, key(number), NOW, |state| listener::confirm(state, one));
            cql.1.block_on(there.flush()).expect("flushes");
        };
        let give_up = || {
            assert!(change(&cql, &here, key(number), NOW, |state| listener::release(state, one.impression_id)));
            cql.1.block_on(here.flush()).expect("flushes");
        };
        if heard_first {
            hear();
            give_up();
        } else {
            give_up();
            hear();
        }
        for listeners in [&here, &there] {
            assert_eq!(state(&cql, listeners, key(number), old(NOW)).exposures, [heard(one)], "{number}");
        }
    }
}

#[test]
fn who_is_forgotten_by_one_server_is_soon_forgotten_by_the_other_and_what_it_wrote_is_nobodys() {
    let test = "who_is_forgotten_by_one_server_is_soon_forgotten_by_the_other_and_what_it_wrote_is_nobodys";
    let Some(cql) = Cql::new(test) else { return };
    let [here, there] = cql.pair().map(over);
    let before = state(&cql, &here, key(1), NOW).pseudonym;
    let open = |number: u32| {
        let at = NOW.plus_ms(number.into());
        change(&cql, &there, key(1), NOW, |state| {
            let (open_break, exposures) = answered(number, at);
            listener::open(state, open_break, exposures);
            listener::confirm(state, exposure(number, at));
        });
        cql.1.block_on(there.flush()).expect("flushes");
    };
    open(1);
    assert_eq!(change(&cql, &there, key(1), NOW, |state| state.pseudonym), before);
    cql.1.block_on(here.forget(key(1), NOW.plus_ms(5))).expect("forgets");
    assert_eq!(cql.column("SELECT week FROM KEYSPACE.exposures"), []);
    assert_eq!(cql.column("SELECT TTL(head) FROM KEYSPACE.listeners"), []);
    // The other one does not know yet: what it decided before is written late, and it decides more.
    open(2);
    open(9);
    assert_eq!(cql.column("SELECT week FROM KEYSPACE.exposures").len(), 1, "of what it decided since");
    let after = state(&cql, &here, key(1), NOW.plus_ms(6));
    assert_ne!(after.pseudonym, before);
    assert_eq!(after, ListenerState::new(after.pseudonym));
    assert_eq!(state(&cql, &there, key(1), old(NOW)), after);
    cql.1.block_on(there.flush()).expect("flushes");
    assert_eq!(cql.column("SELECT week FROM KEYSPACE.exposures"), [], "erased by who wrote it");
}

#[test]
fn rows_expire_by_themselves_but_for_the_pseudonym() {
    const SIX_WEEKS_S: i32 = 6 * 7 * 86_400;
    let Some(cql) = Cql::new("rows_expire_by_themselves_but_for_the_pseudonym") else { return };
    let listeners = over(cql.open());
    change(&cql, &listeners, key(1), NOW, |state| {
        let (open_break, exposures) = answered(1, NOW);
        listener::open(state, open_break, exposures);
    });
    close(&cql, listeners);
    for column in ["TTL(exposure) FROM KEYSPACE.exposures", "TTL(head) FROM KEYSPACE.listeners"] {
        let [Some(left)] = cql.column(&format!("SELECT {column}"))[..] else { panic!("one row: {column}") };
        assert!((SIX_WEEKS_S - 3_600..=SIX_WEEKS_S).contains(&left), "{column}: {left}");
    }
    assert_eq!(cql.column("SELECT TTL(pseudonym) FROM KEYSPACE.listeners"), [None]);
}

// INV-31, INV-32.
#[test]
fn a_reservation_without_an_answer_counts_if_it_was_written_and_never_twice() {
    let Some(cql) = Cql::new("a_reservation_without_an_answer_counts_if_it_was_written_and_never_twice") else {
        return;
    };
    let hasty = cql.open_by(&CqlConnection { conditional_timeout_ms: 0, ..cql.0.connection() });
    let patient = cql.open();
    let (mut known, mut were_written) = (StrictRow::default(), 0);
    for round in 0..20 {
        let unsure = reservation(&known, 2 * round);
        // The one who asks goes away as soon as it has asked, or waits for as long as is allowed: no time at all, or a tick of the timer.
        let told = cql.1.block_on(async {
            let mut asked = std::pin::pin!(hasty.reserve(key(1), unsure.clone()));
            if round % 2 == 0 {
                poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await
            } else {
                Poll::Ready(asked.await)
            }
        });
        match told {
            Poll::Pending | Poll::Ready(Err(ReserveError::Failed)) => {}
            Poll::Ready(Ok(Outcome::Accepted)) => {
                known = unsure.row;
                continue;
            }
            Poll::Ready(other) => panic!("{other:?}"),
        }
        // Who knows nothing of it makes another from the same row.
        let next = reservation(&known, 2 * round + 1);
        known = match cql.1.block_on(patient.reserve(key(1), next.clone())).expect("an answer") {
            Outcome::Accepted => next.row,
            Outcome::Conflict(row) => {
                were_written += 1;
                assert_eq!(row, unsure.row, "it was written, and all of it");
                let again = reservation(&row, 2 * round + 1);
                let accepted = cql.1.block_on(patient.reserve(key(1), again.clone()));
                assert_eq!(accepted, Ok(Outcome::Accepted));
                again.row
            }
            Outcome::Unsure => panic!("only deadlines are unsure"),
        };
        // Told again, it is written once: its version is not the row's any more.
        let told_again = cql.1.block_on(patient.reserve(key(1), unsure));
        assert_eq!(told_again, Ok(Outcome::Conflict(known.clone())));
    }
    eprintln!("{were_written} of 20 reservations were written without an answer");
    assert_eq!(strict_row(&cql, &patient, key(1)), known);
}

#[test]
fn who_can_not_be_read_in_time_is_an_error_and_who_is_known_is_used_as_they_were() {
    let test = "who_can_not_be_read_in_time_is_an_error_and_who_is_known_is_used_as_they_were";
    let Some(cql) = Cql::new(test) else { return };
    let hasty = over(cql.open_by(&CqlConnection { read_timeout_ms: 0, ..cql.0.connection() }));
    // A quick answer may be there before it is even looked for; not each time.
    let late = |n: u8| cql.1.block_on(hasty.load(key(n), NOW)).err().map(|error| (key(n), error.to_string()));
    let (late, error) = (1..=u8::MAX).find_map(late).expect("one is late");
    assert!(error.contains("within 0 ms") && error.lines().count() == 1, "{error}");
    assert!(hasty.cached(late, NOW).is_none());

    let listeners = over(cql.open());
    change(&cql, &listeners, key(1), NOW, |state| state.exposures.push(exposure(1, NOW)));
    let known = state(&cql, &listeners, key(1), NOW);
    cql.1.block_on(listeners.flush()).expect("flushes");
    cql.0.run(&["DROP TABLE KEYSPACE.exposures"]);
    let then = old(NOW);
    assert_eq!(state(&cql, &listeners, key(1), then), known);
    assert_eq!((listeners.counts().renewals, listeners.counts().renewals_failed), (1, 1));
    // The next attempt is a second later, not with each break.
    assert!(listeners.cached(key(1), then.plus_ms(999)).is_some());
    assert!(listeners.cached(key(1), then.plus_ms(1_000)).is_none());
    // What can't be written is counted and told, and lives on in memory.
    change(&cql, &listeners, key(1), then, |state| state.exposures.push(exposure(2, then)));
    let told = cql.1.block_on(listeners.flush()).expect_err("not written").to_string();
    assert!(told.contains("1 changes could not be written"), "{told}");
    assert_eq!((listeners.counts().dropped, state(&cql, &listeners, key(1), then).exposures.len()), (1, 2));
    assert!(cql.1.block_on(listeners.load(ListenerKey::of_account([9; 16]), NOW)).is_err(), "nobody is made up");
}
