//! The privacy floor: a raw listener id and a full address go no further than the edge.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{ListenerKey, NetworkId};

const CONTEXT: &str = "segue 2026 listener key v1";

/// What a listener's key is made from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ListenerSubject<'a> {
    /// The player's id of a listener: lasts.
    Listener(&'a str),
    /// The player's id of a session, when nobody may be known: two sessions of one person are strangers.
    Session(&'a str),
}

/// The secret that turns raw ids into keys. Without it nobody can tell which key a raw id has.
#[derive(Clone)]
pub struct ListenerSecret([u8; 32]);

impl ListenerSecret {
    /// The secret from 32 random bytes, kept by the installation for ever: another secret makes every listener a stranger.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        // A key of its own for this purpose, so that one configured secret could serve several.
        Self(blake3::derive_key(CONTEXT, secret))
    }

    /// The listener's key in a network: the first 16 bytes of keyed BLAKE3 over network id, kind and raw id.
    #[must_use]
    pub fn key(&self, network_id: NetworkId, subject: ListenerSubject<'_>) -> ListenerKey {
        let (kind, raw) = match subject {
            ListenerSubject::Listener(raw) => (b'l', raw),
            ListenerSubject::Session(raw) => (b's', raw),
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&network_id.to_bytes()).update(&[kind]).update(raw.as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        match subject {
            ListenerSubject::Listener(_) => ListenerKey::of_account(key),
            ListenerSubject::Session(_) => ListenerKey::of_session(key),
        }
    }
}

impl fmt::Debug for ListenerSecret {
    /// Nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerSecret(..)")
    }
}

/// An address cut so that it names a neighbourhood, not a home: IPv4 to /24, IPv6 to /48.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TruncatedIp {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

impl TruncatedIp {
    /// Cuts an address. An IPv4 address written as IPv6 is cut as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(*address.octets().first_chunk().expect("4 bytes hold 3")),
            IpAddr::V6(address) => Self::V6(*address.octets().first_chunk().expect("16 bytes hold 6")),
        }
    }

    /// The bytes: 3 or 6.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }

    /// The address from its 3 or 6 bytes; `None` for any other number.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            3 => bytes.try_into().ok().map(Self::V4),
            6 => bytes.try_into().ok().map(Self::V6),
            _ => None,
        }
    }
}

impl fmt::Display for TruncatedIp {
    /// As a network, e.g. `192.0.2.0/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c]) => write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Self::V6(bytes) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(&bytes);
                write!(f, "{}/48", Ipv6Addr::from(octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // INV-20.
    #[test]
    fn addresses_are_cut() {
        let check = |address: &str, cut: &str| {
            let truncated = TruncatedIp::of(address.parse().expect("an address"));
            assert_eq!(truncated.to_string(), cut);
            assert_eq!(TruncatedIp::from_bytes(truncated.as_bytes()), Some(truncated));
        };
        check("192.0.2.77", "192.0.2.0/24");
        check("::ffff:192.0.2.77", "192.0.2.0/24");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48");
        assert_eq!(TruncatedIp::from_bytes(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn listener_keys_depend_on_everything_they_are_made_from() {
        let secret = ListenerSecret::new(&[7; 32]);
        let network = NetworkId::from_u128(1);
        let key = secret.key(network, ListenerSubject::Listener("ada"));
        assert_eq!(key, secret.key(network, ListenerSubject::Listener("ada")));
        assert_ne!(key, secret.key(network, ListenerSubject::Session("ada")));
        assert_ne!(key, secret.key(network, ListenerSubject::Listener("adb")));
        assert_ne!(key, secret.key(NetworkId::from_u128(2), ListenerSubject::Listener("ada")));
        assert_ne!(key, ListenerSecret::new(&[8; 32]).key(network, ListenerSubject::Listener("ada")));
        assert_eq!(format!("{secret:?}"), "ListenerSecret(..)");
    }
}
