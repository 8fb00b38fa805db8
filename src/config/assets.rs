//! Settings of creatives' files.

use std::path::PathBuf;

use super::raw::RawConfig;
use super::{optional_path, public_url};
use crate::assets::{Limits, LoudnessRule};
use crate::model::FileKind;

/// Creatives' files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssetsConfig {
    /// Their folder; absent: `assets` in the data directory.
    pub dir: Option<PathBuf>,
    /// Beginning of signed URLs, without a slash at its end; absent: as the server's.
    pub public_url: Option<String>,
    /// Which files are taken.
    pub limits: Limits,
}

pub(super) fn read(raw: &mut RawConfig) -> AssetsConfig {
    AssetsConfig {
        dir: raw.parsed("assets.dir", optional_path),
        public_url: raw.parsed("assets.public_url", public_url),
        limits: Limits {
            bytes_max: raw.number("assets.max_bytes"),
            duration_ms_min: raw.number_u32("assets.min_duration_ms"),
            duration_ms_max: raw.number_u32("assets.max_duration_ms"),
            kinds: raw.parsed("assets.formats", kinds),
            loudness_centi_lufs: raw.parsed("assets.loudness_lufs", loudness),
            true_peak_centi_dbtp_max: raw.parsed("assets.true_peak_dbtp", |text| centi(text, -20, 20)),
            loudness_rule: match raw.choice("assets.loudness_rule") {
                "refuse" => LoudnessRule::Refuse,
                _ => LoudnessRule::Warn,
            },
        },
    }
}

fn kinds(text: &str) -> Result<Vec<FileKind>, String> {
    let kind = |word: &str| {
        let kind = FileKind::with_ending(word).filter(|kind| kind.is_audio());
        kind.ok_or_else(|| format!("{word:?} is none of mp3, ogg, wav, flac, aac and m4a"))
    };
    text.split(',').map(|word| kind(word.trim())).collect()
}

fn loudness(text: &str) -> Result<(i32, i32), String> {
    let (quietest, loudest) = text.split_once("..").ok_or("expected two numbers with .. between them")?;
    let window = (centi(quietest, -70, 0)?, centi(loudest, -70, 0)?);
    if window.0 < window.1 { Ok(window) } else { Err("expected the quieter one first".to_owned()) }
}

/// Whole decibels as hundredths.
fn centi(text: &str, min: i32, max: i32) -> Result<i32, String> {
    let number = text.trim().parse().ok().filter(|number| (min..=max).contains(number));
    number.map(|number| number * 100).ok_or_else(|| format!("expected whole decibels from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_read_and_nonsense_is_told() {
        assert_eq!(kinds("mp3, flac"), Ok(vec![FileKind::Mp3, FileKind::Flac]));
        assert_eq!(loudness("-24..-12"), Ok((-2_400, -1_200)));
        assert_eq!(centi(" -1", -20, 20), Ok(-100));
        for wrong in ["", "mp3,", "png", "mp4"] {
            assert!(kinds(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "-24", "-12..-24", "-24..-24", "-71..0", "-24..1", "a..b"] {
            assert!(loudness(wrong).is_err(), "{wrong}");
        }
    }
}
