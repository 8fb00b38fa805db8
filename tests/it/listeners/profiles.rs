//! What listeners' stores keep besides the ads that were played to them: tastes and segments.

use segue::events::Play;
use segue::model::{ListenerState, NetworkId, Profile, TimedSegment, WallMs};
use segue::profile::Taste;
use segue::store::{ListenerBackend, ListenerStore as _, TasteRow};

use super::{Cql, DAY_MS, Embedded, NOW, Opens, answered, change, close, key, over, state};
use crate::harness::suite;

suite! {
    embedded: Embedded::new(), cql: Cql::new;
    a_taste_is_written_only_over_the_one_that_was_read,
    what_is_known_of_somebody_is_read_with_them_until_it_is_over,
    who_is_forgotten_is_forgotten_with_taste_and_segments_and_an_older_write_brings_nothing_back,
    of_two_handles_that_write_a_taste_at_once_each_play_counts,
}

fn play(number: u8, genre: &str) -> Play {
    Play {
        play_id: [number; 16],
        network_id: NetworkId::from_u128(1),
        listener_id: "somebody".to_owned(),
        played_at: NOW,
        heard_ms: 1_200_000,
        genres: vec![genre.to_owned()],
        moods: vec!["calm".to_owned()],
        is_profiled: true,
    }
}

fn with(row: &TasteRow, play: &Play) -> Taste {
    let mut taste = row.taste.clone();
    taste.add(play);
    taste
}

fn taste(opens: &impl Opens, store: &ListenerBackend) -> TasteRow {
    opens.runtime().block_on(store.read_taste(key(1))).expect("reads")
}

fn replace(opens: &impl Opens, store: &ListenerBackend, before: &TasteRow, taste: Taste) -> bool {
    opens.runtime().block_on(store.replace_taste(key(1), before.clone(), taste)).expect("an answer")
}

fn put(opens: &impl Opens, store: &ListenerBackend, name: &str, until: WallMs) {
    let segment = TimedSegment { name: name.to_owned(), until };
    opens.runtime().block_on(store.put_segment(key(1), segment, NOW)).expect("writes");
}

fn a_taste_is_written_only_over_the_one_that_was_read(opens: &impl Opens) {
    let store = opens.open();
    let nothing = taste(opens, &store);
    assert_eq!(nothing, TasteRow::default());
    assert!(replace(opens, &store, &nothing, with(&nothing, &play(1, "jazz"))));
    assert!(!replace(opens, &store, &nothing, with(&nothing, &play(2, "soul"))), "somebody else was first");
    let first = taste(opens, &store);
    assert_eq!(first.taste.genres(NOW), ["jazz"]);
    assert!(replace(opens, &store, &first, with(&first, &play(2, "soul"))));
    assert!(!replace(opens, &store, &first, with(&first, &play(3, "rock"))));
    opens.runtime().block_on(store.flush()).expect("flushes");
    drop(store);
    let store = opens.open();
    let kept = taste(opens, &store);
    assert_eq!(kept.taste.genres(NOW), ["jazz", "soul"]);
    assert_eq!(kept.taste, with(&first, &play(2, "soul")), "nothing of it is lost");
}

fn what_is_known_of_somebody_is_read_with_them_until_it_is_over(opens: &impl Opens) {
    let store = opens.open();
    let nothing = taste(opens, &store);
    assert!(replace(opens, &store, &nothing, with(&nothing, &play(1, "jazz"))));
    put(opens, &store, "runners", NOW.plus_ms(DAY_MS));
    put(opens, &store, "parents", NOW.plus_ms(3 * DAY_MS));
    put(opens, &store, "runners", NOW.plus_ms(2 * DAY_MS));
    opens.runtime().block_on(store.flush()).expect("flushes");
    drop(store);
    // Of somebody who has asked for no break yet, and of one who has.
    for _ in 0..2 {
        let listeners = over(opens.open());
        let known = state(opens, &listeners, key(1), NOW).profile;
        assert_eq!((known.genres, known.moods), (vec!["jazz".to_owned()], vec!["calm".to_owned()]));
        let names: Vec<_> = known.segments.iter().map(|one| (one.name.as_str(), one.until)).collect();
        assert_eq!(names, [("parents", NOW.plus_ms(3 * DAY_MS)), ("runners", NOW.plus_ms(2 * DAY_MS))]);
        assert_eq!(state(opens, &listeners, key(2), NOW).profile, Profile::default());
        change(opens, &listeners, key(1), NOW, |state| {
            let (open_break, exposures) = answered(1, NOW);
            segue::impressions::listener::open(state, open_break, exposures);
        });
        close(opens, listeners);
    }
    let listeners = over(opens.open());
    let later = state(opens, &listeners, key(1), NOW.plus_ms(2 * DAY_MS)).profile;
    assert_eq!(later.segments.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["parents"]);
    close(opens, listeners);
}

// INV-51.
fn who_is_forgotten_is_forgotten_with_taste_and_segments_and_an_older_write_brings_nothing_back(opens: &impl Opens) {
    let store = opens.open();
    let nothing = taste(opens, &store);
    assert!(replace(opens, &store, &nothing, with(&nothing, &play(1, "jazz"))));
    put(opens, &store, "runners", NOW.plus_ms(DAY_MS));
    let before = taste(opens, &store);
    opens.runtime().block_on(store.forget(key(1), NOW)).expect("forgets");
    assert!(!replace(opens, &store, &before, with(&before, &play(2, "soul"))), "it was made from what is gone");
    assert_eq!(taste(opens, &store), TasteRow::default());
    drop(store);
    let listeners = over(opens.open());
    let now = state(opens, &listeners, key(1), NOW.plus_ms(1));
    assert_eq!(now, ListenerState::new(now.pseudonym));
    close(opens, listeners);
}

// INV-51.
fn of_two_handles_that_write_a_taste_at_once_each_play_counts(opens: &impl Opens) {
    const EACH: u8 = 12;
    let writing: Vec<_> = opens
        .pair()
        .into_iter()
        .enumerate()
        .map(|(handle, store)| {
            opens.runtime().spawn(async move {
                for number in 0..EACH {
                    // Both tell the first half; each half of the rest is one's own.
                    let own = if number < EACH / 2 { 0 } else { u8::try_from(handle).expect("small") * EACH };
                    loop {
                        let row = store.read_taste(key(1)).await.expect("reads");
                        let taste = with(&row, &play(own + number, "jazz"));
                        if taste == row.taste || matches!(store.replace_taste(key(1), row, taste).await, Ok(true)) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for one in writing {
        opens.runtime().block_on(one).expect("no panic");
    }
    let counted = taste(opens, &opens.open()).taste;
    let heard: u64 = counted.parts().1["jazz"].values().sum();
    assert_eq!(heard, 1_200_000 * u64::from(EACH / 2 + EACH));
}
