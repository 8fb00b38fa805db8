//! Reads the catalogue's change feed, `segue.catalog`: all of it at a server's start, then changes as they come.
//!
//! The feed is compacted, and its records may come twice or late: of an entity the greater revision number holds ([`FeedState`], INV-48). Its one partition
//! gives the catalogue its order: the **version** is the offset behind the last record that was taken, 0 for none. Versions of a process that is alone with
//! its catalogue count commits instead. Both only grow, and no deployment has both: a server takes its version from the one or from the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{EntityId, Revision};
use crate::event_log::{LogError, LogReader, Position, Record, SharedLog, Topic};
use crate::events::{self, Event};
use crate::roles::campaign::CatalogChange;

/// Records of one read.
const READ_RECORDS_MAX: usize = 8_192;
/// How long one read waits at the start; then it is asked whether to go on.
const START_WAIT: Duration = Duration::from_millis(100);

/// What the feed has brought.
#[derive(Clone, PartialEq, Debug)]
pub struct FeedChange {
    /// The catalogue version after it.
    pub version: u64,
    /// The revisions, the newest of each entity, parents first.
    pub revisions: Vec<Arc<Revision>>,
}

impl FeedChange {
    /// As the snapshot's writer takes it.
    #[must_use]
    pub fn to_change(&self) -> CatalogChange {
        let entities = self.revisions.iter().map(|revision| revision.entity.clone()).collect();
        CatalogChange { version: self.version, entities }
    }
}

/// What is known of the feed: of each entity the number that was taken. Pure.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FeedState {
    version: u64,
    newest: HashMap<EntityId, u64>,
    taken: u64,
    unreadable: u64,
}

impl FeedState {
    /// Nothing taken yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes records in the feed's order. What they change; nothing when all is known.
    pub fn take(&mut self, records: &[Record]) -> Option<FeedChange> {
        let mut newer: BTreeMap<EntityId, Arc<Revision>> = BTreeMap::new();
        for record in records {
            self.version = self.version.max(record.offset + 1);
            self.taken += 1;
            let revision = match events::decode(&record.payload).map(|envelope| envelope.body) {
                Ok(Event::Catalog(told)) => told.revision,
                Ok(_) => {
                    self.unreadable += 1;
                    tracing::error!(offset = record.offset, "a record of segue.catalog is no revision; it is left out");
                    continue;
                }
                Err(error) => {
                    self.unreadable += 1;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        offset = record.offset,
                        "a record of segue.catalog can't be read; it is left out"
                    );
                    continue;
                }
            };
            let id = revision.entity.id();
            let known = self.newest.entry(id).or_insert(0);
            if revision.number > *known {
                *known = revision.number;
                newer.insert(id, Arc::new(revision));
            }
        }
        let revisions: Vec<_> = newer.into_values().collect();
        (!revisions.is_empty()).then_some(FeedChange { version: self.version, revisions })
    }

    /// The catalogue version: the offset behind the last record taken.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many records were taken, those that could not be read too.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// How many records could not be read. A newer server's may be among them.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// The feed being read. It may block its thread.
pub struct CatalogueFeed<R> {
    reader: R,
    state: FeedState,
}

impl<R: LogReader> CatalogueFeed<R> {
    /// Reads the feed from its start to its end: the whole catalogue as one change. None when `goes_on`, asked between reads, says no: the server is
    /// stopping. Who serves is not ready before. What can't be read now is an error; the caller tries again.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open<L: SharedLog<Reader = R>>(
        log: &L,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Option<(Self, FeedChange)>, LogError> {
        let reader = log.reader(Topic::Catalog, &[Position { partition: 0, offset: 0 }])?;
        let mut feed = Self { reader, state: FeedState::new() };
        // Of each entity only the newest is kept, so that a long feed takes no more room than the catalogue.
        let mut newest: BTreeMap<EntityId, Arc<Revision>> = BTreeMap::new();
        while goes_on() {
            let records = feed.reader.read(READ_RECORDS_MAX, START_WAIT)?;
            let read = records.len();
            if let Some(change) = feed.state.take(&records) {
                newest.extend(change.revisions.into_iter().map(|revision| (revision.entity.id(), revision)));
            }
            if feed.reader.is_at_end() && read < READ_RECORDS_MAX {
                let whole = FeedChange { version: feed.state.version, revisions: newest.into_values().collect() };
                return Ok(Some((feed, whole)));
            }
        }
        Ok(None)
    }

    /// The next change; none when none comes within `wait`.
    ///
    /// # Errors
    /// [`LogError`]. The next call goes on where this one failed.
    pub fn next(&mut self, wait: Duration) -> Result<Option<FeedChange>, LogError> {
        let records = self.reader.read(READ_RECORDS_MAX, wait)?;
        Ok(self.state.take(&records))
    }

    /// What is known of it.
    #[must_use]
    pub const fn state(&self) -> &FeedState {
        &self.state
    }
}

impl<R> std::fmt::Debug for CatalogueFeed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogueFeed").field("version", &self.state.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{Action, Author, Entity};
    use crate::events::{CatalogRecord, Envelope};
    use crate::model::{BootId, CampaignId, ServerId, WallMs};
    use crate::roles::campaign::{CatalogState, samples};

    fn revision(entity: u8, number: u64) -> Revision {
        let id = CampaignId::from_u128(u128::from(entity));
        let campaign = samples::campaign(id, samples::ADVERTISER, samples::NETWORK);
        let at = WallMs(i64::try_from(number).expect("small"));
        let entity = Entity::from(crate::model::Campaign { name: format!("{number}"), ..campaign });
        Revision { entity, number, created_at: WallMs(1), at, author: Author::Segue, action: Action::Changed }
    }

    fn record(offset: u64, payload: Vec<u8>) -> Record {
        Record { offset, topic: Topic::Catalog, partition: 0, key: Vec::new(), at: WallMs(1), payload }
    }

    fn told(offset: u64, revision: Revision) -> Record {
        let body = Event::Catalog(Box::new(CatalogRecord { version: None, revision }));
        let (server_id, boot_id) = (ServerId::from_u128(1), BootId::from_u128(2));
        let (occurred_at, received_at) = (WallMs(1), WallMs(1));
        let envelope =
            Envelope { event_id: body.id(), occurred_at, received_at, server_id, boot_id, trace_id: None, body };
        record(offset, events::encode(&envelope))
    }

    proptest! {
        #[test]
        fn in_whatever_order_and_however_often_revisions_come_the_newest_holds(
            told_of in prop::collection::vec((0..4_u8, 1..9_u64), 0..60),
            batch in 1..9_usize,
        ) {
            let records: Vec<Record> =
                (7..).zip(&told_of).map(|(offset, (entity, number))| told(offset, revision(*entity, *number))).collect();
            let (mut feed, mut state) = (FeedState::new(), CatalogState::default());
            for records in records.chunks(batch) {
                if let Some(change) = feed.take(records) {
                    state.take_in(change.version, &change.revisions);
                }
            }
            let mut newest: BTreeMap<u8, u64> = BTreeMap::new();
            for (entity, number) in told_of {
                let known = newest.entry(entity).or_insert(0);
                *known = number.max(*known);
            }
            let found: Vec<Revision> = state.entities().map(|revision| (**revision).clone()).collect();
            let want: Vec<Revision> = newest.into_iter().map(|(entity, number)| revision(entity, number)).collect();
            prop_assert_eq!(found, want);
            prop_assert_eq!(feed.version(), records.last().map_or(0, |record| record.offset + 1));
        }
    }

    #[test]
    fn what_can_not_be_read_is_counted_and_left_out() {
        let mut feed = FeedState::new();
        let records = [record(3, vec![0xFF]), told(4, revision(1, 1)), record(5, Vec::new())];
        let change = feed.take(&records).expect("one");
        assert_eq!((change.version, change.revisions.len(), feed.unreadable()), (6, 1, 2));
        assert_eq!(feed.take(&[told(6, revision(1, 1))]), None);
        assert_eq!(feed.version(), 7);
    }
}
