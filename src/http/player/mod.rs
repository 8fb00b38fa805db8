//! The player's side: ad breaks.

pub mod convert;
pub mod parse;
pub mod render;
pub mod wire;
