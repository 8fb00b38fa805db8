//! What happened, as records that are kept: one envelope, one body.
//!
//! These are the domain's types; on the wire and on disk they are Protobuf (`schemas/segue/v1/`), converted at this module's edge by
//! [`encode`] and [`decode`]. An id of an event is derived from what it tells, never drawn, so the same happening recorded twice (a retry, a
//! crash, another server) has one id, and whoever reads drops the second.

mod beacon;
mod decision;
mod envelope;
mod lease;

pub use beacon::BeaconRecord;
pub use decision::{ChosenAdRecord, DecisionRecord, ListenerView, RequestRecord, SpendReadRecord};
pub use envelope::{Envelope, Event, EventId, EventKey, Stream, TraceId};
pub use lease::{BudgetLevel, LeaseClosed, LeaseGranted, LevelLimit};
