//! Keys, sealing and opening.

use std::collections::HashMap;
use std::fmt;

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{Claims, MAX_CLAIMS_BYTES};
use crate::model::ImpressionId;

/// The version that is sealed and opened.
const VERSION: u8 = 1;
/// Version, key id, nonce.
const HEADER_BYTES: usize = 1 + 4 + 12;
/// Authentication tag of AES-GCM-SIV.
const TAG_BYTES: usize = 16;
/// Most characters of a token: a header, the longest claims and a tag in base64. Longer texts are turned down before they are decoded.
pub const MAX_TOKEN_CHARS: usize = (HEADER_BYTES + MAX_CLAIMS_BYTES + TAG_BYTES).div_ceil(3) * 4;

const NONCE_CONTEXT: &str = "segue 2026 token nonce v1";

/// Why a text is not a token of ours. Each has one shape whatever the text, so that nothing can be learned from it about the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not base64url, too short or too long to be a token.
    #[error("not a token: expected unpadded base64url of a sealed ad")]
    Malformed,
    /// A version that this server does not open.
    #[error("the token has a version that this server does not know")]
    UnsupportedVersion,
    /// Sealed with a key that is not, or no longer, active.
    #[error("the token was sealed with a key that is not active")]
    UnknownKey,
    /// Changed on the way, or never sealed here.
    #[error("the token is forged or damaged")]
    Forged,
}

impl TokenError {
    /// A stable name for metrics and problem details.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
        }
    }
}

/// A sealing key and the id that tokens name it by.
#[derive(Clone)]
pub struct TokenKey {
    id: u32,
    cipher: Aes256GcmSiv,
}

impl TokenKey {
    /// A key from its id, unique among the keys of an installation, and 32 secret random bytes.
    #[must_use]
    pub fn new(id: u32, secret: &[u8; 32]) -> Self {
        Self { id, cipher: Aes256GcmSiv::new(secret.into()) }
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for TokenKey {
    /// The id only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The active keys: the current one seals, both open.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
}

impl TokenKeys {
    /// The active keys.
    ///
    /// # Panics
    /// When both have one id: a token could then name either.
    #[must_use]
    pub fn new(current: TokenKey, previous: Option<TokenKey>) -> Self {
        assert!(previous.as_ref().is_none_or(|previous| previous.id != current.id), "token key ids are unique");
        Self { current, previous }
    }

    /// Seals the claims with the current key. The same claims under the same key give the same token.
    #[must_use]
    pub fn seal(&self, claims: &Claims) -> String {
        let nonce = nonce_of(claims.impression_id);
        let mut header = [0; HEADER_BYTES];
        header[0] = VERSION;
        header[1..5].copy_from_slice(&self.current.id.to_be_bytes());
        header[5..].copy_from_slice(&nonce);
        let mut body = Vec::with_capacity(MAX_CLAIMS_BYTES + TAG_BYTES);
        claims.write(&mut body);
        self.current
            .cipher
            .encrypt_in_place(&Nonce::from(nonce), &header, &mut body)
            .expect("claims are far below the cipher's limit of 64 GiB");
        let mut token = Vec::with_capacity(HEADER_BYTES + body.len());
        token.extend_from_slice(&header);
        token.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The claims of a token that one of the active keys sealed. Its life is not judged here.
    ///
    /// # Errors
    /// [`TokenError`], which says what is wrong and nothing more.
    pub fn open(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_CHARS {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(TokenError::Malformed)?;
        if body.len() < TAG_BYTES {
            return Err(TokenError::Malformed);
        }
        if header[0] != VERSION {
            return Err(TokenError::UnsupportedVersion);
        }
        let key_id = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let key = self.key(key_id).ok_or(TokenError::UnknownKey)?;
        let nonce: [u8; 12] = *header.last_chunk().expect("the header is longer than its nonce");
        let mut claims = body.to_vec();
        key.cipher.decrypt_in_place(&Nonce::from(nonce), header, &mut claims).map_err(|_| TokenError::Forged)?;
        // Authentic from here on; what fails now was sealed by something that is not this code.
        let claims = Claims::read(&claims).ok_or(TokenError::Forged)?;
        if nonce_of(claims.impression_id) == nonce { Ok(claims) } else { Err(TokenError::Forged) }
    }

    fn key(&self, id: u32) -> Option<&TokenKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}

/// The nonce of an impression's token.
fn nonce_of(impression_id: ImpressionId) -> [u8; 12] {
    let mut hasher = blake3::Hasher::new_derive_key(NONCE_CONTEXT);
    hasher.update(&impression_id.to_bytes());
    let mut nonce = [0; 12];
    hasher.finalize_xof().fill(&mut nonce);
    nonce
}

/// Remembers what was sealed and shows that no impression was ever sealed with two different sets of claims, which would use one nonce
/// twice. For tests and simulations: it grows with every seal.
#[derive(Debug, Default)]
pub struct SealLog {
    sealed: HashMap<ImpressionId, Claims>,
}

impl SealLog {
    /// Notes that the claims are being sealed.
    ///
    /// # Panics
    /// When the impression was sealed before with other claims.
    pub fn note(&mut self, claims: &Claims) {
        let first = self.sealed.entry(claims.impression_id).or_insert_with(|| claims.clone());
        assert!(first == claims, "impression {} is sealed once", claims.impression_id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::claims::tests::{any_claims, golden_claims};
    use super::*;

    fn key(id: u32) -> TokenKey {
        TokenKey::new(id, &[u8::try_from(id).expect("small"); 32])
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_fits(claims in any_claims()) {
            let keys = TokenKeys::new(key(1), None);
            let token = keys.seal(&claims);
            prop_assert!(token.len() <= MAX_TOKEN_CHARS);
            prop_assert_eq!(keys.seal(&claims), token.clone(), "sealing is deterministic");
            prop_assert_eq!(keys.open(&token), Ok(claims));
        }
    }

    #[test]
    fn two_keys_open_and_the_current_one_seals() {
        let claims = golden_claims();
        let old = TokenKeys::new(key(1), None).seal(&claims);
        let rotated = TokenKeys::new(key(2), Some(key(1)));
        let new = rotated.seal(&claims);
        assert_ne!(old, new);
        assert_eq!(rotated.open(&old), Ok(claims.clone()));
        assert_eq!(rotated.open(&new), Ok(claims.clone()));
        assert_eq!(TokenKeys::new(key(2), None).open(&old), Err(TokenError::UnknownKey));
        assert_eq!(TokenKeys::new(TokenKey::new(1, &[9; 32]), None).open(&old), Err(TokenError::Forged));
    }

    #[test]
    fn what_is_not_a_token_is_said_precisely() {
        let keys = TokenKeys::new(key(1), None);
        let bytes = URL_SAFE_NO_PAD.decode(keys.seal(&golden_claims())).expect("base64");
        let check = |text: &str, expected: TokenError| assert_eq!(keys.open(text), Err(expected), "{text}");
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        check("", TokenError::Malformed);
        check("not a token", TokenError::Malformed);
        check("\u{e9}\u{e9}\u{e9}\u{e9}", TokenError::Malformed);
        check(&encode(&bytes[..HEADER_BYTES + TAG_BYTES - 1]), TokenError::Malformed);
        check(&"A".repeat(MAX_TOKEN_CHARS + 1), TokenError::Malformed);
        check(&format!("{}=", encode(&bytes)), TokenError::Malformed);
        check(&encode(&[&[2], &bytes[1..]].concat()), TokenError::UnsupportedVersion);
        check(&encode(&[&[1, 0, 0, 0, 9], &bytes[5..]].concat()), TokenError::UnknownKey);
        check(&encode(&bytes[..bytes.len() - 1]), TokenError::Forged);
        check(&encode(&[&bytes[..], &[0]].concat()), TokenError::Forged);
    }

    #[test]
    fn every_changed_bit_is_found() {
        let keys = TokenKeys::new(key(1), None);
        let bytes = URL_SAFE_NO_PAD.decode(keys.seal(&golden_claims())).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(&URL_SAFE_NO_PAD.encode(changed)).is_err(), "bit {bit}");
        }
    }

    // INV-10.
    #[test]
    #[should_panic(expected = "is sealed once")]
    fn the_seal_log_finds_a_nonce_used_twice() {
        let mut log = SealLog::default();
        let claims = golden_claims();
        log.note(&claims);
        log.note(&claims);
        log.note(&Claims { duration_ms: claims.duration_ms + 1, ..claims });
    }
}
