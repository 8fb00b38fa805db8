//! The life of one impression, and what of a listener may be written down.

pub mod listener;
mod privacy;

pub use privacy::{ListenerSecret, ListenerSubject, TruncatedIp};
