//! Images: which size they are, and whether they are whole.

use std::io::{BufReader, Read, Seek, SeekFrom};

use imagesize::ImageType;

use super::probe::{ImageFacts, Rejection, unreadable};
use crate::model::FileKind;

/// Largest image: companions are shown on phones.
const IMAGE_BYTES_MAX: u64 = 4 << 20;
/// Longest side in pixels: what every player's device still shows.
const SIDE_PIXELS_MAX: usize = 4_096;
/// Bytes at the end in which its end mark is looked for: some tools add a few.
const TAIL_BYTES: u64 = 1_024;

pub(super) fn measure<R: Read + Seek>(reader: &mut R, bytes: u64, kind: FileKind) -> Result<ImageFacts, Rejection> {
    if bytes > IMAGE_BYTES_MAX {
        return Err(Rejection::new("too_large", format!("an image has at most {IMAGE_BYTES_MAX} bytes")));
    }
    let mut buffered = BufReader::new(&mut *reader);
    let wanted = if kind == FileKind::Png { ImageType::Png } else { ImageType::Jpeg };
    let size = wanted
        .reader_size(&mut buffered)
        .map_err(|error| Rejection::new("malformed", format!("the image's header can't be read: {error}")))?;
    let sides = [size.width, size.height];
    if sides.iter().any(|side| !(1..=SIDE_PIXELS_MAX).contains(side)) {
        let message = format!("{} by {} pixels; 1 to {SIDE_PIXELS_MAX} are taken", size.width, size.height);
        return Err(Rejection::new("dimensions", message));
    }
    let mut tail = Vec::new();
    reader.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES))).map_err(|error| unreadable(&error))?;
    reader.read_to_end(&mut tail).map_err(|error| unreadable(&error))?;
    let mark: &[u8] = if kind == FileKind::Png { b"IEND" } else { b"\xff\xd9" };
    if !tail.windows(mark.len()).any(|window| window == mark) {
        return Err(Rejection::new("truncated", "the image breaks off before its end mark"));
    }
    let [width, height] = sides.map(|side| u32::try_from(side).expect("at most SIDE_PIXELS_MAX"));
    Ok(ImageFacts { width, height })
}
