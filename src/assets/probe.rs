//! What a file is, from its bytes: pure over a reader. Whatever the bytes are, it ends, within the limits, with facts or a precise refusal.

use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sniff::{self, Declared};
use super::{audio, image};
use crate::model::FileKind;

/// Why a file is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// For programs; snake case and stable.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Rejection {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its kind.
    pub kind: FileKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// What depends on the kind.
    pub shape: Shape,
}

/// What is known of a sound or an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A sound.
    Audio(AudioFacts),
    /// An image.
    Image(ImageFacts),
}

/// What is known of a sound. All of it comes from the decoded samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioFacts {
    /// Length in milliseconds, rounded.
    pub duration_ms: u32,
    /// What it is encoded with.
    pub codec: &'static str,
    /// Channels, 1 or 2.
    pub channels: u8,
    /// Samples a second and channel.
    pub sample_rate: u32,
    /// The file's bits a second, headers and pictures too, in kilobits; at least 1.
    pub bitrate_kbps: u32,
    /// Integrated loudness by EBU R 128 in hundredths of LUFS; absent where nothing is loud enough to be measured.
    pub loudness_centi_lufs: Option<i32>,
    /// The highest true peak of all channels in hundredths of dBTP; absent where all is silence.
    pub true_peak_centi_dbtp: Option<i32>,
}

/// What is known of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageFacts {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Probes a file. `is_late` is asked often while sound is decoded and says when patience is over; longer sound than `duration_ms_max` is
/// not decoded to its end.
///
/// # Errors
/// A [`Rejection`] that says what is wrong with the bytes, or that they can't be read.
pub fn probe<R: Read + Seek + Send + Sync>(
    mut reader: R,
    declared: Declared,
    duration_ms_max: u32,
    is_late: &mut dyn FnMut() -> bool,
) -> Result<Facts, Rejection> {
    let bytes = reader.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
    if bytes == 0 {
        return Err(Rejection::new("empty", "the file has no bytes"));
    }
    let kind = sniff::kind(&mut reader, declared)?;
    reader.rewind().map_err(|error| unreadable(&error))?;
    // A decoder's slip over hostile bytes is the file's fault, not the server's.
    let judged = catch_unwind(AssertUnwindSafe(|| {
        Ok(if kind.is_audio() {
            Shape::Audio(audio::decode(&mut reader, bytes, kind, duration_ms_max, is_late)?)
        } else {
            Shape::Image(image::measure(&mut reader, bytes, kind)?)
        })
    }));
    let shape = judged.unwrap_or_else(|_| Err(Rejection::new("malformed", "the file can't be decoded")))?;
    Ok(Facts { kind, bytes, shape })
}

pub(super) fn unreadable(error: &std::io::Error) -> Rejection {
    Rejection::new("unreadable", format!("the file can't be read: {error}"))
}
