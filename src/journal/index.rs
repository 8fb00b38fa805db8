//! Where records stand: a sparse index in memory, shared by the writer and the readers of one journal.

use std::sync::{Mutex, PoisonError};

use super::format::HEADER_BYTES;
use super::segment::SegmentFile;

/// One mark in the index for each so many bytes of a segment: a read starts at most this far before its record.
const MARK_EVERY_BYTES: u64 = 64 << 10;

/// A record's number and the offset in its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) offset: u64,
}

/// One segment of the journal.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) file: SegmentFile,
    pub(super) first_seq: u64,
    /// Bytes counted against the quota.
    pub(super) bytes: u64,
    /// Ascending; the first is the first record's.
    marks: Vec<Mark>,
}

impl Segment {
    pub(super) fn new(file: SegmentFile, first_seq: u64, bytes: u64) -> Self {
        Self { file, first_seq, bytes, marks: vec![Mark { seq: first_seq, offset: HEADER_BYTES as u64 }] }
    }

    /// Notes where a record stands, if that is far enough from the marks that there are.
    pub(super) fn mark(&mut self, mark: Mark) {
        let place = self.marks.partition_point(|known| known.seq <= mark.seq);
        let before = self.marks[..place].last().map_or(0, |known| known.offset);
        if mark.offset >= before + MARK_EVERY_BYTES {
            self.marks.insert(place, mark);
        }
    }
}

/// Where a read starts.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) file: SegmentFile,
    pub(super) mark: Mark,
    /// First sequence number of the segment after this one.
    pub(super) next_first_seq: Option<u64>,
}

/// All segments of a journal, by number.
#[derive(Default, Debug)]
pub(super) struct Index {
    // Held for a few comparisons, once a batch and once a read: never across I/O.
    segments: Mutex<Vec<Segment>>,
}

impl Index {
    /// Runs `change` on the segments. A panic elsewhere leaves them whole: each change is one push, insert or removal.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Vec<Segment>) -> T) -> T {
        change(&mut self.segments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The nearest mark at or before `seq`; none if `seq` is before the first segment.
    pub(super) fn start(&self, seq: u64) -> Option<Start> {
        self.with(|segments| {
            let place = segments.partition_point(|segment| segment.first_seq <= seq).checked_sub(1)?;
            let segment = &segments[place];
            let mark = segment.marks[segment.marks.partition_point(|mark| mark.seq <= seq).saturating_sub(1)];
            let next_first_seq = segments.get(place + 1).map(|next| next.first_seq);
            Some(Start { file: segment.file.clone(), mark, next_first_seq })
        })
    }

    /// Notes where reading goes on behind damage, however near the marks are.
    pub(super) fn mark_resumption(&self, number: u64, mark: Mark) {
        self.with(|segments| {
            if let Some(segment) = segments.iter_mut().find(|segment| segment.file.number == number) {
                let place = segment.marks.partition_point(|known| known.seq < mark.seq);
                if segment.marks.get(place) != Some(&mark) {
                    segment.marks.insert(place, mark);
                }
            }
        });
    }

    /// Notes where a record of a segment stands.
    pub(super) fn mark(&self, number: u64, mark: Mark) {
        self.with(|segments| {
            if let Some(segment) = segments.iter_mut().rev().find(|segment| segment.file.number == number) {
                segment.mark(mark);
            }
        });
    }

    /// Sequence number of the first record that is still kept.
    pub(super) fn first_seq(&self) -> u64 {
        self.with(|segments| segments.first().map_or(0, |segment| segment.first_seq))
    }

    /// Bytes of all segments but the last.
    pub(super) fn closed_bytes(&self) -> u64 {
        self.with(|segments| segments.split_last().map_or(0, |(_, closed)| closed.iter().map(|one| one.bytes).sum()))
    }
}
