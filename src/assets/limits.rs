//! Which files are taken: sizes, lengths, kinds, loudness. Pure.

use super::probe::{Facts, Rejection, Shape};
use crate::model::FileKind;

/// What is done about sound that is too loud or too quiet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoudnessRule {
    /// It is taken, with a warning.
    Warn,
    /// It is not taken.
    Refuse,
}

/// The limits of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest file in bytes.
    pub bytes_max: u64,
    /// Shortest sound in milliseconds.
    pub duration_ms_min: u32,
    /// Longest sound in milliseconds.
    pub duration_ms_max: u32,
    /// Kinds of sound that are taken.
    pub kinds: Vec<FileKind>,
    /// Quietest and loudest integrated loudness, in hundredths of LUFS.
    pub loudness_centi_lufs: (i32, i32),
    /// Highest true peak in hundredths of dBTP.
    pub true_peak_centi_dbtp_max: i32,
    /// What is done about the last two.
    pub loudness_rule: LoudnessRule,
}

/// What is not as it should be, and was taken all the same.
pub type Warning = Rejection;

impl Limits {
    /// Judges what a probe found. Returns the warnings.
    ///
    /// # Errors
    /// The first limit that is passed.
    pub fn judge(&self, facts: &Facts) -> Result<Vec<Warning>, Rejection> {
        let Shape::Audio(audio) = facts.shape else { return Ok(Vec::new()) };
        if !self.kinds.contains(&facts.kind) {
            let taken: Vec<_> = self.kinds.iter().map(|kind| kind.ending()).collect();
            let message = format!("{} is not taken here; taken are {}", facts.kind.ending(), taken.join(", "));
            return Err(Rejection::new("format_not_taken", message));
        }
        if audio.duration_ms < self.duration_ms_min {
            let message = format!("{} ms long; at least {}", audio.duration_ms, self.duration_ms_min);
            return Err(Rejection::new("too_short", message));
        }
        if audio.duration_ms > self.duration_ms_max {
            let message = format!("{} ms long; at most {}", audio.duration_ms, self.duration_ms_max);
            return Err(Rejection::new("too_long", message));
        }
        let Some(loudness) = audio.loudness_centi_lufs else {
            return Err(Rejection::new("silent", "there is nothing to hear"));
        };
        let (quietest, loudest) = self.loudness_centi_lufs;
        let mut warnings = Vec::new();
        if loudness < quietest {
            let message = format!("{} LUFS; at least {}", decimal(loudness), decimal(quietest));
            warnings.push(Rejection::new("too_quiet", message));
        } else if loudness > loudest {
            let message = format!("{} LUFS; at most {}", decimal(loudness), decimal(loudest));
            warnings.push(Rejection::new("too_loud", message));
        }
        if let Some(peak) = audio.true_peak_centi_dbtp.filter(|peak| *peak > self.true_peak_centi_dbtp_max) {
            let message = format!("{} dBTP; at most {}", decimal(peak), decimal(self.true_peak_centi_dbtp_max));
            warnings.push(Rejection::new("peak_too_high", message));
        }
        match (self.loudness_rule, warnings.first()) {
            (LoudnessRule::Refuse, Some(first)) => Err(first.clone()),
            (LoudnessRule::Refuse, None) | (LoudnessRule::Warn, _) => Ok(warnings),
        }
    }
}

/// Hundredths as a decimal number.
fn decimal(centi: i32) -> String {
    let sign = if centi < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", centi.unsigned_abs() / 100, centi.unsigned_abs() % 100)
}
