//! A creative's file: named by the hash of its bytes, and of a kind that players know what to do with.

use std::fmt;
use std::str::FromStr;

/// An asset's id: the BLAKE3 hash of its bytes. In text 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(pub [u8; 32]);

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetId({self})")
    }
}

/// A text that is no asset's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAssetId;

impl FromStr for AssetId {
    type Err = NoAssetId;

    /// Exactly the text that [`AssetId`] prints: an id has one spelling, so that a path has one.
    fn from_str(text: &str) -> Result<Self, NoAssetId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        if text.len() != 64 {
            return Err(NoAssetId);
        }
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or(NoAssetId)?;
        }
        Ok(Self(id))
    }
}

/// What kind of file an asset is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileKind {
    /// MPEG layer III.
    Mp3,
    /// Vorbis in Ogg.
    Ogg,
    /// PCM in WAV.
    Wav,
    /// FLAC.
    Flac,
    /// AAC in ADTS.
    Aac,
    /// AAC in MP4.
    M4a,
    /// An image in PNG.
    Png,
    /// An image in JPEG.
    Jpeg,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Mp3, Self::Ogg, Self::Wav, Self::Flac, Self::Aac, Self::M4a, Self::Png, Self::Jpeg];

    /// The ending of its files' names; also its name in settings.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Aac => "aac",
            Self::M4a => "m4a",
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }

    /// The kind of files with that ending.
    #[must_use]
    pub fn with_ending(ending: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ending() == ending)
    }

    /// The media type that it is served as.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Ogg => "audio/ogg",
            Self::Wav => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Aac => "audio/aac",
            Self::M4a => "audio/mp4",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// Whether it is a sound.
    #[must_use]
    pub const fn is_audio(self) -> bool {
        !matches!(self, Self::Png | Self::Jpeg)
    }
}

/// A file that is kept: its id and kind make its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AssetFile {
    /// Which bytes.
    pub id: AssetId,
    /// Of what kind they are.
    pub kind: FileKind,
}

impl fmt::Display for AssetFile {
    /// Its name: `<id>.<ending>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.kind.ending())
    }
}

impl FromStr for AssetFile {
    type Err = NoAssetId;

    fn from_str(text: &str) -> Result<Self, NoAssetId> {
        let (id, ending) = text.split_once('.').ok_or(NoAssetId)?;
        Ok(Self { id: id.parse()?, kind: FileKind::with_ending(ending).ok_or(NoAssetId)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let file = AssetFile { id: AssetId([0xa7; 32]), kind: FileKind::M4a };
        let text = file.to_string();
        assert_eq!(text.parse(), Ok(file));
        for wrong in ["", ".", "a7.m4a", &text[1..], &text.to_uppercase(), &format!("{text}x"), &format!("..{text}")] {
            assert_eq!(wrong.parse::<AssetFile>(), Err(NoAssetId), "{wrong}");
        }
        for kind in FileKind::ALL {
            assert_eq!(FileKind::with_ending(kind.ending()), Some(kind));
        }
    }
}
