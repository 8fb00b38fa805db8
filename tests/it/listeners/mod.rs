//! The listeners' stores: one behaviour suite, run against each. Embedded over a folder; CQL beside the tests where one runs.

mod behaviour;
mod cql;
mod profiles;

use std::sync::atomic::{AtomicU64, Ordering};

use fjall::Database;
use segue::caps::strict::{self, Hearing, Reservation};
use segue::entropy::Entropy;
use segue::model::{
    AdvertiserId, CampaignId, CreativeId, DecisionId, Exposure, ExposureState, ImpressionId, LeaseId, LineItemId,
    ListenerKey, ListenerState, OpenAd, OpenBreak, RequestId, StrictRow, StrictVersion, WallMs,
};
use segue::store::cql::{CqlConnection, CqlSession};
use segue::store::{ListenerBackend, ListenerStore as _, Listeners};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cql::Keyspace;
use crate::harness::folder;

const DAY_MS: i64 = 86_400_000;
/// Far from any other time that counts.
const NOW: WallMs = WallMs(20_000 * DAY_MS);

/// A store that can be opened anew: what it holds stays.
trait Opens {
    fn runtime(&self) -> &Runtime;
    /// A handle as a process would have it, after the one before has ended.
    fn open(&self) -> ListenerBackend;
    /// Two handles at once, as different as they can be.
    fn pair(&self) -> [ListenerBackend; 2];
}

struct Embedded(TempDir, Runtime);

impl Embedded {
    fn new() -> Self {
        Self(folder(), a_runtime())
    }
}

impl Opens for Embedded {
    fn runtime(&self) -> &Runtime {
        &self.1
    }

    fn open(&self) -> ListenerBackend {
        let database = Database::builder(self.0.path()).open().expect("opens");
        ListenerBackend::embedded(&database).expect("opens")
    }

    fn pair(&self) -> [ListenerBackend; 2] {
        let one = self.open();
        [one.clone(), one]
    }
}

/// Tables of its own in the Cassandra beside the tests.
struct Cql(Keyspace, Runtime);

impl Cql {
    /// None, and the test counted as skipped, where none runs.
    fn new(test: &str) -> Option<Self> {
        Some(Self(Keyspace::with_tables(test)?, a_runtime()))
    }

    fn open_by(&self, connection: &CqlConnection) -> ListenerBackend {
        self.1.block_on(async {
            let session = CqlSession::open(connection).await.expect("connects");
            ListenerBackend::cql(&session).await.expect("opens")
        })
    }
}

impl Opens for Cql {
    fn runtime(&self) -> &Runtime {
        &self.1
    }

    fn open(&self) -> ListenerBackend {
        self.open_by(&self.0.connection())
    }

    fn pair(&self) -> [ListenerBackend; 2] {
        [self.open(), self.open()]
    }
}

fn a_runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

/// Listeners over a store, each with randomness of its own.
fn over(store: ListenerBackend) -> Listeners {
    static SEED: AtomicU64 = AtomicU64::new(1);
    Listeners::open(store, 1_000, Entropy::seeded(SEED.fetch_add(1, Ordering::Relaxed)))
}

/// Ends a process in good order.
fn close(opens: &impl Opens, listeners: Listeners) {
    opens.runtime().block_on(listeners.flush()).expect("flushes");
    drop(listeners);
}

/// The listener's state as it is at that time.
fn state(opens: &impl Opens, listeners: &Listeners, key: ListenerKey, now: WallMs) -> ListenerState {
    let listener = opens.runtime().block_on(listeners.load(key, now)).expect("loads");
    listeners.with(&listener, |state| state.clone())
}

/// Changes a listener's state.
fn change<R>(
    opens: &impl Opens,
    listeners: &Listeners,
    key: ListenerKey,
    now: WallMs,
    change: impl FnOnce(&mut ListenerState) -> R,
) -> R {
    let listener = opens.runtime().block_on(listeners.load(key, now)).expect("loads");
    listeners.with(&listener, change)
}

fn key(number: u8) -> ListenerKey {
    ListenerKey::of_account([number; 16])
}

fn exposure(number: u32, at: WallMs) -> Exposure {
    Exposure {
        impression_id: ImpressionId::Leased { lease_id: LeaseId::from_u128(7), ordinal: number },
        at,
        advertiser_id: AdvertiserId::from_u128(1),
        campaign_id: CampaignId::from_u128(2),
        line_item_id: LineItemId::from_u128(3),
        creative_id: CreativeId::from_u128(4),
        state: ExposureState::Reserved { until: at.plus_ms(DAY_MS) },
    }
}

/// A break that was answered with one ad.
fn answered(number: u32, at: WallMs) -> (OpenBreak, Vec<Exposure>) {
    let exposure = exposure(number, at);
    let open = OpenBreak {
        request_id: RequestId::new(&format!("r{number}")).expect("a key"),
        decision_id: DecisionId::from_u128(u128::from(number)),
        ads: vec![OpenAd { impression_id: exposure.impression_id, token: "token".to_owned() }],
        decided_at: at,
        expires_at: at.plus_ms(DAY_MS),
        prefetch: false,
        answer: b"answer".to_vec(),
    };
    (open, vec![exposure])
}

/// The reservation of one more ad, made from the row as it is known. No two numbers make the same version.
fn reservation(known: &StrictRow, number: u32) -> Reservation {
    let ad = Exposure { state: ExposureState::Heard, ..exposure(number, NOW.plus_ms(i64::from(number))) };
    let ad = strict::reserved(ad, NOW.plus_ms(3_600_000), 86_400_000, Hearing::Some);
    let version = StrictVersion::of(DecisionId::from_u128(u128::from(number) + 1), 0);
    strict::reserve(known, vec![ad], version, NOW).expect("there is room")
}

/// The strict row as the store has it.
fn strict_row(opens: &impl Opens, store: &ListenerBackend, key: ListenerKey) -> StrictRow {
    opens.runtime().block_on(store.read_strict(key)).expect("reads")
}
