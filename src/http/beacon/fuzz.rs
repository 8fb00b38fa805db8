//! A batch of beacons against arbitrary bytes. The pattern is described in `journal::fuzz`.

use super::batch::{BATCH_ENTRIES_MAX, parse};

/// A good batch with something of everything.
const GOOD: &str = r#"[{"event":"impression","token":"AQAAAAAx","played_ms":2000,"occurred_at":"2026-09-21T14:13:20.123Z"},
{"event":"complete","token":"AQAAAAAy"},{"event":"q1","token":"","colour":{"a":[1,2,{"b":null}]}},[],7]"#;

/// Bytes as changes of the good batch: pairs of place and byte.
fn changed(input: &[u8]) -> Vec<u8> {
    let mut text = GOOD.as_bytes().to_vec();
    for change in input.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
        text[place] = change[2];
    }
    text
}

/// Whatever the bytes: a list within its limit, each entry read or refused with a reason; or a problem that says why not.
fn check(text: &[u8]) {
    match parse(text) {
        Ok(entries) => {
            assert!(entries.len() <= BATCH_ENTRIES_MAX);
            assert!(entries.iter().all(|entry| entry.as_ref().err().is_none_or(|reason| !reason.is_empty())));
        }
        Err(problem) => assert!(matches!(problem.status, 400 | 422) && !problem.detail.is_empty(), "{problem}"),
    }
}

#[test]
fn fuzz_batch() {
    check(GOOD.as_bytes());
    bolero::check!().for_each(|input: &[u8]| {
        check(input);
        check(&changed(input));
    });
}
