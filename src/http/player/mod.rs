//! The player's side: ad breaks.

pub mod convert;
mod handlers;
pub mod parse;
pub mod render;
pub mod wire;

pub use handlers::{Player, configure};
