//! The bytes, held by golden files: what an earlier version wrote must be read for ever (INV-21). `UPDATE_GOLDEN=1` rewrites them.

use super::*;

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file can be written");
    }
    std::fs::read(&path).expect("the golden file is there")
}

fn journal_of(disk: &SimDisk) -> Journal {
    let config = JournalConfig { segment_bytes: 1_024, ..small(Durability::Synced) };
    let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = move || WallMs(i64::try_from(clock.fetch_add(1, Ordering::Relaxed)).expect("a date"));
    Journal::open(disk.shared(), DIR, config, identity(), Drive::Inline, Box::new(clock)).expect("opens")
}

/// Two batches: two records and one.
fn write_sample(disk: &SimDisk) -> Journal {
    let journal = journal_of(disk);
    let of_kind = |kind: u8, payload: &[u8]| Entry { kind, payload: payload.to_vec() };
    journal.append_blocking(vec![of_kind(1, b"heard"), of_kind(2, b"")]).expect("appended");
    journal.append_blocking(vec![of_kind(1, &[0xff; 64])]).expect("appended");
    journal
}

fn record(seq: u64, at: i64, kind: u8, flags: u8, payload: &[u8]) -> JournalRecord {
    JournalRecord { seq, at: WallMs(1_700_000_000_000 + at), kind, flags, payload: payload.to_vec() }
}

fn sample_records() -> [JournalRecord; 3] {
    [record(0, 0, 1, 1, b"heard"), record(1, 0, 2, 0, b""), record(2, 1, 1, 1, &[0xff; 64])]
}

fn read_golden(bytes: &[u8]) -> (Vec<JournalRecord>, Tail) {
    let disk = SimDisk::new();
    let path = Path::new(DIR).join("0000000001.seg");
    disk.shared().create(&path).expect("created");
    disk.replace_file(&path, bytes).expect("there");
    let mut reader = read_dir(disk.shared(), DIR).expect("lists");
    let records = reader.by_ref().collect::<Result<_, _>>().expect("reads");
    (records, reader.tail().clone())
}

#[test]
fn golden_segment() {
    let disk = SimDisk::new();
    drop(write_sample(&disk));
    let bytes = disk.read_file(&segment_paths(&disk)[0]).expect("there");
    let kept = golden("journal-clean.bin", &bytes);
    assert!(kept == bytes, "the format has changed; if that is meant it is another version");
    assert_eq!(read_golden(&kept), (sample_records().to_vec(), Tail::Clean));
}

#[test]
fn golden_torn_segment() {
    let disk = SimDisk::new();
    let journal = write_sample(&disk);
    let before = disk.operations();
    disk.die_after(1);
    journal.append_blocking(vec![entry(b"never acknowledged".as_slice())]).expect_err("died in the write");
    assert_eq!(disk.operations(), before + 1);
    let mut bytes = disk.read_file(&segment_paths(&disk)[0]).expect("there");
    // The machine died when ten bytes of the payload had been written.
    bytes[240 + 36..].fill(0);
    let kept = golden("journal-torn.bin", &bytes);
    assert!(kept == bytes, "the format has changed; if that is meant it is another version");
    let (records, tail) = read_golden(&kept);
    assert_eq!(records, sample_records());
    let Tail::Torn(torn) = tail else { panic!("a torn end was not noticed") };
    assert_eq!((torn.offset, torn.bytes, torn.seq, torn.defect), (240, 36, 3, Defect::Checksum));
}

#[test]
fn the_header_stands_where_the_page_says() {
    // The table in schemas/journal.md, field by field, against bytes written by hand.
    let header = format::SegmentHeader {
        segment_bytes: 0x0400_0000,
        server: ServerId::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        boot: BootId::from_u128(0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20),
        number: 3,
        first_seq: 1_000,
        base_at: WallMs(1_700_000_000_000),
        synced: true,
    };
    let mut expected = Vec::new();
    expected.extend_from_slice(b"SEGUEJNL");
    expected.extend_from_slice(&[1, 0, 0, 0]);
    expected.extend_from_slice(&[0, 0, 0, 4]);
    expected.extend_from_slice(&(1..=0x20).collect::<Vec<u8>>());
    expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0xe8, 3, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0]);
    expected.extend_from_slice(&[1, 0, 0, 0]);
    expected.extend_from_slice(&bitwise_crc32c(&expected).to_le_bytes());
    assert_eq!(header.encode().as_slice(), expected);
    assert_eq!(format::SegmentHeader::decode(&expected), Ok(header));
}

#[test]
fn the_record_stands_where_the_page_says() {
    let mut expected = vec![29, 0, 0, 0];
    let mut rest = vec![7, 0, 0, 0, 0, 0, 0, 0];
    rest.extend_from_slice(&[0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0]);
    rest.extend_from_slice(&[5, 1]);
    rest.extend_from_slice(b"abc");
    let crc = bitwise_crc32c(&[expected.clone(), rest.clone()].concat());
    expected.extend_from_slice(&crc.to_le_bytes());
    expected.extend_from_slice(&rest);
    expected.extend_from_slice(&[0; 3]);
    let mut bytes = Vec::new();
    format::encode_record(&mut bytes, 7, WallMs(1_700_000_000_000), 5, format::FLAG_FIRST_OF_BATCH, b"abc");
    assert_eq!(bytes, expected);
}

/// CRC-32C (Castagnoli, RFC 3720 B.4), a bit at a time: the oracle of the fast one.
fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn versions_and_strangers_are_refused_by_name() {
    let disk = SimDisk::new();
    drop(write_sample(&disk));
    let good = disk.read_file(&segment_paths(&disk)[0]).expect("there");
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let crc = bitwise_crc32c(&bytes[..76]);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
        format::SegmentHeader::decode(&bytes).expect_err("refused")
    };
    assert_eq!(changed(|bytes| bytes[8] = 2), Defect::Version(2));
    assert_eq!(changed(|bytes| bytes[0] = b'X'), Defect::Magic);
    assert_eq!(changed(|bytes| bytes[63] = 0xff), Defect::SequenceRange(0xff00_0000_0000_0000));
    assert_eq!(format::SegmentHeader::decode(&good[..79]), Err(Defect::HeaderShort));
}
