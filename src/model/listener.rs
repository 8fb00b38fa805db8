//! A listener as far as a decision needs to know: what was heard, what is open, and a pseudonym.

use super::ad_break::RequestId;
use super::ids::{AdvertiserId, CampaignId, CreativeId, DecisionId, LineItemId};
use super::impression::ImpressionId;
use super::time::WallMs;

/// A listener's name inside one network: a keyed hash of what the player sent, so that the raw id is nowhere kept. The first bit says what it
/// was made of: 0 an account, 1 a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerKey(pub [u8; 16]);

impl ListenerKey {
    /// The key of an account: lasts.
    #[must_use]
    pub const fn of_account(mut hash: [u8; 16]) -> Self {
        hash[0] &= 0x7f;
        Self(hash)
    }

    /// The key of a session: nothing of it is kept on disk.
    #[must_use]
    pub const fn of_session(mut hash: [u8; 16]) -> Self {
        hash[0] |= 0x80;
        Self(hash)
    }

    /// Whether it names a session.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.0[0] & 0x80 != 0
    }
}

/// The name under which a listener's events are logged: random, stored only in the listener's row, so that deleting the row
/// makes the events nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pseudonym(pub [u8; 16]);

/// All that is kept of a listener. `exposures` is sorted by `at`, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerState {
    /// Their name in events.
    pub pseudonym: Pseudonym,
    /// Ads decided for or heard by them, within the longest cap window, oldest first.
    pub exposures: Vec<Exposure>,
    /// Breaks answered and not yet over; at most [`ListenerState::MAX_OPEN_BREAKS`].
    pub open_breaks: Vec<OpenBreak>,
    /// When their last break was decided.
    pub last_break_at: Option<WallMs>,
    /// Creatives of the break before: not to be repeated in the next.
    pub last_break_creatives: Vec<CreativeId>,
    /// What strict caps count, as it was last known to be in the store.
    pub strict: StrictRow,
    /// Their taste and imported segments, as they were when last read.
    pub profile: Profile,
}

/// What targeting may know of a listener besides the request, where they allow it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Profile {
    /// Genres that they like, in targeting's form, sorted.
    pub genres: Vec<String>,
    /// Moods, likewise.
    pub moods: Vec<String>,
    /// Segments that were imported, by name; at most [`Profile::SEGMENTS_MAX`], and some may be over.
    pub segments: Vec<TimedSegment>,
}

/// A segment that somebody is in for a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimedSegment {
    /// Its name, in targeting's form.
    pub name: String,
    /// Until when.
    pub until: WallMs,
}

impl Profile {
    /// Most imported segments of a listener; of more the first by name are used.
    pub const SEGMENTS_MAX: usize = 256;

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.genres.is_empty() && self.moods.is_empty() && self.segments.is_empty()
    }
}

/// Ads of line items with a strict cap: kept apart from [`ListenerState::exposures`], because nothing here may be
/// forgotten. A conditional write puts each of them into the store before it is answered.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StrictRow {
    /// The version that the store had; none while it has no row.
    pub version: Option<StrictVersion>,
    /// The ads, oldest first; at most [`StrictRow::MAX_EXPOSURES`].
    pub exposures: Vec<StrictExposure>,
}

/// Names one write of a listener's strict row. Versions are equal or not and have no order: no write ever gets the
/// version of another, so a row that was deleted and made anew is not taken for the one before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StrictVersion(pub u64);

/// One ad that counts against strict caps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StrictExposure {
    /// The ad. Reserved: its reservation ends only when it can't be heard any more.
    pub exposure: Exposure,
    /// From when on no strict cap that was in force at its decision looks back at it.
    pub counted_until: WallMs,
}

/// One ad that was decided for a listener, and counts against caps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Exposure {
    /// Which impression.
    pub impression_id: ImpressionId,
    /// When it was decided.
    pub at: WallMs,
    /// Its advertiser.
    pub advertiser_id: AdvertiserId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// Its line item.
    pub line_item_id: LineItemId,
    /// Its creative.
    pub creative_id: CreativeId,
    /// Decided, or heard.
    pub state: ExposureState,
}

/// How sure it is that an exposure happened. Dropped ones (void, expired) are removed instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExposureState {
    /// Decided; counts until `until`, then drops unless heard.
    Reserved {
        /// When the reservation ends.
        until: WallMs,
    },
    /// Heard; counts for as long as the window looks back.
    Heard,
}

/// A break that was answered and may still play.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBreak {
    /// The player's id of the request.
    pub request_id: RequestId,
    /// The decision that answered it.
    pub decision_id: DecisionId,
    /// Its ads, in pod order.
    pub ads: Vec<OpenAd>,
    /// When it was decided.
    pub decided_at: WallMs,
    /// When it is over.
    pub expires_at: WallMs,
    /// Whether it was asked ahead of time.
    pub prefetch: bool,
    /// The answer as it was sent, for a repeat of the request.
    pub answer: Vec<u8>,
}

/// An ad of an open break.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenAd {
    /// Which impression it would be.
    pub impression_id: ImpressionId,
    /// Its sealed token: whoever gives the ad up makes the whole `void` record from it.
    pub token: String,
}

impl ListenerState {
    /// Most open breaks: one to play, two prefetched.
    pub const MAX_OPEN_BREAKS: usize = 3;
    /// Most exposures kept; beyond it the oldest go first, counted.
    pub const MAX_EXPOSURES: usize = 512;

    /// Somebody of whom nothing is known.
    #[must_use]
    pub const fn new(pseudonym: Pseudonym) -> Self {
        Self {
            pseudonym,
            exposures: Vec::new(),
            open_breaks: Vec::new(),
            last_break_at: None,
            last_break_creatives: Vec::new(),
            strict: StrictRow { version: None, exposures: Vec::new() },
            profile: Profile { genres: Vec::new(), moods: Vec::new(), segments: Vec::new() },
        }
    }
}

impl StrictRow {
    /// Most exposures of a row. When it is full of exposures that a cap still looks back at, line items with a strict
    /// cap are not served to the listener: 512 of them within the longest window, 35 days, are one an hour day and
    /// night for three weeks.
    pub const MAX_EXPOSURES: usize = 512;
}

impl StrictVersion {
    /// The version of the row that a decision's `attempt` writes: unique, because decision ids are.
    #[must_use]
    pub const fn of(decision_id: DecisionId, attempt: u8) -> Self {
        // The low half of an id is random but for two bits; attempts of one decision lie side by side.
        #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let random = decision_id.as_u128() as u64;
        Self(random.wrapping_add(attempt as u64))
    }
}
