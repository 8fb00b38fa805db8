//! Rows of charges that were taken back: the event as it stands in the log, so that both have one format.

use super::rows::RowError;
use crate::events::{self, Reversal};
use crate::model::{AdvertiserId, ImpressionId};

/// Key of a reversal: advertiser, impression.
pub(super) fn key(advertiser_id: AdvertiserId, impression_id: ImpressionId) -> Vec<u8> {
    [&advertiser_id.to_bytes()[..], &impression_id.to_bytes()].concat()
}

/// A reversal as it is kept.
pub(super) fn encode(reversal: &Reversal) -> Vec<u8> {
    events::encode_reversal(reversal)
}

/// A reversal from its row, which must stand under its own name.
pub(super) fn read(row_key: &[u8], value: &[u8]) -> Result<Reversal, RowError> {
    let reversal = events::decode_reversal(value).map_err(|_| RowError::Field("a reversal"))?;
    if row_key != key(reversal.advertiser_id, reversal.impression_id) {
        return Err(RowError::Key);
    }
    Ok(reversal)
}
