//! What the players saw and did, as they saw it: HTTP answers and acknowledgements, and nothing from inside the server.
//!
//! The checker judges the server by this and by the event log alone. Bounded: at most [`MAX_BREAKS`] breaks, a few hundred bytes each.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::player::wire::{AdBody, AdBreakAnswer};
use crate::model::{AdvertiserId, BeaconEvent, CreativeId, DecisionId, LineItemId, RequestId, Tier, WallMs};

/// Most breaks that a demo remembers; it ends when it has seen so many.
pub const MAX_BREAKS: usize = 1_000_000;
/// Most errors that are kept in words; further ones are only counted.
const MAX_ERRORS_KEPT: usize = 20;

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Answered breaks, in the order in which the answers came.
    pub breaks: Vec<BreakSeen>,
    /// Who listens, by the number that [`BreakSeen::listener`] gives: what the server should know them as (account or session).
    pub listeners: Vec<String>,
    /// Errors in words, the first few.
    pub errors: Vec<String>,
    /// How many errors there were.
    pub error_count: u64,
    /// Rules that an answer broke by itself, seen when it came (see `checker::answer`).
    pub broken: Vec<String>,
    /// Beacons that were never sent.
    pub beacons_lost: u64,
    /// Beacons that were sent more often than once: the further sendings.
    pub beacons_repeated: u64,
    /// Beacons sent after the token's life.
    pub beacons_late: u64,
    /// Beacons sent again because the server asked for it.
    pub beacons_retried: u64,
    /// Beacons acknowledged.
    pub beacons_acknowledged: u64,
    /// Requests for a break that were sent twice.
    pub requests_repeated: u64,
    /// Refusals on the way to the answers, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Answers that no break was due, by reason.
    pub not_due: BTreeMap<String, u64>,
    by_name: BTreeMap<String, u32>,
}

/// One answered break that was due.
#[derive(Clone, Debug)]
pub struct BreakSeen {
    /// The answer's id.
    pub decision_id: DecisionId,
    /// Number of the listener.
    pub listener: u32,
    /// When the request was sent, on the demo's clock.
    pub sent: WallMs,
    /// When the answer had come.
    pub answered: WallMs,
    /// Longest pod that was asked for, in milliseconds.
    pub max_duration_ms: u32,
    /// Most ads that were asked for.
    pub max_ads: u8,
    /// Whether it was asked ahead of time.
    pub prefetch: bool,
    /// The ads.
    pub ads: Vec<AdSeen>,
}

/// One answered ad and what was told of it.
#[derive(Clone, Debug)]
pub struct AdSeen {
    /// Its advertiser.
    pub advertiser_id: AdvertiserId,
    /// Its line item.
    pub line_item_id: LineItemId,
    /// Its creative.
    pub creative_id: CreativeId,
    /// Its tier.
    pub tier: Tier,
    /// Its length in milliseconds.
    pub duration_ms: u32,
    /// Until when it may be billed.
    pub expires_at: WallMs,
    /// How often each event was sent, by position in [`BeaconEvent::ALL`].
    pub sent: [u8; BeaconEvent::ALL.len()],
    /// How often each was acknowledged.
    pub acknowledged: [u8; BeaconEvent::ALL.len()],
    /// The first acknowledged impression: when it was sent, and when the acknowledgement had come.
    pub heard: Option<(WallMs, WallMs)>,
}

impl AdSeen {
    /// The ad as answered; `None` when the answer is not what the wire promises.
    #[must_use]
    pub fn of(ad: &AdBody) -> Option<Self> {
        let expires_at = ad.expires_at.parse::<jiff::Timestamp>().ok()?;
        Some(Self {
            advertiser_id: AdvertiserId::from_uuid(ad.advertiser_id),
            line_item_id: LineItemId::from_uuid(ad.line_item_id),
            creative_id: CreativeId::from_uuid(ad.creative_id),
            tier: tier_named(&ad.tier)?,
            duration_ms: ad.duration_ms,
            expires_at: WallMs(expires_at.as_millisecond()),
            sent: [0; BeaconEvent::ALL.len()],
            acknowledged: [0; BeaconEvent::ALL.len()],
            heard: None,
        })
    }

    /// How often the event was sent.
    #[must_use]
    pub fn times_sent(&self, event: BeaconEvent) -> u8 {
        self.sent[position(event)]
    }

    /// How often the event was acknowledged.
    #[must_use]
    pub fn times_acknowledged(&self, event: BeaconEvent) -> u8 {
        self.acknowledged[position(event)]
    }
}

/// The tier of that name on the wire.
#[must_use]
pub fn tier_named(name: &str) -> Option<Tier> {
    TIERS.into_iter().find(|&tier| tier_name(tier) == name)
}

/// Every tier, highest first.
pub const TIERS: [Tier; 4] = [Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::House];

/// A tier's name on the wire.
#[must_use]
pub const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Sponsorship => "sponsorship",
        Tier::Guaranteed => "guaranteed",
        Tier::Auction => "auction",
        Tier::House => "house",
    }
}

/// Position of the event in [`BeaconEvent::ALL`].
fn position(event: BeaconEvent) -> usize {
    BeaconEvent::ALL.iter().position(|&one| one == event).expect("ALL has every event")
}

/// Which break of the evidence a player is playing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakNumber(usize);

/// One sending of a beacon, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// What was told.
    pub event: BeaconEvent,
    /// When it was sent.
    pub sent: WallMs,
    /// When it was acknowledged; `None` when it was not.
    pub acknowledged: Option<WallMs>,
}

/// What was asked of the server, as far as the evidence keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What the server should know the listener as.
    pub listener: &'a str,
    /// When the request was sent.
    pub sent: WallMs,
    /// When the answer had come.
    pub answered: WallMs,
    /// Longest pod in milliseconds.
    pub max_duration_ms: u32,
    /// Most ads.
    pub max_ads: u8,
    /// Whether it was asked ahead of time.
    pub prefetch: bool,
}

/// The evidence while it is gathered by many players. Locked for a few hundred nanoseconds at a time.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Evidence>);

impl Recorder {
    /// An answer came. `None` when there was nothing to play, or when the evidence is full.
    pub fn answer(&self, asked: Asked<'_>, answer: &AdBreakAnswer, broken: Vec<String>) -> Option<BreakNumber> {
        let mut evidence = self.lock();
        keep_few(&mut evidence.broken, broken);
        for (reason, &count) in &answer.no_fill_reasons {
            *evidence.reasons.entry(reason.clone()).or_default() += u64::from(count);
        }
        if let Some(reason) = &answer.no_break {
            *evidence.not_due.entry(reason.clone()).or_default() += 1;
            return None;
        }
        let ads: Option<Vec<AdSeen>> = answer.ads.iter().map(AdSeen::of).collect();
        let Some(ads) = ads else {
            error(&mut evidence, format!("answer {}: an ad's tier or expiry can't be read", answer.decision_id));
            return None;
        };
        if evidence.breaks.len() >= MAX_BREAKS {
            return None;
        }
        let listener = evidence.number_of(asked.listener);
        evidence.breaks.push(BreakSeen {
            decision_id: DecisionId::from_uuid(answer.decision_id),
            listener,
            sent: asked.sent,
            answered: asked.answered,
            max_duration_ms: asked.max_duration_ms,
            max_ads: asked.max_ads,
            prefetch: asked.prefetch,
            ads,
        });
        Some(BreakNumber(evidence.breaks.len() - 1))
    }

    /// A request was sent again, and `same` is whether the answer was.
    pub fn repeated(&self, request_id: &RequestId, same: bool) {
        let mut evidence = self.lock();
        evidence.requests_repeated += 1;
        if !same {
            let broken = format!("repeat_differs: request {} was answered differently", request_id.as_str());
            keep_few(&mut evidence.broken, vec![broken]);
        }
    }

    /// A beacon of an ad was sent, perhaps more than once. Returns the line item when this is how it was first heard, in time.
    pub fn told(&self, number: BreakNumber, slot: usize, telling: Telling) -> Option<LineItemId> {
        let mut locked = self.lock();
        let evidence = &mut *locked;
        let ad = evidence.breaks.get_mut(number.0)?.ads.get_mut(slot)?;
        let place = position(telling.event);
        ad.sent[place] = ad.sent[place].saturating_add(1);
        let at = telling.acknowledged?;
        ad.acknowledged[place] = ad.acknowledged[place].saturating_add(1);
        let mut first_heard = None;
        if telling.event == BeaconEvent::Impression && ad.heard.is_none() {
            ad.heard = Some((telling.sent, at));
            first_heard = (at <= ad.expires_at).then_some(ad.line_item_id);
        }
        evidence.beacons_acknowledged += 1;
        first_heard
    }

    /// Counts what became of beacons.
    pub fn count(&self, change: impl FnOnce(&mut Evidence)) {
        change(&mut self.lock());
    }

    /// Something failed that should not.
    pub fn error(&self, what: String) {
        error(&mut self.lock(), what);
    }

    /// Whether no more can be remembered.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().breaks.len() >= MAX_BREAKS
    }

    /// Reads a little of it.
    pub fn look<T>(&self, at: impl FnOnce(&Evidence) -> T) -> T {
        at(&self.lock())
    }

    /// The evidence, when everybody is done.
    #[must_use]
    pub fn take(&self) -> Evidence {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Evidence> {
        // A player that panicked leaves numbers, not half-made structures.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evidence {
    fn number_of(&mut self, listener: &str) -> u32 {
        if let Some(&number) = self.by_name.get(listener) {
            return number;
        }
        let number = u32::try_from(self.listeners.len()).expect("fewer listeners than breaks");
        self.listeners.push(listener.to_owned());
        self.by_name.insert(listener.to_owned(), number);
        number
    }
}

fn error(evidence: &mut Evidence, what: String) {
    evidence.error_count += 1;
    if evidence.errors.len() < MAX_ERRORS_KEPT {
        evidence.errors.push(what);
    }
}

/// Appends, up to a bound that leaves room for every kind of finding.
fn keep_few(kept: &mut Vec<String>, more: Vec<String>) {
    const MAX_KEPT: usize = 1_000;
    let room = MAX_KEPT.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}
