//! The player's side: ad breaks.

pub mod convert;
#[cfg(test)]
mod fuzz;
mod handlers;
pub mod parse;
pub mod render;
pub mod wire;

pub(super) use handlers::{__path_delete_listener, __path_post_ad_break};
pub use handlers::{OPERATOR_APP, Player, configure};
