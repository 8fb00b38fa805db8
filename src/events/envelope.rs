//! The envelope around every event, and the id of each.

use std::fmt;
use std::ops::Deref;

use super::{
    BeaconRecord, CatalogRecord, Checkpoint, DecisionRecord, EntryCause, LeaseClosed, LeaseGranted, LeaseReturned,
    LedgerRecord, Reversal,
};
use crate::catalog::EntityId;
use crate::model::{BeaconEvent, BootId, DecisionId, ImpressionId, LeaseId, ServerId, WallMs};

/// What names an event (INV-15). Derived from what happened, so that the same happening has the same id wherever and however often it is recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// The id of a beacon: the first 16 bytes of BLAKE3 over the impression id's bytes and the event's name.
    #[must_use]
    pub fn of_beacon(impression_id: ImpressionId, event: BeaconEvent) -> Self {
        Self::digest(&[&impression_id.to_bytes(), event.name().as_bytes()])
    }

    /// The id of a lease's grant.
    #[must_use]
    pub fn of_lease_granted(lease_id: LeaseId) -> Self {
        Self::digest(&[b"lease-granted:", &lease_id.to_bytes()])
    }

    /// The id of a lease's return.
    #[must_use]
    pub fn of_lease_returned(lease_id: LeaseId) -> Self {
        Self::digest(&[b"lease-returned:", &lease_id.to_bytes()])
    }

    /// The id of the reversal of an impression's charge.
    #[must_use]
    pub fn of_reversal(impression_id: ImpressionId) -> Self {
        Self::digest(&[b"reversal:", &impression_id.to_bytes()])
    }

    /// The id of a lease's end.
    #[must_use]
    pub fn of_lease_closed(lease_id: LeaseId) -> Self {
        Self::digest(&[b"lease-closed:", &lease_id.to_bytes()])
    }

    /// The id of an entry of the ledger: one for a lease, one for a reversal, whoever posts it.
    #[must_use]
    pub fn of_entry(cause: &EntryCause) -> Self {
        match cause {
            EntryCause::Settlement { lease_id, .. } => Self::digest(&[b"entry:settlement:", &lease_id.to_bytes()]),
            EntryCause::Reversal { impression_id, .. } => {
                Self::digest(&[b"entry:reversal:", &impression_id.to_bytes()])
            }
        }
    }

    /// The id of a checkpoint: what it says is in it.
    #[must_use]
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self::digest(&[b"checkpoint:", &super::encode_checkpoint(checkpoint)])
    }

    /// The id of a decision's record.
    #[must_use]
    pub fn of_decision(decision_id: DecisionId) -> Self {
        Self::digest(&[b"decision:", &decision_id.to_bytes()])
    }

    /// The id of an entity's revision.
    #[must_use]
    pub fn of_revision(entity_id: EntityId, number: u64) -> Self {
        Self::digest(&[b"revision:", &entity_id.to_bytes(), &number.to_be_bytes()])
    }

    /// The id of a dead letter: of what its record holds, not of where it lies, so that a record that was replayed in vain comes back to its letter.
    #[must_use]
    pub fn of_dead_letter(topic: &str, key: &[u8], payload_digest: &[u8; 32]) -> Self {
        Self::digest(&[b"dead-letter:", topic.as_bytes(), b":", payload_digest, key])
    }

    fn digest(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

impl fmt::Display for EventId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// The W3C trace id of the request that an event came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TraceId(pub [u8; 16]);

/// One event as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope {
    /// Names the event; whoever reads drops a second one of the same id.
    pub event_id: EventId,
    /// When it happened.
    pub occurred_at: WallMs,
    /// When the server that recorded it learned of it; what "late" is judged by.
    pub received_at: WallMs,
    /// The server that recorded it.
    pub server_id: ServerId,
    /// The run of that server.
    pub boot_id: BootId,
    /// The request that it came from.
    pub trace_id: Option<TraceId>,
    /// What happened.
    pub body: Event,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Accounting gave money to a server to draw from.
    LeaseGranted(LeaseGranted),
    /// A server gave back what it had not drawn of a lease.
    LeaseReturned(LeaseReturned),
    /// A lease is over: nothing drawn from it can be billed any more.
    LeaseClosed(LeaseClosed),
    /// A charge was taken back.
    Reversal(Box<Reversal>),
    /// A player told what became of an ad, or the server gave it up (`void`).
    Beacon(Box<BeaconRecord>),
    /// An ad break was answered.
    Decision(Box<DecisionRecord>),
    /// An entity of the catalogue was changed.
    Catalog(Box<CatalogRecord>),
    /// The ledger: an entry was posted, or a checkpoint sealed.
    Ledger(Box<LedgerRecord>),
}

/// The stream that an event is kept in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stream {
    /// Money: leases and billable beacons.
    Events,
    /// What else players tell.
    Engagement,
    /// The decision log.
    Decisions,
    /// Changes of the catalogue.
    Catalog,
    /// Entries of the ledger.
    Ledger,
}

impl Stream {
    /// The topic's name.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Events => "segue.events",
            Self::Engagement => "segue.engagement",
            Self::Decisions => "segue.decisions",
            Self::Catalog => "segue.catalog",
            Self::Ledger => "segue.ledger",
        }
    }
}

/// The key that decides an event's partition. Dereferences to its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EventKey {
    bytes: [u8; 21],
    length: usize,
}

impl EventKey {
    /// A key of sixteen bytes.
    fn of_id(id: [u8; 16]) -> Self {
        let mut bytes = [0; 21];
        bytes[..16].copy_from_slice(&id);
        Self { bytes, length: 16 }
    }

    /// A key of a partition's number.
    fn of_partition(partition: u32) -> Self {
        let mut bytes = [0; 21];
        bytes[..4].copy_from_slice(&partition.to_be_bytes());
        Self { bytes, length: 4 }
    }
}

impl Deref for EventKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Event {
    /// The stream it belongs to.
    #[must_use]
    pub fn stream(&self) -> Stream {
        match self {
            Self::LeaseGranted(_) | Self::LeaseReturned(_) | Self::LeaseClosed(_) | Self::Reversal(_) => Stream::Events,
            Self::Beacon(beacon) if beacon.event.is_money() => Stream::Events,
            Self::Beacon(_) => Stream::Engagement,
            Self::Decision(_) => Stream::Decisions,
            Self::Catalog(_) => Stream::Catalog,
            Self::Ledger(_) => Stream::Ledger,
        }
    }

    /// The key of its partition: the advertiser for all that touches an advertiser's money, so that one partition holds all of it; the
    /// impression for what nobody pays for; the decision for the decision log; the entity for the catalogue; the
    /// partition for a checkpoint.
    #[must_use]
    pub fn key(&self) -> EventKey {
        match self {
            Self::LeaseGranted(lease) => EventKey::of_id(lease.advertiser_id.to_bytes()),
            Self::LeaseReturned(lease) => EventKey::of_id(lease.advertiser_id.to_bytes()),
            Self::LeaseClosed(lease) => EventKey::of_id(lease.advertiser_id.to_bytes()),
            Self::Reversal(reversal) => EventKey::of_id(reversal.advertiser_id.to_bytes()),
            Self::Beacon(beacon) => match beacon.impression_id {
                ImpressionId::Leased { .. } => EventKey::of_id(beacon.advertiser_id.to_bytes()),
                ImpressionId::Unleased { .. } => EventKey { bytes: beacon.impression_id.to_bytes(), length: 21 },
            },
            Self::Decision(decision) => EventKey::of_id(decision.decision_id.to_bytes()),
            Self::Catalog(record) => EventKey::of_id(record.revision.entity.id().to_bytes()),
            Self::Ledger(record) => match &**record {
                LedgerRecord::Entry(entry) => EventKey::of_id(entry.advertiser_id.to_bytes()),
                LedgerRecord::Checkpoint(checkpoint) => EventKey::of_partition(checkpoint.partition),
            },
        }
    }

    /// The event's derived id.
    #[must_use]
    pub fn id(&self) -> EventId {
        match self {
            Self::LeaseGranted(lease) => EventId::of_lease_granted(lease.lease_id),
            Self::LeaseReturned(lease) => EventId::of_lease_returned(lease.lease_id),
            Self::LeaseClosed(lease) => EventId::of_lease_closed(lease.lease_id),
            Self::Reversal(reversal) => EventId::of_reversal(reversal.impression_id),
            Self::Beacon(beacon) => EventId::of_beacon(beacon.impression_id, beacon.event),
            Self::Decision(decision) => EventId::of_decision(decision.decision_id),
            Self::Catalog(record) => EventId::of_revision(record.revision.entity.id(), record.revision.number),
            Self::Ledger(record) => match &**record {
                LedgerRecord::Entry(entry) => EventId::of_entry(&entry.cause),
                LedgerRecord::Checkpoint(checkpoint) => EventId::of_checkpoint(checkpoint),
            },
        }
    }
}
