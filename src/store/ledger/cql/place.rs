//! Where a row of the ledger lies in CQL: its table and its partition, from its key alone. Fixed for ever: nothing else knows where a row is.

use scylla::value::CqlValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{AdvertiserId, Day, ImpressionId, LeaseId, LineItemId, WallMs};
use crate::store::ledger::redo::Table;
use crate::store::ledger::rows::{self, RowError};

/// Links of the chain in a partition: 2^26 records, a link every 256 of them.
const SEAL_BLOCK_BITS: u32 = 26;
/// Partitions of an advertiser's day.
pub(super) const DATED_BUCKETS: i32 = 16;
/// Days of delivery totals of a line item in a partition.
const STRETCH_DAYS: i32 = 32;
/// How far the day that is in a lease's name, which is UTC's, may be from its day in the advertiser's zone.
pub(super) const NAME_DAYS_APART: i32 = 1;

/// A table in CQL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum CqlTable {
    Meta,
    Servers,
    Checkpoints,
    Seals,
    Balances,
    Leases,
    Loose,
    /// Reversals that are still remembered.
    Reversed,
    Past,
    Reversals,
    Entries,
    /// Delivery totals by line item.
    Delivery,
    /// The same by day.
    DeliveryDays,
}

/// A row's place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Place {
    pub(super) table: CqlTable,
    /// Values of the partition's columns.
    pub(super) partition: Vec<CqlValue>,
    /// The row's key there.
    pub(super) key: Vec<u8>,
}

impl CqlTable {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "ledger_meta",
            Self::Servers => "ledger_servers",
            Self::Checkpoints => "ledger_checkpoints",
            Self::Seals => "ledger_seals",
            Self::Balances => "ledger_balances",
            Self::Leases => "ledger_leases",
            Self::Loose => "ledger_loose",
            Self::Reversed => "ledger_reversed",
            Self::Past => "ledger_leases_past",
            Self::Reversals => "ledger_reversals",
            Self::Entries => "ledger_entries",
            Self::Delivery => "ledger_delivery",
            Self::DeliveryDays => "ledger_delivery_days",
        }
    }

    /// The columns of its partitions; a row's key is `key` in all of them, the row `row`.
    pub(super) const fn partition(self) -> &'static [&'static str] {
        match self {
            Self::Meta | Self::Servers | Self::Checkpoints => &["part"],
            Self::Seals => &["part", "block"],
            Self::Balances | Self::Leases | Self::Loose | Self::Reversed => &["part", "bucket"],
            Self::Past | Self::Reversals | Self::Entries => &["advertiser", "day", "bucket"],
            Self::Delivery => &["line_item", "stretch"],
            Self::DeliveryDays => &["part", "day", "bucket"],
        }
    }

    /// How many buckets a part has there.
    pub(super) const fn buckets(self) -> i32 {
        match self {
            Self::Balances | Self::Reversed => 16,
            Self::Leases => 64,
            Self::Loose => 128,
            Self::Past | Self::Reversals | Self::Entries | Self::DeliveryDays => DATED_BUCKETS,
            Self::Meta | Self::Servers | Self::Checkpoints | Self::Seals | Self::Delivery => 1,
        }
    }

    /// Which of its buckets a row is in.
    pub(super) fn bucket(self, hashed: &[u8]) -> i32 {
        let buckets = u64::from(self.buckets().unsigned_abs());
        i32::try_from(xxh3_64(hashed) % buckets).expect("less than the number of buckets")
    }
}

/// A part's number as CQL has it.
pub(super) fn part_value(part: u32) -> CqlValue {
    CqlValue::Int(part.cast_signed())
}

/// The places of a row: some rows are kept for two ways of reading them.
///
/// # Errors
/// [`RowError`] for a key of the wrong shape.
pub(super) fn places(part: u32, table: Table, key: &[u8]) -> Result<Vec<Place>, RowError> {
    let of_part = |table: CqlTable| Place { table, partition: vec![part_value(part)], key: key.to_vec() };
    let bucketed = |table: CqlTable| in_bucket(part, table, key);
    Ok(match table {
        Table::Meta => vec![of_part(CqlTable::Meta)],
        Table::Servers => vec![of_part(CqlTable::Servers)],
        Table::Checkpoints => vec![of_part(CqlTable::Checkpoints)],
        Table::Seals => {
            let records = u64::from_be_bytes(key.try_into().map_err(|_| RowError::Key)?);
            let block = i32::try_from(records >> SEAL_BLOCK_BITS).unwrap_or(i32::MAX);
            let partition = vec![part_value(part), CqlValue::Int(block)];
            vec![Place { table: CqlTable::Seals, partition, key: key.to_vec() }]
        }
        Table::Balances => vec![bucketed(CqlTable::Balances)],
        Table::Leases => vec![bucketed(CqlTable::Leases)],
        Table::Loose => vec![bucketed(CqlTable::Loose)],
        Table::Past => {
            let (advertiser_id, lease_id) = rows::read_lease_key(key)?;
            vec![past(advertiser_id, lease_id)]
        }
        Table::Reversals => {
            let (advertiser_id, impression) = key.split_at_checked(16).ok_or(RowError::Key)?;
            let advertiser_id = AdvertiserId::from_bytes(advertiser_id.try_into().map_err(|_| RowError::Key)?);
            let impression_id = ImpressionId::from_bytes(impression).ok_or(RowError::Key)?;
            vec![reversal(advertiser_id, impression_id), bucketed(CqlTable::Reversed)]
        }
        Table::Entries => {
            let (head, number) = key.split_at_checked(20).ok_or(RowError::Key)?;
            let advertiser_id = AdvertiserId::from_bytes(head[..16].try_into().map_err(|_| RowError::Key)?);
            let day = u32::from_be_bytes(head[16..].try_into().map_err(|_| RowError::Key)?) ^ (1 << 31);
            let bucket = CqlTable::Entries.bucket(number);
            vec![dated(CqlTable::Entries, advertiser_id, Day(day.cast_signed()), bucket, key.to_vec())]
        }
        Table::Delivery => {
            let at = rows::read_delivery_key(key)?;
            vec![delivery_of_line(at.line_item_id, at.hour, part), delivery_of_day(part, at.line_item_id, at.hour, key)]
        }
    })
}

/// A row of a table whose rows are spread over a part's buckets.
pub(super) fn in_bucket(part: u32, table: CqlTable, key: &[u8]) -> Place {
    Place { table, partition: vec![part_value(part), CqlValue::Int(table.bucket(key))], key: key.to_vec() }
}

/// The partition of an advertiser's day.
pub(super) fn dated_partition(advertiser_id: AdvertiserId, day: Day, bucket: i32) -> Vec<CqlValue> {
    vec![CqlValue::Blob(advertiser_id.to_bytes().to_vec()), CqlValue::Int(day.0), CqlValue::Int(bucket)]
}

fn dated(table: CqlTable, advertiser_id: AdvertiserId, day: Day, bucket: i32, key: Vec<u8>) -> Place {
    Place { table, partition: dated_partition(advertiser_id, day, bucket), key }
}

/// A past lease's place: by the day in its name, which whoever asks for it knows.
pub(super) fn past(advertiser_id: AdvertiserId, lease_id: LeaseId) -> Place {
    let bucket = CqlTable::Past.bucket(&lease_id.to_bytes());
    let key = rows::lease_key(advertiser_id, lease_id);
    dated(CqlTable::Past, advertiser_id, name_day(lease_id.to_bytes()), bucket, key)
}

/// A reversal's place, by the day in the name of its impression.
pub(super) fn reversal(advertiser_id: AdvertiserId, impression_id: ImpressionId) -> Place {
    let named = match impression_id {
        ImpressionId::Leased { lease_id, .. } => lease_id.to_bytes(),
        ImpressionId::Unleased { decision_id, .. } => decision_id.to_bytes(),
    };
    let key = crate::store::ledger::reversals::key(advertiser_id, impression_id);
    let bucket = CqlTable::Reversals.bucket(&key);
    dated(CqlTable::Reversals, advertiser_id, name_day(named), bucket, key)
}

/// The UTC day of a time-ordered name: its first six bytes are milliseconds.
pub(super) fn name_day(id: [u8; 16]) -> Day {
    let mut ms = [0; 8];
    ms[2..].copy_from_slice(&id[..6]);
    Day::utc_of(WallMs(i64::from_be_bytes(ms)))
}

/// The part stands in the key: what nobody pays for is in the log by its impression, so that a line item's totals are of several parts.
fn delivery_of_line(line_item_id: LineItemId, hour: WallMs, part: u32) -> Place {
    let mut key = line_hour_key(hour).to_vec();
    key.extend_from_slice(&part.to_be_bytes());
    Place { table: CqlTable::Delivery, partition: line_partition(line_item_id, stretch(hour)), key }
}

fn delivery_of_day(part: u32, line_item_id: LineItemId, hour: WallMs, key: &[u8]) -> Place {
    let bucket = CqlTable::DeliveryDays.bucket(&line_item_id.to_bytes());
    Place {
        table: CqlTable::DeliveryDays,
        partition: day_partition(part, Day::utc_of(hour), bucket),
        key: key.to_vec(),
    }
}

/// The beginning of the keys of an hour, in a line item's partition.
pub(super) fn line_hour_key(hour: WallMs) -> [u8; 8] {
    (hour.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The hour of such a key.
pub(super) fn read_line_hour_key(key: &[u8]) -> Result<WallMs, RowError> {
    let key: &[u8; 12] = key.try_into().map_err(|_| RowError::Key)?;
    let hour: [u8; 8] = key[..8].try_into().map_err(|_| RowError::Key)?;
    Ok(WallMs((u64::from_be_bytes(hour) ^ (1 << 63)).cast_signed()))
}

/// Which stretch of days a line item's totals of an hour are in.
pub(super) fn stretch(hour: WallMs) -> i32 {
    Day::utc_of(hour).0.div_euclid(STRETCH_DAYS)
}

pub(super) fn line_partition(line_item_id: LineItemId, stretch: i32) -> Vec<CqlValue> {
    vec![CqlValue::Blob(line_item_id.to_bytes().to_vec()), CqlValue::Int(stretch)]
}

pub(super) fn day_partition(part: u32, day: Day, bucket: i32) -> Vec<CqlValue> {
    vec![part_value(part), CqlValue::Int(day.0), CqlValue::Int(bucket)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::DeliveryKey;

    /// If this fails, the code is wrong, not the test: rows lie at these places.
    #[test]
    fn a_row_keeps_its_place_for_ever() {
        let (advertiser, lease) = (AdvertiserId::from_u128(1), LeaseId::at(WallMs(1_790_000_000_123), [7; 10]));
        let line_item_id = LineItemId::from_u128(2);
        let key = rows::lease_key(advertiser, lease);
        let at = |place: &Place| (place.table.name(), place.partition.clone());
        let int = CqlValue::Int;
        let blob = |n: u128| CqlValue::Blob(n.to_be_bytes().to_vec());
        let hot = places(3, Table::Leases, &key).expect("a place");
        assert_eq!(hot.iter().map(at).collect::<Vec<_>>(), [("ledger_leases", vec![int(3), int(LEASE_BUCKET)])]);
        let past = places(3, Table::Past, &key).expect("a place");
        let place = ("ledger_leases_past", vec![blob(1), int(20_717), int(PAST_BUCKET)]);
        assert_eq!(past.iter().map(at).collect::<Vec<_>>(), [place]);
        let hour = WallMs(1_790_000_000_000).hour_start();
        let totals = places(3, Table::Delivery, &rows::delivery_key(DeliveryKey { line_item_id, hour })).expect("two");
        let by_line = ("ledger_delivery", vec![blob(2), int(647)]);
        let by_day = ("ledger_delivery_days", vec![int(3), int(20_717), int(DAY_BUCKET)]);
        assert_eq!(totals.iter().map(at).collect::<Vec<_>>(), [by_line, by_day]);
        assert_eq!(read_line_hour_key(&totals[0].key), Ok(hour));
        let sealed = places(3, Table::Seals, &(1_u64 << 27).to_be_bytes()).expect("a place");
        assert_eq!(sealed.iter().map(at).collect::<Vec<_>>(), [("ledger_seals", vec![int(3), int(2)])]);
    }

    const LEASE_BUCKET: i32 = 7;
    const PAST_BUCKET: i32 = 3;
    const DAY_BUCKET: i32 = 15;

    #[test]
    fn keys_of_the_wrong_shape_have_no_place() {
        for table in [Table::Past, Table::Reversals, Table::Entries, Table::Delivery, Table::Seals] {
            assert_eq!(places(0, table, &[1, 2, 3]), Err(RowError::Key), "{table:?}");
        }
    }
}
