//! Events as records of the event log.

use crate::event_log::{NewRecord, Topic};
use crate::events::{self, Envelope, Stream};

/// The record of an event: its topic, its key and its bytes.
#[must_use]
pub fn encode(envelope: &Envelope) -> NewRecord {
    NewRecord {
        topic: topic(envelope.body.stream()),
        key: envelope.body.key().to_vec(),
        payload: events::encode(envelope),
    }
}

/// The topic of a stream.
#[must_use]
pub const fn topic(stream: Stream) -> Topic {
    match stream {
        Stream::Events => Topic::Events,
        Stream::Engagement => Topic::Engagement,
        Stream::Decisions => Topic::Decisions,
        Stream::Catalog => Topic::Catalog,
        Stream::Ledger => Topic::Ledger,
    }
}
