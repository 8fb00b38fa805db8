//! What is sent: breaks and beacons as fast as they are answered ([`Flood`]), for what a request costs.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::breaks::Breaks;
use crate::engine::{Nanos, Outcome, Sent, Source};

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// What players call themselves.
const HEAD_END: &[u8] = b" HTTP/1.1\r\nhost: localhost\r\nuser-agent: SeguePlayer/8.9.1 (Linux; Android 14)\r\n\r\n";

/// Latencies and counts of one kind of request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    latency_us: Histogram<u64>,
    /// Answered with success.
    pub(crate) answered: u64,
    /// Answered otherwise, or not at all.
    pub(crate) errors: u64,
    /// The first error: its status, 0 where there was no answer.
    pub(crate) first_error: Option<u16>,
    /// Bytes of the bodies.
    pub(crate) body_bytes: u64,
}

impl Default for Seen {
    fn default() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("three digits up to a minute");
        Self { latency_us, answered: 0, errors: 0, first_error: None, body_bytes: 0 }
    }
}

impl Seen {
    /// Counts what came of a request.
    pub(crate) fn count(&mut self, sent: Sent, outcome: Outcome<'_>, now: Nanos) {
        self.record(sent, now);
        match outcome {
            Outcome::Answered(answer) if answer.status < 300 => {
                self.answered += 1;
                self.body_bytes += answer.body.len() as u64;
            }
            Outcome::Answered(answer) => self.error(answer.status),
            Outcome::Failed => self.error(0),
        }
    }

    /// Takes the time since a request was due, and counts nothing.
    pub(crate) fn record(&mut self, sent: Sent, now: Nanos) {
        self.latency_us.saturating_record((now.saturating_sub(sent.due) / 1_000).max(1));
    }

    fn error(&mut self, status: u16) {
        self.errors += 1;
        self.first_error.get_or_insert(status);
    }

    /// Microseconds within which that share of the requests was answered.
    pub(crate) fn latency_us(&self, quantile: f64) -> f64 {
        as_float(self.latency_us.value_at_quantile(quantile))
    }

    /// Mean size of a body.
    pub(crate) fn mean_body(&self) -> usize {
        usize::try_from(self.body_bytes / self.answered.max(1)).unwrap_or(usize::MAX)
    }
}

/// A count as a float, for ratios.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn as_float(count: u64) -> f64 {
    count as f64
}

/// An ad of an answer, as much as a player needs of it here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ad {
    /// Its length.
    pub(crate) duration_ms: u32,
    /// Its sealed token.
    pub(crate) token: Box<[u8]>,
}

/// The ads of an answer. It is not parsed but searched: the fields that are looked for come in this order in each ad, and no text of the catalogue holds their
/// names in quotes unescaped.
pub(crate) fn ads(mut body: &[u8]) -> Vec<Ad> {
    const DURATION: &[u8] = b"\"duration_ms\":";
    const TRACKING: &[u8] = b"/v1/t/{event}/";
    let mut ads = Vec::with_capacity(4);
    while let Some(at) = memchr::memmem::find(body, DURATION) {
        body = &body[at + DURATION.len()..];
        let digits = body.iter().take_while(|byte| byte.is_ascii_digit());
        let duration_ms = digits.fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
        let Some(at) = memchr::memmem::find(body, TRACKING) else { break };
        body = &body[at + TRACKING.len()..];
        let Some(end) = memchr::memchr(b'"', body) else { break };
        ads.push(Ad { duration_ms, token: body[..end].into() });
        body = &body[end..];
    }
    ads
}

/// Writes a beacon's request.
pub(crate) fn write_beacon(event: &str, token: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET /v1/t/");
    out.extend_from_slice(event.as_bytes());
    out.push(b'/');
    out.extend_from_slice(token);
    out.extend_from_slice(HEAD_END);
}

/// What a flood consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'t> {
    /// Breaks of listeners in turn.
    Breaks(&'t Breaks),
    /// Beacons of ads in turn: each ad's impression, then each ad's completion, then again.
    Beacons(&'t [Ad]),
}

/// As many requests as are answered, until its time is over or its number sent.
#[derive(Debug)]
pub(crate) struct Flood<'t> {
    of: Of<'t>,
    /// The next request's number; numbers go on from flood to flood, so that none comes twice.
    next: u64,
    end: u64,
    until: Nanos,
    /// What came of them.
    pub(crate) seen: Seen,
    /// Ads of the answers, as far as they are kept.
    pub(crate) ads: Vec<Ad>,
    keep: usize,
}

impl<'t> Flood<'t> {
    /// A flood from request number `first` on, for so long from `now`.
    pub(crate) fn lasting(of: Of<'t>, first: u64, now: Nanos, length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            of,
            next: first,
            end: u64::MAX,
            until: now.saturating_add(length),
            seen: Seen::default(),
            ads: Vec::new(),
            keep: 0,
        }
    }

    /// A flood of so many requests.
    pub(crate) fn counting(of: Of<'t>, first: u64, count: u64) -> Self {
        let end = first.saturating_add(count);
        Self { of, next: first, end, until: Nanos::MAX, seen: Seen::default(), ads: Vec::new(), keep: 0 }
    }

    /// Keeps up to so many ads of the answers.
    pub(crate) fn keeping(self, keep: usize) -> Self {
        Self { keep, ..self }
    }

    /// The number that the next flood begins with.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }
}

impl Source for Flood<'_> {
    fn next_due(&mut self, now: Nanos) -> Option<Nanos> {
        (!self.is_over(now)).then_some(now)
    }

    fn take(&mut self, now: Nanos, out: &mut Vec<u8>) -> Sent {
        let number = self.next;
        self.next += 1;
        match self.of {
            Of::Breaks(breaks) => {
                breaks.write(usize::try_from(number % breaks.len() as u64).expect("below a length"), number, out);
            }
            Of::Beacons(ads) => {
                let count = ads.len().max(1) as u64;
                let event = if (number / count).is_multiple_of(2) { "impression" } else { "complete" };
                write_beacon(event, &ads[usize::try_from(number % count).expect("below a length")].token, out);
            }
        }
        Sent { due: now, kind: 0, tag: number }
    }

    fn heard(&mut self, sent: Sent, outcome: Outcome<'_>, now: Nanos) {
        self.seen.count(sent, outcome, now);
        if self.ads.len() < self.keep
            && let Outcome::Answered(answer) = outcome
        {
            self.ads.append(&mut ads(answer.body));
        }
    }

    fn is_over(&self, now: Nanos) -> bool {
        now >= self.until || self.next >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    #[test]
    fn ads_are_found_in_an_answer() {
        let body =
            br#"{"ads":[{"slot":1,"duration_ms":15000,"renditions":[],"tracking_url":"http://a/v1/t/{event}/AbC-1"},
            {"slot":2,"duration_ms":30000,"tracking_url":"http://a/v1/t/{event}/xyz"}],"request_id":"r"}"#;
        let found = ads(body);
        let expected = [(15_000, "AbC-1"), (30_000, "xyz")];
        let expected = expected.map(|(duration_ms, token)| Ad { duration_ms, token: token.as_bytes().into() });
        assert_eq!(found, expected);
        assert_eq!(ads(b"{\"ads\":[]}"), []);
    }

    #[test]
    fn errors_are_counted_apart_and_latency_is_from_the_due_time() {
        let mut seen = Seen::default();
        let sent = Sent { due: 1_000_000, kind: 0, tag: 0 };
        let answer = |status| Outcome::Answered(Answer { status, body: b"abcd", length: 4 });
        seen.count(sent, answer(200), 3_000_000);
        seen.count(sent, answer(503), 3_000_000);
        seen.count(sent, Outcome::Failed, 3_000_000);
        assert_eq!((seen.answered, seen.errors, seen.first_error, seen.mean_body()), (1, 2, Some(503), 4));
        assert!((1_990.0..2_010.0).contains(&seen.latency_us(0.5)));
    }
}
