//! A creative: the sound that plays and what goes with it.

use super::asset::AssetFile;
use super::campaign::{Approval, Status};
use super::ids::{AdvertiserId, CreativeId, NetworkId};

/// An audio ad.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Creative {
    /// Its id.
    pub id: CreativeId,
    /// Whose it is.
    pub advertiser_id: AdvertiserId,
    /// The network it runs in.
    pub network_id: NetworkId,
    /// What people call it.
    pub name: String,
    /// Whether it may deliver.
    pub status: Status,
    /// Whether it has been looked at.
    pub approval: Approval,
    /// Length in milliseconds; at least 1.
    pub duration_ms: u32,
    /// Whether it has explicit content.
    pub explicit: bool,
    /// The same sound in different encodings; at least one.
    pub renditions: Vec<Rendition>,
    /// Where a click leads; https.
    pub click_url: Option<String>,
}

/// One encoding of a creative.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendition {
    /// Encoding.
    pub format: AudioFormat,
    /// Kilobits per second.
    pub bitrate_kbps: u16,
    /// Where the player gets it.
    pub source: RenditionSource,
}

/// Where the sound of a rendition comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RenditionSource {
    /// Somebody's server: https, or http on loopback.
    Url(String),
    /// A file that Segue keeps; players get a signed URL of it.
    Asset(AssetFile),
}

/// An audio encoding that players name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AudioFormat {
    /// MPEG layer III.
    Mp3,
    /// Ogg Vorbis.
    OggVorbis,
    /// AAC in MP4 or ADTS.
    Aac,
    /// PCM in WAV.
    Wav,
}
