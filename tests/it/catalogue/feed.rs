//! The change feed over every implementation of `SharedLog`.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use segue::catalog::{EntityId, Revision};
use segue::event_log::{LogReader, NewRecord, SharedLog, Topic};
use segue::events::{self, CatalogRecord, Envelope, Event};
use segue::model::{BootId, CampaignId, ServerId};
use segue::roles::catalogue_feed::{CatalogueFeed, FeedChange};

use super::{CAMPAIGN, campaign, revision};
use crate::event_log::{Embedded as EmbeddedLogs, Kafka, Opens};

const PATIENCE: Duration = Duration::from_mins(1);

fn append(log: &impl SharedLog, revisions: &[(u128, u64)]) {
    let (tell, told) = channel();
    for (id, number) in revisions {
        let revision = Revision::clone(&revision(campaign(CampaignId::from_u128(*id), &number.to_string()), *number));
        let (at, body) = (revision.at, Event::Catalog(Box::new(CatalogRecord { version: None, revision })));
        let key = body.key().to_vec();
        let envelope = Envelope {
            event_id: body.id(),
            occurred_at: at,
            received_at: at,
            server_id: ServerId::from_u128(1),
            boot_id: BootId::from_u128(2),
            trace_id: None,
            body,
        };
        let tell = tell.clone();
        let record = NewRecord { topic: Topic::Catalog, key, payload: events::encode(&envelope) };
        log.hand_over(record, Box::new(move |result| tell.send(result).expect("the test waits")));
    }
    for _ in revisions {
        told.recv_timeout(PATIENCE).expect("told").expect("appended");
    }
}

fn numbers(change: &FeedChange) -> BTreeMap<EntityId, u64> {
    change.revisions.iter().map(|revision| (revision.entity.id(), revision.number)).collect()
}

/// The next change.
fn next<R: LogReader>(feed: &mut CatalogueFeed<R>) -> FeedChange {
    let change = (0..300).find_map(|_| feed.next(Duration::from_millis(200)).expect("reads"));
    change.expect("a change comes")
}

fn the_catalogue_is_read_whole_and_then_as_it_changes<O: Opens>(at: &O) {
    let id = |number| EntityId::Campaign(CampaignId::from_u128(number));
    let log = at.open();
    let (mut early, whole) = CatalogueFeed::open(&log, || true).expect("reads").expect("goes on");
    assert_eq!(whole, FeedChange { version: 0, revisions: Vec::new() }, "an empty catalogue is one, too");
    // Late, and twice: from several publishers.
    append(&log, &[(20, 1), (21, 1), (20, 3), (20, 2), (21, 1), (22, 5)]);
    let (mut feed, whole) = CatalogueFeed::open(&log, || true).expect("reads").expect("goes on");
    assert_eq!(numbers(&whole), [(id(20), 3), (id(21), 1), (id(22), 5)].into());
    assert!(whole.version >= 6, "{}", whole.version);
    assert_eq!(whole.revisions[0], revision(campaign(CAMPAIGN, "3"), 3));
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        seen.extend(numbers(&next(&mut early)));
    }
    assert_eq!((seen, early.state().version()), (numbers(&whole), whole.version), "all who read have one version");
    append(&log, &[(21, 1), (20, 4)]);
    let change = next(&mut feed);
    assert_eq!(numbers(&change), [(id(20), 4)].into());
    assert!(change.version > whole.version);
    assert!(CatalogueFeed::open(&log, || false).expect("no error").is_none(), "who stops does not wait");
}

#[test]
fn the_catalogue_is_read_whole_and_then_as_it_changes_from_the_embedded_log() {
    the_catalogue_is_read_whole_and_then_as_it_changes(&EmbeddedLogs::new());
}

#[test]
fn the_catalogue_is_read_whole_and_then_as_it_changes_from_kafka() {
    const NAME: &str = "the_catalogue_is_read_whole_and_then_as_it_changes_from_kafka";
    let Some(kafka) = Kafka::new(NAME) else { return };
    the_catalogue_is_read_whole_and_then_as_it_changes(&kafka);
}
