//! Signed URLs: who has one may fetch the file until the moment that it names. Pure, and cheap enough for the path of a decision.
//!
//! A URL is `/a/<hash>.<ending>?e=<unix seconds>&s=<signature>`. The signature is a keyed BLAKE3 hash over path and moment. Moments are
//! rounded up to steps of some hours, so that all players are given the same URL for a while and a cache in front can answer them. Its
//! first character names the key's number: a later key can be signed with while URLs of the one before still open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::{AssetFile, WallMs};

/// A URL's last moment is a multiple of this: four URLs a day and file.
const STEP_SECONDS: i64 = 6 * 3_600;
/// Least life of a URL from when it is made: what a player asks for just before a step is not gone just after.
const LIFE_SECONDS_MIN: i64 = 3_600;
/// The number of the key that signs.
const KEY_NUMBER: char = '1';
/// What the key is for; a secret that is made into keys for several purposes opens none by another's.
const CONTEXT: &str = "segue 2026-11 signed URLs of assets, key 1";

/// Signs URLs, and says which are good.
#[derive(Clone)]
pub struct UrlSigner {
    key: [u8; 32],
    public_url: String,
}

impl std::fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UrlSigner({}, ..)", self.public_url)
    }
}

/// Why a URL opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignError {
    /// It was not signed here, or was changed.
    Forged,
    /// Its moment has passed.
    Expired,
}

impl UrlSigner {
    /// A signer with a key made of `secret`. `public_url` is what URLs begin with, without a slash at its end.
    #[must_use]
    pub fn new(secret: &[u8; 32], public_url: String) -> Self {
        Self { key: blake3::derive_key(CONTEXT, secret), public_url }
    }

    /// A URL of the file that opens until `needed_until` at least.
    #[must_use]
    pub fn url(&self, file: AssetFile, now: WallMs, needed_until: WallMs) -> String {
        let until = (needed_until.0.div_euclid(1_000) + 1).max(now.0.div_euclid(1_000) + LIFE_SECONDS_MIN);
        let expiry = (until + STEP_SECONDS - 1).div_euclid(STEP_SECONDS) * STEP_SECONDS;
        let hash = self.hash(file, expiry);
        let signature = URL_SAFE_NO_PAD.encode(hash.as_bytes());
        format!("{}/a/{file}?e={expiry}&s={KEY_NUMBER}{signature}", self.public_url)
    }

    /// Whether the query of a URL opens the file now.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn check(&self, file: AssetFile, expiry: i64, signature: &str, now: WallMs) -> Result<(), SignError> {
        let mut given = [0; 32];
        let encoded = signature.strip_prefix(KEY_NUMBER).ok_or(SignError::Forged)?;
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut given).map_err(|_| SignError::Forged)?;
        // Comparing `blake3::Hash` takes the same time wherever the difference is.
        if length != given.len() || blake3::Hash::from_bytes(given) != self.hash(file, expiry) {
            return Err(SignError::Forged);
        }
        if now.0 < expiry.saturating_mul(1_000) { Ok(()) } else { Err(SignError::Expired) }
    }

    fn hash(&self, file: AssetFile, expiry: i64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&file.id.0).update(file.kind.ending().as_bytes()).update(&expiry.to_be_bytes());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AssetId, FileKind};

    const FILE: AssetFile = AssetFile { id: AssetId([3; 32]), kind: FileKind::Ogg };
    const NOW: WallMs = WallMs(1_790_000_000_000);

    fn parts(url: &str) -> (i64, String) {
        let query = url.split_once("?e=").expect("a moment").1;
        let (expiry, signature) = query.split_once("&s=").expect("a signature");
        (expiry.parse().expect("a number"), signature.to_owned())
    }

    #[test]
    fn a_url_opens_its_file_until_its_moment() {
        let signer = UrlSigner::new(&[1; 32], "https://cdn.example".to_owned());
        let until = NOW.plus_ms(7_200_000);
        let url = signer.url(FILE, NOW, until);
        assert!(url.starts_with(&format!("https://cdn.example/a/{FILE}?e=")), "{url}");
        let (expiry, signature) = parts(&url);
        let check = |file, expiry, signature: &str, now| signer.check(file, expiry, signature, now);
        assert_eq!(check(FILE, expiry, &signature, until), Ok(()));
        assert_eq!(check(FILE, expiry, &signature, WallMs(expiry * 1_000)), Err(SignError::Expired));
        assert_eq!(check(FILE, expiry + 1, &signature, NOW), Err(SignError::Forged));
        let other = AssetFile { kind: FileKind::Mp3, ..FILE };
        assert_eq!(check(other, expiry, &signature, NOW), Err(SignError::Forged));
        for index in 0..signature.len() {
            let mut wrong = signature.clone().into_bytes();
            wrong[index] = if wrong[index] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert_eq!(check(FILE, expiry, &wrong, NOW), Err(SignError::Forged), "{index}");
        }
        for wrong in ["", "1", "2", &signature[1..], &format!("{signature}AAAA"), "1ü"] {
            assert_eq!(check(FILE, expiry, wrong, NOW), Err(SignError::Forged), "{wrong}");
        }
        let stranger = UrlSigner::new(&[2; 32], String::new());
        assert_eq!(stranger.check(FILE, expiry, &signature, NOW), Err(SignError::Forged));
    }

    #[test]
    fn all_players_of_some_hours_get_one_url() {
        let signer = UrlSigner::new(&[1; 32], String::new());
        let at = |minutes: i64| {
            let now =
                WallMs(1_790_000_000_000 / (STEP_SECONDS * 1_000) * STEP_SECONDS * 1_000).plus_ms(minutes * 60_000);
            signer.url(FILE, now, now.plus_ms(600_000))
        };
        assert_eq!(at(0), at(299));
        assert_ne!(at(0), at(301));
    }
}
