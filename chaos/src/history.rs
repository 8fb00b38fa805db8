//! What players were answered and acknowledged: all that the judge believes of what was heard.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Instant;

use uuid::Uuid;

/// One ad of one answer. A pod has one ad of a line item at most, so this names an impression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct AdName {
    /// The decision.
    pub(crate) decision: Uuid,
    /// The line item.
    pub(crate) line_item: Uuid,
}

/// What is known of an ad that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Ad {
    /// Whether somebody pays for it.
    pub(crate) is_paid: bool,
    /// What the answer says that it costs, in micros.
    pub(crate) price_micros: i64,
    /// Who hears it.
    pub(crate) listener: u32,
    /// When its impression was first sent.
    pub(crate) sent: Option<Instant>,
    /// When its impression was acknowledged.
    pub(crate) acknowledged: Option<Instant>,
}

/// Numbers of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Breaks asked for.
    pub(crate) asked: u64,
    /// Of those, answered.
    pub(crate) answered: u64,
    /// Of those, with a paid ad.
    pub(crate) paid: u64,
    /// Breaks that no server answered.
    pub(crate) failed: u64,
    /// Answers without an ad although a listener waited.
    pub(crate) empty: u64,
    /// Beacons sent, further sendings included.
    pub(crate) sent: u64,
    /// Beacons acknowledged, each once.
    pub(crate) acknowledged: u64,
    /// Beacons that nobody acknowledged for as long as players try.
    pub(crate) given_up: u64,
    /// Beacons sent ten times more, through any server.
    pub(crate) replayed: u64,
    /// Answers that are no 2xx and no overload.
    pub(crate) refused: u64,
    /// Impressions that were acknowledged, each once.
    pub(crate) heard: u64,
    /// Of those, of paid ads.
    pub(crate) heard_paid: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    ads: HashMap<AdName, Ad>,
    /// When each server last answered with a paid ad.
    servers: HashMap<usize, Instant>,
    /// Which server answered a listener last, and how often that changed.
    listeners: HashMap<u32, (usize, u32)>,
    examples: BTreeMap<String, u64>,
    latencies_us: Vec<u32>,
}

/// Kinds of trouble that are kept in words.
const EXAMPLES_MAX: usize = 20;
/// Latencies that are kept: an hour at 500 a second.
const LATENCIES_MAX: usize = 1_800_000;

impl History {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// Changes numbers.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.inner().counts);
    }

    /// The numbers.
    pub(crate) fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// Remembers an answer of a server and how long it took.
    pub(crate) fn answered(&self, server: usize, listener: u32, ads: Vec<(AdName, Ad)>, took_us: u32) {
        let mut inner = self.inner();
        let is_paid = ads.iter().any(|(_, ad)| ad.is_paid);
        inner.counts.answered += 1;
        inner.counts.paid += u64::from(is_paid);
        inner.counts.empty += u64::from(ads.is_empty());
        if is_paid {
            inner.servers.insert(server, Instant::now());
        }
        let (last, moves) = inner.listeners.entry(listener).or_insert((server, 0));
        *moves += u32::from(*last != server);
        *last = server;
        // A repeated request is answered with the same ads.
        for (name, ad) in ads {
            inner.ads.entry(name).or_insert(ad);
        }
        if inner.latencies_us.len() < LATENCIES_MAX {
            inner.latencies_us.push(took_us);
        }
    }

    /// An impression is about to be sent.
    pub(crate) fn sends(&self, name: AdName) {
        if let Some(ad) = self.inner().ads.get_mut(&name) {
            ad.sent.get_or_insert_with(Instant::now);
        }
    }

    /// An impression was acknowledged.
    pub(crate) fn acknowledged(&self, name: AdName) {
        let mut inner = self.inner();
        let Some(ad) = inner.ads.get_mut(&name) else { return };
        if ad.acknowledged.is_none() {
            ad.acknowledged = Some(Instant::now());
            let is_paid = ad.is_paid;
            inner.counts.heard += 1;
            inner.counts.heard_paid += u64::from(is_paid);
        }
    }

    /// Keeps trouble in words, each kind once, with how often it came.
    pub(crate) fn trouble(&self, words: String) {
        let mut inner = self.inner();
        if inner.examples.len() < EXAMPLES_MAX || inner.examples.contains_key(&words) {
            *inner.examples.entry(words).or_default() += 1;
        }
    }

    /// The troubles, and how often each came.
    pub(crate) fn troubles(&self) -> BTreeMap<String, u64> {
        self.inner().examples.clone()
    }

    /// When a server last answered with a paid ad.
    pub(crate) fn last_paid(&self, server: usize) -> Option<Instant> {
        self.inner().servers.get(&server).copied()
    }

    /// All ads.
    pub(crate) fn ads(&self) -> HashMap<AdName, Ad> {
        self.inner().ads.clone()
    }

    /// How often the server that a listener is answered by changed.
    pub(crate) fn moves(&self) -> HashMap<u32, u32> {
        self.inner().listeners.iter().map(|(listener, (_, moves))| (*listener, *moves)).collect()
    }

    /// What 99 in 100 breaks were answered within so far, in real microseconds, with half of them before it.
    pub(crate) fn latency_us(&self) -> (u32, u32) {
        let mut all = self.inner().latencies_us.clone();
        all.sort_unstable();
        let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or(0);
        (at(50), at(99))
    }
}
