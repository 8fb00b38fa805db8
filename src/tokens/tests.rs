//! The token as a whole: its golden form, and that nothing but what was sealed opens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::claims::tests::{any_claims, golden_claims};
use super::*;
use crate::impressions::TruncatedIp;

/// The key of the golden token; never one of a real installation.
fn keys() -> TokenKeys {
    TokenKeys::new(TokenKey::new(7, &[0x5E; 32]), None)
}

#[test]
fn a_token_of_version_1_is_sealed_and_opened_alike() {
    let from = TruncatedIp::from_bytes(&[192, 0, 2]);
    for (file, claims) in
        [("token.txt", golden_claims()), ("token_from.txt", Claims { asked_from: from, ..golden_claims() })]
    {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1").join(file);
        let token = keys().seal(&claims);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{token}\n")).expect("the golden file is writable");
        }
        let kept = std::fs::read_to_string(&path).expect("it is committed");
        assert_eq!(kept.trim_end(), token, "UPDATE_GOLDEN=1 rewrites it; tokens in the air would not open any more");
        assert_eq!(keys().open(kept.trim_end()), Ok(claims), "{file}");
    }
}

#[test]
fn a_player_can_carry_it_in_a_url() {
    let token = keys().seal(&golden_claims());
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{token}");
    assert!(token.len() <= 352, "{} characters", token.len());
}

/// The bar of a beacon's seal: of many changed tokens none opens. Changes are of one to four bytes anywhere, cuts, and swaps of two tokens' parts.
#[test]
fn no_changed_token_opens() {
    const CHANGED: u32 = 200_000;
    let keys = keys();
    let decode = |token: &str| URL_SAFE_NO_PAD.decode(token).expect("base64");
    let original = decode(&keys.seal(&golden_claims()));
    let other = decode(&keys.seal(&Claims { price: crate::model::Micros(1), ..golden_claims() }));
    let mut random = 0x5EED_u64;
    // SplitMix64 (Steele, Lea, Flood 2014): enough to choose places.
    let mut draw = |below: usize| {
        random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(below).expect("small")).expect("small")
    };
    let mut accepted = 0;
    for _ in 0..CHANGED {
        let mut bytes = original.clone();
        match draw(8) {
            0 => bytes.truncate(draw(original.len())),
            1 => {
                let at = draw(original.len());
                bytes[at..].copy_from_slice(&other[at..]);
            }
            _ => {
                for _ in 0..=draw(4) {
                    let at = draw(bytes.len());
                    bytes[at] ^= u8::try_from(1 + draw(255)).expect("a byte");
                }
            }
        }
        if bytes != original && bytes != other && keys.open(&URL_SAFE_NO_PAD.encode(&bytes)).is_ok() {
            accepted += 1;
        }
    }
    assert_eq!(accepted, 0, "of {CHANGED} changed tokens");
}

/// Whatever the bytes: no panic, and nothing opens that was not sealed. Seen as a text, as a token's bytes, and as changes of a real token.
#[test]
fn fuzz_token_open() {
    let keys = keys();
    let sealed = keys.seal(&golden_claims());
    let original = URL_SAFE_NO_PAD.decode(&sealed).expect("base64");
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(text) = std::str::from_utf8(input) {
            assert!(keys.open(text).is_err() || text == sealed);
        }
        assert!(keys.open(&URL_SAFE_NO_PAD.encode(input)).is_err() || input == original);
        let mut changed = original.clone();
        for place in input.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([place[0], place[1]])) % changed.len();
            changed[at] ^= place[2];
        }
        assert!(keys.open(&URL_SAFE_NO_PAD.encode(&changed)).is_err() || changed == original);
        // What lies behind the seal is only ever read when it is authentic; it must stand anything all the same.
        if let Some(claims) = Claims::read(input) {
            let mut written = Vec::new();
            claims.write(&mut written);
            assert_eq!(written, input, "one claim, one layout");
        }
    });
}

proptest! {
    /// INV-10: whatever is sealed, one impression has one set of claims, so no nonce is used for two plaintexts.
    #[test]
    fn an_impression_is_sealed_with_one_set_of_claims(claims in prop::collection::vec(any_claims(), 1..20)) {
        let mut log = SealLog::default();
        let mut tokens = std::collections::BTreeMap::new();
        let keys = keys();
        for claims in &claims {
            let id = claims.impression_id.to_bytes();
            if let std::collections::btree_map::Entry::Vacant(entry) = tokens.entry(id) {
                log.note(claims);
                entry.insert(keys.seal(claims));
            }
        }
        let nonces: std::collections::BTreeSet<_> = tokens.values().map(|token| token[..22].to_owned()).collect();
        prop_assert_eq!(nonces.len(), tokens.len(), "different impressions have different nonces");
    }
}
