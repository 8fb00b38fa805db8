//! Where files are kept, and whose they are.
//!
//! ```text
//! <dir>/objects/<first two digits>/<hash>.<ending>     the bytes; never changed
//! <dir>/owners/<network>/<advertiser>/<hash>.json      what they are, once for each advertiser that sent them
//! <dir>/tmp/                                           what is on its way
//! <dir>/uploads/                                       what comes in parts: see `uploads`
//! ```
//!
//! The bytes are durable before the row is, and the row before anybody is answered: a row never names bytes that are not there. The same
//! bytes of two advertisers are one file and two rows. Several servers may share the folder where their file system renames atomically.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::web::Bytes;
use serde::{Deserialize, Serialize};

use super::files::{FileTrouble, make_folder, names_in, put, read_whole, sync_folder, trouble, write_whole};
use super::limits::{Limits, Warning};
use super::probe::{AudioFacts, Facts, ImageFacts, Rejection, Shape, probe};
use super::sniff::Declared;
use super::threads::{Busy, Threads};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{AdvertiserId, AssetFile, AssetId, FileKind, NetworkId, WallMs};

/// Most files of one advertiser: a key that was stolen fills no disk for ever.
pub const ASSETS_PER_ADVERTISER_MAX: usize = 10_000;
/// Longest time that a file is decoded, in real microseconds: minutes of sound take a second.
const PROBE_US_MAX: u64 = 20_000_000;
/// Threads that read for players: a read is short, and the page cache answers most.
const READING_THREADS: usize = 4;
/// Reads that may wait for them.
const READS_WAITING: usize = 4_096;
/// Threads that take files in: decoding fills a core each.
const TAKING_THREADS: usize = 2;
/// Pieces of such work that may wait.
const TAKES_WAITING: usize = 64;
/// Age at which a temporary file is nobody's any more, in milliseconds: longer than any upload in one request.
const TMP_AGE_MS_MAX: i64 = 24 * 3_600_000;
/// What codecs are called in rows.
const CODECS: [&str; 9] =
    ["mp3", "vorbis", "flac", "aac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8"];

/// What a store is made of.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Its folder; made when missing.
    pub dir: PathBuf,
    /// Which files are taken.
    pub limits: Limits,
}

/// Whose a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The network.
    pub network_id: NetworkId,
    /// The advertiser.
    pub advertiser_id: AdvertiserId,
}

/// A file of an advertiser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssetRow {
    /// Its id.
    pub id: AssetId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is.
    pub facts: Facts,
    /// When this advertiser first sent it.
    pub created_at: WallMs,
}

impl AssetRow {
    /// The file's name.
    #[must_use]
    pub const fn file(&self) -> AssetFile {
        AssetFile { id: self.id, kind: self.facts.kind }
    }
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It is not what is taken: its sender's fault.
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// The advertiser has as many as it may.
    #[error("an advertiser has at most {ASSETS_PER_ADVERTISER_MAX} files")]
    TooMany,
    /// Too much to do; worth a retry.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The disk's fault.
    #[error(transparent)]
    Trouble(#[from] FileTrouble),
}

/// The store. Copies are the same store.
#[derive(Clone, Debug)]
pub struct AssetStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    reading: Threads,
    pub(super) taking: Threads,
}

/// A file on its way in. Dropped, it is removed.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What was taken has another name by now; what can't be removed is by a later start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file that is being served.
#[derive(Clone, Debug)]
pub struct OpenAsset {
    file: Arc<File>,
    /// Its size in bytes.
    pub bytes: u64,
}

impl AssetStore {
    /// Opens the store, or makes it. Old temporary files are removed.
    ///
    /// # Errors
    /// When the folder can't be used, or the system gives no threads.
    pub fn open(settings: StoreSettings, clock: Clock, entropy: Entropy) -> Result<Self, FileTrouble> {
        let StoreSettings { dir, limits } = settings;
        for folder in ["objects", "owners", "tmp", "uploads"] {
            make_folder(&dir.join(folder))?;
        }
        remove_old(&dir.join("tmp"), clock.now().wall)?;
        let start =
            |name, count, waiting| Threads::start(name, count, waiting).map_err(trouble("start threads for", &dir));
        let (reading, taking) =
            (start("asset-read", READING_THREADS, READS_WAITING)?, start("asset-take", TAKING_THREADS, TAKES_WAITING)?);
        Ok(Self { inner: Arc::new(Inner { dir, limits, clock, entropy, reading, taking }) })
    }

    /// Which files are taken.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Begins to take a file in.
    ///
    /// # Errors
    /// [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn begin(&self) -> Result<Incoming, TakeError> {
        let inner = Arc::clone(&self.inner);
        let begun = self.inner.taking.run(move || {
            let path = inner.tmp_path();
            let file = File::create_new(&path).map_err(trouble("create", &path))?;
            Ok(Incoming { path, file: Arc::new(file), bytes: 0 })
        });
        begun.await?
    }

    /// Adds to it.
    ///
    /// # Errors
    /// `too_large` when it is more than a file may have; [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn add(&self, incoming: &mut Incoming, bytes: Bytes) -> Result<(), TakeError> {
        let at = incoming.bytes;
        let after = at.saturating_add(bytes.len() as u64);
        self.inner.fits(after)?;
        let (file, path) = (Arc::clone(&incoming.file), incoming.path.clone());
        let written = self.inner.taking.run(move || file.write_all_at(&bytes, at).map_err(trouble("write", &path)));
        written.await??;
        incoming.bytes = after;
        Ok(())
    }

    /// Probes what came in and keeps it for its owner. It is durable when this returns.
    ///
    /// # Errors
    /// [`TakeError`]; nothing is kept then.
    pub async fn finish(
        &self,
        incoming: Incoming,
        owner: Owner,
        declared: Declared,
    ) -> Result<(AssetRow, Vec<Warning>), TakeError> {
        let inner = Arc::clone(&self.inner);
        self.inner.taking.run(move || inner.take(&incoming.path, owner, declared)).await?
    }

    /// The advertiser's file of that id.
    ///
    /// # Errors
    /// [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn row(&self, owner: Owner, id: AssetId) -> Result<Option<AssetRow>, TakeError> {
        let inner = Arc::clone(&self.inner);
        Ok(self.inner.reading.run(move || inner.row(owner, id)).await??)
    }

    /// The file of that id in a network, of whichever of its advertisers comes first.
    ///
    /// # Errors
    /// [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn find(&self, network_id: NetworkId, id: AssetId) -> Result<Option<AssetRow>, TakeError> {
        let inner = Arc::clone(&self.inner);
        Ok(self.inner.reading.run(move || inner.find(network_id, id)).await??)
    }

    /// Opens a file to serve it.
    ///
    /// # Errors
    /// [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn open_file(&self, file: AssetFile) -> Result<Option<OpenAsset>, TakeError> {
        let path = self.inner.object_path(file);
        Ok(self.inner.reading.run(move || open_file(&path)).await??)
    }

    /// Some bytes of a file; fewer only at its end.
    ///
    /// # Errors
    /// [`TakeError::Busy`], [`TakeError::Trouble`].
    pub async fn read(&self, open: &OpenAsset, at: u64, length: usize) -> Result<Bytes, TakeError> {
        let (file, dir) = (Arc::clone(&open.file), self.inner.dir.clone());
        let read = self.inner.reading.run(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).map_err(trouble("read a file of", &dir))?;
            Ok::<_, FileTrouble>(Bytes::from(bytes))
        });
        Ok(read.await??)
    }
}

impl Inner {
    pub(super) fn fits(&self, bytes: u64) -> Result<(), TakeError> {
        let most = self.limits.bytes_max;
        if bytes > most {
            return Err(TakeError::Rejected(Rejection::new("too_large", format!("a file has at most {most} bytes"))));
        }
        Ok(())
    }

    pub(super) fn tmp_path(&self) -> PathBuf {
        let name: [u8; 16] = self.entropy.bytes();
        self.dir.join("tmp").join(format!("{:032x}", u128::from_be_bytes(name)))
    }

    fn object_path(&self, file: AssetFile) -> PathBuf {
        let name = file.to_string();
        self.dir.join("objects").join(&name[..2]).join(name)
    }

    fn owner_path(&self, owner: Owner) -> PathBuf {
        self.dir.join("owners").join(owner.network_id.to_string()).join(owner.advertiser_id.to_string())
    }

    /// Keeps the file at `path`, which is moved away, or stays where it was when it is refused or known.
    pub(super) fn take(
        &self,
        path: &Path,
        owner: Owner,
        declared: Declared,
    ) -> Result<(AssetRow, Vec<Warning>), TakeError> {
        let mut file = File::open(path).map_err(trouble("open", path))?;
        let stopwatch = self.clock.stopwatch();
        let mut is_late = move || stopwatch.elapsed_us() > PROBE_US_MAX;
        let facts = probe(&file, declared, self.limits.duration_ms_max, &mut is_late).map_err(TakeError::Rejected)?;
        let warnings = self.limits.judge(&facts).map_err(TakeError::Rejected)?;
        let id = hash(&mut file).map_err(trouble("read", path))?;
        if let Some(known) = self.row(owner, id)? {
            return Ok((known, warnings));
        }
        if names_in(&self.owner_path(owner))?.len() >= ASSETS_PER_ADVERTISER_MAX {
            return Err(TakeError::TooMany);
        }
        let to = self.object_path(AssetFile { id, kind: facts.kind });
        if to.is_file() {
            // Another advertiser's, perhaps renamed a moment ago: it must be durable for this one too.
            sync_folder(to.parent().unwrap_or(&self.dir))?;
        } else {
            file.sync_all().map_err(trouble("sync", path))?;
            put(path, &to)?;
        }
        let row = AssetRow { id, owner, facts, created_at: self.clock.now().wall };
        let text = serde_json::to_vec(&StoredRow::of(&row)).expect("a row is numbers and texts");
        write_whole(&self.tmp_path(), &self.owner_path(owner).join(format!("{id}.json")), &text)?;
        Ok((row, warnings))
    }

    fn row(&self, owner: Owner, id: AssetId) -> Result<Option<AssetRow>, FileTrouble> {
        let path = self.owner_path(owner).join(format!("{id}.json"));
        let Some(text) = read_whole(&path)? else { return Ok(None) };
        let stored: Option<StoredRow> = serde_json::from_slice(&text).ok();
        let row = stored.and_then(|stored| stored.row(id, owner));
        let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not what a row says");
        row.map(Some).ok_or_else(|| trouble("understand", &path)(damaged()))
    }

    fn find(&self, network_id: NetworkId, id: AssetId) -> Result<Option<AssetRow>, FileTrouble> {
        for name in names_in(&self.dir.join("owners").join(network_id.to_string()))? {
            let Ok(advertiser_id) = name.parse() else { continue };
            if let Some(row) = self.row(Owner { network_id, advertiser_id }, id)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

fn hash(file: &mut File) -> std::io::Result<AssetId> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(AssetId(*hasher.finalize().as_bytes()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn open_file(path: &Path) -> Result<Option<OpenAsset>, FileTrouble> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(trouble("open", path)(error)),
    };
    let bytes = file.metadata().map_err(trouble("look at", path))?.len();
    Ok(Some(OpenAsset { file: Arc::new(file), bytes }))
}

/// Removes temporary files that no upload can still be writing.
fn remove_old(tmp: &Path, now: WallMs) -> Result<(), FileTrouble> {
    for name in names_in(tmp)? {
        let path = tmp.join(name);
        let Ok(metadata) = path.metadata() else { continue };
        let made = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let made_ms = made.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX);
        if now.0.saturating_sub(made_ms) > TMP_AGE_MS_MAX {
            std::fs::remove_file(&path).map_err(trouble("remove", &path))?;
        }
    }
    Ok(())
}

/// A row as JSON. Fields are only ever added.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRow {
    kind: String,
    bytes: u64,
    created_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audio: Option<StoredAudio>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<StoredImage>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredAudio {
    duration_ms: u32,
    codec: String,
    channels: u8,
    sample_rate: u32,
    bitrate_kbps: u32,
    loudness_centi_lufs: Option<i32>,
    true_peak_centi_dbtp: Option<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredImage {
    width: u32,
    height: u32,
}

impl StoredRow {
    fn of(row: &AssetRow) -> Self {
        let (audio, image) = match row.facts.shape {
            Shape::Audio(audio) => (Some(audio), None),
            Shape::Image(image) => (None, Some(image)),
        };
        Self {
            kind: row.facts.kind.ending().to_owned(),
            bytes: row.facts.bytes,
            created_at_ms: row.created_at.0,
            audio: audio.map(|audio| StoredAudio {
                duration_ms: audio.duration_ms,
                codec: audio.codec.to_owned(),
                channels: audio.channels,
                sample_rate: audio.sample_rate,
                bitrate_kbps: audio.bitrate_kbps,
                loudness_centi_lufs: audio.loudness_centi_lufs,
                true_peak_centi_dbtp: audio.true_peak_centi_dbtp,
            }),
            image: image.map(|ImageFacts { width, height }| StoredImage { width, height }),
        }
    }

    fn row(&self, id: AssetId, owner: Owner) -> Option<AssetRow> {
        let shape = match (&self.audio, &self.image) {
            (Some(audio), None) => Shape::Audio(AudioFacts {
                duration_ms: audio.duration_ms,
                codec: CODECS.into_iter().find(|codec| *codec == audio.codec)?,
                channels: audio.channels,
                sample_rate: audio.sample_rate,
                bitrate_kbps: audio.bitrate_kbps,
                loudness_centi_lufs: audio.loudness_centi_lufs,
                true_peak_centi_dbtp: audio.true_peak_centi_dbtp,
            }),
            (None, Some(image)) => Shape::Image(ImageFacts { width: image.width, height: image.height }),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let facts = Facts { kind: FileKind::with_ending(&self.kind)?, bytes: self.bytes, shape };
        Some(AssetRow { id, owner, facts, created_at: WallMs(self.created_at_ms) })
    }
}
