//! The demo's sound on its way: tunes are sent to the server through its API before the first track, and players fetch what they play.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{Client, ClientError};
use super::sound;
use crate::http::player::wire::AdBody;
use crate::model::{AdvertiserId, AssetFile, AudioFormat, RenditionSource};
use crate::workload::world::World;

/// Tunes that are encoded and sent at once: as many as a small machine has cores.
const SENT_AT_ONCE: usize = 2;
/// Most tunes: the demo should begin within seconds. Creatives beyond keep the URL of a made-up server.
const TUNES_MAX: usize = 48;
/// Fetches at once; a player that finds them taken plays without, as one does whose network is slow.
const FETCHES_AT_ONCE: usize = 4;
/// What a player fetches of a file that was fetched whole before, in bytes: the beginning, as the rest would tell nothing new.
const BEGINNING_BYTES: u64 = 16 * 1_024;

/// What players fetched.
#[derive(Debug)]
pub(super) struct Sounds {
    places: Semaphore,
    whole: Mutex<BTreeSet<AssetFile>>,
    fetched: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// The numbers of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct SoundCounts {
    /// Fetches that brought what they should.
    pub(super) fetched: u64,
    /// Bytes that they brought.
    pub(super) bytes: u64,
    /// Fetches that did not.
    pub(super) failed: u64,
}

impl Default for Sounds {
    fn default() -> Self {
        Self {
            places: Semaphore::new(FETCHES_AT_ONCE),
            whole: Mutex::default(),
            fetched: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Sounds {
    /// What was fetched so far. The three are for people: they need not be of one moment.
    pub(super) fn counts(&self) -> SoundCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SoundCounts { fetched: of(&self.fetched), bytes: of(&self.bytes), failed: of(&self.failed) }
    }

    /// Fetches the sound of an ad, as a player does before it plays: all of it the first time that anybody does, and whether it is what its name says
    /// is looked at; later its beginning. Returns what went wrong.
    pub(super) async fn fetch(&self, client: &Client, ad: &AdBody) -> Result<(), ClientError> {
        let Some((file, url)) = ad.renditions.iter().find_map(|one| Some((file_of(&one.url)?, &one.url))) else {
            return Ok(());
        };
        let Ok(_place) = self.places.try_acquire() else { return Ok(()) };
        let is_first = !self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&file);
        let last = if is_first { None } else { Some(BEGINNING_BYTES - 1) };
        let fetched = client.fetch(url, last).await.and_then(|bytes| {
            if is_first && *blake3::hash(&bytes).as_bytes() != file.id.0 {
                return Err(ClientError::Body { what: format!("GET /a/{file}"), reason: "other bytes".to_owned() });
            }
            Ok(bytes.len() as u64)
        });
        match fetched {
            Ok(bytes) => {
                self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(file);
                self.fetched.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// The file that a URL of Segue's own names.
fn file_of(url: &str) -> Option<AssetFile> {
    let name = url.split_once("/a/")?.1;
    name.split('?').next()?.parse().ok()
}

/// Whose tunes are wanted, and how long: first one of each advertiser, then a second of each.
fn wanted(world: &World) -> Vec<(AdvertiserId, u32)> {
    let mut by_advertiser: BTreeMap<AdvertiserId, BTreeSet<u32>> = BTreeMap::new();
    for creative in &world.creatives {
        by_advertiser.entry(creative.advertiser_id).or_default().insert(creative.duration_ms);
    }
    let mut wanted: Vec<_> = by_advertiser
        .into_iter()
        .flat_map(|(advertiser_id, lengths)| {
            lengths.into_iter().enumerate().map(move |(at, ms)| (at, advertiser_id, ms))
        })
        .collect();
    wanted.sort_unstable();
    wanted.into_iter().map(|(_, advertiser_id, duration_ms)| (advertiser_id, duration_ms)).collect()
}

/// Composes the tunes of a world, sends them to the server, which must know the advertisers, and names them in the creatives. Returns how many.
///
/// # Errors
/// When a tune can't be encoded or is not taken.
pub(super) async fn send_tunes(client: &std::sync::Arc<Client>, world: &mut World, seed: u64) -> anyhow::Result<usize> {
    let numbers: BTreeMap<AdvertiserId, u64> = world.advertisers.iter().map(|one| one.id).zip(0..).collect();
    let mut waiting = wanted(world).into_iter().take(TUNES_MAX);
    let mut sending = JoinSet::new();
    let mut files = BTreeMap::new();
    loop {
        while sending.len() < SENT_AT_ONCE
            && let Some((advertiser_id, duration_ms)) = waiting.next()
        {
            let number = numbers.get(&advertiser_id).copied().unwrap_or_default();
            let client = std::sync::Arc::clone(client);
            sending.spawn(async move {
                let composed = move || sound::encode(&sound::tune(seed, number, duration_ms));
                let bytes = tokio::task::spawn_blocking(composed).await.context("composing a tune")??;
                let file = client.send_asset(advertiser_id, bytes).await?;
                anyhow::Ok(((advertiser_id, duration_ms), file))
            });
        }
        let Some(sent) = sending.join_next().await else { break };
        let (of, file) = sent.context("sending a tune")??;
        files.insert(of, file);
    }
    for creative in &mut world.creatives {
        let Some(file) = files.get(&(creative.advertiser_id, creative.duration_ms)) else { continue };
        for rendition in &mut creative.renditions {
            if rendition.format == AudioFormat::OggVorbis {
                rendition.source = RenditionSource::Asset(*file);
            }
        }
    }
    Ok(files.len())
}
