//! Sound, decoded from the first frame to the last: its length, its loudness, its peak.
//!
//! The container says little that is believed: the length is that of the decoded frames. What is bounded: channels, sample rate, decoded
//! length (so that a small file can't stand for hours of samples), packets, and time.

use std::io::{self, Read, Seek, SeekFrom};

use ebur128::{EbuR128, Mode};
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::{Hint, Probe};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::default::{formats, get_codecs, meta};

use super::probe::{AudioFacts, Rejection, unreadable};
use crate::model::FileKind;

/// Players play one or two channels.
const CHANNELS_MAX: usize = 2;
/// Sample rates that players play, in Hz.
const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Most packets of a file: ten minutes of the shortest that the codecs know (64 frames at 48 kHz) are 450,000.
const PACKETS_MAX: u32 = 1_000_000;
/// Packets that may be damaged: a cut MP3 begins with one or two frames that refer to what was cut away.
const DAMAGED_PACKETS_MAX: u32 = 2;
/// How much shorter than its header says sound may be, in milliseconds, before it counts as cut off.
const MISSING_MS_MAX: u64 = 200;
/// Bytes at the end of an Ogg file in which its last page begins: a page has at most 65,307.
const OGG_TAIL_BYTES: u64 = 65_536;

/// A reader whose length is known.
struct Source<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl<R: Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

impl<R: Read + Seek + Send + Sync> MediaSource for Source<R> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.bytes)
    }
}

/// Decodes all of it.
pub(super) fn decode<R: Read + Seek + Send + Sync>(
    reader: &mut R,
    bytes: u64,
    kind: FileKind,
    duration_ms_max: u32,
    is_late: &mut dyn FnMut() -> bool,
) -> Result<AudioFacts, Rejection> {
    if kind == FileKind::Ogg {
        expect_last_page(reader, bytes)?;
    }
    let stream = MediaSourceStream::new(Box::new(Source { reader, bytes }), MediaSourceStreamOptions::default());
    let mut format = probe_of(kind)
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| refused(&error))?;
    let track = the_track(&*format)?;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| Rejection::new("malformed", "its sound has no description"))?;
    let codec = codec_word(parameters.codec)?;
    let promised = if matches!(kind, FileKind::Wav | FileKind::Flac | FileKind::M4a) { track.num_frames } else { None };
    let decoder = get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default().verify(true))
        .map_err(|error| refused(&error))?;
    let track_id = track.id;
    let mut listening = Listening { decoder, meter: None, frames: 0, damaged: 0, duration_ms_max };
    let mut packets = 0_u32;
    while let Some(packet) = format.next_packet().map_err(|error| refused(&error))? {
        packets += 1;
        if packets > PACKETS_MAX {
            return Err(Rejection::new("too_many_packets", format!("more than {PACKETS_MAX} packets")));
        }
        if is_late() {
            return Err(Rejection::new("too_slow", "decoding it takes too long"));
        }
        if packet.track_id == track_id {
            listening.hear(&packet)?;
        }
    }
    listening.finish(codec, bytes, promised)
}

/// A probe that knows one container: a file is what its first bytes say, or nothing.
fn probe_of(kind: FileKind) -> Probe {
    let mut probe = Probe::default();
    match kind {
        FileKind::Mp3 => probe.register_format::<formats::MpaReader<'_>>(),
        FileKind::Ogg => probe.register_format::<formats::OggReader<'_>>(),
        FileKind::Wav => probe.register_format::<formats::WavReader<'_>>(),
        FileKind::Flac => probe.register_format::<formats::FlacReader<'_>>(),
        FileKind::Aac => probe.register_format::<formats::AdtsReader<'_>>(),
        FileKind::M4a => probe.register_format::<formats::IsoMp4Reader<'_>>(),
        FileKind::Png | FileKind::Jpeg => {}
    }
    probe.register_metadata::<meta::Id3v2Reader<'_>>();
    probe.register_metadata::<meta::Id3v1Reader<'_>>();
    probe.register_metadata::<meta::ApeReader<'_>>();
    probe
}

/// The one track of sound.
fn the_track(format: &dyn FormatReader) -> Result<&Track, Rejection> {
    let of = |wanted| format.tracks().iter().filter(move |track| track.track_type() == Some(wanted));
    if of(TrackType::Video).next().is_some() {
        return Err(Rejection::new("has_video", "the file has pictures that move; send its sound alone"));
    }
    let mut tracks = of(TrackType::Audio);
    match (tracks.next(), tracks.next()) {
        (Some(track), None) => Ok(track),
        (Some(_), Some(_)) => Err(Rejection::new("several_tracks", "the file has more than one track of sound")),
        (None, _) => Err(Rejection::new("no_sound", "the file has no sound that is known here")),
    }
}

fn codec_word(codec: AudioCodecId) -> Result<&'static str, Rejection> {
    match codec {
        codecs::CODEC_ID_MP3 => Ok("mp3"),
        codecs::CODEC_ID_VORBIS => Ok("vorbis"),
        codecs::CODEC_ID_FLAC => Ok("flac"),
        codecs::CODEC_ID_AAC => Ok("aac"),
        codecs::CODEC_ID_PCM_S16LE => Ok("pcm_s16le"),
        codecs::CODEC_ID_PCM_S24LE => Ok("pcm_s24le"),
        codecs::CODEC_ID_PCM_S32LE => Ok("pcm_s32le"),
        codecs::CODEC_ID_PCM_F32LE => Ok("pcm_f32le"),
        codecs::CODEC_ID_PCM_U8 => Ok("pcm_u8"),
        codecs::CODEC_ID_OPUS => Err(Rejection::new("codec_not_taken", "the sound is Opus; send Vorbis, MP3 or AAC")),
        _ => Err(Rejection::new("codec_not_taken", "the sound is encoded in a way that is not taken")),
    }
}

/// A file in mid-decoding.
struct Listening {
    decoder: Box<dyn AudioDecoder>,
    meter: Option<Meter>,
    frames: u64,
    damaged: u32,
    duration_ms_max: u32,
}

/// The loudness so far, at the sample rate and with the channels of the first frame.
struct Meter {
    loudness: EbuR128,
    rate: u32,
    channels: usize,
    samples: Vec<f32>,
}

impl Listening {
    fn hear(&mut self, packet: &symphonia::core::packet::Packet) -> Result<(), Rejection> {
        let decoded = match self.decoder.decode(packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(reason)) => {
                self.damaged += 1;
                if self.damaged > DAMAGED_PACKETS_MAX {
                    return Err(Rejection::new("damaged", format!("the sound is damaged: {reason}")));
                }
                return Ok(());
            }
            Err(error) => return Err(refused(&error)),
        };
        if decoded.frames() == 0 {
            return Ok(());
        }
        let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        let meter = match &mut self.meter {
            Some(meter) => meter,
            none => none.insert(Meter::new(rate, channels)?),
        };
        if (meter.rate, meter.channels) != (rate, channels) {
            return Err(Rejection::new("changes", "sample rate or channels change in the middle"));
        }
        self.frames += decoded.frames() as u64;
        if duration_ms(self.frames, rate) > u64::from(self.duration_ms_max) {
            return Err(Rejection::new("too_long", format!("longer than {} ms", self.duration_ms_max)));
        }
        decoded.copy_to_vec_interleaved(&mut meter.samples);
        if meter.samples.iter().any(|sample| !sample.is_finite()) {
            return Err(Rejection::new("damaged", "samples that are no numbers"));
        }
        meter.loudness.add_frames_f32(&meter.samples).map_err(|_| unmeasured())
    }

    fn finish(mut self, codec: &'static str, bytes: u64, promised: Option<u64>) -> Result<AudioFacts, Rejection> {
        if self.decoder.finalize().verify_ok == Some(false) {
            return Err(Rejection::new("damaged", "the sound is not what its checksum says"));
        }
        let Some(meter) = self.meter else { return Err(Rejection::new("no_sound", "not one frame can be decoded")) };
        let length_ms = duration_ms(self.frames, meter.rate);
        let promised_ms = promised.map_or(0, |frames| duration_ms(frames, meter.rate));
        if promised_ms > length_ms.saturating_add(MISSING_MS_MAX) {
            let message = format!("its header says {promised_ms} ms, there are {length_ms}");
            return Err(Rejection::new("truncated", message));
        }
        let kbps = bytes.saturating_mul(8) / length_ms.max(1);
        let (loudness, peak) = meter.measure()?;
        Ok(AudioFacts {
            duration_ms: u32::try_from(length_ms).expect("at most duration_ms_max"),
            codec,
            channels: u8::try_from(meter.channels).expect("at most CHANNELS_MAX"),
            sample_rate: meter.rate,
            bitrate_kbps: u32::try_from(kbps.max(1)).unwrap_or(u32::MAX),
            loudness_centi_lufs: loudness,
            true_peak_centi_dbtp: peak,
        })
    }
}

impl Meter {
    fn new(rate: u32, channels: usize) -> Result<Self, Rejection> {
        if !SAMPLE_RATES.contains(&rate) {
            let message = format!("{rate} Hz; {} to {} are taken", SAMPLE_RATES.start(), SAMPLE_RATES.end());
            return Err(Rejection::new("sample_rate", message));
        }
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return Err(Rejection::new("channels", format!("{channels} channels; mono and stereo are taken")));
        }
        let counted = u32::try_from(channels).expect("at most CHANNELS_MAX");
        let loudness = EbuR128::new(counted, rate, Mode::I | Mode::TRUE_PEAK).map_err(|_| unmeasured())?;
        Ok(Self { loudness, rate, channels, samples: Vec::new() })
    }

    fn measure(&self) -> Result<(Option<i32>, Option<i32>), Rejection> {
        let loudness = self.loudness.loudness_global().map_err(|_| unmeasured())?;
        let mut peak = 0.0_f64;
        for channel in (0_u32..).take(self.channels) {
            peak = peak.max(self.loudness.true_peak(channel).map_err(|_| unmeasured())?);
        }
        Ok((centi(loudness), centi(20.0 * peak.log10())))
    }
}

/// Hundredths of a decibel; nothing for what is infinitely low.
#[expect(clippy::cast_possible_truncation, reason = "clamped before")]
fn centi(decibels: f64) -> Option<i32> {
    decibels.is_finite().then(|| (decibels * 100.0).round().clamp(-100_000.0, 100_000.0) as i32)
}

/// Milliseconds, rounded.
fn duration_ms(frames: u64, rate: u32) -> u64 {
    let rate = u64::from(rate.max(1));
    frames.saturating_mul(1_000).saturating_add(rate / 2) / rate
}

/// An Ogg file ends with a page that says so; one that was cut off does not.
fn expect_last_page<R: Read + Seek>(reader: &mut R, bytes: u64) -> Result<(), Rejection> {
    reader.seek(SeekFrom::Start(bytes.saturating_sub(OGG_TAIL_BYTES))).map_err(|error| unreadable(&error))?;
    let mut tail = Vec::new();
    reader.take(OGG_TAIL_BYTES).read_to_end(&mut tail).map_err(|error| unreadable(&error))?;
    reader.rewind().map_err(|error| unreadable(&error))?;
    let ends = |at: usize| {
        let page = &tail[at..];
        let segments = usize::from(*page.get(26)?);
        let body: usize = page.get(27..27 + segments)?.iter().map(|lacing| usize::from(*lacing)).sum();
        Some(page.get(5)? & 4 != 0 && page.len() == 27 + segments + body)
    };
    let mut pages = tail.windows(4).enumerate().filter(|(_, window)| *window == b"OggS").map(|(at, _)| at);
    if pages.any(|at| ends(at) == Some(true)) {
        Ok(())
    } else {
        Err(Rejection::new("truncated", "the file breaks off before the page that ends its stream"))
    }
}

fn refused(error: &Error) -> Rejection {
    match error {
        Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Rejection::new("truncated", "the file breaks off in the middle")
        }
        Error::IoError(error) => unreadable(error),
        Error::LimitError(limit) => Rejection::new("too_complex", format!("a limit is passed: {limit}")),
        Error::ResetRequired => Rejection::new("several_streams", "the file has several streams, one after the other"),
        Error::Unsupported(what) => Rejection::new("codec_not_taken", format!("not supported: {what}")),
        Error::DecodeError(reason) => Rejection::new("malformed", (*reason).to_owned()),
        // A seek that failed, and whatever a later version of the decoder adds.
        _ => Rejection::new("malformed", "the file's parts are not where it says"),
    }
}

fn unmeasured() -> Rejection {
    Rejection::new("malformed", "its loudness can't be measured")
}
