//! What the demo's ads sound like: a short tune an advertiser, composed on the spot. Pure: a seed in, samples and bytes out.
//!
//! An advertiser has a key, a tempo, a timbre and a motif of a few notes that comes back; so its ads are told apart by ear, and its longer ones are
//! known again. Mono at 16 kHz is enough for that, and quick to encode.

use std::num::{NonZeroU8, NonZeroU32};

use vorbis_rs::{VorbisBitrateManagementStrategy, VorbisEncoderBuilder};

use crate::workload::Draws;

/// Samples a second.
const RATE: u16 = 16_000;
/// Streams of a seed from here on belong to tunes.
const STREAM_TUNES: u64 = 1 << 32;
/// Samples that are encoded at once.
const BLOCK: usize = 8_192;
/// Fade at both ends of a note in seconds: without it notes click.
const FADE_S: f32 = 0.012;

/// Samples at an ad's end that fade away.
const END_SAMPLES: u16 = 200;

/// Why a tune could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("a tune can't be encoded")]
pub(super) struct NotEncoded(#[from] vorbis_rs::VorbisError);

/// The tune of the advertiser of that number, so long.
#[must_use]
pub(super) fn tune(seed: u64, advertiser: u64, duration_ms: u32) -> Vec<f32> {
    /// A major and a minor scale without the notes that jar, in semitones.
    const SCALES: [[u8; 5]; 2] = [[0, 2, 4, 7, 9], [0, 3, 5, 7, 10]];
    let mut draws = Draws::new(seed, STREAM_TUNES + advertiser);
    let scale = *draws.pick(&SCALES);
    let key_hz = 196.0 * semitones(draws.between(0, 12));
    let beat_s = *draws.pick(&[0.24_f32, 0.3, 0.36, 0.45]);
    let overtones: [f32; 3] = *draws.pick(&[[0.5, 0.25, 0.1], [0.0, 0.35, 0.0], [0.2, 0.0, 0.3], [0.7, 0.5, 0.4]]);
    let motif: Vec<Vec<f32>> = (0..8)
        .map(|_| {
            let octave = 12 * draws.between(0, 2);
            let step = u32::from(scale[draws.index(scale.len())]);
            note(key_hz * semitones(step + octave), beat_s * small(draws.between(1, 3)), overtones)
        })
        .collect();
    let count = usize::try_from(u64::from(duration_ms) * u64::from(RATE) / 1_000).expect("at most ten minutes");
    let mut samples = Vec::with_capacity(count);
    for note in motif.iter().cycle() {
        let left = count - samples.len();
        if left == 0 {
            break;
        }
        samples.extend(&note[..note.len().min(left)]);
    }
    // The last note is cut off where the ad ends.
    for (number, sample) in samples.iter_mut().rev().take(usize::from(END_SAMPLES)).enumerate() {
        *sample *= f32::from(u16::try_from(number).expect("END_SAMPLES at most")) / f32::from(END_SAMPLES);
    }
    samples
}

/// One note, which rings out.
fn note(hz: f32, seconds: f32, overtones: [f32; 3]) -> Vec<f32> {
    let mut samples = Vec::new();
    let mut second = 0.0_f32;
    let step = 1.0 / f32::from(RATE);
    while second < seconds {
        let turn = second * hz * std::f32::consts::TAU;
        let mut sample = turn.sin();
        for (number, share) in [2.0_f32, 3.0, 4.0].into_iter().zip(overtones) {
            if share > 0.0 {
                sample += share * (turn * number).sin();
            }
        }
        let fade = (second.min(seconds - second) / FADE_S).clamp(0.0, 1.0);
        let ring = (-2.0 * second / seconds).exp();
        samples.push(0.22 * fade * ring * sample);
        second += step;
    }
    samples
}

/// Ogg Vorbis, low in quality and small.
pub(super) fn encode(samples: &[f32]) -> Result<Vec<u8>, NotEncoded> {
    let rate = NonZeroU32::new(u32::from(RATE)).expect("not zero");
    // One number for all streams: each is a file of its own.
    let mut encoder = VorbisEncoderBuilder::new_with_serial(rate, NonZeroU8::MIN, Vec::new(), 1)
        .bitrate_management_strategy(VorbisBitrateManagementStrategy::QualityVbr { target_quality: 0.1 })
        .build()?;
    for block in samples.chunks(BLOCK) {
        encoder.encode_audio_block([block])?;
    }
    Ok(encoder.finish()?)
}

/// How much higher so many semitones are.
fn semitones(count: u32) -> f32 {
    (small(count) / 12.0).exp2()
}

fn small(count: u32) -> f32 {
    f32::from(u16::try_from(count).expect("a few"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::assets::{Declared, Shape, probe};

    #[test]
    fn each_advertiser_has_its_own_tune_and_it_is_as_long_as_it_says() {
        let first = tune(7, 1, 15_000);
        assert_eq!(first, tune(7, 1, 15_000));
        assert_ne!(first, tune(7, 2, 15_000));
        assert_ne!(first, tune(8, 1, 15_000));
        let same = first.len() - usize::from(END_SAMPLES);
        assert_eq!(first[..same], tune(7, 1, 20_000)[..same]);
        for advertiser in 0..10 {
            let bytes = encode(&tune(7, advertiser, 15_000)).expect("encoded");
            let facts = probe(Cursor::new(bytes), Declared::Anything, 600_000, &mut || false).expect("a good file");
            let Shape::Audio(audio) = facts.shape else { panic!("a sound") };
            assert!(audio.duration_ms.abs_diff(15_000) < 100, "{audio:?}");
            let loudness = audio.loudness_centi_lufs.expect("to be heard");
            assert!((-3_200..-1_200).contains(&loudness), "{audio:?}");
            assert!(audio.true_peak_centi_dbtp.is_some_and(|peak| peak < 0), "{audio:?}");
        }
    }
}
