//! How listeners are stored, in either store: Protobuf messages, whose fields are only ever added.

use prost::Message;

use crate::impressions::listener::EXPOSURE_LIFE_MS;
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, Exposure, ExposureState, ImpressionId, LineItemId, ListenerState,
    OpenAd, OpenBreak, Pseudonym, RequestId, StrictExposure, StrictRow, StrictVersion, WallMs,
};

const WEEK_MS: i64 = 7 * 86_400_000;

#[derive(Clone, PartialEq, Message)]
struct StoredHead {
    #[prost(bytes = "vec", tag = "1")]
    pseudonym: Vec<u8>,
    #[prost(sint64, optional, tag = "2")]
    last_break_at_ms: Option<i64>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    last_break_creatives: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    open_breaks: Vec<StoredBreak>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredBreak {
    #[prost(string, tag = "1")]
    request_id: String,
    #[prost(bytes = "vec", tag = "2")]
    decision_id: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    ads: Vec<StoredAd>,
    #[prost(sint64, tag = "4")]
    decided_at_ms: i64,
    #[prost(sint64, tag = "5")]
    expires_at_ms: i64,
    #[prost(bool, tag = "6")]
    prefetch: bool,
    #[prost(bytes = "vec", tag = "7")]
    answer: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAd {
    #[prost(bytes = "vec", tag = "1")]
    impression_id: Vec<u8>,
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredExposure {
    #[prost(sint64, tag = "1")]
    at_ms: i64,
    #[prost(bytes = "vec", tag = "2")]
    advertiser_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    campaign_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    line_item_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    creative_id: Vec<u8>,
    /// Absent once it was heard.
    #[prost(sint64, optional, tag = "6")]
    reserved_until_ms: Option<i64>,
    /// Whose it is, where it is not the head's: the listener was forgotten since, and it is nobody's. Absent in the embedded store.
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(super) pseudonym: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredStrictRow {
    #[prost(fixed64, tag = "1")]
    version: u64,
    #[prost(message, repeated, tag = "2")]
    exposures: Vec<StoredStrictExposure>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredStrictExposure {
    #[prost(bytes = "vec", tag = "1")]
    impression_id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    exposure: Option<StoredExposure>,
    #[prost(sint64, tag = "3")]
    counted_until_ms: i64,
}

/// Weeks of 7 × 24 hours since 1970.
pub(super) fn week_of(at: WallMs) -> i64 {
    at.0.div_euclid(WEEK_MS)
}

/// The weeks that windows look back on.
pub(super) fn weeks_seen(now: WallMs) -> std::ops::RangeInclusive<i64> {
    week_of(now.plus_ms(-EXPOSURE_LIFE_MS))..=week_of(now)
}

pub(super) fn stored_exposure(exposure: &Exposure) -> StoredExposure {
    let reserved_until_ms = match exposure.state {
        ExposureState::Reserved { until } => Some(until.0),
        ExposureState::Heard => None,
    };
    StoredExposure {
        at_ms: exposure.at.0,
        advertiser_id: exposure.advertiser_id.to_bytes().to_vec(),
        campaign_id: exposure.campaign_id.to_bytes().to_vec(),
        line_item_id: exposure.line_item_id.to_bytes().to_vec(),
        creative_id: exposure.creative_id.to_bytes().to_vec(),
        reserved_until_ms,
        pseudonym: None,
    }
}

/// An exposure that says whose it is: for tables in which it may outlive its listener.
pub(super) fn stored_owned_exposure(exposure: &Exposure, owner: Pseudonym) -> Vec<u8> {
    StoredExposure { pseudonym: Some(owner.0.to_vec()), ..stored_exposure(exposure) }.encode_to_vec()
}

/// The exposure, and whose it is.
pub(super) fn decode_owned_exposure(impression_id: &[u8], value: &[u8]) -> Option<(Exposure, Vec<u8>)> {
    let stored = StoredExposure::decode(value).ok()?;
    let owner = stored.pseudonym.clone()?;
    Some((exposure_of(impression_id, stored)?, owner))
}

pub(super) fn exposure_of(impression_id: &[u8], stored: StoredExposure) -> Option<Exposure> {
    Some(Exposure {
        impression_id: ImpressionId::from_bytes(impression_id)?,
        at: WallMs(stored.at_ms),
        advertiser_id: AdvertiserId::from_bytes(stored.advertiser_id.try_into().ok()?),
        campaign_id: CampaignId::from_bytes(stored.campaign_id.try_into().ok()?),
        line_item_id: LineItemId::from_bytes(stored.line_item_id.try_into().ok()?),
        creative_id: CreativeId::from_bytes(stored.creative_id.try_into().ok()?),
        state: stored
            .reserved_until_ms
            .map_or(ExposureState::Heard, |until| ExposureState::Reserved { until: WallMs(until) }),
    })
}

/// The head row of a state: all but its exposures and its strict row.
pub(super) fn encode_head(state: &ListenerState) -> Vec<u8> {
    let open = |open: &OpenBreak| StoredBreak {
        request_id: open.request_id.as_str().to_owned(),
        decision_id: open.decision_id.to_bytes().to_vec(),
        ads: open
            .ads
            .iter()
            .map(|ad| StoredAd { impression_id: ad.impression_id.to_bytes().to_vec(), token: ad.token.clone() })
            .collect(),
        decided_at_ms: open.decided_at.0,
        expires_at_ms: open.expires_at.0,
        prefetch: open.prefetch,
        answer: open.answer.clone(),
    };
    StoredHead {
        pseudonym: state.pseudonym.0.to_vec(),
        last_break_at_ms: state.last_break_at.map(|at| at.0),
        last_break_creatives: state.last_break_creatives.iter().map(|id| id.to_bytes().to_vec()).collect(),
        open_breaks: state.open_breaks.iter().map(open).collect(),
    }
    .encode_to_vec()
}

pub(super) fn decode_head(value: &[u8]) -> Option<ListenerState> {
    let stored = StoredHead::decode(value).ok()?;
    let creative = |bytes: Vec<u8>| Some(CreativeId::from_bytes(bytes.try_into().ok()?));
    let pseudonym = Pseudonym(stored.pseudonym.try_into().ok()?);
    Some(ListenerState {
        open_breaks: stored.open_breaks.into_iter().map(decode_break).collect::<Option<_>>()?,
        last_break_at: stored.last_break_at_ms.map(WallMs),
        last_break_creatives: stored.last_break_creatives.into_iter().map(creative).collect::<Option<_>>()?,
        ..ListenerState::new(pseudonym)
    })
}

fn decode_break(stored: StoredBreak) -> Option<OpenBreak> {
    let ad =
        |ad: StoredAd| Some(OpenAd { impression_id: ImpressionId::from_bytes(&ad.impression_id)?, token: ad.token });
    Some(OpenBreak {
        request_id: RequestId::new(&stored.request_id)?,
        decision_id: DecisionId::from_bytes(stored.decision_id.try_into().ok()?),
        ads: stored.ads.into_iter().map(ad).collect::<Option<_>>()?,
        decided_at: WallMs(stored.decided_at_ms),
        expires_at: WallMs(stored.expires_at_ms),
        prefetch: stored.prefetch,
        answer: stored.answer,
    })
}

/// A strict row that is to be written.
pub(super) fn encode_strict(row: &StrictRow) -> Vec<u8> {
    let exposure = |one: &StrictExposure| StoredStrictExposure {
        impression_id: one.exposure.impression_id.to_bytes().to_vec(),
        exposure: Some(stored_exposure(&one.exposure)),
        counted_until_ms: one.counted_until.0,
    };
    let version = row.version.expect("a row that is written has a version").0;
    StoredStrictRow { version, exposures: row.exposures.iter().map(exposure).collect() }.encode_to_vec()
}

pub(super) fn decode_strict(value: &[u8]) -> Option<StrictRow> {
    let stored = StoredStrictRow::decode(value).ok()?;
    let exposure = |one: StoredStrictExposure| {
        let exposure = exposure_of(&one.impression_id, one.exposure?)?;
        Some(StrictExposure { exposure, counted_until: WallMs(one.counted_until_ms) })
    };
    Some(StrictRow {
        version: Some(StrictVersion(stored.version)),
        exposures: stored.exposures.into_iter().map(exposure).collect::<Option<_>>()?,
    })
}
