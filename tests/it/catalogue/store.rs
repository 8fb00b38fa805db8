//! What every implementation of `CatalogStore` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use segue::catalog::{EntityId, Revision};
use segue::model::{ApiKeyId, CampaignId, Role, WallMs};
use segue::store::{ApiKey, CatalogStore, KeysSeen, Missed};

use super::{ADVERTISER, CAMPAIGN, Cql, Embedded, NETWORK, Opens, advertiser, campaign, network, revision};
use crate::harness::suite;

suite! {
    embedded: Embedded::new(), cql: Cql::new;
    what_was_committed_is_there_after_reopening,
    history_comes_newest_first_and_by_pages,
    of_racing_writers_none_loses_an_update,
    of_racing_makers_of_one_entity_one_succeeds,
    who_is_too_late_is_told_what_is_there,
    what_depends_on_something_missed_is_not_there,
    keys_are_kept_and_a_revocation_holds,
}

/// The newest revisions by entity.
fn all(store: &impl CatalogStore) -> BTreeMap<EntityId, Arc<Revision>> {
    let stored = store.load().expect("loads");
    stored.entities.into_iter().map(|revision| (revision.entity.id(), revision)).collect()
}

fn commit(store: &impl CatalogStore, revisions: &[Arc<Revision>]) {
    let committed = store.commit(1, revisions, &[]).expect("commits");
    assert!(committed.missed.is_empty(), "{committed:?}");
}

fn by_id(revisions: &[Arc<Revision>]) -> BTreeMap<EntityId, Arc<Revision>> {
    revisions.iter().map(|revision| (revision.entity.id(), Arc::clone(revision))).collect()
}

fn what_was_committed_is_there_after_reopening(at: &impl Opens) {
    let many: Vec<_> =
        (100..400).map(|number| revision(campaign(CampaignId::from_u128(number), "one of many"), 1)).collect();
    let mut want = by_id(&many);
    {
        let store = at.open_one();
        assert!(store.is_empty().expect("reads"));
        let first = [revision(network(1), 1), revision(advertiser(), 1), revision(campaign(CAMPAIGN, "one"), 1)];
        commit(&store, &first);
        commit(&store, &many);
        // Two of one entity at once.
        let twice = [revision(campaign(CAMPAIGN, "two"), 2), revision(campaign(CAMPAIGN, "three"), 3)];
        commit(&store, &twice);
        want.extend(by_id(&first));
        want.extend(by_id(&twice));
    }
    let store = at.open_one();
    assert!(!store.is_empty().expect("reads"));
    assert_eq!(all(&store), want);
    let ids = [EntityId::Campaign(CAMPAIGN), EntityId::Campaign(CampaignId::from_u128(99))];
    let found = store.newest(&ids).expect("reads");
    assert_eq!(found, [revision(campaign(CAMPAIGN, "three"), 3)], "absent ones are left out");
}

fn history_comes_newest_first_and_by_pages(at: &impl Opens) {
    let store = at.open_one();
    for number in 1..=40 {
        commit(&store, &[revision(campaign(CAMPAIGN, &format!("as of {number}")), number)]);
    }
    let history = |before, limit| -> Vec<u64> {
        let found = store.history(EntityId::Campaign(CAMPAIGN), before, limit).expect("reads");
        assert!(found.iter().all(|found| *found == *revision(found.entity.clone(), found.number)));
        found.iter().map(|revision| revision.number).collect()
    };
    assert_eq!(history(None, 3), [40, 39, 38]);
    assert_eq!(history(Some(38), 2), [37, 36]);
    assert_eq!(history(Some(3), 9), [2, 1]);
    assert_eq!(history(Some(1), 9), [0_u64; 0]);
    assert_eq!(history(None, 100), (1..=40).rev().collect::<Vec<_>>());
    let absent = store.history(EntityId::Advertiser(ADVERTISER), None, 9).expect("reads");
    assert_eq!(absent, []);
}

// INV-47.
fn of_racing_writers_none_loses_an_update(at: &impl Opens) {
    const WRITERS: usize = 4;
    const CHANGES: usize = 12;
    let id = EntityId::Campaign(CAMPAIGN);
    let stores = at.open(WRITERS);
    commit(&stores[0], &[revision(campaign(CAMPAIGN, "first"), 1)]);
    // Each knows what it was told is there, by number, and who was told that it is not.
    let accepted: Vec<BTreeMap<u64, String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &stores[writer];
                scope.spawn(move || {
                    let (mut accepted, mut seen) = (BTreeMap::new(), 1);
                    for change in 0..CHANGES {
                        let name = format!("{writer}'s {change}");
                        let changed = revision(campaign(CAMPAIGN, &name), seen + 1);
                        let mut committed = store.commit(1, &[changed], &[]).expect("commits");
                        match committed.missed.remove(&id) {
                            None => {
                                seen += 1;
                                accepted.insert(seen, name);
                            }
                            Some(Missed::Stale(Some(newest))) => {
                                assert!(newest.number > seen, "{} after {seen}", newest.number);
                                seen = newest.number;
                            }
                            Some(other) => panic!("{other:?}"),
                        }
                    }
                    accepted
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("ends")).collect()
    });
    let count: usize = accepted.iter().map(BTreeMap::len).sum();
    let mut want: BTreeMap<u64, String> = accepted.into_iter().flatten().collect();
    assert_eq!(want.len(), count, "no two accepted changes have one number");
    assert!(count >= WRITERS, "{count}");
    want.insert(1, "first".to_owned());
    let history = stores[0].history(id, None, 1_000).expect("reads");
    let found: BTreeMap<u64, String> = history
        .into_iter()
        .map(|revision| match revision.entity {
            segue::catalog::Entity::Campaign(campaign) => (revision.number, campaign.name.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, want, "every accepted change is there, and nothing else");
    assert_eq!(all(&stores[1])[&id].number, u64::try_from(want.len()).expect("small"));
}

fn of_racing_makers_of_one_entity_one_succeeds(at: &impl Opens) {
    let stores = at.open(4);
    let made: Vec<bool> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|maker| {
                let store = &stores[maker];
                let new = revision(campaign(CAMPAIGN, &format!("{maker}'s")), 1);
                scope.spawn(move || store.commit(1, &[new], &[]).expect("commits").missed.is_empty())
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().expect("ends")).collect()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    let maker = made.iter().position(|made| *made).expect("one");
    let found = all(&stores[0]);
    assert_eq!(found[&EntityId::Campaign(CAMPAIGN)], revision(campaign(CAMPAIGN, &format!("{maker}'s")), 1));
}

fn who_is_too_late_is_told_what_is_there(at: &impl Opens) {
    let store = at.open_one();
    commit(&store, &[revision(campaign(CAMPAIGN, "one"), 1)]);
    commit(&store, &[revision(campaign(CAMPAIGN, "two"), 2)]);
    for late in [1, 2, 4] {
        let committed = store.commit(1, &[revision(campaign(CAMPAIGN, "late"), late)], &[]).expect("commits");
        let missed = committed.missed.get(&EntityId::Campaign(CAMPAIGN)).expect("missed");
        let Missed::Stale(Some(newest)) = missed else { panic!("{missed:?}") };
        assert_eq!(*newest, revision(campaign(CAMPAIGN, "two"), 2));
    }
    let orphan = revision(campaign(CampaignId::from_u128(21), "of nothing"), 2);
    let committed = store.commit(1, &[orphan], &[]).expect("commits");
    assert!(matches!(committed.missed.values().next(), Some(Missed::Stale(None))), "{committed:?}");
    assert_eq!(all(&store).len(), 1);
}

fn what_depends_on_something_missed_is_not_there(at: &impl Opens) {
    let store = at.open_one();
    commit(&store, &[revision(network(1), 1), revision(advertiser(), 1)]);
    let late = [revision(advertiser(), 1), revision(campaign(CAMPAIGN, "its child"), 1)];
    let key = key(7);
    let committed = store.commit(2, &late, std::slice::from_ref(&key)).expect("commits");
    assert!(matches!(committed.missed[&EntityId::Advertiser(ADVERTISER)], Missed::Stale(Some(_))), "{committed:?}");
    assert!(matches!(committed.missed[&EntityId::Campaign(CAMPAIGN)], Missed::Untried), "{committed:?}");
    assert!(matches!(committed.missed_keys[&key.id], Missed::Untried), "{committed:?}");
    let stored = store.load().expect("loads");
    assert_eq!((stored.entities.len(), stored.keys.len()), (2, 0));
}

fn key(number: u128) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_u128(number),
        network_id: NETWORK,
        name: format!("key {number}"),
        role: Role::Operator,
        digest: [7; 32],
        created_at: WallMs(5),
        revoked_at: None,
    }
}

fn keys_are_kept_and_a_revocation_holds(at: &impl Opens) {
    let keys: Vec<ApiKey> = (1..40).map(key).collect();
    let revoked = ApiKey { revoked_at: Some(WallMs(9)), ..key(3) };
    {
        let stores = at.open(2);
        let mut seen = KeysSeen::new();
        assert_eq!(stores[1].changed_keys(&mut seen).expect("reads"), []);
        for keys in keys.chunks(10) {
            let committed = stores[0].commit(1, &[], keys).expect("commits");
            assert!(committed.missed_keys.is_empty(), "{committed:?}");
        }
        if stores[0].is_shared() {
            let mut found = stores[1].changed_keys(&mut seen).expect("reads");
            found.sort_by_key(|key| key.id);
            assert_eq!(found, keys);
        }
        assert_eq!(stores[1].changed_keys(&mut seen).expect("reads"), [], "nothing is told twice");
        assert!(stores[1].commit(1, &[], std::slice::from_ref(&revoked)).expect("commits").missed_keys.is_empty());
        if stores[0].is_shared() {
            // Who has not heard of it can't take it back.
            assert!(stores[0].commit(1, &[], &[key(3)]).expect("commits").missed_keys.is_empty());
            assert!(stores[1].changed_keys(&mut seen).expect("reads").contains(&revoked));
        }
    }
    let mut found = at.open_one().load().expect("loads").keys;
    found.sort_by_key(|key| key.id);
    let mut want = keys;
    want[2] = revoked;
    assert_eq!(found, want);
}

/// Keys that servers write at once, into the same few partitions.
#[test]
fn of_keys_that_are_made_at_once_none_is_lost() {
    let Some(cql) = Cql::new("of_keys_that_are_made_at_once_none_is_lost") else { return };
    let stores = cql.open(3);
    std::thread::scope(|scope| {
        for (writer, store) in (0_u128..).zip(&stores) {
            scope.spawn(move || {
                for number in 0..8 {
                    let committed = store.commit(1, &[], &[key(writer * 100 + number)]).expect("commits");
                    assert!(committed.missed_keys.is_empty(), "{committed:?}");
                }
            });
        }
    });
    assert_eq!(stores[0].load().expect("loads").keys.len(), 24);
}

#[test]
fn servers_agree_on_what_the_first_says() {
    let Some(cql) = Cql::new("servers_agree_on_what_the_first_says") else { return };
    let stores = cql.open(3);
    let agreed: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let servers: Vec<_> =
            (0_u8..).zip(&stores).map(|(n, store)| scope.spawn(move || store.agree("x", &[n; 32]))).collect();
        servers.into_iter().map(|server| server.join().expect("ends").expect("agrees")).collect()
    });
    assert!(agreed.iter().all(|value| *value == agreed[0] && value.len() == 32), "{agreed:?}");
    assert_eq!(stores[1].agree("x", b"later").expect("agrees"), agreed[0]);
    assert_eq!(Embedded::new().open_one().agree("x", b"alone").expect("agrees"), b"alone");
}
