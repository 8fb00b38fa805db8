//! Real files for tests: WAV written by hand, Vorbis by the encoder.

use std::num::{NonZeroU8, NonZeroU32};

use vorbis_rs::VorbisEncoderBuilder;

/// A tone of 440 Hz that fades in and out; about -18 LUFS.
pub(crate) fn tone(seconds: f32, rate: u16) -> Vec<f32> {
    let mut samples = Vec::new();
    let mut at = 0.0_f32;
    while at < seconds {
        samples.push(0.25 * (at * 440.0 * std::f32::consts::TAU).sin());
        at = f32::from(u16::try_from(samples.len() / 1_000).expect("short")) * 1_000.0 / f32::from(rate)
            + f32::from(u16::try_from(samples.len() % 1_000).expect("small")) / f32::from(rate);
    }
    samples
}

/// PCM in WAV, 16 bits, the same in each channel.
pub(crate) fn wav(samples: &[f32], rate: u16, channels: u16) -> Vec<u8> {
    let frames = u32::try_from(samples.len()).expect("short");
    let data = frames * u32::from(channels) * 2;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(u32::from(rate).to_le_bytes());
    bytes.extend((u32::from(rate) * u32::from(channels) * 2).to_le_bytes());
    bytes.extend((channels * 2).to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data.to_le_bytes());
    for sample in samples {
        #[expect(clippy::cast_possible_truncation, reason = "clamped")]
        let sample = (sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16;
        for _ in 0..channels {
            bytes.extend(sample.to_le_bytes());
        }
    }
    bytes
}

/// Mono Vorbis in Ogg.
pub(crate) fn ogg(samples: &[f32], rate: u16) -> Vec<u8> {
    let rate = NonZeroU32::new(u32::from(rate)).expect("a rate");
    let mut encoder =
        VorbisEncoderBuilder::new_with_serial(rate, NonZeroU8::MIN, Vec::new(), 7).build().expect("an encoder");
    for block in samples.chunks(4_096) {
        encoder.encode_audio_block([block]).expect("encodes");
    }
    encoder.finish().expect("ends")
}

/// The smallest PNG there is: one pixel. Its checksums are not looked at.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"\0\0\0\0IDAT\0\0\0\0\0\0\0\0IEND\xae\x42\x60\x82");
    bytes
}

/// An MP3 of 38 kbit/s: silence that is not quite silent is not needed, headers are. One frame of MPEG 1 layer III, 128 kbit/s, 44.1 kHz.
pub(crate) fn mp3_frames(count: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x90, 0x64];
    frame.resize(417, 0);
    frame.repeat(count)
}
