//! The life of one impression, and what of a listener may be written down.

mod heard_rate;
pub mod invalid;
mod life;
pub mod listener;
mod privacy;

pub use heard_rate::{DrawTimes, HeardRates, HeardRule, RarelyHeard, Standing, Watch};
pub use life::{AUDIBLE_MS, AdTimes, CLOCK_TOLERANCE_MS, Timing, is_plausible, is_too_soon, least_played_ms, timing};
pub use privacy::{ListenerSecret, ListenerSubject, TruncatedIp};
