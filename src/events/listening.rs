//! What listeners played, as the streaming company's producers tell it.

use crate::model::{NetworkId, WallMs};

/// Genres, and moods, of a play that are looked at.
pub const PLAY_WORDS_MAX: usize = 8;

/// One play of a track or an episode. It holds the listener's own id: it is the company's record, and is never written by Segue but back into its topic,
/// or as a letter about a record that could not be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Play {
    /// Names the play; a play that is told twice has one name.
    pub play_id: [u8; 16],
    /// The tenant.
    pub network_id: NetworkId,
    /// Who listened, as players name them in ad breaks; 1 to 256 bytes.
    pub listener_id: String,
    /// When it began.
    pub played_at: WallMs,
    /// How long it was heard, in milliseconds; at most a day.
    pub heard_ms: u32,
    /// Its genres, as told: not yet in the normal form of targeting.
    pub genres: Vec<String>,
    /// Its moods, likewise.
    pub moods: Vec<String>,
    /// Whether a profile of the listener may be made.
    pub is_profiled: bool,
}

impl Play {
    /// Longest id of a listener, in bytes; that of the player's requests.
    pub const LISTENER_ID_BYTES_MAX: usize = 256;
    /// Longest play, in milliseconds: a day.
    pub const HEARD_MS_MAX: u32 = 86_400_000;
}
