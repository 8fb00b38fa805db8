//! The data directory whose bytes are changed: as small as it can be with everything in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::accounting::testing::envelope;
use crate::accounting::verdict::{Standing, judge};
use crate::accounting::{LedgerState, ServerEntry};
use crate::catalog::{Action, Author, Entity, Revision};
use crate::entropy::Entropy;
use crate::event_log::{CheckpointFile, NewRecord, Topic, shipped_file};
use crate::events::{Event, Reversal};
use crate::journal::RealDisk;
use crate::model::{ApiKeyId, BeaconEvent, Day, ImpressionId, InvalidTraffic, NetworkId, Role, ServerId, WallMs};
use crate::roles::accounting::sim::Sim;
use crate::roles::campaign::samples;
use crate::store::{Identity, KeyRing, Store, StoreCopy, check_store};

/// Room that is left behind the last batch of the store's journal, in bytes. The database makes 64 MiB of zeros beforehand, and cuts them off at its next
/// start; to read them ten thousand times would tell nothing new.
const ROOM_BYTES: usize = 4_096;
const AT: WallMs = WallMs(1_700_000_000_000);

/// Files of one kind.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Inside the directory.
    pub(super) files: Vec<PathBuf>,
    pub(super) may_be_harmless: bool,
}

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) kinds: Vec<Kind>,
}

impl World {
    pub(super) fn make() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        books(dir.path());
        catalogue(dir.path());
        let mut shipped = CheckpointFile::open(&RealDisk, &{
            let file = shipped_file(dir.path(), ServerId::from_u128(9));
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            file
        })
        .expect("opens");
        (1..4).for_each(|n| shipped.keep(n * 1_000).expect("keeps"));
        cut_room(dir.path());
        let keyspaces = StoreCopy::of(dir.path(), &check_store(dir.path())).expect("copies").keyspace_names();
        let mut kinds: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
        for file in files(dir.path()) {
            let name = file.strip_prefix(dir.path()).expect("inside").to_owned();
            kinds.entry(kind(dir.path(), &name, &keyspaces)).or_default().push(name);
        }
        let may_be_harmless = |name: &str| name == EARLIER || name == STORE_JOURNAL;
        let kinds = kinds.into_iter().map(|(name, files)| Kind { name, files, may_be_harmless: may_be_harmless(name) });
        let kinds: Vec<Kind> = kinds.collect();
        assert_eq!(kinds.len(), 14, "{:?}", kinds.iter().map(|kind| kind.name).collect::<Vec<_>>());
        Self { dir, kinds }
    }
}

/// Leases open and closed, reversals, entries, checkpoints, rows in tables and rows in the store's own journal.
fn books(dir: &Path) {
    let mut sim = Sim::new(dir, 33);
    sim.run(60);
    sim.pass(3_000_000);
    sim.ledger.write_tables();
    for reversal in charged(&sim).into_iter().take(3) {
        sim.append(vec![envelope(sim.now.wall, Event::Reversal(Box::new(reversal)))]);
    }
    sim.pass(3_000_000);
    sim.run(20);
    let taken_back: usize = sim.machine.book().accounts.values().map(|account| account.reversed.len()).sum();
    assert!(taken_back > 0, "charges were taken back");
    let said = |n: u8| NewRecord { topic: Topic::Engagement, key: vec![n], payload: vec![n; 40] };
    sim.log.append_blocking((1..50).map(said).collect()).expect("appended");
}

/// Reversals of impressions that were charged.
fn charged(sim: &Sim) -> Vec<Reversal> {
    let (accounts, now) = (&sim.machine.book().accounts, sim.now.wall);
    let reversal = |event: Event| {
        let Event::Beacon(beacon) = event else { return None };
        let ImpressionId::Leased { lease_id, .. } = beacon.impression_id else { return None };
        let lease = accounts.get(&beacon.advertiser_id)?.leases.get(&lease_id).map(AsRef::as_ref);
        let standing = Standing { lease, is_reversed: false, today: Day::utc_of(now) };
        judge(&beacon, standing, InvalidTraffic::Reported, now).ok().filter(|_| beacon.event == BeaconEvent::Impression)
    };
    let mut found: BTreeMap<ImpressionId, Reversal> = BTreeMap::new();
    for reversal in sim.events().into_iter().filter_map(reversal) {
        found.insert(reversal.impression_id, reversal);
    }
    found.into_values().collect()
}

/// Entities with several revisions, and keys of which one is revoked, in tables and behind them in the journal.
fn catalogue(dir: &Path) {
    let store = Store::open(dir, AT, &Entropy::seeded(5)).expect("opens");
    let catalog = store.catalog().expect("opens");
    let entities = samples::catalogue();
    let revision = |entity: &Entity, number| {
        let (entity, author) = (entity.clone(), Author::Segue);
        Arc::new(Revision { entity, number, created_at: AT, at: AT, author, action: Action::Changed })
    };
    let ring = KeyRing::new(store.identity().api_key_secret);
    let key = |n: u8| {
        let id = ApiKeyId::at(AT, [n; 10]);
        ring.make(id, NetworkId::from_u128(1), "a key".into(), Role::Operator, [n; 32], AT).0
    };
    let mut revoked = key(2);
    let all: Vec<_> = entities.iter().map(|entity| revision(entity, 1)).collect();
    catalog.commit(1, &all, &[key(1), revoked.clone()]).expect("commits");
    catalog.commit(2, &[revision(&entities[0], 2)], &[]).expect("commits");
    catalog.write_tables();
    catalog.commit(3, &[revision(&entities[0], 3), revision(&entities[1], 2)], &[]).expect("commits");
    revoked.revoked_at = Some(AT);
    catalog.commit(3, &[], &[revoked]).expect("commits");
    catalog.commit(4, &[revision(&entities[0], 4)], &[]).expect("commits");
}

fn cut_room(dir: &Path) {
    for file in files(&dir.join("store")).into_iter().filter(|file| file.extension().is_some_and(|end| end == "jnl")) {
        let mut bytes = fs::read(&file).expect("reads");
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.resize(written + ROOM_BYTES, 0);
        fs::write(&file, bytes).expect("writes");
    }
}

/// Every file with something in it, but for the empty locks.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).expect("a file").len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Copies a directory and all in it.
pub(super) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("lists") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

/// Read by nobody.
const EARLIER: &str = "store, manifest no more in force";
const STORE_JOURNAL: &str = "store, journal";

fn kind(dir: &Path, name: &Path, keyspaces: &BTreeMap<u64, String>) -> &'static str {
    let parts: Vec<&str> = name.iter().map(|part| part.to_str().expect("text")).collect();
    let keyspace = |number: &str| keyspaces.get(&number.parse().expect("a number")).map_or("", String::as_str);
    match parts.as_slice() {
        ["journal", "money", _] => "journal, money",
        ["journal", "log", _] => "journal, log",
        ["journal", "partitions"] => "journal, partition counts",
        ["journal", "shipped", _] => "journal, checkpoint of a shipped journal",
        ["store", "version"] => "store, version",
        ["store", _] if name.extension().is_some_and(|ending| ending == "jnl") => STORE_JOURNAL,
        ["store", "keyspaces", "0", "tables", _] => "store, table of the list of keyspaces",
        ["store", "keyspaces", number, "tables", _] => match keyspace(number) {
            "ledger_checkpoints" => "store, table of checkpoints",
            name if name.starts_with("ledger_") => "store, table of the ledger",
            name if name.starts_with("catalog_") => "store, table of the catalogue",
            _ => "store, other table",
        },
        ["store", "keyspaces", _, "current"] => "store, number of a manifest",
        ["store", "keyspaces", _, file] => {
            let current = fs::read(dir.join(name).with_file_name("current")).expect("reads");
            let number = u64::from_le_bytes(*current.first_chunk().expect("a number"));
            if *file == format!("v{number}") { "store, manifest in force" } else { EARLIER }
        }
        _ => panic!("{} is of no known kind", name.display()),
    }
}

/// What a server has after its start.
#[derive(PartialEq)]
pub(super) struct Started {
    identity: Identity,
    ledger: LedgerState,
    servers: Vec<ServerEntry>,
    rows: Vec<crate::store::RawRow>,
    /// Catalogue and keys, as text.
    catalog: String,
}

/// Opens the store as a server does. It may change the directory.
pub(super) fn started(dir: &Path) -> Started {
    let store = Store::open(dir, AT, &Entropy::seeded(6)).expect("opens");
    let (ledger, catalog) = (store.ledger().expect("opens"), store.catalog().expect("opens"));
    Started {
        identity: store.identity().clone(),
        ledger: ledger.load().expect("loads"),
        servers: ledger.servers().expect("reads"),
        rows: ledger.dump().expect("reads"),
        catalog: format!("{:?}", catalog.load().expect("loads")),
    }
}
