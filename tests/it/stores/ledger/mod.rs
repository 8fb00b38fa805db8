//! The books: one behaviour suite, run against every implementation. Embedded over a folder; in CQL beside the tests where a Cassandra runs.

mod behaviour;
mod commits;
mod cql;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::model::WallMs;
use segue::store::cql::CqlSession;
use segue::store::{CqlLedger, CqlLedgerPart, LedgerReader, LedgerSettings, LedgerStore, Store};
use tempfile::TempDir;

use crate::cql::Keyspace;
use crate::harness::{engine, folder};

/// The books as somebody opens them.
pub(super) struct Books {
    owner: LedgerStore,
    reader: LedgerReader,
}

/// Books that can be opened anew: what they hold stays.
trait Opens {
    /// Which part it is: its advertisers' and line items' ids begin with it.
    fn part(&self) -> u32;
    fn open(&self) -> Books;
}

pub(super) struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(folder())
    }
}

impl Opens for Embedded {
    fn part(&self) -> u32 {
        7
    }

    fn open(&self) -> Books {
        let store = Store::open(self.0.path(), WallMs(0), &Entropy::seeded(1)).expect("opens");
        let ledger = store.ledger().expect("opens");
        Books { owner: ledger.clone().into(), reader: ledger.into() }
    }
}

/// A part of its own, in a keyspace that all these tests share: tables take seconds to make.
pub(super) struct Cql {
    session: CqlSession,
    part: u32,
}

/// The runtime on which all sessions live.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}

impl Cql {
    /// None, and the test counted as skipped, where no Cassandra runs.
    fn new(test: &str) -> Option<Self> {
        // One keyspace for all of these tests, kept for as long as the process lives: each test has a part of its own.
        static SHARED: OnceLock<(Keyspace, CqlSession)> = OnceLock::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        engine("SEGUE_TEST_CQL", test)?;
        let (_, session) = SHARED.get_or_init(|| {
            let keyspace = Keyspace::with_tables(test).expect("there is an engine");
            let session = runtime().block_on(CqlSession::open(&keyspace.connection())).expect("connects");
            (keyspace, session)
        });
        Some(Self { session: session.clone(), part: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    fn owner(&self, settings: &LedgerSettings) -> CqlLedgerPart {
        self.owner_at(settings, Clock::real())
    }

    fn owner_at(&self, settings: &LedgerSettings, clock: Clock) -> CqlLedgerPart {
        CqlLedgerPart::new(self.session.clone(), self.part, settings, clock, Entropy::real())
    }
}

/// The part that stands in the key's first four bytes.
fn part_of(key: &[u8], _: u32) -> u32 {
    u32::from_be_bytes(key[..4].try_into().expect("an id"))
}

impl Opens for Cql {
    fn part(&self) -> u32 {
        self.part
    }

    fn open(&self) -> Books {
        let settings = LedgerSettings::default();
        let reader = CqlLedger::new(self.session.clone(), self.part + 1, part_of, &settings);
        Books { owner: self.owner(&settings).into(), reader: reader.into() }
    }
}
