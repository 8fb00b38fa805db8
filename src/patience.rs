//! How long to wait before something that failed is tried again, and how often a trouble that lasts is told. Pure: the caller reads the clock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::MonotonicMs;

/// A pause that doubles with each failure, up to a longest one. In milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    first: u64,
    most: u64,
    next: u64,
}

impl Backoff {
    /// Pauses from `first_ms` to `most_ms`, in milliseconds.
    #[must_use]
    pub const fn new(first_ms: u64, most_ms: u64) -> Self {
        Self { first: first_ms, most: most_ms, next: first_ms }
    }

    /// It failed: how long to wait, in milliseconds. Twice as long as the last time, but no longer than the longest pause.
    pub fn failed(&mut self) -> u64 {
        let pause_ms = self.next;
        self.next = pause_ms.saturating_mul(2).min(self.most);
        pause_ms
    }

    /// It worked: the next pause is the first one again.
    pub const fn worked(&mut self) {
        self.next = self.first;
    }
}

/// First time between two tellings of one trouble, in milliseconds.
const TELL_MS: u64 = 30_000;
/// Longest time between two tellings, in milliseconds.
const TELL_MOST_MS: u64 = 600_000;

/// Decides when a trouble is told: at once when it begins or changes, then after 30 s, a minute, two, and so on up to ten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reminder {
    told: Option<(String, MonotonicMs)>,
    every: Backoff,
}

impl Default for Reminder {
    fn default() -> Self {
        Self { told: None, every: Backoff::new(TELL_MS, TELL_MOST_MS) }
    }
}

impl Reminder {
    /// It fails, for this reason: whether that is to be told now.
    pub fn fails(&mut self, reason: &str, now: MonotonicMs) -> bool {
        match &self.told {
            Some((told, due)) if told == reason && now < *due => return false,
            Some((told, _)) if told == reason => {}
            _ => self.every.worked(),
        }
        self.told = Some((reason.to_owned(), MonotonicMs(now.0.saturating_add(self.every.failed()))));
        true
    }

    /// It works: whether a trouble that was told is over, which is to be told too.
    pub fn works(&mut self) -> bool {
        self.every.worked();
        self.told.take().is_some()
    }
}

/// Time between two tellings of what many requests meet, in milliseconds.
const SELDOM_MS: u64 = 10_000;

/// Tells of what each of many requests meets: the first, then one in ten seconds with the number of those in between. For several threads.
#[derive(Debug, Default)]
pub struct Seldom {
    due: AtomicU64,
    hushed: AtomicU64,
}

impl Seldom {
    /// It happened: whether that is to be told, and how often it happened untold since the last time.
    pub fn happens(&self, now: MonotonicMs) -> Option<u64> {
        // Relaxed: who wins tells, and counts publish nothing.
        let next = now.0.saturating_add(SELDOM_MS);
        let won = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| (now.0 >= due).then_some(next));
        if won.is_err() {
            self.hushed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.hushed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_meet_is_told_once_in_ten_seconds_with_their_number() {
        let seldom = Seldom::default();
        let told: Vec<_> = (0..25).map(|second| seldom.happens(MonotonicMs(second * 1_000))).collect();
        let of = |second: usize| told[second];
        assert_eq!((of(0), of(10), of(20)), (Some(0), Some(9), Some(9)));
        assert_eq!(told.iter().flatten().count(), 3);
    }

    #[test]
    fn a_pause_doubles_and_begins_anew() {
        let mut backoff = Backoff::new(1_000, 15_000);
        let pauses: Vec<u64> = (0..6).map(|_| backoff.failed()).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        backoff.worked();
        assert_eq!(backoff.failed(), 1_000);
    }

    #[test]
    fn a_trouble_is_told_at_once_then_ever_more_rarely_and_its_end_once() {
        let mut reminder = Reminder::default();
        assert!(!reminder.works(), "nothing was wrong");
        let told: Vec<u64> = (0..400).filter(|second| reminder.fails("gone", MonotonicMs(second * 1_000))).collect();
        assert_eq!(told, [0, 30, 90, 210]);
        assert!(reminder.fails("worse", MonotonicMs(400_000)), "it has changed");
        assert!(!reminder.fails("worse", MonotonicMs(400_001)));
        assert!(reminder.works());
        assert!(!reminder.works());
    }
}
