//! Who sent a request: the address behind proxies, and what the sender calls itself.
//!
//! A peer that is no trusted proxy is the sender, whatever its headers say: anybody can write `X-Forwarded-For`. A trusted proxy has written the
//! last entry of that header; so the entries are read from the right, over the trusted ones, and the first that is not trusted is the
//! sender. What stands left of it is hearsay.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue, USER_AGENT};

use crate::impressions::invalid::{AddressRanges, Sender};
use crate::telemetry::{Metric, Metrics};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most proxies in a row that are looked through; a longer chain is somebody's game.
pub const PROXIES_MAX: usize = 16;

/// Tells who sent a request.
#[derive(Clone, Debug)]
pub struct Senders {
    trusted_proxies: AddressRanges,
    metrics: Metrics,
}

impl Senders {
    /// Looks through these proxies, and no others.
    #[must_use]
    pub const fn new(trusted_proxies: AddressRanges, metrics: Metrics) -> Self {
        Self { trusted_proxies, metrics }
    }

    /// Who sent the request. Its address is unknown where a trusted proxy does not say for whom it asks: a wrong one would be worse.
    #[must_use]
    pub fn sender<'r>(&self, request: &'r HttpRequest) -> Sender<'r> {
        let user_agent = request.headers().get(USER_AGENT).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let peer = request.peer_addr().map(|address| address.ip());
        let address = peer.and_then(|peer| {
            let headers: Vec<&[u8]> = request.headers().get_all(FORWARDED_FOR).map(HeaderValue::as_bytes).collect();
            let address = sender_address(peer, &headers, &self.trusted_proxies);
            if address.is_none() {
                self.metrics.add(Metric::ForwardedUnclear, 1);
            }
            address
        });
        Sender { address, user_agent }
    }
}

/// The address of the sender: the peer, or the rightmost entry of the headers that is no trusted proxy. Where every entry is a trusted proxy, the
/// leftmost: the request began inside. None where a trusted proxy wrote what is no address, or the chain is too long.
fn sender_address(peer: IpAddr, forwarded_for: &[&[u8]], trusted: &AddressRanges) -> Option<IpAddr> {
    if !trusted.contains(peer) {
        return Some(peer);
    }
    let entries = forwarded_for.iter().rev().flat_map(|header| header.rsplit(|byte| *byte == b','));
    let mut sender = peer;
    for (proxies, entry) in entries.enumerate() {
        if proxies == PROXIES_MAX {
            return None;
        }
        sender = read_entry(entry)?;
        if !trusted.contains(sender) {
            break;
        }
    }
    Some(sender)
}

/// An entry: an address, with a port where the proxy is one of those that write it; IPv6 with a port is in brackets.
fn read_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> AddressRanges {
        AddressRanges::parse("10.0.0.0/8\n2001:db8:ffff::/48").expect("a list")
    }

    fn found(peer: &str, forwarded_for: &[&str]) -> Option<String> {
        let headers: Vec<&[u8]> = forwarded_for.iter().map(|header| header.as_bytes()).collect();
        sender_address(peer.parse().expect("an address"), &headers, &trusted()).map(|address| address.to_string())
    }

    #[test]
    fn the_sender_is_the_first_from_the_right_that_is_no_trusted_proxy() {
        let check = |peer: &str, forwarded_for: &[&str], expected: Option<&str>| {
            assert_eq!(found(peer, forwarded_for).as_deref(), expected, "{peer} {forwarded_for:?}");
        };
        check("198.51.100.1", &[], Some("198.51.100.1"));
        // Nobody may speak for others unless trusted.
        check("198.51.100.1", &["203.0.113.9"], Some("198.51.100.1"));
        check("10.0.0.1", &["203.0.113.9"], Some("203.0.113.9"));
        // What the sender wrote itself stands to the left.
        check("10.0.0.1", &["192.0.2.1, 203.0.113.9"], Some("203.0.113.9"));
        check("10.0.0.1", &["192.0.2.1", "203.0.113.9, 10.0.0.2"], Some("203.0.113.9"));
        check("10.0.0.1", &["not an address, 203.0.113.9"], Some("203.0.113.9"));
        check("2001:db8:ffff::1", &["203.0.113.9:4711"], Some("203.0.113.9"));
        check("10.0.0.1", &["[2001:db8::7]:4711"], Some("2001:db8::7"));
        check("10.0.0.1", &["[2001:db8::7]"], Some("2001:db8::7"));
        check("10.0.0.1", &["2001:db8::7"], Some("2001:db8::7"));
        check("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], Some("203.0.113.9"));
        // From inside: the first of the chain, or the peer where nobody says anything.
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3"));
        check("10.0.0.1", &[], Some("10.0.0.1"));
        // A trusted proxy that does not say for whom.
        for unclear in ["unknown", "", "203.0.113.9,", "203.0.113.9, _hidden", "203.0.113.9 198.51.100.1", "\u{e5}"] {
            check("10.0.0.1", &[unclear], None);
        }
        check("10.0.0.1", &[&vec!["10.0.0.2"; PROXIES_MAX].join(",")], Some("10.0.0.2"));
        check("10.0.0.1", &[&vec!["10.0.0.2"; PROXIES_MAX + 1].join(",")], None);
    }

    #[test]
    fn a_request_tells_its_sender() {
        let senders = Senders::new(trusted(), Metrics::new());
        let request = TestRequest::default()
            .peer_addr("10.0.0.1:99".parse().expect("an address"))
            .insert_header(("X-Forwarded-For", "203.0.113.9"))
            .insert_header(("User-Agent", "player/1"))
            .to_http_request();
        let expected = Sender { address: "203.0.113.9".parse().ok(), user_agent: Some("player/1") };
        assert_eq!(senders.sender(&request), expected);
        assert_eq!(senders.sender(&TestRequest::default().to_http_request()), Sender::default());
    }

    proptest! {
        /// However a sender fills the header, its address is the one that the proxy saw.
        #[test]
        fn a_sender_can_not_choose_its_address(forged in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut header = forged;
            header.extend_from_slice(b", 203.0.113.9");
            let sender = sender_address("10.0.0.1".parse().expect("an address"), &[&header], &trusted());
            prop_assert_eq!(sender, "203.0.113.9".parse().ok());
        }
    }
}
