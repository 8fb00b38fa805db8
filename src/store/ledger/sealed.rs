//! Rows of entries and checkpoints: the record as it stands in the log, and the version of whoever wrote it; and of the sums between them.

use prost::Message;

use super::rows::{ROW_VERSION, RowError, check};
use crate::accounting::Sums;
use crate::events::{self, Checkpoint, Delivered, LedgerEntry, TrialBalance};
use crate::model::{AdvertiserId, Day};

#[derive(Clone, PartialEq, Message)]
struct SealedRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// The message of `segue.v1`.
    #[prost(bytes = "vec", tag = "2")]
    record: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SumsRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    entries: u64,
    /// Sums of 128 bits: 16 bytes, big-endian.
    #[prost(bytes = "vec", tag = "3")]
    advertisers: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    networks: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    house: Vec<u8>,
    #[prost(sint64, tag = "6")]
    impressions: i64,
    #[prost(sint64, tag = "7")]
    billed: i64,
    #[prost(sint64, tag = "8")]
    unbilled: i64,
    #[prost(bytes = "vec", tag = "9")]
    billed_micros: Vec<u8>,
    #[prost(uint64, tag = "10")]
    applied_until: u64,
}

fn seal(record: Vec<u8>) -> Vec<u8> {
    SealedRow { version: ROW_VERSION, record }.encode_to_vec()
}

fn unseal(bytes: &[u8]) -> Result<Vec<u8>, RowError> {
    let row = SealedRow::decode(bytes)?;
    check(row.version)?;
    Ok(row.record)
}

/// Beginning of the keys of an advertiser's entries of days before `day`, and of that day on.
pub(super) fn entries_from(advertiser_id: AdvertiserId, day: Day) -> Vec<u8> {
    let day = day.0.cast_unsigned() ^ (1 << 31);
    [&advertiser_id.to_bytes()[..], &day.to_be_bytes()].concat()
}

/// Key of an entry: advertiser, day, number.
pub(super) fn entry_key(entry: &LedgerEntry) -> Vec<u8> {
    [entries_from(entry.advertiser_id, entry.advertiser_day), entry.number.to_be_bytes().to_vec()].concat()
}

/// An entry as it is kept.
#[must_use]
pub(super) fn encode_entry(entry: &LedgerEntry) -> Vec<u8> {
    seal(events::encode_entry(entry))
}

/// An entry from its row, which must stand under its own name.
pub(super) fn read_entry(key: &[u8], bytes: &[u8]) -> Result<LedgerEntry, RowError> {
    let entry = events::decode_entry(&unseal(bytes)?).map_err(|_| RowError::Field("an entry"))?;
    if entry_key(&entry) == key { Ok(entry) } else { Err(RowError::Key) }
}

/// A checkpoint as it is kept; its key is its number.
#[must_use]
pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    seal(events::encode_checkpoint(checkpoint))
}

/// A checkpoint from its row, which must stand under its own number.
pub(super) fn read_checkpoint(key: &[u8], bytes: &[u8]) -> Result<Checkpoint, RowError> {
    let checkpoint = events::decode_checkpoint(&unseal(bytes)?).map_err(|_| RowError::Field("a checkpoint"))?;
    if checkpoint.number.to_be_bytes() == key { Ok(checkpoint) } else { Err(RowError::Key) }
}

/// The sums as they are kept.
#[must_use]
pub(super) fn encode_sums(sums: &Sums) -> Vec<u8> {
    let Sums { trial, delivered, applied_until } = *sums;
    SumsRow {
        version: ROW_VERSION,
        entries: trial.entries,
        advertisers: trial.advertisers.to_be_bytes().to_vec(),
        networks: trial.networks.to_be_bytes().to_vec(),
        house: trial.house.to_be_bytes().to_vec(),
        impressions: delivered.impressions,
        billed: delivered.billed,
        unbilled: delivered.unbilled,
        billed_micros: delivered.billed_micros.to_be_bytes().to_vec(),
        applied_until,
    }
    .encode_to_vec()
}

/// The sums from their row.
///
/// # Errors
/// [`RowError`].
pub(super) fn decode_sums(bytes: &[u8]) -> Result<Sums, RowError> {
    let row = SumsRow::decode(bytes)?;
    check(row.version)?;
    let wide = |bytes: &[u8]| bytes.try_into().map(i128::from_be_bytes).map_err(|_| RowError::Field("a sum"));
    Ok(Sums {
        trial: TrialBalance {
            entries: row.entries,
            advertisers: wide(&row.advertisers)?,
            networks: wide(&row.networks)?,
            house: wide(&row.house)?,
        },
        delivered: Delivered {
            impressions: row.impressions,
            billed: row.billed,
            unbilled: row.unbilled,
            billed_micros: wide(&row.billed_micros)?,
        },
        applied_until: row.applied_until,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::events::samples;

    fn sums() -> Sums {
        let checkpoint = samples::checkpoint();
        Sums { trial: checkpoint.trial, delivered: checkpoint.delivered, applied_until: 10_017 }
    }

    #[test]
    fn rows_round_trip_under_their_own_names() {
        let (entry, checkpoint) = (samples::settlement(), samples::checkpoint());
        assert_eq!(read_entry(&entry_key(&entry), &encode_entry(&entry)), Ok(entry.clone()));
        assert_eq!(read_entry(b"another", &encode_entry(&entry)), Err(RowError::Key));
        assert_eq!(read_checkpoint(&3_u64.to_be_bytes(), &encode_checkpoint(&checkpoint)), Ok(checkpoint));
        assert_eq!(read_checkpoint(&4_u64.to_be_bytes(), &encode_checkpoint(&checkpoint)), Err(RowError::Key));
        assert_eq!(decode_sums(&encode_sums(&sums())), Ok(sums()));
    }

    #[test]
    fn keys_sort_by_day() {
        let days = [i32::MIN, -1, 0, 1, i32::MAX];
        let keys: Vec<_> = days.iter().map(|day| entries_from(AdvertiserId::from_u128(1), Day(*day))).collect();
        assert!(keys.is_sorted());
    }

    #[test]
    fn rows_of_a_newer_version_are_refused() {
        let newer = SealedRow { version: ROW_VERSION + 1, record: Vec::new() }.encode_to_vec();
        assert_eq!(read_entry(&[], &newer), Err(RowError::Newer(ROW_VERSION + 1)));
        assert_eq!(read_checkpoint(&[], &newer), Err(RowError::Newer(ROW_VERSION + 1)));
        let newer = SumsRow { version: ROW_VERSION + 1, ..SumsRow::default() }.encode_to_vec();
        assert_eq!(decode_sums(&newer), Err(RowError::Newer(ROW_VERSION + 1)));
    }

    /// The bytes on disk: rewritten only with `UPDATE_GOLDEN=1`.
    #[test]
    fn the_bytes_stay_readable() {
        let rows = [
            ("entry", encode_entry(&samples::settlement())),
            ("checkpoint", encode_checkpoint(&samples::checkpoint())),
            ("sums", encode_sums(&sums())),
        ];
        let mut text = String::new();
        for (name, bytes) in rows {
            write!(text, "{name} ").expect("to a String");
            for byte in bytes {
                write!(text, "{byte:02x}").expect("to a String");
            }
            text.push('\n');
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/ledger_sealed_rows.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("writable");
        }
        assert_eq!(std::fs::read_to_string(&golden).expect("the golden file"), text);
    }
}
