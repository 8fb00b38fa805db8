//! The envelope.

use super::proto::{self, envelope::Body};
use super::read::{Read, id, wall};
use super::{beacon, catalog, decision, lease, ledger, reversal};
use crate::events::{Envelope, Event, EventError, EventId, LedgerRecord, SCHEMA_VERSION, TraceId};
use crate::model::{BootId, ServerId};

pub(in crate::events) fn envelope_to_wire(envelope: &Envelope) -> proto::Envelope {
    proto::Envelope {
        event_id: envelope.event_id.0.into(),
        occurred_at_ms: Some(envelope.occurred_at.0),
        received_at_ms: Some(envelope.received_at.0),
        server_id: envelope.server_id.to_bytes().into(),
        boot_id: envelope.boot_id.to_bytes().into(),
        trace_id: envelope.trace_id.map(|trace| trace.0.into()),
        schema_version: SCHEMA_VERSION,
        body: Some(match &envelope.body {
            Event::LeaseGranted(granted) => Body::LeaseGranted(lease::granted_to_wire(granted)),
            Event::LeaseReturned(returned) => Body::LeaseReturned(lease::returned_to_wire(returned)),
            Event::LeaseClosed(closed) => Body::LeaseClosed(lease::closed_to_wire(closed)),
            Event::Reversal(record) => Body::Reversal(reversal::to_wire(record)),
            Event::Beacon(record) => Body::Beacon(beacon::to_wire(record)),
            Event::Decision(record) => Body::Decision(decision::to_wire(record)),
            Event::Catalog(record) => Body::Catalog(catalog::record_to_wire(record)),
            Event::Ledger(record) => match &**record {
                LedgerRecord::Entry(entry) => Body::LedgerEntry(ledger::entry_to_wire(entry)),
                LedgerRecord::Checkpoint(checkpoint) => Body::Checkpoint(ledger::checkpoint_to_wire(checkpoint)),
            },
        }),
    }
}

pub(in crate::events) fn envelope_from_wire(wire: proto::Envelope) -> Read<Envelope> {
    if wire.schema_version == 0 {
        return Err(EventError::Missing { field: "envelope.schema_version" });
    }
    let trace_id = wire.trace_id.map(|bytes| id("envelope.trace_id", &bytes)).transpose()?;
    Ok(Envelope {
        event_id: EventId(id("envelope.event_id", &wire.event_id)?),
        occurred_at: wall("envelope.occurred_at_ms", wire.occurred_at_ms)?,
        received_at: wall("envelope.received_at_ms", wire.received_at_ms)?,
        server_id: ServerId::from_bytes(id("envelope.server_id", &wire.server_id)?),
        boot_id: BootId::from_bytes(id("envelope.boot_id", &wire.boot_id)?),
        trace_id: trace_id.map(TraceId),
        body: match wire.body.ok_or(EventError::UnknownKind { field: "envelope.body" })? {
            Body::LeaseGranted(granted) => Event::LeaseGranted(lease::granted_from_wire(granted)?),
            Body::LeaseReturned(returned) => Event::LeaseReturned(lease::returned_from_wire(&returned)?),
            Body::LeaseClosed(closed) => Event::LeaseClosed(lease::closed_from_wire(&closed)?),
            Body::Reversal(record) => Event::Reversal(Box::new(reversal::from_wire(record)?)),
            Body::Beacon(record) => Event::Beacon(Box::new(beacon::from_wire(record)?)),
            Body::Decision(record) => Event::Decision(Box::new(decision::from_wire(record)?)),
            Body::Catalog(record) => Event::Catalog(Box::new(catalog::record_from_wire(record)?)),
            Body::LedgerEntry(entry) => Event::Ledger(Box::new(LedgerRecord::Entry(ledger::entry_from_wire(entry)?))),
            Body::Checkpoint(checkpoint) => {
                Event::Ledger(Box::new(LedgerRecord::Checkpoint(ledger::checkpoint_from_wire(&checkpoint)?)))
            }
        },
    })
}
