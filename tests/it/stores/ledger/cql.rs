//! What only books that several may own have to show: commits cut off anywhere, answers that are lost, owners that are replaced while they write, or
//! sleep and wake up. Against the embedded books as the twin.

use std::thread;

use segue::accounting::{Commit, LedgerState};
use segue::clock::Clock;
use segue::model::{Day, LeaseId, MonotonicMs, Now};
use segue::store::{
    CqlLedgerPart, DeliveryRange, LedgerSettings, LedgerTrouble, OwnsLedger as _, ReadsLedger as _, StatementFaults,
    StoreError,
};

use super::commits::{HOUR_MS, Maker, T0, advertiser, everything, lease, line, undone};
use super::{Cql, Embedded, Opens as _, runtime};

fn with(faults: &StatementFaults) -> LedgerSettings {
    // One after the other: the same statement is the same in each run.
    LedgerSettings { in_flight: 1, faults: faults.clone(), ..LedgerSettings::default() }
}

fn trouble(result: Result<(), StoreError>) -> LedgerTrouble {
    match result {
        Err(StoreError::Ledger(trouble)) => trouble,
        other => panic!("{other:?}"),
    }
}

/// The books in CQL, and the embedded ones that were given the same commits.
struct Pair {
    cql: Cql,
    twin: Embedded,
}

impl Pair {
    fn new(test: &str) -> Option<Self> {
        Some(Self { cql: Cql::new(test)?, twin: Embedded::new() })
    }

    /// An owner without faults, and the state that it found.
    fn next_owner(&self) -> (CqlLedgerPart, LedgerState) {
        let owner = self.cql.owner(&LedgerSettings::default());
        let state = owner.load().expect("loads");
        (owner, state)
    }

    fn twin_state(&self) -> LedgerState {
        self.twin.open().owner.load().expect("loads")
    }

    fn twin_commit(&self, commit: &Commit) {
        self.twin.open().owner.commit(commit).expect("commits");
    }

    /// After an owner that perhaps was cut off in this commit: it is there as a whole or not at all, and then it is. Whether it was.
    fn settle(&self, commit: &Commit, what: &str) -> bool {
        let before = self.twin_state();
        self.twin_commit(commit);
        let after = self.twin_state();
        let (owner, found) = self.next_owner();
        assert!(found == before || found == after, "INV-50: {what}: a mixture: {found:#?}");
        if found == after {
            return true;
        }
        owner.commit(commit).expect("commits");
        assert!(self.next_owner().1 == after, "INV-50: {what}: the next owner's commit");
        false
    }
}

#[test]
fn a_commit_that_is_cut_off_after_any_statement_is_there_as_a_whole_or_not_at_all() {
    let Some(pair) = Pair::new("a_commit_that_is_cut_off_after_any_statement_is_there_as_a_whole_or_not_at_all") else {
        return;
    };
    let mut maker = Maker::new(pair.cql.part(), 1);
    let (mut taken, mut not_taken, mut whole) = (0, 0, 0);
    // A commit has some ten to forty statements.
    for cuts in 0..40 {
        // How many statements a load takes, now that nothing is left to be done.
        let counting = StatementFaults::default();
        pair.cql.owner(&with(&counting)).load().expect("loads");
        let faults = StatementFaults::ends_after(counting.sent() + cuts);
        let owner = pair.cql.owner(&with(&faults));
        owner.load().expect("loads");
        let commit = rich(&mut maker);
        let result = owner.commit(&commit);
        let is_there = pair.settle(&commit, &format!("cut after {cuts} of a commit"));
        match result {
            Ok(()) => {
                assert!(is_there, "only what is no more needed was left to be removed");
                whole += 1;
            }
            Err(error) => {
                let ended = matches!(error, StoreError::Ledger(LedgerTrouble::Ended(_)));
                assert!(ended, "{error}");
                // Before the first write it still owns the part, and its process has ended; after it, nothing is taken of it.
                let again = trouble(owner.commit(&commit));
                assert!(matches!(again, LedgerTrouble::NotOwned(_) | LedgerTrouble::Ended(_)), "{again}");
                *(if is_there { &mut taken } else { &mut not_taken }) += 1;
            }
        }
    }
    assert!(taken > 8 && not_taken >= 2 && whole > 0, "{taken} taken, {not_taken} not, {whole} not cut off");
}

/// A commit that writes and removes.
fn rich(maker: &mut Maker) -> Commit {
    loop {
        let commit = maker.next();
        let removes = commit.loose.iter().any(|(_, _, loose)| loose.is_none()) || !commit.past.is_empty();
        if removes && !commit.delivery.is_empty() {
            return commit;
        }
    }
}

#[test]
fn random_commits_cut_off_at_random_are_those_of_the_twin() {
    for seed in 1..=24 {
        let Some(pair) = Pair::new("random_commits_cut_off_at_random_are_those_of_the_twin") else { return };
        let mut maker = Maker::new(pair.cql.part(), seed);
        for step in 0..4 {
            let commit = maker.next();
            let cut = 225 + u64::from(maker.below(60));
            let cut = if maker.below(4) == 0 { u64::from(maker.below(270)) } else { cut };
            let chunk_bytes = [64, 1_000, 1 << 18][usize::try_from(maker.below(3)).expect("small")];
            let faults = StatementFaults::ends_after(cut);
            let settings = LedgerSettings { chunk_bytes, faults, ..LedgerSettings::default() };
            let owner = pair.cql.owner(&settings);
            let done = owner.load().and_then(|_| owner.commit(&commit));
            let what = format!("SEED={seed}, commit {step}, cut after {cut}");
            let is_there = pair.settle(&commit, &what);
            assert!(done.is_err() || is_there, "{what}: said to be done");
        }
        same_reads(&pair, &maker, seed);
    }
}

/// Readers find the same in both.
fn same_reads(pair: &Pair, maker: &Maker, seed: u64) {
    let (cql, twin) = (pair.cql.open().reader, pair.twin.open().reader);
    let (first, end) = (Day::utc_of(T0), Day(Day::utc_of(T0).0 + 9));
    for n in 0..3 {
        let id = advertiser(pair.cql.part(), n);
        let told = format!("SEED={seed}, advertiser {n}");
        assert_eq!(cql.balances_of(id).expect("reads"), twin.balances_of(id).expect("reads"), "{told}");
        let leases = |of: &segue::store::LedgerReader| of.leases_of(id, first, end).expect("reads");
        assert_eq!(leases(&cql), leases(&twin), "{told}");
        let entries = |of: &segue::store::LedgerReader| of.entries_of(id, first, end).expect("reads");
        assert_eq!(entries(&cql), entries(&twin), "{told}");
        assert_eq!(cql.checkpoints_of(id).expect("reads"), twin.checkpoints_of(id).expect("reads"), "{told}");
        assert_eq!(cql.log_time_of(id).expect("reads"), twin.log_time_of(id).expect("reads"), "{told}");
    }
    for (id, lease_id) in &maker.past {
        let lease = |of: &segue::store::LedgerReader| of.lease(*id, *lease_id).expect("reads").expect("it is there");
        assert_eq!(lease(&cql), lease(&twin), "SEED={seed}");
    }
    for (id, impression_id) in &maker.reversed {
        assert!(cql.is_reversed(*id, *impression_id).expect("reads"), "SEED={seed}");
    }
    for n in 0..2 {
        let line_item_id = Some(line(pair.cql.part(), n));
        let range = DeliveryRange { line_item_id, from: T0.plus_ms(-9 * HOUR_MS), to: T0.plus_ms(99 * HOUR_MS) };
        let totals = |of: &segue::store::LedgerReader| of.delivery(range, usize::MAX).expect("reads");
        assert_eq!(totals(&cql), totals(&twin), "SEED={seed}");
    }
}

#[test]
fn a_lost_answer_to_any_statement_changes_nothing() {
    let Some(pair) = Pair::new("a_lost_answer_to_any_statement_changes_nothing") else { return };
    let mut maker = Maker::new(pair.cql.part(), 2);
    let counting = StatementFaults::default();
    pair.cql.owner(&with(&counting)).load().expect("loads");
    for statement in (1..8).chain(counting.sent() - 3..counting.sent() + 40) {
        let owner = pair.cql.owner(&with(&StatementFaults::loses_answer(statement)));
        assert!(owner.load().expect("loads") == pair.twin_state(), "statement {statement}");
        for _ in 0..2 {
            let commit = rich(&mut maker);
            owner.commit(&commit).unwrap_or_else(|error| panic!("statement {statement}: {error}"));
            pair.twin_commit(&commit);
        }
    }
    assert!(pair.next_owner().1 == pair.twin_state());
}

#[test]
fn of_two_owners_one_commits_and_the_other_is_told() {
    let Some(pair) = Pair::new("of_two_owners_one_commits_and_the_other_is_told") else { return };
    let part = pair.cql.part();
    let mut maker = Maker::new(part, 3);
    let (mut first, _) = pair.next_owner();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..20 {
        let commit = rich(&mut maker);
        let second = pair.cql.owner(&LedgerSettings::default());
        let (committed, found) = thread::scope(|scope| {
            let committing = scope.spawn(|| first.commit(&commit));
            let found = second.load().expect("loads");
            (committing.join().expect("ends"), found)
        });
        let before = pair.twin_state();
        match committed {
            Ok(()) => {
                pair.twin_commit(&commit);
                taken += 1;
            }
            Err(StoreError::Ledger(LedgerTrouble::Replaced { part: told, .. })) => {
                assert_eq!(told, part, "INV-49");
                refused += 1;
            }
            Err(error) => panic!("round {round}: {error}"),
        }
        assert!(found == pair.twin_state(), "INV-49: round {round}: what the second found is what was taken");
        assert!(committed_or(&before, &found, commit.cursor), "round {round}");
        let again = rich(&mut maker);
        assert!(first.commit(&again).is_err(), "INV-49: the first is none any more");
        second.commit(&again).expect("the second owns it");
        pair.twin_commit(&again);
        first = second;
    }
    assert_eq!(taken + refused, 20);
    assert!(pair.next_owner().1 == pair.twin_state());
}

fn committed_or(before: &LedgerState, found: &LedgerState, cursor: u64) -> bool {
    found.cursor == cursor || found.cursor == before.cursor
}

/// Loads, and sleeps from a statement of its next commit on: how many statements after the load.
fn asleep(pair: &Pair, statements: u64, clock: Clock) -> (CqlLedgerPart, StatementFaults) {
    let counting = StatementFaults::default();
    pair.cql.owner(&with(&counting)).load().expect("loads");
    let faults = StatementFaults::holds_from(counting.sent() + statements + 1);
    let owner = pair.cql.owner_at(&with(&faults), clock);
    owner.load().expect("loads");
    (owner, faults)
}

#[test]
fn an_owner_that_wakes_up_late_changes_nothing_wherever_it_slept() {
    let mut woke_to_nothing = 0;
    for statements in 0..14 {
        let Some(pair) = Pair::new("an_owner_that_wakes_up_late_changes_nothing_wherever_it_slept") else { return };
        let part = pair.cql.part();
        let (owner, faults) = asleep(&pair, statements, Clock::real());
        let (slow, state) = thread::scope(|scope| {
            let committing = scope.spawn(|| owner.commit(&everything(part)));
            crate::harness::wait_until("the owner sleeps or is done", || {
                faults.is_holding() || committing.is_finished()
            });
            let (next, found) = pair.next_owner();
            if found.cursor == 1 {
                pair.twin_commit(&everything(part));
            } else {
                next.commit(&everything(part)).expect("commits");
                pair.twin_commit(&everything(part));
            }
            next.commit(&undone(part)).expect("commits");
            pair.twin_commit(&undone(part));
            faults.go_on();
            (committing.join().expect("ends"), found)
        });
        match slow {
            // It was taken, and its rows came late.
            Ok(()) => assert_eq!(state.cursor, 1, "asleep from statement {statements}"),
            Err(StoreError::Ledger(LedgerTrouble::Replaced { .. })) => {
                assert_eq!(state.cursor, 0, "asleep from statement {statements}");
                woke_to_nothing += 1;
            }
            Err(error) => panic!("asleep from statement {statements}: {error}"),
        }
        assert!(pair.next_owner().1 == pair.twin_state(), "INV-49: asleep from statement {statements}");
        assert!(matches!(
            trouble(owner.commit(&Commit::default())),
            LedgerTrouble::Replaced { .. } | LedgerTrouble::NotOwned(_)
        ));
    }
    assert!(woke_to_nothing >= 2, "{woke_to_nothing}");
}

#[test]
fn an_owner_that_slept_for_hours_writes_no_rows_any_more() {
    let Some(pair) = Pair::new("an_owner_that_slept_for_hours_writes_no_rows_any_more") else { return };
    let part = pair.cql.part();
    let start = Now { wall: T0, monotonic: MonotonicMs(1) };
    let (clock, hand) = Clock::manual(start);
    // Record and head are written, and one row.
    let (owner, faults) = asleep(&pair, 4, clock);
    let slow = thread::scope(|scope| {
        let committing = scope.spawn(|| owner.commit(&everything(part)));
        crate::harness::wait_until("the owner sleeps", || faults.is_holding());
        assert_eq!(pair.next_owner().1.cursor, 1, "its commit is there, and its rows are written by the next");
        hand.advance(61 * 60_000);
        faults.go_on();
        committing.join().expect("ends")
    });
    let told = trouble(slow);
    assert!(matches!(told, LedgerTrouble::Overdue { minutes: 60, .. }), "{told}");
    assert!(told.to_string().contains("start accounting again"), "{told}");
}

#[test]
fn what_can_not_be_committed_is_refused_before_anything_is_written() {
    let Some(pair) = Pair::new("what_can_not_be_committed_is_refused_before_anything_is_written") else { return };
    let part = pair.cql.part();
    let faults = StatementFaults::default();
    let owner = pair.cql.owner(&LedgerSettings { commit_bytes_max: 1_000, ..with(&faults) });
    assert_eq!(trouble(owner.commit(&Commit::default())), LedgerTrouble::NotOwned(part));
    owner.load().expect("loads");
    let loaded = faults.sent();
    let misfiled = lease(LeaseId::from_u128(1), part, T0, 1);
    let told = trouble(owner.commit(&Commit { past: vec![(advertiser(part, 0), misfiled)], ..Commit::default() }));
    assert!(matches!(told, LedgerTrouble::Misfiled { .. }), "{told}");
    let large = (0..9).map(|n| (advertiser(part, 0), lease(LeaseId::at(T0, [n; 10]), part, T0, 1))).collect();
    let told = trouble(owner.commit(&Commit { leases: large, ..Commit::default() }));
    assert!(matches!(told, LedgerTrouble::TooLarge { max: 1_000, .. }), "{told}");
    assert!(told.to_string().contains("accounting.commit_interval_ms"), "{told}");
    assert_eq!(faults.sent(), loaded, "nothing was asked of the servers");
    owner.commit(&Commit { cursor: 3, ..Commit::default() }).expect("the owner goes on");
    assert_eq!(pair.next_owner().1.cursor, 3);
}

#[test]
fn a_record_of_many_blocks_is_read_back_and_one_that_is_damaged_is_told() {
    let Some(pair) = Pair::new("a_record_of_many_blocks_is_read_back_and_one_that_is_damaged_is_told") else { return };
    let part = pair.cql.part();
    let counting = StatementFaults::default();
    pair.cql.owner(&with(&counting)).load().expect("loads");
    // More than 256 chunks; then the total is read, the chunks written, the head moved, and nothing more.
    let commit = everything(part);
    let cut = |chunks: u64| LedgerSettings {
        chunk_bytes: 2,
        ..with(&StatementFaults::ends_after(counting.sent() + 2 + chunks))
    };
    let mut chunks = 256;
    let owner = loop {
        let owner = pair.cql.owner(&cut(chunks));
        owner.load().expect("loads");
        assert!(owner.commit(&commit).is_err());
        if head_has_chunks(&pair) {
            break owner;
        }
        chunks += 1;
    };
    drop(owner);
    let (next, found) = pair.next_owner();
    pair.twin_commit(&commit);
    assert!(found == pair.twin_state(), "{chunks} chunks");

    // The same again, and a chunk is lost.
    let undo = undone(part);
    drop(next);
    let mut chunks = 1;
    while {
        let settings = with(&StatementFaults::ends_after(counting.sent() + 1 + chunks));
        let owner = pair.cql.owner(&settings);
        owner.load().expect("loads");
        assert!(owner.commit(&undo).is_err());
        !head_has_chunks(&pair)
    } {
        chunks += 1;
    }
    lose_chunks(&pair);
    let told = pair.cql.owner(&LedgerSettings::default()).load().expect_err("damaged").to_string();
    assert!(told.contains("ledger_commits") && told.contains("are not what the head says"), "{told}");
}

/// The head's number, attempt and chunks.
fn head(pair: &Pair) -> (i64, Vec<u8>, i32) {
    let (keyspace, part) = (pair.cql.session.keyspace(), pair.cql.part());
    let ask = format!("SELECT number, attempt, chunks FROM {keyspace}.ledger_heads WHERE part = {part}");
    let result = runtime().block_on(pair.cql.session.driver().query_unpaged(ask, ())).expect("reads");
    result.into_rows_result().expect("rows").first_row().expect("a head")
}

/// Whether the head is one with a record.
fn head_has_chunks(pair: &Pair) -> bool {
    head(pair).2 > 0
}

/// As if a replica had lost them.
fn lose_chunks(pair: &Pair) {
    let (keyspace, part) = (pair.cql.session.keyspace(), pair.cql.part());
    let (number, attempt, _) = head(pair);
    let values = (part.cast_signed(), number, attempt);
    let statement =
        format!("DELETE FROM {keyspace}.ledger_commits WHERE part = ? AND number = ? AND attempt = ? AND block = 0");
    runtime().block_on(pair.cql.session.driver().query_unpaged(statement, values)).expect("runs");
}
