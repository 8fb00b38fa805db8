//! The embedded log as a [`SharedLog`]: several roles of one process share it.
//!
//! How far an owner has consumed is kept in a file a partition, `<data>/journal/consumed/<group>-<partition>`, in the form of the shipper's
//! checkpoints. The records are durable before the position is: a crash between the two makes the owner's work be done again, with the same ids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::EmbeddedLog;
use crate::event_log::record::{NewRecord, Record};
use crate::event_log::shared::{
    Acknowledge, LogError, LogMembership, LogOwner, LogReader, PartitionGroup, Position, SharedLog, check_commit,
    check_group, check_group_name, check_partitions,
};
use crate::event_log::shipper::CheckpointFile;
use crate::event_log::topic::{PartitionCounts, Topic};
use crate::event_log::{AppendError, ReadError};
use crate::journal;
use crate::model::WallMs;

/// Bytes of one read: some milliseconds of work.
const READ_BYTES_MAX: usize = 4 << 20;

/// Who owns which group: how often it was claimed. The inner lock is held for the whole of a commit, so that a claim waits for one in flight and
/// comes before the next.
#[derive(Default, Debug)]
pub(super) struct Claims(Mutex<BTreeMap<String, Arc<Mutex<u64>>>>);

impl Claims {
    fn of(&self, group: &str) -> Arc<Mutex<u64>> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(group.to_owned()).or_default())
    }
}

fn locked(claims: &Mutex<u64>) -> MutexGuard<'_, u64> {
    claims.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedLog for Arc<EmbeddedLog> {
    type Reader = EmbeddedReader;
    type Owner = EmbeddedOwner;
    type Membership = EmbeddedMembership;

    fn partition_counts(&self) -> &PartitionCounts {
        &self.partitions
    }

    fn hand_over(&self, record: NewRecord, done: Acknowledge) {
        let partition = self.partitions.partition(record.topic, &record.key);
        match self.entries(vec![record]) {
            Ok((half, entries)) => half.journal.submit(
                entries,
                Box::new(move |result| {
                    let appended = result.map_err(|error| LogError::from(AppendError::Journal(error)));
                    done(appended.map(|appended| Position { partition, offset: appended.first_seq }));
                }),
            ),
            Err(error) => done(Err(error.into())),
        }
    }

    fn reader(&self, topic: Topic, from: &[Position]) -> Result<EmbeddedReader, LogError> {
        check_partitions(topic, from.iter().map(|position| position.partition), &self.partitions)?;
        let next = from.iter().map(|position| (position.partition, position.offset)).collect();
        Ok(EmbeddedReader { log: Arc::clone(self), topic, next, at_end: from.is_empty() })
    }

    fn offsets_at(&self, topic: Topic, _: WallMs) -> Result<Vec<Position>, LogError> {
        // For tests, whose logs are short: from the beginning on is never too late.
        let all = 0..self.partition_counts().of(topic);
        Ok(all.map(|partition| Position { partition, offset: 0 }).collect())
    }

    fn claim(&self, group: &PartitionGroup) -> Result<EmbeddedOwner, LogError> {
        check_group(group, &self.partitions)?;
        let claims = self.claims.of(&group.name);
        // Held until the files are read: a commit of the owner before is in them, or is refused.
        let mut number = locked(&claims);
        *number += 1;
        let claim = *number;
        let dir = self.dir.join("consumed");
        let mut files = BTreeMap::new();
        for &partition in &group.partitions {
            files.insert(partition, self.consumed_file(&dir, &group.name, partition)?);
        }
        drop(number);
        let consumed = positions(files.iter().map(|(partition, file)| (partition, file.checkpoint())));
        let log = Arc::clone(self);
        Ok(EmbeddedOwner { log, group: group.clone(), claims, claim, files, consumed })
    }

    fn join(&self, group: &str, topic: Topic) -> Result<EmbeddedMembership, LogError> {
        check_group_name(group)?;
        let number = self.members.join(group);
        let (log, partitions) = (Arc::clone(self), self.partitions.of(topic));
        Ok(EmbeddedMembership { log, group: group.to_owned(), number, partitions })
    }
}

/// Who takes part in which group, by the number that each got.
#[derive(Default, Debug)]
pub(super) struct Members(Mutex<BTreeMap<String, BTreeSet<u64>>>);

impl Members {
    fn join(&self, group: &str) -> u64 {
        let mut groups = self.lock();
        let members = groups.entry(group.to_owned()).or_default();
        let number = members.last().map_or(0, |last| last + 1);
        members.insert(number);
        number
    }

    fn leave(&self, group: &str, number: u64) {
        if let Some(members) = self.lock().get_mut(group) {
            members.remove(&number);
        }
    }

    /// Each in turn gets a partition.
    fn partitions(&self, group: &str, number: u64, count: u32) -> BTreeSet<u32> {
        let groups = self.lock();
        let Some(members) = groups.get(group) else { return BTreeSet::new() };
        let turns = members.iter().cycle();
        (0..count).zip(turns).filter(|(_, member)| **member == number).map(|(partition, _)| partition).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes part in sharing out partitions among the members of one process; see [`SharedLog::join`].
pub struct EmbeddedMembership {
    log: Arc<EmbeddedLog>,
    group: String,
    number: u64,
    partitions: u32,
}

impl LogMembership for EmbeddedMembership {
    fn partitions(&mut self, _: Duration) -> Result<BTreeSet<u32>, LogError> {
        Ok(self.log.members.partitions(&self.group, self.number, self.partitions))
    }
}

impl Drop for EmbeddedMembership {
    fn drop(&mut self) {
        self.log.members.leave(&self.group, self.number);
    }
}

impl EmbeddedLog {
    fn consumed_file(&self, dir: &Path, group: &str, partition: u32) -> Result<CheckpointFile, LogError> {
        let made = self.disk.create_dir_all(dir);
        made.map_err(|source| {
            LogError::Consumed(crate::event_log::CheckpointError::Io { step: "make the directory of", source })
        })?;
        CheckpointFile::open(&*self.disk, &dir.join(format!("{group}-{partition}"))).map_err(LogError::Consumed)
    }
}

fn positions<'a>(of: impl Iterator<Item = (&'a u32, u64)>) -> Vec<Position> {
    of.map(|(&partition, offset)| Position { partition, offset }).collect()
}

/// Reads partitions of one topic; see [`SharedLog::reader`].
pub struct EmbeddedReader {
    log: Arc<EmbeddedLog>,
    topic: Topic,
    /// Where each partition's next read begins.
    next: BTreeMap<u32, u64>,
    at_end: bool,
}

impl LogReader for EmbeddedReader {
    fn read(&mut self, records_max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let Some(from) = self.next.values().copied().min() else { return Ok(Vec::new()) };
        let records = self.read_from(from, records_max)?;
        if !records.is_empty() || !self.at_end || wait.is_zero() {
            return Ok(records);
        }
        let _ = self.log.wait_beyond(self.topic, self.log.durable_end(self.topic).max(from), wait);
        let from = self.next.values().copied().min().unwrap_or(from);
        self.read_from(from, records_max)
    }

    fn is_at_end(&self) -> bool {
        self.at_end
    }

    // One journal has all partitions.
    fn is_at_end_of(&self, _partition: u32) -> bool {
        self.at_end
    }

    fn positions(&self) -> Vec<Position> {
        positions(self.next.iter().map(|(partition, offset)| (partition, *offset)))
    }

    fn end(&self, partition: u32) -> Result<u64, LogError> {
        check_partitions(self.topic, [partition], &self.log.partitions)?;
        Ok(self.log.durable_end(self.topic))
    }
}

impl EmbeddedReader {
    fn read_from(&mut self, from: u64, records_max: usize) -> Result<Vec<Record>, LogError> {
        // Before the read: what is appended while it runs is not counted as read.
        let end = self.log.durable_end(self.topic);
        let only = if self.next.len() == 1 { self.next.keys().next().copied() } else { None };
        let batch = match self.log.read(self.topic, only, from, records_max, READ_BYTES_MAX) {
            Ok(batch) => batch,
            Err(error) => {
                // What is lost is told once; the next read goes on behind it.
                if let ReadError::Journal(journal::ReadError::Damaged { resume_at, .. }) = &error {
                    self.advance(*resume_at);
                }
                return Err(error.into());
            }
        };
        let mut records = batch.records;
        records.retain(|record| self.next.get(&record.partition).is_some_and(|from| *from <= record.offset));
        self.advance(batch.next_offset);
        self.at_end = batch.next_offset >= end;
        Ok(records)
    }

    fn advance(&mut self, to: u64) {
        self.next.values_mut().for_each(|next| *next = to.max(*next));
    }
}

/// Owns a group of partitions; see [`SharedLog::claim`].
pub struct EmbeddedOwner {
    log: Arc<EmbeddedLog>,
    group: PartitionGroup,
    claims: Arc<Mutex<u64>>,
    /// Which claim of the group this is.
    claim: u64,
    files: BTreeMap<u32, CheckpointFile>,
    consumed: Vec<Position>,
}

impl LogOwner for EmbeddedOwner {
    fn consumed(&self) -> &[Position] {
        &self.consumed
    }

    fn commit(&mut self, records: Vec<NewRecord>, consumed: &[Position]) -> Result<(), LogError> {
        check_commit(&self.group, &records, consumed)?;
        let number = locked(&self.claims);
        if *number != self.claim {
            return Err(LogError::Fenced(self.group.name.clone()));
        }
        self.log.append_blocking(records)?;
        for position in consumed {
            if let Some(file) = self.files.get_mut(&position.partition) {
                file.keep(position.offset).map_err(LogError::Consumed)?;
            }
        }
        drop(number);
        self.consumed = positions(self.files.iter().map(|(partition, file)| (partition, file.checkpoint())));
        Ok(())
    }
}
