//! Files that come in parts: begun, continued after a lost connection, ended when all bytes are there.
//!
//! What is known of an upload is a small file beside its bytes, so that it outlives a restart; its offset is the length of the bytes on
//! disk. An upload belongs to the key that began it, is forgotten a day later, and a key has few of them open.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use serde::{Deserialize, Serialize};

use super::files::{FileTrouble, names_in, read_whole, trouble, write_whole};
use super::limits::Warning;
use super::sniff::declared;
use super::store::{AssetRow, AssetStore, Inner, Owner, TakeError};
use crate::model::{ApiKeyId, AssetId, WallMs};

/// Most open uploads of one key.
pub const UPLOADS_PER_KEY_MAX: usize = 16;
/// Most open uploads of all keys.
const UPLOADS_MAX: usize = 1_000;
/// Life of an upload in milliseconds.
const LIFE_MS: i64 = 24 * 3_600_000;

/// An upload's id: 128 random bits, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UploadId(u128);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for UploadId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = Self(u128::from_str_radix(text, 16).map_err(|_| ())?);
        // One spelling: no sign, no capitals, no fewer digits.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// An upload, as it stands.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose the file will be.
    pub owner: Owner,
    /// Who began it.
    pub key_id: ApiKeyId,
    /// The file's size in bytes.
    pub length: u64,
    /// Bytes that are there.
    pub offset: u64,
    /// What its sender says it is.
    pub media_type: String,
    /// When it is forgotten.
    pub expires_at: WallMs,
    /// The asset that it has become.
    pub asset: Option<AssetId>,
}

/// Why an upload can't be begun or continued.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is none of that id, or it is another key's.
    #[error("there is no such upload")]
    Absent,
    /// The part does not begin where the bytes end.
    #[error("the upload is at byte {offset}")]
    Elsewhere {
        /// Where it is.
        offset: u64,
    },
    /// Another request is writing to it.
    #[error("another request is writing to this upload")]
    Locked,
    /// Too many are open.
    #[error("too many uploads are open; a key has at most {UPLOADS_PER_KEY_MAX}")]
    TooMany,
    /// The file is not taken, or can't be.
    #[error(transparent)]
    Take(#[from] TakeError),
}

impl From<FileTrouble> for UploadError {
    fn from(trouble: FileTrouble) -> Self {
        Self::Take(trouble.into())
    }
}

/// Takes uploads.
#[derive(Clone, Debug)]
pub struct Uploader {
    store: AssetStore,
    in_use: Arc<Mutex<BTreeSet<UploadId>>>,
}

/// An upload that this request alone writes to.
#[derive(Debug)]
pub struct Held {
    /// The upload.
    pub upload: Upload,
    file: Arc<File>,
    in_use: Arc<Mutex<BTreeSet<UploadId>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload.id);
    }
}

impl Uploader {
    /// An uploader into that store.
    #[must_use]
    pub fn new(store: AssetStore) -> Self {
        Self { store, in_use: Arc::default() }
    }

    /// Begins an upload of `length` bytes.
    ///
    /// # Errors
    /// [`UploadError::TooMany`], [`UploadError::Take`]: also for a type that is not taken.
    pub async fn create(
        &self,
        key_id: ApiKeyId,
        owner: Owner,
        length: u64,
        media_type: String,
    ) -> Result<Upload, UploadError> {
        declared(&media_type).map_err(TakeError::Rejected)?;
        let inner = Arc::clone(self.store.inner());
        let id = UploadId(u128::from_be_bytes(inner.entropy.bytes()));
        let created = self.store.inner().taking.run(move || {
            inner.fits(length)?;
            let now = inner.clock.now().wall;
            make_room(&inner, key_id, now)?;
            let expires_at = now.plus_ms(LIFE_MS);
            let upload = Upload { id, owner, key_id, length, offset: 0, media_type, expires_at, asset: None };
            let part = part_path(&inner, id);
            File::create_new(&part).map_err(trouble("create", &part))?;
            keep(&inner, &upload)?;
            Ok(upload)
        });
        created.await.map_err(TakeError::Busy)?
    }

    /// How an upload of that key stands.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn look(&self, id: UploadId, key_id: ApiKeyId) -> Result<Upload, UploadError> {
        let inner = Arc::clone(self.store.inner());
        let looked = self.store.inner().taking.run(move || read(&inner, id, key_id));
        looked.await.map_err(TakeError::Busy)?
    }

    /// Holds an upload, to write to it from `offset` on.
    ///
    /// # Errors
    /// [`UploadError::Locked`] while another request holds it, [`UploadError::Elsewhere`] when it is not at that byte.
    pub async fn hold(&self, id: UploadId, key_id: ApiKeyId, offset: u64) -> Result<Held, UploadError> {
        if !self.in_use.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Err(UploadError::Locked);
        }
        let release = Release { id, in_use: Arc::clone(&self.in_use), is_armed: true };
        let inner = Arc::clone(self.store.inner());
        let opened = self.store.inner().taking.run(move || {
            let upload = read(&inner, id, key_id)?;
            if upload.offset != offset || upload.asset.is_some() {
                return Err(UploadError::Elsewhere { offset: upload.offset });
            }
            let part = part_path(&inner, id);
            let file = OpenOptions::new().write(true).open(&part).map_err(trouble("open", &part))?;
            Ok((upload, Arc::new(file)))
        });
        let (upload, file) = opened.await.map_err(TakeError::Busy)??;
        release.disarm();
        Ok(Held { upload, file, in_use: Arc::clone(&self.in_use) })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `too_large` when there would be more than the upload was begun with.
    pub async fn add(&self, held: &mut Held, bytes: Bytes) -> Result<(), UploadError> {
        let at = held.upload.offset;
        let after = at.saturating_add(bytes.len() as u64);
        if after > held.upload.length {
            let message = format!("the upload was begun with {} bytes", held.upload.length);
            return Err(TakeError::Rejected(super::Rejection::new("too_large", message)).into());
        }
        let (file, dir) = (Arc::clone(&held.file), self.store.inner().dir.clone());
        let written =
            self.store.inner().taking.run(move || file.write_all_at(&bytes, at).map_err(trouble("write to", &dir)));
        written.await.map_err(TakeError::Busy)??;
        held.upload.offset = after;
        Ok(())
    }

    /// What came is durable when this returns. When it is all there, it becomes an asset; what is refused then is forgotten.
    ///
    /// # Errors
    /// [`UploadError::Take`].
    pub async fn pause(&self, held: &mut Held) -> Result<Option<(AssetRow, Vec<Warning>)>, UploadError> {
        let (inner, file, mut upload) = (Arc::clone(self.store.inner()), Arc::clone(&held.file), held.upload.clone());
        let done = self.store.inner().taking.run(move || {
            let part = part_path(&inner, upload.id);
            file.sync_all().map_err(trouble("sync", &part))?;
            if upload.offset < upload.length {
                return Ok(None);
            }
            let said = declared(&upload.media_type).map_err(TakeError::Rejected)?;
            match inner.take(&part, upload.owner, said) {
                Ok(taken) => {
                    upload.asset = Some(taken.0.id);
                    keep(&inner, &upload)?;
                    // It was renamed, or the same bytes were there before.
                    let _ = std::fs::remove_file(&part);
                    Ok(Some(taken))
                }
                Err(error @ TakeError::Rejected(_)) => {
                    forget(&inner, upload.id);
                    Err(error.into())
                }
                Err(error) => Err(error.into()),
            }
        });
        let done: Result<_, UploadError> = done.await.map_err(TakeError::Busy)?;
        if let Ok(Some((row, _))) = &done {
            held.upload.asset = Some(row.id);
        }
        done
    }

    /// Forgets an upload.
    ///
    /// # Errors
    /// [`UploadError::Absent`], [`UploadError::Locked`].
    pub async fn end(&self, id: UploadId, key_id: ApiKeyId) -> Result<(), UploadError> {
        let upload = self.look(id, key_id).await?;
        // Nobody writes to one that has become an asset.
        let held = if upload.asset.is_none() { Some(self.hold(id, key_id, upload.offset).await?) } else { None };
        let inner = Arc::clone(self.store.inner());
        let ended = self.store.inner().taking.run(move || forget(&inner, id)).await;
        drop(held);
        Ok(ended.map_err(TakeError::Busy)?)
    }
}

/// Lets an upload go unless it was handed on.
struct Release {
    id: UploadId,
    in_use: Arc<Mutex<BTreeSet<UploadId>>>,
    is_armed: bool,
}

impl Release {
    fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if self.is_armed {
            self.in_use.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        }
    }
}

/// Forgets what is too old, and says whether the key may begin another.
fn make_room(inner: &Inner, key_id: ApiKeyId, now: WallMs) -> Result<(), UploadError> {
    let (mut all, mut of_key) = (0, 0);
    for name in names_in(&inner.dir.join("uploads"))? {
        let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) else { continue };
        let Some(upload) = stored(inner, id)? else { continue };
        if upload.expires_at_ms <= now.0 {
            forget(inner, id);
        } else if upload.asset.is_none() {
            all += 1;
            of_key += usize::from(upload.key_id == key_id.to_string());
        }
    }
    if all >= UPLOADS_MAX || of_key >= UPLOADS_PER_KEY_MAX { Err(UploadError::TooMany) } else { Ok(()) }
}

fn read(inner: &Inner, id: UploadId, key_id: ApiKeyId) -> Result<Upload, UploadError> {
    let stored = stored(inner, id)?.ok_or(UploadError::Absent)?;
    let mut upload = stored.upload(id).ok_or(UploadError::Absent)?;
    if upload.key_id != key_id || upload.expires_at <= inner.clock.now().wall {
        return Err(UploadError::Absent);
    }
    upload.offset = if upload.asset.is_some() {
        upload.length
    } else {
        let part = part_path(inner, id);
        match part.metadata() {
            Ok(metadata) => metadata.len(),
            // A crash between the file's last name and the note: it is kept, under the hash of its bytes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(UploadError::Absent),
            Err(error) => return Err(trouble("look at", &part)(error).into()),
        }
    };
    Ok(upload)
}

fn stored(inner: &Inner, id: UploadId) -> Result<Option<StoredUpload>, FileTrouble> {
    let text = read_whole(&note_path(inner, id))?;
    // One that can't be understood is as good as none.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

fn keep(inner: &Inner, upload: &Upload) -> Result<(), FileTrouble> {
    let stored = StoredUpload {
        network_id: upload.owner.network_id.to_string(),
        advertiser_id: upload.owner.advertiser_id.to_string(),
        key_id: upload.key_id.to_string(),
        length: upload.length,
        media_type: upload.media_type.clone(),
        expires_at_ms: upload.expires_at.0,
        asset: upload.asset.map(|id| id.to_string()),
    };
    let text = serde_json::to_vec(&stored).expect("numbers and texts");
    write_whole(&inner.tmp_path(), &note_path(inner, upload.id), &text)
}

fn forget(inner: &Inner, id: UploadId) {
    // The note first: without it the bytes are nobody's. What can't be removed now is found again when room is made.
    let _ = std::fs::remove_file(note_path(inner, id));
    let _ = std::fs::remove_file(part_path(inner, id));
}

fn note_path(inner: &Inner, id: UploadId) -> PathBuf {
    folder(inner).join(format!("{id}.json"))
}

fn part_path(inner: &Inner, id: UploadId) -> PathBuf {
    folder(inner).join(format!("{id}.part"))
}

fn folder(inner: &Inner) -> PathBuf {
    Path::new(&inner.dir).join("uploads")
}

/// An upload as JSON. Fields are only ever added.
#[derive(Debug, Serialize, Deserialize)]
struct StoredUpload {
    network_id: String,
    advertiser_id: String,
    key_id: String,
    length: u64,
    media_type: String,
    expires_at_ms: i64,
    #[serde(default)]
    asset: Option<String>,
}

impl StoredUpload {
    /// The upload, with nothing there yet.
    fn upload(&self, id: UploadId) -> Option<Upload> {
        Some(Upload {
            id,
            owner: Owner { network_id: self.network_id.parse().ok()?, advertiser_id: self.advertiser_id.parse().ok()? },
            key_id: self.key_id.parse().ok()?,
            length: self.length,
            offset: 0,
            media_type: self.media_type.clone(),
            expires_at: WallMs(self.expires_at_ms),
            asset: match &self.asset {
                Some(asset) => Some(asset.parse().ok()?),
                None => None,
            },
        })
    }
}
