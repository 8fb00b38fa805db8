//! Taste against the list of all plays; profiles only where they are allowed; lines of an import.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::import::{self, LineError};
use super::taste::{factor, week_of};
use super::*;
use crate::events::Play;
use crate::model::{ListenerKey, NetworkId, TimedSegment};
use crate::targeting::testkit;
use crate::workload::Draws;

const WEEK_MS: i64 = 7 * 86_400_000;
const NOW: WallMs = WallMs(2_900 * WEEK_MS + 17);

fn play(number: u8, weeks_ago: i64, heard_ms: u32, genres: &[&str]) -> Play {
    Play {
        play_id: [number; 16],
        network_id: NetworkId::from_u128(1),
        listener_id: "somebody".to_owned(),
        played_at: NOW.plus_ms(-weeks_ago * WEEK_MS),
        heard_ms,
        genres: genres.iter().map(|&genre| genre.to_owned()).collect(),
        moods: Vec::new(),
        is_profiled: true,
    }
}

fn taste_of<'p>(plays: impl IntoIterator<Item = &'p Play>) -> Taste {
    let mut taste = Taste::default();
    for play in plays {
        taste.add(play);
    }
    taste
}

/// The naive twin: what is liked, by the definition, of the list of all plays.
fn liked_of_list(plays: &[Play], now: WallMs) -> Vec<String> {
    let plays: BTreeMap<[u8; 16], &Play> = plays.iter().rev().map(|play| (play.play_id, play)).collect();
    let newest = plays.values().map(|play| week_of(play.played_at)).max().unwrap_or(0);
    let mut weights: BTreeMap<String, f64> = BTreeMap::new();
    for play in plays.values().filter(|play| week_of(play.played_at) > newest - WEEKS_KEPT) {
        let weeks = (week_of(now) - week_of(play.played_at)).max(0);
        let half_lives = f64::from(u32::try_from(weeks).expect("not negative")) / 2.0;
        let words: BTreeSet<String> = play.genres.iter().map(|genre| genre.to_lowercase()).collect();
        for word in words {
            *weights.entry(word).or_default() += f64::from(play.heard_ms) * 0.5_f64.powf(half_lives);
        }
    }
    let total: f64 = weights.values().sum();
    let mut liked: Vec<(String, f64)> = weights.into_iter().collect();
    liked.retain(|(_, weight)| *weight >= 600_000.0 && weight * 10.0 >= total);
    liked.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    let mut liked: Vec<String> = liked.into_iter().take(5).map(|(word, _)| word).collect();
    liked.sort();
    liked
}

fn plays() -> impl Strategy<Value = Vec<Play>> {
    // Heard in odd amounts, so that no two weights are equal but for rounding of the roots.
    let genres = proptest::sample::subsequence(vec!["Jazz", "jazz", "soul", "rock", "pop", "folk", "ska"], 0..4);
    let one = (0_u8..60, 0_i64..16, 1_u32..3_000, genres).prop_map(|(number, weeks_ago, thousands, genres)| {
        // What is told of a play is the same each time.
        play(number, weeks_ago, thousands * 1_009 + u32::from(number), &genres)
    });
    proptest::collection::vec(one, 0..60).prop_map(|mut plays| {
        let mut first = BTreeMap::new();
        for play in &mut plays {
            *play = first.entry(play.play_id).or_insert_with(|| play.clone()).clone();
        }
        plays
    })
}

proptest! {
    #[test]
    fn taste_equals_the_list_of_all_plays(plays in plays(), weeks_on in 0_i64..30) {
        let now = NOW.plus_ms(weeks_on * WEEK_MS);
        prop_assert_eq!(taste_of(&plays).genres(now), liked_of_list(&plays, now));
    }

    // INV-51.
    #[test]
    fn the_order_and_repeats_of_plays_do_not_matter(
        (plays, shuffled) in plays().prop_flat_map(|plays| {
            let twice = [plays.clone(), plays.clone()].concat();
            (Just(plays), Just(twice).prop_shuffle())
        }),
    ) {
        let (taste, other) = (taste_of(&plays), taste_of(&shuffled));
        prop_assert_eq!(taste.parts().0, other.parts().0);
        prop_assert_eq!(taste.parts().1, other.parts().1);
    }

    #[test]
    fn a_taste_is_bounded_whatever_is_played(
        told in proptest::collection::vec((any::<u8>(), 0_i64..40, 0_u32..9_000_000, "[a-h]{1,2}", "[a-h]{1,2}"), 0..400),
    ) {
        let mut taste = Taste::default();
        for (number, weeks_ago, heard_ms, one, other) in told {
            taste.add(&play(number, weeks_ago, heard_ms, &[&one, &other]));
            let (newest, genres, moods, recent) = taste.parts();
            let again = Taste::from_parts(newest, genres.clone(), moods.clone(), recent.clone());
            prop_assert_eq!(again, Ok(taste.clone()));
        }
    }
}

#[test]
fn decay_halves_in_two_weeks_and_its_roots_are_exact_to_the_last_bit() {
    for weeks in 0_u32..40 {
        let exact = 65_536.0 * 0.5_f64.powf(f64::from(weeks) / 2.0);
        let table = f64::from(u32::try_from(factor(weeks.into())).expect("small"));
        assert!((exact - table).abs() <= 1.0, "{weeks}: {table} and {exact}");
    }
    assert_eq!([factor(-3), factor(0), factor(2), factor(4), factor(i64::MAX)], [65_536, 65_536, 32_768, 16_384, 0]);
}

#[test]
fn what_was_liked_is_forgotten_and_a_repeat_counts_once() {
    let mut taste = Taste::default();
    assert_eq!(taste.add(&play(1, 0, 1_200_000, &[" Jazz "])), Added::Counted);
    assert_eq!(taste.add(&play(1, 0, 1_200_000, &["rock"])), Added::Repeated);
    assert_eq!(taste.add(&play(2, WEEKS_KEPT, 1_200_000, &["rock"])), Added::TooOld);
    assert_eq!(taste.genres(NOW), ["jazz"]);
    assert_eq!(taste.moods(NOW), [""; 0]);
    // Twenty minutes are ten after two weeks, and less after three.
    assert_eq!(taste.genres(NOW.plus_ms(2 * WEEK_MS)), ["jazz"]);
    assert_eq!(taste.genres(NOW.plus_ms(3 * WEEK_MS)), [""; 0]);
    // The repeats of more plays than are remembered count again: that is the bound.
    for number in 10..10 + u8::try_from(RECENT_MAX).expect("small") {
        taste.add(&play(number, 0, 1, &[]));
    }
    assert_eq!(taste.add(&play(1, 0, 1_200_000, &["rock"])), Added::Counted);
}

#[test]
fn a_profile_is_seen_only_where_the_listener_allowed_it() {
    let segment = |name: &str, until| TimedSegment { name: name.to_owned(), until };
    let profile = Profile {
        genres: vec!["jazz".to_owned()],
        moods: vec!["calm".to_owned()],
        segments: vec![segment("over", NOW), segment("runners", NOW.plus_ms(1)), segment("told", NOW.plus_ms(9))],
    };
    let mut request = testkit::request(NetworkId::from_u128(1), &mut Draws::new(1, 1));
    request.listener_key = ListenerKey::of_account([7; 16]);
    request.facts.segments = vec!["told".to_owned()];
    request.facts.taste_genres.clear();
    request.facts.taste_moods.clear();
    let request = Arc::new(request);
    let known = personal(&request, &profile, NOW);
    assert_eq!(known.facts.taste_genres, ["jazz"]);
    assert_eq!(known.facts.taste_moods, ["calm"]);
    assert_eq!(known.facts.segments, ["runners", "told"]);
    let context_only = AdBreakRequest { consent: ConsentScope::ContextOnly, ..AdBreakRequest::clone(&request) };
    let session = AdBreakRequest { listener_key: ListenerKey::of_session([7; 16]), ..AdBreakRequest::clone(&request) };
    let child = AdBreakRequest { child: true, ..AdBreakRequest::clone(&request) };
    for request in [context_only, session, child].map(Arc::new) {
        assert_eq!(personal(&request, &profile, NOW), request);
    }
    assert_eq!(personal(&request, &Profile::default(), NOW), request);
}

#[test]
fn lines_of_an_import_are_read_or_refused_with_the_reason() {
    let at = |text: &str| WallMs(text.parse::<jiff::Timestamp>().expect("a moment").as_millisecond());
    let now = at("2026-11-26T12:00:00Z");
    let line = import::read(b"a,b,Marathon Runners,2026-12-24T00:00:00Z\r", now).expect("reads");
    assert_eq!(line.listener_id, "a,b");
    let until = at("2026-12-24T00:00:00Z");
    assert_eq!(line.segment, TimedSegment { name: "marathon runners".to_owned(), until });
    let long = vec![b'x'; import::LINE_BYTES_MAX + 1];
    let long_id = format!("{},s,2026-12-24T00:00:00Z", "x".repeat(257));
    for (text, error) in [
        (&b""[..], LineError::Fields),
        (b"a,b", LineError::Fields),
        (b",s,2026-12-24T00:00:00Z", LineError::ListenerId),
        (long_id.as_bytes(), LineError::ListenerId),
        (b"a, ,2026-12-24T00:00:00Z", LineError::Segment),
        (b"a,s,tomorrow", LineError::ExpiresAt),
        (b"a,s,2026-11-26T12:00:00Z", LineError::Past),
        (b"a,s,2028-12-24T00:00:00Z", LineError::TooFar),
        (b"\xff,s,2026-12-24T00:00:00Z", LineError::NotText),
        (&long, LineError::TooLong),
    ] {
        assert_eq!(import::read(text, now), Err(error), "{}", String::from_utf8_lossy(text));
    }
}
