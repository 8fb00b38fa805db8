//! Sealed tokens: what a beacon needs to be billed, carried by the player and readable by nobody else.
//!
//! One token an ad. It names the impression and holds all that a complete billing record needs, so any beacon server can journal one
//! without asking anybody. It is encrypted and authenticated with AES-256-GCM-SIV (RFC 8452), and its text is base64url without padding
//! (RFC 4648, section 5).
//!
//! # Layout, version 1
//!
//! ```text
//! byte  0        version, 1
//! bytes 1..5     id of the key, big-endian
//! bytes 5..17    nonce: first 12 bytes of BLAKE3's key derivation of the impression id (context `segue 2026 token nonce v1`)
//! bytes 17..     the claims, encrypted (layout in `claims.rs`), then the 16 bytes of the tag
//! ```
//!
//! The 17 bytes of the header are the associated data, so a changed header is a forged token.
//!
//! The nonce is derived and never drawn, so that sealing needs no source of randomness and the same ad of a repeated answer has the same
//! token. One impression has one set of claims for ever (INV-10; tests note what they seal in a [`SealLog`]); should that ever be broken, GCM-SIV reveals no more than that two plaintexts differ.
//!
//! Two keys are active at a time: the current one seals, both open. Whether a token is still alive is the caller's question: compare
//! [`Claims::billable_until`] with the time of receipt.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use keys::{MAX_TOKEN_CHARS, SealLog, TokenError, TokenKey, TokenKeys};
