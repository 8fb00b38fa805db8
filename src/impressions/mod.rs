//! The life of one impression, and what of a listener may be written down.

mod privacy;

pub use privacy::{ListenerSecret, ListenerSubject, TruncatedIp};
