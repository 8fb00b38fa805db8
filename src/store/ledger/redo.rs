//! The redo record of a commit: every row that it writes, whole, or that it removes. Applied once or many times, it leaves the same rows.
//!
//! A Protobuf message whose fields are only ever added. Tables have codes, keys and rows are those of the embedded keyspaces ([`super`]), so that both
//! stores have one format for each. A row stands in it once: what an embedded batch says last of a key is all that it says here.
//!
//! | code | table | key |
//! | --- | --- | --- |
//! | 1 | meta | `cursor`, `sums` |
//! | 2 | seals | records |
//! | 3 | balances | advertiser, level |
//! | 4 | leases, open or remembered | advertiser, lease |
//! | 5 | past leases | advertiser, lease |
//! | 6 | reversals | advertiser, impression |
//! | 7 | entries | advertiser, day, number |
//! | 8 | checkpoints | number |
//! | 9 | impressions without a lease | owner, impression |
//! | 10 | delivery totals | line item, hour |
//! | 11 | servers | server |

use std::collections::BTreeMap;

use prost::Message;

use super::rows::{self, RowError};
use super::{reversals, sealed, servers};
use crate::accounting::{Commit, DeliveryKey, DeliveryTotals};

/// Version that this build writes, and the newest that it reads.
const REDO_VERSION: u32 = 1;
/// Key of the cursor's row.
pub(super) const CURSOR: &[u8] = b"cursor";
/// Key of the sums' row.
pub(super) const SUMS: &[u8] = b"sums";

/// A table of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Table {
    Meta,
    Seals,
    Balances,
    Leases,
    Past,
    Reversals,
    Entries,
    Checkpoints,
    Loose,
    Delivery,
    Servers,
}

impl Table {
    pub(super) const ALL: [Self; 11] = [
        Self::Meta,
        Self::Seals,
        Self::Balances,
        Self::Leases,
        Self::Past,
        Self::Reversals,
        Self::Entries,
        Self::Checkpoints,
        Self::Loose,
        Self::Delivery,
        Self::Servers,
    ];

    /// Its number in a record; never reused.
    const fn code(self) -> u32 {
        match self {
            Self::Meta => 1,
            Self::Seals => 2,
            Self::Balances => 3,
            Self::Leases => 4,
            Self::Past => 5,
            Self::Reversals => 6,
            Self::Entries => 7,
            Self::Checkpoints => 8,
            Self::Loose => 9,
            Self::Delivery => 10,
            Self::Servers => 11,
        }
    }
}

/// What becomes of a commit's rows, by table and key: written whole, or removed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Changes(pub(super) BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>);

impl Changes {
    fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, row: impl Into<Vec<u8>>) {
        self.0.insert((table, key.into()), Some(row.into()));
    }

    fn set(&mut self, table: Table, key: Vec<u8>, row: Option<Vec<u8>>) {
        self.0.insert((table, key), row);
    }

    /// The rows of a commit, with the totals as they are after it.
    pub(super) fn of(commit: &Commit, totals: &BTreeMap<DeliveryKey, DeliveryTotals>) -> Self {
        let mut changes = Self::default();
        for (advertiser_id, level, balance) in &commit.balances {
            let key = rows::balance_key(*advertiser_id, *level);
            changes.set(Table::Balances, key, balance.as_ref().map(rows::encode_balance));
        }
        for reversal in &commit.reversals {
            let key = reversals::key(reversal.advertiser_id, reversal.impression_id);
            changes.put(Table::Reversals, key, reversals::encode(reversal));
        }
        for entry in &commit.sealed.entries {
            changes.put(Table::Entries, sealed::entry_key(entry), sealed::encode_entry(entry));
        }
        for checkpoint in &commit.sealed.checkpoints {
            let row = sealed::encode_checkpoint(checkpoint);
            changes.put(Table::Checkpoints, checkpoint.number.to_be_bytes(), row);
        }
        for (advertiser_id, lease) in &commit.leases {
            let key = rows::lease_key(*advertiser_id, lease.grant.lease_id);
            changes.put(Table::Leases, key, rows::encode_lease(lease));
        }
        for (advertiser_id, lease) in &commit.past {
            let key = rows::lease_key(*advertiser_id, lease.grant.lease_id);
            changes.set(Table::Leases, key.clone(), None);
            changes.put(Table::Past, key, rows::encode_lease(lease));
        }
        for (owner, impression_id, loose) in &commit.loose {
            let key = rows::loose_key(*owner, *impression_id);
            changes.set(Table::Loose, key, loose.as_ref().map(rows::encode_loose));
        }
        for (key, totals) in totals {
            changes.put(Table::Delivery, rows::delivery_key(*key), rows::encode_delivery(totals));
        }
        for seal in &commit.seals {
            changes.put(Table::Seals, seal.records.to_be_bytes(), seal.digest);
        }
        for entry in &commit.servers.entries {
            changes.put(Table::Servers, entry.server_id.to_bytes(), servers::encode_server(entry));
        }
        for server_id in &commit.servers.gone {
            changes.set(Table::Servers, server_id.to_bytes().to_vec(), None);
        }
        changes.put(Table::Meta, SUMS, sealed::encode_sums(&commit.sums));
        changes.put(Table::Meta, CURSOR, rows::encode_cursor(commit.cursor, commit.log_time, &commit.chain));
        changes
    }
}

#[derive(Clone, PartialEq, Message)]
struct RedoRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    part: u32,
    /// Which commit of the part it is.
    #[prost(uint64, tag = "3")]
    number: u64,
    /// By table and key.
    #[prost(message, repeated, tag = "4")]
    changes: Vec<ChangedRow>,
}

#[derive(Clone, PartialEq, Message)]
struct ChangedRow {
    #[prost(uint32, tag = "1")]
    table: u32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    /// Absent for one that is removed.
    #[prost(bytes = "vec", optional, tag = "3")]
    row: Option<Vec<u8>>,
}

/// The record of a commit.
pub(super) fn encode(part: u32, number: u64, changes: &Changes) -> Vec<u8> {
    let changed = |((table, key), row): (&(Table, Vec<u8>), &Option<Vec<u8>>)| ChangedRow {
        table: table.code(),
        key: key.clone(),
        row: row.clone(),
    };
    RedoRecord { version: REDO_VERSION, part, number, changes: changes.0.iter().map(changed).collect() }.encode_to_vec()
}

/// The rows of a record, which must be that part's and have that number.
///
/// # Errors
/// [`RowError`].
pub(super) fn decode(part: u32, number: u64, bytes: &[u8]) -> Result<Changes, RowError> {
    let record = RedoRecord::decode(bytes)?;
    match record.version {
        0 => return Err(RowError::Field("version")),
        1..=REDO_VERSION => {}
        newer => return Err(RowError::Newer(newer)),
    }
    if (record.part, record.number) != (part, number) {
        return Err(RowError::Key);
    }
    let mut changes = Changes::default();
    for ChangedRow { table, key, row } in record.changes {
        let table = Table::ALL.into_iter().find(|one| one.code() == table).ok_or(RowError::Field("a table"))?;
        if changes.0.insert((table, key), row).is_some() {
            return Err(RowError::Field("a row that stands there twice"));
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::accounting::testing::{ADVERTISER, line, settled_lease};
    use crate::accounting::{Balance, Chain, LevelId, Loose, Owner, RegisterChanges, Seal, Sealed};
    use crate::events::samples;
    use crate::model::{DecisionId, ImpressionId, ServerId, WallMs};

    fn commit() -> (Commit, BTreeMap<DeliveryKey, DeliveryTotals>) {
        let loose = ImpressionId::Unleased { decision_id: DecisionId::from_u128(9), slot: 1 };
        let commit = Commit {
            cursor: 7,
            log_time: WallMs(8),
            chain: Chain { records: 256, digest: [1; 32] },
            seals: vec![Seal { records: 256, digest: [1; 32] }],
            balances: vec![
                (ADVERTISER, LevelId::LineItem(line(1)), Some(Balance::default())),
                (ADVERTISER, LevelId::LineItem(line(2)), None),
            ],
            // It is remembered no more: the second word holds.
            leases: vec![(ADVERTISER, settled_lease(1, 0)), (ADVERTISER, settled_lease(2, 1))],
            past: vec![(ADVERTISER, settled_lease(1, 2))],
            reversals: vec![samples::reversal()],
            loose: vec![(Owner::Unpaid, loose, None)],
            servers: RegisterChanges { entries: Vec::new(), gone: vec![ServerId::from_u128(3)] },
            sealed: Sealed { entries: vec![samples::settlement()], checkpoints: vec![samples::checkpoint()] },
            ..Commit::default()
        };
        let totals = DeliveryTotals { starts: 5, ..DeliveryTotals::default() };
        let key = DeliveryKey { line_item_id: line(1), hour: WallMs(3_600_000) };
        assert_eq!(commit.loose[0].2, None::<Loose>);
        (commit, BTreeMap::from([(key, totals)]))
    }

    #[test]
    fn records_round_trip_and_wrong_ones_are_refused() {
        let (commit, totals) = commit();
        let changes = Changes::of(&commit, &totals);
        let bytes = encode(1, 2, &changes);
        assert_eq!(decode(1, 2, &bytes), Ok(changes.clone()));
        assert_eq!(decode(1, 3, &bytes), Err(RowError::Key));
        assert_eq!(decode(2, 2, &bytes), Err(RowError::Key));
        assert!(decode(1, 2, &bytes[..bytes.len() - 1]).is_err());
        assert_eq!(decode(0, 0, &[]), Err(RowError::Field("version")));
        let newer = RedoRecord { version: REDO_VERSION + 1, ..RedoRecord::default() }.encode_to_vec();
        assert_eq!(decode(0, 0, &newer), Err(RowError::Newer(REDO_VERSION + 1)));
        let row = ChangedRow { table: 12, ..ChangedRow::default() };
        let record = RedoRecord { version: 1, changes: vec![row.clone()], ..RedoRecord::default() };
        assert_eq!(decode(0, 0, &record.encode_to_vec()), Err(RowError::Field("a table")));
        let twice = vec![ChangedRow { table: 1, ..row }; 2];
        let record = RedoRecord { changes: twice, ..record };
        assert_eq!(decode(0, 0, &record.encode_to_vec()), Err(RowError::Field("a row that stands there twice")));
    }

    #[test]
    fn a_row_stands_there_once_with_the_last_word_of_it() {
        let (commit, totals) = commit();
        let changes = Changes::of(&commit, &totals);
        let key = |n| rows::lease_key(ADVERTISER, settled_lease(n, 0).grant.lease_id);
        assert_eq!(changes.0[&(Table::Leases, key(1))], None);
        assert!(changes.0[&(Table::Leases, key(2))].is_some());
        assert_eq!(changes.0[&(Table::Past, key(1))], Some(rows::encode_lease(&settled_lease(1, 2))));
    }

    /// The bytes on disk: rewritten only with `UPDATE_GOLDEN=1`.
    #[test]
    fn the_bytes_of_version_1_stay_readable() {
        let (commit, totals) = commit();
        let text = encode(1, 2, &Changes::of(&commit, &totals)).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("to a String");
            text
        });
        let text = format!("redo {text}\n");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/ledger_redo.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("writable");
        }
        assert_eq!(std::fs::read_to_string(&golden).expect("the golden file"), text);
    }
}
