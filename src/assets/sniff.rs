//! What kind of file bytes begin like, and whether that is what their sender said.

use std::io::{Read, Seek, SeekFrom};

use super::probe::{Rejection, unreadable};
use crate::model::FileKind;

/// Bytes looked at from the beginning.
const HEAD_BYTES: usize = 4_096;
/// Largest `ID3v2` tag that is skipped to see what follows: cover art of a few megabytes fits.
const TAG_BYTES_MAX: u64 = 16 << 20;

/// What a sender says a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declared {
    /// Nothing, or bytes of any kind.
    Anything,
    /// One kind.
    Kind(FileKind),
    /// AAC, in whichever of its containers.
    AnyAac,
}

/// Reads a media type, without its parameters.
///
/// # Errors
/// `type_not_taken` for types that are not kept here, with the reason.
pub fn declared(media_type: &str) -> Result<Declared, Rejection> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match essence.as_str() {
        "" | "application/octet-stream" | "application/offset+octet-stream" => Declared::Anything,
        "audio/mpeg" | "audio/mp3" | "audio/mpeg3" => Declared::Kind(FileKind::Mp3),
        "audio/ogg" | "application/ogg" | "audio/vorbis" => Declared::Kind(FileKind::Ogg),
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Declared::Kind(FileKind::Wav),
        "audio/flac" | "audio/x-flac" => Declared::Kind(FileKind::Flac),
        "audio/aac" | "audio/aacp" | "audio/x-aac" => Declared::AnyAac,
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => Declared::Kind(FileKind::M4a),
        "image/png" => Declared::Kind(FileKind::Png),
        "image/jpeg" | "image/jpg" => Declared::Kind(FileKind::Jpeg),
        "image/svg+xml" => return Err(svg()),
        other => {
            let kinds = FileKind::ALL.map(FileKind::media_type).join(", ");
            return Err(Rejection::new("type_not_taken", format!("{other:?} is not taken; taken are {kinds}")));
        }
    })
}

impl Declared {
    fn allows(self, kind: FileKind) -> bool {
        match self {
            Self::Anything => true,
            Self::Kind(said) => said == kind,
            Self::AnyAac => matches!(kind, FileKind::Aac | FileKind::M4a),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Anything => "anything",
            Self::Kind(kind) => kind.media_type(),
            Self::AnyAac => "audio/aac",
        }
    }
}

/// The kind by the first bytes, when it is the declared one.
pub(super) fn kind<R: Read + Seek>(reader: &mut R, said: Declared) -> Result<FileKind, Rejection> {
    let head = head(reader, 0)?;
    let begins = match tag_bytes(&head) {
        Some(tag) => {
            let after = self::head(reader, tag)?;
            // Players take an ID3v2 tag before MPEG frames; before others it is a mistake of the tool that wrote it.
            magic(&after).filter(|kind| matches!(kind, FileKind::Mp3 | FileKind::Aac)).or(Some(FileKind::Mp3))
        }
        None => magic(&head),
    };
    let Some(kind) = begins else {
        if is_svg(&head) {
            return Err(svg());
        }
        let message = "the bytes are none of MP3, Ogg, WAV, FLAC, AAC, MP4, PNG and JPEG";
        return Err(Rejection::new("not_audio_nor_image", message));
    };
    if !said.allows(kind) {
        let message = format!("its type says {}, its bytes are {}", said.words(), kind.media_type());
        return Err(Rejection::new("type_differs", message));
    }
    Ok(kind)
}

fn head<R: Read + Seek>(reader: &mut R, at: u64) -> Result<Vec<u8>, Rejection> {
    reader.seek(SeekFrom::Start(at)).map_err(|error| unreadable(&error))?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    Ok(head)
}

/// The length of the `ID3v2` tag that the file begins with.
fn tag_bytes(head: &[u8]) -> Option<u64> {
    let header: &[u8; 10] = head.get(..10)?.try_into().ok()?;
    if !header.starts_with(b"ID3") || header[6..].iter().any(|byte| *byte > 0x7f) {
        return None;
    }
    let size = header[6..].iter().fold(0_u64, |size, byte| size << 7 | u64::from(*byte));
    let footer = if header[5] & 0x10 == 0 { 0 } else { 10 };
    (size <= TAG_BYTES_MAX).then_some(size + 10 + footer)
}

fn magic(head: &[u8]) -> Option<FileKind> {
    let at = |from: usize, word: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(word));
    if at(0, b"OggS") {
        Some(FileKind::Ogg)
    } else if at(0, b"RIFF") && at(8, b"WAVE") {
        Some(FileKind::Wav)
    } else if at(0, b"fLaC") {
        Some(FileKind::Flac)
    } else if at(4, b"ftyp") {
        Some(FileKind::M4a)
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        Some(FileKind::Png)
    } else if at(0, b"\xff\xd8\xff") {
        Some(FileKind::Jpeg)
    } else {
        mpeg(head)
    }
}

/// A frame header of MPEG audio: eleven bits of sync; layer 0 is ADTS.
fn mpeg(head: &[u8]) -> Option<FileKind> {
    let [first, second, third, ..] = *head else { return None };
    if first != 0xff || second & 0xe0 != 0xe0 {
        return None;
    }
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    match layer {
        0 if second & 0xf0 == 0xf0 && third >> 2 & 0xf <= 12 => Some(FileKind::Aac),
        1 if version != 1 && third >> 4 != 0xf && third >> 2 & 3 != 3 => Some(FileKind::Mp3),
        _ => None,
    }
}

fn is_svg(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<svg") || (text.starts_with('<') && text.contains("<svg"))
}

fn svg() -> Rejection {
    Rejection::new("svg_not_taken", "SVG can carry scripts that would run on the players' pages; send PNG or JPEG")
}
