//! How often the ads that are drawn for an app or an address are heard: who draws money and never plays is limited.
//!
//! A paid ad holds an advertiser's money from its draw until its lease closes. An app that asks and never plays, be it broken or made to, takes
//! that money from listeners. So for each *subject* (an app, a truncated address) it is kept how many paid ads were drawn and how many of those
//! were heard, and a subject of whose draws few are heard is decided for without money: house ads only.
//!
//! A draw counts when it is *due*: its token's life or the grace is over, whichever is sooner, so that neither a new app nor one that fetches
//! ahead or plays offline is judged by ads that it may still play. Draws and what was heard of them are summed up in buckets of a sixth of the
//! window by the moment at which they are due; a bucket counts from its end on, for one window. A beacon finds the bucket of its draw by the
//! times in its token, so nothing is kept for a single impression. An ad given back unplayed is one not heard: it held the money as well.
//!
//! A subject is limited while at least `min_draws` draws count and less than `min_percent` of them were heard (INV-29). One in `probe_one_in`
//! of its breaks is a probe, decided with money all the same: if probes are heard, the rate rises and the subject is let go; and when the window
//! has passed over what it was limited for, it is judged by its probes alone. Many who share an address share its rate: with a healthy one
//! nobody is limited.
//!
//! Memory is bounded: at most `capacity` subjects of some 250 bytes. When all are taken, those whose draws have left the window make room; when
//! there are none, a new subject is not watched, which its caller counts, and nobody is limited who isn't watched (INV-30).
//!
//! Left to others: which ads are paid, that one impression is told of once, and who asks.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::WallMs;

/// Buckets of a window: the more, the smoother it slides.
const BUCKETS: i64 = 6;

/// Buckets that are kept: the window's, the present one, and those in which draws may fall due, whose grace is no longer than the window.
const KEPT: usize = 2 * 6 + 1;

/// When a subject is judged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeardRule {
    /// Share of draws in percent below which a subject is limited; 0 limits nobody.
    pub min_percent: u32,
    /// Draws that must count before a subject is judged.
    pub min_draws: u32,
    /// How long a draw counts, in milliseconds.
    pub window_ms: i64,
    /// Longest time in which an ad may be heard before its draw counts, in milliseconds; at most the window.
    pub grace_ms: i64,
    /// One in this many breaks of a limited subject is decided with money all the same; 1 or more.
    pub probe_one_in: u32,
}

/// The times of a draw, as its token has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DrawTimes {
    /// When its ad was decided.
    pub decided_at: WallMs,
    /// Last moment at which it can be billed.
    pub billable_until: WallMs,
}

/// How a subject stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// Its breaks may get paid ads.
    Normal,
    /// Too few of its draws are heard: no paid ads in this break.
    Limited,
    /// Too few of its draws are heard, but this break gets paid ads, to see whether it plays them.
    Probe,
}

/// Whether a subject's draws are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Watch {
    /// They are.
    Kept,
    /// As many subjects are watched as may be: this one is not.
    Full,
}

/// Whose ads are rarely heard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RarelyHeard {
    /// Those of the app.
    App,
    /// Those of the address.
    Address,
}

impl RarelyHeard {
    /// Its name in answers, metrics and logs; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "rarely_heard_app",
            Self::Address => "rarely_heard_address",
        }
    }
}

/// Draws and what was heard of them, for each of a bounded number of subjects.
#[derive(Clone, Debug)]
pub struct HeardRates<K> {
    rule: HeardRule,
    capacity: usize,
    subjects: HashMap<K, Tally>,
    /// Bucket in which room was last looked for: once a bucket is enough, and what a flood of new subjects costs is bounded.
    swept_in: Option<i64>,
}

/// One subject.
#[derive(Clone, Copy, Debug)]
struct Tally {
    buckets: [Bucket; KEPT],
    /// Breaks of it since it was limited; counts probes.
    limited_breaks: u32,
}

/// What is due in one part of time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    number: i64,
    drawn: u32,
    heard: u32,
}

impl HeardRule {
    /// The bucket in which a draw is due.
    fn due(&self, times: DrawTimes) -> i64 {
        self.bucket(times.billable_until.min(times.decided_at.plus_ms(self.grace_ms)))
    }

    fn bucket(&self, at: WallMs) -> i64 {
        // Rounded up, so that a grace as long as the window spans no more buckets than the window.
        at.0.div_euclid(((self.window_ms + BUCKETS - 1) / BUCKETS).max(1))
    }
}

impl Tally {
    const fn new() -> Self {
        Self { buckets: [Bucket { number: i64::MIN, drawn: 0, heard: 0 }; KEPT], limited_breaks: 0 }
    }

    fn bucket(&mut self, number: i64) -> &mut Bucket {
        let kept = i64::try_from(KEPT).expect("a small number");
        &mut self.buckets[usize::try_from(number.rem_euclid(kept)).expect("below the number of buckets")]
    }

    /// Draws that count in that bucket's time, and how many of them were heard.
    fn counted(&self, present: i64) -> (u64, u64) {
        let window = present.saturating_sub(BUCKETS)..present;
        let buckets = self.buckets.iter().filter(|bucket| window.contains(&bucket.number));
        buckets
            .fold((0, 0), |(drawn, heard), bucket| (drawn + u64::from(bucket.drawn), heard + u64::from(bucket.heard)))
    }

    fn is_limited(&self, rule: &HeardRule, present: i64) -> bool {
        let (drawn, heard) = self.counted(present);
        drawn >= u64::from(rule.min_draws) && heard * 100 < drawn * u64::from(rule.min_percent)
    }

    /// Whether a draw of it counts now or will.
    fn is_live(&self, present: i64) -> bool {
        let kept = present.saturating_sub(BUCKETS)..=present.saturating_add(BUCKETS);
        self.buckets.iter().any(|bucket| kept.contains(&bucket.number))
    }
}

impl<K: Eq + Hash + Clone> HeardRates<K> {
    /// Nobody watched yet, and never more than `capacity` subjects.
    ///
    /// # Panics
    /// When the grace is longer than the window, or there are no probes: the configuration refuses both.
    #[must_use]
    pub fn new(rule: HeardRule, capacity: usize) -> Self {
        assert!((0..=rule.window_ms).contains(&rule.grace_ms), "a draw is due within a window");
        assert!(rule.probe_one_in > 0, "some breaks are probes");
        Self { rule, capacity, subjects: HashMap::new(), swept_in: None }
    }

    /// How many are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.subjects.len()
    }

    /// How the subject stands in a break that is decided now. Counts the break, so that every `probe_one_in`th is a probe.
    pub fn stand(&mut self, subject: &K, now: WallMs) -> Standing {
        let present = self.rule.bucket(now);
        let Some(tally) = self.subjects.get_mut(subject) else { return Standing::Normal };
        if !tally.is_limited(&self.rule, present) {
            tally.limited_breaks = 0;
            return Standing::Normal;
        }
        tally.limited_breaks += 1;
        if tally.limited_breaks < self.rule.probe_one_in {
            return Standing::Limited;
        }
        tally.limited_breaks = 0;
        Standing::Probe
    }

    /// A paid ad was drawn for the subject.
    pub fn drawn(&mut self, subject: &K, times: DrawTimes) -> Watch {
        let (due, present) = (self.rule.due(times), self.rule.bucket(times.decided_at));
        if !self.subjects.contains_key(subject) {
            if !self.has_room(present) {
                return Watch::Full;
            }
            self.subjects.insert(subject.clone(), Tally::new());
        }
        let bucket = self.subjects.get_mut(subject).expect("it is there, or was put there").bucket(due);
        // Another number in its place is out of the window, or of a time from which the clock was set back.
        if bucket.number != due {
            *bucket = Bucket { number: due, drawn: 0, heard: 0 };
        }
        bucket.drawn = bucket.drawn.saturating_add(1);
        Watch::Kept
    }

    /// An ad that was drawn for the subject was heard, the first time that this is told.
    pub fn heard(&mut self, subject: &K, times: DrawTimes) {
        let due = self.rule.due(times);
        let Some(tally) = self.subjects.get_mut(subject) else { return };
        let bucket = tally.bucket(due);
        // Of a draw that was not counted (another boot's, or before the subject was watched) nothing is counted either.
        if bucket.number == due && bucket.heard < bucket.drawn {
            bucket.heard += 1;
        }
    }

    /// Whether another subject may be watched; makes room, at most once a bucket.
    fn has_room(&mut self, present: i64) -> bool {
        if self.subjects.len() >= self.capacity && self.swept_in != Some(present) {
            self.swept_in = Some(present);
            self.subjects.retain(|_, tally| tally.is_live(present));
        }
        self.subjects.len() < self.capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    const RULE: HeardRule =
        HeardRule { min_percent: 10, min_draws: 20, window_ms: 60 * MINUTE, grace_ms: 20 * MINUTE, probe_one_in: 5 };

    fn times(decided_at: i64) -> DrawTimes {
        DrawTimes { decided_at: WallMs(decided_at), billable_until: WallMs(decided_at + 60 * MINUTE) }
    }

    /// Draws this many ads at that moment, of which some are heard.
    fn draw(rates: &mut HeardRates<u8>, subject: u8, at: i64, drawn: u32, heard: u32) {
        for number in 0..drawn {
            assert_eq!(rates.drawn(&subject, times(at)), Watch::Kept);
            if number < heard {
                rates.heard(&subject, times(at));
            }
        }
    }

    #[test]
    fn who_never_plays_is_limited_once_its_draws_are_due_and_let_go_when_they_have_passed() {
        let mut rates = HeardRates::new(RULE, 4);
        draw(&mut rates, 1, 0, 20, 0);
        // Due at 20 minutes, in the bucket that ends at 30.
        for (minute, expected) in [
            (0, Standing::Normal),
            (29, Standing::Normal),
            (30, Standing::Limited),
            (89, Standing::Limited),
            (90, Standing::Normal),
        ] {
            assert_eq!(rates.stand(&1, WallMs(minute * MINUTE)), expected, "minute {minute}");
        }
        assert_eq!(rates.stand(&2, WallMs(30 * MINUTE)), Standing::Normal, "nobody else is");
    }

    #[test]
    fn too_few_draws_are_not_judged_and_enough_of_them_heard_are_right() {
        for (drawn, heard, expected) in [
            (19, 0, Standing::Normal),
            (20, 1, Standing::Limited),
            (20, 2, Standing::Normal),
            (1_000, 99, Standing::Limited),
            (1_000, 100, Standing::Normal),
        ] {
            let mut rates = HeardRates::new(RULE, 4);
            draw(&mut rates, 1, 0, drawn, heard);
            assert_eq!(rates.stand(&1, WallMs(30 * MINUTE)), expected, "{heard} of {drawn}");
        }
        let mut rates = HeardRates::new(HeardRule { min_percent: 0, ..RULE }, 4);
        draw(&mut rates, 1, 0, 1_000, 0);
        assert_eq!(rates.stand(&1, WallMs(30 * MINUTE)), Standing::Normal, "the rule is off");
    }

    #[test]
    fn a_short_token_is_due_when_its_life_is_over() {
        let mut rates = HeardRates::new(RULE, 4);
        let short = DrawTimes { billable_until: WallMs(5 * MINUTE), ..times(0) };
        for _ in 0..20 {
            rates.drawn(&1, short);
        }
        assert_eq!(rates.stand(&1, WallMs(10 * MINUTE)), Standing::Limited);
    }

    #[test]
    fn what_is_heard_late_counts_for_the_draw_that_it_belongs_to() {
        let mut rates = HeardRates::new(RULE, 4);
        draw(&mut rates, 1, 0, 20, 0);
        assert_eq!(rates.stand(&1, WallMs(40 * MINUTE)), Standing::Limited);
        // Offline for long: the beacons come after the grace.
        for _ in 0..2 {
            rates.heard(&1, times(0));
        }
        assert_eq!(rates.stand(&1, WallMs(40 * MINUTE)), Standing::Normal);
    }

    #[test]
    fn every_nth_break_is_a_probe_and_heard_probes_let_it_go() {
        let mut rates = HeardRates::new(RULE, 4);
        draw(&mut rates, 1, 0, 40, 0);
        let (mut minute, mut probes) = (30, Vec::new());
        loop {
            match rates.stand(&1, WallMs(minute * MINUTE)) {
                Standing::Normal => break,
                Standing::Limited => {}
                Standing::Probe => {
                    probes.push(minute);
                    draw(&mut rates, 1, minute * MINUTE, 1, 1);
                }
            }
            minute += 1;
        }
        assert_eq!(probes, [34, 39, 44, 49, 54, 59, 64, 69, 74, 79]);
        // The first six are due by then: 6 of 46, where 4 of 44 were too few.
        assert_eq!(minute, 80, "let go before the window has passed over what it was limited for");
    }

    #[test]
    fn more_heard_than_drawn_is_not_believed() {
        let mut rates = HeardRates::new(RULE, 4);
        draw(&mut rates, 1, 0, 1, 0);
        for _ in 0..100 {
            rates.heard(&1, times(0));
        }
        // Due in the next bucket.
        draw(&mut rates, 1, 10 * MINUTE, 19, 0);
        assert_eq!(rates.stand(&1, WallMs(40 * MINUTE)), Standing::Limited, "1 of 20");
    }

    #[test]
    fn a_clock_that_was_set_back_spoils_nothing_for_long() {
        let mut rates = HeardRates::new(RULE, 1);
        let year = 365 * 24 * 60 * MINUTE;
        for minute in 0..130 {
            draw(&mut rates, 1, year + minute * MINUTE, 1, 1);
        }
        draw(&mut rates, 1, 0, 20, 0);
        assert_eq!(rates.stand(&1, WallMs(30 * MINUTE)), Standing::Limited);
        assert_eq!(rates.drawn(&2, times(90 * MINUTE)), Watch::Kept, "what is a year ahead keeps no place");
    }

    // INV-30.
    #[test]
    fn when_all_places_are_taken_a_new_subject_is_not_watched_until_one_has_passed() {
        let mut rates = HeardRates::new(RULE, 2);
        draw(&mut rates, 1, 0, 20, 0);
        draw(&mut rates, 2, 10 * MINUTE, 20, 0);
        assert_eq!(rates.drawn(&3, times(20 * MINUTE)), Watch::Full);
        assert_eq!(rates.stand(&3, WallMs(50 * MINUTE)), Standing::Normal, "nobody is limited who isn't watched");
        assert_eq!(rates.stand(&1, WallMs(50 * MINUTE)), Standing::Limited, "and nobody is driven out");
        assert_eq!(rates.drawn(&3, times(89 * MINUTE)), Watch::Full);
        assert_eq!(rates.drawn(&3, times(90 * MINUTE)), Watch::Kept, "the first one's draws count no more");
        assert_eq!(rates.watched(), 2);
        assert_eq!(rates.drawn(&4, times(91 * MINUTE)), Watch::Full);
    }

    /// The same, from a list of all draws.
    struct Naive {
        rule: HeardRule,
        capacity: usize,
        /// Subject, when it is due, heard.
        draws: Vec<(u8, i64, bool)>,
        watched: Vec<u8>,
        looked_for_room: Vec<i64>,
        /// Breaks since it was limited, or since its last probe.
        breaks: Vec<(u8, u32)>,
    }

    impl Naive {
        fn part(&self, at: i64) -> i64 {
            at / ((self.rule.window_ms + 5) / 6)
        }

        fn due(&self, times: DrawTimes) -> i64 {
            self.part(times.billable_until.0.min(times.decided_at.0 + self.rule.grace_ms))
        }

        fn drawn(&mut self, subject: u8, times: DrawTimes) -> Watch {
            let present = self.part(times.decided_at.0);
            if !self.watched.contains(&subject) {
                if self.watched.len() == self.capacity && !self.looked_for_room.contains(&present) {
                    self.looked_for_room.push(present);
                    let draws = &self.draws;
                    let alive = |one: &u8| draws.iter().any(|&(of, due, _)| of == *one && due >= present - 6);
                    self.watched.retain(alive);
                    let watched = &self.watched;
                    self.breaks.retain(|(of, _)| watched.contains(of));
                    self.draws.retain(|(of, ..)| watched.contains(of));
                }
                if self.watched.len() == self.capacity {
                    return Watch::Full;
                }
                self.watched.push(subject);
            }
            self.draws.push((subject, self.due(times), false));
            Watch::Kept
        }

        fn heard(&mut self, subject: u8, times: DrawTimes) {
            let due = self.due(times);
            let unheard = self.draws.iter_mut().find(|(of, when, heard)| (*of, *when) == (subject, due) && !heard);
            if let Some((_, _, heard)) = unheard {
                *heard = true;
            }
        }

        fn stand(&mut self, subject: u8, now: i64) -> Standing {
            let present = self.part(now);
            let counted: Vec<_> = self
                .draws
                .iter()
                .filter(|(of, due, _)| *of == subject && *due < present && *due >= present - 6)
                .collect();
            let heard = counted.iter().filter(|(_, _, heard)| *heard).count();
            let share = u32::try_from(heard * 100).expect("small");
            let drawn = u32::try_from(counted.len()).expect("small");
            if drawn < self.rule.min_draws || share >= drawn * self.rule.min_percent {
                self.breaks.retain(|(of, _)| *of != subject);
                return Standing::Normal;
            }
            let before = self.breaks.iter().find(|(of, _)| *of == subject).map_or(0, |(_, breaks)| *breaks);
            self.breaks.retain(|(of, _)| *of != subject);
            if before + 1 == self.rule.probe_one_in {
                return Standing::Probe;
            }
            self.breaks.push((subject, before + 1));
            Standing::Limited
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// INV-29: buckets and bounded memory stand as a list of all draws would.
        #[test]
        fn standings_equal_those_of_a_list_of_all_draws(
            rule in (0_u32..=100, 1_u32..8, 6_i64..600, 0_i64..600, 1_u32..5),
            capacity in 1_usize..4,
            steps in prop::collection::vec((0_u8..3, 0_u8..4, 0_i64..40, 0_i64..900, 0_usize..20), 1..300),
        ) {
            let (min_percent, min_draws, window_ms, grace_ms, probe_one_in) = rule;
            let rule = HeardRule { min_percent, min_draws, window_ms, grace_ms: grace_ms.min(window_ms), probe_one_in };
            let mut rates = HeardRates::new(rule, capacity);
            let (draws, watched, looked_for_room, breaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            let mut naive = Naive { rule, capacity, draws, watched, looked_for_room, breaks };
            let (mut now, mut drawn) = (1_000_i64, Vec::new());
            for (step, subject, pause, life, back) in steps {
                now += pause;
                match step {
                    0 => {
                        let times = DrawTimes { decided_at: WallMs(now), billable_until: WallMs(now + life) };
                        drawn.push((subject, times));
                        prop_assert_eq!(rates.drawn(&subject, times), naive.drawn(subject, times));
                    }
                    1 => if let Some(&(subject, times)) = drawn.iter().rev().nth(back) {
                        rates.heard(&subject, times);
                        naive.heard(subject, times);
                    },
                    _ => prop_assert_eq!(rates.stand(&subject, WallMs(now)), naive.stand(subject, now)),
                }
                prop_assert!(rates.watched() <= capacity);
                prop_assert_eq!(rates.watched(), naive.watched.len());
            }
        }
    }
}
