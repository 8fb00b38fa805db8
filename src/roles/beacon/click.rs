//! Where a click leads.
//!
//! Only what stands in the catalogue says so: the creative's own URL, https, with macros for a few facts of the ad. Nothing of the request
//! reaches the host, and what reaches path and query is percent-encoded to the unreserved characters, so that no value can begin a new
//! parameter, path segment or host (INV-34). A URL that slipped past the catalogue's rules is judged again here.

use std::fmt::Write as _;

use crate::events::{BeaconRecord, EventId};
use crate::model::{Approval, BeaconEvent, Creative, Status, WallMs};

/// Longest destination in bytes: beyond this, proxies and browsers refuse the header that carries it.
pub const DESTINATION_BYTES_MAX: usize = 8_192;

/// The macros that a click URL may hold, written `[NAME]` behind its host.
pub const CLICK_MACROS: [&str; 9] = [
    "CLICKID",
    "TIMESTAMP",
    "CACHEBUSTING",
    "ADVERTISERID",
    "CAMPAIGNID",
    "LINEITEMID",
    "CREATIVEID",
    "PLACEMENT",
    "COUNTRY",
];

/// Why a click leads nowhere. The click itself is recorded all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum NoDestination {
    /// The catalogue has no creative of that id.
    #[error("the ad's creative is not in the catalogue")]
    UnknownCreative,
    /// The creative was archived.
    #[error("the ad's creative was archived")]
    Archived,
    /// The creative, as it is now, has not been approved: where it leads has not been looked at.
    #[error("the ad's creative is not approved as it is now")]
    NotApproved,
    /// The creative leads nowhere.
    #[error("the ad's creative has no click URL")]
    NoClickUrl,
    /// The creative's URL is none that a listener is sent to.
    #[error("the ad's click URL is not a plain https URL of at most {DESTINATION_BYTES_MAX} bytes")]
    Refused,
}

impl NoDestination {
    /// A stable name for metrics and problem details.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCreative => "creative_unknown",
            Self::Archived => "creative_archived",
            Self::NotApproved => "creative_not_approved",
            Self::NoClickUrl => "no_click_url",
            Self::Refused => "click_url_refused",
        }
    }
}

/// Where the click that was recorded leads, given the creative that the catalogue has under the ad's creative id.
///
/// # Errors
/// [`NoDestination`] when it leads nowhere.
pub fn destination(
    creative: Option<&Creative>,
    ad: &BeaconRecord,
    clicked_at: WallMs,
) -> Result<String, NoDestination> {
    let creative = creative.filter(|creative| creative.id == ad.creative_id && creative.network_id == ad.network_id);
    let creative = creative.ok_or(NoDestination::UnknownCreative)?;
    if creative.status == Status::Archived {
        return Err(NoDestination::Archived);
    }
    // A preview is how an operator looks at what is not approved yet.
    if creative.approval != Approval::Approved && !ad.preview {
        return Err(NoDestination::NotApproved);
    }
    let click_url = creative.click_url.as_deref().ok_or(NoDestination::NoClickUrl)?;
    expand(click_url, |name| value(name, ad, clicked_at)).ok_or(NoDestination::Refused)
}

/// Whether a listener can be sent to the URL: the catalogue takes no other.
#[must_use]
pub fn is_click_url(url: &str) -> bool {
    expand(url, |_| None).is_some()
}

/// The value of a macro; `None` where there is no such macro.
fn value(name: &str, ad: &BeaconRecord, clicked_at: WallMs) -> Option<String> {
    Some(match name {
        // Derived like the event's own id: the same click has the same id on every server.
        "CLICKID" => EventId::of_beacon(ad.impression_id, BeaconEvent::Click).to_string(),
        "TIMESTAMP" => clicked_at.to_rfc3339(),
        "CACHEBUSTING" => format!("{:08}", clicked_at.0.rem_euclid(100_000_000)),
        "ADVERTISERID" => ad.advertiser_id.to_string(),
        "CAMPAIGNID" => ad.campaign_id.to_string(),
        "LINEITEMID" => ad.line_item_id.to_string(),
        "CREATIVEID" => ad.creative_id.to_string(),
        "PLACEMENT" => ad.placement.as_str().to_owned(),
        "COUNTRY" => ad.country.map(|letters| String::from_utf8_lossy(&letters).into_owned()).unwrap_or_default(),
        _ => return None,
    })
}

/// The URL with its macros replaced, as a header can carry it; `None` when it is no plain https URL.
fn expand(click_url: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let rest = click_url.strip_prefix("https://")?;
    let (authority, mut rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !is_plain_authority(authority) {
        return None;
    }
    let mut url = format!("https://{authority}");
    while let Some(next) = rest.chars().next() {
        if let Some((name, after)) = macro_at(rest)
            && let Some(value) = value(name)
        {
            push_encoded(&mut url, &value);
            rest = after;
        } else {
            push_url_char(&mut url, next);
            rest = &rest[next.len_utf8()..];
        }
        if url.len() > DESTINATION_BYTES_MAX {
            return None;
        }
    }
    Some(url)
}

/// A host name or address with an optional port, and nothing that two readers of URLs could understand in two ways.
fn is_plain_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
        Some(_) => return false,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let bracketed = authority.starts_with('[');
    let host_fits = bracketed
        || (host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && host.bytes().any(|byte| byte.is_ascii_alphanumeric()));
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| is_digits(digits) && digits.parse::<u16>().is_ok());
    host_fits && port_fits
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The macro that the text begins with, and what follows it.
fn macro_at(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('[')?.split_once(']')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase())).then_some((name, after))
}

/// A macro's value: everything but the unreserved characters (RFC 3986) is percent-encoded.
fn push_encoded(url: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            percent_encode(url, byte);
        }
    }
}

/// A character of the URL itself: kept where a URL may hold it, else percent-encoded. Brackets are not kept: behind the host they are macros.
fn push_url_char(url: &mut String, next: char) {
    const KEPT: &str = "-._~:/?#@!$&'()*+,;=%";
    if next.is_ascii_alphanumeric() || KEPT.contains(next) {
        url.push(next);
    } else {
        next.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| percent_encode(url, byte));
    }
}

fn percent_encode(url: &mut String, byte: u8) {
    let _ = write!(url, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::samples;
    use crate::model::CreativeId;

    const AT: WallMs = WallMs(1_790_000_000_123);

    fn creative(click_url: &str) -> Creative {
        let (status, approval) = (Status::Active, Approval::Approved);
        Creative { click_url: Some(click_url.to_owned()), status, approval, ..samples::creative() }
    }

    fn leads_to(click_url: &str) -> Result<String, NoDestination> {
        destination(Some(&creative(click_url)), &samples::paid_beacon(), AT)
    }

    #[test]
    fn a_click_leads_to_the_creatives_url() {
        let check = |click_url: &str, expected: &str| {
            assert_eq!(leads_to(click_url).as_deref(), Ok(expected), "{click_url}");
        };
        check("https://shop.example/spring", "https://shop.example/spring");
        check("https://shop.example", "https://shop.example");
        check("https://shop.example:8443/a?b=c#d", "https://shop.example:8443/a?b=c#d");
        check("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443/");
        check("https://shop.example/?to=https://other.example/", "https://shop.example/?to=https://other.example/");
        check("https://shop.example/å b\\c\"<>", "https://shop.example/%C3%A5%20b%5Cc%22%3C%3E");
        check("https://shop.example/\r\nSet-Cookie: a=b", "https://shop.example/%0D%0ASet-Cookie:%20a=b");
    }

    #[test]
    fn macros_of_the_list_are_expanded_and_others_are_text() {
        let check = |query: &str, expected: &str| {
            let leads = leads_to(&format!("https://shop.example/?{query}"));
            assert_eq!(leads.as_deref(), Ok(format!("https://shop.example/?{expected}").as_str()));
        };
        check("a=[PLACEMENT]&c=[COUNTRY]", "a=between-tracks&c=se");
        check("t=[TIMESTAMP]", "t=2026-09-21T14%3A13%3A20.123Z");
        check("x=[LISTENERID]&y=[country]&z=[]&[", "x=%5BLISTENERID%5D&y=%5Bcountry%5D&z=%5B%5D&%5B");
        check("[[COUNTRY]]", "%5Bse%5D");
        for name in CLICK_MACROS {
            let leads = leads_to(&format!("https://shop.example/[{name}]")).expect("leads there");
            assert!(leads.len() > "https://shop.example/".len() && !leads.contains(['[', '%']) || name == "TIMESTAMP");
        }
        let click = EventId::of_beacon(samples::paid_beacon().impression_id, BeaconEvent::Click);
        check("id=[CLICKID]", &format!("id={click}"));
    }

    #[test]
    fn a_macro_stays_out_of_the_host() {
        for click_url in ["https://[COUNTRY].example/", "https://[PLACEMENT]/", "https://shop.example:[CACHEBUSTING]/"]
        {
            assert_eq!(leads_to(click_url), Err(NoDestination::Refused), "{click_url}");
        }
    }

    #[test]
    fn a_click_that_leads_nowhere_says_why() {
        let ad = samples::paid_beacon();
        let good = creative("https://shop.example/");
        let check = |creative: Option<&Creative>, expected| assert_eq!(destination(creative, &ad, AT), Err(expected));
        check(None, NoDestination::UnknownCreative);
        check(Some(&Creative { id: CreativeId::from_u128(1), ..good.clone() }), NoDestination::UnknownCreative);
        check(Some(&Creative { status: Status::Archived, ..good.clone() }), NoDestination::Archived);
        check(Some(&Creative { click_url: None, ..good.clone() }), NoDestination::NoClickUrl);
        let pending = Creative { approval: Approval::Pending, ..good.clone() };
        check(Some(&pending), NoDestination::NotApproved);
        let preview = BeaconRecord { preview: true, ..ad.clone() };
        assert!(destination(Some(&pending), &preview, AT).is_ok());
        assert!(destination(Some(&Creative { status: Status::Paused, ..good }), &ad, AT).is_ok());
        assert_eq!(
            leads_to(&format!("https://a.example/{}", "[PLACEMENT]".repeat(1_000))),
            Err(NoDestination::Refused)
        );
    }

    /// The host that a browser would go to (WHATWG: a backslash ends the authority as a slash does, tabs and line ends are dropped).
    fn browsers_host(url: &str) -> Option<String> {
        let url: String = url.chars().filter(|letter| !matches!(letter, '\t' | '\r' | '\n')).collect();
        let rest = url.trim_start().strip_prefix("https:")?.trim_start_matches(['/', '\\']);
        let authority = rest.split(['/', '\\', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        (!host.is_empty()).then(|| host.to_owned())
    }

    proptest! {
        /// INV-34: whatever stands in the catalogue, a redirect is https to the host that stands there, in visible ASCII.
        #[test]
        fn a_redirect_goes_to_the_host_in_the_catalogue(
            host in "[a-z]{1,8}(\\.[a-z]{1,5})?", rest in "([/?#]|)\\PC{0,20}(\\[[A-Z]{0,9}\\]|[\\\\@\t\r\n])?\\PC{0,10}",
        ) {
            let click_url = format!("https://{host}{rest}");
            if let Ok(url) = leads_to(&click_url) {
                prop_assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
                let stated = click_url["https://".len()..].split(['/', '?', '#']).next().expect("has a first part");
                prop_assert_eq!(browsers_host(&url), Some(stated.to_owned()));
            }
        }
    }
}
