//! The outbox of the catalogue in CQL: its bounds, and that what a crash left is published.

use std::collections::BTreeMap;
use std::time::Duration;

use segue::catalog::EntityId;
use segue::event_log::SharedLog;
use segue::model::{BootId, CampaignId, ServerId};
use segue::roles::catalogue_feed::CatalogueFeed;
use segue::roles::catalogue_outbox::{PublisherSettings, start};
use segue::store::{CatalogStore, CqlCatalog, Missed, PENDING_BUCKETS, Pending};

use super::{ADVERTISER, CAMPAIGN, Cql, Opens, advertiser, campaign, network, revision, seen};
use crate::event_log::{Embedded as EmbeddedLogs, Kafka, Opens as _};
use crate::harness::wait_until;

/// Looks come one after the other, so that no test waits.
const SETTINGS: PublisherSettings =
    PublisherSettings { look_every_ms: 20, ..PublisherSettings::new(ServerId::from_u128(1), BootId::from_u128(2)) };

fn commit_campaign(store: &impl CatalogStore, number: u64) -> Option<Missed> {
    let changed = revision(campaign(CAMPAIGN, &format!("as of {number}")), number);
    store.commit(1, &[changed], &[]).expect("commits").missed.remove(&EntityId::Campaign(CAMPAIGN))
}

fn pending(cql: &Cql, store: &CqlCatalog) -> Vec<Pending> {
    let read = |bucket| cql.runtime.block_on(store.pending(bucket)).expect("reads");
    (0..PENDING_BUCKETS).flat_map(read).collect()
}

/// Everything in the feed: of each entity the number of its newest revision.
fn published(log: &impl SharedLog) -> BTreeMap<EntityId, u64> {
    let (feed, whole) = CatalogueFeed::open(log, || true).expect("reads").expect("goes on");
    assert_eq!(feed.state().unreadable(), 0);
    whole.revisions.iter().map(|revision| (revision.entity.id(), revision.number)).collect()
}

// INV-48.
fn what_a_crash_left_is_published(cql: &Cql, log: &impl SharedLog) {
    let want: BTreeMap<EntityId, u64> =
        [(EntityId::Advertiser(ADVERTISER), 1), (EntityId::Campaign(CAMPAIGN), 70)].into();
    {
        // Nobody publishes: as if each commit were the server's last act.
        let store = cql.open_one();
        let committed = store.commit(1, &[revision(advertiser(), 1)], &[]).expect("commits");
        assert!(committed.missed.is_empty(), "{committed:?}");
        for number in 1..=70 {
            assert!(commit_campaign(&store, number).is_none(), "{number}");
        }
        assert_eq!(pending(cql, &store).len(), 71);
    }
    let store = cql.open_one();
    assert_eq!(published(log), BTreeMap::new());
    let publisher = cql.runtime.block_on(async { start(store.clone(), log.clone(), SETTINGS, seen()).1 });
    wait_until("nothing is pending", || pending(cql, &store).is_empty());
    assert_eq!(published(log), want);
    let left = cql.runtime.block_on(store.outbox(CAMPAIGN.to_bytes())).expect("reads");
    assert_eq!((left.newest, left.rows), (70, Vec::new()));
    cql.runtime.block_on(publisher.stop());
    // What left the outbox is in the history, across its partitions; and together with what waits.
    assert!(commit_campaign(&store, 71).is_none());
    let numbers = |before, limit| -> Vec<u64> {
        let found = store.history(EntityId::Campaign(CAMPAIGN), before, limit).expect("reads");
        found.iter().map(|revision| revision.number).collect()
    };
    assert_eq!(numbers(None, 100), (1..=71).rev().collect::<Vec<_>>());
    assert_eq!(numbers(Some(66), 4), [65, 64, 63, 62]);
    // Told of at once, a revision does not wait for a look.
    let settings = PublisherSettings { look_every_ms: 3_600_000, ..SETTINGS };
    let (telling, publisher) = cql.runtime.block_on(async { start(store.clone(), log.clone(), settings, seen()) });
    assert!(commit_campaign(&telling, 72).is_none());
    wait_until("the last one is published", || published(log)[&EntityId::Campaign(CAMPAIGN)] == 72);
    wait_until("and forgotten", || pending(cql, &store).len() == 1);
    cql.runtime.block_on(publisher.stop());
}

#[test]
fn what_a_crash_left_is_published_to_the_embedded_log() {
    let Some(cql) = Cql::new("what_a_crash_left_is_published_to_the_embedded_log") else { return };
    what_a_crash_left_is_published(&cql, &EmbeddedLogs::new().open());
}

#[test]
fn what_a_crash_left_is_published_to_kafka() {
    const NAME: &str = "what_a_crash_left_is_published_to_kafka";
    let (Some(cql), Some(kafka)) = (Cql::new(NAME), Kafka::new(NAME)) else { return };
    what_a_crash_left_is_published(&cql, &kafka.open());
}

#[test]
fn two_publishers_at_once_change_nothing() {
    let Some(cql) = Cql::new("two_publishers_at_once_change_nothing") else { return };
    let logs = EmbeddedLogs::new();
    let log = logs.open();
    let stores = cql.open(2);
    let publishers: Vec<_> = stores
        .iter()
        .map(|store| cql.runtime.block_on(async { start(store.clone(), log.clone(), SETTINGS, seen()) }))
        .collect();
    for number in 1..=8 {
        for at in 0..4 {
            let changed = revision(campaign(CampaignId::from_u128(at + 1), &format!("{number}")), number);
            let committed = publishers[usize::from(at > 1)].0.commit(1, &[changed], &[]).expect("commits");
            assert!(committed.missed.is_empty(), "{committed:?}");
        }
    }
    wait_until("nothing is pending", || pending(&cql, &stores[0]).is_empty());
    assert!(published(&log).values().all(|number| *number == 8) && published(&log).len() == 4);
    for (_, publisher) in publishers {
        cql.runtime.block_on(publisher.stop());
    }
}

#[test]
fn no_more_waits_to_be_published_than_a_partition_may_hold() {
    let Some(cql) = Cql::new("no_more_waits_to_be_published_than_a_partition_may_hold") else { return };
    let store = cql.open_one();
    let refused = (1..=200).find_map(|number| commit_campaign(&store, number).map(|missed| (number, missed)));
    let (number, missed) = refused.expect("refused");
    assert!(number == 96 && matches!(missed, Missed::Full { limit: 64, .. }), "{number}: {missed:?}");
    // Nothing was made, and when they are published it goes on.
    let logs = EmbeddedLogs::new();
    let publisher = cql.runtime.block_on(async { start(store.clone(), logs.open(), SETTINGS, seen()).1 });
    wait_until("nothing is pending", || pending(&cql, &store).is_empty());
    assert!(commit_campaign(&store, 96).is_none());
    cql.runtime.block_on(publisher.stop());
}

#[test]
fn large_entities_are_taken_and_too_large_ones_refused() {
    let Some(cql) = Cql::new("large_entities_are_taken_and_too_large_ones_refused") else { return };
    let store = cql.open_one();
    // Beyond what Cassandra takes in a batch of several partitions (50 kB).
    let large = revision(network(2_000), 1);
    let committed = store.commit(1, std::slice::from_ref(&large), &[]).expect("commits");
    assert!(committed.missed.is_empty(), "{committed:?}");
    assert_eq!(store.load().expect("loads").entities, [large]);
    let committed = store.commit(1, &[revision(network(10_000), 2)], &[]).expect("commits");
    let missed = committed.missed.values().next();
    assert!(matches!(missed, Some(Missed::TooLarge { limit: 900_000, .. })), "{missed:?}");
    assert_eq!(pending(&cql, &store).len(), 1, "nothing of it was announced");
}

#[test]
fn a_publisher_that_has_nothing_in_hand_stops() {
    let Some(cql) = Cql::new("a_publisher_that_has_nothing_in_hand_stops") else { return };
    let store = cql.open_one();
    let logs = EmbeddedLogs::new();
    let publisher = cql.runtime.block_on(async { start(store.clone(), logs.open(), SETTINGS, seen()).1 });
    let stopped = cql.runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), publisher.stop()).await });
    assert!(stopped.is_ok());
}
