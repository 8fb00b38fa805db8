//! Opening a journal after whatever happened: find its end, cut a torn write off, put damaged segments aside, and make what is left durable.
//!
//! A *torn write* is the end of the last segment where a batch was being written when the process or the machine died: nothing in it
//! was acknowledged, so it is cut off. *Damage* is anything else: acknowledged records that no longer read as they were written. Damage is
//! never cut off: the segment is renamed to `.quarantined`, an alarm names file and offset, and the journal goes on in a new segment behind
//! every sequence number that was ever given.
//!
//! In the last segment of a synced journal the two are told apart by [`super::format::FLAG_FIRST_OF_BATCH`]: a batch is written only after
//! the one before was synced, so a whole first-of-batch record behind the bad place proves that the bad place had been synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{DiskFile, SharedDisk};
use super::format::{Defect, HEADER_BYTES, SegmentHeader};
use super::index::{Index, Mark, Segment};
use super::segment::{self, Rest, Scan, SegmentFile, Step};
use super::writer::Writer;
use super::{Damage, Durability, Identity, JournalConfig, OpenError, Recovery, Torn};
use crate::model::WallMs;

/// So much before the end is written again at each start, in bytes: at least one batch. A process that was killed between write and sync, or
/// whose sync failed, leaves records that read well from the page cache and are not on the disk; after a failed sync not even another sync
/// would put them there, because the pages count as clean.
const REWRITE_BYTES: u64 = super::APPEND_BYTES_MAX as u64;

/// Where the journal goes on.
struct End {
    number: u64,
    offset: u64,
    next_seq: u64,
    last_at: WallMs,
}

struct Recoverer<'a> {
    disk: &'a SharedDisk,
    dir: &'a Path,
    config: &'a JournalConfig,
    report: Recovery,
    segments: Vec<Segment>,
    /// Sequence number that must come next; unknown before the first segment.
    next_seq: Option<u64>,
    last_at: WallMs,
}

/// Opens the journal in `dir`, or begins one.
pub(super) fn open(
    disk: SharedDisk,
    dir: PathBuf,
    config: JournalConfig,
    identity: Identity,
) -> Result<(Writer, Recovery), OpenError> {
    config.check()?;
    let io = |source| OpenError::Io { dir: dir.display().to_string(), source };
    disk.create_dir_all(&dir).map_err(io)?;
    for name in segment::list_unfinished(&*disk, &dir).map_err(io)? {
        disk.remove(&dir.join(name)).map_err(io)?;
    }
    let mut recoverer = Recoverer {
        disk: &disk,
        dir: &dir,
        config: &config,
        report: Recovery::default(),
        segments: Vec::new(),
        next_seq: None,
        last_at: WallMs(0),
    };
    let end = recoverer.run(identity)?;
    let Recoverer { report, segments, .. } = recoverer;
    let file = SegmentFile { number: end.number, quarantined: false };
    let file = disk.open(&dir.join(file.name())).map_err(io)?;
    let index = Index::default();
    index.with(|shared| *shared = segments);
    let writer = Writer {
        disk,
        dir,
        config,
        identity,
        index: Arc::new(index),
        file,
        number: end.number,
        end: end.offset,
        zeroed_until: end.offset,
        next_seq: end.next_seq,
        last_at: end.last_at,
        failure: None,
        buffer: Vec::new(),
    };
    Ok((writer, report))
}

impl Recoverer<'_> {
    fn run(&mut self, identity: Identity) -> Result<End, OpenError> {
        let files = segment::list(&**self.disk, self.dir).map_err(|error| self.io(error))?;
        let unverified = files.len().saturating_sub(self.config.verify_segments_max.max(1));
        let mut end = None;
        for (place, file) in files.iter().enumerate() {
            let last = place + 1 == files.len();
            if let Some(before) = place.checked_sub(1).map(|before| &files[before])
                && file.number != before.number + 1
            {
                let missing = SegmentFile { number: before.number + 1, quarantined: false };
                let defect = Defect::SegmentNumber { expected: missing.number, found: file.number };
                let seq = self.next_seq.unwrap_or(0);
                self.damage(&missing, 0, seq, defect);
            }
            end = self.segment(file, last, place < unverified)?;
        }
        match end {
            Some(end) => Ok(end),
            None => self.begin(files.last().map_or(1, |last| last.number + 1), identity),
        }
    }

    /// Reads one segment; for the last one, where the journal goes on in it, if it can.
    fn segment(&mut self, file: &SegmentFile, last: bool, unverified: bool) -> Result<Option<End>, OpenError> {
        let opened = self.open_file(file)?;
        let header = match segment::read_header(&*opened, file.number).map_err(|error| self.io(error))? {
            Ok(header) => header,
            Err(defect) => {
                self.unreadable(file, &*opened, defect)?;
                return Ok(None);
            }
        };
        if let Some(expected) = self.next_seq
            && expected != header.first_seq
        {
            self.gap_before(expected, header.first_seq)?;
        }
        self.last_at = self.last_at.max(header.base_at);
        let bytes = opened.len().map_err(|error| self.io(error))?;
        self.segments.push(Segment::new(file.clone(), header.first_seq, bytes));
        if unverified && !last {
            self.next_seq = None;
            return Ok(None);
        }
        self.scan(file, &*opened, &header, last)
    }

    /// Follows the records of a segment to its end.
    fn scan(
        &mut self,
        file: &SegmentFile,
        opened: &dyn DiskFile,
        header: &SegmentHeader,
        last: bool,
    ) -> Result<Option<End>, OpenError> {
        let mut scan = Scan::new(opened, HEADER_BYTES as u64, header.first_seq);
        let (offset, defect) = loop {
            match scan.step().map_err(|error| self.io(error))? {
                Step::Record(offset, view) => {
                    self.last_at = self.last_at.max(view.at);
                    self.report.records += 1;
                    if let Some(segment) = self.segments.last_mut() {
                        segment.mark(Mark { seq: view.seq, offset });
                    }
                }
                Step::End(offset) => break (offset, None),
                Step::Bad(offset, defect) => break (offset, Some(defect)),
            }
        };
        let next_seq = scan.next_seq();
        self.next_seq = Some(next_seq);
        let rest = Rest::read(opened, offset).map_err(|error| self.io(error))?;
        let written_until = rest.last_written();
        let Some(defect) = defect.or(written_until.map(|_| Defect::NotZero)) else {
            let end = End { number: file.number, offset, next_seq, last_at: self.last_at };
            return if last && !file.quarantined { self.settle(opened, end, offset).map(Some) } else { Ok(None) };
        };
        let torn = last && !file.quarantined && {
            let synced_behind = rest.records_after(next_seq).any(|found| found.first_of_batch);
            !(header.synced && synced_behind)
        };
        if torn {
            let until = written_until.unwrap_or(offset);
            self.report.torn = Some(Torn {
                file: self.path_of(file),
                offset,
                bytes: until.saturating_sub(offset),
                seq: next_seq,
                defect,
            });
            let end = End { number: file.number, offset, next_seq, last_at: self.last_at };
            return self.settle(opened, end, until).map(Some);
        }
        self.damage(file, offset, next_seq, defect);
        self.next_seq = Some(rest.records_after(next_seq).last().map_or(next_seq, |found| found.seq + 1));
        self.quarantine(file)?;
        Ok(None)
    }

    /// Makes the end durable: zeros over a torn write, and the last batch once more, because it may never have reached the disk.
    fn settle(&self, opened: &dyn DiskFile, end: End, written_until: u64) -> Result<End, OpenError> {
        let failed = |error| self.io(error);
        let from = end.offset.saturating_sub(REWRITE_BYTES);
        let until = written_until.max(end.offset);
        let mut bytes = vec![0; usize::try_from(until - from).expect("a segment fits in memory")];
        let kept = usize::try_from(end.offset - from).expect("at most REWRITE_BYTES");
        let read = opened.read_at(&mut bytes[..kept], from).map_err(failed)?;
        assert_eq!(read, kept, "a scan has just read these bytes");
        opened.write_at(&bytes, from).map_err(failed)?;
        let length = opened.len().map_err(failed)?;
        if length < u64::from(self.config.segment_bytes) {
            opened.set_len(u64::from(self.config.segment_bytes)).map_err(failed)?;
        }
        // Records that a killed process had written and not synced become readable now: they must be durable before anyone builds on them.
        opened.sync_data().map_err(failed)?;
        self.disk.sync_dir(self.dir).map_err(failed)?;
        Ok(end)
    }

    /// Begins a new segment: the first, or the one behind a damaged one.
    fn begin(&mut self, number: u64, identity: Identity) -> Result<End, OpenError> {
        let first_seq = self.next_seq.unwrap_or(0);
        let header = SegmentHeader {
            segment_bytes: self.config.segment_bytes,
            server: identity.server,
            boot: identity.boot,
            number,
            first_seq,
            base_at: self.last_at,
            synced: self.config.durability == Durability::Synced,
        };
        Writer::begin_segment(self.disk, self.dir, &header).map_err(OpenError::Begin)?;
        let file = SegmentFile { number, quarantined: false };
        self.segments.push(Segment::new(file, first_seq, u64::from(self.config.segment_bytes)));
        Ok(End { number, offset: HEADER_BYTES as u64, next_seq: first_seq, last_at: self.last_at })
    }

    /// A segment without a readable header. Its records say where it begins, if nothing before it does.
    fn unreadable(&mut self, file: &SegmentFile, opened: &dyn DiskFile, defect: Defect) -> Result<(), OpenError> {
        let rest = Rest::read(opened, HEADER_BYTES as u64).map_err(|error| self.io(error))?;
        let first = rest.first_whole();
        let Some(expected) = self.next_seq.or(first) else {
            // Nobody can say which sequence numbers were given: to go on would give some of them twice.
            return Err(OpenError::Unreadable { file: self.path_of(file), source: defect });
        };
        let found = rest.records_after(expected.saturating_sub(1)).map(|found| found.seq);
        let highest = found.chain(first).max();
        let bytes = opened.len().map_err(|error| self.io(error))?;
        self.segments.push(Segment::new(file.clone(), expected, bytes));
        self.damage(file, 0, expected, defect);
        self.next_seq = Some(highest.map_or(expected, |seq| expected.max(seq + 1)));
        self.quarantine(file)
    }

    /// The segment before ends too early.
    fn gap_before(&mut self, expected: u64, found: u64) -> Result<(), OpenError> {
        let Some(before) = self.segments.last().map(|segment| segment.file.clone()) else { return Ok(()) };
        if self.report.damage.last().is_some_and(|damage| damage.segment >= before.number) {
            // Told already: it is damaged itself, or the segment between is missing.
            return Ok(());
        }
        let defect = Defect::Missing { from: expected, until: found };
        self.damage(&before, 0, expected, defect);
        self.quarantine(&before)
    }

    fn damage(&mut self, file: &SegmentFile, offset: u64, seq: u64, defect: Defect) {
        self.report.damage.push(Damage { file: self.path_of(file), segment: file.number, offset, seq, defect });
    }

    fn quarantine(&mut self, file: &SegmentFile) -> Result<(), OpenError> {
        if file.quarantined {
            return Ok(());
        }
        let aside = SegmentFile { number: file.number, quarantined: true };
        self.disk.rename(&self.dir.join(file.name()), &self.dir.join(aside.name())).map_err(|error| self.io(error))?;
        self.disk.sync_dir(self.dir).map_err(|error| self.io(error))?;
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.file.number == file.number) {
            segment.file = aside;
        }
        Ok(())
    }

    fn open_file(&self, file: &SegmentFile) -> Result<Box<dyn DiskFile>, OpenError> {
        self.disk.open(&self.dir.join(file.name())).map_err(|error| self.io(error))
    }

    fn path_of(&self, file: &SegmentFile) -> String {
        self.dir.join(file.name()).display().to_string()
    }

    fn io(&self, source: std::io::Error) -> OpenError {
        OpenError::Io { dir: self.dir.display().to_string(), source }
    }
}
