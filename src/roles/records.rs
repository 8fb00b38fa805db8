//! Events as records of the event log.

use crate::event_log::{NewRecord, Topic};
use crate::events::{self, Envelope, LineItemDelivery, Stream};

/// The record of an event: its topic, its key and its bytes.
#[must_use]
pub fn encode(envelope: &Envelope) -> NewRecord {
    NewRecord {
        topic: topic(envelope.body.stream()),
        key: envelope.body.key().to_vec(),
        payload: events::encode(envelope),
    }
}

/// The record that says how a line item stands.
#[must_use]
pub fn of_delivery(delivery: &LineItemDelivery) -> NewRecord {
    let (key, payload) = (delivery.line_item_id.to_bytes().to_vec(), events::encode_delivery(delivery));
    NewRecord { topic: Topic::Delivery, key, payload }
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
