//! Files and uploads as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::assets::{AssetRow, Shape, Upload, Warning};

/// A creative's file: what it is, from its decoded samples.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(as = Asset)]
pub struct AssetDocument {
    /// Its id: the BLAKE3 hash of its bytes, 64 hexadecimal digits.
    pub id: String,
    /// `audio` or `image`.
    pub kind: &'static str,
    /// Whose it is.
    #[schema(format = Uuid)]
    pub advertiser_id: String,
    /// When this advertiser first sent it.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The media type that it is served as.
    pub media_type: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Length of the sound, of its decoded frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// What the sound is encoded with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<&'static str>,
    /// 1 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// In Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// Bytes by length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate_kbps: Option<u32>,
    /// Integrated loudness (EBU R 128).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness_lufs: Option<f64>,
    /// Highest true peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub true_peak_dbtp: Option<f64>,
    /// Of an image, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Of an image, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A signed URL of it; opens for some hours.
    pub url: String,
    /// What is not as it should be, and was taken all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<WarningDocument>,
}

/// Something about a file that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = AssetWarning)]
pub struct WarningDocument {
    /// For programs; snake case and stable.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// A file that comes in parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub struct UploadDocument {
    /// Its id.
    pub id: String,
    /// Whose the file will be.
    #[schema(format = Uuid)]
    pub advertiser_id: String,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes that there will be.
    pub length: u64,
    /// When it is forgotten.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// The asset that it has become.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<String>,
}

impl AssetDocument {
    pub(super) fn new(row: &AssetRow, url: String, warnings: Vec<Warning>) -> Self {
        let (audio, image) = match row.facts.shape {
            Shape::Audio(audio) => (Some(audio), None),
            Shape::Image(image) => (None, Some(image)),
        };
        let decibels = |centi: i32| f64::from(centi) / 100.0;
        let warnings =
            warnings.into_iter().map(|Warning { code, message }| WarningDocument { code, message }).collect();
        Self {
            id: row.id.to_string(),
            kind: if audio.is_some() { "audio" } else { "image" },
            advertiser_id: row.owner.advertiser_id.to_string(),
            created_at: row.created_at.to_rfc3339(),
            media_type: row.facts.kind.media_type(),
            bytes: row.facts.bytes,
            duration_ms: audio.map(|audio| audio.duration_ms),
            codec: audio.map(|audio| audio.codec),
            channels: audio.map(|audio| audio.channels),
            sample_rate: audio.map(|audio| audio.sample_rate),
            bitrate_kbps: audio.map(|audio| audio.bitrate_kbps),
            loudness_lufs: audio.and_then(|audio| audio.loudness_centi_lufs).map(decibels),
            true_peak_dbtp: audio.and_then(|audio| audio.true_peak_centi_dbtp).map(decibels),
            width: image.map(|image| image.width),
            height: image.map(|image| image.height),
            url,
            warnings,
        }
    }
}

impl From<&Upload> for UploadDocument {
    fn from(upload: &Upload) -> Self {
        Self {
            id: upload.id.to_string(),
            advertiser_id: upload.owner.advertiser_id.to_string(),
            offset: upload.offset,
            length: upload.length,
            expires_at: upload.expires_at.to_rfc3339(),
            asset_id: upload.asset.map(|id| id.to_string()),
        }
    }
}
