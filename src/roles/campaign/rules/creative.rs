//! Rules for creatives.

use super::{name, parent_advertiser};
use crate::model::{Creative, RenditionSource};
use crate::roles::beacon::is_click_url;
use crate::roles::campaign::{Faults, View};

/// Longest creative: ten minutes.
pub const CREATIVE_DURATION_MS_MAX: u32 = 600_000;
/// Most encodings of one creative.
pub const RENDITIONS_MAX: usize = 16;
/// Longest URL in bytes: what every player and proxy still takes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Highest bitrate in kilobits per second; uncompressed stereo at 192 kHz and 24 bits stays below.
const BITRATE_KBPS_MAX: u16 = 10_000;

pub(super) fn check(view: View<'_>, creative: &Creative, faults: &mut Faults) {
    name("name", &creative.name, faults);
    parent_advertiser(view, creative.advertiser_id, creative.network_id, creative.status, faults);
    if !(1..=CREATIVE_DURATION_MS_MAX).contains(&creative.duration_ms) {
        faults.add("duration_ms", "out_of_range", format!("1 to {CREATIVE_DURATION_MS_MAX} milliseconds"));
    }
    if creative.renditions.is_empty() {
        faults.add("renditions", "too_few", "at least one rendition: there is nothing to play");
    }
    if creative.renditions.len() > RENDITIONS_MAX {
        faults.add("renditions", "too_many", format!("at most {RENDITIONS_MAX} renditions"));
    }
    for (index, rendition) in creative.renditions.iter().enumerate() {
        // That an asset is there and the advertiser's own is judged where the files are.
        if let RenditionSource::Url(at) = &rendition.source {
            url(&format!("renditions[{index}].url"), at, Loopback::Allowed, faults);
        }
        if !(1..=BITRATE_KBPS_MAX).contains(&rendition.bitrate_kbps) {
            let message = format!("1 to {BITRATE_KBPS_MAX} kilobits per second");
            faults.add(format!("renditions[{index}].bitrate_kbps"), "out_of_range", message);
        }
    }
    if let Some(click_url) = &creative.click_url {
        let before = faults.as_slice().len();
        url("click_url", click_url, Loopback::Refused, faults);
        if faults.as_slice().len() == before && !is_click_url(click_url) {
            faults.add(
                "click_url",
                "malformed",
                "a host name in ASCII (xn-- for others) or an address, and a port if any",
            );
        }
    }
}

/// Whether plain http is fine for this machine's own addresses, where nobody else listens on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loopback {
    Allowed,
    Refused,
}

/// An absolute https URL with a host, no user name, no white space.
pub(super) fn url(path: &str, url: &str, loopback: Loopback, faults: &mut Faults) {
    if url.len() > URL_BYTES_MAX {
        faults.add(path, "too_long", format!("a URL has at most {URL_BYTES_MAX} bytes"));
        return;
    }
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'\\')) {
        faults.add(path, "malformed", "a URL has no white space, quotes, backslashes or control characters");
        return;
    }
    let (rest, secure) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => {
            faults.add(path, "malformed", "an absolute URL that begins with https://");
            return;
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        faults.add(path, "malformed", "a URL carries no user name or password");
        return;
    }
    let host = host_of(authority);
    if host.is_empty() {
        faults.add(path, "malformed", "a URL names a host");
    } else if !secure && (loopback == Loopback::Refused || !is_loopback(host)) {
        let message = match loopback {
            Loopback::Allowed => "https is needed, except on this machine's own addresses",
            Loopback::Refused => "https is needed",
        };
        faults.add(path, "not_https", message);
    }
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(text: &str, loopback: Loopback, want: Option<&str>) {
        let mut faults = Faults::new();
        url("url", text, loopback, &mut faults);
        assert_eq!(faults.as_slice().first().map(|fault| fault.code), want, "{text:?}");
    }

    #[test]
    fn urls() {
        for good in ["https://cdn.example/a.mp3", "https://cdn.example", "https://[2001:db8::1]:8443/a?b=c#d"] {
            check_url(good, Loopback::Refused, None);
        }
        for good in ["http://localhost/a", "http://127.0.0.1:8080/a.mp3", "http://[::1]:9/a"] {
            check_url(good, Loopback::Allowed, None);
            check_url(good, Loopback::Refused, Some("not_https"));
        }
        for plain in ["http://cdn.example/a", "http://127.0.0.1.example/a", "http://10.0.0.1/"] {
            check_url(plain, Loopback::Allowed, Some("not_https"));
        }
        for bad in [
            "",
            "a",
            "ftp://a/b",
            "//a/b",
            "https://",
            "https:///a",
            "https://a b",
            "https://a\\@b/",
            "https://u:p@a/",
            "javascript:1",
        ] {
            check_url(bad, Loopback::Allowed, Some("malformed"));
        }
        check_url(&format!("https://a/{}", "x".repeat(URL_BYTES_MAX)), Loopback::Allowed, Some("too_long"));
    }
}
