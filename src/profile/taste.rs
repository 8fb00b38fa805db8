//! What a listener likes, as what they played says: exponential decay with a half-life of [`HALF_LIFE_WEEKS`] weeks.
//!
//! Kept is how long they heard each genre and each mood in each week; the decay is applied when it is read. So the order in which plays come doesn't matter:
//! sums of whole milliseconds commute, and what is [`WEEKS_KEPT`] weeks older than the newest play is left out, whenever that one came. Two bounds are an
//! exception, each far from what a person does: a genre beyond the first [`WORDS_MAX`] drives out the weakest, and a play that is told again after
//! [`RECENT_MAX`] others counts again.

use std::collections::{BTreeMap, VecDeque};

use crate::events::Play;
use crate::model::WallMs;
use crate::targeting::normal;

const WEEK_MS: i64 = 7 * 86_400_000;

/// After so many weeks a play counts half. Long enough to know somebody who listens on Saturdays, short enough to forget what they are through with.
pub(super) const HALF_LIFE_WEEKS: u32 = 2;
/// Weeks that are kept, back from the newest play: what is older would count less than a 64th.
pub const WEEKS_KEPT: i64 = 12;
/// Most genres, and most moods, kept of a listener.
pub const WORDS_MAX: usize = 32;
/// Plays remembered by their names, so that one that is told again counts once: three hours of songs.
pub const RECENT_MAX: usize = 64;
/// Most genres, and most moods, that a listener is said to like.
const LIKED_MAX: usize = 5;
/// What is liked was heard for so long at least, in milliseconds, after decay: ten minutes, a few songs.
const LIKED_MIN_MS: u128 = 600_000;
/// What is liked is one part in so many, at least, of all that was heard.
const LIKED_ONE_IN: u128 = 10;
/// The decay of whole half-lives is a shift; that of half of one is this, in units of 2^-16: the root of one half.
const ROOT_HALF: u128 = 46_341;
const ONE: u128 = 65_536;

/// Milliseconds heard, by word and week.
pub type WordWeeks = BTreeMap<String, BTreeMap<i64, u64>>;

/// What became of a play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It counts.
    Counted,
    /// It counted before.
    Repeated,
    /// It is so old that it says nothing any more.
    TooOld,
}

/// A listener's taste.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Taste {
    /// The newest week of a play; weeks of 7 × 24 hours since 1970.
    newest: Option<i64>,
    genres: WordWeeks,
    moods: WordWeeks,
    /// Names of plays that counted, as they came.
    recent: VecDeque<[u8; 16]>,
}

/// Parts that are no taste.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more words, weeks or plays than a taste has")]
pub struct TasteError;

impl Taste {
    /// A taste from its parts, as it was kept.
    ///
    /// # Errors
    /// [`TasteError`] when they are larger than a taste can be.
    pub fn from_parts(
        newest: Option<i64>,
        genres: WordWeeks,
        moods: WordWeeks,
        recent: VecDeque<[u8; 16]>,
    ) -> Result<Self, TasteError> {
        let weeks_max = usize::try_from(WEEKS_KEPT).unwrap_or(usize::MAX);
        let fits = |words: &WordWeeks| words.len() <= WORDS_MAX && words.values().all(|weeks| weeks.len() <= weeks_max);
        if fits(&genres) && fits(&moods) && recent.len() <= RECENT_MAX {
            Ok(Self { newest, genres, moods, recent })
        } else {
            Err(TasteError)
        }
    }

    /// Its parts: the newest week, genres, moods, names of plays.
    #[must_use]
    pub const fn parts(&self) -> (Option<i64>, &WordWeeks, &WordWeeks, &VecDeque<[u8; 16]>) {
        (self.newest, &self.genres, &self.moods, &self.recent)
    }

    /// Takes in a play. Words that are none in targeting are left out.
    pub fn add(&mut self, play: &Play) -> Added {
        if self.recent.contains(&play.play_id) {
            return Added::Repeated;
        }
        let week = week_of(play.played_at);
        let newest = self.newest.map_or(week, |newest| newest.max(week));
        if week <= newest.saturating_sub(WEEKS_KEPT) {
            return Added::TooOld;
        }
        self.newest = Some(newest);
        self.recent.push_back(play.play_id);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT_MAX));
        for (kept, told) in [(&mut self.genres, &play.genres), (&mut self.moods, &play.moods)] {
            for word in words(told) {
                let heard = kept.entry(word).or_default().entry(week).or_default();
                *heard = heard.saturating_add(play.heard_ms.into());
            }
            trim(kept, newest);
        }
        Added::Counted
    }

    /// The genres that they like at that time, sorted; at most five.
    #[must_use]
    pub fn genres(&self, now: WallMs) -> Vec<String> {
        liked(&self.genres, week_of(now))
    }

    /// The moods that they like at that time, sorted; at most five.
    #[must_use]
    pub fn moods(&self, now: WallMs) -> Vec<String> {
        liked(&self.moods, week_of(now))
    }
}

/// The words in targeting's form, each once.
fn words(told: &[String]) -> Vec<String> {
    let mut words: Vec<String> = told.iter().filter_map(|text| normal::word(text)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Leaves out what is too old, and of too many words the weakest; of equals the last by name.
fn trim(words: &mut WordWeeks, newest: i64) {
    for weeks in words.values_mut() {
        weeks.retain(|week, _| *week > newest.saturating_sub(WEEKS_KEPT));
    }
    words.retain(|_, weeks| !weeks.is_empty());
    while words.len() > WORDS_MAX {
        let weakest = words.iter().rev().min_by_key(|(_, weeks)| weight(weeks, newest)).map(|(word, _)| word.clone());
        if let Some(weakest) = weakest {
            words.remove(&weakest);
        }
    }
}

fn liked(words: &WordWeeks, now: i64) -> Vec<String> {
    let mut weights: Vec<(u128, &str)> =
        words.iter().map(|(word, weeks)| (weight(weeks, now), word.as_str())).collect();
    let total: u128 = weights.iter().map(|(weight, _)| weight).sum();
    weights.retain(|(weight, _)| *weight >= LIKED_MIN_MS && weight.saturating_mul(LIKED_ONE_IN) >= total);
    weights.sort_by(|(one, one_word), (other, other_word)| other.cmp(one).then(one_word.cmp(other_word)));
    let mut liked: Vec<String> = weights.into_iter().take(LIKED_MAX).map(|(_, word)| word.to_owned()).collect();
    liked.sort_unstable();
    liked
}

/// Milliseconds after decay, in that week.
fn weight(weeks: &BTreeMap<i64, u64>, now: i64) -> u128 {
    let parts = weeks.iter().map(|(week, heard)| u128::from(*heard) * factor(now.saturating_sub(*week)));
    parts.sum::<u128>() / ONE
}

/// What a play counts after so many weeks, in units of 2^-16. One from a clock that is ahead counts whole.
pub(super) fn factor(weeks: i64) -> u128 {
    let weeks = u32::try_from(weeks.max(0)).unwrap_or(u32::MAX);
    let whole = if weeks.is_multiple_of(HALF_LIFE_WEEKS) { ONE } else { ROOT_HALF };
    whole.checked_shr(weeks / HALF_LIFE_WEEKS).unwrap_or(0)
}

/// Weeks of 7 × 24 hours since 1970.
pub(super) fn week_of(at: WallMs) -> i64 {
    at.0.div_euclid(WEEK_MS)
}
