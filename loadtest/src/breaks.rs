//! Requests for breaks, made ready to be sent: the listeners that `segue workload breaks` prints, each with its key and all lengths in place.
//!
//! Only the request's id changes from one sending to the next; it has a fixed width, so that nothing else has to.

use std::io::BufRead;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Digits of a request's id.
const ID_DIGITS: usize = 16;
/// What a request's id looks like before it has one.
const NO_ID: &str = "0000000000000000";
/// Somebody's player: the server looks at it.
const USER_AGENT: &str = "SeguePlayer/8.9.1 (Linux; Android 14; Pixel 8) Music/8.9.1";

/// One listener's request, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ready {
    bytes: Vec<u8>,
    /// Where the id stands.
    id_at: usize,
}

/// The listeners' requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Breaks {
    ready: Vec<Ready>,
}

impl Breaks {
    /// Reads bodies, a line each, for a player with that app's key.
    pub(crate) fn read(lines: impl BufRead, app_key: &str) -> anyhow::Result<Self> {
        let mut ready = Vec::new();
        for line in lines.lines() {
            let line = line.context("reading breaks")?;
            ready.push(Ready::new(&line, app_key)?);
        }
        if ready.is_empty() {
            bail!("there are no breaks to ask for");
        }
        Ok(Self { ready })
    }

    /// How many listeners there are.
    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Writes the request of that listener with an id that no other sending has.
    pub(crate) fn write(&self, listener: usize, id: u64, out: &mut Vec<u8>) {
        let ready = &self.ready[listener];
        out.extend_from_slice(&ready.bytes);
        let place = &mut out[ready.id_at..ready.id_at + ID_DIGITS];
        for (at, digit) in place.iter_mut().rev().enumerate() {
            let nibble = usize::try_from(id >> (4 * at) & 15).expect("below 16");
            *digit = b"0123456789abcdef"[nibble];
        }
    }
}

impl Ready {
    fn new(line: &str, app_key: &str) -> anyhow::Result<Self> {
        let mut body: Value = serde_json::from_str(line).context("understanding a break")?;
        body["request_id"] = Value::from(NO_ID);
        let body = body.to_string();
        let head = format!(
            "POST /v1/ad-breaks HTTP/1.1\r\nhost: localhost\r\nuser-agent: {USER_AGENT}\r\nauthorization: Bearer {app_key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let marker = format!("\"request_id\":\"{NO_ID}\"");
        let at = body.find(&marker).context("a break has a request_id")?;
        let id_at = head.len() + at + marker.len() - 1 - ID_DIGITS;
        Ok(Self { bytes: [head.as_bytes(), body.as_bytes()].concat(), id_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sending_has_its_own_id_and_is_well_formed() {
        let line = r#"{"request_id":"reference-1","listener":{"id":"a"},"break":{"max_ads":3}}"#;
        let breaks = Breaks::read(line.as_bytes(), "sgk_x").expect("a break");
        let mut out = Vec::new();
        breaks.write(0, 0x1234_abcd, &mut out);
        let text = String::from_utf8(out).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("authorization: Bearer sgk_x"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["request_id"], "000000001234abcd");
        assert_eq!(body["listener"]["id"], "a");
    }

    #[test]
    fn nothing_is_no_load() {
        assert!(Breaks::read("".as_bytes(), "key").is_err());
        assert!(Breaks::read("no json".as_bytes(), "key").is_err());
    }
}
