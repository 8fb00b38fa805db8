//! Reading: from a running journal up to its durable end, or a stopped server's directory from the first record to the last.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{DiskFile, SharedDisk};
use super::format::{Defect, HEADER_BYTES, JournalRecord, RecordView};
use super::index::{Mark, Start};
use super::segment::{self, Rest, Scan, SegmentFile, Step};
use super::{Damage, Identity, Shared, Torn};

/// Why records can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk said no.
    #[error("could not read {file}")]
    Io {
        /// The file or directory.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// Records are damaged. An alarm; who can bear the loss reads on from `resume_at`.
    #[error("{damage}")]
    Damaged {
        /// What is damaged, and where.
        damage: Box<Damage>,
        /// The next sequence number that can be read.
        resume_at: u64,
    },
    /// The records were removed.
    #[error("record {asked} is no longer kept: the journal begins at {first}")]
    Gone {
        /// The number asked for.
        asked: u64,
        /// The first one kept.
        first: u64,
    },
    /// The position is not from this journal, or the journal has lost its end.
    #[error("record {asked} is beyond the journal's end at {end}")]
    Beyond {
        /// The number asked for.
        asked: u64,
        /// The number after the last durable record.
        end: u64,
    },
}

/// How much a read looks at before it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimit {
    /// Bytes of the journal, whether the visitor wanted their records or not.
    pub scan_bytes: usize,
}

/// Reads durable records of a running journal. Cheap to clone; readers don't disturb the writer.
#[derive(Clone)]
pub struct JournalReader {
    shared: Arc<Shared>,
}

/// How one segment was left.
enum Left {
    /// The visitor, the limit or the durable end stopped the read; go on here.
    Stopped(u64),
    /// The next segment begins with this record.
    Finished(u64),
}

impl ReadError {
    /// The file that it is about and the place in it, for people; of a position that is no place in any file, none.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Io { file, .. } => Some(file.clone()),
            Self::Damaged { damage, .. } => Some(format!("{} offset {}", damage.file, damage.offset)),
            Self::Gone { .. } | Self::Beyond { .. } => None,
        }
    }
}

impl JournalReader {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Shows `visit` the durable records from `from_seq` on, in order, until it breaks (that record then counts as not read), the limit is
    /// reached, or the durable end. Returns the sequence number to ask for next. Never shows a record that is not durable.
    ///
    /// # Errors
    /// [`ReadError`]; the records shown until then are good, and the same read meets the same error.
    pub fn read(
        &self,
        from_seq: u64,
        limit: ReadLimit,
        mut visit: impl FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        // Taken once: all below it was written before it was published, so no byte that this read looks at is still being written.
        let end = self.shared.progress().durable_end;
        if from_seq > end {
            return Err(ReadError::Beyond { asked: from_seq, end });
        }
        let mut seq = from_seq;
        let mut budget = limit.scan_bytes;
        while seq < end {
            let start = self
                .shared
                .index
                .start(seq)
                .ok_or_else(|| ReadError::Gone { asked: seq, first: self.shared.index.first_seq() })?;
            match self.read_segment(&start, seq, end, &mut budget, &mut visit)? {
                Left::Stopped(next) => return Ok(next),
                Left::Finished(next) => seq = next,
            }
        }
        Ok(seq)
    }

    fn read_segment(
        &self,
        start: &Start,
        from_seq: u64,
        end: u64,
        budget: &mut usize,
        visit: &mut dyn FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<Left, ReadError> {
        let path = self.shared.dir.join(start.file.name());
        let io = |source| ReadError::Io { file: path.display().to_string(), source };
        let file = match self.shared.disk.open_read(&path) {
            Ok(file) => file,
            // Removed by `retain_from` since the index was asked.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.shared.index.first_seq() > from_seq => {
                return Err(ReadError::Gone { asked: from_seq, first: self.shared.index.first_seq() });
            }
            Err(error) => return Err(io(error)),
        };
        let mut scan = Scan::new(&*file, start.mark.offset, start.mark.seq);
        let segment_end = start.next_first_seq.unwrap_or(end).min(end);
        while scan.next_seq() < segment_end {
            let place = Mark { seq: scan.next_seq(), offset: scan.offset() };
            match scan.step().map_err(io)? {
                Step::Record(_, view) if view.seq < from_seq => {}
                Step::Record(_, view) => {
                    if *budget == 0 || visit(view).is_break() {
                        self.shared.index.mark(start.file.number, place);
                        return Ok(Left::Stopped(place.seq));
                    }
                    *budget = budget.saturating_sub(view.stored_bytes);
                }
                Step::End(offset) => {
                    let defect = Defect::Missing { from: place.seq, until: segment_end };
                    return Err(self.damaged(&*file, &path, start, place.seq, offset, defect));
                }
                Step::Bad(offset, defect) => {
                    return Err(self.damaged(&*file, &path, start, place.seq, offset, defect));
                }
            }
        }
        if segment_end == end {
            self.shared.index.mark(start.file.number, Mark { seq: end, offset: scan.offset() });
        }
        Ok(Left::Finished(segment_end))
    }

    fn damaged(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        start: &Start,
        seq: u64,
        offset: u64,
        defect: Defect,
    ) -> ReadError {
        let file_name = path.display().to_string();
        let rest = match Rest::read(file, offset) {
            Ok(rest) => rest,
            Err(source) => return ReadError::Io { file: file_name, source },
        };
        let found = rest.records_after(seq).next();
        if let Some(found) = found {
            let mark = Mark { seq: found.seq, offset: found.offset };
            self.shared.index.mark_resumption(start.file.number, mark);
        }
        let end = self.shared.progress().durable_end;
        let resume_at = found.map_or(start.next_first_seq.unwrap_or(end), |found| found.seq);
        let damage = Damage { file: file_name, segment: start.file.number, offset, seq, defect };
        ReadError::Damaged { damage: Box::new(damage), resume_at }
    }
}

/// How a journal that was read from its directory ends.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Tail {
    /// Behind the last record nothing was written.
    #[default]
    Clean,
    /// In a torn write: a crash cut off what had not been acknowledged.
    Torn(Torn),
}

/// Reads a journal that nobody has open, such as a stopped server's. See [`read_dir`].
pub struct DirReader {
    disk: SharedDisk,
    dir: PathBuf,
    files: VecDeque<SegmentFile>,
    current: Option<Current>,
    last_number: Option<u64>,
    /// Sequence number that must come next; unknown at the start and after a segment whose end is lost.
    next_seq: Option<u64>,
    tail: Tail,
    identity: Option<Identity>,
}

struct Current {
    file: SegmentFile,
    synced: bool,
    scan: Scan<Box<dyn DiskFile>>,
}

/// Reads all records in a journal's directory, in order, and judges every byte: an iterator over records and precise errors. After an
/// error the iterator goes on with the next record that is whole; who wants all or nothing stops at the first error.
///
/// # Errors
/// [`ReadError::Io`] when the directory can't be listed.
pub fn read_dir(disk: SharedDisk, dir: impl Into<PathBuf>) -> Result<DirReader, ReadError> {
    let dir = dir.into();
    let files =
        segment::list(&*disk, &dir).map_err(|source| ReadError::Io { file: dir.display().to_string(), source })?.into();
    Ok(DirReader {
        disk,
        dir,
        files,
        current: None,
        last_number: None,
        next_seq: None,
        tail: Tail::Clean,
        identity: None,
    })
}

impl DirReader {
    /// How the journal ends. Known when the iterator has ended.
    #[must_use]
    pub const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Who began the segment that the last record came from.
    #[must_use]
    pub const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The number of the segment that the last record came from.
    #[must_use]
    pub fn segment_number(&self) -> Option<u64> {
        self.last_number
    }

    /// The file that the last record came from.
    #[must_use]
    pub fn segment_path(&self) -> Option<PathBuf> {
        self.current.as_ref().map(|current| self.dir.join(current.file.name()))
    }

    fn io(&self, file: &SegmentFile, source: io::Error) -> ReadError {
        ReadError::Io { file: self.dir.join(file.name()).display().to_string(), source }
    }

    fn damage(&self, file: &SegmentFile, offset: u64, seq: u64, defect: Defect, resume_at: u64) -> ReadError {
        let path = self.dir.join(file.name()).display().to_string();
        let damage = Damage { file: path, segment: file.number, offset, seq, defect };
        ReadError::Damaged { damage: Box::new(damage), resume_at }
    }

    /// Opens the next segment; an error still leaves the reader where it can go on.
    fn open_next(&mut self, file: SegmentFile) -> Result<(), ReadError> {
        let expected_number = self.last_number.map_or(file.number, |last| last + 1);
        let opened = self.disk.open_read(&self.dir.join(file.name())).map_err(|error| self.io(&file, error))?;
        self.last_number = Some(file.number);
        let expected_seq = self.next_seq.take();
        let header = match segment::read_header(&*opened, file.number).map_err(|error| self.io(&file, error))? {
            Ok(header) => header,
            Err(defect) => {
                let seq = expected_seq.unwrap_or(0);
                return Err(self.damage(&file, 0, seq, defect, seq));
            }
        };
        self.identity = Some(Identity { server: header.server, boot: header.boot });
        let number = file.number;
        let scan = Scan::new(opened, HEADER_BYTES as u64, header.first_seq);
        self.current = Some(Current { file, synced: header.synced, scan });
        if number != expected_number {
            let missing = SegmentFile { number: expected_number, quarantined: false };
            let defect = Defect::SegmentNumber { expected: expected_number, found: number };
            return Err(self.damage(&missing, 0, expected_seq.unwrap_or(0), defect, header.first_seq));
        }
        match expected_seq {
            Some(seq) if seq != header.first_seq => {
                let before = SegmentFile { number: number - 1, quarantined: false };
                let defect = Defect::Missing { from: seq, until: header.first_seq };
                Err(self.damage(&before, 0, seq, defect, header.first_seq))
            }
            _ => Ok(()),
        }
    }

    /// The current segment ends here, one way or another.
    fn leave(&mut self, mut current: Current, offset: u64, defect: Option<Defect>) -> Result<(), ReadError> {
        let seq = current.scan.next_seq();
        self.next_seq = Some(seq);
        let rest = Rest::read(current.scan.file(), offset).map_err(|error| self.io(&current.file, error))?;
        let written_until = rest.last_written();
        let Some(defect) = defect.or(written_until.map(|_| Defect::NotZero)) else { return Ok(()) };
        let synced_behind = current.synced && rest.records_after(seq).any(|found| found.first_of_batch);
        if self.files.is_empty() && !current.file.quarantined && !synced_behind {
            let bytes = written_until.map_or(0, |until| until - offset);
            let file = self.dir.join(current.file.name()).display().to_string();
            self.tail = Tail::Torn(Torn { file, offset, bytes, seq, defect });
            return Ok(());
        }
        self.next_seq = None;
        let found = rest.records_after(seq).next();
        let error = self.damage(&current.file, offset, seq, defect, found.map_or(seq, |found| found.seq));
        if let Some(found) = found {
            current.scan.jump(found.offset, found.seq);
            self.current = Some(current);
        }
        Err(error)
    }
}

impl Iterator for DirReader {
    type Item = Result<JournalRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(mut current) = self.current.take() else {
                let file = self.files.pop_front()?;
                if let Err(error) = self.open_next(file) {
                    return Some(Err(error));
                }
                continue;
            };
            let (offset, defect) = match current.scan.step() {
                Ok(Step::Record(_, view)) => {
                    let record = view.to_owned();
                    self.current = Some(current);
                    return Some(Ok(record));
                }
                Ok(Step::End(offset)) => (offset, None),
                Ok(Step::Bad(offset, defect)) => (offset, Some(defect)),
                Err(error) => return Some(Err(self.io(&current.file, error))),
            };
            if let Err(error) = self.leave(current, offset, defect) {
                return Some(Err(error));
            }
        }
    }
}
