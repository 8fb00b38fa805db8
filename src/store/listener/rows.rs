//! The rows of listeners.
//!
//! | keyspace | key | value | life |
//! | --- | --- | --- | --- |
//! | `listeners` | listener key, 16 bytes | `StoredHead`: pseudonym, last break, open breaks | until forgotten |
//! | `exposures-W` | listener key, impression id: 37 bytes | `StoredExposure` | the keyspace of week `W` is dropped whole, 6 weeks on |
//! | `strict-caps` | listener key, 16 bytes | `StoredStrictRow`, see `strict` | until forgotten |
//!
//! `W` counts weeks of 7 × 24 hours since 1970. The database has no expiry of rows, so what ages is kept by week. Values are Protobuf messages;
//! fields are only ever added.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use prost::Message;

use super::super::{StoreError, damaged, keyspace};
use super::writer::Change;
use crate::impressions::listener::EXPOSURE_LIFE_MS;
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, Exposure, ExposureState, ImpressionId, LineItemId, ListenerKey,
    ListenerState, OpenAd, OpenBreak, Pseudonym, RequestId, WallMs,
};

const HEADS: &str = "listeners";
const EXPOSURES: &str = "exposures-";
const WEEK_MS: i64 = 7 * 86_400_000;

/// The keyspaces of listeners. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rows {
    database: Database,
    heads: Keyspace,
}

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
}

impl Rows {
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(Self { database: database.clone(), heads: keyspace(database, HEADS)? })
    }

    /// The listener's state, if there is a row of them.
    pub(super) fn load(&self, key: ListenerKey, now: WallMs) -> Result<Option<ListenerState>, StoreError> {
        let read = |source| StoreError::Read { what: HEADS, source };
        let Some(value) = self.heads.get(key.0).map_err(read)? else { return Ok(None) };
        let mut state = decode_head(&value).ok_or_else(|| damaged(HEADS, &key.0, "not a listener's head"))?;
        for week in weeks_seen(now) {
            let Some(exposures) = self.week(week)? else { continue };
            for row in exposures.prefix(key.0) {
                let (name, value) = row.into_inner().map_err(read)?;
                let exposure = decode_exposure(&name, &value);
                state.exposures.push(exposure.ok_or_else(|| damaged(EXPOSURES, &name, "not an exposure"))?);
            }
        }
        state.exposures.sort_by_key(|exposure| exposure.at);
        let excess = state.exposures.len().saturating_sub(ListenerState::MAX_EXPOSURES);
        state.exposures.drain(..excess);
        Ok(Some(state))
    }

    /// Writes changes, in one batch that a crash of the process does not lose once this returned.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for change in changes {
            batch.insert(&self.heads, change.key.0, change.head.as_slice());
            for exposure in &change.put {
                let week = self.week_or_new(week_of(exposure.at))?;
                batch.insert(&week, exposure_key(change.key, exposure), stored_exposure(exposure).encode_to_vec());
            }
            for exposure in &change.gone {
                if let Some(week) = self.week(week_of(exposure.at))? {
                    batch.remove(&week, exposure_key(change.key, exposure));
                }
            }
        }
        batch.commit().map_err(|source| StoreError::Commit { what: HEADS, source })
    }

    /// Deletes a listener, and syncs.
    pub(super) fn forget(&self, key: ListenerKey) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        batch.remove(&self.heads, key.0);
        for name in self.weeks() {
            let Some(week) = self.week(name)? else { continue };
            for row in week.prefix(key.0) {
                let name = row.key().map_err(|source| StoreError::Read { what: EXPOSURES, source })?;
                batch.remove(&week, name);
            }
        }
        batch.commit().map_err(|source| StoreError::Commit { what: HEADS, source })?;
        self.sync()
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(|source| StoreError::Commit { what: HEADS, source })
    }

    /// Drops the keyspaces of weeks that no window can see any more; how many.
    pub(super) fn drop_old_weeks(&self, now: WallMs) -> Result<usize, StoreError> {
        let oldest = *weeks_seen(now).start();
        let mut dropped = 0;
        for week in self.weeks().into_iter().filter(|&week| week < oldest) {
            if let Some(exposures) = self.week(week)? {
                let refused = |source| StoreError::Commit { what: EXPOSURES, source };
                self.database.delete_keyspace(exposures).map_err(refused)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    fn weeks(&self) -> Vec<i64> {
        let names = self.database.list_keyspace_names();
        names.iter().filter_map(|name| name.strip_prefix(EXPOSURES)?.parse().ok()).collect()
    }

    fn week(&self, week: i64) -> Result<Option<Keyspace>, StoreError> {
        let exists = self.database.keyspace_exists(&format!("{EXPOSURES}{week}"));
        if exists { self.week_or_new(week).map(Some) } else { Ok(None) }
    }

    fn week_or_new(&self, week: i64) -> Result<Keyspace, StoreError> {
        self.database
            .keyspace(&format!("{EXPOSURES}{week}"), KeyspaceCreateOptions::default)
            .map_err(|source| StoreError::Read { what: EXPOSURES, source })
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

fn week_of(at: WallMs) -> i64 {
    at.0.div_euclid(WEEK_MS)
}

fn weeks_seen(now: WallMs) -> std::ops::RangeInclusive<i64> {
    week_of(now.plus_ms(-EXPOSURE_LIFE_MS))..=week_of(now)
}

fn exposure_key(key: ListenerKey, exposure: &Exposure) -> Vec<u8> {
    [key.0.as_slice(), exposure.impression_id.to_bytes().as_slice()].concat()
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
    }
}

fn decode_exposure(name: &[u8], value: &[u8]) -> Option<Exposure> {
    exposure_of(name.get(16..)?, StoredExposure::decode(value).ok()?)
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

fn decode_head(value: &[u8]) -> Option<ListenerState> {
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
