//! The catalogue's store, the campaign role on several servers, and the change feed: embedded, and on the Cassandra and the Kafka beside the tests.

mod feed;
mod outbox;
mod servers;
mod store;

use std::sync::Arc;

use segue::catalog::{Action, Author, Entity, Revision};
use segue::clock::Clock;
use segue::entropy::Entropy;
use segue::model::{
    Advertiser, AdvertiserId, App, AppKey, Budget, Campaign, CampaignId, Micros, Network, NetworkId, Status, WallMs,
    Zone,
};
use segue::store::cql::CqlSession;
use segue::store::{CatalogStore, CqlCatalog, EmbeddedCatalog, Store};
use segue::telemetry::Metrics;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cql::Keyspace;
use crate::harness::folder;

const NETWORK: NetworkId = NetworkId::from_u128(1);
const ADVERTISER: AdvertiserId = AdvertiserId::from_u128(10);
const CAMPAIGN: CampaignId = CampaignId::from_u128(20);

/// What a publisher reads the time from and counts with.
fn seen() -> (Clock, Metrics) {
    (Clock::real(), Metrics::new())
}

/// A catalogue that several hold at once, and that can be opened anew: what it holds stays.
trait Opens {
    type Store: CatalogStore;
    /// That many handles, each as another server would have it.
    fn open(&self, count: usize) -> Vec<Self::Store>;

    fn open_one(&self) -> Self::Store {
        self.open(1).remove(0)
    }
}

struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(folder())
    }
}

impl Opens for Embedded {
    type Store = EmbeddedCatalog;

    fn open(&self, count: usize) -> Vec<EmbeddedCatalog> {
        // One process has it: its threads share one handle.
        let store = Store::open(self.0.path(), WallMs(5), &Entropy::real()).expect("opens");
        vec![store.catalog().expect("opens"); count]
    }
}

/// A keyspace of its own, and the runtime of its sessions.
pub(crate) struct Cql {
    keyspace: Keyspace,
    runtime: Runtime,
}

impl Cql {
    fn new(test: &str) -> Option<Self> {
        let keyspace = Keyspace::with_tables(test)?;
        let runtime = Runtime::new().expect("a runtime");
        Some(Self { keyspace, runtime })
    }
}

impl Opens for Cql {
    type Store = CqlCatalog;

    fn open(&self, count: usize) -> Vec<CqlCatalog> {
        let open = async || {
            let session = CqlSession::open(&self.keyspace.connection()).await.expect("connects");
            CqlCatalog::open(session, Entropy::real()).await.expect("opens")
        };
        (0..count).map(|_| self.runtime.block_on(open())).collect()
    }
}

fn network(app_names: usize) -> Entity {
    let app = |number: usize| App {
        key: AppKey::new(&format!("app-{number}")).expect("a key"),
        name: format!("{number} {}", "x".repeat(180)),
    };
    Entity::from(Network {
        id: NETWORK,
        name: "A network".to_owned(),
        currency: "EUR".to_owned(),
        floor_cpm: Micros(1_000_000),
        approve_creatives: true,
        apps: (0..app_names).map(app).collect(),
        placements: Vec::new(),
    })
}

fn advertiser() -> Entity {
    Entity::from(Advertiser {
        id: ADVERTISER,
        network_id: NETWORK,
        name: "An advertiser".to_owned(),
        status: Status::Active,
        budget: Budget::default(),
        zone: Zone::named("Europe/Stockholm").expect("a zone"),
        caps: Vec::new(),
    })
}

fn campaign(id: CampaignId, name: &str) -> Entity {
    Entity::from(Campaign {
        id,
        advertiser_id: ADVERTISER,
        network_id: NETWORK,
        name: name.to_owned(),
        status: Status::Active,
        budget: Budget::default(),
        caps: Vec::new(),
    })
}

fn revision(entity: Entity, number: u64) -> Arc<Revision> {
    let at = WallMs(1_700_000_000_000 + i64::try_from(number).expect("small"));
    let created_at = WallMs(1_700_000_000_001);
    Arc::new(Revision { entity, number, created_at, at, author: Author::Segue, action: Action::Changed })
}
