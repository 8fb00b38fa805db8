//! The probe on real files, on wrong ones and on damaged ones; the store on a real disk.

use std::io::Cursor;

use proptest::prelude::*;

use super::testkit::{mp3_frames, ogg, png, tone, wav};
use super::*;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{AdvertiserId, ApiKeyId, AssetId, FileKind, MonotonicMs, NetworkId, Now, WallMs};

const DURATION_MS_MAX: u32 = 20_000;

fn probed(bytes: &[u8], said: &str) -> Result<Facts, Rejection> {
    probe(Cursor::new(bytes), declared(said)?, DURATION_MS_MAX, &mut || false)
}

fn audio(bytes: &[u8], said: &str) -> AudioFacts {
    match probed(bytes, said).expect("a good file").shape {
        Shape::Audio(audio) => audio,
        Shape::Image(_) => panic!("an image"),
    }
}

#[track_caller]
fn refused(bytes: &[u8], said: &str, code: &str) {
    let rejection = probed(bytes, said).expect_err(code);
    assert_eq!(rejection.code, code, "{}", rejection.message);
    assert!(!rejection.message.is_empty());
}

#[test]
fn what_a_sound_is_comes_from_its_samples() {
    let facts = audio(&wav(&tone(3.0, 44_100), 44_100, 2), "audio/wav");
    assert_eq!((facts.duration_ms, facts.codec, facts.channels), (3_000, "pcm_s16le", 2));
    assert_eq!((facts.sample_rate, facts.bitrate_kbps), (44_100, 1_411));
    // A sine of amplitude 0.25 peaks at -12.04 dB; in two channels it is as loud in LUFS as its peak in dB, to R 128's own weighting.
    let peak = facts.true_peak_centi_dbtp.expect("not silent");
    assert!((-1_215..-1_195).contains(&peak), "{peak}");
    let loudness = facts.loudness_centi_lufs.expect("loud enough");
    assert!((-1_300..-1_150).contains(&loudness), "{loudness}");

    let facts = audio(&ogg(&tone(3.0, 44_100), 44_100), "audio/ogg");
    assert_eq!((facts.duration_ms, facts.codec, facts.channels, facts.sample_rate), (3_000, "vorbis", 1, 44_100));
    let loudness = facts.loudness_centi_lufs.expect("loud enough");
    assert!((-1_650..-1_400).contains(&loudness), "{loudness}");
    assert_eq!(probed(&ogg(&tone(3.0, 44_100), 44_100), "").expect("undeclared is fine").kind, FileKind::Ogg);
}

#[test]
fn images_are_measured() {
    let facts = probed(&png(300, 250), "image/png").expect("a good image");
    assert_eq!(facts.shape, Shape::Image(ImageFacts { width: 300, height: 250 }));
    refused(&png(300, 250), "image/jpeg", "type_differs");
    refused(&png(0, 250), "image/png", "dimensions");
    refused(&png(300, 100_000), "image/png", "dimensions");
    let whole = png(300, 250);
    refused(&whole[..whole.len() - 12], "image/png", "truncated");
    refused(b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>", "", "svg_not_taken");
    refused(b"<svg/>", "image/svg+xml", "svg_not_taken");
}

#[test]
fn wrong_files_are_told_from_each_other() {
    let good = ogg(&tone(2.0, 22_050), 22_050);
    refused(b"", "audio/ogg", "empty");
    refused(b"hello, this is no sound at all", "audio/mpeg", "not_audio_nor_image");
    refused(&[0; 4_096], "", "not_audio_nor_image");
    refused(&good, "audio/mpeg", "type_differs");
    refused(&good, "video/mp4", "type_not_taken");
    refused(&good[..good.len() / 2], "audio/ogg", "truncated");
    let whole = wav(&tone(2.0, 22_050), 22_050, 1);
    refused(&whole[..whole.len() / 2], "audio/wav", "truncated");
    refused(&wav(&tone(21.0, 8_000), 8_000, 1), "audio/wav", "too_long");
    refused(&wav(&tone(1.0, 4_000), 4_000, 1), "audio/wav", "sample_rate");
    refused(&wav(&tone(1.0, 8_000), 8_000, 4), "audio/wav", "channels");
    refused(&wav(&[], 8_000, 1), "audio/wav", "no_sound");
    refused(b"OggS", "audio/ogg", "truncated");
    refused(b"RIFF\0\0\0\0WAVE", "audio/wav", "malformed");
}

#[test]
fn time_to_decode_is_bounded() {
    let bytes = wav(&tone(2.0, 22_050), 22_050, 1);
    let mut asked = 0;
    let mut is_late = || {
        asked += 1;
        asked > 2
    };
    let rejection = probe(Cursor::new(&bytes), Declared::Anything, DURATION_MS_MAX, &mut is_late).expect_err("late");
    assert_eq!(rejection.code, "too_slow");
}

#[test]
fn mpeg_frames_are_decoded() {
    // Frames of zeros: silence that decodes.
    let facts = audio(&mp3_frames(100), "audio/mpeg");
    assert_eq!((facts.codec, facts.sample_rate, facts.loudness_centi_lufs), ("mp3", 44_100, None));
    assert!((2_550..2_650).contains(&facts.duration_ms), "{}", facts.duration_ms);
    let mut tagged = b"ID3\x04\0\0\0\0\0\x10".to_vec();
    tagged.extend([0; 16]);
    tagged.extend(mp3_frames(100));
    assert_eq!(audio(&tagged, "audio/mpeg").codec, "mp3");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_does_more_than_refuse_or_be_heard(
        which in 0_usize..4,
        cut in 0.0_f64..1.0,
        flips in prop::collection::vec((0.0_f64..1.0, 0_u8..8), 0..6),
    ) {
        static FILES: std::sync::OnceLock<[Vec<u8>; 4]> = std::sync::OnceLock::new();
        let files = FILES.get_or_init(|| {
            let samples = tone(0.5, 22_050);
            [wav(&samples, 22_050, 1), ogg(&samples, 22_050), png(10, 10), mp3_frames(20)]
        });
        let mut bytes = files[which].clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let place = |part: f64, length: usize| (part * length as f64) as usize;
        if flips.is_empty() {
            bytes.truncate(place(cut, bytes.len()));
        }
        for (part, bit) in flips {
            let at = place(part, bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let said = ["audio/wav", "audio/ogg", "image/png", "audio/mpeg"][which];
        match probed(&bytes, said) {
            Ok(facts) => prop_assert_eq!(facts.bytes, bytes.len() as u64),
            Err(rejection) => prop_assert!(!rejection.message.is_empty()),
        }
    }
}

fn limits() -> Limits {
    Limits {
        bytes_max: 4 << 20,
        duration_ms_min: 1_000,
        duration_ms_max: DURATION_MS_MAX,
        kinds: vec![FileKind::Ogg, FileKind::Wav],
        loudness_centi_lufs: (-2_400, -1_200),
        true_peak_centi_dbtp_max: 0,
        loudness_rule: LoudnessRule::Warn,
    }
}

#[test]
fn limits_refuse_or_warn() {
    let judge = |bytes: &[u8], limits: &Limits| {
        let judged = limits.judge(&probed(bytes, "").expect("a good file"));
        judged.map(|warnings| warnings.iter().map(|warning| warning.code).collect::<Vec<_>>()).map_err(|no| no.code)
    };
    let usual = ogg(&tone(2.0, 22_050), 22_050);
    assert_eq!(judge(&usual, &limits()), Ok(vec![]));
    assert_eq!(judge(&mp3_frames(100), &limits()), Err("format_not_taken"));
    assert_eq!(judge(&wav(&tone(0.5, 22_050), 22_050, 1), &limits()), Err("too_short"));
    assert_eq!(judge(&wav(&vec![0.0; 44_100], 22_050, 1), &limits()), Err("silent"));
    let loud: Vec<f32> = tone(2.0, 22_050).iter().map(|sample| sample * 3.0).collect();
    assert_eq!(judge(&wav(&loud, 22_050, 2), &limits()), Ok(vec!["too_loud"]));
    let strict = Limits { loudness_rule: LoudnessRule::Refuse, ..limits() };
    assert_eq!(judge(&wav(&loud, 22_050, 2), &strict), Err("too_loud"));
    let quiet: Vec<f32> = tone(2.0, 22_050).iter().map(|sample| sample / 50.0).collect();
    assert_eq!(judge(&wav(&quiet, 22_050, 1), &limits()), Ok(vec!["too_quiet"]));
    assert_eq!(judge(&png(1, 1), &limits()), Ok(vec![]));
}

const NOW: Now = Now { wall: WallMs(1_790_000_000_000), monotonic: MonotonicMs(0) };
const OWNER: Owner = Owner { network_id: NetworkId::from_u128(1), advertiser_id: AdvertiserId::from_u128(2) };
const OTHER: Owner = Owner { network_id: NetworkId::from_u128(1), advertiser_id: AdvertiserId::from_u128(3) };

fn open(dir: &std::path::Path) -> (AssetStore, crate::clock::ManualClock) {
    let (clock, hand) = Clock::manual(NOW);
    let settings = StoreSettings { dir: dir.join("assets"), limits: limits() };
    (AssetStore::open(settings, clock, Entropy::real()).expect("opens"), hand)
}

async fn take(store: &AssetStore, bytes: &[u8], owner: Owner) -> Result<AssetRow, TakeError> {
    let mut incoming = store.begin().await?;
    for chunk in bytes.chunks(10_000) {
        store.add(&mut incoming, actix_web::web::Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(store.finish(incoming, owner, Declared::Anything).await?.0)
}

fn files_in(dir: &std::path::Path) -> usize {
    std::fs::read_dir(dir).expect("a folder").count()
}

#[tokio::test]
async fn bytes_are_kept_once_and_belong_to_who_sent_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes = ogg(&tone(2.0, 22_050), 22_050);
    let (store, _) = open(dir.path());
    let row = take(&store, &bytes, OWNER).await.expect("taken");
    assert_eq!(row.id, AssetId(*blake3::hash(&bytes).as_bytes()));
    assert_eq!(take(&store, &bytes, OWNER).await.expect("again"), row);
    assert_eq!(store.row(OTHER, row.id).await.expect("read"), None);
    let elsewhere = NetworkId::from_u128(9);
    assert_eq!(store.find(elsewhere, row.id).await.expect("read"), None);
    take(&store, &bytes, OTHER).await.expect("the other's too");
    assert_eq!(store.find(OWNER.network_id, row.id).await.expect("read"), Some(row));
    let objects = dir.path().join("assets/objects").join(&row.id.to_string()[..2]);
    assert_eq!((files_in(&objects), files_in(&dir.path().join("assets/tmp"))), (1, 0));

    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!(store.row(OWNER, row.id).await.expect("read"), Some(row));
    let file = store.open_file(row.file()).await.expect("opens").expect("is there");
    let read = store.read(&file, 10, 20).await.expect("reads");
    assert_eq!((file.bytes, &read[..]), (bytes.len() as u64, &bytes[10..30]));
    let other = crate::model::AssetFile { kind: FileKind::Mp3, ..row.file() };
    assert!(store.open_file(other).await.expect("looks").is_none());
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = open(dir.path());
    let refused = take(&store, b"no sound", OWNER).await.expect_err("refused");
    assert!(matches!(refused, TakeError::Rejected(Rejection { code: "not_audio_nor_image", .. })), "{refused}");
    let refused = take(&store, &vec![0; (4 << 20) + 1], OWNER).await.expect_err("refused");
    assert!(matches!(refused, TakeError::Rejected(Rejection { code: "too_large", .. })), "{refused}");
    drop(store);
    let assets = dir.path().join("assets");
    assert_eq!((files_in(&assets.join("objects")), files_in(&assets.join("tmp"))), (0, 0));
}

#[tokio::test]
async fn uploads_go_on_where_they_were_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes = ogg(&tone(2.0, 22_050), 22_050);
    let (half, length) = (bytes.len() / 2, bytes.len() as u64);
    let (key, stranger) = (ApiKeyId::from_u128(1), ApiKeyId::from_u128(2));
    let piece = |range: std::ops::Range<usize>| actix_web::web::Bytes::copy_from_slice(&bytes[range]);
    let (store, _) = open(dir.path());
    let uploader = Uploader::new(store);
    let id = uploader.create(key, OWNER, length, "audio/ogg".to_owned()).await.expect("begun").id;
    let mut held = uploader.hold(id, key, 0).await.expect("held");
    assert!(matches!(uploader.hold(id, key, 0).await, Err(UploadError::Locked)));
    uploader.add(&mut held, piece(0..half)).await.expect("added");
    assert!(uploader.pause(&mut held).await.expect("kept").is_none());
    drop((held, uploader));

    let (store, hand) = open(dir.path());
    let uploader = Uploader::new(store.clone());
    assert!(matches!(uploader.look(id, stranger).await, Err(UploadError::Absent)));
    assert!(matches!(uploader.hold(id, key, 0).await, Err(UploadError::Elsewhere { .. })));
    let at = uploader.look(id, key).await.expect("known").offset;
    assert_eq!(at, half as u64);
    let mut held = uploader.hold(id, key, at).await.expect("held");
    let over = uploader.add(&mut held, piece(0..bytes.len())).await.expect_err("too much");
    assert!(matches!(over, UploadError::Take(TakeError::Rejected(_))));
    uploader.add(&mut held, piece(half..bytes.len())).await.expect("added");
    let (row, _) = uploader.pause(&mut held).await.expect("taken").expect("complete");
    drop(held);
    assert_eq!(uploader.look(id, key).await.expect("known").asset, Some(row.id));
    assert_eq!(store.row(OWNER, row.id).await.expect("read"), Some(row));

    for _ in 0..UPLOADS_PER_KEY_MAX {
        uploader.create(key, OWNER, 10, String::new()).await.expect("begun");
    }
    assert!(matches!(uploader.create(key, OWNER, 10, String::new()).await, Err(UploadError::TooMany)));
    uploader.create(stranger, OWNER, 10, String::new()).await.expect("another key's");
    hand.advance(25 * 3_600_000);
    assert!(matches!(uploader.look(id, key).await, Err(UploadError::Absent)));
    uploader.create(key, OWNER, 10, String::new()).await.expect("the old ones are forgotten");
    assert_eq!(files_in(&dir.path().join("assets/uploads")), 2);
}
