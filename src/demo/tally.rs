//! What the status line shows: counts, latencies, and the last decision in plain words.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use jiff::tz::TimeZone;

use super::client::Answered;
use super::evidence::tier_name;
use crate::model::{BeaconEvent, LineItem, LineItemId, Micros, Tier, WallMs};
use crate::workload::world::{Track, WorldListener};

/// Longest latency that the histogram tells apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// The running counts.
#[derive(Debug)]
pub(super) struct Tally {
    state: Mutex<Counts>,
    /// Prices by line item, for words.
    cpms: BTreeMap<LineItemId, Micros>,
}

/// A copy of the counts at one moment.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// Answers, whether or not a break was due.
    pub(super) answers: u64,
    /// Breaks that were due.
    pub(super) breaks: u64,
    /// Of those, breaks with an ad.
    pub(super) filled: u64,
    /// Of those, breaks with a paid ad.
    pub(super) paid: u64,
    /// Beacons acknowledged.
    pub(super) beacons: u64,
    /// Impressions among them, repeats and house ads included.
    pub(super) impressions: u64,
    /// Real time that a break's answer took, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// What impressions heard so far cost, by the prices of the import.
    pub(super) spent: Micros,
    /// The last decision in plain words.
    pub(super) last: String,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub(super) fn new(line_items: &[LineItem]) -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds that a histogram can have");
        let last = String::new();
        let counts = Counts {
            answers: 0,
            breaks: 0,
            filled: 0,
            paid: 0,
            beacons: 0,
            impressions: 0,
            latency_us,
            spent: Micros::ZERO,
            last,
        };
        let cpms = line_items.iter().map(|item| (item.id, item.pricing.amount)).collect();
        Self { state: Mutex::new(counts), cpms }
    }

    /// A break was answered.
    pub(super) fn break_answered(&self, answered: &Answered, listener: &WorldListener, track: &Track) {
        let answer = &answered.answer;
        let last = answer.no_break.is_none().then(|| self.in_words(answered, listener, track));
        let mut counts = self.lock();
        counts.answers += 1;
        counts.latency_us.saturating_record(answered.latency_us);
        let Some(last) = last else { return };
        counts.breaks += 1;
        counts.filled += u64::from(!answer.ads.is_empty());
        counts.paid += u64::from(answer.ads.iter().any(|ad| ad.tier != tier_name(Tier::House)));
        counts.last = last;
    }

    /// An impression of the line item was heard for the first time.
    pub(super) fn heard(&self, line_item_id: LineItemId) {
        let Some(cpm) = self.cpms.get(&line_item_id) else { return };
        let mut counts = self.lock();
        // For the eye only; the books are accounting's. An overflow would leave the last amount.
        counts.spent = counts.spent.plus(Micros(cpm.0 / 1_000)).unwrap_or(counts.spent);
    }

    /// A beacon was acknowledged.
    pub(super) fn beacon_acknowledged(&self, event: BeaconEvent) {
        let mut counts = self.lock();
        counts.beacons += 1;
        counts.impressions += u64::from(event == BeaconEvent::Impression);
    }

    /// The counts now.
    #[must_use]
    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters hold whatever a thread that panicked left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_words(&self, answered: &Answered, listener: &WorldListener, track: &Track) -> String {
        let ads: Vec<String> = answered
            .answer
            .ads
            .iter()
            .map(|ad| {
                let price = self.cpms.get(&LineItemId::from_uuid(ad.line_item_id)).filter(|cpm| **cpm > Micros::ZERO);
                let price = price.map_or(String::new(), |cpm| format!(", {} CPM", units(*cpm)));
                format!("'{}' {} s ({}{price})", ad.advertiser_name, ad.duration_ms / 1_000, ad.tier)
            })
            .collect();
        let ads = if ads.is_empty() { "nothing to play".to_owned() } else { ads.join(", ") };
        let at = local_time(answered.came, listener.home.zone);
        format!("{} in {}, {} at {at} → {ads}", listener.name, listener.home.name, track.genre)
    }
}

/// Hours and minutes on a wall clock there.
fn local_time(at: WallMs, zone: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let local = zone.to_datetime(at);
    format!("{:02}:{:02}", local.hour(), local.minute())
}

/// An amount in units and cents, e.g. `6.20`; what is below a cent is cut off.
#[must_use]
pub(super) fn units(amount: Micros) -> String {
    format!("{}.{:02}", amount.0 / 1_000_000, amount.0 % 1_000_000 / 10_000)
}
