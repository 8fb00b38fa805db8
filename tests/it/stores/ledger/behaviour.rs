//! What every implementation of the books does.

use segue::accounting::{Balance, Commit, DeliveryKey, DeliveryTotals, LedgerState, LevelId, Sealed, ledger};
use segue::model::{AdvertiserId, Day, ImpressionId, LeaseId, Micros, WallMs};
use segue::store::{DeliveryRange, OwnsLedger as _, ReadsLedger as _};

use super::commits::{HOUR_MS, Maker, T0, advertiser, checkpoint, everything, lease, line, reversal, undone, unleased};
use super::{Books, Cql, Embedded, Opens};
use crate::harness::suite;

suite! {
    embedded: Embedded::new(), cql: Cql::new;
    new_books_are_empty,
    what_was_committed_is_there_for_the_next_owner,
    what_a_commit_removes_is_gone_and_leases_become_history,
    a_commit_may_change_nothing_but_the_cursor,
    totals_add_up_over_owners_and_are_read_by_range,
    an_advertiser_s_rows_are_found_by_advertiser_and_day,
    reversals_are_remembered_for_a_while_and_known_for_good,
    random_commits_are_there_after_every_opening,
}

const DAY_MS: i64 = 24 * HOUR_MS;

fn load(opens: &impl Opens) -> LedgerState {
    opens.open().owner.load().expect("loads")
}

fn new_books_are_empty(opens: &impl Opens) {
    let books = opens.open();
    assert_eq!(books.owner.load().expect("loads"), LedgerState::default());
    let id = advertiser(opens.part(), 0);
    assert_eq!(books.reader.log_time_of(id).expect("reads"), WallMs(0));
    assert_eq!(books.reader.checkpoints_of(id).expect("reads"), []);
    assert_eq!(books.reader.balances_of(id).expect("reads"), []);
}

fn what_was_committed_is_there_for_the_next_owner(opens: &impl Opens) {
    let (part, commit) = (opens.part(), everything(opens.part()));
    {
        let books = opens.open();
        books.owner.load().expect("loads");
        books.owner.commit(&commit).expect("commits");
    }
    let books = opens.open();
    let state = books.owner.load().expect("loads");
    let id = advertiser(part, 0);
    assert_eq!((state.cursor, state.book.log_time, state.checkpoint), (1, T0, Some(checkpoint(1, part, T0))));
    let account = &state.book.accounts[&id];
    assert_eq!(account.leases.values().map(AsRef::as_ref).collect::<Vec<_>>(), [&commit.leases[0].1]);
    assert_eq!(account.balance(LevelId::AdvertiserDay(id, Day(20_000))), Balance::default());
    assert!(state.book.unpaid.seen.contains_key(&unleased()));
    assert_eq!(state.register.entries().collect::<Vec<_>>(), [&commit.servers.entries[0]]);
    assert_eq!(books.reader.log_time_of(id).expect("reads"), T0);
    assert_eq!(books.reader.checkpoints_of(id).expect("reads"), [checkpoint(1, part, T0)]);
}

fn what_a_commit_removes_is_gone_and_leases_become_history(opens: &impl Opens) {
    let part = opens.part();
    let books = opens.open();
    books.owner.load().expect("loads");
    for commit in [everything(part), undone(part)] {
        books.owner.commit(&commit).expect("commits");
    }
    drop(books);
    let books = opens.open();
    let state = books.owner.load().expect("loads");
    assert_eq!((state.cursor, state.book.accounts.len(), state.book.unpaid.seen.len()), (2, 0, 0));
    assert_eq!(state.register.entries().count(), 0);
    let (id, past) = &undone(part).past[0];
    assert_eq!(books.reader.lease(*id, past.grant.lease_id).expect("reads").as_ref(), Some(past));
    let day = past.grant.advertiser_day;
    assert_eq!(books.reader.leases_of(*id, day, Day(day.0 + 1)).expect("reads"), std::slice::from_ref(past));
}

fn a_commit_may_change_nothing_but_the_cursor(opens: &impl Opens) {
    let books = opens.open();
    books.owner.load().expect("loads");
    for cursor in [5, 6] {
        books.owner.commit(&Commit { cursor, ..Commit::default() }).expect("commits");
    }
    drop(books);
    assert_eq!(load(opens), LedgerState { cursor: 6, ..LedgerState::default() });
}

fn totals_add_up_over_owners_and_are_read_by_range(opens: &impl Opens) {
    let (part, mut expected) = (opens.part(), Vec::new());
    let starts = |starts| DeliveryTotals { starts, ..DeliveryTotals::default() };
    for n in 0..2_i64 {
        let books = opens.open();
        books.owner.load().expect("loads");
        for cursor in 0..2 {
            let delivery =
                (0..40).map(|day| (key(part, 0, day), starts(day + 1))).chain([(key(part, 1, 0), starts(1))]);
            let commit = Commit { cursor: cursor + 1, delivery: delivery.collect(), ..Commit::default() };
            books.owner.commit(&commit).expect("commits");
        }
        expected = (0..40).map(|day| (key(part, 0, day), starts((day + 1) * 2 * (n + 1)))).collect();
    }
    let reader = opens.open().reader;
    let asked = |line_item_id, from, to, limit| {
        reader.delivery(DeliveryRange { line_item_id, from, to }, limit).expect("reads")
    };
    let (of_line, first, end) = (Some(line(part, 0)), key(part, 0, 0).hour, key(part, 0, 40).hour);
    assert_eq!(asked(of_line, first, end, usize::MAX), expected);
    assert_eq!(asked(of_line, first, end, 3), expected[..3]);
    assert_eq!(asked(of_line, key(part, 0, 3).hour, key(part, 0, 5).hour, 9), expected[3..5]);
    assert_eq!(asked(of_line, end, first, 9), []);
    // Of all: others may write into the same tables meanwhile.
    let all = asked(None, first, end, usize::MAX);
    let mine: Vec<_> = all.into_iter().filter(|(key, _)| key.line_item_id == line(part, 0)).collect();
    assert_eq!(mine, expected);
    let one = asked(None, first, WallMs(first.0 + 1), usize::MAX);
    assert_eq!(one.iter().find(|(at, _)| *at == key(part, 1, 0)), Some(&(key(part, 1, 0), starts(4))));
}

fn key(part: u32, line_item: u32, day: i64) -> DeliveryKey {
    DeliveryKey { line_item_id: line(part, line_item), hour: T0.plus_ms(day * DAY_MS).hour_start() }
}

fn an_advertiser_s_rows_are_found_by_advertiser_and_day(opens: &impl Opens) {
    let part = opens.part();
    let (own, other) = (advertiser(part, 0), advertiser(part, 1));
    let day = |n: i64| Day::utc_of(T0.plus_ms(n * DAY_MS));
    let made = |id: AdvertiserId, n: i64| {
        let at = T0.plus_ms(n * DAY_MS);
        let name = LeaseId::at(at, [u8::try_from(n).expect("small"); 10]);
        (id, lease(name, part, at, 5))
    };
    let past: Vec<_> = (0..40).map(|n| made(own, n)).chain([made(other, 1)]).collect();
    let entry = |(n, (id, lease)): (u64, &(AdvertiserId, _))| ledger::settlement(n, *id, lease, T0).expect("charged");
    let entries: Vec<_> = (1..).zip(&past).map(entry).collect();
    let open = made(own, 41);
    let balances = vec![
        (own, LevelId::Advertiser(own), Some(Balance { settled: Micros(1), ..Balance::default() })),
        (own, LevelId::LineItem(line(part, 0)), Some(Balance { settled: Micros(2), ..Balance::default() })),
        (other, LevelId::Advertiser(other), Some(Balance::default())),
    ];
    let books = opens.open();
    books.owner.load().expect("loads");
    let sealed = Sealed { entries: entries.clone(), checkpoints: Vec::new() };
    let commit = Commit { past: past.clone(), leases: vec![open.clone()], sealed, balances, ..Commit::default() };
    books.owner.commit(&commit).expect("commits");
    let reader = &books.reader;
    let lease_of = |(_, lease): &(AdvertiserId, segue::accounting::Lease)| lease.clone();
    let expected: Vec<_> = past[3..30].iter().map(lease_of).collect();
    assert_eq!(reader.leases_of(own, day(3), day(30)).expect("reads"), expected);
    assert_eq!(reader.leases_of(own, day(41), day(42)).expect("reads"), std::slice::from_ref(&open.1));
    assert_eq!(reader.leases_of(own, day(30), day(3)).expect("reads"), []);
    assert_eq!(reader.entries_of(own, day(3), day(30)).expect("reads"), entries[3..30]);
    assert_eq!(reader.entries_of(own, day(30), day(3)).expect("reads"), []);
    assert_eq!(reader.entries_of(other, day(0), day(30)).expect("reads"), entries[40..]);
    for (id, lease) in past.iter().chain([&open]) {
        assert_eq!(reader.lease(*id, lease.grant.lease_id).expect("reads").as_ref(), Some(lease));
    }
    assert_eq!(reader.lease(other, open.1.grant.lease_id).expect("reads"), None);
    let own_balances = reader.balances_of(own).expect("reads");
    let expected: Vec<_> =
        commit.balances[..2].iter().map(|(id, level, row)| (*id, *level, row.expect("a row"))).collect();
    assert_eq!(own_balances, expected);
    let all = reader.balances().expect("reads");
    let mine: Vec<_> = all.into_iter().filter(|(id, _, _)| [own, other].contains(id)).collect();
    assert_eq!(mine.len(), 3);
    assert_eq!(mine[..2], expected);
}

fn reversals_are_remembered_for_a_while_and_known_for_good(opens: &impl Opens) {
    let (part, id) = (opens.part(), advertiser(opens.part(), 0));
    let impression = |n| ImpressionId::Leased { lease_id: LeaseId::at(T0, [n; 10]), ordinal: 1 };
    let decided = |days: i64| T0.plus_ms(-days * DAY_MS);
    let reversals = vec![reversal(id, impression(1), decided(7)), reversal(id, impression(2), decided(9))];
    let books = opens.open();
    books.owner.load().expect("loads");
    books.owner.commit(&Commit { log_time: T0, reversals, ..Commit::default() }).expect("commits");
    for (n, known) in [(1, true), (2, true), (3, false)] {
        assert_eq!(books.reader.is_reversed(id, impression(n)).expect("reads"), known, "{n}");
    }
    assert!(!books.reader.is_reversed(advertiser(part, 1), impression(1)).expect("reads"));
    drop(books);
    let state = load(opens);
    assert_eq!(state.book.accounts[&id].reversed.keys().collect::<Vec<_>>(), [&impression(1)]);
}

fn random_commits_are_there_after_every_opening(opens: &impl Opens) {
    let mut maker = Maker::new(opens.part(), 5);
    let mut cursor = 0;
    for _ in 0..5 {
        let Books { owner, reader } = opens.open();
        assert_eq!(owner.load().expect("loads").cursor, cursor);
        for _ in 0..4 {
            let commit = maker.next();
            owner.commit(&commit).expect("commits");
            cursor = commit.cursor;
            let id = advertiser(opens.part(), 0);
            assert_eq!(reader.log_time_of(id).expect("reads"), commit.log_time);
        }
    }
}
