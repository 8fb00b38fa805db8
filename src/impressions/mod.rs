//! The life of one impression, and what of a listener may be written down.

mod life;
pub mod listener;
mod privacy;

pub use life::{AUDIBLE_MS, AdTimes, CLOCK_TOLERANCE_MS, Timing, least_played_ms, timing};
pub use privacy::{ListenerSecret, ListenerSubject, TruncatedIp};
