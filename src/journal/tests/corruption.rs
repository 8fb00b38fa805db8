//! Damage at rest: it is found, it is named, and it is never taken for a torn write.

use super::*;

/// What reading a closed journal tells about damage: the file and the offset.
fn first_complaint(disk: &SimDisk, expected: &[Vec<u8>]) -> Option<(String, u64)> {
    let mut reader = read_dir(disk.shared(), DIR).expect("lists");
    let mut complaint = None;
    for record in &mut reader {
        match record {
            Ok(record) => {
                let place = usize::try_from(record.seq).expect("small");
                assert_eq!(Some(&record.payload), expected.get(place), "a wrong record was read");
            }
            Err(ReadError::Damaged { damage, .. }) => {
                complaint.get_or_insert((damage.file, damage.offset));
            }
            Err(error) => panic!("{error}"),
        }
    }
    match reader.tail() {
        Tail::Torn(torn) => complaint.or(Some((torn.file.clone(), torn.offset))),
        Tail::Clean => complaint,
    }
}

#[test]
fn every_flipped_bit_is_found_and_named() {
    // INV-28.
    let disk = SimDisk::new();
    let expected = some_journal(&disk);
    assert_eq!(first_complaint(&disk, &expected), None);
    let paths = segment_paths(&disk);
    assert_eq!(paths.len(), 3);
    let mut flips = 0;
    for path in &paths {
        let bytes = disk.read_file(path).expect("there");
        // The byte's number picks the bit, so that all bits have their turn and the test its speed.
        for offset in 0..bytes.len() as u64 {
            let bit = u32::try_from(offset % 8).expect("small");
            disk.flip_bit(path, offset, bit).expect("flipped");
            let (file, at) = first_complaint(&disk, &expected)
                .unwrap_or_else(|| panic!("bit {bit} of byte {offset} of {path:?} was not found"));
            // A record of 330 bytes stands between the place named and the flip at most; what follows the last record is one place.
            let last_record_end = bytes.iter().rposition(|&byte| byte != 0).expect("written") as u64 + 1;
            let reach = if offset > last_record_end { bytes.len() as u64 } else { 344 };
            assert!(file == path_text(path), "{offset} in {path:?} was blamed on {file}");
            assert!(at <= offset && offset - at < reach, "byte {offset} of {path:?} was blamed on byte {at}");
            disk.flip_bit(path, offset, bit).expect("flipped back");
            flips += 1;
        }
    }
    assert_eq!(flips, 3 * 4_096);
}

#[test]
fn damage_is_put_aside_with_an_alarm_and_the_journal_goes_on_behind_it() {
    // INV-27, INV-28: in whatever segment but for the last batch of all, nothing that was acknowledged is cut off, and no number is given twice.
    let fresh = || {
        let disk = SimDisk::new();
        let expected = some_journal(&disk);
        (disk, expected)
    };
    let (disk, _) = fresh();
    let paths = segment_paths(&disk);
    for (place, path) in paths.iter().enumerate() {
        let bytes = disk.read_file(path).expect("there");
        // The first segment's header is another story.
        let header = if place == 0 { 80 } else { 0 };
        // In the last segment: up to the last batch, which can't be told from a torn write.
        let until =
            if place == 2 { bytes.iter().rposition(|&byte| byte != 0).expect("written") - 3 * 344 } else { 3_000 };
        for offset in (header..until as u64).step_by(41) {
            let (disk, expected) = fresh();
            disk.flip_bit(path, offset, 3).expect("flipped");
            let journal = open_inline(&disk);
            let [damage] = journal.recovery().damage.as_slice() else { panic!("{offset}: {:?}", journal.recovery()) };
            assert_eq!(damage.file, path_text(path));
            assert!(damage.offset <= offset && offset - damage.offset < 344, "{damage}");
            assert_eq!(journal.recovery().torn, None);
            assert_eq!(journal.health().damage.len(), 1);
            assert_eq!(journal.durable_end(), 30, "{offset}: {damage}");
            assert_eq!(journal.append_blocking(vec![entry("goes on")]).map(|appended| appended.first_seq), Ok(30));

            // A reader is told, and can go on behind the damage.
            let (records, complaints) = read_past_damage(&journal);
            // Records are judged by themselves: under a broken header they are as good as ever.
            assert_eq!(complaints, usize::from(offset >= 80));
            for record in &records[..records.len() - 1] {
                assert_eq!(record.payload, expected[usize::try_from(record.seq).expect("small")]);
            }
            assert_eq!(records.last().expect("some").payload, b"goes on");
            // One record is lost; where its length is what was hit, still only that one.
            assert_eq!(records.len(), if offset >= 80 { 30 } else { 31 });
            drop(journal);

            // The alarm stays on until somebody has dealt with it.
            let journal = open_inline(&disk);
            assert_eq!(journal.recovery().damage.len(), 1);
            assert_eq!(journal.durable_end(), 31);
        }
    }
}

fn read_past_damage(journal: &Journal) -> (Vec<JournalRecord>, usize) {
    let mut records: Vec<JournalRecord> = Vec::new();
    let mut complaints = 0;
    let mut from = 0;
    while from < journal.durable_end() {
        let limit = ReadLimit { scan_bytes: usize::MAX };
        let read = journal.reader().read(from, limit, |view| {
            records.push(view.to_owned());
            ControlFlow::Continue(())
        });
        from = match read {
            Ok(next) => next,
            Err(ReadError::Damaged { damage, resume_at }) => {
                assert!(resume_at > damage.seq, "{damage}");
                complaints += 1;
                resume_at
            }
            Err(error) => panic!("{error}"),
        };
    }
    assert!(records.is_sorted_by(|one, next| one.seq < next.seq));
    (records, complaints)
}

#[test]
fn a_missing_segment_is_named() {
    let disk = SimDisk::new();
    let expected = some_journal(&disk);
    let paths = segment_paths(&disk);
    disk.shared().remove(&paths[1]).expect("removed");
    assert_eq!(first_complaint(&disk, &expected), Some((path_text(&paths[1]), 0)));
    let journal = open_inline(&disk);
    let [damage] = journal.recovery().damage.as_slice() else { panic!("{:?}", journal.recovery()) };
    assert_eq!(
        (damage.file.as_str(), damage.defect),
        (&*path_text(&paths[1]), Defect::SegmentNumber { expected: 2, found: 3 })
    );
    assert_eq!(journal.durable_end(), 30);
    let (records, complaints) = read_past_damage(&journal);
    assert_eq!((records.len(), complaints), (21, 1));
}

#[test]
fn behind_an_unreadable_first_header_the_records_say_where_it_begins() {
    // INV-27, INV-28: whether it is one of many or alone, nothing is lost and no number given twice.
    for alone in [false, true] {
        let disk = SimDisk::new();
        let expected = some_journal(&disk);
        let paths = segment_paths(&disk);
        let mut kept = expected.len();
        if alone {
            kept = usize::try_from(second_first_seq(&disk)).expect("small");
            for path in &paths[1..] {
                disk.remove(path).expect("removed");
            }
        }
        disk.flip_bit(&paths[0], 20, 0).expect("flipped");
        for start in 0..2_u64 {
            let journal = open_inline(&disk);
            let [damage] = journal.recovery().damage.as_slice() else { panic!("{:?}", journal.recovery()) };
            assert_eq!((damage.defect, damage.offset), (Defect::HeaderChecksum, 0));
            assert!(damage.file.starts_with(&path_text(&paths[0])), "{damage}");
            assert_eq!(journal.durable_end(), kept as u64 + start);
            let (records, _) = read_past_damage(&journal);
            let payloads: Vec<_> = records.into_iter().take(kept).map(|record| record.payload).collect();
            assert_eq!(payloads, expected[..kept]);
            journal.append_blocking(vec![entry("goes on")]).expect("appended");
        }
    }
}

fn second_first_seq(disk: &SimDisk) -> u64 {
    let mut reader = read_dir(disk.shared(), DIR).expect("lists");
    while let Some(record) = reader.next() {
        let record = record.expect("whole");
        if reader.segment_number() == Some(2) {
            return record.seq;
        }
    }
    panic!("there is a second segment");
}

#[test]
fn an_unreadable_first_header_without_a_record_stops_the_start() {
    let disk = SimDisk::new();
    drop(open_inline(&disk));
    disk.flip_bit(&segment_paths(&disk)[0], 20, 0).expect("flipped");
    match open(&disk, small(Durability::Synced), Drive::Inline).map(|_| ()) {
        Err(OpenError::Unreadable { file, source: Defect::HeaderChecksum }) => {
            assert!(file.ends_with("0000000001.seg"), "{file}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_crash_left_behind_a_torn_write_never_comes_back() {
    // The first record of a batch of two is torn, the second is whole. Were the second left in place, a record of the first one's length
    // written there later would make it readable again, behind a record that it never followed.
    let disk = SimDisk::new();
    let journal = open_inline(&disk);
    journal.append_blocking(vec![entry("kept")]).expect("appended");
    let end = disk.read_file(&segment_paths(&disk)[0]).expect("there").iter().rposition(|&byte| byte != 0);
    disk.fail_sync(1);
    journal.append_blocking(vec![entry("torn"), entry("whole")]).expect_err("not synced");
    disk.kill();
    drop(journal);
    let torn_at = end.expect("written") as u64 + 1;
    disk.flip_bit(&segment_paths(&disk)[0], torn_at.next_multiple_of(8) + 27, 0).expect("flipped");

    let journal = open_inline(&disk);
    let torn = journal.recovery().torn.clone().expect("a torn write");
    assert_eq!((torn.seq, torn.defect, journal.durable_end()), (1, Defect::Checksum, 1));
    journal.append_blocking(vec![entry("next")]).expect("appended");
    drop(journal);
    assert_eq!(payloads(&read_all(&open_inline(&disk))), [b"kept".to_vec(), b"next".to_vec()]);
}

#[test]
fn forgeries_are_perfect_for_the_reader() {
    // Audit, not the reader, has to find them: see the canaries there.
    type Forge = fn(&SharedDisk) -> Result<(), edit::EditError>;
    let dir = || Path::new(DIR);
    let forgeries: [(Forge, usize, &[u8]); 3] = [
        (|disk| edit::delete_record(disk, Path::new(DIR), 11), 29, &[12]),
        (|disk| edit::double_record(disk, Path::new(DIR), 11), 31, &[11]),
        (|disk| edit::change_payload(disk, Path::new(DIR), 11, |payload| payload[0] = 99), 30, &[99, 11]),
    ];
    for (forge, count, begins) in forgeries {
        let disk = SimDisk::new();
        some_journal(&disk);
        forge(&disk.shared()).expect("edited");
        let reader = read_dir(disk.shared(), dir()).expect("lists");
        let records: Vec<_> = reader.collect::<Result<_, _>>().expect("reads");
        assert_eq!(records.len(), count);
        assert!(records.iter().enumerate().all(|(place, record)| record.seq == place as u64));
        let changed = if count == 31 { &records[12] } else { &records[11] };
        assert!(changed.payload.starts_with(begins));
        let journal = open_inline(&disk);
        assert_eq!((journal.recovery().damage.len(), journal.recovery().torn.as_ref()), (0, None));
        assert_eq!(journal.durable_end(), count as u64);
        assert!(matches!(edit::delete_record(&disk.shared(), dir(), 99), Err(edit::EditError::Absent(99))));
    }
}
