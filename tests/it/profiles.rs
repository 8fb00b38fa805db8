//! The profile role over real logs and stores: plays in, taste out, each play once, whoever works on it.

use std::sync::mpsc::channel;

use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::event_log::{LogReader as _, NewRecord, Position, SharedLog, Topic};
use segue::events::{DeadLetterReason, Play, decode_dead_letter, encode_play};
use segue::impressions::{ListenerSecret, ListenerSubject};
use segue::model::{ListenerKey, NetworkId, ServerId, WallMs};
use segue::profile::Taste;
use segue::roles::profile::{ProfileCounts, ProfileHandle, ProfileRole, spawn_profile};
use segue::store::cql::CqlSession;
use segue::store::{ListenerBackend, ListenerStore as _, Listeners};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cql::Keyspace;
use crate::event_log::{Embedded, Kafka, Opens as _};
use crate::harness::{folder, wait_until};

const NETWORK: NetworkId = NetworkId::from_u128(1);
const LISTENERS: u8 = 20;

/// One log and one store, with what runs them.
struct World<L: SharedLog> {
    log: L,
    runtime: Runtime,
    open: Box<dyn Fn(&Runtime) -> ListenerBackend>,
    _store: Option<TempDir>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn secret() -> ListenerSecret {
    ListenerSecret::new(&[5; 32])
}

fn key(listener: u8) -> ListenerKey {
    secret().key(NETWORK, ListenerSubject::Listener(&format!("listener-{listener}")))
}

fn play(listener: u8, number: u8, now: WallMs) -> Play {
    let mut play_id = [listener; 16];
    play_id[0] = number;
    Play {
        play_id,
        network_id: NETWORK,
        listener_id: format!("listener-{listener}"),
        played_at: now.plus_ms(-i64::from(number) * 600_000),
        heard_ms: 600_000,
        genres: vec!["Jazz".to_owned(), format!("genre {}", listener % 3)],
        moods: vec!["calm".to_owned()],
        is_profiled: true,
    }
}

impl<L: SharedLog> World<L> {
    fn start(&self) -> ProfileHandle {
        let role = ProfileRole::new(secret(), ServerId::from_u128(7));
        let store = (self.open)(&self.runtime);
        spawn_profile(self.log.clone(), store, role, self.runtime.handle().clone(), Clock::real()).expect("starts")
    }

    fn tell(&self, payloads: &[(u8, Vec<u8>)]) {
        let (sender, told) = channel();
        for (listener, payload) in payloads {
            let key = format!("listener-{listener}").into_bytes();
            let record = NewRecord { topic: Topic::Listening, key, payload: payload.clone() };
            let sender = sender.clone();
            self.log.hand_over(record, Box::new(move |done| sender.send(done).expect("the test waits for it")));
        }
        for _ in payloads {
            told.recv().expect("told").expect("appended");
        }
    }

    fn taste(&self, listener: u8) -> Taste {
        let store = (self.open)(&self.runtime);
        self.runtime.block_on(store.read_taste(key(listener))).expect("reads").taste
    }

    fn letters(&self) -> Vec<DeadLetterReason> {
        let partitions = self.log.partition_counts().of(Topic::DeadLetter);
        let from: Vec<_> = (0..partitions).map(|partition| Position { partition, offset: 0 }).collect();
        let mut reader = self.log.reader(Topic::DeadLetter, &from).expect("a reader");
        let mut letters = Vec::new();
        while !reader.is_at_end() {
            for record in reader.read(100, std::time::Duration::from_millis(200)).expect("reads") {
                letters.push(decode_dead_letter(&record.payload).expect("a letter").reason);
            }
        }
        letters
    }

    /// Sums over all that ran.
    fn check(&self) {
        let now = Clock::real().now().wall;
        let of = |numbers: std::ops::Range<u8>| -> Vec<(u8, Vec<u8>)> {
            let all = numbers.flat_map(|number| (0..LISTENERS).map(move |listener| (listener, number)));
            all.map(|(listener, number)| (listener, encode_play(&play(listener, number, now)))).collect()
        };
        let servers = [self.start(), self.start()];
        self.tell(&of(0..2));
        // Told again, one that nobody may profile, and one that is none.
        self.tell(&of(1..2));
        let denied = Play { is_profiled: false, ..play(99, 0, now) };
        self.tell(&[(99, encode_play(&denied)), (0, b"\xff".to_vec())]);
        let counted = |servers: &[&ProfileHandle]| {
            let sum = |sum: ProfileCounts, one: ProfileCounts| ProfileCounts {
                counted: sum.counted + one.counted,
                repeated: sum.repeated + one.repeated,
                too_old: sum.too_old + one.too_old,
                not_allowed: sum.not_allowed + one.not_allowed,
                not_understood: sum.not_understood + one.not_understood,
            };
            servers.iter().map(|server| server.watch().counts()).fold(ProfileCounts::default(), sum)
        };
        let each = u64::from(LISTENERS);
        wait_until("all plays are taken in", || {
            let counts = counted(&servers.each_ref());
            counts.counted >= 2 * each && counts.not_understood >= 1 && counts.not_allowed >= 1
        });
        // One ends; the other goes on with its partitions, and nothing counts twice.
        let [first, second] = servers;
        first.stop().expect("ends");
        self.tell(&of(2..3));
        wait_until("the other takes in all that comes then", || {
            (0..LISTENERS).all(|listener| heard(&self.taste(listener)) == 3 * 600_000)
        });
        second.stop().expect("ends");
        // One that begins where they ended finds nothing to do but what is new.
        let third = self.start();
        self.tell(&of(3..4));
        wait_until("all is there", || (0..LISTENERS).all(|listener| heard(&self.taste(listener)) == 4 * 600_000));
        third.stop().expect("ends");
        assert_eq!(heard(&self.taste(99)), 0, "nobody may know");
        assert!(self.letters().contains(&DeadLetterReason::NotAMessage));
        // And it is read with the listener.
        let listeners = Listeners::open((self.open)(&self.runtime), 100, Entropy::seeded(1));
        let listener = self.runtime.block_on(listeners.load(key(4), now)).expect("loads");
        let profile = listeners.look(&listener, |state| state.profile.clone());
        assert_eq!(
            (profile.genres, profile.moods),
            (vec!["genre 1".to_owned(), "jazz".to_owned()], vec!["calm".to_owned()])
        );
    }
}

/// Milliseconds of jazz, without decay.
fn heard(taste: &Taste) -> u64 {
    taste.parts().1.get("jazz").map_or(0, |weeks| weeks.values().sum())
}

// INV-51.
#[test]
fn plays_become_taste_once_each_embedded() {
    let (log, folder) = (Embedded::new(), folder());
    let database = fjall::Database::builder(folder.path()).open().expect("opens");
    let store = ListenerBackend::embedded(&database).expect("opens");
    let world =
        World { log: log.open(), runtime: runtime(), open: Box::new(move |_| store.clone()), _store: Some(folder) };
    world.check();
}

// INV-51.
#[test]
fn plays_become_taste_once_each_kafka_and_cql() {
    const NAME: &str = "plays_become_taste_once_each_kafka_and_cql";
    let (Some(log), Some(keyspace)) = (Kafka::new(NAME), Keyspace::with_tables(NAME)) else { return };
    let connection = keyspace.connection();
    let open = move |runtime: &Runtime| {
        runtime.block_on(async {
            let session = CqlSession::open(&connection).await.expect("connects");
            ListenerBackend::cql(&session).await.expect("opens")
        })
    };
    World { log: log.open(), runtime: runtime(), open: Box::new(open), _store: None }.check();
}
