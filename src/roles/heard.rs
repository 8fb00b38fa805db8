//! Who gets paid ads: the heard rates of apps and of addresses, shared by the role that draws and the role that hears.
//!
//! In memory, and of this boot alone: after a restart nobody is limited until enough of its draws are due again. Where several servers share the
//! traffic each knows its own draws; beacons that reach another server than drew are passed over there, so players should come back to the
//! server that answered them. Behind a proxy all players have the proxy's address: they share its rate, and nobody is limited for the address
//! of another.
//!
//! Each kind of subject has a lock of its own, held for the few hundred nanoseconds of a look-up and a sum over 13 buckets; never two at once.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::impressions::{DrawTimes, HeardRates, HeardRule, RarelyHeard, Standing, TruncatedIp, Watch};
use crate::model::{AppKey, NetworkId, WallMs};
use crate::telemetry::{Metric, Metrics};

/// Most apps that are watched, of some 300 bytes: a network's apps are made by its operators, and ten are many.
const APPS_MAX: usize = 4_096;
/// Most networks of addresses that are watched: 20 MB. A city's carriers are a few thousand.
const ADDRESSES_MAX: usize = 65_536;

/// Who asks for breaks and plays them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The tenant.
    pub network_id: NetworkId,
    /// The player application.
    pub app: AppKey,
    /// Where it asks from.
    pub address: Option<TruncatedIp>,
}

/// The heard rates of all who ask.
#[derive(Debug)]
pub struct HeardWatch {
    apps: Mutex<HeardRates<(NetworkId, AppKey)>>,
    addresses: Mutex<HeardRates<(NetworkId, TruncatedIp)>>,
    metrics: Metrics,
}

impl HeardWatch {
    /// Nobody watched yet; all are judged by this rule.
    #[must_use]
    pub fn new(rule: HeardRule, metrics: Metrics) -> Self {
        Self {
            apps: Mutex::new(HeardRates::new(rule, APPS_MAX)),
            addresses: Mutex::new(HeardRates::new(rule, ADDRESSES_MAX)),
            metrics,
        }
    }

    /// Whose ads are heard too rarely for a break that is decided now to get paid ones; none when it may. An app's standing goes before its
    /// address's: one probe is enough for both.
    #[must_use]
    pub fn limit(&self, asker: &Asker, now: WallMs) -> Option<RarelyHeard> {
        let app = lock(&self.apps).stand(&(asker.network_id, asker.app.clone()), now);
        if app != Standing::Normal {
            return self.judged(RarelyHeard::App, app);
        }
        let address = (asker.network_id, asker.address?);
        let standing = lock(&self.addresses).stand(&address, now);
        self.judged(RarelyHeard::Address, standing)
    }

    fn judged(&self, whose: RarelyHeard, standing: Standing) -> Option<RarelyHeard> {
        let (limited, outcome) = match standing {
            Standing::Normal => return None,
            Standing::Limited => (Some(whose), "limited"),
            Standing::Probe => (None, "probe"),
        };
        self.metrics.add_labelled(Metric::LimitedBreaks, &[whose.name(), outcome], 1);
        limited
    }

    /// Paid ads were drawn for a break of the asker's.
    pub fn drawn(&self, asker: &Asker, draws: &[DrawTimes]) {
        self.count_drawn(&self.apps, &(asker.network_id, asker.app.clone()), draws, RarelyHeard::App);
        if let Some(address) = asker.address {
            self.count_drawn(&self.addresses, &(asker.network_id, address), draws, RarelyHeard::Address);
        }
    }

    fn count_drawn<K: Eq + Hash + Clone>(
        &self,
        rates: &Mutex<HeardRates<K>>,
        subject: &K,
        draws: &[DrawTimes],
        whose: RarelyHeard,
    ) {
        let mut rates = lock(rates);
        for &draw in draws {
            if rates.drawn(subject, draw) == Watch::Full {
                self.metrics.add_labelled(Metric::UnwatchedDraws, &[whose.name()], 1);
            }
        }
    }

    /// A paid ad that was drawn for the asker was heard, the first time that this is told.
    pub fn heard(&self, asker: &Asker, draw: DrawTimes) {
        lock(&self.apps).heard(&(asker.network_id, asker.app.clone()), draw);
        if let Some(address) = asker.address {
            lock(&self.addresses).heard(&(asker.network_id, address), draw);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums are whole whatever panicked beside them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: HeardRule =
        HeardRule { min_percent: 10, min_draws: 4, window_ms: 6_000, grace_ms: 1_000, probe_one_in: 3 };

    fn asker(app: &str, third_byte: u8) -> Asker {
        let address = Some(TruncatedIp::V4([192, 0, third_byte]));
        Asker { network_id: NetworkId::from_u128(1), app: AppKey::new(app).expect("a key"), address }
    }

    fn draws(count: usize) -> Vec<DrawTimes> {
        vec![DrawTimes { decided_at: WallMs(0), billable_until: WallMs(500) }; count]
    }

    fn watch() -> (HeardWatch, Metrics) {
        let metrics = Metrics::new();
        (HeardWatch::new(RULE, metrics.clone()), metrics)
    }

    #[test]
    fn an_address_shared_by_many_stands_by_all_of_them() {
        let (watch, _) = watch();
        let (silent, good) = (asker("silent", 1), asker("good", 1));
        for one in [&silent, &good] {
            watch.drawn(one, &draws(10));
        }
        for &draw in &draws(9) {
            watch.heard(&good, draw);
        }
        assert_eq!(watch.limit(&silent, WallMs(1_000)), Some(RarelyHeard::App));
        assert_eq!(watch.limit(&good, WallMs(1_000)), None, "9 of 20 at the address");
    }

    #[test]
    fn many_apps_from_an_address_where_nothing_is_heard_are_limited_there_and_nowhere_else() {
        let (watch, metrics) = watch();
        for app in ["one", "two", "three"] {
            watch.drawn(&asker(app, 7), &draws(2));
        }
        assert_eq!(watch.limit(&asker("one", 7), WallMs(1_000)), Some(RarelyHeard::Address));
        assert_eq!(watch.limit(&asker("one", 8), WallMs(1_000)), None);
        let strange = Asker { network_id: NetworkId::from_u128(2), ..asker("one", 7) };
        assert_eq!(watch.limit(&strange, WallMs(1_000)), None, "another network's listeners there");
        assert_eq!(watch.limit(&asker("two", 7), WallMs(1_000)), Some(RarelyHeard::Address));
        assert_eq!(watch.limit(&asker("two", 7), WallMs(1_000)), None, "the third is a probe");
        for (outcome, count) in [("limited", 2), ("probe", 1)] {
            let line =
                format!("segue_limited_breaks_total{{subject=\"rarely_heard_address\",outcome=\"{outcome}\"}} {count}");
            assert!(metrics.render().contains(&line), "{line}\n{}", metrics.render());
        }
    }

    #[test]
    fn an_app_that_is_limited_at_a_limited_address_has_one_probe_for_both() {
        let (watch, _) = watch();
        watch.drawn(&asker("silent", 1), &draws(10));
        let limits: Vec<_> = (0..6).map(|_| watch.limit(&asker("silent", 1), WallMs(1_000))).collect();
        let limited = Some(RarelyHeard::App);
        assert_eq!(limits, [limited, limited, None, limited, limited, None]);
    }
}
