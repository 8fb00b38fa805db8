//! Topics, their partitions, and which journal they live in.

use std::fmt;
use std::str::FromStr;

/// Most partitions of a topic: each costs whoever owns it some memory.
const PARTITIONS_MAX: u32 = 4_096;

/// What an event is about. Names and codes are fixed for ever: they stand in journals and in Kafka.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Money: leases granted and closed, impressions, completes, clicks, voids. Key: advertiser.
    Events,
    /// Quartiles, skips, mutes. Key: impression.
    Engagement,
    /// What accounting tells servers: leases, throttles, standings. Key: server.
    Leases,
    /// Totals and throttles. Key: line item.
    Delivery,
    /// Ledger entries. Key: advertiser.
    Ledger,
    /// Revisions of the catalogue. One partition.
    Catalog,
    /// The decision log. Key: decision.
    Decisions,
    /// What listeners played; for profiles. Key: listener.
    Listening,
    /// Events that could not be understood.
    DeadLetter,
    /// What servers tell accounting: that they are there, what they drew, how far they have shipped. Key: server.
    Servers,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 10] = [
        Self::Events,
        Self::Engagement,
        Self::Leases,
        Self::Delivery,
        Self::Ledger,
        Self::Catalog,
        Self::Decisions,
        Self::Listening,
        Self::DeadLetter,
        Self::Servers,
    ];

    /// The name, in Kafka and wherever people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "segue.events",
            Self::Engagement => "segue.engagement",
            Self::Leases => "segue.leases",
            Self::Delivery => "segue.delivery",
            Self::Ledger => "segue.ledger",
            Self::Catalog => "segue.catalog",
            Self::Decisions => "segue.decisions",
            Self::Listening => "segue.listening",
            Self::DeadLetter => "segue.dead-letter",
            Self::Servers => "segue.servers",
        }
    }

    /// The number that stands in the journal.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Events => 1,
            Self::Engagement => 2,
            Self::Leases => 3,
            Self::Delivery => 4,
            Self::Ledger => 5,
            Self::Catalog => 6,
            Self::Decisions => 7,
            Self::Listening => 8,
            Self::DeadLetter => 9,
            Self::Servers => 10,
        }
    }

    /// The topic with that code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.code() == code)
    }

    /// Whether its records are money or decide about money: synced before they are acknowledged, and never shed. The others are written,
    /// not synced, and shed first; they never delay the money.
    #[must_use]
    pub const fn is_money(self) -> bool {
        match self {
            Self::Events | Self::Leases | Self::Delivery | Self::Ledger | Self::Catalog | Self::DeadLetter => true,
            Self::Engagement | Self::Decisions | Self::Listening | Self::Servers => false,
        }
    }

    /// Partitions if nothing else is configured.
    const fn default_partitions(self) -> u32 {
        match self {
            Self::Events | Self::Engagement | Self::Ledger | Self::Decisions => 64,
            Self::Leases | Self::Delivery | Self::Listening => 16,
            Self::Catalog | Self::DeadLetter | Self::Servers => 1,
        }
    }

    const fn place(self) -> usize {
        self.code() as usize - 1
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no topic.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no topic")]
pub struct UnknownTopic(pub String);

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(name: &str) -> Result<Self, UnknownTopic> {
        Self::ALL.into_iter().find(|topic| topic.name() == name).ok_or_else(|| UnknownTopic(name.to_owned()))
    }
}

/// How many partitions each topic has. Fixed when a data directory is made: a key must stay in its partition for ever, because one owner
/// must see all that happens to it, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionCounts([u32; Topic::ALL.len()]);

impl Default for PartitionCounts {
    fn default() -> Self {
        Self(Topic::ALL.map(Topic::default_partitions))
    }
}

/// A partition count that can't be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PartitionCountError {
    /// Out of range.
    #[error("{topic} with {count} partitions: expected 1 to {PARTITIONS_MAX}")]
    Range {
        /// The topic.
        topic: Topic,
        /// Its count.
        count: u32,
    },
    /// The catalogue's offset is its version, so it has one order.
    #[error("segue.catalog with {0} partitions: it has exactly one")]
    Catalog(u32),
}

impl PartitionCounts {
    /// The same with another count for one topic.
    ///
    /// # Errors
    /// [`PartitionCountError`].
    pub fn with(mut self, topic: Topic, count: u32) -> Result<Self, PartitionCountError> {
        if !(1..=PARTITIONS_MAX).contains(&count) {
            return Err(PartitionCountError::Range { topic, count });
        }
        if topic == Topic::Catalog && count != 1 {
            return Err(PartitionCountError::Catalog(count));
        }
        self.0[topic.place()] = count;
        Ok(self)
    }

    /// The topic's number of partitions.
    #[must_use]
    pub const fn of(&self, topic: Topic) -> u32 {
        self.0[topic.place()]
    }

    /// The partition that holds a key's records.
    #[must_use]
    pub fn partition(&self, topic: Topic, key: &[u8]) -> u32 {
        partition(key, self.of(topic))
    }
}

/// The partition of a key among so many: the first eight bytes of its BLAKE3 hash, little-endian, modulo the count. Fixed for ever.
#[must_use]
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    let hash = blake3::hash(key);
    let head: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    u32::try_from(u64::from_le_bytes(head) % u64::from(partitions.max(1))).expect("less than a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_one_to_one() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_code(topic.code()), Some(topic));
            assert_eq!(topic.name().parse(), Ok(topic));
        }
        assert_eq!(Topic::from_code(0), None);
        assert_eq!("segue.nothing".parse::<Topic>(), Err(UnknownTopic("segue.nothing".into())));
    }

    #[test]
    fn a_key_keeps_its_partition_for_ever() {
        // These numbers stand in journals and in Kafka: if this test fails, the code is wrong, not the test. The first can be checked by hand:
        // the BLAKE3 hash of nothing begins with 0xaf, and 0xaf modulo 64 is 47.
        let keys: [(&[u8], u32); 6] =
            [(b"", 64), (b"a", 64), (b"advertiser", 64), (&[0; 16], 64), (&[255; 16], 4_096), (b"anything", 1)];
        assert_eq!(keys.map(|(key, partitions)| partition(key, partitions)), [47, 23, 45, 37, 1987, 0]);
    }

    #[test]
    fn keys_spread_evenly() {
        let mut counts = [0_u32; 64];
        for key in 0..64_000_u32 {
            counts[partition(&key.to_le_bytes(), 64) as usize] += 1;
        }
        // Standard deviation is 31: five of them.
        assert!(counts.iter().all(|count| (845..1_155).contains(count)), "{counts:?}");
    }

    #[test]
    fn impossible_counts_are_refused() {
        let counts = PartitionCounts::default();
        assert!(matches!(counts.with(Topic::Events, 0), Err(PartitionCountError::Range { .. })));
        assert!(matches!(counts.with(Topic::Events, 5_000), Err(PartitionCountError::Range { .. })));
        assert_eq!(counts.with(Topic::Catalog, 2), Err(PartitionCountError::Catalog(2)));
        assert_eq!(counts.with(Topic::Events, 8).map(|counts| counts.of(Topic::Events)), Ok(8));
    }
}
