//! The campaign API in process: the real handlers, writer and store, no socket.

mod bad_input;
mod life;
mod rights;

use std::sync::{Arc, Mutex};

use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::rt::{System, SystemRunner};
use actix_web::test::{TestRequest, call_service, init_service};
use serde_json::{Value, json};

use super::{CampaignApi, configure, no_such_path};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{ApiKeyId, AppKey, MonotonicMs, NetworkId, Now, Role, WallMs};
use crate::roles::campaign::{CampaignWriter, CatalogChange, CatalogState, Command, Requester, samples, start};
use crate::store::Store;
use crate::telemetry::Metrics;

const NOW: Now = Now { wall: WallMs(1_767_000_000_000), monotonic: MonotonicMs(0) };

/// A campaign API over the sample catalogue in a folder of its own.
struct World {
    api: CampaignApi,
    system: SystemRunner,
    published: Arc<Mutex<Vec<CatalogChange>>>,
    writer: CampaignWriter,
    dir: tempfile::TempDir,
}

/// One request.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    key: &'a str,
    if_match: Option<String>,
    content_type: &'a str,
    body: Vec<u8>,
}

/// Its answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    etag: Option<String>,
    content_type: String,
    json: Value,
}

impl World {
    fn new() -> Self {
        let world = Self::open(tempfile::tempdir().expect("a folder"));
        world.api.campaigns.import(samples::catalogue(), NOW).expect("the samples keep the rules");
        world
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let store = Store::open(dir.path(), NOW.wall, &Entropy::seeded(1)).expect("opens");
        let published = Arc::new(Mutex::new(Vec::new()));
        let feed = Arc::clone(&published);
        let publish = Box::new(move |change| feed.lock().expect("not poisoned").push(change));
        let catalog = store.catalog().expect("opens");
        let (campaigns, writer) = start(catalog, store.identity().api_key_secret, publish).expect("starts");
        let (clock, _) = Clock::manual(NOW);
        let api = CampaignApi { campaigns, clock, entropy: Entropy::real(), metrics: Metrics::new(), assets: None };
        Self { api, system: System::new(), published, writer, dir }
    }

    /// Ends the process, as far as the store can tell, and starts another on the same folder.
    fn reopen(self) -> Self {
        let Self { api, writer, dir, system, .. } = self;
        drop((api, system));
        writer.join();
        Self::open(dir)
    }

    fn key(&self, role: Role) -> String {
        self.key_in(samples::NETWORK, role)
    }

    fn key_in(&self, network_id: NetworkId, role: Role) -> String {
        let id = ApiKeyId::at(NOW.wall, self.api.entropy.bytes());
        let bits = self.api.entropy.bytes();
        let (key, secret) = self.api.campaigns.keys().make(id, network_id, "test".into(), role, bits, NOW.wall);
        let command = Command::AddKey { key };
        self.api.campaigns.submit_blocking(command, Requester::Segue, NOW).expect("a good key");
        secret.reveal().to_owned()
    }

    fn operator(&self) -> String {
        self.key(Role::Operator)
    }

    fn version(&self) -> u64 {
        self.api.campaigns.read(CatalogState::version)
    }

    fn send(&self, ask: Ask<'_>) -> Answer {
        self.system.block_on(async {
            let app = actix_web::App::new()
                .configure(configure(self.api.clone()))
                .default_service(actix_web::web::to(no_such_path));
            let service = init_service(app).await;
            let mut request = TestRequest::with_uri(ask.path).method(ask.method).set_payload(ask.body);
            if !ask.key.is_empty() {
                request = request.insert_header(("Authorization", format!("Bearer {}", ask.key)));
            }
            if !ask.content_type.is_empty() {
                request = request.insert_header(("Content-Type", ask.content_type));
            }
            if let Some(tag) = ask.if_match {
                request = request.insert_header(("If-Match", tag));
            }
            let response = call_service(&service, request.to_request()).await;
            let header =
                |name: &str| response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned());
            let (status, etag) = (response.status().as_u16(), header("ETag"));
            let content_type = header("Content-Type").unwrap_or_default();
            let Ok(body) = to_bytes(response.into_body()).await else { panic!("a body in memory") };
            let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
            Answer { status, etag, content_type, json }
        })
    }

    fn get(&self, key: &str, path: &str) -> Answer {
        self.send(Ask { method: Method::GET, path, key, if_match: None, content_type: "", body: Vec::new() })
    }

    fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        self.send(Ask { method: Method::POST, path, key, if_match: None, content_type: "application/json", body })
    }

    fn patch(&self, key: &str, path: &str, revision: u64, body: &Value) -> Answer {
        let (body, if_match) = (body.to_string().into_bytes(), Some(format!("\"{revision}\"")));
        let content_type = "application/merge-patch+json";
        self.send(Ask { method: Method::PATCH, path, key, if_match, content_type, body })
    }

    fn delete(&self, key: &str, path: &str, revision: Option<u64>) -> Answer {
        let if_match = revision.map(|revision| format!("\"{revision}\""));
        self.send(Ask { method: Method::DELETE, path, key, if_match, content_type: "", body: Vec::new() })
    }
}

impl Answer {
    /// The problem's code and the (path, code) of each field.
    fn problem(&self) -> (&str, Vec<(&str, &str)>) {
        let code = self.json["code"].as_str().unwrap_or_default();
        let errors = self.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let errors = errors
            .iter()
            .map(|error| (error["path"].as_str().unwrap_or("?"), error["code"].as_str().unwrap_or("?")))
            .collect();
        (code, errors)
    }
}

fn app_role() -> Role {
    Role::App(AppKey::new("player").expect("a key"))
}

/// A good line item, as an operator or the advertiser would send it.
fn line_item() -> Value {
    json!({
        "campaign_id": samples::CAMPAIGN.to_string(),
        "name": "Spring sale",
        "flight": {"start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z", "zone": "Europe/Stockholm"},
        "tier": "auction",
        "pricing": {"model": "cpm", "amount_micros": 4_000_000},
        "budget": {"lifetime_micros": 50_000_000},
        "targeting": {"country": ["SE", "NO"], "not": {"genre": ["kids"]}},
        "caps": [{"scope": "line_item", "max": 2, "window": {"kind": "sliding", "duration_ms": 3_600_000}}],
        "creatives": [{"creative_id": samples::CREATIVE.to_string()}],
        "trackers": [{"event": "impression", "url": "https://t.example/i"}],
    })
}

/// A good creative of the first advertiser.
fn creative() -> Value {
    json!({
        "advertiser_id": samples::ADVERTISER.to_string(),
        "name": "Thirty seconds",
        "duration_ms": 30_000,
        "renditions": [{"format": "mp3", "bitrate_kbps": 128, "url": "https://cdn.example/b.mp3"}],
    })
}
