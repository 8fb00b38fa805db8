//! The recount against the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::recount::{CountedLease, Recount};
use super::{AuditRecord, AuditReport, LedgerRows};
use crate::accounting::{Balance, Bitmap, Chain, Lease, Returned};
use crate::model::{ImpressionId, Micros, PriceModel};

/// Whether the records are those that accounting applied, in that order. Names the first stretch that is not.
pub(super) fn chain(records: &[AuditRecord], ledger: &LedgerRows, report: &mut AuditReport) -> bool {
    let mut kept: BTreeMap<u64, [u8; 32]> = ledger.seals.iter().map(|seal| (seal.records, seal.digest)).collect();
    kept.insert(ledger.chain.records, ledger.chain.digest);
    kept.remove(&0);
    let mut chain = Chain::default();
    let mut good = 0;
    for record in records {
        chain.append(record.digest);
        if let Some(digest) = kept.remove(&chain.records) {
            if digest != chain.digest {
                let place = format!("{}, up to record {}", stretch(records, good), record.offset);
                report.differs("log_is_what_was_applied", place, hex(&digest), hex(&chain.digest));
                return false;
            }
            good = chain.records;
        }
    }
    if chain.records != ledger.chain.records {
        let place = format!("{}, to the ledger's cursor {}", stretch(records, good), ledger.cursor);
        let expected = format!("{} records applied", ledger.chain.records);
        report.differs("log_is_what_was_applied", place, expected, format!("{} records", chain.records));
        return false;
    }
    true
}

fn stretch(records: &[AuditRecord], good: u64) -> String {
    let first = usize::try_from(good).ok().and_then(|place| records.get(place));
    first.map_or_else(
        || "after the last record".to_owned(),
        |record| format!("{} from record {}", record.file, record.offset),
    )
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// In a log that is not the one applied: a record that follows its own copy. (A client's repeat differs in its times.)
pub(super) fn doubled(records: &[AuditRecord], report: &mut AuditReport) {
    for pair in records.windows(2) {
        if let [first, second] = pair
            && first.digest == second.digest
        {
            let place = format!("{} records {} and {}", second.file, first.offset, second.offset);
            let what = second.envelope.as_ref().map_or_else(Clone::clone, |envelope| match &envelope.body {
                crate::events::Event::Beacon(beacon) => {
                    format!("{} of impression {} twice", beacon.event.name(), beacon.impression_id)
                }
                crate::events::Event::LeaseGranted(grant) => format!("grant of lease {} twice", grant.lease_id),
                crate::events::Event::LeaseClosed(close) => format!("close of lease {} twice", close.lease_id),
                crate::events::Event::LeaseReturned(lease) => format!("return of lease {} twice", lease.lease_id),
                crate::events::Event::Reversal(reversal) => format!("reversal of {} twice", reversal.impression_id),
                crate::events::Event::Decision(_)
                | crate::events::Event::Catalog(_)
                | crate::events::Event::Ledger(_) => "an event twice".to_owned(),
            });
            report.differs("record_not_doubled", place, "each record once", what);
        }
    }
}

/// Each lease's row against the log.
pub(super) fn leases(recount: &Recount, ledger: &LedgerRows, report: &mut AuditReport) {
    let mut rows: BTreeMap<_, _> =
        ledger.leases.iter().map(|(owner, lease)| (lease.grant.lease_id, (owner, lease))).collect();
    if rows.len() != ledger.leases.len() {
        report.differs("lease_kept_once", "the ledger", ledger.leases.len(), rows.len());
    }
    for (lease_id, counted) in &recount.leases {
        let Some((owner, row)) = rows.remove(lease_id) else {
            report.differs("lease_in_ledger", format!("lease {lease_id}, {}", counted.place), "a row", "none");
            continue;
        };
        if *owner != counted.grant.advertiser_id || !same_grant(row, counted) {
            report.differs(
                "lease_terms",
                format!("lease {lease_id}, {}", counted.place),
                "the grant's terms",
                "others",
            );
        }
        lease(recount, counted, row, report);
    }
    for lease_id in rows.keys() {
        report.differs("lease_in_log", format!("lease {lease_id}"), "a grant in the log", "a row in the ledger alone");
    }
}

fn same_grant(row: &Lease, counted: &CountedLease) -> bool {
    let (row, grant) = (&row.grant, &counted.grant);
    (row.campaign_id, row.line_item_id, row.amount, row.max_ordinals)
        == (grant.campaign_id, grant.line_item_id, grant.amount, grant.max_ordinals)
        && row.network_id == grant.network_id
        && row.boot_id == grant.boot_id
        && row.server_id == grant.server_id
        && row.last_billable_until == grant.last_billable_until
        && row.draw_until == grant.draw_until
        && row.granted_at == grant.granted_at
        && row.price_model == grant.price_model
        && (row.advertiser_day, row.line_item_day) == (grant.advertiser_day, grant.line_item_day)
}

fn lease(recount: &Recount, counted: &CountedLease, row: &Lease, report: &mut AuditReport) {
    let lease_id = counted.grant.lease_id;
    let before = report.difference_count;
    let settled: BTreeSet<u32> = counted.settled.keys().copied().collect();
    let mut sets = |name, expected: &BTreeSet<u32>, bits: &Bitmap| {
        for ordinal in 0..counted.grant.max_ordinals {
            let (log, held) = (expected.contains(&ordinal), bits.contains(ordinal));
            if log != held {
                let id = ImpressionId::Leased { lease_id, ordinal };
                let records = recount.seen.get(&id).map_or_else(|| "no record".to_owned(), |places| places.join(", "));
                let say = |is| if is { "yes" } else { "no" };
                let place = format!("lease {lease_id} ordinal {ordinal} ({records})");
                report.differs(name, place, format!("log: {}", say(log)), format!("ledger: {}", say(held)));
            }
        }
    };
    let delivered: BTreeSet<u32> = counted.delivered.keys().copied().collect();
    sets("settled_ordinal", &settled, &row.settled);
    sets("delivered_ordinal", &delivered, &row.delivered);
    sets("heard_ordinal", &counted.heard, &row.heard);
    sets("voided_ordinal", &counted.voided, &row.voided);
    sets("started_ordinal", &counted.started, &row.started);
    sets("completed_ordinal", &counted.completed, &row.completed);
    sets("clicked_ordinal", &counted.clicked, &row.clicked);
    if counted.unbilled != row.unbilled {
        let place = format!("lease {lease_id}");
        report.differs("unbilled_ordinals", place, format!("{:?}", counted.unbilled), format!("{:?}", row.unbilled));
    }
    if counted.settled_micros != i128::from(row.settled_micros.0) {
        let place = format!("lease {lease_id}");
        report.differs("lease_settled_micros", place, counted.settled_micros, row.settled_micros.0);
    }
    if counted.digest() != row.digest {
        let place = format!("lease {lease_id}{}", odd_prices(recount, counted));
        report.differs("lease_digest", place, hex(&counted.digest()), hex(&row.digest));
    }
    let returned = counted.returned.as_ref().map(|(_, record)| Returned {
        drawn: record.drawn,
        drawn_count: record.drawn_count,
        at: record.returned_at,
    });
    if returned != row.returned {
        let place = format!("lease {lease_id}");
        report.differs("lease_returned", place, format!("{returned:?}"), format!("{:?}", row.returned));
    }
    let closed_at = counted.closed.as_ref().map(|(_, close, _)| close.closed_at);
    if closed_at != row.closed_at {
        report.differs(
            "lease_closed_at",
            format!("lease {lease_id}"),
            format!("{closed_at:?}"),
            format!("{:?}", row.closed_at),
        );
    }
    if report.difference_count == before && u64::from(row.settled_count) != counted.settled.len() as u64 {
        report.differs("lease_settled_count", format!("lease {lease_id}"), counted.settled.len(), row.settled_count);
    }
}

/// Where the digest differs and the ordinals don't, a price was changed: the ordinals whose price is not the lease's are named.
fn odd_prices(recount: &Recount, counted: &CountedLease) -> String {
    let usual = match counted.grant.price_model {
        PriceModel::Cpm | PriceModel::Cpcl => {
            Micros(counted.grant.amount.0 / i64::from(counted.grant.max_ordinals.max(1)))
        }
        // Only what was drawn beforehand tells its price beforehand.
        PriceModel::Cpc | PriceModel::Flat => return String::new(),
    };
    let mut text = String::new();
    for (ordinal, price) in counted.settled.iter().filter(|(_, price)| **price != usual) {
        let id = ImpressionId::Leased { lease_id: counted.grant.lease_id, ordinal: *ordinal };
        let records = recount.seen.get(&id).map_or_else(String::new, |places| places.join(", "));
        // Writing to a String never fails.
        let _ = write!(text, "; ordinal {ordinal} at price {price:?}, the lease was granted at {usual:?} ({records})");
    }
    text
}

/// Sums of settles and of open leases against the balances, at every level.
pub(super) fn balances(recount: &Recount, ledger: &LedgerRows, report: &mut AuditReport) {
    let mut rows: BTreeMap<_, _> = ledger.balances.iter().map(|(owner, level, row)| ((*owner, *level), *row)).collect();
    for (key, expected) in &recount.balances {
        report.balances += 1;
        let row = rows.remove(key);
        // A day that is over and has no open leases is no more among the rows; its leases are.
        if row.is_none() && key.1.is_over(recount.log_time) && expected.open == Micros::ZERO {
            continue;
        }
        let found = row.unwrap_or_default();
        if found != *expected {
            report.differs("balance", format!("{:?}", key.1), format!("{expected:?}"), format!("{found:?}"));
        }
    }
    for (key, found) in rows.into_iter().filter(|(_, row)| *row != Balance::default()) {
        report.differs("balance", format!("{:?}", key.1), "nothing in the log", format!("{found:?}"));
    }
}

/// Delivery totals by line item and hour.
pub(super) fn delivery(recount: &Recount, ledger: &LedgerRows, report: &mut AuditReport) {
    let mut rows: BTreeMap<_, _> = ledger.delivery.iter().map(|(key, row)| (*key, row)).collect();
    for (key, expected) in recount.delivery.iter().filter(|(_, totals)| !totals.is_zero()) {
        report.delivery_totals += 1;
        let found = rows.remove(key).cloned().unwrap_or_default();
        if found != *expected {
            let place = format!("line item {}, hour {}", key.line_item_id, key.hour.to_rfc3339());
            report.differs("delivery_total", place, format!("{expected:?}"), format!("{found:?}"));
        }
    }
    for (key, found) in rows.into_iter().filter(|(_, row)| !row.is_zero()) {
        let place = format!("line item {}, hour {}", key.line_item_id, key.hour.to_rfc3339());
        report.differs("delivery_total", place, "nothing in the log", format!("{found:?}"));
    }
}
