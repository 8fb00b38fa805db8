//! The player's side: ad breaks.

pub mod wire;
