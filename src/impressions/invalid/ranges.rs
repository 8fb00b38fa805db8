//! Networks of addresses, and whether an address is in one of them.
//!
//! Networks become disjoint ranges in order, IPv4 and IPv6 apart; a look-up is a binary search. An IPv4 address written as IPv6
//! (`::ffff:192.0.2.1`) is the IPv4 address, in networks and in look-ups.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::list::{self, ListError};

/// Most networks in one list: all published ranges of the large clouds are some 100,000.
pub const RANGES_MAX: usize = 1_000_000;

/// A network as people write it: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressRange {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RangeError {
    /// No address before the slash.
    #[error("expected an IP address or a network such as 192.0.2.0/24, found {0:?}")]
    Address(String),
    /// The number behind the slash does not fit.
    #[error("expected 1 to {max} behind the slash, found {found:?}")]
    Prefix {
        /// The most that fits the kind of address.
        max: u8,
        /// What stands there.
        found: String,
    },
    /// The address has bits that the network does not fix: one of the two is mistyped.
    #[error("{address} is no network of /{prefix}: did you mean {network}/{prefix}?")]
    HostBits {
        /// The address.
        address: IpAddr,
        /// The number behind the slash.
        prefix: u8,
        /// The network that the address is in.
        network: IpAddr,
    },
}

impl AddressRange {
    /// First and last address as numbers; the kinds of address are told apart by the range's own.
    fn bounds(self) -> (u128, u128) {
        let first = number(self.address);
        (first, first | host_mask(self.address, self.prefix))
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (address_text, prefix_text) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address_text.parse().map_err(|_| RangeError::Address(text.to_owned()))?;
        let address = written.to_canonical();
        // A network of IPv4 addresses written as IPv6 counts its bits from the front of the IPv6 address.
        let mapped_bits = if written == address { 0 } else { 96 };
        let max = bits(written);
        let prefix = match prefix_text {
            None => bits(address),
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| (1 + mapped_bits..=max).contains(prefix))
                .map(|prefix| prefix - mapped_bits)
                .ok_or_else(|| RangeError::Prefix { max, found: digits.to_owned() })?,
        };
        let mask = host_mask(address, prefix);
        if number(address) & mask != 0 {
            let network = of_number(number(address) & !mask, address);
            return Err(RangeError::HostBits { address, prefix, network });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A set of networks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressRanges {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl AddressRanges {
    /// The addresses that are in any of the networks.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            if range.address.is_ipv4() { &mut v4 } else { &mut v6 }.push(range.bounds());
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// The networks of a list: one a line, with comments from `#` to the line's end.
    ///
    /// # Errors
    /// [`ListError`] with the line that is no network, or when there are more than [`RANGES_MAX`].
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let ranges =
            list::entries(text, RANGES_MAX, |entry| entry.parse::<AddressRange>().map_err(|error| error.to_string()))?;
        Ok(Self::of(ranges))
    }

    /// Whether the address is in one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let (ranges, number) = (if address.is_ipv4() { &self.v4 } else { &self.v6 }, number(address));
        // Ranges are disjoint and in order: only the last that begins at or before the address can hold it.
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).is_some_and(|place| ranges[place].1 >= number)
    }

    /// Whether there is no network.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// The ranges in order, those that touch or overlap made one.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.shrink_to_fit();
    merged
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of that number, of the same kind as another.
fn of_number(number: u128, kind: IpAddr) -> IpAddr {
    match (kind, u32::try_from(number)) {
        (IpAddr::V4(_), Ok(number)) => IpAddr::V4(number.into()),
        _ => IpAddr::V6(number.into()),
    }
}

/// The bits of an address that a network of this prefix leaves open.
fn host_mask(address: IpAddr, prefix: u8) -> u128 {
    let open = bits(address) - prefix;
    // A shift by all 128 bits would overflow; a prefix is at least 1.
    1_u128.checked_shl(u32::from(open)).map_or(u128::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_are_read_and_told_apart_from_what_is_none() {
        let good = |text: &str, shown: &str| {
            assert_eq!(text.parse::<AddressRange>().map(|range| range.to_string()).as_deref(), Ok(shown), "{text}");
        };
        good("192.0.2.0/24", "192.0.2.0/24");
        good("192.0.2.7", "192.0.2.7/32");
        good("2001:db8::/32", "2001:db8::/32");
        good("2001:db8::1", "2001:db8::1/128");
        good("::ffff:192.0.2.0/120", "192.0.2.0/24");
        let bad = |text: &str, reason: &str| {
            let error = text.parse::<AddressRange>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        };
        bad("", "expected an IP address or a network");
        bad("example.com", "found \"example.com\"");
        bad("10.0.0/8", "expected an IP address");
        bad("10.0.0.0/33", "expected 1 to 32 behind the slash, found \"33\"");
        bad("0.0.0.0/0", "expected 1 to 32");
        bad("2001:db8::/129", "expected 1 to 128");
        bad("::ffff:10.0.0.0/8", "behind the slash");
        bad("10.0.0.0/", "found \"\"");
        bad("10.0.0.0/8/8", "found \"8/8\"");
        bad("10.1.0.0/8", "10.1.0.0 is no network of /8: did you mean 10.0.0.0/8?");
    }

    #[test]
    fn a_list_names_the_line_that_is_wrong() {
        let list = "# ours\n192.0.2.0/24 # documentation\n\n2001:db8::/32\r\n";
        let ranges = AddressRanges::parse(list).expect("a list");
        for (address, inside) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.0", false),
            ("2001:db8:f::1", true),
            ("::1", false),
        ] {
            assert_eq!(ranges.contains(address.parse().expect("an address")), inside, "{address}");
        }
        let error = AddressRanges::parse("192.0.2.0/24\n\n192.0.2/24\n").expect_err("no address");
        assert_eq!((error.line, error.to_string().starts_with("line 3: expected an IP address")), (3, true), "{error}");
        assert!(AddressRanges::parse("# nothing\n").expect("a list").is_empty());
    }

    /// Whether the first `prefix` bits agree, one by one.
    fn naive_contains(range: AddressRange, address: IpAddr) -> bool {
        let bits_of = |address: IpAddr| -> Vec<bool> {
            let octets = match address.to_canonical() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
        };
        let (network, address) = (bits_of(range.address), bits_of(address));
        network.len() == address.len() && network.iter().zip(&address).take(range.prefix.into()).all(|(a, b)| a == b)
    }

    /// Few addresses close to each other, so that networks overlap and touch; both ends of the number range among them.
    fn any_address() -> impl Strategy<Value = IpAddr> {
        let few = prop_oneof![0_u32..40, (u32::MAX - 40)..=u32::MAX, 0x0A00_0000_u32..0x0A00_0010];
        let few6 = prop_oneof![0_u128..40, (u128::MAX - 40)..=u128::MAX, (1_u128 << 64)..((1 << 64) + 16)];
        prop_oneof![
            few.prop_map(|number| IpAddr::V4(Ipv4Addr::from(number))),
            few6.prop_map(|number| IpAddr::V6(Ipv6Addr::from(number)).to_canonical()),
        ]
    }

    fn any_range() -> impl Strategy<Value = AddressRange> {
        (any_address(), 0_u8..10, any::<bool>()).prop_map(|(address, open, wide)| {
            let prefix = if wide { 1 + open } else { bits(address) - open };
            let network = of_number(number(address) & !host_mask(address, prefix), address);
            AddressRange { address: network, prefix }
        })
    }

    proptest! {
        #[test]
        fn ranges_hold_what_their_networks_hold(
            ranges in proptest::collection::vec(any_range(), 0..12), addresses in proptest::collection::vec(any_address(), 1..40),
        ) {
            let set = AddressRanges::of(ranges.iter().copied());
            for address in addresses {
                let expected = ranges.iter().any(|range| naive_contains(*range, address));
                prop_assert_eq!(set.contains(address), expected, "{} in {:?}", address, ranges);
            }
            for kind in [&set.v4, &set.v6] {
                prop_assert!(kind.is_sorted_by(|a, b| a.1 < b.0), "disjoint and in order");
            }
            for range in ranges {
                prop_assert_eq!(range.to_string().parse(), Ok(range));
            }
        }
    }
}
