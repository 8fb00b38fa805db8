//! Ids. Time-ordered UUIDs (version 7, RFC 9562) wrapped so that one kind can't stand where another is meant.
//!
//! Ids are not drawn here: the caller passes the time and the random bytes.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::time::WallMs;

/// A text that is not an id: not a UUID in its hyphenated form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a UUID such as 0190a2b4-7c1e-7000-8000-000000000001")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is known to name this kind of thing.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as 128 bits, big-endian order of the UUID's bytes.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }

            /// The id from its 128 bits.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The UUID itself.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The id's sixteen bytes, as they stand on the wire.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id from its sixteen bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// A new id, ordered by `at` (UUIDv7: 48 bits of milliseconds, then `random`).
            #[must_use]
            pub fn at(at: WallMs, random: [u8; 10]) -> Self {
                let ms = u64::try_from(at.0).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the hyphenated form: one thing, one spelling, so that an id compares as text too.
                if text.len() != 36 {
                    return Err(IdError);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError)
            }
        }
    };
}

id!(
    /// A network: the streaming company, the tenant.
    NetworkId
);
id!(
    /// An advertiser of a network.
    AdvertiserId
);
id!(
    /// A campaign of an advertiser.
    CampaignId
);
id!(
    /// A line item of a campaign.
    LineItemId
);
id!(
    /// A creative of an advertiser.
    CreativeId
);
id!(
    /// An API key (not its secret).
    ApiKeyId
);
id!(
    /// A lease of money from accounting to one boot of one server.
    LeaseId
);
id!(
    /// One answer to one ad break.
    DecisionId
);
id!(
    /// A server, across restarts.
    ServerId
);
id!(
    /// One run of a server, from start to stop.
    BootId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_by_time_and_round_trip() {
        let early = LineItemId::at(WallMs(1_000), [255; 10]);
        let late = LineItemId::at(WallMs(1_001), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<LineItemId>(), Ok(early));
        assert_eq!(LineItemId::from_bytes(early.to_bytes()), early);
        assert_eq!(LineItemId::from_u128(early.as_u128()), early);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        for text in ["", "x", "0190a2b47c1e70008000000000000001", "{0190a2b4-7c1e-7000-8000-000000000001}"] {
            assert_eq!(text.parse::<LineItemId>(), Err(IdError), "{text:?}");
        }
    }
}
