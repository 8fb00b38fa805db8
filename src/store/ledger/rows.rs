//! The ledger's rows: Protobuf messages whose fields are only ever added, with keys that sort as the reports read them.
//!
//! Ids are 16 bytes, hours are milliseconds since 1970 (their keys big-endian with the sign flipped, so that they sort). A reader refuses a
//! row that it can't make whole sense of, rather than guess at money.

use std::collections::BTreeMap;

use prost::Message;

use crate::accounting::{
    Balance, Bitmap, Chain, DeliveryKey, DeliveryTotals, Grant, Lease, LevelId, Loose, MAX_ORDINALS, Owner, Returned,
    UnbilledReason,
};
use crate::model::{
    AdvertiserId, BootId, CampaignId, Day, ImpressionId, LeaseId, LineItemId, Micros, NetworkId, PriceModel, ServerId,
    WallMs,
};

/// Version that this build writes, and the newest that it reads. Version 1 knew no returned leases, days and price models but CPM; whoever reads its
/// rows sees leases of the UTC day of their grant.
pub const ROW_VERSION: u32 = 2;

/// Why a row can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not a message of this kind.
    #[error("not a message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a newer build.
    #[error("written by a newer version: {0}, this build reads up to {ROW_VERSION}")]
    Newer(u32),
    /// A field that can't be what it says.
    #[error("{0} is out of range")]
    Field(&'static str),
    /// A key of the wrong shape.
    #[error("a key of the wrong shape")]
    Key,
}

#[derive(Clone, PartialEq, Message)]
struct BalanceRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, tag = "2")]
    settled_micros: i64,
    #[prost(uint64, tag = "3")]
    settled_count: u64,
    #[prost(int64, tag = "4")]
    open_micros: i64,
    #[prost(uint64, tag = "5")]
    open_count: u64,
    /// Absent for no budget.
    #[prost(int64, optional, tag = "6")]
    budget_micros: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    lease_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    server_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    boot_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    network_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    campaign_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    line_item_id: Vec<u8>,
    #[prost(int64, tag = "8")]
    amount_micros: i64,
    #[prost(uint32, tag = "9")]
    max_ordinals: u32,
    #[prost(int64, tag = "10")]
    granted_at_ms: i64,
    #[prost(int64, tag = "11")]
    draw_until_ms: i64,
    #[prost(int64, tag = "12")]
    last_billable_until_ms: i64,
    #[prost(bytes = "vec", tag = "13")]
    settled: Vec<u8>,
    #[prost(bytes = "vec", tag = "14")]
    voided: Vec<u8>,
    #[prost(bytes = "vec", tag = "15")]
    started: Vec<u8>,
    #[prost(bytes = "vec", tag = "16")]
    completed: Vec<u8>,
    #[prost(bytes = "vec", tag = "17")]
    clicked: Vec<u8>,
    /// Ordinals that were heard and not billed, ascending.
    #[prost(uint32, repeated, tag = "18")]
    unbilled_ordinals: Vec<u32>,
    /// The reason's code of each.
    #[prost(uint32, repeated, tag = "19")]
    unbilled_reasons: Vec<u32>,
    #[prost(int64, tag = "20")]
    settled_micros: i64,
    #[prost(uint32, tag = "21")]
    settled_count: u32,
    #[prost(bytes = "vec", tag = "22")]
    digest: Vec<u8>,
    /// Absent while the lease is open.
    #[prost(int64, optional, tag = "23")]
    closed_at_ms: Option<i64>,
    /// 1 CPM, 2 CPCL, 3 CPC, 4 flat.
    #[prost(uint32, tag = "24")]
    price_model: u32,
    #[prost(sint32, tag = "25")]
    advertiser_day: i32,
    #[prost(sint32, tag = "26")]
    line_item_day: i32,
    #[prost(bytes = "vec", tag = "27")]
    heard: Vec<u8>,
    /// Empty but for CPC.
    #[prost(bytes = "vec", tag = "28")]
    delivered: Vec<u8>,
    #[prost(uint32, tag = "29")]
    delivered_count: u32,
    /// Ordinals whose billable event waits for a sign that the ad began, ascending.
    #[prost(uint32, repeated, tag = "30")]
    awaiting_ordinals: Vec<u32>,
    /// The price of each.
    #[prost(int64, repeated, tag = "31")]
    awaiting_micros: Vec<i64>,
    /// Absent while nothing was given back.
    #[prost(message, optional, tag = "32")]
    returned: Option<ReturnedRow>,
}

#[derive(Clone, PartialEq, Message)]
struct ReturnedRow {
    #[prost(int64, tag = "1")]
    drawn_micros: i64,
    #[prost(uint32, tag = "2")]
    drawn_count: u32,
    #[prost(int64, tag = "3")]
    at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LooseRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    kinds: u32,
    /// The reason's code; 0 for none.
    #[prost(uint32, tag = "3")]
    unbilled_reason: u32,
    #[prost(int64, tag = "4")]
    forget_after_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct DeliveryRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, tag = "2")]
    starts: i64,
    #[prost(int64, tag = "3")]
    impressions: i64,
    #[prost(int64, tag = "4")]
    completes: i64,
    #[prost(int64, tag = "5")]
    clicks: i64,
    #[prost(int64, tag = "6")]
    voids: i64,
    #[prost(int64, tag = "7")]
    billed: i64,
    #[prost(int64, tag = "8")]
    billed_micros: i64,
    #[prost(uint32, repeated, tag = "9")]
    unbilled_reasons: Vec<u32>,
    #[prost(int64, repeated, tag = "10")]
    unbilled_counts: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct CursorRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    cursor: u64,
    #[prost(int64, tag = "3")]
    log_time_ms: i64,
    #[prost(uint64, tag = "4")]
    chain_records: u64,
    #[prost(bytes = "vec", tag = "5")]
    chain_digest: Vec<u8>,
}

pub(super) fn check(version: u32) -> Result<(), RowError> {
    match version {
        0 => Err(RowError::Field("version")),
        1..=ROW_VERSION => Ok(()),
        newer => Err(RowError::Newer(newer)),
    }
}

fn id(bytes: &[u8], field: &'static str) -> Result<[u8; 16], RowError> {
    bytes.try_into().map_err(|_| RowError::Field(field))
}

/// Key of a balance: advertiser, kind of level, id; of a day the day's number, big-endian with the sign flipped.
pub(super) fn balance_key(advertiser_id: AdvertiserId, level: LevelId) -> Vec<u8> {
    let (kind, id) = match level {
        LevelId::Advertiser(id) => (0, id.to_bytes()),
        LevelId::Campaign(id) => (1, id.to_bytes()),
        LevelId::LineItem(id) => (2, id.to_bytes()),
        LevelId::AdvertiserDay(id, _) => (3, id.to_bytes()),
        LevelId::CampaignDay(id, _) => (4, id.to_bytes()),
        LevelId::LineItemDay(id, _) => (5, id.to_bytes()),
    };
    let mut key = [&advertiser_id.to_bytes()[..], &[kind], &id].concat();
    if let Some(Day(day)) = level.day() {
        key.extend_from_slice(&(day.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    }
    key
}

pub(super) fn read_balance_key(key: &[u8]) -> Result<(AdvertiserId, LevelId), RowError> {
    let (head, day) = key.split_at_checked(33).ok_or(RowError::Key)?;
    let advertiser_id = AdvertiserId::from_bytes(id(&head[..16], "advertiser")?);
    let bytes = id(&head[17..], "level")?;
    let day = match day {
        [] => None,
        day => Some(Day((u32::from_be_bytes(day.try_into().map_err(|_| RowError::Key)?) ^ (1 << 31)).cast_signed())),
    };
    let level = match (head[16], day) {
        (0, None) => LevelId::Advertiser(AdvertiserId::from_bytes(bytes)),
        (1, None) => LevelId::Campaign(CampaignId::from_bytes(bytes)),
        (2, None) => LevelId::LineItem(LineItemId::from_bytes(bytes)),
        (3, Some(day)) => LevelId::AdvertiserDay(AdvertiserId::from_bytes(bytes), day),
        (4, Some(day)) => LevelId::CampaignDay(CampaignId::from_bytes(bytes), day),
        (5, Some(day)) => LevelId::LineItemDay(LineItemId::from_bytes(bytes), day),
        _ => return Err(RowError::Key),
    };
    Ok((advertiser_id, level))
}

/// A balance as it is kept.
#[must_use]
pub fn encode_balance(balance: &Balance) -> Vec<u8> {
    BalanceRow {
        version: ROW_VERSION,
        settled_micros: balance.settled.0,
        settled_count: balance.settled_count,
        open_micros: balance.open.0,
        open_count: balance.open_count,
        budget_micros: balance.budget.map(|budget| budget.0),
    }
    .encode_to_vec()
}

/// A balance from its row.
///
/// # Errors
/// [`RowError`].
pub fn decode_balance(bytes: &[u8]) -> Result<Balance, RowError> {
    let row = BalanceRow::decode(bytes)?;
    check(row.version)?;
    Ok(Balance {
        settled: Micros(row.settled_micros),
        settled_count: row.settled_count,
        open: Micros(row.open_micros),
        open_count: row.open_count,
        budget: row.budget_micros.map(Micros),
    })
}

/// Key of a lease: advertiser, lease.
pub(super) fn lease_key(advertiser_id: AdvertiserId, lease_id: LeaseId) -> Vec<u8> {
    [advertiser_id.to_bytes(), lease_id.to_bytes()].concat()
}

pub(super) fn read_lease_key(key: &[u8]) -> Result<(AdvertiserId, LeaseId), RowError> {
    let key: &[u8; 32] = key.try_into().map_err(|_| RowError::Key)?;
    Ok((AdvertiserId::from_bytes(id(&key[..16], "advertiser")?), LeaseId::from_bytes(id(&key[16..], "lease")?)))
}

/// A lease as it is kept.
#[must_use]
pub fn encode_lease(lease: &Lease) -> Vec<u8> {
    let grant = &lease.grant;
    LeaseRow {
        version: ROW_VERSION,
        lease_id: grant.lease_id.to_bytes().to_vec(),
        server_id: grant.server_id.to_bytes().to_vec(),
        boot_id: grant.boot_id.to_bytes().to_vec(),
        network_id: grant.network_id.to_bytes().to_vec(),
        campaign_id: grant.campaign_id.to_bytes().to_vec(),
        line_item_id: grant.line_item_id.to_bytes().to_vec(),
        amount_micros: grant.amount.0,
        max_ordinals: grant.max_ordinals,
        granted_at_ms: grant.granted_at.0,
        draw_until_ms: grant.draw_until.0,
        last_billable_until_ms: grant.last_billable_until.0,
        settled: lease.settled.as_bytes().to_vec(),
        voided: lease.voided.as_bytes().to_vec(),
        started: lease.started.as_bytes().to_vec(),
        completed: lease.completed.as_bytes().to_vec(),
        clicked: lease.clicked.as_bytes().to_vec(),
        unbilled_ordinals: lease.unbilled.keys().copied().collect(),
        unbilled_reasons: lease.unbilled.values().map(|reason| u32::from(reason.code())).collect(),
        settled_micros: lease.settled_micros.0,
        settled_count: lease.settled_count,
        digest: lease.digest.to_vec(),
        closed_at_ms: lease.closed_at.map(|at| at.0),
        price_model: price_model_code(grant.price_model),
        advertiser_day: grant.advertiser_day.0,
        line_item_day: grant.line_item_day.0,
        heard: lease.heard.as_bytes().to_vec(),
        delivered: lease.delivered.as_bytes().to_vec(),
        delivered_count: lease.delivered_count,
        awaiting_ordinals: lease.awaiting.keys().copied().collect(),
        awaiting_micros: lease.awaiting.values().map(|price| price.0).collect(),
        returned: lease.returned.map(|returned| ReturnedRow {
            drawn_micros: returned.drawn.0,
            drawn_count: returned.drawn_count,
            at_ms: returned.at.0,
        }),
    }
    .encode_to_vec()
}

const fn price_model_code(model: PriceModel) -> u32 {
    match model {
        PriceModel::Cpm => 1,
        PriceModel::Cpcl => 2,
        PriceModel::Cpc => 3,
        PriceModel::Flat => 4,
    }
}

fn price_model(code: u32) -> Result<PriceModel, RowError> {
    let models = [PriceModel::Cpm, PriceModel::Cpcl, PriceModel::Cpc, PriceModel::Flat];
    models.into_iter().find(|model| price_model_code(*model) == code).ok_or(RowError::Field("price model"))
}

/// A lease from its row.
///
/// # Errors
/// [`RowError`].
pub fn decode_lease(bytes: &[u8]) -> Result<Lease, RowError> {
    let mut row = LeaseRow::decode(bytes)?;
    check(row.version)?;
    if row.version == 1 {
        complete_version_1(&mut row)?;
    }
    let lease = Lease {
        grant: grant(&row)?,
        unbilled: unbilled(&row.unbilled_ordinals, &row.unbilled_reasons)?,
        awaiting: awaiting(&row)?,
        returned: row.returned.as_ref().map(|returned| Returned {
            drawn: Micros(returned.drawn_micros),
            drawn_count: returned.drawn_count,
            at: WallMs(returned.at_ms),
        }),
        settled: Bitmap::from_bytes(row.settled),
        delivered: Bitmap::from_bytes(row.delivered),
        heard: Bitmap::from_bytes(row.heard),
        voided: Bitmap::from_bytes(row.voided),
        started: Bitmap::from_bytes(row.started),
        completed: Bitmap::from_bytes(row.completed),
        clicked: Bitmap::from_bytes(row.clicked),
        settled_micros: Micros(row.settled_micros),
        settled_count: row.settled_count,
        delivered_count: row.delivered_count,
        digest: id(&row.digest, "digest")?,
        closed_at: row.closed_at_ms.map(WallMs),
    };
    lease.holds().map_err(RowError::Field)?;
    Ok(lease)
}

/// What version 1 left unsaid: CPM, the UTC day of the grant, and that what was billed or kept unbilled was heard.
fn complete_version_1(row: &mut LeaseRow) -> Result<(), RowError> {
    let day = Day::utc_of(WallMs(row.granted_at_ms)).0;
    (row.price_model, row.advertiser_day, row.line_item_day) = (price_model_code(PriceModel::Cpm), day, day);
    let mut heard = Bitmap::from_bytes(row.settled.clone());
    for ordinal in &row.unbilled_ordinals {
        if *ordinal >= MAX_ORDINALS {
            return Err(RowError::Field("unbilled"));
        }
        heard.insert(*ordinal);
    }
    row.heard = heard.as_bytes().to_vec();
    row.delivered_count = row.settled_count;
    Ok(())
}

fn grant(row: &LeaseRow) -> Result<Grant, RowError> {
    Ok(Grant {
        lease_id: LeaseId::from_bytes(id(&row.lease_id, "lease id")?),
        server_id: ServerId::from_bytes(id(&row.server_id, "server id")?),
        boot_id: BootId::from_bytes(id(&row.boot_id, "boot id")?),
        network_id: NetworkId::from_bytes(id(&row.network_id, "network id")?),
        campaign_id: CampaignId::from_bytes(id(&row.campaign_id, "campaign id")?),
        line_item_id: LineItemId::from_bytes(id(&row.line_item_id, "line item id")?),
        amount: Micros(row.amount_micros),
        max_ordinals: row.max_ordinals,
        granted_at: WallMs(row.granted_at_ms),
        draw_until: WallMs(row.draw_until_ms),
        last_billable_until: WallMs(row.last_billable_until_ms),
        price_model: price_model(row.price_model)?,
        advertiser_day: Day(row.advertiser_day),
        line_item_day: Day(row.line_item_day),
    })
}

fn awaiting(row: &LeaseRow) -> Result<BTreeMap<u32, Micros>, RowError> {
    if row.awaiting_ordinals.len() != row.awaiting_micros.len() {
        return Err(RowError::Field("awaiting"));
    }
    Ok(row.awaiting_ordinals.iter().copied().zip(row.awaiting_micros.iter().copied().map(Micros)).collect())
}

fn reason(code: u32) -> Result<UnbilledReason, RowError> {
    u8::try_from(code).ok().and_then(UnbilledReason::from_code).ok_or(RowError::Field("an unbilled reason"))
}

fn unbilled<K: Ord + Copy>(keys: &[K], codes: &[u32]) -> Result<BTreeMap<K, UnbilledReason>, RowError> {
    if keys.len() != codes.len() {
        return Err(RowError::Field("unbilled"));
    }
    keys.iter().zip(codes).map(|(key, code)| Ok((*key, reason(*code)?))).collect()
}

/// Key of an impression without a lease: kind of owner, advertiser (zeros for nobody), impression.
pub(super) fn loose_key(owner: Owner, impression_id: ImpressionId) -> Vec<u8> {
    let (kind, id) = match owner {
        Owner::Unpaid => (0, [0; 16]),
        Owner::Advertiser(id) => (1, id.to_bytes()),
    };
    [&[kind][..], &id, &impression_id.to_bytes()].concat()
}

pub(super) fn read_loose_key(key: &[u8]) -> Result<(Owner, ImpressionId), RowError> {
    let key: &[u8; 38] = key.try_into().map_err(|_| RowError::Key)?;
    let owner = match key[0] {
        0 => Owner::Unpaid,
        1 => Owner::Advertiser(AdvertiserId::from_bytes(id(&key[1..17], "advertiser")?)),
        _ => return Err(RowError::Key),
    };
    Ok((owner, ImpressionId::from_bytes(&key[17..]).ok_or(RowError::Key)?))
}

/// An impression without a lease as it is kept.
#[must_use]
pub fn encode_loose(loose: &Loose) -> Vec<u8> {
    LooseRow {
        version: ROW_VERSION,
        kinds: u32::from(loose.kinds),
        unbilled_reason: loose.unbilled.map_or(0, |reason| u32::from(reason.code())),
        forget_after_ms: loose.forget_after.0,
    }
    .encode_to_vec()
}

/// An impression without a lease from its row.
///
/// # Errors
/// [`RowError`].
pub fn decode_loose(bytes: &[u8]) -> Result<Loose, RowError> {
    let row = LooseRow::decode(bytes)?;
    check(row.version)?;
    Ok(Loose {
        kinds: u16::try_from(row.kinds).map_err(|_| RowError::Field("kinds"))?,
        unbilled: (row.unbilled_reason != 0).then(|| reason(row.unbilled_reason)).transpose()?,
        forget_after: WallMs(row.forget_after_ms),
    })
}

/// Key of a delivery total: line item, hour.
pub(super) fn delivery_key(key: DeliveryKey) -> Vec<u8> {
    let hour = key.hour.0.cast_unsigned() ^ (1 << 63);
    [&key.line_item_id.to_bytes()[..], &hour.to_be_bytes()].concat()
}

pub(super) fn read_delivery_key(key: &[u8]) -> Result<DeliveryKey, RowError> {
    let key: &[u8; 24] = key.try_into().map_err(|_| RowError::Key)?;
    let hour = u64::from_be_bytes(key[16..].try_into().map_err(|_| RowError::Key)?) ^ (1 << 63);
    Ok(DeliveryKey {
        line_item_id: LineItemId::from_bytes(id(&key[..16], "line item")?),
        hour: WallMs(hour.cast_signed()),
    })
}

/// A delivery total as it is kept.
#[must_use]
pub fn encode_delivery(totals: &DeliveryTotals) -> Vec<u8> {
    DeliveryRow {
        version: ROW_VERSION,
        starts: totals.starts,
        impressions: totals.impressions,
        completes: totals.completes,
        clicks: totals.clicks,
        voids: totals.voids,
        billed: totals.billed,
        billed_micros: totals.billed_micros.0,
        unbilled_reasons: totals.unbilled.keys().map(|reason| u32::from(reason.code())).collect(),
        unbilled_counts: totals.unbilled.values().copied().collect(),
    }
    .encode_to_vec()
}

/// A delivery total from its row.
///
/// # Errors
/// [`RowError`].
pub fn decode_delivery(bytes: &[u8]) -> Result<DeliveryTotals, RowError> {
    let row = DeliveryRow::decode(bytes)?;
    check(row.version)?;
    if row.unbilled_reasons.len() != row.unbilled_counts.len() {
        return Err(RowError::Field("unbilled"));
    }
    let unbilled = row.unbilled_reasons.iter().zip(&row.unbilled_counts);
    Ok(DeliveryTotals {
        starts: row.starts,
        impressions: row.impressions,
        completes: row.completes,
        clicks: row.clicks,
        voids: row.voids,
        billed: row.billed,
        billed_micros: Micros(row.billed_micros),
        unbilled: unbilled.map(|(code, count)| Ok((reason(*code)?, *count))).collect::<Result<_, RowError>>()?,
    })
}

/// The place in the log of which the rows are the state, as it is kept.
#[must_use]
pub fn encode_cursor(cursor: u64, log_time: WallMs, chain: &Chain) -> Vec<u8> {
    CursorRow {
        version: ROW_VERSION,
        cursor,
        log_time_ms: log_time.0,
        chain_records: chain.records,
        chain_digest: chain.digest.to_vec(),
    }
    .encode_to_vec()
}

/// The place in the log from its row.
///
/// # Errors
/// [`RowError`].
pub fn decode_cursor(bytes: &[u8]) -> Result<(u64, WallMs, Chain), RowError> {
    let row = CursorRow::decode(bytes)?;
    check(row.version)?;
    let digest = row.chain_digest.try_into().map_err(|_| RowError::Field("chain digest"))?;
    Ok((row.cursor, WallMs(row.log_time_ms), Chain { records: row.chain_records, digest }))
}

#[cfg(test)]
mod tests;
