//! Tells a partition that nothing is written to from one whose reader has stopped fetching. Pure: the caller reads the clock and asks the broker.
//!
//! A reader hears of each record and of each end it comes to. Where its client library loses track of a partition, as after its leader was killed, it hears
//! nothing, and that looks like an idle partition. So a partition that is silent for a while is looked at: where it ends, as a broker says. One that
//! grew since the look before, or that was not read to its end, owes its reader something.

use std::collections::BTreeMap;

use crate::model::MonotonicMs;

/// Time between two looks at a partition that is silent, in milliseconds.
const LOOK_EVERY_MS: u64 = 5_000;
/// How long a partition may owe something, in milliseconds: records come within a second of their commit, but for a broker that is very busy.
const PATIENCE_MS: u64 = 10_000;

/// How silent each partition of a reader is.
#[derive(Debug)]
pub(super) struct Silence {
    of: BTreeMap<u32, Quiet>,
    looks_at: MonotonicMs,
}

/// One partition since something was heard of it.
#[derive(Clone, Copy, Default, Debug)]
struct Quiet {
    heard: bool,
    /// The last that was heard was that it is read to its end.
    at_end: bool,
    /// Its end at the first look.
    end: Option<u64>,
    /// Since when it is known to owe something.
    owes: Option<MonotonicMs>,
}

impl Silence {
    /// Of those partitions, `now` that reading begins.
    pub(super) fn new(partitions: impl Iterator<Item = u32>, now: MonotonicMs) -> Self {
        let of = partitions.map(|partition| (partition, Quiet::default())).collect();
        Self { of, looks_at: now.plus_ms(LOOK_EVERY_MS) }
    }

    /// A record came of a partition, or, `at_end`, word that it is read to its end.
    pub(super) fn heard(&mut self, partition: u32, at_end: bool) {
        self.of.insert(partition, Quiet { heard: true, at_end, ..Quiet::default() });
    }

    /// The partitions to be looked at now: those of which nothing was heard since the time for the look before.
    pub(super) fn due(&mut self, now: MonotonicMs) -> Vec<u32> {
        if now < self.looks_at {
            return Vec::new();
        }
        self.looks_at = now.plus_ms(LOOK_EVERY_MS);
        let silent = self.of.iter_mut().filter_map(|(&partition, quiet)| {
            let was_heard = std::mem::replace(&mut quiet.heard, false);
            (!was_heard).then_some(partition)
        });
        silent.collect()
    }

    /// A broker says where a partition ends. Whether its reader has stopped fetching.
    pub(super) fn looked(&mut self, partition: u32, end: u64, now: MonotonicMs) -> bool {
        let quiet = self.of.entry(partition).or_default();
        let before = *quiet.end.get_or_insert(end);
        if !quiet.at_end || end > before {
            quiet.owes.get_or_insert(now);
        }
        quiet.owes.is_some_and(|since| now.since(since) >= PATIENCE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every five seconds while the partition ends at these places; the number of the look at which it is called stopped.
    fn stopped_at(silence: &mut Silence, ends: &[u64]) -> Option<usize> {
        let looks = ends.iter().zip(1..).map(|(end, look)| (look, *end, MonotonicMs(look as u64 * LOOK_EVERY_MS)));
        let mut stopped = looks.filter(|&(_, end, now)| {
            let due = silence.due(now);
            due.contains(&3) && silence.looked(3, end, now)
        });
        stopped.next().map(|(look, ..)| look)
    }

    fn silence() -> Silence {
        Silence::new([3].into_iter(), MonotonicMs(0))
    }

    #[test]
    fn an_idle_partition_is_silent_for_good() {
        let mut silence = silence();
        silence.heard(3, true);
        assert_eq!(stopped_at(&mut silence, &[7; 50]), None);
    }

    #[test]
    fn one_that_grows_and_is_not_heard_has_stopped() {
        let mut silence = silence();
        silence.heard(3, true);
        // Heard before the first look, looked at in the second, grown at the third: two looks later patience is over.
        assert_eq!(stopped_at(&mut silence, &[7, 7, 8, 8, 8, 8]), Some(5));
    }

    #[test]
    fn one_that_was_not_read_to_its_end_has_stopped_though_it_does_not_grow() {
        let mut silence = silence();
        assert_eq!(stopped_at(&mut silence, &[7; 6]), Some(3));
        let mut silence = self::silence();
        silence.heard(3, false);
        assert_eq!(stopped_at(&mut silence, &[7; 6]), Some(4));
    }

    #[test]
    fn whatever_is_heard_ends_the_silence() {
        let mut silence = silence();
        silence.heard(3, false);
        for look in 1..100 {
            let now = MonotonicMs(look * LOOK_EVERY_MS);
            for partition in silence.due(now) {
                assert!(!silence.looked(partition, look, now), "at look {look}");
            }
            if look % 3 == 0 {
                silence.heard(3, look % 2 == 0);
            }
        }
    }

    #[test]
    fn looks_are_some_seconds_apart() {
        let mut silence = silence();
        assert!(silence.due(MonotonicMs(LOOK_EVERY_MS - 1)).is_empty());
        assert_eq!(silence.due(MonotonicMs(LOOK_EVERY_MS)), [3]);
        assert!(silence.due(MonotonicMs(LOOK_EVERY_MS + 1)).is_empty());
    }
}
