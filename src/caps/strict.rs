//! Strict caps: never exceeded, with any number of servers and devices. Pure: the store, the clock and the waiting are the caller's.
//!
//! The ads of line items with a strict cap are kept in a row of their own, one a listener, with a version
//! ([`StrictRow`]). A decision that chose such a line item makes a [`Reservation`]: the row as it is to be, and the
//! version that it was made from. The store accepts it only if it still has that version ([`judge`]), and makes it
//! durable before the break is answered. So of two decisions that did not know of each other one is refused, reads
//! again ([`adopt`]) and decides again.
//!
//! **INV-31**: a strict cap is never exceeded. Each answered ad that it counts was reserved by an accepted write,
//! made from a row that held all accepted before it; every such write counts what is in the window *and what lies
//! ahead of it* (another server's clock), so whichever of the ads in a window was accepted last counted all the
//! others. That every ad that a strict cap counts is in the row follows from a rule of the campaign API: a strict
//! cap's scope is no wider than what it stands on, so all line items that it counts have the cap themselves.
//!
//! **INV-32**: not knowing only makes a strict cap stricter. What leaves the row, and by what knowledge:
//!
//! * *the player said that it was not played* (`void`, `not-used`, `error`) before it was heard: [`release`];
//! * *its token's life is over and it was not heard*: [`expire`]. Only who would have heard it can say that: the
//!   process that reserved it, with the listener in memory ever since, and only where no other hears beacons
//!   ([`Hearing::Everything`]). A beacon is counted under the listener's lock, and its time of receipt is read there,
//!   so none that is billable comes after the reservation's end was seen. [`CLOCK_TOLERANCE_MS`] is added all the
//!   same;
//! * *no cap looks back at it*: after [`EXPOSURE_LIFE_MS`], or earlier when the row is full and the windows in force
//!   at its decision are over. A window made longer later does not bring those back, as it does not bring back what
//!   was heard before the cap was made.
//!
//! And the ways in which that knowledge, or the exposure, could be lost between the decision and the window's end:
//!
//! | what happens | what becomes of the exposure |
//! | --- | --- |
//! | another device's break gives the ad up | it stays: the device may play it still; money's `void` is another matter |
//! | the write conflicts | it was not applied; another is made from the row as it is |
//! | the write is late or fails | it may be there: then it counts, although the ad was not answered, for the whole window |
//! | the process dies, or the player hangs up, between the write and the answer | as before: it counts |
//! | the process dies after the answer, before the soft rows are flushed | it is in the strict row, synced before the answer |
//! | the process dies after the ad was heard | the row says reserved; [`adopt`] gives that reservation no end, so it counts for the whole window |
//! | the listener is evicted from memory, and read again | as before |
//! | a `void` is heard, and the process dies or evicts before the next write | as before: it counts too long |
//! | the soft list is full, its writer behind, its week dropped | nothing: this row is not that list |
//! | the row is full | nothing more is reserved: [`Full`], line items with a strict cap are not served |
//! | the listener's head row is lost | the strict row is read by itself |
//! | the row can't be read, or not in time | line items with a strict cap are not served |
//! | the listener is forgotten (`DELETE`) | it goes, as the law wants; a write made from the old row conflicts |
//! | the listener is a session | nothing may be kept of them on disk: line items with a strict cap are not served |
//!
//! Left to others: `store/listener` makes the write durable; `roles/decision` decides again. Left out: a wall clock
//! that is set back by more than the tolerance, which makes a token billable again whose reservation has ended.

use crate::impressions::{CLOCK_TOLERANCE_MS, listener::EXPOSURE_LIFE_MS};
use crate::model::{
    CapWindow, Exposure, ExposureState, FrequencyCap, ImpressionId, StrictExposure, StrictRow, StrictVersion,
    Strictness, WallMs,
};

/// The end of a reservation that nobody can end: later than any time.
pub const NO_END: WallMs = WallMs(i64::MAX);

/// What a server hears of the ads that it reserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hearing {
    /// Every beacon: it is the only server. An ad that it did not hear in its token's life was not heard.
    Everything,
    /// Perhaps not all: another server may hear them.
    Some,
}

/// A conditional write: the row as it is to be, if it still has the version that this was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The version that the row must have; none if there must be no row.
    pub expected: Option<StrictVersion>,
    /// The row afterwards, with a version of its own.
    pub row: StrictRow,
    /// What is new in it.
    pub added: Vec<StrictExposure>,
}

/// Whether a store accepts a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It writes the row.
    Accept,
    /// It has written it already: the reservation came twice.
    Repeated,
    /// The row has another version: nothing is written.
    Conflict,
}

/// What became of a reservation, as its maker knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is durable.
    Accepted,
    /// It was not written: the row is this one by now. A row without version: there is none.
    Conflict(StrictRow),
    /// Nobody knows whether it was written or will be: the store failed, or did not answer in time.
    Unsure,
}

/// The row is full of exposures that caps look back at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} ads count against strict caps already", StrictRow::MAX_EXPOSURES)]
pub struct Full;

/// The longest window of the strict caps, in milliseconds; none when no cap needs a reservation. A strict cap on the
/// pod needs none: the pod is decided as a whole.
#[must_use]
pub fn longest_window_ms(caps: &[FrequencyCap]) -> Option<u64> {
    let strict = caps.iter().filter(|cap| cap.strictness == Strictness::Strict);
    strict.filter_map(|cap| if let CapWindow::Sliding(window_ms) = cap.window { Some(window_ms) } else { None }).max()
}

/// The exposure of an ad of a line item whose longest strict window is `window_ms`, as it is reserved at its
/// decision. `exposure.state` is replaced.
#[must_use]
pub fn reserved(exposure: Exposure, billable_until: WallMs, window_ms: u64, hearing: Hearing) -> StrictExposure {
    let until = match hearing {
        // One more than the tolerance: an ad is billable up to and including its last moment.
        Hearing::Everything => billable_until.plus_ms(CLOCK_TOLERANCE_MS + 1),
        Hearing::Some => NO_END,
    };
    let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX);
    StrictExposure {
        exposure: Exposure { state: ExposureState::Reserved { until }, ..exposure },
        counted_until: exposure.at.plus_ms(window_ms),
    }
}

/// What counts against caps, soft and strict: both lists as one, oldest first, each ad once. Strict ads come before
/// soft ones of the same moment.
#[must_use]
pub fn counted(exposures: &[Exposure], strict: &StrictRow) -> Vec<Exposure> {
    let name = |exposure: &Exposure| (exposure.impression_id, exposure.line_item_id);
    let mut names: Vec<_> = strict.exposures.iter().map(|one| name(&one.exposure)).collect();
    names.sort_unstable();
    let also = exposures.iter().filter(|exposure| names.binary_search(&name(exposure)).is_err());
    let mut all = Vec::with_capacity(strict.exposures.len() + exposures.len());
    all.extend(strict.exposures.iter().map(|one| one.exposure).chain(also.copied()));
    // As it is for nearly all listeners: each list is in order, and one of them is empty.
    if !all.is_sorted_by_key(|exposure| exposure.at) {
        all.sort_by_key(|exposure| exposure.at);
    }
    all
}

/// The write that adds those ads to the row as it is known. `version` is the new row's, never used before.
///
/// # Errors
/// [`Full`] when there is no room for them.
pub fn reserve(
    known: &StrictRow,
    added: Vec<StrictExposure>,
    version: StrictVersion,
    now: WallMs,
) -> Result<Reservation, Full> {
    let mut exposures = known.exposures.clone();
    exposures.extend(&added);
    make_room(&mut exposures, now)?;
    let row = StrictRow { version: Some(version), exposures };
    Ok(Reservation { expected: known.version, row, added })
}

/// Whether a store whose row has that version (none: it has no row) accepts the reservation. The whole of a conditional write's condition.
#[must_use]
pub fn judge(stored: Option<StrictVersion>, reservation: &Reservation) -> Verdict {
    if stored == reservation.row.version {
        Verdict::Repeated
    } else if stored == reservation.expected {
        Verdict::Accept
    } else {
        Verdict::Conflict
    }
}

/// The reservation was accepted. What was heard or released while it was being written stays so.
pub fn accepted(known: &mut StrictRow, reservation: &Reservation) {
    known.version = reservation.row.version;
    known.exposures.extend(&reservation.added);
    known.exposures.sort_by_key(|one| one.exposure.at);
    // What the write left out for want of room.
    let is_kept = |one: &StrictExposure| {
        let same = |other: &StrictExposure| other.exposure.impression_id == one.exposure.impression_id;
        reservation.row.exposures.iter().any(same)
    };
    known.exposures.retain(is_kept);
}

/// The row as the store has it takes the place of the one that was known. A reservation in it that was known here
/// keeps its end, and what was heard stays heard; any other reservation gets no end, because nobody here could tell
/// whether the ad was heard.
pub fn adopt(known: &mut StrictRow, stored: StrictRow) {
    let before = std::mem::replace(known, stored);
    for one in &mut known.exposures {
        let same = |other: &&StrictExposure| other.exposure.impression_id == one.exposure.impression_id;
        match (before.exposures.iter().find(same), one.exposure.state) {
            (_, ExposureState::Heard) => {}
            (Some(here), ExposureState::Reserved { .. }) => one.exposure.state = here.exposure.state,
            (None, ExposureState::Reserved { .. }) => {
                one.exposure.state = ExposureState::Reserved { until: NO_END };
            }
        }
    }
}

/// The ad was heard. What it was before; none when it is not in the row.
pub fn hear(known: &mut StrictRow, heard: &Exposure) -> Option<ExposureState> {
    let found = known.exposures.iter_mut().find(|one| is_of(&one.exposure, heard));
    found.map(|one| std::mem::replace(&mut one.exposure.state, ExposureState::Heard))
}

/// The player said that the ad will not be heard: it counts no more, unless it was heard. False when there is nothing to release. The store
/// learns of it with the next reservation.
pub fn release(known: &mut StrictRow, impression_id: ImpressionId) -> bool {
    let before = known.exposures.len();
    known.exposures.retain(|one| {
        one.exposure.impression_id != impression_id || matches!(one.exposure.state, ExposureState::Heard)
    });
    known.exposures.len() < before
}

/// Whether the ad is in the row.
#[must_use]
pub fn contains(known: &StrictRow, ad: &Exposure) -> bool {
    known.exposures.iter().any(|one| is_of(&one.exposure, ad))
}

/// Whether both are of one ad. An impression without a lease is named by break and slot: where nobody knew whether a reservation was written, the
/// break was decided again, and another line item's ad may have the name of one that is written late.
fn is_of(one: &Exposure, other: &Exposure) -> bool {
    (one.impression_id, one.line_item_id) == (other.impression_id, other.line_item_id)
}

/// Whether the ad is in the row, and was heard.
#[must_use]
pub fn is_heard(known: &StrictRow, impression_id: ImpressionId) -> bool {
    let heard = |one: &StrictExposure| {
        one.exposure.impression_id == impression_id && matches!(one.exposure.state, ExposureState::Heard)
    };
    known.exposures.iter().any(heard)
}

/// Ends reservations whose ads can't be heard any more, and drops what no window can see.
pub fn expire(known: &mut StrictRow, now: WallMs) {
    known.exposures.retain(|one| {
        let counts = match one.exposure.state {
            ExposureState::Reserved { until } => now < until,
            ExposureState::Heard => true,
        };
        counts && now.since(one.exposure.at) < EXPOSURE_LIFE_MS.saturating_add(CLOCK_TOLERANCE_MS)
    });
}

/// Drops the oldest exposures that no cap looks back at, as many as there are too many. The tolerance is for a server
/// whose clock is behind.
fn make_room(exposures: &mut Vec<StrictExposure>, now: WallMs) -> Result<(), Full> {
    exposures.sort_by_key(|one| one.exposure.at);
    let mut excess = exposures.len().saturating_sub(StrictRow::MAX_EXPOSURES);
    exposures.retain(|one| {
        let is_over = now >= one.counted_until.plus_ms(CLOCK_TOLERANCE_MS);
        let goes = excess > 0 && is_over;
        excess -= usize::from(goes);
        !goes
    });
    if excess == 0 { Ok(()) } else { Err(Full) }
}

#[cfg(test)]
mod tests;
