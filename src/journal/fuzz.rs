//! The reader against arbitrary bytes.
//!
//! The house's pattern for fuzz targets: a file `fuzz.rs` in the module that takes input from outside; in it, tests whose names begin with
//! `fuzz_` and that call `bolero::check!()`. They are ordinary tests: first each file of the committed corpus in
//! `__fuzz__/<module>__fuzz__<name without fuzz_>/corpus/` beside `fuzz.rs` is tried (and `crashes/`, where a found input is committed with its fix), then random
//! inputs for one second, or for `BOLERO_RANDOM_TEST_TIME_MS` milliseconds where that is set (CI: 10 s; `make fuzz SECONDS=`: as
//! long as is asked). A failure prints the seed, which `BOLERO_RANDOM_SEED` plays again. As random bytes hardly ever get past a
//! checksum, a target also takes the bytes as changes to something valid.

use super::format::{Decoded, HEADER_BYTES, JournalRecord, SegmentHeader, decode_record, encode_record, stored_bytes};
use super::*;
use crate::model::{BootId, ServerId};

const SEGMENT_BYTES: u32 = 2_048;

/// A good segment with some records.
fn good_segment() -> (Vec<u8>, Vec<JournalRecord>) {
    let header = SegmentHeader {
        segment_bytes: SEGMENT_BYTES,
        server: ServerId::from_u128(1),
        boot: BootId::from_u128(2),
        number: 1,
        first_seq: 0,
        base_at: WallMs(5),
        synced: true,
    };
    let mut bytes = header.encode().to_vec();
    let mut records = Vec::new();
    for seq in 0..6_u8 {
        let payload = vec![seq; 40 * usize::from(seq)];
        let record = JournalRecord { seq: seq.into(), at: WallMs(9), kind: seq, flags: seq % 2, payload };
        encode_record(&mut bytes, record.seq, record.at, record.kind, record.flags, &record.payload);
        records.push(record);
    }
    bytes.resize(SEGMENT_BYTES as usize, 0);
    (bytes, records)
}

/// Takes the input as changes: {place u16, byte u8} each.
fn changed(mut bytes: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[place] = change[2];
    }
    bytes
}

fn disk_with(segment: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    let path = Path::new("journal/0000000001.seg");
    disk.shared().create(path).expect("created");
    disk.replace_file(path, segment).expect("there");
    disk
}

/// What any bytes in place of a segment must do: end, in records whose checksums are right and errors that name places in the file.
fn check_segment(segment: &[u8]) -> Vec<JournalRecord> {
    let disk = disk_with(segment);
    let mut records = Vec::new();
    // Every step forward is at least 8 bytes of the file, or the end of it.
    for step in read_dir(disk.shared(), "journal").expect("lists").take(segment.len() + 3) {
        match step {
            Ok(record) => {
                let mut bytes = Vec::new();
                encode_record(&mut bytes, record.seq, record.at, record.kind, record.flags, &record.payload);
                let stands = segment.windows(bytes.len()).any(|window| window == bytes);
                // A stored time beyond an i64 reads as the last one there is, so it doesn't encode to the same bytes.
                assert!(stands || record.at == WallMs(i64::MAX), "a record that is not in the file: {record:?}");
                records.push(record);
            }
            Err(ReadError::Damaged { damage, .. }) => assert!(damage.offset <= segment.len() as u64),
            Err(error) => panic!("{error}"),
        }
    }
    records
}

/// What recovery must make of it: a refusal, or a journal that takes another record and reads back without a torn end.
fn check_recovery(segment: &[u8]) {
    let disk = disk_with(segment);
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES, ..JournalConfig::money() };
    let identity = Identity { server: ServerId::from_u128(1), boot: BootId::from_u128(3) };
    let open = || {
        let clock = Box::new(|| WallMs(9));
        Journal::open(disk.shared(), "journal", config.clone(), identity, Drive::Inline, clock)
    };
    let Ok(journal) = open() else { return };
    let end = journal.durable_end();
    let appended = journal.append_blocking(vec![Entry { kind: 1, payload: b"one more".to_vec() }]).expect("appended");
    assert_eq!(appended.first_seq, end);
    let damage = journal.recovery().damage.clone();
    drop(journal);
    let again = open().expect("opens again");
    assert_eq!(again.durable_end(), end + 1);
    assert_eq!(again.recovery().torn, None);
    assert_eq!(again.recovery().damage.len(), damage.len());
}

#[test]
fn fuzz_journal_reader() {
    bolero::check!().for_each(|input: &[u8]| {
        let (good, written) = good_segment();
        // Raw; behind a good header; and as changes to a good segment.
        check_segment(input);
        check_recovery(input);
        let mut behind_header = good[..HEADER_BYTES].to_vec();
        behind_header.extend_from_slice(input);
        check_segment(&behind_header);
        check_recovery(&behind_header);
        let segment = changed(good, input);
        // Three changed bytes at most in each record could in principle be another record with a right checksum; CRC32C excludes it.
        if input.len() <= 9 {
            for record in check_segment(&segment) {
                assert!(written.contains(&record), "changed and not noticed: {record:?}");
            }
        }
        check_recovery(&segment);
    });
}

#[test]
fn fuzz_journal_record() {
    bolero::check!().for_each(|input: &[u8]| {
        for at_end_of_file in [false, true] {
            match decode_record(input, at_end_of_file) {
                Decoded::Record(view) => assert_eq!(view.stored_bytes, stored_bytes(view.payload.len())),
                Decoded::Short(needed) => assert!(!at_end_of_file && needed > input.len()),
                Decoded::End | Decoded::Bad(_) => {}
            }
        }
    });
}
