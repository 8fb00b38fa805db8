//! Conditional writes: one of many wins, what is accepted survives whatever comes, and the format is kept.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::caps::strict::Hearing;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::impressions::listener;
use crate::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, Exposure, ExposureState, ImpressionId, LeaseId, LineItemId,
};
use crate::model::{StrictExposure, StrictVersion, WallMs};
use crate::store::{ListenerBackend, ListenerStore as _, Listeners};

const NOW: WallMs = WallMs(1_790_000_000_000);
const WINDOW_MS: u64 = 86_400_000;

fn open(dir: &Path) -> Listeners {
    let database = Database::builder(dir).open().expect("opens");
    over(&database)
}

fn over(database: &Database) -> Listeners {
    Listeners::open(ListenerBackend::embedded(database).expect("opens"), 1_000, Entropy::seeded(1))
}

fn stored(runtime: &tokio::runtime::Runtime, listeners: &Listeners, key: ListenerKey) -> StrictRow {
    runtime.block_on(listeners.store.read_strict(key)).expect("reads")
}

fn key(number: u8) -> ListenerKey {
    ListenerKey::of_account([number; 16])
}

fn ad(number: u32) -> StrictExposure {
    let exposure = Exposure {
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: number },
        at: NOW.plus_ms(i64::from(number)),
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(2),
        line_item_id: LineItemId::from_u128(3),
        creative_id: CreativeId::from_u128(4),
        state: ExposureState::Heard,
    };
    strict::reserved(exposure, NOW.plus_ms(3_600_000), WINDOW_MS, Hearing::Everything)
}

fn reservation(known: &StrictRow, number: u32) -> Reservation {
    let version = StrictVersion::of(DecisionId::from_u128(u128::from(number) + 1), 0);
    strict::reserve(known, vec![ad(number)], version, NOW).expect("there is room")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

/// A copy of the folder as it is: what a process that is killed now leaves behind.
fn as_killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    copy_into(dir, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&target).expect("made");
            copy_into(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

// INV-31.
#[test]
fn of_many_writes_from_one_version_one_is_accepted() {
    let dir = tempfile::tempdir().expect("a folder");
    let listeners = Arc::new(open(dir.path()));
    let runtime = runtime();
    let mut known = StrictRow::default();
    for round in 0..20_u32 {
        let writes: Vec<_> = (0..16)
            .map(|device| {
                let (listeners, reservation) = (Arc::clone(&listeners), reservation(&known, round * 16 + device));
                runtime.spawn(async move { (listeners.reserve(key(1), reservation.clone()).await, reservation) })
            })
            .collect();
        let mut winner = None;
        for write in writes {
            match runtime.block_on(write).expect("no panic") {
                (Ok(Outcome::Accepted), reservation) => assert!(winner.replace(reservation).is_none(), "two winners"),
                // What it lost against is there, or the winner of this round has not been heard of yet.
                (Ok(Outcome::Conflict(row)), reservation) => assert_ne!(row.version, reservation.expected),
                (other, _) => panic!("{other:?}"),
            }
        }
        strict::accepted(&mut known, &winner.expect("one wins"));
    }
    assert_eq!(stored(&runtime, &listeners, key(1)).version, known.version);
    assert_eq!(stored(&runtime, &listeners, key(1)).exposures.len(), 20);
}

/// Retrying on conflict loses nothing: every device gets its ad in, whoever else writes. Prints what a conditional write costs.
#[test]
fn writes_that_read_again_all_get_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let listeners = Arc::new(open(dir.path()));
    let runtime = runtime();
    let clock = Clock::real();
    let mut took_us: Vec<u64> = Vec::new();
    for round in 0..20_u32 {
        let writes: Vec<_> = (0..32_u32)
            .map(|device| {
                let (listeners, clock) = (Arc::clone(&listeners), clock.clone());
                runtime.spawn(async move {
                    let (who, number) = (key(u8::try_from(device % 8).expect("small")), round * 32 + device);
                    let mut known = listeners.store.read_strict(who).await.expect("reads");
                    let watch = clock.stopwatch();
                    loop {
                        let reservation = reservation(&known, number);
                        match listeners.reserve(who, reservation).await.expect("the store works") {
                            Outcome::Accepted => return watch.elapsed_us(),
                            Outcome::Conflict(row) => known = row,
                            Outcome::Unsure => unreachable!("only deadlines are unsure"),
                        }
                    }
                })
            })
            .collect();
        took_us.extend(writes.into_iter().map(|write| runtime.block_on(write).expect("no panic")));
    }
    for device in 0..8 {
        assert_eq!(stored(&runtime, &listeners, key(device)).exposures.len(), 80, "device {device}");
    }
    took_us.sort_unstable();
    let (half, most) = (took_us[took_us.len() / 2], took_us[took_us.len() * 99 / 100]);
    eprintln!(
        "{} reservations, 32 at once for 8 listeners: p50 {half} us, p99 {most} us, retries included",
        took_us.len()
    );
}

// INV-31, INV-32.
#[test]
fn what_was_accepted_survives_a_kill_before_the_flush() {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let listeners = open(dir.path());
    let listener = runtime.block_on(listeners.load(key(1), NOW)).expect("loads");
    let reservation = listeners.with(&listener, |state| reservation(&state.strict, 1));
    assert_eq!(runtime.block_on(listeners.reserve(key(1), reservation.clone())), Ok(Outcome::Accepted));
    listeners.with(&listener, |state| strict::accepted(&mut state.strict, &reservation));
    let killed = as_killed(dir.path());
    let listeners = open(killed.path());
    let listener = runtime.block_on(listeners.load(key(1), NOW)).expect("loads");
    listeners.with(&listener, |state| {
        // Nobody knows whether it was heard: it counts past its token's life.
        listener::expire(state, NOW.plus_ms(7_200_000));
        assert_eq!(strict::counted(&state.exposures, &state.strict).len(), 1);
        assert_eq!(state.strict.version, reservation.row.version);
    });
}

#[test]
fn what_nobody_waits_for_is_not_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::builder(dir.path()).open().expect("opens");
    let rows = Rows { database: database.clone(), rows: keyspace(&database, KEYSPACE).expect("opens") };
    let (answer, answered) = oneshot::channel();
    drop(answered);
    let mut group = Group::default();
    group.add(&rows, key(1), reservation(&StrictRow::default(), 1), answer);
    group.finish(&rows);
    assert_eq!(rows.read(key(1)).expect("reads"), StrictRow::default());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::builder(dir.path()).open().expect("opens");
    let rows = Rows { database: database.clone(), rows: keyspace(&database, KEYSPACE).expect("opens") };
    // Nobody takes from this queue.
    let (queue, _jobs) = sync_channel(RESERVATIONS);
    let stuck = StrictRows { rows, queue: Some(queue), thread: Mutex::new(None) };
    let runtime = runtime();
    let reservation = reservation(&StrictRow::default(), 1);
    runtime.block_on(async {
        for _ in 0..RESERVATIONS {
            let waiting = stuck.reserve(key(1), reservation.clone());
            assert!(tokio::time::timeout(std::time::Duration::ZERO, waiting).await.is_err(), "it waits");
        }
        assert_eq!(stuck.reserve(key(1), reservation).await, Err(ReserveError::Busy));
    });
}

#[test]
fn a_forgotten_listener_has_no_row_and_what_was_made_from_it_conflicts() {
    let dir = tempfile::tempdir().expect("a folder");
    let listeners = open(dir.path());
    let runtime = runtime();
    let first = reservation(&StrictRow::default(), 1);
    assert_eq!(runtime.block_on(listeners.reserve(key(1), first.clone())), Ok(Outcome::Accepted));
    runtime.block_on(listeners.forget(key(1), NOW)).expect("forgets");
    assert_eq!(stored(&runtime, &listeners, key(1)), StrictRow::default());
    let late = reservation(&first.row, 2);
    assert_eq!(runtime.block_on(listeners.reserve(key(1), late)), Ok(Outcome::Conflict(StrictRow::default())));
    let listener = runtime.block_on(listeners.load(key(1), NOW)).expect("loads");
    listeners.with(&listener, |state| assert_eq!(state.strict, StrictRow::default()));
}

#[test]
fn a_damaged_row_is_an_error_and_not_an_empty_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::builder(dir.path()).open().expect("opens");
    keyspace(&database, KEYSPACE).expect("opens").insert(key(1).0, b"\x12\x02xx").expect("writes");
    let listeners = over(&database);
    assert!(matches!(runtime().block_on(listeners.load(key(1), NOW)), Err(StoreError::Damaged { .. })));
}

// INV-21. `UPDATE_GOLDEN=1` rewrites it.
#[test]
fn the_row_is_kept_as_the_golden_file_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/store/strict_row.bin");
    let heard = ad(2);
    let heard = StrictExposure { exposure: Exposure { state: ExposureState::Heard, ..heard.exposure }, ..heard };
    let row = StrictRow { version: Some(StrictVersion(0x0123_4567_89AB_CDEF)), exposures: vec![ad(1), heard] };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, encode_strict(&row)).expect("the golden file is writable");
    }
    let kept = std::fs::read(&path).expect("the golden file is there");
    assert_eq!(decode_strict(&kept), Some(row.clone()));
    assert_eq!(encode_strict(&row), kept);
}
