//! The player's side: ad breaks.

pub mod parse;
pub mod wire;
