//! What can be wrong with a record.

/// A record that can't be read. Whose fault it is: the writer's, or the disk's; trying again does not help.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EventError {
    /// Not Protobuf.
    #[error("the record is not a Protobuf message of segue.v1")]
    Protobuf(#[source] prost::DecodeError),
    /// A field that every reader needs is absent.
    #[error("{field} is missing")]
    Missing {
        /// The field, as `message.field`.
        field: &'static str,
    },
    /// A field holds what it can't.
    #[error("{field} is invalid: {reason}")]
    Invalid {
        /// The field, as `message.field`.
        field: &'static str,
        /// What was expected.
        reason: &'static str,
    },
    /// The record says something that this version has no word for: it was written by a newer one.
    #[error("{field} holds a kind that this version does not know")]
    UnknownKind {
        /// The field, as `message.field`.
        field: &'static str,
    },
}
