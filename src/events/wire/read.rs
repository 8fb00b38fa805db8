//! Checked reading of single fields.

use crate::events::EventError;
use crate::model::DecisionId;
use crate::model::{AppKey, AssetFile, CreativeId, ImpressionId, LeaseId, Micros, PlacementKey, WallMs, Zone};

use super::proto;

/// The result of reading a field.
pub(super) type Read<T> = Result<T, EventError>;

/// A field that must be there.
pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Read<T> {
    value.ok_or(EventError::Missing { field })
}

/// An error about what a field holds.
pub(super) const fn invalid(field: &'static str, reason: &'static str) -> EventError {
    EventError::Invalid { field, reason }
}

/// Sixteen bytes: an id, a pseudonym.
pub(super) fn id(field: &'static str, bytes: &[u8]) -> Read<[u8; 16]> {
    if bytes.is_empty() {
        return Err(EventError::Missing { field });
    }
    bytes.try_into().map_err(|_| invalid(field, "expected 16 bytes"))
}

/// A moment that must be there.
pub(super) fn wall(field: &'static str, ms: Option<i64>) -> Read<WallMs> {
    required(field, ms).map(WallMs)
}

/// Money that must be there.
pub(super) fn micros(field: &'static str, amount: Option<i64>) -> Read<Micros> {
    required(field, amount).map(Micros)
}

/// A number that is narrower in the domain than on the wire.
pub(super) fn narrow<T: TryFrom<u32>>(field: &'static str, number: u32) -> Read<T> {
    T::try_from(number).map_err(|_| invalid(field, "out of range"))
}

/// The name of a file that Segue keeps.
pub(super) fn asset_file(field: &'static str, name: &str) -> Read<AssetFile> {
    name.parse().map_err(|_| invalid(field, "expected a hash and an ending"))
}

/// A zone's IANA name.
pub(super) fn zone(field: &'static str, name: &str) -> Read<Zone> {
    if name.is_empty() {
        return Err(EventError::Missing { field });
    }
    Zone::named(name).map_err(|_| invalid(field, "expected an IANA time zone"))
}

/// A placement's key.
pub(super) fn placement(field: &'static str, key: &str) -> Read<PlacementKey> {
    if key.is_empty() {
        return Err(EventError::Missing { field });
    }
    PlacementKey::new(key).ok_or(invalid(field, "expected 1 to 128 visible ASCII characters"))
}

/// An app's key.
pub(super) fn app(field: &'static str, key: &str) -> Read<AppKey> {
    if key.is_empty() {
        return Err(EventError::Missing { field });
    }
    AppKey::new(key).ok_or(invalid(field, "expected 1 to 128 visible ASCII characters"))
}

/// Degrees of latitude or longitude, at most `limit` either way; never infinite, never NaN.
pub(super) fn degrees(field: &'static str, degrees: f64, limit: f64) -> Read<f64> {
    if (-limit..=limit).contains(&degrees) { Ok(degrees) } else { Err(invalid(field, "out of range")) }
}

/// Each of a list.
pub(super) fn each<W, D>(list: Vec<W>, read: impl FnMut(W) -> Read<D>) -> Read<Vec<D>> {
    list.into_iter().map(read).collect()
}

/// An impression's name on the wire.
pub(super) fn impression_to_wire(impression_id: ImpressionId) -> proto::ImpressionId {
    use proto::impression_id::Owner;
    let (owner, number) = match impression_id {
        ImpressionId::Leased { lease_id, ordinal } => (Owner::LeaseId(lease_id.to_bytes().into()), ordinal),
        ImpressionId::Unleased { decision_id, slot } => {
            (Owner::DecisionId(decision_id.to_bytes().into()), u32::from(slot))
        }
    };
    proto::ImpressionId { owner: Some(owner), number }
}

/// An impression's name.
pub(super) fn impression(field: &'static str, wire: Option<proto::ImpressionId>) -> Read<ImpressionId> {
    use proto::impression_id::Owner;
    let wire = required(field, wire)?;
    match required(field, wire.owner)? {
        Owner::LeaseId(bytes) => {
            Ok(ImpressionId::Leased { lease_id: LeaseId::from_bytes(id(field, &bytes)?), ordinal: wire.number })
        }
        Owner::DecisionId(bytes) => Ok(ImpressionId::Unleased {
            decision_id: DecisionId::from_bytes(id(field, &bytes)?),
            slot: narrow(field, wire.number)?,
        }),
    }
}

/// Creative ids.
pub(super) fn creative_ids(field: &'static str, list: Vec<Vec<u8>>) -> Read<Vec<CreativeId>> {
    each(list, |bytes| id(field, &bytes).map(CreativeId::from_bytes))
}
