//! Entries of the ledger and checkpoints.

use super::codes::Code;
use super::proto;
use super::proto::ledger_entry::Cause;
use super::read::{Read, each, id, impression, impression_to_wire, invalid, micros, required, wall};
use crate::events::{Checkpoint, Delivered, EntryCause, EventError, LedgerAccount, LedgerEntry, Posting, TrialBalance};
use crate::model::{AdvertiserId, CampaignId, Day, InvalidTraffic, LeaseId, LineItemId, NetworkId, PriceModel};

pub(in crate::events) fn entry_to_wire(entry: &LedgerEntry) -> proto::LedgerEntry {
    proto::LedgerEntry {
        number: entry.number,
        cause: Some(match entry.cause {
            EntryCause::Settlement { lease_id, digest } => {
                Cause::Settlement(proto::Settlement { lease_id: lease_id.to_bytes().into(), digest: digest.into() })
            }
            EntryCause::Reversal { impression_id, reason } => Cause::Reversal(proto::EntryReversal {
                impression_id: Some(impression_to_wire(impression_id)),
                reason: reason.code(),
            }),
        }),
        network_id: entry.network_id.to_bytes().into(),
        advertiser_id: entry.advertiser_id.to_bytes().into(),
        campaign_id: entry.campaign_id.to_bytes().into(),
        line_item_id: entry.line_item_id.to_bytes().into(),
        advertiser_day: Some(entry.advertiser_day.0),
        price_model: entry.price_model.code(),
        quantity: entry.quantity,
        postings: entry.postings.iter().map(posting_to_wire).collect(),
        posted_at_ms: Some(entry.posted_at.0),
    }
}

pub(in crate::events) fn entry_from_wire(wire: proto::LedgerEntry) -> Read<LedgerEntry> {
    let cause = match wire.cause.ok_or(EventError::UnknownKind { field: "ledger_entry.cause" })? {
        Cause::Settlement(settlement) => EntryCause::Settlement {
            lease_id: LeaseId::from_bytes(id("ledger_entry.settlement.lease_id", &settlement.lease_id)?),
            digest: id("ledger_entry.settlement.digest", &settlement.digest)?,
        },
        Cause::Reversal(reversal) => EntryCause::Reversal {
            impression_id: impression("ledger_entry.reversal.impression_id", reversal.impression_id)?,
            reason: InvalidTraffic::of("ledger_entry.reversal.reason", reversal.reason)?,
        },
    };
    Ok(LedgerEntry {
        number: wire.number,
        cause,
        network_id: NetworkId::from_bytes(id("ledger_entry.network_id", &wire.network_id)?),
        advertiser_id: AdvertiserId::from_bytes(id("ledger_entry.advertiser_id", &wire.advertiser_id)?),
        campaign_id: CampaignId::from_bytes(id("ledger_entry.campaign_id", &wire.campaign_id)?),
        line_item_id: LineItemId::from_bytes(id("ledger_entry.line_item_id", &wire.line_item_id)?),
        advertiser_day: Day(required("ledger_entry.advertiser_day", wire.advertiser_day)?),
        price_model: PriceModel::of("ledger_entry.price_model", wire.price_model)?,
        quantity: wire.quantity,
        postings: each(wire.postings, |posting| posting_from_wire(&posting))?,
        posted_at: wall("ledger_entry.posted_at_ms", wire.posted_at_ms)?,
    })
}

fn posting_to_wire(posting: &Posting) -> proto::Posting {
    let (kind, account_id) = match posting.account {
        LedgerAccount::Advertiser(id) => (proto::LedgerAccountKind::Advertiser, id.to_bytes()),
        LedgerAccount::Network(id) => (proto::LedgerAccountKind::Network, id.to_bytes()),
        LedgerAccount::House(id) => (proto::LedgerAccountKind::House, id.to_bytes()),
    };
    proto::Posting { kind: kind as i32, account_id: account_id.into(), amount_micros: Some(posting.amount.0) }
}

fn posting_from_wire(wire: &proto::Posting) -> Read<Posting> {
    const KIND: &str = "ledger_entry.postings.kind";
    let account_id = id("ledger_entry.postings.account_id", &wire.account_id)?;
    let account = match proto::LedgerAccountKind::try_from(wire.kind) {
        Ok(proto::LedgerAccountKind::Advertiser) => LedgerAccount::Advertiser(AdvertiserId::from_bytes(account_id)),
        Ok(proto::LedgerAccountKind::Network) => LedgerAccount::Network(NetworkId::from_bytes(account_id)),
        Ok(proto::LedgerAccountKind::House) => LedgerAccount::House(NetworkId::from_bytes(account_id)),
        Ok(proto::LedgerAccountKind::Unspecified) => return Err(EventError::Missing { field: KIND }),
        Err(_) => return Err(EventError::UnknownKind { field: KIND }),
    };
    Ok(Posting { account, amount: micros("ledger_entry.postings.amount_micros", wire.amount_micros)? })
}

pub(in crate::events) fn checkpoint_to_wire(checkpoint: &Checkpoint) -> proto::Checkpoint {
    proto::Checkpoint {
        number: checkpoint.number,
        partition: checkpoint.partition,
        cursor: checkpoint.cursor,
        log_time_ms: Some(checkpoint.log_time.0),
        chain_records: checkpoint.chain_records,
        chain_digest: checkpoint.chain_digest.into(),
        book_digest: checkpoint.book_digest.into(),
        entries: checkpoint.trial.entries,
        advertisers_micros: checkpoint.trial.advertisers.to_be_bytes().into(),
        networks_micros: checkpoint.trial.networks.to_be_bytes().into(),
        house_micros: checkpoint.trial.house.to_be_bytes().into(),
        impressions: checkpoint.delivered.impressions,
        billed: checkpoint.delivered.billed,
        unbilled: checkpoint.delivered.unbilled,
        billed_micros: checkpoint.delivered.billed_micros.to_be_bytes().into(),
        previous_digest: checkpoint.previous_digest.into(),
    }
}

pub(in crate::events) fn checkpoint_from_wire(wire: &proto::Checkpoint) -> Read<Checkpoint> {
    Ok(Checkpoint {
        number: wire.number,
        partition: wire.partition,
        cursor: wire.cursor,
        log_time: wall("checkpoint.log_time_ms", wire.log_time_ms)?,
        chain_records: wire.chain_records,
        chain_digest: digest("checkpoint.chain_digest", &wire.chain_digest)?,
        book_digest: digest("checkpoint.book_digest", &wire.book_digest)?,
        trial: TrialBalance {
            entries: wire.entries,
            advertisers: sum("checkpoint.advertisers_micros", &wire.advertisers_micros)?,
            networks: sum("checkpoint.networks_micros", &wire.networks_micros)?,
            house: sum("checkpoint.house_micros", &wire.house_micros)?,
        },
        delivered: Delivered {
            impressions: wire.impressions,
            billed: wire.billed,
            unbilled: wire.unbilled,
            billed_micros: sum("checkpoint.billed_micros", &wire.billed_micros)?,
        },
        previous_digest: digest("checkpoint.previous_digest", &wire.previous_digest)?,
    })
}

fn digest(field: &'static str, bytes: &[u8]) -> Read<[u8; 32]> {
    bytes.try_into().map_err(|_| invalid(field, "expected 32 bytes"))
}

fn sum(field: &'static str, bytes: &[u8]) -> Read<i128> {
    bytes.try_into().map(i128::from_be_bytes).map_err(|_| invalid(field, "expected 16 bytes"))
}
