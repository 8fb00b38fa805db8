//! The player's request against arbitrary bytes. The pattern is described in `journal::fuzz`.

use super::convert::{self, Asker};
use super::parse::parse;
use super::wire::WarningBody;
use crate::model::{AppKey, ConsentScope, ListenerKey, NetworkId};

/// A good request with something of everything.
const GOOD: &str = r#"{"request_id":"r","listener":{"id":"a","session_id":"s","age":30,"gender":"female","language":"sv"},
"break":{"placement":"music","max_duration_ms":60000,"max_ads":2,"position":"mid_roll","formats":["mp3"],"companion_sizes":[[300,250]]},
"device":{"platform":"ios","type":"phone","os":"ios","os_version":"17.1","app_version":"8","connection":"wifi"},
"geo":{"country":"SE","region":"SE-AB","city":"Stockholm","postal_code":"111 22","latitude":59.3,"longitude":18.1,"time_zone":"Europe/Stockholm"},
"context":{"genres":["jazz"],"moods":["calm"],"playlist":"p","artists":["a"],"explicit":false,"content_categories":["1"]},
"privacy":{"consent":"granted","limited_ads":false,"child":false},"since_last_break_ms":1,"prefetch":false,"segments":["x"],
"key_values":{"k":["v"]},"explain":false,"preview":{"line_item_id":"0190a2b4-7c1e-7000-8000-000000000001"}}"#;

/// Bytes as changes of the good request: pairs of place and byte.
fn changed(input: &[u8]) -> Vec<u8> {
    let mut text = GOOD.as_bytes().to_vec();
    for change in input.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
        text[place] = change[2];
    }
    text
}

fn check(text: &[u8]) {
    let Ok((body, mut warnings)) = parse(text) else { return };
    let asker = Asker { network_id: NetworkId::from_u128(1), app: AppKey::new("app").expect("a key") };
    let key = |_, _: crate::impressions::ListenerSubject<'_>| ListenerKey::of_session([0; 16]);
    let Ok(request) = convert::to_request(body, asker, key, &mut warnings) else { return };
    assert!((convert::BREAK_MIN_MS..=convert::BREAK_MAX_MS).contains(&request.spec.max_duration_ms));
    assert!((1..=convert::BREAK_MAX_ADS).contains(&request.spec.max_ads));
    assert!(request.facts.genres.len() <= convert::CONTEXT_MAX_VALUES);
    assert!(request.facts.key_values.len() <= convert::KEY_VALUES_MAX);
    assert!(request.facts.age.is_none_or(|age| age <= convert::AGE_MAX));
    if request.consent == ConsentScope::ContextOnly {
        assert!(request.facts.segments.is_empty() && request.facts.coordinates.is_none());
    }
    assert!(warnings.iter().all(|WarningBody { path, message, .. }| !path.is_empty() && !message.is_empty()));
}

#[test]
fn fuzz_player_request() {
    check(GOOD.as_bytes());
    bolero::check!().for_each(|input: &[u8]| {
        check(input);
        check(&changed(input));
    });
}
