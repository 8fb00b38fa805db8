//! Seeded catalogues and listeners by named profile, for tests, benches, the demo and load tests.
//!
//! The same profile and seed give the same values on every machine: all draws come from `ChaCha`, no clock is read (times are passed in)
//! and no map is iterated. [`mod@reference`] has the catalogue behind the published figures of the index; [`world`] has a catalogue that
//! reads like a real one, for people to look at.

mod draws;
pub mod reference;
pub mod world;

pub(crate) use draws::whole;
pub use draws::{Draws, Zipf};
