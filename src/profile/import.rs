//! Segments from outside: a line each, `listener_id,segment,expires_at`.
//!
//! Read from the right, so that a listener's id may hold commas; there is no quoting. `expires_at` is a moment such as `2027-01-31T00:00:00Z`.

use crate::model::{TimedSegment, WallMs};
use crate::targeting::normal;

/// The line that may stand first.
pub const HEADER: &str = "listener_id,segment,expires_at";
/// Longest line, in bytes: a listener's id of 256, a segment's name of 512, a moment, and some.
pub const LINE_BYTES_MAX: usize = 1_024;
/// Longest that a segment may last, in milliseconds: 400 days. What is true of somebody for longer is to be said again.
pub const LIFE_MS_MAX: i64 = 400 * 86_400_000;
/// Longest id of a listener, in bytes; that of the player's requests.
const LISTENER_ID_BYTES_MAX: usize = 256;

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line<'l> {
    /// The listener as players name them.
    pub listener_id: &'l str,
    /// The segment, in targeting's form, and until when they are in it.
    pub segment: TimedSegment,
}

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum LineError {
    /// It is too long.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no text.
    #[error("not UTF-8")]
    NotText,
    /// Fields are missing.
    #[error("expected {HEADER}")]
    Fields,
    /// The listener's id can't be one.
    #[error("listener_id: expected 1 to {LISTENER_ID_BYTES_MAX} bytes")]
    ListenerId,
    /// The segment's name can't be one.
    #[error("segment: expected 1 to 128 characters, none of them control characters")]
    Segment,
    /// The moment is none.
    #[error("expires_at: expected a moment such as 2027-01-31T00:00:00Z")]
    ExpiresAt,
    /// The moment is past.
    #[error("expires_at: is past")]
    Past,
    /// The moment is too far.
    #[error("expires_at: more than 400 days ahead")]
    TooFar,
}

/// Reads a line without its end.
///
/// # Errors
/// [`LineError`].
pub fn read(line: &[u8], now: WallMs) -> Result<Line<'_>, LineError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(LineError::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotText)?;
    let mut fields = text.trim_end_matches('\r').rsplitn(3, ',');
    let (Some(expires_at), Some(segment), Some(listener_id)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(LineError::Fields);
    };
    if !(1..=LISTENER_ID_BYTES_MAX).contains(&listener_id.len()) {
        return Err(LineError::ListenerId);
    }
    let name = normal::word(segment).ok_or(LineError::Segment)?;
    let until: jiff::Timestamp = expires_at.trim().parse().map_err(|_| LineError::ExpiresAt)?;
    let until = WallMs(until.as_millisecond());
    match until.since(now) {
        ..=0 => Err(LineError::Past),
        LIFE_MS_MAX.. => Err(LineError::TooFar),
        _ => Ok(Line { listener_id, segment: TimedSegment { name, until } }),
    }
}
